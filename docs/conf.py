"""Sphinx configuration; what is special to the gallery is in _ext/gallery.py."""

import os
import re
import sys
from pathlib import Path

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
extensions = ["sphinx_gallery.gen_gallery", "sphinx_design", "gallery", "health"]
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
html_sidebars = {"index": []}
html_static_path = ["_static"]
html_css_files = ["gallery.css"]
html_use_index = False
html_show_sourcelink = False
html_copy_source = False
nitpicky = True
suppress_warnings = ["sphinx_gallery.space_in_filename"]  # the clone's path may have some
exclude_patterns = ["_build", "**/sg_execution_times.rst", "sg_execution_times.rst"]
if tags.has("render"):  # noqa: F821  (only run the pages; the main build shows them)
    exclude_patterns += ["index.rst", "health.rst"]
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
    "show_memory": False,
    "show_signature": False,
    "show_api_usage": False,
    "download_all_examples": False,
}
