"""How sure are the claims? Run each page again with other seeds, threads, and twice.

``python tests/margins.py FOLDER`` runs every page of a folder with five seeds (see
reseed.py), once more with the first, and with 2 and 4 threads. It prints one row for
each comparison that a page asserts: how far the value is from its bound, as mean and
standard deviation over the seeds, and the room between them in standard deviations.
Less than two is too little. Exit status 1 if a claim has too little room, fails with
some seed or number of threads, or if a page prints other numbers the second time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from runner import Run, run_script  # noqa: E402

import catalog  # noqa: E402

SEEDS = range(5)
THREADS = (2, 4)
LEAST_ROOM = 2.0  # standard deviations
NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e[+-]?\d+)?")
# Units of what a machine takes: lines with one of them may differ from run to run.
TIMING = re.compile(
    r"\b(ns|us|µs|ms|s|sec|seconds?|min|times?|x|MB|MiB|GB|GiB|kB|faster|slower|second)\b"
    r"|/s\b|×"
)

# Log lines, with their clock: torch's and, after the bar, its profiler's.
LOG = re.compile(r"[IWEC]\d{4} \d\d:\d\d:\d\d|[A-Z]+:\d{4}-\d\d-\d\d \d\d:\d\d")


def margins_of(run: Run) -> list[dict]:
    """The comparisons that reseed.py noted; empty if the page did not get there."""
    found = re.findall(r"(?m)^margins: (.*)$", run.output)
    return json.loads(found[-1]) if found else []


def changed_lines(first: str, second: str) -> list[str]:
    """Lines of two outputs that differ, but for logs and lines that tell a time or size."""
    return [
        f"{a!r} / {b!r}"
        for a, b in zip_longest(first.splitlines(), second.splitlines(), fillvalue="")
        if a != b
        and not a.startswith("margins: ")
        and not (LOG.match(a) and LOG.match(b))
        and not (TIMING.search(a) and TIMING.search(b))
    ]


def rows_of(page: catalog.Page, runs: list[Run]) -> list[dict]:
    """One row a comparison: its distances over the seeds, their mean, spread, room."""
    rows = []
    for noted in zip(*map(margins_of, runs), strict=False):
        distances = [entry["distance"] for entry in noted]
        spread = statistics.stdev(distances)
        rows.append(
            {
                "page": page.name,
                "line": noted[0]["line"],
                "test": noted[0]["test"],
                "value": noted[0]["left"],
                "mean": statistics.mean(distances),
                "spread": spread,
                "room": statistics.mean(distances) / spread if spread else None,
                "holds": all(entry["holds"] for entry in noted),
            }
        )
    return rows


def examine(page: catalog.Page, folder: Path) -> dict:
    """Run ``page`` in all its variants below ``folder``; its rows and its problems."""

    def run(name: str, seed: int = 0, threads: int = 1) -> Run:
        launcher = (sys.executable, str(ROOT / "tests" / "reseed.py"), str(seed))
        return run_script(page.path, folder / name, launcher=launcher, threads=threads)

    runs = [run(f"seed{seed}", seed) for seed in SEEDS]
    again = run("again")
    wide = {threads: run(f"threads{threads}", threads=threads) for threads in THREADS}
    problems = [
        f"seed {seed}: {p}" for seed, r in zip(SEEDS, runs, strict=True) for p in r.problems
    ]
    for threads, result in wide.items():
        problems += [f"{threads} threads: {p}" for p in result.problems]
        problems += [
            f"{threads} threads: {entry['test']} fails by {-entry['distance']:.3g}"
            for entry in margins_of(result)
            if not entry["holds"]
        ]
    changed = changed_lines(runs[0].output, again.output)
    problems += [f"prints other numbers the second time: {line}" for line in changed]
    rows = rows_of(page, runs)
    for row in rows:
        if not row["holds"]:
            problems.append(f"{row['test']} fails with some seed")
        elif row["room"] is not None and row["room"] < LEAST_ROOM:
            problems.append(f"{row['test']} has only {row['room']:.1f} standard deviations")
    return {"page": page.name, "rows": rows, "problems": problems}


def main(arguments: list[str]) -> int:
    """Examine the pages of one folder, print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--only", default="", help="part of a page's name")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args(arguments)
    vocabulary = catalog.read_vocabulary()
    pages = [
        page
        for page in catalog.find_pages(vocabulary)[0]
        if page.folder == options.folder
        and options.only in page.name
        and catalog.supports(page.requires_python, sys.version_info[:3])
    ]
    workers = max(1, min(2, os.cpu_count() or 1))
    results = []
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(examine, page, Path(scratch, page.name)) for page in pages]
        for number, (page, job) in enumerate(zip(pages, jobs, strict=True), start=1):
            result = job.result() | {"digest": catalog.digest(page, vocabulary)}
            results.append(result)
            print(f"[{number}/{len(jobs)}] {result['page']}", flush=True)
            for row in result["rows"]:
                room = "exact" if row["room"] is None else f"{row['room']:.1f} sd"
                print(
                    f"  line {row['line']}: {row['test']}: {row['value']:.4g}, "
                    f"room {row['mean']:.3g} ± {row['spread']:.2g} = {room}"
                )
            for problem in result["problems"]:
                print(f"  PROBLEM {problem}")
    if options.report:
        options.report.parent.mkdir(exist_ok=True)
        options.report.write_text(json.dumps(results, indent=1) + "\n")
    bad = [r["page"] for r in results if r["problems"]]
    print(f"{len(results)} pages, {len(bad)} with problems: {', '.join(bad) or 'none'}")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
