"""Run every script of one folder the way a reader runs it; see runner.py."""

from __future__ import annotations

import importlib.util
import shutil
import sys

import pytest
from runner import run_script

import catalog


def pytest_generate_tests(metafunc):
    folder = metafunc.config.getoption("folder")
    pages, _ = catalog.find_pages(catalog.read_vocabulary())
    chosen = [page for page in pages if folder in (None, page.folder)]
    metafunc.parametrize("page", chosen, ids=[page.name for page in chosen])


def test_script(page, pytestconfig, tmp_path, threads, record_property):
    vocabulary = catalog.read_vocabulary()
    kind, device = pytestconfig.getoption("launcher"), pytestconfig.getoption("device")
    record_property("page", f"{page.folder}/{page.name}")
    record_property("digest", catalog.digest(page, vocabulary))
    record_property("device", "pretended" if kind == "pretend" else device)
    record_property("python", ".".join(map(str, sys.version_info[:2])))
    if not catalog.supports(page.requires_python, sys.version_info[:3]):
        pytest.skip(f"needs Python {page.requires_python}")
    if found := importlib.util.find_spec(page.name):
        pytest.fail(f"rename {page.name}.py: a copy would hide the module {found.origin}")
    launcher, prepare = (sys.executable,), ()
    if kind == "uv":
        uv = shutil.which("uv") or pytest.fail("uv is not installed: pip install uv")
        launcher = (uv, "run", "--quiet", "--python", sys.executable)
        prepare = (uv, "sync", "--quiet", "--python", sys.executable, "--script")
    elif kind == "pretend":
        if page.no_pretend:
            pytest.skip(page.no_pretend)
        launcher = (sys.executable, str(catalog.ROOT / "tests" / "pretend.py"))
    run = run_script(
        page.path,
        tmp_path,
        device=device,
        launcher=launcher,
        prepare=prepare,
        threads=threads,
    )
    record_property("seconds", round(run.seconds, 2))
    record_property("cpu_seconds", round(run.cpu_seconds, 2))
    record_property("megabytes", round(run.megabytes))
    record_property("over_budget", "; ".join(run.over_budget))
    if run.problems:
        pytest.fail("\n".join(run.problems), pytrace=False)
