"""The site: small galleries are built in a copy of the project and looked at."""

from __future__ import annotations

import base64
import http.server
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from functools import partial

import gallery
import pytest
from PIL import Image

import catalog

PAGE = '''# /// script
# requires-python = ">=3.11"
# dependencies = ["matplotlib"]
#
# [tool.gallery]
# modules = ["torch"]
# level = "beginner"
# task = "foundations"
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
    for name in ("conf.py", "index.rst", "health.rst", "api.rst", "replaced.rst"):
        shutil.copy(catalog.ROOT / "docs" / name, tmp_path / "docs")
    for folder in ("core", "core/legacy"):
        (tmp_path / "examples" / folder).mkdir(parents=True)
        source = catalog.EXAMPLES / folder / "README.rst"
        shutil.copy(source, tmp_path / "examples" / folder)
    (tmp_path / "examples/core/show_one_number.py").write_text(PAGE)
    return tmp_path


def build(project, run="core", show="core,core/legacy", render=False, repository=""):
    """Run Sphinx as the docs session does; returns exit status and output."""
    kind = ("-b", "dummy", "-t", "render") if render else ("-b", "html")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", *kind]
    done = subprocess.run(
        [*command, "docs", "docs/_build/html"],
        cwd=project,
        env=os.environ
        | {"GALLERY_RUN": run, "GALLERY_SHOW": show, "NO_COLOR": "1"}
        | {"GALLERY_REPOSITORY": repository},
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
    assert re.search(r"data-sgtags='\[\"beginner\", \"foundations\", \"torch\"\]'", index)
    landing = (project / "docs/_build/html/index.html").read_text()
    assert landing.count("no page yet") == 15
    assert "1 page:" in landing
    notebook = json.loads((project / "docs/gallery/core/show_one_number.ipynb").read_text())
    assert notebook["cells"][0]["source"] == ["%pip install --quiet matplotlib"]
    thumbnail = "docs/_build/html/_images/sphx_glr_show_one_number_thumb.png"
    assert Image.open(project / thumbnail).mode == "P", "a palette, to be light"


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


def test_colab_link_needs_a_repository(project):
    assert build(project)[0] == 0
    assert "colab" not in html(project)
    assert build(project, repository="owner/name")[0] == 0
    link = "/github/owner/name/blob/notebooks/core/show_one_number.ipynb"
    assert f'href="https://colab.research.google.com{link}"' in html(project)
    status, output = build(project, repository="https://example.org/owner/name")
    assert status != 0
    assert "write OWNER/NAME" in output


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


def test_finder_and_api_read_the_script(project):
    path = project / "examples/core/show_one_number.py"
    path.write_text(PAGE.replace("import matplotlib", "import torch\n\ntorch.func.vmap"))
    status, output = build(project, run="vision")  # the page is shown, not run
    assert status == 0, output
    landing = (project / "docs/_build/html/index.html").read_text()
    assert landing.count('class="finder-card"') == 1
    assert 'data-text="A page in miniature. vmap"' in landing
    api = (project / "docs/_build/html/api.html").read_text()
    assert re.search(r"torch\.func\.vmap</span>.*?show_one_number\.html", api, re.DOTALL)
    assert 'href="http' not in re.search("torch.func.vmap.*?</dt>", api, re.DOTALL)[0]
    replaced = (project / "docs/_build/html/replaced.html").read_text()
    assert replaced.count("not in this build") == len(catalog.read_vocabulary()["replaced"])
    with zipfile.ZipFile(project / "docs/_build/html/gallery/core/core.zip") as box:
        assert box.namelist() == ["core/show_one_number.py"]
        assert box.read("core/show_one_number.py").decode() == path.read_text()
    assert 'href="core.zip"' in html(project, "core/index")


def test_names_link_to_their_documentation_where_it_answers(project):
    """A list of API names is served here in place of torch's; the others do not answer."""
    (project / "api").mkdir()
    entry = b"torch.func.vmap py:function 1 vmap.html -\n"
    head = "# Sphinx inventory version 2\n# Project: t\n# Version: 1\n# zlib\n"
    (project / "api/objects.inv").write_bytes(head.encode() + zlib.compress(entry))
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=project / "api")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}/"
        words = (project / "catalog.toml").read_text()
        table = f'[inventories]\ntorch = "{base}"\nlost = "{base}lost/"\n\n'
        words = re.sub(r"(?s)\[inventories\].*?\n\n", table, words)
        (project / "catalog.toml").write_text(words)
        path = project / "examples/core/show_one_number.py"
        path.write_text(
            PAGE.replace("import matplotlib", "import torch\n\ntorch.func.vmap")
        )
        status, output = build(project, run="vision")
        server.shutdown()
    assert status == 0, output
    assert f'href="{base}vmap.html"' in (project / "docs/_build/html/api.html").read_text()


def test_animation_is_mended():
    frame = io.BytesIO()
    noise = random.Random(0).randbytes(3 * 64 * 64)
    Image.frombytes("RGB", (64, 64), noise).save(frame, "png")
    text = base64.b64encode(frame.getvalue()).decode()
    body = (
        '<link rel="x" href="https://maxcdn.example/a.css">'
        '<img id="_anim_img1"><input id="_anim_slider1">'
        f'frames[0] = "data:image/png;base64,{text[:80]}\\\n    {text[80:]}"'
    )
    mended = gallery.mended_animations(body, 'A "title"')
    assert 'alt="Animation: A &quot;title&quot;"' in mended
    assert 'aria-label="Frame"' in mended
    assert "maxcdn" not in mended
    small = base64.b64decode(re.search(r"base64,([^\"]+)", mended)[1])
    assert len(small) < len(frame.getvalue())
    assert Image.open(io.BytesIO(small)).size == (64, 64)


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
