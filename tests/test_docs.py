"""The site: small galleries are built in a copy of the project and looked at."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

import catalog

PAGE = '''# /// script
# requires-python = ">=3.11"
# dependencies = ["matplotlib"]
#
# [tool.gallery]
# modules = ["torch"]
# level = "beginner"
# step = 10
# data = ["digits-8x8"]
# claim = "Forty-two is even"
# ///
"""
Show one number
===============

A page in miniature.
"""

import matplotlib

number = 42
print("the number is", number * 1000)

# %%
# And the claim.
assert number % 2 == 0, number
'''


@pytest.fixture
def project(tmp_path):
    """A copy of the project with one page, in ``core``."""
    for name in ("catalog.py", "catalog.toml", "constraints.txt"):
        shutil.copy(catalog.ROOT / name, tmp_path)
    for name in ("_ext", "_static", "_templates"):
        if (catalog.ROOT / "docs" / name).exists():
            shutil.copytree(catalog.ROOT / "docs" / name, tmp_path / "docs" / name)
    (tmp_path / "tests").mkdir()
    for name in ("style.py", "runner.py"):
        shutil.copy(catalog.ROOT / "tests" / name, tmp_path / "tests")
    for name in ("conf.py", "index.rst", "health.rst"):
        shutil.copy(catalog.ROOT / "docs" / name, tmp_path / "docs")
    for folder in ("core", "core/legacy"):
        (tmp_path / "examples" / folder).mkdir(parents=True)
        source = catalog.EXAMPLES / folder / "README.rst"
        shutil.copy(source, tmp_path / "examples" / folder)
    (tmp_path / "examples/core/show_one_number.py").write_text(PAGE)
    return tmp_path


def build(project, run="core", show="core,core/legacy", render=False):
    """Run Sphinx as the docs session does; returns exit status and output."""
    kind = ("-b", "dummy", "-t", "render") if render else ("-b", "html")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", *kind]
    done = subprocess.run(
        [*command, "docs", "docs/_build/html"],
        cwd=project,
        env=os.environ | {"GALLERY_RUN": run, "GALLERY_SHOW": show, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def html(project, name="core/show_one_number"):
    return (project / f"docs/_build/html/gallery/{name}.html").read_text()


def test_page_tells_its_facts(project):
    status, output = build(project)
    assert status == 0, output
    page = re.sub("<[^>]+>", "", html(project))
    for fact in (
        "the number is 42000",
        "Forty-two is even",
        "CC BY 4.0",
        "uv run show_one_number.py",
        f"Python {sys.version_info.major}.{sys.version_info.minor}",
    ):
        assert fact in page
    index = html(project, "core/index")
    assert re.search(r"data-sgtags='\[\"beginner\", \"torch\"\]'", index)
    landing = (project / "docs/_build/html/index.html").read_text()
    assert landing.count("no page yet") == 15
    assert "1 page:" in landing
    notebook = json.loads((project / "docs/gallery/core/show_one_number.ipynb").read_text())
    assert notebook["cells"][0]["source"] == ["%pip install --quiet matplotlib"]


def test_page_is_run_again_only_when_needed(project):
    noted = project / "docs/gallery/core/show_one_number.run.json"

    def ran() -> bool:
        before = noted.stat().st_mtime_ns if noted.exists() else None
        assert build(project)[0] == 0
        return noted.stat().st_mtime_ns != before

    assert ran()
    assert not ran()
    (project / "constraints.txt").write_text("matplotlib==0\n")
    assert ran()
    path = project / "examples/core/show_one_number.py"
    path.write_text(path.read_text().replace("number = 42", "number = 44"))
    assert ran()
    assert "the number is 44000" in html(project)


def test_broken_claim_stops_the_build(project):
    path = project / "examples/core/show_one_number.py"
    path.write_text(PAGE.replace("number = 42", "number = 43"))
    status, output = build(project)
    assert status != 0
    assert "AssertionError: 43" in output[-1500:]
    assert "show_one_number.py" in output[-1500:]
    assert build(project)[0] != 0, "a failed page must run again"


def test_page_that_was_not_run_says_so(project):
    status, output = build(project, run="vision")
    assert status == 0, output
    assert "not run in this build" in html(project)
    assert "the number is 42000" not in html(project)


def test_other_interpreter_runs_a_page_and_the_main_build_keeps_it(project):
    legacy = project / "examples/core/legacy/show_old_number.py"
    legacy.write_text(PAGE.replace("Show one number", "Show old number"))
    (legacy.parent / "constraints.txt").write_text("")
    status, output = build(project, "core/legacy", "core/legacy", render=True)
    assert status == 0, output
    status, output = build(project)
    assert status == 0, output
    old = html(project, "core/legacy/show_old_number")
    assert "the number is 42000" in old
    assert "not run in this build" not in old
    legacy.write_text(legacy.read_text().replace("number = 42", "number = 44"))
    assert build(project)[0] == 0
    old = html(project, "core/legacy/show_old_number")
    assert "not run in this build" in old
    assert "42000" not in old


def test_health_counts_what_is_proven(project):
    assert build(project)[0] == 0
    health = (project / "docs/_build/html/health.html").read_text()
    text = " ".join(re.sub("<[^>]+>", " ", health).split())
    assert "A page asserts its claim 1 of 1" in text
    assert "A page sets its seed 0 of 1" in text
    assert "A page runs without a network 0 of 1" in text
    assert "A page was run for this site 1 of 1" in text


def test_bad_header_is_told(project):
    (project / "examples/core/show_bad_number.py").write_text("print(1)\n")
    status, output = build(project)
    assert status != 0
    assert "show_bad_number.py:1: the file must start with" in output


def test_killed_build_leaves_nothing_stale(project):
    """A build that is killed while a page runs: the next one runs that page again."""
    path = project / "examples/core/show_one_number.py"
    assert build(project)[0] == 0
    slow = PAGE.replace("number = 42", "number = 44\nimport time; time.sleep(60)")
    path.write_text(slow)
    environment = os.environ | {"GALLERY_RUN": "core", "GALLERY_SHOW": "core,core/legacy"}
    started = subprocess.Popen(
        [sys.executable, "-m", "sphinx", "-b", "html", "docs", "docs/_build/html"],
        cwd=project,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    copied = project / "docs/gallery/core/show_one_number.py"
    while "number = 44" not in copied.read_text():
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    path.write_text(slow.replace("sleep(60)", "sleep(0)"))
    assert build(project)[0] == 0
    assert "the number is 44000" in html(project)


def test_path_with_spaces_and_umlauts(project, tmp_path):
    place = tmp_path.with_name(f"{tmp_path.name} für alle")
    shutil.move(project, place)
    status, output = build(place)
    assert status == 0, output
    assert "the number is 42000" in html(place)
