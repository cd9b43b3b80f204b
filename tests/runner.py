"""Run one script as a reader would, and measure it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUDGET_SECONDS = 30  # on two cores
BUDGET_MEGABYTES = 1500


def slow_factor() -> float:
    """How much slower than the reference this machine is: ``GALLERY_SLOW_FACTOR``."""
    return float(os.environ.get("GALLERY_SLOW_FACTOR", "1"))


@dataclass(frozen=True)
class Run:
    """What came of a run.

    ``seconds`` is wall time, ``cpu_seconds`` user plus system time of the script and
    its children, ``megabytes`` the peak resident size of the largest of these
    processes (from the operating system's accounting, which on Linux never says less
    than the peak of the process that started it), ``connections`` the refused
    network accesses and ``leftovers`` the files that the script left in its folder.
    """

    returncode: int
    output: str
    seconds: float
    cpu_seconds: float
    megabytes: float
    connections: tuple[str, ...]
    leftovers: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """Everything that makes this run a failure, in words; empty if it is good."""
        found = []
        if self.returncode:
            found.append(f"exit status {self.returncode}:\n{self.output[-4000:]}")
        if self.connections:
            asked = ", ".join(self.connections)
            found.append(f"reached for the network ({asked}): ship the data instead")
        if self.leftovers:
            found.append(f"left files behind: {', '.join(self.leftovers)}")
        return found

    @property
    def over_budget(self) -> list[str]:
        """Which budgets were exceeded, the time scaled by `slow_factor`."""
        found = []
        if self.seconds > BUDGET_SECONDS * slow_factor():
            found.append(f"{self.seconds:.0f} s > {BUDGET_SECONDS * slow_factor():g} s")
        if self.megabytes > BUDGET_MEGABYTES:
            found.append(f"{self.megabytes:.0f} MB > {BUDGET_MEGABYTES} MB")
        return found


def run_script(
    script: Path,
    folder: Path,
    *,
    device: str = "cpu",
    launcher: tuple[str, ...] = (sys.executable,),
    prepare: tuple[str, ...] = (),
    threads: int | None = None,
    timeout: float | None = None,
) -> Run:
    """Copy ``script`` alone into ``folder`` (made here) and run it with ``launcher``.

    Non-interactive matplotlib, no network, visible warnings are errors. ``device`` is
    ``"cpu"`` (CUDA devices are hidden) or ``"cuda"``. ``threads`` caps the threads of
    the numerical libraries. ``prepare`` is a command that is given the script's name
    first, with a network, unmeasured: it may install what the script needs. After
    ``timeout`` seconds (ten budgets unless told) the script and its children are killed
    and the run counts as failed.
    """
    work = folder / "work"
    work.mkdir(parents=True)
    shutil.copy(script, work)
    log = folder / "network.log"
    environment = os.environ | {
        "MPLBACKEND": "Agg",
        "PYTHONPATH": str(ROOT / "tests" / "guard"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "GALLERY_CATALOG": str(ROOT / "catalog.toml"),
        "GALLERY_NETWORK_LOG": str(log),
    }
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    if threads:
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment |= dict.fromkeys(names, str(threads))
    timeout = timeout or 10 * BUDGET_SECONDS * slow_factor()
    output = folder / "output.txt"
    with output.open("w") as sink:
        if prepare:
            quiet = {"stdin": subprocess.DEVNULL, "stdout": sink, "stderr": sink}
            ready = subprocess.run([*prepare, script.name], cwd=work, **quiet)
            if ready.returncode:
                text = output.read_text(errors="replace")
                return Run(ready.returncode, text, 0.0, 0.0, 0.0, (), ())
        start = time.perf_counter()
        process = subprocess.Popen(
            [*launcher, script.name],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        returncode, usage = _wait(process, start + timeout)
        seconds = time.perf_counter() - start
    text = output.read_text(errors="replace")
    if returncode == -signal.SIGKILL and seconds >= timeout:
        text += f"\nstopped after {timeout:.0f} s"
    kept = {script.name, "__pycache__"}
    return Run(
        returncode=returncode,
        output=text,
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        # bytes on macOS, KiB elsewhere
        megabytes=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6,
        connections=tuple(log.read_text().splitlines()) if log.exists() else (),
        leftovers=tuple(sorted(p.name for p in work.iterdir() if p.name not in kept)),
    )


def _wait(process: subprocess.Popen, deadline: float):
    """Wait with `os.wait4`, which alone gives this one child's resource usage."""
    try:
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.perf_counter() > deadline:
                os.killpg(process.pid, signal.SIGKILL)
                _, status, usage = os.wait4(process.pid, 0)
                break
            time.sleep(0.02)
    except BaseException:  # interrupted: leave no orphan behind
        os.killpg(process.pid, signal.SIGKILL)
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage
