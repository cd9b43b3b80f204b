"""Margins: a claim too near its bound, or numbers that change, are reported."""

from __future__ import annotations

import ast
import json

import margins
import pytest
import reseed
from runner import Run


def noted(source, **names):
    reseed.MARGINS.clear()
    tree = ast.fix_missing_locations(reseed.NoteComparisons().visit(ast.parse(source)))
    exec(compile(tree, "page", "exec"), names | {"_note_margin": reseed.note_margin})
    return [(m["test"], round(m["distance"], 6), m["holds"]) for m in reseed.MARGINS]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("assert a > 0.5", [("a > 0.5", 0.25, True)]),
        ("assert a < 0.5, a", [("a < 0.5", -0.25, False)]),
        ("assert 1 >= a >= 0.75", [("1 >= a", 0.25, True), ("a >= 0.75", 0.0, True)]),
        ("assert a > 0.75", [("a > 0.75", 0.0, False)]),
        ("assert a > 0 and a < 1", [("a > 0", 0.75, True), ("a < 1", 0.25, True)]),
        ("assert a == 0.75", []),
        ("assert all([True])", []),
    ],
)
def test_comparisons_are_noted(source, expected):
    assert noted(source, a=0.75) == expected


def test_random_state_is_a_seed_and_nothing_else_is():
    source = "f(random_state=0, folds=5)\nf(random_state=rng)\nf(random_state=None)"
    moved = ast.unparse(reseed.NoteComparisons(3).visit(ast.parse(source)))
    assert moved == source.replace("random_state=0", "random_state=3")


def test_other_assertions_stay():
    with pytest.raises(AssertionError):
        noted("assert a == 1 and a > 0", a=0.75)


def run(*distances, output=""):
    entries = [
        {"line": 1, "test": "a > 1", "left": d, "distance": d, "holds": d > 0}
        for d in distances
    ]
    text = output + f"\nmargins: {json.dumps(entries)}\n"
    return Run(0, text, 1.0, 1.0, 1.0, (), ())


class Page:
    name = "page"


def test_room_in_standard_deviations():
    (row,) = margins.rows_of(Page, [run(d) for d in (0.9, 1.0, 1.1)])
    assert row["room"] == pytest.approx(10)
    assert row["holds"]


def test_exact_claim_has_no_spread():
    (row,) = margins.rows_of(Page, [run(1.0), run(1.0)])
    assert row["room"] is None


def examined(monkeypatch, tmp_path, results):
    """`margins.examine` with the runs replaced by ``results``, one for each call."""
    queue = iter(results)
    monkeypatch.setattr(margins, "run_script", lambda *a, **k: next(queue))
    page = type("Page", (), {"name": "page", "path": tmp_path / "page.py"})
    return margins.examine(page, tmp_path)["problems"]


def test_sure_claim_has_no_problem(monkeypatch, tmp_path):
    runs = [run(d) for d in (0.9, 1.0, 1.1, 1.0, 1.0)] + [run(0.9)] + [run(1.0)] * 2
    assert examined(monkeypatch, tmp_path, runs) == []


def test_narrow_claim_is_a_problem(monkeypatch, tmp_path):
    runs = [run(d) for d in (0.1, 0.2, 0.01, 0.15, 0.02)] + [run(0.1)] * 3
    assert "standard deviations" in examined(monkeypatch, tmp_path, runs)[0]


def test_failing_seed_is_a_problem(monkeypatch, tmp_path):
    runs = [run(d) for d in (9, 9, -0.1, 9, 9)] + [run(9)] * 3
    assert examined(monkeypatch, tmp_path, runs) == ["a > 1 fails with some seed"]


def test_failing_threads_are_a_problem(monkeypatch, tmp_path):
    runs = [run(d) for d in (0.9, 1.0, 1.1, 1.0, 1.0)] + [run(0.9), run(1.0), run(-1.0)]
    assert examined(monkeypatch, tmp_path, runs) == ["4 threads: a > 1 fails by 1"]


def test_changed_number_is_a_problem_and_changed_time_is_not(monkeypatch, tmp_path):
    first = run(1.0, output="accuracy 0.91\n12 ms a step\nW1125 04:39:17.3 no device\n")
    again = run(1.0, output="accuracy 0.92\n15 ms a step\nW1125 04:41:04.3 no device\n")
    found = examined(monkeypatch, tmp_path, [first] * 5 + [again] + [first] * 2)
    assert found == [
        "prints other numbers the second time: 'accuracy 0.91' / 'accuracy 0.92'"
    ]
