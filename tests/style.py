"""Rules that a page's source must obey, checked on its text and syntax tree.

Each rule is a function ``rule(source: Source) -> iterator of (line, advice)``. They
need no package beyond the standard library and never run the script.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from catalog import Page, distribution

Finding = tuple[int, str]
MOST_CELL_LINES = 15
PAGE_LINES = (60, 140)
MOST_INTRODUCTION_WORDS = 110
DEVICE = (
    "device = torch.accelerator.current_accelerator(check_available=True) "
    'or torch.device("cpu")'
)
# Modules that only pages about them may import, and what to use instead.
OLD_MODULES = {
    "functorch": "torch.func",
    "torchtext": "plain torch (see the legacy page)",
    "torch_scatter": "torch_geometric.utils.scatter or torch.scatter_reduce",
    "torch_sparse": "torch.sparse",
    "torch_cluster": "torch.cdist with topk",
    "torch.jit": "torch.compile or torch.export",
    "torch.autograd.Variable": "a tensor with requires_grad=True",
    "torchvision.transforms": "torchvision.transforms.v2",
    "torchdata.datapipes": "torchdata.nodes",
    "torchaudio.load": "soundfile.read (its wheel brings libsndfile)",
    "torchaudio.save": "soundfile.write",
    "torch.cuda.amp": "torch.amp",
    "argparse": "constants in the script",
}
# What is imported under a name of its own but ships with another package.
BUNDLED = {"functorch": "torch"}
PLACEHOLDERS = re.compile(
    r"\b(TODO|FIXME|XXX|TBD|lorem ipsum|coming soon|as we can see|as you can see|"
    r"work in progress|insert .{0,20} here)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Cell:
    """One block of a page: ``kind`` text or code, its first line, its lines."""

    kind: str
    line: int
    lines: tuple[str, ...]

    @property
    def code_lines(self) -> list[str]:
        """Lines that are neither blank nor comment."""
        stripped = (line.strip() for line in self.lines)
        return [line for line in stripped if line and not line.startswith("#")]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class Source:
    """A page's source with its header, cells and syntax tree."""

    page: Page
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def cells(self) -> list[Cell]:
        """The docstring, then text and code blocks as the rendered page shows them."""
        docstring = self.tree.body[0]
        lines = self.text.splitlines()
        cells = [
            Cell(
                "text",
                docstring.lineno,
                tuple(ast.get_docstring(self.tree).splitlines()),
            )
        ]
        kind, start, block = "code", docstring.end_lineno + 1, []
        for number, line in enumerate(lines[docstring.end_lineno :], start=start):
            if re.match(r"# ?%%", line):
                cells.append(Cell(kind, start, tuple(block)))
                kind, start, block = "text", number, [line[4:]]
            elif kind == "text" and not line.startswith("#"):
                cells.append(Cell(kind, start, tuple(block)))
                kind, start, block = "code", number, [line]
            else:
                block.append(line[2:] if kind == "text" else line)
        cells.append(Cell(kind, start, tuple(block)))
        return [c for c in cells if c.code_lines or (c.kind == "text" and c.text.strip())]

    @cached_property
    def code(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.kind == "code"]

    @cached_property
    def names(self) -> list[tuple[int, str]]:
        """Line and dotted name of every import and attribute, aliases resolved."""
        aliases, found = {}, []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for name in node.names:
                    found.append((node.lineno, name.name))
                    if name.asname:
                        aliases[name.asname] = name.name
            elif isinstance(node, ast.ImportFrom):
                for name in node.names:
                    full = f"{node.module}.{name.name}"
                    found.append((node.lineno, full))
                    aliases[name.asname or name.name] = full
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute) and (dotted := _dotted(node)):
                first, _, rest = dotted.partition(".")
                found.append((node.lineno, f"{aliases.get(first, first)}.{rest}"))
        return found

    def calls(self, *endings: str) -> Iterator[ast.Call]:
        """Calls whose dotted name ends in one of ``endings``."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                name = _dotted(node.func) or getattr(node.func, "attr", "")
                if name.split(".")[-1] in endings or name in endings:
                    yield node


def _dotted(node: ast.AST) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def short_cells(source: Source) -> Iterator[Finding]:
    for cell in source.code:
        if (count := len(cell.code_lines)) > MOST_CELL_LINES:
            yield (
                cell.line,
                f"{count} lines in a cell: split it (at most {MOST_CELL_LINES})",
            )


def page_length(source: Source) -> Iterator[Finding]:
    count, (least, most) = sum(len(c.code_lines) for c in source.code), PAGE_LINES
    if not least <= count <= most:
        yield 1, f"{count} lines of code: a page has {least} to {most}"


def prose_around_code(source: Source) -> Iterator[Finding]:
    for before, cell in zip(source.cells, source.cells[1:], strict=False):
        if cell.kind == "code":
            words = [w for w in before.text.split() if re.search(r"\w\w", w)]
            if before.kind == "code" or len(words) < 5:
                yield cell.line, "say why before this cell (a sentence or two)"


def introduction(source: Source) -> Iterator[Finding]:
    cell = source.cells[0]
    words = " ".join(cell.lines[2:]).split()
    if len(words) < 15:
        yield cell.line, "say what, why, which data and what it costs below the title"
    if len(words) > MOST_INTRODUCTION_WORDS:
        yield (
            cell.line,
            f"{len(words)} words: a first paragraph has {MOST_INTRODUCTION_WORDS}",
        )
    if len(cell.lines[0]) != len(cell.lines[1]):
        yield cell.line, "underline the title with as many = as it has letters"


def device_line(source: Source) -> Iterator[Finding]:
    wanted = 'device = torch.device("cpu")' if _legacy(source) else DEVICE
    if not re.search(rf"(?m)^{re.escape(wanted)}", source.text):
        yield 1, f"choose the device with exactly this line: {wanted}"


def no_device_literal(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"(cuda|mps|xpu)(:\d+)?", node.value):
                yield node.lineno, f'use the device line, not "{node.value}"'
    for call in source.calls("cuda"):
        yield call.lineno, "write .to(device), not .cuda()"


def seed(source: Source) -> Iterator[Finding]:
    if not any(source.calls("manual_seed", "seed_everything")):
        yield 1, "set the seed in the open: torch.manual_seed(0)"
    for call in source.calls("default_rng", "RandomState", "Random"):
        if not call.args and not call.keywords:
            yield call.lineno, "give this generator a seed"


def claim_asserted(source: Source) -> Iterator[Finding]:
    last = source.code[-1]
    for node in ast.walk(ast.parse("\n".join(last.lines))):
        name = _dotted(node.func) if isinstance(node, ast.Call) else ""
        if name.endswith(("assert_close", "assert_allclose", "assert_equal")):
            return
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant):
            return
    yield last.line, "assert the claim in the last code cell"


def where_next(source: Source) -> Iterator[Finding]:
    if "where next" not in source.cells[-1].text.lower():
        yield source.cells[-1].line, 'end with a text cell "Where next"'


def headings(source: Source) -> Iterator[Finding]:
    text = "\n".join(c.text for c in source.cells[1:] if c.kind == "text")
    if (count := len(re.findall(r"(?m)^-{4,}$", text))) < 3:
        yield 1, f"{count} headings: let a reader scan the page (underline with -)"


def modern_names(source: Source) -> Iterator[Finding]:
    allowed = {module.replace("-", "_") for module in source.page.modules}
    for line, name in source.names:
        for old, new in OLD_MODULES.items():
            inside = name == old or name.startswith(f"{old}.")
            if inside and old.split(".")[0] not in allowed & OLD_MODULES.keys():
                if not f"{name}.".startswith("torchvision.transforms.v2."):
                    yield line, f"{old} is not for new code: use {new}"


def no_file_tricks(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name) and node.id == "__file__":
            yield node.lineno, "a notebook has no __file__: read data from a package"
    for line, name in source.names:
        if name == "sys.argv":
            yield line, "no command line: write a constant in the script"


def no_swallowed_error(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            caught = _dotted(node.type) if node.type else "everything"
            shown = any(
                isinstance(n, ast.Call) and _dotted(n.func) == "print"
                for n in ast.walk(node)
            )
            if caught in ("everything", "ImportError", "ModuleNotFoundError") or not shown:
                yield node.lineno, "catch only an error that you show: print it"


def no_placeholder(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.text.splitlines(), start=1):
        if found := PLACEHOLDERS.search(line):
            yield number, f'"{found[0]}" is no prose to publish'


def guarded_workers(source: Source) -> Iterator[Finding]:
    for call in source.calls("DataLoader", "StatefulDataLoader", "NeighborLoader"):
        for keyword in call.keywords:
            if keyword.arg == "num_workers" and getattr(keyword.value, "value", 1):
                if 'if __name__ == "__main__":' not in source.text:
                    yield call.lineno, "num_workers=0, or guard with __main__"


def readable_figures(source: Source) -> Iterator[Finding]:
    for cell in source.code:
        if not re.search(r"plt\.(figure|subplots|subplot_mosaic)\(", cell.text):
            continue
        if not re.search(r"set_title|suptitle|title=", cell.text):
            yield cell.line, "give the figure a title: it becomes the alt text"
        labels = r"[xy]_?label|set_axis_off|axis\(\"off\"\)|[xy]ticks=\[\]|\.plot\(ax="
        if not re.search(labels, cell.text):
            yield cell.line, "label the axes with units, or switch them off"


def declared_imports(source: Source, imports: dict[str, str]) -> Iterator[Finding]:
    """Imports and declared dependencies must be the same set.

    ``imports`` maps a distribution to its import name where they differ. A package
    whose files are located with ``find_spec("Name")`` counts as imported.
    """
    used: dict[str, int] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                used.setdefault(name.name.split(".")[0], node.lineno)
        elif isinstance(node, ast.ImportFrom):
            used.setdefault(node.module.split(".")[0], node.lineno)
    for call in source.calls("find_spec"):
        if call.args and isinstance(call.args[0], ast.Constant):
            used.setdefault(call.args[0].value.split(".")[0], call.lineno)
    declared = {}
    for requirement in source.page.dependencies:
        name = distribution(requirement)
        declared[imports.get(name, name.replace("-", "_"))] = requirement
    for name, line in used.items():
        if BUNDLED.get(name, name) not in declared and name not in sys.stdlib_module_names:
            yield line, f'"{name}" is imported but not among the dependencies'
    for name, requirement in declared.items():
        if name not in used:
            yield 2, f'dependency "{requirement}" is never imported: remove it'


def data_is_named(source: Source, data: dict[str, dict]) -> Iterator[Finding]:
    """A data set in the header must come from a package the header depends on."""
    packages = {distribution(requirement) for requirement in source.page.dependencies}
    for key in source.page.data:
        package = data[key]["package"]
        if package != "python" and distribution(package) not in packages:
            yield 1, f'data "{key}" comes with {package}, which is no dependency'


def harmless_name(source: Source, imports: dict[str, str]) -> Iterator[Finding]:
    """The file name must not hide a module when the script is copied somewhere."""
    name = source.page.name
    taken = {distribution(r).replace("-", "_") for r in source.page.dependencies}
    if name in sys.stdlib_module_names or name in taken | set(imports.values()):
        yield 1, f"{name}.py hides the module {name}: rename it"
    if "_" not in name:
        yield 1, "let the file name say the task in words: read_digits.py"


RULES: dict[str, Callable[..., Iterator[Finding]]] = {
    rule.__name__: rule
    for rule in (
        short_cells,
        page_length,
        prose_around_code,
        introduction,
        device_line,
        no_device_literal,
        seed,
        claim_asserted,
        where_next,
        headings,
        modern_names,
        no_file_tricks,
        no_swallowed_error,
        no_placeholder,
        guarded_workers,
        readable_figures,
        declared_imports,
        data_is_named,
        harmless_name,
    )
}


def check(page: Page, text: str, vocabulary: dict) -> list[str]:
    """All findings for one page, as ``name.py:line: rule: advice`` lines."""
    source, found = Source(page, text), []
    for name, rule in RULES.items():
        wanted = rule.__code__.co_varnames[1 : rule.__code__.co_argcount]
        for line, advice in rule(source, *(vocabulary[table] for table in wanted)):
            found.append(f"{page.path.name}:{line}: {name}: {advice}")
    return found


def _legacy(source: Source) -> bool:
    return "torchtext" in source.page.modules
