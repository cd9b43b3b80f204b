"""Sphinx extension: find a page by words and facts, and by the API names it uses.

``gallery-finder`` shows every page as a card, in the order of the learning paths, below
a form that ``_static/gallery.js`` brings to life. ``gallery-api`` lists the names that the
pages use, each with its pages; ``gallery-replaced`` what took the place of what. All read
the scripts and the catalog, so they are not stale.
"""

from __future__ import annotations

import re
import zipfile
from html import escape
from pathlib import Path

import style
from docutils import nodes
from gallery import count, few_colours, gallery_pages, generated, read_run, rst_table
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import catalog

THUMBNAIL = (320, 224)  # pixels, and twice as many for dense screens
SIDE_THUMBNAIL = (400, 280)  # in a folder's list and among related pages
SECONDS = (5, 10, 20)  # run times that a reader can ask for
ROOTS = re.compile(
    r"(torch(vision|audio|_geometric|metrics|data|diffeq|text|_sparse|_scatter|_cluster)?"
    r"|pytorch_lightning|functorch)\."
)


def api_names(source: style.Source) -> list[str]:
    """Dotted names of the gallery's modules in ``source``, sorted, without parents.

    ``torch.nn.Linear`` stands for ``torch.nn`` and ``torch`` as well.
    """
    names = {name for _, name in source.names if ROOTS.match(name)}
    return sorted(n for n in names if not any(m.startswith(f"{n}.") for m in names))


def searched_text(source: style.Source) -> str:
    """What the finder searches below title and claim: introduction, headings, names."""
    lines = "\n".join(cell.text for cell in source.cells if cell.kind == "text").split("\n")
    underlined = zip(lines, lines[1:], strict=False)
    headings = [line for line, below in underlined if re.fullmatch("-{4,}", below)]
    introduction = " ".join(source.cells[0].lines[2:])
    introduction = re.sub(r"`([^`<]+) <[^>]+>`__?", r"\1", introduction)
    names = [name.rpartition(".")[2] for name in api_names(source)]
    text = " ".join([introduction, *headings, *names]).replace("`", "")
    return " ".join(text.split())


def shown_pages(env) -> list[catalog.Page]:
    """Pages that this build shows, in the order of folders and learning paths."""
    return [
        page
        for page in gallery_pages()[1].values()
        if f"gallery/{page.folder}/{page.name}" in env.found_docs
    ]


def domain_of(page: catalog.Page) -> str:
    """``core`` for ``core`` and ``core/legacy``."""
    return page.folder.split("/")[0]


def card(page: catalog.Page, vocabulary: dict) -> str:
    """One page as HTML; the finder reads its facts from the ``data-`` attributes."""
    source = style.Source(page, page.path.read_text(encoding="utf-8"))
    run = read_run(page)
    seconds = "" if run is None else f"{run['seconds']:.0f}"
    facts = {
        "domain": domain_of(page),
        "module": " ".join(page.modules),
        "level": page.level,
        "task": page.task,
        "seconds": seconds,
        "text": searched_text(source),
    }
    data = " ".join(f'data-{key}="{escape(value)}"' for key, value in facts.items())
    width, height = THUMBNAIL
    picture = (
        f'<img src="_images/finder/{page.name}.webp" alt="" loading="lazy" '
        f'srcset="_images/finder/{page.name}-2x.webp 2x" '
        f'width="{width}" height="{height}">'
        if thumbnail(page).exists()
        else '<span class="finder-blank"></span>'
    )
    title = vocabulary["folders"][page.folder]["title"]
    about = [title, page.task, page.level, *([f"{seconds} s"] if seconds else [])]
    return (
        f'<li class="finder-card" {data}>'
        f'<a href="gallery/{page.folder}/{page.name}.html">{picture}'
        f'<span class="finder-title">{escape(page.title)}</span></a>'
        f'<p class="finder-claim">{escape(page.claim)}</p>'
        f'<p class="finder-about">{" · ".join(about)}</p></li>'
    )


def choice(name: str, label: str, options: dict[str, str]) -> str:
    """A labelled list to choose from; the empty first entry stands for all."""
    entries = "".join(
        f'<option value="{escape(value)}">{escape(text)}</option>'
        for value, text in {"": "all", **options}.items()
    )
    return f'<label>{label} <select name="{name}">{entries}</select></label>'


class Finder(SphinxDirective):
    """The form and the cards, as HTML that is whole without JavaScript."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        vocabulary, _ = gallery_pages()
        pages = shown_pages(self.env)
        domains = {
            folder: vocabulary["folders"][folder]["title"]
            for folder in dict.fromkeys(map(domain_of, pages))
        }
        used = {word for page in pages for word in (*page.modules, page.task)}
        form = [
            '<label class="finder-words">What do you want to do? '
            '<input type="search" name="q" placeholder="pad a batch" '
            'autocomplete="off"></label>',
            choice("domain", "Domain", domains),
            choice("task", "Task", {t: t for t in vocabulary["tasks"] if t in used}),
            choice("module", "Module", {m: m for m in vocabulary["modules"] if m in used}),
            choice("level", "Level", {level: level for level in vocabulary["levels"]}),
            choice("seconds", "Runs in", {f"{s}": f"at most {s} s" for s in SECONDS}),
            '<button type="reset">Show all</button>',
            f'<output aria-live="polite">{count(len(pages))}</output>',
        ]
        text = (
            f'<div class="finder" id="finder"><form role="search" hidden>{"".join(form)}'
            "</form><noscript><p>The filter needs JavaScript, which is off here: these are "
            'all pages, in the order of the learning paths.</p></noscript><ol class="finder'
            f'-cards">{"".join(card(page, vocabulary) for page in pages)}</ol></div>'
        )
        return [nodes.raw("", text, format="html")]


class Api(SphinxDirective):
    """Each API name that a page uses, with links to the pages that use it."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        users: dict[str, list[str]] = {}
        for page in shown_pages(self.env):
            source = style.Source(page, page.path.read_text(encoding="utf-8"))
            for name in api_names(source):
                link = f":doc:`{page.title} </gallery/{page.folder}/{page.name}>`"
                users.setdefault(name, []).append(link)
        lines, group = [], ""
        for name in sorted(users, key=lambda n: (n.rpartition(".")[0], n)):
            if group != (group := name.rpartition(".")[0]):
                lines += ["", f".. rubric:: {group}", ""]
            lines += [f":py:obj:`{name}`", f"   {' · '.join(users[name])}"]
        return self.parse_text_to_nodes("\n".join(lines))


class Replaced(SphinxDirective):
    """Old lines, today's, and the page that has them, from ``catalog.toml``."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        vocabulary, pages = gallery_pages()
        shown = shown_pages(self.env)
        rows = [("Old", "Today", "Where to see it")]
        for entry in vocabulary["replaced"]:
            page = pages.get(entry["page"])
            link = "not in this build"
            if page in shown:
                link = f":doc:`/gallery/{page.folder}/{page.name}`"
            proof = "equal" if entry["equal"] else "shows"
            rows.append((entry["old"], entry["today"], f"{proof}: {link}"))
        return self.parse_text_to_nodes(rst_table(rows))


def thumbnail(page: catalog.Page) -> Path:
    """Path of the picture that sphinx-gallery makes of ``page``: a .gif if it moves."""
    still = generated(page, "").parent / "images/thumb" / f"sphx_glr_{page.name}_thumb.png"
    moving = still.with_suffix(".gif")
    return moving if moving.exists() else still


def write_files(app: Sphinx, exception: Exception | None) -> None:
    """``build-finished``: a zip of scripts a domain, the cards' pictures, and thumbnails
    with few colours, since a page shows those of its related pages."""
    if exception or app.builder.format != "html":
        return
    pages = shown_pages(app.env)
    for domain in {domain_of(page) for page in pages}:
        path = app.outdir / "gallery" / domain / f"{domain}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as box:
            for page in (p for p in pages if domain_of(p) == domain):
                box.write(page.path, page.path.relative_to(catalog.EXAMPLES))
    for path in (app.outdir / "_images").glob("sphx_glr_*_thumb.png"):
        with Image.open(path) as picture:
            few_colours(picture.resize(SIDE_THUMBNAIL)).save(path)
    folder = app.outdir / "_images" / "finder"
    folder.mkdir(parents=True, exist_ok=True)
    for page in pages:
        if thumbnail(page).exists():
            with Image.open(thumbnail(page)) as picture:
                for times, suffix in ((1, ""), (2, "-2x")):
                    size = [times * pixels for pixels in THUMBNAIL]
                    small = picture.convert("RGBA").resize(size, Image.Resampling.LANCZOS)
                    small.save(folder / f"{page.name}{suffix}.webp", quality=80)


def setup(app: Sphinx) -> dict:
    """Register the directives and the writer of files."""
    app.add_directive("gallery-finder", Finder)
    app.add_directive("gallery-api", Api)
    app.add_directive("gallery-replaced", Replaced)
    app.connect("build-finished", write_files)
    return {"parallel_read_safe": True, "version": "1"}
