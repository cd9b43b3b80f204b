"""Sessions of the gallery: ``nox -l`` lists them.

Dependencies come from the scripts' headers and versions from ``constraints.txt``; no
version is written here. ``nox -s lock`` compiles the constraints anew.
"""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import sys
import webbrowser
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import nox

if sys.version_info < (3, 11):  # noqa: UP036
    have = ".".join(map(str, sys.version_info[:2]))
    sys.exit(f"the gallery needs Python 3.11 or newer, and nox runs on {have}")
sys.path.insert(0, str(Path(__file__).parent))
import catalog

TESTS = ["pytest", "pytest-xdist"]
TOOLS = [*TESTS, "ruff", "codespell", "check-jsonschema"]
SITE = ["sphinx", "sphinx-gallery", "pydata-sphinx-theme", "sphinx-design", "joblib"]
BROWSER = ["playwright", "axe-playwright-python"]  # Chromium itself is the system's
BUILD = ["setuptools", "wheel", "ninja", "pip"]  # what compiled packages need to build

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True

try:
    VOCABULARY = catalog.read_vocabulary()
    PAGES, ERRORS = catalog.find_pages(VOCABULARY)
except catalog.CatalogError as error:  # no session can run without the vocabulary
    sys.exit(str(error))
FOLDERS = {catalog.session_name(folder): folder for folder in VOCABULARY["folders"]}
WHEEL_ONLY = [name for name, folder in FOLDERS.items() if "/" not in folder]
nox.options.sessions = ["lint", "tools", *(f"{name}(cpu)" for name in WHEEL_ONLY)]
CUDA_CHECK = """import sys, torch
if not torch.cuda.is_available():
    sys.exit(f"torch {torch.__version__} cannot use this CUDA device: is it a CPU build "
             "(UV_TORCH_BACKEND=cpu), or is the driver older than its CUDA?")
"""
# Python's own flags ask for debug information, which doubles the time to compile.
NO_DEBUG = {f: f"{os.environ.get(f, '')} -g0" for f in ("CFLAGS", "CXXFLAGS")}
TORCH_VERSION = "import torch; print(torch.__version__)"
WORKERS = max(1, min(2, os.cpu_count() or 1))


def pages_of(session: nox.Session, folders: list[str]) -> list[catalog.Page]:
    """Pages of ``folders``; stops the session at a bad header in one of them."""
    places = [catalog.EXAMPLES / folder for folder in folders]
    if wrong := [error for error in ERRORS if error.path.parent in places]:
        session.error("\n".join(map(str, wrong)))
    return [page for page in PAGES if page.folder in folders]


def runnable(session: nox.Session, folder: str) -> list[catalog.Page]:
    """Pages of ``folder`` that this session's Python can run; stops if none can."""
    pages = pages_of(session, [folder])
    text = session.run(
        "python", "-c", "import sys; print(*sys.version_info[:3])", silent=True
    )
    version = tuple(map(int, text.split()))
    fit = [page for page in pages if catalog.supports(page.requires_python, version)]
    if pages and not fit:
        name = catalog.session_name(folder)
        have = ".".join(map(str, version[:2]))
        session.error(
            f"{folder} needs Python {pages[0].requires_python} and this is {have}: "
            f"run `nox -s {name} --force-python 3.12`, with that Python installed"
        )
    return fit


def install(session: nox.Session, pages: list[catalog.Page], *tools: str) -> None:
    """Install what ``pages`` ask for, and ``tools``, under the folder's constraints.

    Packages that the folder lists as compiled are built after the rest is there,
    without build isolation, so that they are built against the torch they will meet.
    """
    folder = pages[0].folder if pages else "core"
    compiled = set(VOCABULARY["folders"][folder].get("compiled", ()))
    wanted = list(catalog.requirements(pages))
    built = [w for w in wanted if catalog.distribution(w) in compiled]
    wheels = [w for w in wanted if w not in built]
    rule = ("-c", os.path.relpath(catalog.constraints(folder, VOCABULARY)))
    try:
        session.install(*wheels, *tools, *(BUILD if built else []), *rule, silent=False)
    except nox.command.CommandFailed:
        lines = catalog.disputed(pages)
        if lines:
            session.error(
                "the packages could not be installed together. These scripts ask for "
                "different versions:\n  " + "\n  ".join(lines) + "\nMake them agree, "
                "or move one into a folder with constraints of its own."
            )
        raise
    if built and not importable(session, built):
        compile_from_source(session, built)


def importable(session: nox.Session, requirements: list[str]) -> bool:
    """Whether all of ``requirements`` are installed in the session's environment."""
    names = [catalog.distribution(requirement) for requirement in requirements]
    code = (
        "import importlib.metadata as m; "
        "have = {d.name.lower().replace('_', '-') for d in m.distributions()}; "
        f"print(set({names}) <= have)"
    )
    return session.run("python", "-c", code, silent=True).strip() == "True"


def compile_from_source(session: nox.Session, requirements: list[str]) -> None:
    """Build ``requirements`` against the torch that is already installed."""
    compilers = (os.environ.get("CXX"), "g++", "clang++", "c++")
    if not any(name and shutil.which(name) for name in compilers):
        session.error(
            "this folder's packages are compiled from C++ and no compiler was found: "
            "install one (Debian and Ubuntu: `apt-get install g++`; macOS: "
            "`xcode-select --install`), then run this again"
        )
    torch = session.run("python", "-c", TORCH_VERSION, silent=True).strip()
    wheels = str(Path(".nox", "wheels", torch))  # compiled code fits one torch only
    session.log(
        f"compiling {', '.join(requirements)} from source: about 3 to 10 minutes a "
        f"package, once (the result is kept in {wheels})"
    )
    wheel = partial(  # takes what is in `wheels` already
        *(session.run, "python", "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"),
        *("--find-links", wheels, "--wheel-dir", wheels),
        "--no-cache-dir",  # pip's cache does not know which torch a wheel was built for
        env=NO_DEBUG,
    )
    with ThreadPoolExecutor(WORKERS) as pool:  # a package compiles on one core only
        list(pool.map(wheel, requirements))
    session.install("--find-links", wheels, *requirements)


def device_or_skip(session: nox.Session, device: str) -> None:
    """Skip a CUDA run, saying why, where this machine has no CUDA device."""
    if device == "cpu":
        return
    tool = shutil.which("nvidia-smi")
    if not tool or subprocess.run([tool, "-L"], capture_output=True).returncode:
        session.skip("no CUDA device here (nvidia-smi finds none)")


def run_tests(session: nox.Session, *arguments: str) -> None:
    """pytest, two workers unless the user chose; what stands after -- is passed on."""
    workers = [] if "-n" in session.posargs else ["-n", str(WORKERS)]
    session.run(
        *("pytest", "-v", "--no-header", *workers, "--dist", "worksteal"),
        *(*arguments, *session.posargs),
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )


def add_folder_session(name: str, folder: str) -> None:
    """Define the session that runs the scripts of ``folder`` on one device."""

    @nox.session(name=name)
    @nox.parametrize("device", [nox.param("cpu", id="cpu"), nox.param("cuda", id="cuda")])
    def run_folder(session: nox.Session, device: str) -> None:
        device_or_skip(session, device)
        pages = runnable(session, folder)
        if not pages:
            session.skip(f"there is no page in examples/{folder} yet")
        install(session, pages, *TESTS)
        if device == "cuda":
            session.run("python", "-c", CUDA_CHECK)
        kind = f"{device}-{session.python}" if session.python else device
        run_tests(
            session,
            "tests/test_examples.py",
            *("--folder", folder, "--device", device),
            *("--report", f".reports/{name}-{kind}.json"),
        )

    purpose = VOCABULARY["folders"][folder]["purpose"]
    run_folder.__doc__ = f"Run the scripts of examples/{folder}: {purpose}."


for _name, _folder in FOLDERS.items():
    add_folder_session(_name, _folder)


@nox.session
@nox.parametrize("name", [nox.param(name, id=name) for name in FOLDERS])
def pretend(session: nox.Session, name: str) -> None:
    """Run a folder's scripts as though an accelerator existed; see tests/pretend.py."""
    if not (pages := runnable(session, FOLDERS[name])):
        session.skip(f"there is no page in examples/{FOLDERS[name]} yet")
    install(session, pages, *TESTS)
    run_tests(
        session,
        *("tests/test_examples.py", "--launcher", "pretend", "--folder", FOLDERS[name]),
        *("--report", f".reports/pretend-{name}.json"),
        *(["tests/test_pretend.py"] if name == "core" else []),
    )


@nox.session
@nox.parametrize("name", [nox.param(name, id=name) for name in FOLDERS])
def margins(session: nox.Session, name: str) -> None:
    """Run each page with five seeds, twice, and with 1, 2 and 4 threads: is it sure?"""
    if not (pages := runnable(session, FOLDERS[name])):
        session.skip(f"there is no page in examples/{FOLDERS[name]} yet")
    install(session, pages, "numpy")
    report = ("--report", f".reports/margins-{name}.json")
    session.run("python", "tests/margins.py", FOLDERS[name], *report, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, spelling, headers, and whether README.md's table is up to date."""
    session.install(*TOOLS, "-c", "constraints.txt")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    session.run("codespell")
    workflows = map(str, Path(".github", "workflows").glob("*.yml"))
    schema = ("--builtin-schema", "vendor.github-workflows")
    session.run("check-jsonschema", *schema, *workflows)
    session.run("python", "catalog.py", "--check", silent=True)


@nox.session
def tools(session: nox.Session) -> None:
    """Test the gallery's own tools: headers, style rules, runner, docs extension."""
    session.install(*TOOLS, *SITE, "nox", "matplotlib", "-c", "constraints.txt")
    run_tests(session, "tests", "--ignore=tests/test_examples.py", "--ignore=tests/site")


@nox.session
def standalone(session: nox.Session) -> None:
    """Copy each script alone into an empty folder and start it with `uv run`.

    `-- --splits 3 --group 1` runs a third of them.
    """
    if session.venv_backend != "uv" and not shutil.which("uv"):
        session.error("this session needs uv: `python -m pip install uv`")
    session.install(*TESTS, "pytest-split", "uv", "-c", "constraints.txt")
    session.env.update(NO_DEBUG)
    run_tests(session, "tests/test_examples.py", "--launcher", "uv")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site: `nox -s docs -- [FOLDER ...] [--native] [--serve]`.

    Without a folder the whole site is built, into docs/_build/site; with folders only
    those, into docs/_build/site-FOLDER. The legacy folder runs in an environment of its
    own; `--native` runs the compiled one too. `--serve` serves and opens the result.
    """
    flags = {"--native", "--serve"}
    if unknown := [a for a in session.posargs if a not in flags | FOLDERS.keys()]:
        known = ", ".join([*FOLDERS, *sorted(flags)])
        session.error(f"unknown argument {', '.join(unknown)}; known: {known}")
    named = [name for name in FOLDERS if name in session.posargs]
    shown = [  # a folder brings the folders in it
        folder
        for name, folder in FOLDERS.items()
        if not named or {name, folder.split("/")[0]} & set(named)
    ]
    notes = []
    for folder in shown:
        name, pages = catalog.session_name(folder), pages_of(session, [folder])
        if name in WHEEL_ONLY or not pages:
            continue
        if name == "native" and not {"--native", "native"} & set(session.posargs):
            notes.append(
                "the compiled pages are shown as they were last run, or not run: "
                "`nox -s docs -- --native` runs them (compiles for minutes, once)"
            )
        elif not catalog.supports(pages[0].requires_python, sys.version_info[:3]):
            notes.append(
                f"the {name} pages were not run: they need Python "
                f"{pages[0].requires_python} (`nox -s docs --force-python 3.12`)"
            )
        else:
            python = ("--force-python", session.python) if session.python else ()
            nox_again = (sys.executable, "-m", "nox", *python, "-s", f"render({name})")
            session.run(*nox_again, external=True)
    # one environment serves all wheel-only folders
    pages_of(session, shown)
    pages = [page for page in PAGES if page.session in WHEEL_ONLY]
    fit = [p for p in pages if catalog.supports(p.requires_python, sys.version_info[:3])]
    install(session, fit, *SITE)
    site = "-".join(["site", *named])
    build = Path("docs", "_build", f"{site}.work")
    build_html(session, build, [f for f in shown if f in WHEEL_ONLY], shown)
    published = publish(build / "html", Path("docs", "_build", site))
    for note in notes:
        session.warn(note)
    if "--serve" in session.posargs:
        serve(published)
    print(f"open the site: {published.joinpath('index.html').resolve().as_uri()}")


@nox.session(default=False)
@nox.parametrize("name", [nox.param(n, id=n) for n in FOLDERS if n not in WHEEL_ONLY])
def render(session: nox.Session, name: str) -> None:
    """(used by docs) Run a folder's pages in its own environment, for the gallery."""
    folder = FOLDERS[name]
    install(session, runnable(session, folder), *SITE)
    build_html(session, Path("docs", "_build", f"render-{name}"), [folder], [folder])


def build_html(session: nox.Session, build: Path, run: list[str], show: list[str]) -> None:
    """Run Sphinx: execute the pages of the folders ``run``, show those of ``show``."""
    rendering = build.name.startswith("render")
    threads = max(1, (os.cpu_count() or 1) // WORKERS)
    session.run(
        *("sphinx-build", "-W", "--keep-going", "--color"),
        *(("-b", "dummy", "-t", "render") if rendering else ("-b", "html")),
        *("-d", str(build / "doctrees")),
        *("docs", str(build / "html")),
        env={
            "GALLERY_RUN": ",".join(run),
            "GALLERY_SHOW": ",".join(show),
            "GALLERY_WORKERS": str(WORKERS),
            "OMP_NUM_THREADS": str(threads),
            "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        },
    )


def publish(html: Path, site: Path) -> Path:
    """Put a finished build at ``site`` in one step, so that no half of one is there."""
    new, old = site.with_name(f"{site.name}.new"), site.with_name(f"{site.name}.old")
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(html, new, ignore=shutil.ignore_patterns(".buildinfo*"))
    if site.exists():
        site.rename(old)
    new.rename(site)
    shutil.rmtree(old, ignore_errors=True)
    return site


def serve(site: Path) -> None:
    """Serve ``site`` on this machine alone and open it, until interrupted."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        print(f"serving {address} (stop with Ctrl-C)", flush=True)
        webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


@nox.session
def site(session: nox.Session) -> None:
    """Test the built site: links, pictures, and what a reader does, in Chromium."""
    session.install(*TESTS, *BROWSER, "-c", "constraints.txt")
    session.run("pytest", "tests/site", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Time environments, tests and docs in a clone of the committed state."""
    session.install("nox[uv]", "-c", "constraints.txt")
    session.run("python", "tests/bench.py", *session.posargs)


@nox.session
@nox.parametrize("name", [nox.param(name, id=name) for name in WHEEL_ONLY])
def newest(session: nox.Session, name: str) -> None:
    """Run a folder's scripts under the newest versions that their headers allow."""
    pages = runnable(session, FOLDERS[name])
    wanted = [*catalog.requirements(pages), *TESTS]
    session.install("--upgrade", *wanted, silent=False)
    run_tests(session, "tests/test_examples.py", "--folder", FOLDERS[name])


@nox.session
def lock(session: nox.Session) -> None:
    """Compile all constraints from the headers, for every Python that they serve."""
    pages_of(session, list(FOLDERS.values()))
    session.install("uv")
    rules = {folder: catalog.constraints(folder, VOCABULARY) for folder in FOLDERS.values()}
    for file in sorted(set(rules.values())):
        pages = [page for page in PAGES if rules[page.folder] == file]
        if not pages:
            continue
        compiled = {
            name
            for folder in {page.folder for page in pages}
            for name in VOCABULARY["folders"][folder].get("compiled", ())
        }
        lines = [*TOOLS, *SITE, *BROWSER, *BUILD, "nox", "pytest-split"]
        for page in pages:
            marks = [f"python_version {op} '{v}'" for op, v in catalog.bounds(page)]
            lines += [
                f"{wanted}; {' and '.join(marks)}"
                for wanted in page.dependencies
                if catalog.distribution(wanted) not in compiled
            ]
        listed = Path(session.create_tmp(), "requirements.in")
        listed.write_text("\n".join(sorted(set(lines))) + "\n")
        least = [v for p in pages for op, v in catalog.bounds(p) if op == ">="]
        oldest = min(least, key=lambda v: tuple(map(int, v.split("."))))
        session.run(
            *("uv", "pip", "compile", "--universal", "--python-version", oldest),
            # else an old source release, which names no newest Python, would be taken
            *("--only-binary", "numba", "--only-binary", "llvmlite"),
            *("--no-annotate", "--custom-compile-command", "nox -s lock"),
            *("--upgrade", "--quiet", str(listed), "-o", str(file)),
        )
