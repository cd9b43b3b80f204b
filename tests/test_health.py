"""The health page counts only what a report proves for the page as it is now."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import catalog

pytest.importorskip("sphinx")
sys.path.insert(0, str(catalog.ROOT / "docs" / "_ext"))

import health

GOOD = Path(__file__).with_name("fixtures") / "good_page.py"
ROW = {
    "page": "core/read_digits",
    "digest": "now",
    "device": "cpu",
    "python": "3.12",
    "result": "passed",
    "seconds": 12.0,
    "megabytes": 900,
}


class Page:
    name = "read_digits"


def proofs(**rows):
    return health.proofs(Page, "now", {name: [ROW | row] for name, row in rows.items()})


def test_what_passed_is_proven():
    found = proofs(a={}, b={"python": "3.9"}, c={"device": "pretended", "seconds": 99.0})
    assert found["devices"] == ["cpu", "pretended"]
    assert found["pythons"] == ["3.9", "3.12"]
    assert (found["seconds"], found["megabytes"]) == (12.0, 900)


@pytest.mark.parametrize(
    "row", [{"digest": "before"}, {"result": "failed"}, {"page": "core/other"}]
)
def test_what_did_not_pass_now_is_not(row):
    found = proofs(a=row)
    assert found["devices"] == found["pythons"] == []
    assert found["seconds"] is None


def test_half_written_report_is_left_out(tmp_path):
    (tmp_path / "a.json").write_text('[{"page": ')
    (tmp_path / "b.json").write_text(json.dumps([ROW]))
    (tmp_path / "bench.json").write_text('{"docs": 1.0}')
    assert health.read_reports(tmp_path) == {"b": [ROW]}


def test_bench_is_shown_only_if_it_ran(tmp_path):
    assert health.read_bench(tmp_path) == []
    (tmp_path / "bench.json").write_text('{"docs": ')
    assert health.read_bench(tmp_path) == []
    (tmp_path / "bench.json").write_text('{"docs": 1.0}')
    assert health.read_bench(tmp_path) == [("docs", "1.00")]


@pytest.mark.parametrize(
    ("old", "new", "broken"),
    [
        ("", "", set()),
        ("torch.manual_seed(0)\n", "", {"sets its seed"}),
        ("assert accuracy", "print(accuracy) #", {"asserts its claim"}),
        ("losses = []", "losses = [__file__]", {"stands alone"}),
        ("losses = []", "losses = torch.jit", {"uses no stale API"}),
    ],
)
def test_yardsticks(tmp_path, vocabulary, old, new, broken):
    path = tmp_path / "examples" / "core" / "read_small_digits.py"
    path.parent.mkdir(parents=True)
    path.write_text(GOOD.read_text().replace(old, new) if old else GOOD.read_text())
    page = catalog.read_page(path, vocabulary, tmp_path / "examples")
    page = replace(page, folder="core")
    proof = {"seconds": 12.0, "megabytes": 900}
    kept = health.yardsticks(page, vocabulary, proof)
    never_run = {"was run for this site"}
    assert {name for name, good in kept.items() if not good} == broken | never_run
    slow = health.yardsticks(page, vocabulary, {"seconds": 31.0, "megabytes": 900})
    assert not slow["keeps the budget"]
    large = health.yardsticks(page, vocabulary, {"seconds": 3.0, "megabytes": 1600})
    assert not large["keeps the budget"]
    unproven = health.yardsticks(page, vocabulary, {"seconds": None, "megabytes": None})
    assert not unproven["keeps the budget"]
    assert not unproven["runs without a network"]
