"""Style rules: each fires on a page that breaks it, and no real page breaks one."""

from __future__ import annotations

from pathlib import Path

import pytest
import style

import catalog

GOOD = Path(__file__).with_name("fixtures") / "good_page.py"
PAGES, _ = catalog.find_pages(catalog.read_vocabulary())
FILLER = "".join(f"value_{number} = {number}\n" for number in range(12))

INTRODUCTION = GOOD.read_text().split("==\n\n")[1].split('\n"""')[0]
FIGURE = (
    "# What does one" + GOOD.read_text().split("# What does one")[1].split("# An error")[0]
)
CELL = "# The claim, on digits that were never learnt from.\n"
LONG = (
    "".join(
        f"#\n# Numbers that nobody will ever need follow here.\n\n{FILLER}\n# %%\n"
        for _ in range(8)
    )
    + "# And now the claim, after all of these numbers.\n"
)

# For each rule, changes to the good page (old, new) that break it and nothing else.
BREAKS = {
    "short_cells": [("losses = []\n", "losses = []\n" + FILLER)],
    "page_length": [
        (CELL, CELL + LONG),
        (FIGURE, ""),
    ],
    "prose_around_code": [
        ("The loss falls fast and then flattens, which is what one layer can do.", ""),
    ],
    "introduction": [
        ("1,797 digits with one linear", "1,797 digits " + "very " * 100 + "linear"),
        (INTRODUCTION, "A page."),
        ("===\n", "==\n"),
    ],
    "device_line": [("check_available=True) or", "check_available=False) or")],
    "no_device_literal": [
        ("loss.backward()", 'loss.to("cuda:0").backward()'),
        ("loss.backward()", "loss.cuda().backward()"),
    ],
    "seed": [
        ("torch.manual_seed(0)\n", ""),
        ("losses = []", "losses = list(np.random.default_rng())"),
    ],
    "claim_asserted": [
        ("assert accuracy > baseline + 0.7, accuracy", "print(accuracy)"),
        ("assert accuracy > baseline + 0.7, accuracy", "assert True"),
    ],
    "where_next": [("# Where next\n# ----------", "# The end\n# -------")],
    "headings": [("# ---------\n", ""), ],
    "modern_names": [
        ("counts = ", "torch.jit.script(model)\ncounts = "),
        ("from torch import nn", "from torch import jit, nn"),
        ("from torch import nn", "import torch.cuda.amp as amp\nfrom torch import nn"),
        ("from torch import nn", "import argparse\nfrom torch import nn"),
    ],
    "no_file_tricks": [
        ("losses = []", "losses = [__file__]"),
        ("losses = []", "import sys\nlosses = sys.argv[1:]"),
    ],
    "no_swallowed_error": [
        ("    print(error)", "    pass"),
        ("except RuntimeError as error:\n    print(error)", "except:\n    print(1)"),
        ("except RuntimeError as error:", "except ImportError as error:"),
    ],
    "no_placeholder": [
        ("# An error that is shown", "# TODO: an error that is shown"),
        ("# The loss falls fast", "# As we can see the loss falls fast"),
    ],
    "guarded_workers": [("shuffle=True)", "shuffle=True, num_workers=2)")],
    "readable_figures": [
        ('ax.set_title("Training loss of one linear layer")\n', ""),
        ('ax.set_xlabel("step")\nax.set_ylabel("cross-entropy (nats)")\n', "print(ax)\nprint(fig)\n"),
    ],
    "declared_imports": [
        ("from torch import nn", "import numpy\nfrom torch import nn"),
        ('"matplotlib"]', '"matplotlib", "numpy"]'),
        ("counts = ", 'find_spec("pyo")\ncounts = '),
    ],
    "data_is_named": [('"digits-8x8"', '"mnist-5k"')],
    "harmless_name": [],
}  # fmt: skip


def checked(tmp_path, vocabulary, text, name="read_small_digits"):
    path = tmp_path / "examples" / "core" / f"{name}.py"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    page = catalog.read_page(path, vocabulary, tmp_path / "examples")
    return style.check(page, text, vocabulary)


def fired(findings):
    return {finding.split(": ")[1] for finding in findings}


def test_good_page_has_no_findings(tmp_path, vocabulary):
    assert checked(tmp_path, vocabulary, GOOD.read_text()) == []


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [(rule, *change) for rule, changes in BREAKS.items() for change in changes],
)
def test_rule_fires(tmp_path, vocabulary, rule, old, new):
    text = GOOD.read_text()
    assert old in text
    assert fired(checked(tmp_path, vocabulary, text.replace(old, new))) == {rule}


@pytest.mark.parametrize("name", ["pdb", "matplotlib", "sklearn", "digits"])
def test_harmful_name(tmp_path, vocabulary, name):
    assert fired(checked(tmp_path, vocabulary, GOOD.read_text(), name)) == {"harmless_name"}


def test_every_rule_has_a_breaking_change():
    assert BREAKS.keys() == style.RULES.keys()


def test_alias_does_not_hide_an_old_name(tmp_path, vocabulary):
    text = GOOD.read_text().replace("import torch\n", "import torch as t\nimport torch\n")
    text = text.replace("counts = ", "t.jit.script(model)\ncounts = ")
    assert fired(checked(tmp_path, vocabulary, text)) == {"modern_names"}


def test_page_about_an_old_module_may_import_it(tmp_path, vocabulary):
    text = GOOD.read_text().replace('["torch.nn"]', '["functorch", "torch.nn"]')
    text = text.replace("from torch import nn", "import functorch\nfrom torch import nn")
    text = text.replace('"matplotlib"]', '"matplotlib", "functorch"]')
    assert fired(checked(tmp_path, vocabulary, text)) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page, vocabulary):
    findings = style.check(page, page.path.read_text(), vocabulary)
    assert not findings, "\n".join(findings)
