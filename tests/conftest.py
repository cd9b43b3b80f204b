"""Options of the test run, and the table that it ends in."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in (".", "tests", "docs/_ext")]


def pytest_addoption(parser):
    group = parser.getgroup("gallery")
    group.addoption("--folder", help="run only this folder below examples/")
    group.addoption("--device", default="cpu", choices=["cpu", "cuda"])
    group.addoption(
        "--launcher",
        default="python",
        choices=["python", "uv", "pretend"],
        help="what starts a script: this Python, `uv run` (which installs what the header "
        "asks for), or this Python with a pretended accelerator",
    )
    group.addoption("--report", help="write the table as JSON to this file, too")


@pytest.fixture(scope="session")
def vocabulary():
    """The tables of catalog.toml."""
    import catalog

    return catalog.read_vocabulary()


@pytest.fixture(scope="session")
def threads(request) -> int:
    """Threads a script may use, so that parallel workers do not fight for cores."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return max(1, (os.cpu_count() or 1) // workers)


def pytest_terminal_summary(terminalreporter, config):
    """Page, result, seconds, MB; over budget is told here and fails nothing."""
    rows = []
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            facts = dict(getattr(report, "user_properties", ()))
            if "page" in facts and (report.when == "call" or report.skipped):
                rows.append(facts | {"result": outcome})
    if not rows:
        return
    rows.sort(key=lambda row: -row.get("seconds", 0))
    width = max(len(row["page"]) for row in rows)
    terminalreporter.section("pages")
    write = terminalreporter.write_line
    write(f"{'page':{width}}  result   seconds  CPU s     MB")
    for row in rows:
        line = f"{row['page']:{width}}  {row['result']:7}"
        if "seconds" in row:
            line += f"  {row['seconds']:7.1f}  {row['cpu_seconds']:5.1f}"
            line += f"  {row['megabytes']:5.0f}  {row['over_budget']}"
        write(line.rstrip())
    total = sum(row.get("seconds", 0) for row in rows)
    over = [row["page"] for row in rows if row.get("over_budget")]
    write(f"{len(rows)} pages, {total:.1f} s in scripts, {len(over)} over budget")
    if config.getoption("report"):
        write_report(Path(config.getoption("report")), rows)


def write_report(file: Path, rows: list[dict]) -> None:
    """Write ``rows`` as JSON; rows of pages that did not run now (``-k``) are kept."""
    try:
        before = json.loads(file.read_text())
    except (OSError, json.JSONDecodeError):
        before = []
    ran = {row["page"] for row in rows}
    rows = rows + [row for row in before if row["page"] not in ran]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rows, indent=1) + "\n")
