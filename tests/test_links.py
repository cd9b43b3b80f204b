"""The link checker finds what is broken, and only that."""

from __future__ import annotations

import pytest
from links import broken_links, read

PAGE = '<h1 id="top">A</h1><a href="{0}">x</a><img src="pic.png" alt="a picture">'


def site(root, target):
    (root / "sub").mkdir()
    (root / "pic.png").write_bytes(b"x")
    (root / "index.html").write_text(PAGE.format(target))
    (root / "sub" / "index.html").write_text('<p id="here">B</p>')
    return root


@pytest.mark.parametrize(
    "target",
    ["sub/", "sub/index.html#here", "#top", "https://example.org/gone", "pic.png#x"],
)
def test_good_link(tmp_path, target):
    assert broken_links(site(tmp_path, target)) == []


@pytest.mark.parametrize(
    ("target", "missing"),
    [
        ("gone.html", "no such file"),
        ("sub/index.html#gone", "no such anchor"),
        ("#gone", "no such anchor"),
        ("../outside.html", "no such file"),
    ],
)
def test_broken_link(tmp_path, target, missing):
    assert broken_links(site(tmp_path, target)) == [f"index.html -> {target} ({missing})"]


def test_missing_picture(tmp_path):
    site(tmp_path, "sub/")
    (tmp_path / "pic.png").unlink()
    assert broken_links(tmp_path) == ["index.html -> pic.png (no such file)"]


def test_missing_alt_text(tmp_path):
    (tmp_path / "bare.html").write_text('<img src="a.png"><img src="b.png" alt=" ">')
    assert read(tmp_path / "bare.html").without_alt == ["a.png", "b.png"]
