"""The gallery: every script names a paper, draws, and asserts a number; those that take a second or two are run."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
SCRIPTS = sorted(GALLERY.glob("*/plot_*.py"))
# executed here; `make docs` executes all
CHEAP = ("dynamics/plot_parsimony.py", "dynamics/plot_saxe.py", "representation/plot_neural_collapse.py")

# what a script may import: a reader who has installed linalign and matplotlib can run it
ALLOWED = {"linalign", "matplotlib", "numpy", "scipy", "time", "itertools", "functools"}

HOOK = """
import runpy, sys
import matplotlib.pyplot as plt
drawn = []
plt.show = lambda: drawn.extend(plt.get_fignums())
runpy.run_path(sys.argv[1], run_name="__main__")
sys.exit(0 if drawn else "no picture was shown")
"""


def name(path):
    return path.relative_to(GALLERY).as_posix()


def test_there_are_at_least_fifteen_and_each_section_has_a_page():
    assert len(SCRIPTS) >= 15
    for folder in {path.parent for path in SCRIPTS}:
        assert (folder / "GALLERY_HEADER.rst").exists(), folder.name


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_names_its_paper_draws_and_asserts_a_number(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    text = ast.get_docstring(tree)
    title, rule, *_ = text.split("\n")
    assert set(rule) == {"="}
    assert len(rule) == len(title)
    paper = re.search(r"^Papers?: (.+?)\n\n", text, flags=re.S | re.M)
    assert paper, "the docstring has no paragraph 'Paper: ...'"
    assert re.search(r"\b(19|20)\d\d\b", paper[1]), "the paper has no year"
    assert "*" in paper[1], "the paper has no title"
    for shown, linked in re.findall(r"`arXiv:(\S+) <https://arxiv\.org/abs/(\S+)>`_", paper[1]):
        assert shown == linked
    assert ".. math::" in text
    assert "**What to see.**" in text
    numbers = [node for node in ast.walk(tree) if isinstance(node, ast.Assert) and any(isinstance(n, ast.Compare) for n in ast.walk(node))]
    assert numbers, "no number is asserted"
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert "plt.show" in calls
    assert any(call.startswith(("figure.", "plt.")) for call in calls - {"plt.show"})
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert {found.split(".")[0] for found in imported} <= ALLOWED


@pytest.mark.parametrize("script", CHEAP)
def test_the_cheapest_scripts_run(script, tmp_path):
    environment = {**os.environ, "MPLBACKEND": "Agg", "MPLCONFIGDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-W", "error", "-c", HOOK, GALLERY / script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
