"""Read a built site the way a browser would, and tell what is broken in it."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """One HTML file: its ``links`` and ``sources``, ``anchors``, and bare ``images``."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.sources: list[str] = []
        self.anchors: set[str] = set()
        self.without_alt: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
        attributes = dict(pairs)
        if name := attributes.get("id") or attributes.get("name"):
            self.anchors.add(name)
        if attributes.get("href"):
            self.links.append(attributes["href"])
        if attributes.get("src"):
            self.sources.append(attributes["src"])
        source = attributes.get("src") or "?"
        decorates = "_thumb." in source  # beside a link that says the same
        if tag == "img" and not (attributes.get("alt") or "").strip() and not decorates:
            self.without_alt.append(source)


@cache
def read(path: Path) -> Page:
    """Parse the HTML file ``path``; each file is read once."""
    return Page(path.read_text(encoding="utf-8"))


def broken_links(root: Path) -> list[str]:
    """Every internal link or source below ``root`` that leads nowhere.

    One line each, ``page -> target (what is missing)``; links to other hosts are not
    followed. A link to a folder means its index.html.
    """
    broken = []
    for path in sorted(root.rglob("*.html")):
        if "_static" in path.relative_to(root).parts:  # templates of the theme
            continue
        page = read(path)
        for target in dict.fromkeys([*page.links, *page.sources]):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            goal = goal / "index.html" if goal.is_dir() else goal
            missing = ""
            if not goal.is_file():
                missing = "no such file"
            elif parts.fragment and goal.suffix == ".html":
                if unquote(parts.fragment) not in read(goal).anchors:
                    missing = "no such anchor"
            if missing:
                broken.append(f"{path.relative_to(root)} -> {target} ({missing})")
    return broken
