"""Sphinx extension: the health page, made from headers, runs and test reports.

The reports are what the sessions leave in ``.reports``: ``FOLDER-DEVICE.json`` by the
domains, ``pretend-FOLDER.json``, ``margins-FOLDER.json``. A report counts only for the
source that it ran; what none tells is shown as a dash, never guessed.
"""

from __future__ import annotations

import json
from pathlib import Path

import style
from docutils import nodes
from gallery import gallery_pages, read_run, rst_table
from runner import BUDGET_MEGABYTES, BUDGET_SECONDS
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import catalog

REPORTS = catalog.ROOT / ".reports"
# Yardstick -> the style rules that a page must not break.
RULES = {
    "stands alone": ("declared_imports", "no_file_tricks"),
    "sets its seed": ("seed",),
    "asserts its claim": ("claim_asserted",),
    "uses no stale API": ("modern_names",),
}


def read_reports(folder: Path = REPORTS) -> dict[str, list[dict]]:
    """Rows of each report by its name; a file that is half written is left out."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            rows = json.loads(path.read_text())
        except json.JSONDecodeError:
            continue
        if isinstance(rows, list):
            found[path.stem] = rows
    return found


def read_bench(folder: Path = REPORTS) -> list[tuple[str, str]]:
    """What ``nox -s bench`` measured, as rows of a table; empty if it did not run."""
    try:
        found = json.loads((folder / "bench.json").read_text())
    except (OSError, json.JSONDecodeError):
        return []
    return [(name, f"{value:.2f}") for name, value in found.items()]


def proofs(page: catalog.Page, digest: str, reports: dict[str, list[dict]]) -> dict:
    """What the reports prove about ``page`` in the state that ``digest`` stands for.

    ``devices`` and ``pythons`` on which it passed (sorted lists), the most ``seconds``
    and ``megabytes`` of these runs on a real device (None without one), and the rows of
    its ``margins``.
    """
    devices, pythons, seconds, megabytes, margins = set(), set(), [], [], []
    for rows in reports.values():
        for row in rows:
            if row.get("digest") != digest or row["page"].split("/")[-1] != page.name:
                continue
            if "rows" in row:
                margins = row["rows"]
            elif row["result"] == "passed":
                devices.add(row["device"])
                pythons.add(row["python"])
                if row["device"] != "pretended":
                    seconds.append(row["seconds"])
                    megabytes.append(row["megabytes"])
    return {
        "devices": sorted(devices),
        "pythons": sorted(pythons, key=lambda v: tuple(map(int, v.split(".")))),
        "seconds": max(seconds, default=None),
        "megabytes": max(megabytes, default=None),
        "margins": margins,
    }


def yardsticks(page: catalog.Page, vocabulary: dict, proof: dict) -> dict[str, bool]:
    """Each promise of the gallery, and whether it is proven for ``page``."""
    findings = style.check(page, page.path.read_text(), vocabulary)
    broken = {finding.split(": ")[1] for finding in findings}
    kept = {name: not broken & set(rules) for name, rules in RULES.items()}
    real = proof["seconds"] is not None  # it passed in a run whose sockets were cut
    kept["runs without a network"] = real
    kept["keeps the budget"] = (
        real
        and proof["seconds"] <= BUDGET_SECONDS
        and proof["megabytes"] <= BUDGET_MEGABYTES
    )
    kept["was run for this site"] = read_run(page) is not None
    return kept


def measured(margins: list[dict]) -> str:
    """The asserted comparisons with what was measured, as reST."""
    parts = []
    for row in margins:
        room = "" if row["room"] is None else f", room {row['room']:.0f} sd"
        parts.append(f"``{row['test']}``: {row['value']:.4g}{room}")
    return "; ".join(parts) or "–"


class Health(SphinxDirective):
    """The yardsticks of the whole gallery, then one row a page."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        vocabulary, pages = gallery_pages()
        reports = read_reports()
        shown = [
            page
            for page in pages.values()
            if f"gallery/{page.folder}/{page.name}" in self.env.found_docs
        ]
        head = (
            "Page",
            "Level",
            "Claim, and what was measured",
            "s",
            "MB",
            "Proven on",
            "Last run",
        )
        rows, kept = [head], {}
        for page in shown:
            proof = proofs(page, catalog.digest(page, vocabulary), reports)
            for name, good in yardsticks(page, vocabulary, proof).items():
                kept.setdefault(name, []).append(good)
            run = read_run(page) or {}
            cost = "–" if proof["seconds"] is None else f"{proof['seconds']:.0f}"
            size = "–" if proof["megabytes"] is None else f"{proof['megabytes']:.0f}"
            where = proof["devices"] + [f"Python {v}" for v in proof["pythons"]]
            link = f":doc:`{page.title} </gallery/{page.folder}/{page.name}>`"
            result = f"{page.claim}. {measured(proof['margins'])}"
            rows.append(
                (link, page.level, result, cost, size, ", ".join(where) or "–",
                 run.get("date", "not run"))
            )  # fmt: skip
        counts = [("Promise", "Pages that keep it")]
        for name, results in kept.items():
            counts.append((f"A page {name}", f"{sum(results)} of {len(results)}"))
        tables = [rst_table(counts), rst_table(rows)]
        if speed := read_bench():
            tables.append(rst_table([("What was timed", "Seconds or ratio"), *speed]))
        text = "\n\n".join(tables)
        return self.parse_text_to_nodes(text)


def setup(app: Sphinx) -> dict:
    """Register the directive ``gallery-health``."""
    app.add_directive("gallery-health", Health)
    return {"parallel_read_safe": True, "version": "1"}
