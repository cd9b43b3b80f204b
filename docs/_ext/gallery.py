"""Sphinx extension: bring what the headers say into sphinx-gallery's pages.

It adds a line of facts below each page's title, the tags for sphinx-gallery's live
filter, the install cell of each notebook, and the two generated parts of the landing
page. What is only known at run time (versions, date, machine) is noted beside the
page's generated files by `note_run`, in the process that runs the page.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import json
import logging
import os
import platform
import re
import shlex
import warnings
import zipfile
from datetime import date
from functools import cache
from pathlib import Path

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

import catalog

GALLERY = catalog.ROOT / "docs" / "gallery"
REPOSITORY = os.environ.get("GALLERY_REPOSITORY", "")  # OWNER/NAME on GitHub
COLAB = "https://colab.research.google.com/github"
SHOWN = {"torch", "torchvision", "torchaudio", "torch-geometric", "torchtext"}


@cache
def gallery_pages() -> tuple[dict, dict[str, catalog.Page]]:
    """The vocabulary, and the pages by name.

    Raises `CatalogError` at a bad header in a folder that this build shows.
    """
    vocabulary = catalog.read_vocabulary()
    pages, errors = catalog.find_pages(vocabulary)
    shown = os.environ.get("GALLERY_SHOW", ",".join(vocabulary["folders"])).split(",")
    for error in errors:
        if error.path.parent in [catalog.EXAMPLES / folder for folder in shown]:
            raise error
    return vocabulary, {page.name: page for page in pages}


class LearningPath:
    """Sort key for sphinx-gallery: a folder's pages in the order of their steps."""

    def __init__(self, src_dir: str):
        self.pages = gallery_pages()[1]

    def __call__(self, filename: str) -> tuple[int, str]:
        name = Path(filename).stem
        return self.pages[name].step, name


def generated(page: catalog.Page, suffix: str) -> Path:
    """Path of a file that the build makes for ``page``: ``.rst``, ``.py.md5`` ..."""
    return GALLERY / page.folder / f"{page.name}{suffix}"


def note_run(gallery_conf: dict, fname: str | None, when: str) -> None:
    """sphinx-gallery's reset hook: before a page quiet the noise, after it note facts.

    Writes ``<page>.run.json`` with the versions, date and machine of this run. A page
    that failed has one as well, but it stops the build and runs again in the next.
    """
    vocabulary, pages = gallery_pages()
    if fname is None or Path(fname).stem not in pages:
        return
    page = pages[Path(fname).stem]
    if when == "before":
        for entry in vocabulary["noise"]:
            warnings.filterwarnings("ignore", message=entry["message"])
        # a compiler for CUDA and no device: no news for a reader of the page
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        return
    versions = {
        name: importlib.metadata.version(name)
        for name in map(catalog.distribution, page.dependencies)
    }
    facts = {
        "digest": catalog.digest(page, vocabulary),
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "versions": versions,
    }
    generated(page, ".run.json").write_text(json.dumps(facts, indent=1))


def read_run(page: catalog.Page) -> dict | None:
    """What `note_run` noted, and ``seconds``; None unless it is of this source."""
    try:
        facts = json.loads(generated(page, ".run.json").read_text())
        cost = json.loads(generated(page, ".cost.json").read_text())
        done = generated(page, ".py.md5").exists()
    except (OSError, json.JSONDecodeError):
        return None
    current = done and facts["digest"] == catalog.digest(page, gallery_pages()[0])
    return facts | {"seconds": cost["time"]} if current else None


def forget_stale(app: Sphinx) -> None:
    """Make sphinx-gallery run a page again whose source or constraints changed."""
    for page in gallery_pages()[1].values():
        if read_run(page) is None:
            generated(page, ".py.md5").unlink(missing_ok=True)


def finish_notebooks(app: Sphinx) -> None:
    """Give each notebook a first cell that installs what the page's header names."""
    for page in gallery_pages()[1].values():
        path = generated(page, ".ipynb")
        if not path.exists():
            continue
        notebook = json.loads(path.read_text())
        if notebook["cells"][0].get("id") == "install":
            continue
        wanted = " ".join(map(shlex.quote, page.dependencies))
        cell = {
            "cell_type": "code",
            "id": "install",
            "execution_count": None,
            "metadata": {},
            "outputs": [],
            "source": [f"%pip install --quiet {wanted}"],
        }
        notebook["cells"].insert(0, cell)
        path.write_text(json.dumps(notebook, indent=1))
        with zipfile.ZipFile(generated(page, ".zip"), "w", zipfile.ZIP_DEFLATED) as box:
            box.write(path, path.name)
            box.write(page.path, page.path.name)


def tags(page: catalog.Page) -> list[str]:
    """The words by which a reader filters: level, task and modules."""
    return [page.level, page.task, *page.modules]


def add_tags_to_thumbnails() -> None:
    """Hand sphinx-gallery the header's tags, which it would look for in a comment."""
    from sphinx_gallery import gen_rst

    original = gen_rst._thumbnail_div

    def with_tags(target_dir, src_dir, fname, *rest, **options):
        options["tags"] = tags(gallery_pages()[1][Path(fname).stem])
        return original(target_dir, src_dir, fname, *rest, **options)

    if original.__name__ != with_tags.__name__:
        gen_rst._thumbnail_div = with_tags


def facts_rst(page: catalog.Page, vocabulary: dict, run: dict | None) -> str:
    """The block below a page's title, as reST."""
    modules = ", ".join(
        f"`{name} <{vocabulary['modules'][name]['docs']}>`__" for name in page.modules
    )
    data = "; ".join(
        "`{name} <{url}>`__ ({what}; from {package}; licence: {licence}; "
        "{citation})".format(**vocabulary["data"][key])
        for key in page.data
    )
    if run:
        versions = ", ".join(
            f"{name} {version}"
            for name, version in run["versions"].items()
            if name in SHOWN
        )
        ran = (
            f"{run['seconds']:.0f} s on {run['cores']} cores, {run['date']}, "
            f"Python {run['python']}, {versions}"
        )
    else:
        how = "native" if page.session == "native" else page.session
        ran = f"not run in this build: ``nox -s docs -- {how}`` runs it"
    script = page.path
    rows = {
        "Claim": page.claim,
        "Modules": f"{modules} ({page.level})",
        "Data": data or "none",
        "Run": ran,
        "Copy": f":download:`{script.name} </gallery/{page.folder}/{script.name}>`, then "
        f"``uv run {script.name}``",
    }
    if REPOSITORY:  # its branch `notebooks` is written by .github/workflows/gallery.yml
        notebook = f"{COLAB}/{REPOSITORY}/blob/notebooks/{page.folder}/{page.name}.ipynb"
        rows = {"Open": f"`in Colab <{notebook}>`__"} | rows
    lines = "\n".join(f"   :{name}: {text}" for name, text in rows.items())
    source = json.dumps(script.read_text(encoding="utf-8")).replace("</", "<\\/")
    kept = f'<script type="application/json" id="gallery-source">{source}</script>'
    return f"\n.. container:: gallery-facts\n\n{lines}\n\n.. raw:: html\n\n   {kept}\n\n"


def few_colours(picture: Image.Image) -> Image.Image:
    """``picture`` with a palette of 256 colours: as a PNG about a third of the bytes."""
    few = {"method": Image.Quantize.FASTOCTREE, "dither": Image.Dither.NONE}
    return picture.convert("RGBA").quantize(256, **few)


def mended_animations(body: str, title: str) -> str:
    """matplotlib's animations in ``body`` with words for those who listen, without the
    icons that it would fetch from another site, and with frames of 256 colours."""

    def slim(frame: re.Match) -> str:
        picture = io.BytesIO(base64.b64decode(re.sub(r"\\\n *", "", frame[1])))
        small = io.BytesIO()
        few_colours(Image.open(picture)).save(small, "png")
        return f'"data:image/png;base64,{base64.b64encode(small.getvalue()).decode()}"'

    alt = f"Animation: {title}".replace('"', "&quot;")
    body = body.replace('<img id="_anim_img', f'<img alt="{alt}" id="_anim_img')
    body = body.replace(
        '<input id="_anim_slider', '<input aria-label="Frame" id="_anim_slider'
    )
    body = re.sub(r"<link[^>]*maxcdn[^>]*>", "", body)  # the theme has these icons
    return re.sub(r'"data:image/png;base64,((?:[\w+/=]|\\\n *)+)"', slim, body)


def insert_facts(app: Sphinx, docname: str, content: list[str]) -> None:
    """``source-read``: put the facts below a page's title, and mend its animations."""
    folder, _, name = docname.rpartition("/")
    vocabulary, pages = gallery_pages()
    domain = folder.removeprefix("gallery/")
    if name == "index" and domain in vocabulary["folders"] and "/" not in domain:
        link = f'<p><a href="{domain}.zip">All scripts of this domain (zip)</a></p>'
        content[0] += f"\n\n.. raw:: html\n\n   {link}\n"
    page = pages.get(name)
    if page is None or folder != f"gallery/{page.folder}":
        return
    title = f"{page.title}\n{'=' * len(page.title)}\n"
    app.env.note_dependency(generated(page, ".run.json"), docname=docname)
    head, found, body = content[0].partition(title)
    facts = facts_rst(page, vocabulary, read_run(page))
    content[0] = head + found + facts + mended_animations(body, page.title)


def count(pages: int) -> str:
    """``1 page``, ``2 pages``."""
    return f"{pages} page{'s' if pages != 1 else ''}"


class Domains(SphinxDirective):
    """Cards of the domains that this build shows, and the toctree that leads there."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        vocabulary, pages = gallery_pages()
        shown = [
            folder
            for folder in vocabulary["folders"]
            if f"gallery/{folder}/index" in self.env.found_docs
        ]
        cards, toctree = [".. grid:: 1 2 2 4", ""], [".. toctree::", "   :hidden:", ""]
        for folder in shown:
            if folder.rpartition("/")[0] in shown:
                continue
            about = vocabulary["folders"][folder]
            inside = [p for p in pages.values() if f"{p.folder}/".startswith(f"{folder}/")]
            cards += [
                f"   .. grid-item-card:: {about['title']}",
                f"      :link: /gallery/{folder}/index",
                "      :link-type: doc",
                "",
                f"      {count(len(inside))}: {about['purpose']}.",
                "",
            ]
            toctree.append(f"   {about['title']} </gallery/{folder}/index>")
        toctree += [
            "   API </api>",
            "   What replaced what </replaced>",
            "   Health </health>",
        ]
        return self.parse_text_to_nodes("\n".join([*cards, "", *toctree]))


def rst_table(rows: list[tuple]) -> str:
    """``rows`` as a reST list-table that scrolls; the first row is the header."""
    lines = [".. list-table::", "   :header-rows: 1", "   :class: gallery-table", ""]
    for row in rows:
        first, *rest = (str(cell) for cell in row)
        lines += [f"   * - {first}", *(f"     - {cell}" for cell in rest)]
    return "\n".join(lines)


class Modules(SphinxDirective):
    """The table of modules; each row links to its pages or says that it has none."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        vocabulary, pages = gallery_pages()
        rows = [("#", "Module", "Status", "What it is for", "Pages")]
        ranked = sorted(vocabulary["modules"].items(), key=lambda m: m[1]["rank"])
        for name, module in ranked:
            links = [
                f":doc:`{page.title} </gallery/{page.folder}/{page.name}>`"
                for page in pages.values()
                if name in page.modules
                and f"gallery/{page.folder}/{page.name}" in self.env.found_docs
            ]
            link = f"`{name} <{module['docs']}>`__"
            shown = " · ".join(links) or "*no page yet*"
            rows.append((module["rank"], link, module["status"], module["purpose"], shown))
        return self.parse_text_to_nodes(rst_table(rows))


def setup(app: Sphinx) -> dict:
    """Connect everything; the numbers put us before and behind sphinx-gallery (500)."""
    if REPOSITORY and not re.fullmatch(r"[\w.-]+/[\w.-]+", REPOSITORY):
        problem = f"GALLERY_REPOSITORY is {REPOSITORY!r}; write OWNER/NAME as on GitHub"
        raise ExtensionError(problem)
    add_tags_to_thumbnails()
    sources = [catalog.ROOT / "catalog.toml", *sorted(Path(__file__).parent.glob("*.py"))]
    told = b"".join(path.read_bytes() for path in sources)  # a change reads all pages anew
    told += REPOSITORY.encode()
    fingerprint = hashlib.sha256(told).hexdigest()
    app.add_config_value("gallery_vocabulary", fingerprint, "env")
    app.connect("builder-inited", forget_stale, priority=100)
    app.connect("builder-inited", finish_notebooks, priority=900)
    app.connect("source-read", insert_facts)
    app.add_directive("gallery-domains", Domains)
    app.add_directive("gallery-modules", Modules)
    return {"parallel_read_safe": True, "version": "1"}
