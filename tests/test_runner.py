"""The runner: what a script may not do is noticed, and what it costs is measured."""

from __future__ import annotations

import json
import re
import resource
import sys
import time

import pytest
from conftest import write_report
from runner import run_script

CONNECT = "import socket; socket.create_connection(('203.0.113.1', 80), timeout=1)"
FAILURES = {
    "assertion": ("accuracy = 0.5\nassert accuracy > 0.98, accuracy", "AssertionError"),
    "connects": (CONNECT, "reached for the network"),
    "downloads": (
        "import urllib.request; urllib.request.urlopen('http://example.org/a.zip')",
        "examples run without a network",
    ),
    "swallows the refusal": (
        f"try:\n    {CONNECT}\nexcept Exception:\n    print('no data, no lesson')",
        r"reached for the network \(socket.* 203.0.113.1",
    ),
    "connects in a child": (
        f'import subprocess, sys\nsubprocess.run([sys.executable, "-c", """{CONNECT}"""])',
        "reached for the network",
    ),
    "warns": ("import warnings; warnings.warn('old')", "UserWarning: old"),
    "warns of the future": (
        "import warnings; warnings.warn('gone soon', DeprecationWarning)",
        "DeprecationWarning: gone soon",
    ),
    "leaves a file": (
        "open('model.pt', 'w').write('x')",
        "left files behind: model.pt",
    ),
    "reads standard input": ("input('your name: ')", "EOFError"),
    "needs its helper": ("import helper_module", "ModuleNotFoundError"),
}


def run(tmp_path, source, **options):
    script = tmp_path / "read_digits.py"
    script.write_text(source)
    return run_script(script, tmp_path / "run", **options)


@pytest.mark.parametrize("kind", FAILURES)
def test_failure_is_noticed(tmp_path, kind):
    source, message = FAILURES[kind]
    problems = "\n".join(run(tmp_path, source).problems)
    assert re.search(message, problems), problems


def test_good_script_is_good(tmp_path):
    source = "import os; print(os.listdir(), os.environ['MPLBACKEND'])"
    result = run(tmp_path, source)
    assert result.problems == result.over_budget == []
    assert result.output.strip() == "['read_digits.py'] Agg"


def test_own_machine_may_be_reached(tmp_path):
    source = (
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(server.getsockname()).close()\n"
        "socket.getaddrinfo('localhost', 80)\n"
    )
    assert run(tmp_path, source).problems == []


def test_listed_noise_is_quiet(tmp_path):
    source = (
        "import warnings\nwarnings.warn('FigureCanvasAgg is non-interactive, and so on')\n"
    )
    assert run(tmp_path, source).problems == []


def test_noise_is_no_licence(tmp_path):
    source = "import warnings\nwarnings.warn('`torch.jit.x`', UserWarning)\n"
    assert "UserWarning" in run(tmp_path, source).problems[0]


def test_time_and_memory_are_measured(tmp_path):
    source = (
        "import time; block = bytearray(300_000_000); block[::4096] = b'x' * 73243\n"
        "start = time.process_time()\n"
        "while time.process_time() < start + 0.3: pass\n"
        "time.sleep(0.4)\n"
    )
    result = run(tmp_path, source)
    assert result.problems == []
    assert result.seconds > 0.7
    assert 0.3 < result.cpu_seconds
    floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    assert 300 < result.megabytes < max(400, floor + 10)


def test_budget_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("GALLERY_SLOW_FACTOR", "0.01")
    source = "import time; time.sleep(0.5)"
    assert run(tmp_path, source, timeout=30).over_budget == ["1 s > 0.3 s"]


def test_hanging_script_is_stopped_with_its_children(tmp_path):
    source = (
        "import subprocess, sys, time\n"
        "code = \"import time; time.sleep(2); open('late.txt', 'w')\"\n"
        "subprocess.Popen([sys.executable, '-c', code])\n"
        "time.sleep(60)\n"
    )
    result = run(tmp_path, source, timeout=1)
    assert "stopped after 1 s" in result.problems[0]
    time.sleep(1.5)
    assert not (tmp_path / "run" / "work" / "late.txt").exists()


def test_threads_are_capped(tmp_path):
    source = "import os; print(os.environ['OMP_NUM_THREADS'])"
    assert run(tmp_path, source, threads=1).output.strip() == "1"


def test_odd_place_is_no_hindrance(tmp_path, monkeypatch):
    """No home folder, and a path with spaces and letters beyond ASCII."""
    monkeypatch.delenv("HOME", raising=False)
    place = tmp_path / "eine Galerie für alle"
    place.mkdir()
    source = "import os; print(os.getcwd()); open('/dev/null').read()"
    result = run(place, source)
    assert result.problems == []
    assert "Galerie für alle" in result.output


def test_out_of_memory_is_told(tmp_path):
    source = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "block = bytearray(2**31)\n"
    )
    assert "MemoryError" in run(tmp_path, source).problems[0]


def test_preparing_is_not_guarded_and_its_failure_is_told(tmp_path):
    script = tmp_path / "shows_something.py"
    script.write_text("print('ran')\n")
    warns = "import warnings; warnings.warn('noise'); print('ready')"
    good = run_script(script, tmp_path / "good", prepare=(sys.executable, "-c", warns))
    assert good.problems == []
    assert "ready" in good.output
    assert "ran" in good.output
    fails = "raise SystemExit('no such package')"
    bad = run_script(script, tmp_path / "bad", prepare=(sys.executable, "-c", fails))
    assert "no such package" in bad.problems[0]
    assert "ran" not in bad.output


def test_report_keeps_pages_that_did_not_run(tmp_path):
    file = tmp_path / "reports" / "core.json"
    for rows in ([{"page": "a", "s": 1}, {"page": "b", "s": 1}], [{"page": "b", "s": 2}]):
        write_report(file, rows)
    assert json.loads(file.read_text()) == [{"page": "b", "s": 2}, {"page": "a", "s": 1}]
    file.write_text('[{"page": ')  # killed while it was written
    write_report(file, [{"page": "a", "s": 3}])
    assert json.loads(file.read_text()) == [{"page": "a", "s": 3}]
