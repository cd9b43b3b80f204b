"""Find the gallery's scripts, read their headers, and check them.

A script's header (PEP 723 metadata with a ``[tool.gallery]`` table) is the only place
where anything about a page is written; nox, the docs and the tests all read it through
this module. ``catalog.toml`` holds the words a header may use. Standard library only,
so that it works before anything is installed.

Run ``python catalog.py`` to list the pages and check every header, and
``python catalog.py --write`` to bring the tables in README.md up to date.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent
EXAMPLES = ROOT / "examples"
HEADER_KEYS = {"requires-python": str, "dependencies": list, "tool": dict}
GALLERY_KEYS = {
    "modules": list,
    "level": str,
    "task": str,
    "step": int,
    "data": list,
    "claim": str,
}
OPTIONAL_KEYS = {"no-pretend": str}

BLOCK = re.compile(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
COMPARISON = r"(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
REQUIREMENT = re.compile(
    rf"^(?P<name>{NAME})(?:\[{NAME}(?:,\s*{NAME})*\])?\s*"
    rf"(?P<versions>{COMPARISON}(?:\s*,\s*{COMPARISON})*)?$"
)
PYTHON = re.compile(r"^\s*(>=|<=|==|!=|<|>)\s*(\d+(?:\.\d+)*)\s*$")


class CatalogError(Exception):
    """A header or the vocabulary is wrong; the message says where and what to write."""

    def __init__(self, path: Path, line: int, problem: str, advice: str):
        self.path = path
        place = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        super().__init__(f"{place}:{line}: {problem}. {advice}")


@dataclass(frozen=True)
class Page:
    """One script, as its header describes it.

    ``folder`` is the path below ``examples`` with forward slashes (``core/legacy``);
    ``name`` the file name without ``.py``. ``dependencies`` are requirement strings,
    ``data`` and ``modules`` keys of ``catalog.toml``, the main module first. ``uv`` is
    the header's ``[tool.uv]`` table (settings that only ``uv run`` needs), often empty.
    ``no_pretend`` says why the page cannot run on a pretended accelerator, or is empty.
    """

    path: Path
    folder: str
    title: str
    requires_python: str
    dependencies: tuple[str, ...]
    modules: tuple[str, ...]
    level: str
    task: str
    step: int
    data: tuple[str, ...]
    claim: str
    no_pretend: str = ""
    uv: dict = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def session(self) -> str:
        return session_name(self.folder)


def session_name(folder: str) -> str:
    """Name of the nox session that runs ``folder``: its last part."""
    return folder.rpartition("/")[2]


def distribution(requirement: str) -> str:
    """Normalised distribution name (PEP 503) of a requirement string."""
    name = REQUIREMENT.match(requirement)["name"]
    return re.sub(r"[-_.]+", "-", name).lower()


def supports(requires_python: str, version: tuple[int, ...]) -> bool:
    """Whether ``requires_python`` (``">=3.11,<3.13"``) admits ``version`` (`(3, 12)`).

    Versions compare as tuples cut to the length that is written, so ``<3.13`` refuses
    3.13.1 and ``>=3.11`` admits 3.11.0.
    """
    for operator, text in (PYTHON.match(p).groups() for p in requires_python.split(",")):
        bound = tuple(map(int, text.split(".")))
        have = version[: len(bound)]
        if not {
            ">=": have >= bound,
            "<=": have <= bound,
            "==": have == bound,
            "!=": have != bound,
            "<": have < bound,
            ">": have > bound,
        }[operator]:
            return False
    return True


def bounds(page: Page) -> list[tuple[str, str]]:
    """``requires-python`` of ``page`` as pairs: ``[(">=", "3.11"), ("<", "3.13")]``."""
    return [PYTHON.match(p).groups() for p in page.requires_python.split(",")]


def read_vocabulary(path: Path = ROOT / "catalog.toml") -> dict:
    """The tables of ``catalog.toml``: modules, data, folders, and the words around them.

    Raises `CatalogError` where the file cannot be parsed or an entry lacks a key.
    """
    try:
        vocabulary = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise _toml_error(path, error, 0) from None
    needs = {
        "modules": {"rank", "status", "purpose", "docs"},
        "folders": {"title"},
        "data": {"name", "package", "what", "size_mb", "licence", "citation", "url"},
    }
    for table, keys in needs.items():
        for entry, values in vocabulary[table].items():
            if missing := keys - values.keys():
                raise CatalogError(
                    path, 1, f'"{table}.{entry}" lacks {_listed(missing)}', "Add it"
                )
    return vocabulary


def read_page(path: Path, vocabulary: dict, examples: Path = EXAMPLES) -> Page:
    """Parse and validate one script's header.

    Raises `CatalogError`, naming file, line and what to write instead, for a missing
    or repeated block, unparsable TOML or Python, unknown or missing keys, wrong types,
    words that are not in the vocabulary, and dependencies that are not plain
    ``name`` or ``name`` with version bounds (no URLs, paths, options or markers).
    """
    source = path.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(source))
    if len(blocks) != 1 or blocks[0].start() != 0:
        raise CatalogError(
            path,
            1,
            "the file must start with its one `# /// script` block",
            "Begin with `# /// script`, end the block with `# ///` (see CONTRIBUTING)",
        )
    text = "".join(
        line[2:] if line.startswith("# ") else line[1:]
        for line in blocks[0]["content"].splitlines(keepends=True)
    )
    try:
        header = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _toml_error(path, error, 1) from None

    def fail(key: str, problem: str, advice: str):
        named = rf'(?m)^\[?(tool\.)?"?{re.escape(key)}\b'
        found = re.search(named, text) or re.search(r"(?m)^\[tool\.gallery\]", text)
        line = 2 + text[: found.start()].count("\n") if found else 1
        raise CatalogError(path, line, problem, advice)

    _check_keys(header, HEADER_KEYS, fail)
    tools = header["tool"]
    for key in tools.keys() - {"gallery", "uv"}:
        fail(key, f'unknown table "tool.{key}"', 'Only "tool.gallery" is read here')
    if not isinstance(gallery := tools.get("gallery"), dict):
        fail("tool", 'missing table "tool.gallery"', "Add `# [tool.gallery]`")
    _check_keys(gallery, GALLERY_KEYS, fail, OPTIONAL_KEYS)

    for part in header["requires-python"].split(","):
        if not PYTHON.match(part):
            advice = 'Write bounds such as ">=3.11" or ">=3.11,<3.13"'
            fail("requires-python", f'cannot read "{part}"', advice)
    seen = set()
    for requirement in header["dependencies"]:
        if not REQUIREMENT.match(requirement):
            advice = 'Write a name, or a name with bounds: "torch==2.14.*"'
            fail("dependencies", f"{requirement!r} is not a plain requirement", advice)
        if distribution(requirement) in seen:
            fail("dependencies", f'"{requirement}" stands twice', "Keep one")
        seen.add(distribution(requirement))
    for key, known in (
        ("modules", vocabulary["modules"]),
        ("data", vocabulary["data"]),
        ("level", vocabulary["levels"]),
        ("task", vocabulary["tasks"]),
    ):
        words = gallery[key] if isinstance(gallery[key], list) else [gallery[key]]
        for word in words:
            if word not in known:
                advice = f"Choose from {_listed(known)}, or add it to catalog.toml"
                fail(key, f'unknown {key} "{word}"', advice)
    for key in ("modules", "claim"):
        if not gallery[key]:
            fail(key, f'"{key}" is empty', "Every page shows and claims something")

    folder = path.parent.relative_to(examples).as_posix()
    if folder not in vocabulary["folders"]:
        advice = f"Put the script into one of {_listed(vocabulary['folders'])}"
        raise CatalogError(path, 1, f'unknown folder "{folder}"', advice)
    return Page(
        path=path,
        folder=folder,
        title=_title(path, source),
        requires_python=header["requires-python"],
        dependencies=tuple(header["dependencies"]),
        modules=tuple(gallery["modules"]),
        level=gallery["level"],
        task=gallery["task"],
        step=gallery["step"],
        data=tuple(gallery["data"]),
        claim=gallery["claim"],
        no_pretend=gallery.get("no-pretend", ""),
        uv=tools.get("uv", {}),
    )


def find_pages(
    vocabulary: dict, examples: Path = EXAMPLES
) -> tuple[list[Page], list[CatalogError]]:
    """All good pages below ``examples`` and the errors of the bad ones, one a file.

    The pages come in the order of folders and learning path.
    """
    pages, errors = [], []
    for path in sorted(examples.rglob("*.py")):
        try:
            pages.append(read_page(path, vocabulary, examples))
        except CatalogError as error:
            errors.append(error)
    order = list(vocabulary["folders"])
    pages.sort(key=lambda p: (order.index(p.folder), p.step, p.name))
    return pages, errors


def environments(pages: list[Page]) -> dict[str, list[Page]]:
    """Group pages by folder: a folder of scripts is an environment."""
    groups: dict[str, list[Page]] = {}
    for page in pages:
        groups.setdefault(page.folder, []).append(page)
    return groups


def requirements(pages: list[Page]) -> dict[str, list[str]]:
    """What ``pages`` ask for: requirement string -> names of the pages that ask."""
    wanted: dict[str, list[str]] = {}
    for page in pages:
        for requirement in page.dependencies:
            wanted.setdefault(requirement, []).append(page.name)
    return dict(sorted(wanted.items(), key=lambda item: item[0].lower()))


def disputed(pages: list[Page]) -> list[str]:
    """Lines naming each package that pages ask for with different version bounds."""
    asked: dict[str, dict[str, list[str]]] = {}
    for requirement, names in requirements(pages).items():
        asked.setdefault(distribution(requirement), {})[requirement] = names
    return [
        f"{requirement} (asked by {', '.join(names)})"
        for versions in asked.values()
        if len(versions) > 1
        for requirement, names in versions.items()
    ]


def constraints(folder: str, vocabulary: dict) -> Path:
    """The constraints file that rules the environment of ``folder``."""
    own = vocabulary["folders"][folder].get("own_constraints", False)
    return (EXAMPLES / folder if own else ROOT) / "constraints.txt"


def digest(page: Page, vocabulary: dict) -> str:
    """Hash of all that a page's result depends on: its source and its constraints."""
    rule = constraints(page.folder, vocabulary)
    content = page.path.read_bytes() + b"\0" + rule.read_bytes()
    return hashlib.sha256(content).hexdigest()


def module_table(pages: list[Page], vocabulary: dict) -> str:
    """The README's table in Markdown: one row a module, with its pages."""
    rows = ["| # | module | what it is for | pages |", "|--:|---|---|---|"]
    modules = sorted(vocabulary["modules"].items(), key=lambda item: item[1]["rank"])
    for name, module in modules:
        links = [
            f"[{page.title}]({page.path.relative_to(ROOT).as_posix()})"
            for page in pages
            if name in page.modules
        ]
        rows.append(
            f"| {module['rank']} | [{name}]({module['docs']}) | {module['purpose']} "
            f"| {'<br>'.join(links) or '*no page yet*'} |"
        )
    return "\n".join(rows)


def readme_text(pages: list[Page], vocabulary: dict, readme: str) -> str:
    """``readme`` with the part between the table markers made anew."""
    start, end = "<!-- modules: start -->\n", "<!-- modules: end -->"
    head, _, rest = readme.partition(start)
    tail = rest.partition(end)[2]
    return f"{head}{start}\n{module_table(pages, vocabulary)}\n\n{end}{tail}"


def _check_keys(table: dict, wanted: dict, fail, optional: dict | None = None) -> None:
    known = wanted | (optional or {})
    for key in table.keys() - known.keys():
        fail(key, f'unknown key "{key}"', f"Known keys: {_listed(known)}")
    for key in wanted.keys() - table.keys():
        fail(key, f'missing key "{key}"', f"Add it (a {_kind(wanted[key])})")
    for key in table.keys() & known.keys():
        kind = known[key]
        good = isinstance(table[key], kind) and not isinstance(table[key], bool)
        if good and kind is list:
            good = all(isinstance(item, str) for item in table[key])
        if not good:
            fail(key, f'"{key}" has the wrong type', f"Write a {_kind(kind)}")


def _kind(kind: type) -> str:
    return {str: "string", list: "list of strings", int: "whole number"}.get(kind, "table")


def _listed(words) -> str:
    return ", ".join(f'"{word}"' for word in sorted(words))


def _toml_error(path: Path, error: Exception, offset: int) -> CatalogError:
    where = re.search(r"at line (\d+)", str(error))
    line = int(where[1]) + offset if where else 1
    problem = str(error).split(" (at")[0].rstrip(".")
    return CatalogError(path, line, f"TOML: {problem}", "Mend this line")


def _title(path: Path, source: str) -> str:
    try:
        docstring = ast.get_docstring(ast.parse(source))
    except SyntaxError as error:
        advice = "Mend the Python on this line"
        raise CatalogError(path, error.lineno or 1, error.msg, advice) from None
    lines = (docstring or "").splitlines()
    if len(lines) < 2 or not re.fullmatch("=+", lines[1]) or len(lines[0]) < 4:
        line = source[: BLOCK.search(source).end()].count("\n") + 2
        advice = "Follow the header with a docstring whose title is underlined with ="
        raise CatalogError(path, line, "the page has no title", advice)
    return lines[0]


def main(arguments: list[str]) -> int:
    """List the pages, or with ``--write`` bring README.md's table up to date."""
    if unknown := set(arguments) - {"--write", "--check"}:
        print(f"unknown argument {_listed(unknown)}; known: --check, --write")
        return 2
    vocabulary = read_vocabulary()
    pages, errors = find_pages(vocabulary)
    if errors:
        print(*errors, sep="\n")
        return 1
    readme = ROOT / "README.md"
    fresh = readme_text(pages, vocabulary, readme.read_text(encoding="utf-8"))
    if "--write" in arguments:
        readme.write_text(fresh, encoding="utf-8")
    elif fresh != readme.read_text(encoding="utf-8"):
        print("README.md: its table is out of date; run `python catalog.py --write`")
        return 1
    for folder, members in environments(pages).items():
        print(f"{folder} (nox -s {session_name(folder)}): {len(members)} pages")
        for page in members:
            print(f"  {page.step:>3} {page.name}: {page.claim}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
