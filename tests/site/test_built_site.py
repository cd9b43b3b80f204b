"""A smoke look at the site in docs/_build/site; `nox -s docs` must have built it."""

from __future__ import annotations

import json
import os

import pytest
from links import broken_links, read

import catalog

SITE = catalog.ROOT / "docs" / "_build" / "site"
VOCABULARY = catalog.read_vocabulary()
PAGES = catalog.find_pages(VOCABULARY)[0]
MOST_BYTES = 2_000_000  # a page with its pictures and sounds


@pytest.fixture(autouse=True)
def _built():
    if not (SITE / "index.html").exists():
        pytest.fail("there is no site: run `nox -s docs` first", pytrace=False)


def files(page):
    return SITE / "gallery" / page.folder / f"{page.name}.html"


def test_internal_links_resolve():
    assert broken_links(SITE) == []


def test_landing_page_shows_every_module():
    text = (SITE / "index.html").read_text()
    assert [name for name in VOCABULARY["modules"] if name not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
class TestPage:
    def test_was_run(self, page):
        if "GALLERY_NOT_RUN_OK" in os.environ:
            pytest.skip("pages that were not run are allowed here")
        assert "not run in this build" not in files(page).read_text()

    def test_pictures_have_alt_text(self, page):
        assert read(files(page)).without_alt == []

    def test_is_light(self, page):
        sources = [src for src in read(files(page)).sources if not src.startswith("data:")]
        pictures = {files(page).parent / src for src in sources}
        weight = sum(
            file.stat().st_size
            for file in {files(page), *pictures}
            if file.is_file() and "_static" not in file.resolve().parts
        )
        assert weight < MOST_BYTES

    def test_notebook_installs_what_the_header_names(self, page):
        (path,) = SITE.glob(f"_downloads/*/{page.name}.ipynb")
        first = json.loads(path.read_text())["cells"][0]["source"]
        assert all(requirement in "".join(first) for requirement in page.dependencies)

    def test_download_is_the_script(self, page):
        (path,) = SITE.glob(f"_downloads/*/{page.name}.py")
        assert path.read_bytes() == page.path.read_bytes()
