"""The sessions' helpers: what they say when something is missing or cannot be."""

from __future__ import annotations

from dataclasses import replace

import nox
import pytest

import catalog
import noxfile

PAGES = noxfile.PAGES


class Stopped(Exception):
    """Raised where a session would end; the message is what it says."""


class FakeSession:
    """Records what a session would install and run, and stops where it would stop."""

    posargs = ()
    python = None

    def __init__(self, version="3 12 1", installed="False", broken=False):
        self.answers = {"version_info": version, "metadata": installed}
        self.broken = broken
        self.installed: list[tuple] = []
        self.ran: list[tuple] = []

    def install(self, *arguments, **options):
        self.installed.append(arguments)
        if self.broken:
            raise nox.command.CommandFailed("no solution")

    def run(self, *arguments, **options):
        self.ran.append(arguments)
        found = [a for key, a in self.answers.items() if key in " ".join(arguments)]
        return found[0] if found else ""

    def error(self, message):
        raise Stopped(message)

    skip = error

    def log(self, message):
        pass


def some_page(**changes):
    return replace(PAGES[0], **changes)


def test_python_too_new(monkeypatch):
    page = some_page(folder="core/legacy", requires_python=">=3.11,<3.13")
    monkeypatch.setattr(noxfile, "PAGES", [page])
    with pytest.raises(Stopped, match=r"core/legacy needs Python >=3.11,<3.13.*3\.13.*run"):
        noxfile.runnable(FakeSession("3 13 0"), "core/legacy")
    assert noxfile.runnable(FakeSession("3 12 9"), "core/legacy") == [page]


def test_versions_that_exclude_each_other():
    pages = [
        some_page(dependencies=("torch==2.14.*",)),
        some_page(path=PAGES[0].path.with_name("other.py"), dependencies=("torch==2.3.1",)),
    ]
    with pytest.raises(Stopped, match=r"(?s)different versions.*torch==2.14.*other"):
        noxfile.install(FakeSession(broken=True), pages)


def test_other_install_failure_is_passed_on():
    with pytest.raises(nox.command.CommandFailed):
        noxfile.install(FakeSession(broken=True), [some_page(dependencies=("torch",))])


def test_no_compiler(monkeypatch):
    page = some_page(folder="graphs/native", dependencies=("torch", "torch_scatter==2.1.2"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    session = FakeSession()
    with pytest.raises(Stopped, match="no compiler was found.*apt-get install g"):
        noxfile.install(session, [page])
    assert "torch" in session.installed[0]
    assert "torch_scatter==2.1.2" not in session.installed[0]


def test_compiled_once(monkeypatch):
    page = some_page(folder="graphs/native", dependencies=("torch", "torch_scatter==2.1.2"))
    session = FakeSession(installed="True")
    noxfile.install(session, [page])
    assert len(session.installed) == 1
    session = FakeSession(installed="False")
    monkeypatch.setenv("CXX", "sh")
    noxfile.install(session, [page])
    assert session.installed[1][-1] == "torch_scatter==2.1.2"
    assert "--no-build-isolation" in session.ran[-1]


def test_no_cuda_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "")
    noxfile.device_or_skip(FakeSession(), "cpu")
    with pytest.raises(Stopped, match="no CUDA device here"):
        noxfile.device_or_skip(FakeSession(), "cuda")


def test_bad_header_stops_only_its_folder(monkeypatch):
    bad = catalog.EXAMPLES / "vision" / "bad_page.py"
    error = catalog.CatalogError(bad, 3, "unknown key", "Mend it")
    monkeypatch.setattr(noxfile, "ERRORS", [error])
    with pytest.raises(Stopped, match=r"bad_page.py:3: unknown key"):
        noxfile.pages_of(FakeSession(), ["vision"])
    noxfile.pages_of(FakeSession(), ["core"])


def test_unknown_docs_argument():
    session = FakeSession()
    session.posargs = ("vison", "--native")
    with pytest.raises(Stopped, match=r"unknown argument vison; known: core, .*--native"):
        noxfile.docs.func(session)


def test_site_is_replaced_in_one_step(tmp_path):
    for text in ("old", "new"):
        (tmp_path / "html").mkdir(exist_ok=True)
        (tmp_path / "html" / "index.html").write_text(text)
        (tmp_path / "site.new").mkdir(exist_ok=True)  # left by an interrupted build
        noxfile.publish(tmp_path / "html", tmp_path / "site")
    assert (tmp_path / "site" / "index.html").read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["html", "site"]


def test_readme_and_ci_run_the_same_commands():
    readme = (catalog.ROOT / "README.md").read_text()
    ci = (catalog.ROOT / ".ci" / "run").read_text()
    commands = [line for line in readme.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[1] in ci.splitlines()


def test_no_version_number_in_noxfile():
    text = (catalog.ROOT / "noxfile.py").read_text()
    names = [*noxfile.TOOLS, *noxfile.SITE, *noxfile.BUILD]
    assert not any(char in name for name in names for char in "=<>")
    assert "torch==" not in text
