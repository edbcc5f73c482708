"""How the site is built: `make docs`, or `sphinx-build -W docs build/docs`.

What Sphinx does not do by itself stands in the modules of `sphinxext/`: anchors written as in Markdown elsewhere, links to source files,
docstrings, pages drawn from the committed measurements.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import files
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from sphinx.errors import ConfigError

import linalign

project = "linalign"
author = "The linalign developers"
project_copyright = "The linalign developers, BSD-3-Clause"
version = release = linalign.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinxext.benchmarks",
    "sphinxext.docstrings",
    "sphinxext.markdown",
    "sphinxext.reference",
    "sphinxext.sources",
]
# what is not marked as Python is no Python: pseudo-code, plans, what a command prints
highlight_language = "none"
# quotes stay as they are typed: many are code
smartquotes = False
exclude_patterns = ["gallery", "sphinxext"]

# Markdown, with the anchors that GitHub makes of headings
myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

# signatures on lines of their own; what the types are is said in words
autodoc_typehints = "none"
autodoc_member_order = "bysource"
maximum_signature_line_length = 100
python_use_unqualified_type_names = True
add_module_names = False

# what does not come from this site is not fetched: MathJax is the copy that stands in `_static`
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config: dict[str, Any] = {"chtml": {"displayAlign": "left", "displayIndent": "1.5em"}, "options": {"enableMenu": False}}

html_theme = "pydata_sphinx_theme"
html_title = "linalign"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {
    "logo": {"text": "linalign"},
    "header_links_before_dropdown": 6,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "navbar_align": "left",
    "show_prev_next": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "navigation_with_keys": False,
}

# `GALLERY` chooses the pages that are executed, as a regular expression of their paths; the others are shown as they are written
sphinx_gallery_conf = {
    "examples_dirs": ["gallery"],
    "gallery_dirs": ["auto_gallery"],
    "filename_pattern": os.environ.get("GALLERY") or "plot_",
    "ignore_pattern": r"(^|/)_",
    "image_scrapers": ("matplotlib",),
    "reset_modules": ("matplotlib",),
    "image_srcset": ["2x"],
    # below a name of the reference stand the pages of the gallery that use it
    "backreferences_dir": "api/backreferences",
    "doc_module": ("linalign",),
    "subsection_order": [
        "gallery/dynamics",
        "gallery/bias",
        "gallery/curvature",
        "gallery/generalisation",
        "gallery/representation",
        "gallery/structure",
    ],
    "within_subsection_order": "FileNameSortKey",
    "thumbnail_size": (640, 300),
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
    "remove_config_comments": True,
    "show_signature": False,
    # these pages would fetch scripts from elsewhere
    "write_computation_times": False,
    "plot_gallery": "True",
}


def mathjax() -> Path:
    """The folder of MathJax, from the package that carries it."""
    for path in files("sphinx-mathjax-offline") or []:
        if path.name == "tex-chtml.js":
            return Path(str(path.locate())).parent
    raise FileNotFoundError("sphinx-mathjax-offline carries no tex-chtml.js: pip install 'linalign[docs]'")


# relative to the output's _static; woff fonts beside the script that asks for them
html_extra_files = {
    mathjax() / "tex-chtml.js": "mathjax/tex-chtml.js",
    mathjax() / "output" / "chtml" / "fonts" / "woff-v2": "mathjax/output/chtml/fonts/woff-v2",
}


def copy_mathjax(app: Any, error: Exception | None) -> None:
    """MathJax and its fonts, into `_static` of the site."""
    import shutil

    for source, name in html_extra_files.items():
        target = Path(app.outdir) / "_static" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)


def setup(app: Any) -> None:
    from sphinxext.names import MISSING

    if MISSING:
        raise ConfigError(f"the reference describes {', '.join(MISSING)}, which is not installed: see the target docs of the Makefile")
    app.connect("build-finished", copy_mathjax)
