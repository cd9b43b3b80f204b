"""Sphinx configuration; what is special to the gallery is in _ext/gallery.py."""

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in (".", "docs/_ext", "tests")]

import catalog  # noqa: E402

vocabulary = catalog.read_vocabulary()
folders = list(vocabulary["folders"])
# Folders whose pages are executed, and folders that are shown; see noxfile.py.
run = os.environ.get("GALLERY_RUN", ",".join(folders)).split(",")
show = os.environ.get("GALLERY_SHOW", ",".join(folders)).split(",")
# sphinx-gallery finds one level of folders below each of these by itself
roots = [f for f in show if f.rpartition("/")[0] not in show]
executed = [
    page.path.relative_to(ROOT).as_posix()
    for page in catalog.find_pages(vocabulary)[0]
    if page.folder in run and catalog.supports(page.requires_python, sys.version_info[:3])
]

project = "Torch Gallery"
copyright = "the Torch Gallery authors"
html_title = project
extensions = [
    "sphinx_gallery.gen_gallery",
    "sphinx.ext.intersphinx",
    "sphinx_design",
    "gallery",
    "finder",
    "health",
]


def answers(base: str) -> bool:
    """Whether a list of API names can be had there; without a network it is not asked."""
    try:
        return urlopen(f"{base}objects.inv", timeout=3).status == 200
    except OSError:
        return False


with ThreadPoolExecutor() as pool:  # names in code link to those that answer
    bases = vocabulary["inventories"]
    reached = pool.map(answers, bases.values())
    intersphinx_mapping = {
        name: (base, None)
        for (name, base), there in zip(bases.items(), reached, strict=True)
        if there
    }
intersphinx_timeout = 10  # seconds
nitpick_ignore_regex = [("py:obj", ".*")]  # a name that no inventory has stays plain
html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto"}  # light or dark as the reader's system is
html_sidebars = {name: [] for name in ("index", "api", "replaced", "health")}
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["gallery.css"]
html_js_files = [("gallery.js", {"defer": "defer"})]
html_use_index = False
html_show_sourcelink = False
html_copy_source = False
nitpicky = True
suppress_warnings = ["sphinx_gallery.space_in_filename"]  # the clone's path may have some
exclude_patterns = ["_build", "**/sg_execution_times.rst", "sg_execution_times.rst"]
if tags.has("render"):  # noqa: F821  (only run the pages; the main build shows them)
    exclude_patterns += ["index.rst", "health.rst", "api.rst", "replaced.rst"]
    root_doc = f"gallery/{show[0]}/index"
exclude_patterns += [f"gallery/{f}/*.rst" for f in folders if f not in show]

sphinx_gallery_conf = {
    "examples_dirs": [f"../examples/{folder}" for folder in roots],
    "gallery_dirs": [f"gallery/{folder}" for folder in roots],
    "filename_pattern": "|".join(f"/{re.escape(path)}$" for path in executed) or "$^",
    "within_subsection_order": "gallery.LearningPath",
    "reset_modules": ("matplotlib", "gallery.note_run"),
    "reset_modules_order": "both",
    "parallel": int(os.environ.get("GALLERY_WORKERS", "1")),
    "capture_repr": ("_repr_html_",),
    "matplotlib_animations": True,
    "remove_config_comments": True,
    "min_reported_time": 10**6,  # the facts below each title tell the time
    "thumbnail_size": (640, 448),  # pixels; finder.py makes smaller ones
    "show_memory": False,
    "show_signature": False,
    "show_api_usage": False,
    "download_all_examples": False,
    "recommender": {"enable": True, "n_examples": 4, "rubric_header": "Related pages"},
}
