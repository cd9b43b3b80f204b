"""Headers: each mistake gets one clear message, and all real pages are free of them."""

from __future__ import annotations

from pathlib import Path

import pytest

import catalog

GOOD = Path(__file__).with_name("fixtures") / "good_page.py"

# What is changed in the good page, and what the message must say.
MISTAKES = {
    "no block": ("# /// script\n", "", r":1: the file must start with"),
    "block not first": (
        "# /// script\n",
        "\n# /// script\n",
        r":1: the file must start",
    ),
    "unclosed block": ("# ///\n", "", r":1: the file must start with"),
    "bad TOML": ("step = 10", "step = ten", r":9: TOML: .*Mend this line"),
    "bad Python": (
        "print(images.shape",
        "print images.shape",
        r":\d+: .*Mend the Python",
    ),
    "unknown key": ("level =", "levle =", r':7: unknown key "levle".*"level"'),
    "unknown header key": (
        "# dependencies",
        '# licence = "MIT"\n# dependencies',
        r':3: unknown key "licence"',
    ),
    "unknown table": (
        "# [tool.gallery]",
        "# [tool.other]\n# [tool.gallery]",
        r':5: unknown table "tool.other"',
    ),
    "missing key": ("# step = 10\n", "", r':5: missing key "step".*whole number'),
    "missing table": (
        "[tool.gallery]",
        "[tool.uv]",
        r':5: missing table "tool.gallery"',
    ),
    "string for number": ("step = 10", 'step = "10"', r':9: "step" has the wrong type'),
    "true for number": ("step = 10", "step = true", r':9: "step" has the wrong type'),
    "string for list": (
        'modules = ["torch.nn"]',
        'modules = "torch.nn"',
        r':6: "modules" has the wrong type.*list of strings',
    ),
    "unknown module": ('"torch.nn"', '"torch.nm"', r':6: unknown modules "torch.nm"'),
    "unknown level": ('"beginner"', '"expert"', r':7: unknown level "expert"'),
    "unknown task": ('"classification"', '"fun"', r':8: unknown task "fun".*Choose'),
    "unknown data": ('"digits-8x8"', '"digits"', r':10: unknown data "digits"'),
    "empty modules": ('["torch.nn"]', "[]", r':6: "modules" is empty'),
    "empty claim": ('"A linear layer beats', '""  # ', r':11: "claim" is empty'),
    "bad python bound": ('">=3.11"', '"3.11 or so"', r":2: cannot read"),
    "same package twice": ('"matplotlib"', '"Torch"', r':3: "Torch" stands twice'),
    "no title": ("====", "----", r":13: the page has no title"),
    "dependency is a URL": (
        '"matplotlib"',
        '"matplotlib @ https://example.org/m.whl"',
        r":3: .*not a plain requirement",
    ),
    "dependency is an option": ('"matplotlib"', '"--pre"', r":3: .*not a plain"),
    "dependency is a path": ('"matplotlib"', '"../evil"', r":3: .*not a plain"),
    "dependency is a command": ('"matplotlib"', '"a; rm -r x"', r":3: .*not a plain"),
    "dependency breaks the line": ('"matplotlib"', r'"a\n--pre"', r":3: .*not a plain"),
}


def written(tmp_path, text: str) -> tuple[Path, Path]:
    examples = tmp_path / "examples"
    path = examples / "core" / "read_small_digits.py"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path, examples


def test_good_page_is_read(tmp_path, vocabulary):
    path, examples = written(tmp_path, GOOD.read_text())
    page = catalog.read_page(path, vocabulary, examples)
    assert page.title == "Read small digits with one layer"
    assert (page.folder, page.session, page.step) == ("core", "core", 10)
    assert page.dependencies == ("torch==2.14.*", "scikit-learn", "matplotlib")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_told(tmp_path, vocabulary, mistake):
    old, new, message = MISTAKES[mistake]
    text = GOOD.read_text()
    assert old in text
    path, examples = written(tmp_path, text.replace(old, new, 1))
    with pytest.raises(catalog.CatalogError, match=r"read_small_digits\.py" + message):
        catalog.read_page(path, vocabulary, examples)


def test_bad_page_leaves_the_others_unharmed(tmp_path, vocabulary):
    path, examples = written(tmp_path, GOOD.read_text())
    path.with_name("broken_page.py").write_text("print(1)\n")
    pages, errors = catalog.find_pages(vocabulary, examples)
    assert [page.name for page in pages] == ["read_small_digits"]
    assert [error.path.name for error in errors] == ["broken_page.py"]


def test_unknown_folder_is_told(tmp_path, vocabulary):
    path, examples = written(tmp_path, GOOD.read_text())
    moved = examples / "misc" / path.name
    moved.parent.mkdir()
    path.rename(moved)
    with pytest.raises(catalog.CatalogError, match='unknown folder "misc"'):
        catalog.read_page(moved, vocabulary, examples)


def test_vocabulary_entry_lacks_key(tmp_path):
    path = tmp_path / "catalog.toml"
    whole = (catalog.ROOT / "catalog.toml").read_text()
    path.write_text(whole.replace('status = "core"\n', "", 1))
    with pytest.raises(catalog.CatalogError, match='"modules.torch" lacks "status"'):
        catalog.read_vocabulary(path)


def test_vocabulary_is_no_toml(tmp_path):
    path = tmp_path / "catalog.toml"
    path.write_text("[modules\n")
    with pytest.raises(catalog.CatalogError, match="TOML"):
        catalog.read_vocabulary(path)


@pytest.mark.parametrize(
    ("bound", "version", "fits"),
    [
        (">=3.11", (3, 11, 0), True),
        (">=3.11", (3, 10, 9), False),
        (">=3.11,<3.13", (3, 12, 9), True),
        (">=3.11,<3.13", (3, 13, 1), False),
        ("<=3.12", (3, 12, 9), True),
        ("!=3.12", (3, 12, 1), False),
        (">3.11", (3, 11, 5), False),
        ("==3.13", (3, 13, 2), True),
    ],
)
def test_supports(bound, version, fits):
    assert catalog.supports(bound, version) is fits


def test_different_versions_are_named(tmp_path, vocabulary):
    path, examples = written(tmp_path, GOOD.read_text())
    other = path.with_name("read_other_digits.py")
    other.write_text(GOOD.read_text().replace("torch==2.14.*", "torch==2.3.1"))
    pages, _ = catalog.find_pages(vocabulary, examples)
    assert catalog.disputed(pages) == [
        "torch==2.14.* (asked by read_small_digits)",
        "torch==2.3.1 (asked by read_other_digits)",
    ]


def test_all_headers_are_valid(vocabulary):
    pages, errors = catalog.find_pages(vocabulary)
    assert not errors, "\n".join(map(str, errors))
    assert pages


def test_what_replaced_what_names_pages_that_exist(vocabulary):
    names = {page.name for page in catalog.find_pages(vocabulary)[0]}
    assert vocabulary["replaced"]
    for entry in vocabulary["replaced"]:
        assert entry.keys() == {"old", "today", "page", "equal"}
        assert entry["page"] in names


def test_names_are_unique(vocabulary):
    names = [page.name for page in catalog.find_pages(vocabulary)[0]]
    assert len(names) == len(set(names))


def test_readme_table_is_fresh(vocabulary):
    readme = (catalog.ROOT / "README.md").read_text()
    pages, _ = catalog.find_pages(vocabulary)
    assert catalog.readme_text(pages, vocabulary, readme) == readme
    stale = readme.replace("| 1 | [torch]", "| 1 | [touch]")
    assert catalog.readme_text(pages, vocabulary, stale) == readme != stale


def test_unknown_argument(capsys):
    assert catalog.main(["--wirte"]) == 2
    assert "--write" in capsys.readouterr().out


def test_few_pages_cannot_pretend():
    """Each page that cannot run on the pretended device is known here by name."""
    pages, _ = catalog.find_pages(catalog.read_vocabulary())
    excused = {page.name: page.no_pretend for page in pages if page.no_pretend}
    known = {"torchtext_and_plain_torch", "raw_loop_and_lightning"}
    known |= {"know_when_torch_compile_pays", "watch_a_lightning_run"}
    known |= {"let_lightning_train_on_two_processes"}
    assert set(excused) == known, excused
