"""How fast is the whole? Measures environments, tests and docs in one run.

``python tests/bench.py`` clones the committed state of this repository into a temporary
folder, so that nothing of the working tree is touched, and times nox there:
environments from an empty and from a filled uv cache, all pages that install from wheels
with one and with two workers (by ``standalone``, which alone runs them together), the
domains one after the other, and the docs from scratch, after an edit of one page, and with
nothing to do. It prints a table and writes ``.reports/bench.json``. Seconds are wall
time on this machine; only the ratios between them mean something elsewhere.

``--no-cold`` leaves out the run from an empty cache, which downloads gigabytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOMAINS = [f"{name}(cpu)" for name in ("core", "vision", "audio", "graphs")]


def nox(clone: Path, *arguments: str, **environment: str) -> float:
    """Run nox in ``clone``; its wall time in seconds. Raises if a session fails."""
    log = clone.parent / "bench.log"
    start = time.perf_counter()
    with log.open("a") as sink:
        status = subprocess.run(
            [sys.executable, "-m", "nox", *arguments],
            cwd=clone,
            env=os.environ | environment,
            stdout=sink,
            stderr=subprocess.STDOUT,
        ).returncode
    if status:
        sys.exit(f"nox {' '.join(arguments)} failed:\n{log.read_text()[-4000:]}")
    seconds = time.perf_counter() - start
    print(f"{seconds:8.1f} s  nox {' '.join(arguments)}", flush=True)
    return seconds


def in_scripts(clone: Path, reports: str) -> float:
    """Sum of the scripts' own wall times in the reports that match the glob pattern."""
    files = (clone / ".reports").glob(reports)
    return sum(row["seconds"] for file in files for row in json.loads(file.read_text()))


def in_pages(clone: Path) -> float:
    """Sum of the times that the docs build spent running pages."""
    costs = (clone / "docs" / "gallery").rglob("*.cost.json")
    return sum(json.loads(file.read_text())["time"] for file in costs)


def measure(clone: Path, cold: bool) -> dict[str, float]:
    """All timings in seconds, and the ratios that they are judged by."""
    found: dict[str, float] = {}
    if cold:
        with tempfile.TemporaryDirectory(dir=clone.parent) as cache:
            empty = {"UV_CACHE_DIR": cache}
            found["environment, empty cache"] = nox(
                clone, "--install-only", "-s", "vision(cpu)", **empty
            )
    nox(clone, "--install-only", "-s", *DOMAINS)
    found["environment, filled cache"] = nox(
        clone, "--install-only", "--reuse-venv", "never", "-s", "vision(cpu)"
    )
    together = ("-s", "standalone", "--", "-k", "not with_torch_", "--report")
    for name, count in (("one worker", "1"), ("two workers", "2")):
        report = f".reports/together-{count}.json"
        found[f"all pages, {name}"] = nox(clone, *together, report, "-n", count)
    found["domains"] = nox(clone, "-s", *DOMAINS)
    domains, two = in_scripts(clone, "*-cpu.json"), in_scripts(clone, "together-2.json")
    nox(clone, "--install-only", "-s", "docs")
    found["docs, from scratch"] = nox(clone, "-s", "docs")
    pages = in_pages(clone)
    page = clone / "examples" / "core" / "tensors_views_and_numpy.py"
    page.write_text(page.read_text() + "# One more line.\n")
    found["docs, one page edited"] = nox(clone, "-s", "docs")
    cost = clone / "docs" / "gallery" / "core" / f"{page.stem}.cost.json"
    edited = json.loads(cost.read_text())["time"]
    found["docs, nothing to do"] = nox(clone, "-s", "docs")
    found["docs: seconds beside the edited page"] = found["docs, one page edited"] - edited
    found["ratio: one worker to two"] = (
        found["all pages, one worker"] / found["all pages, two workers"]
    )
    found["ratio: all pages to half the scripts"] = found["all pages, two workers"] / (
        two / 2
    )
    found["ratio: domains to half the scripts"] = found["domains"] / (domains / 2)
    found["ratio: docs to half the pages"] = found["docs, from scratch"] / (pages / 2)
    return found


def main(arguments: list[str]) -> int:
    """Measure, print the table, write the report."""
    if unknown := set(arguments) - {"--no-cold"}:
        print(f"unknown argument {', '.join(unknown)}; known: --no-cold")
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "clone"
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
        found = measure(clone, "--no-cold" not in arguments)
    found = {name: round(value, 2) for name, value in found.items()}
    report = ROOT / ".reports" / "bench.json"
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps(found, indent=1) + "\n")
    for name, value in found.items():
        print(f"{value:8.2f}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
