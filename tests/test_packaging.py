"""What is installed with an extra, and what goes into a source distribution."""

import re
from pathlib import Path

import pytest

import linalign as la

ROOT = Path(__file__).parent.parent
TOOLS = {"pytest", "pytest-xdist", "hypothesis", "ruff", "mypy", "cython-lint", "torch", "jax"}


def extras():
    """The requirements of each extra, by name, those of the package itself resolved."""
    tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    def names(extra):
        found = set()
        for requirement in listed[extra]:
            own = re.fullmatch(r"linalign\[(.*)\]", requirement)
            found |= set().union(*map(names, own[1].split(","))) if own else {re.match(r"[\w-]+", requirement)[0]}
        return found

    return {extra: names(extra) for extra in listed}


def test_all_is_what_a_user_wants_and_no_tool_of_ours():
    found = extras()
    assert found["all"] == found["cli"] | found["plot"] | found["datasets"] | found["dask"] | found["pandas"] | found["sklearn"]
    assert not found["all"] & TOOLS
    assert {"pytest", "hypothesis"} <= found["test"]


def test_what_the_readme_links_to_is_in_the_source_distribution():
    manifest = (ROOT / "MANIFEST.in").read_text().split()
    # setuptools adds these by itself
    given = {*manifest, "README.md", "pyproject.toml", "setup.py", "src"}
    links = {link for link in re.findall(r"\]\(([^):#]+)", (ROOT / "README.md").read_text()) if not link.startswith("http")}
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
        assert link.split("/")[0] in given, link
    assert "docs" in given


def test_the_version_and_its_date_are_the_same_wherever_they_stand():
    def found(name, pattern):
        return re.search(pattern, (ROOT / name).read_text(), re.MULTILINE)

    heading = found("CHANGELOG.md", r"^## (\S+), (\d{4}-\d{2}-\d{2})$")
    assert found("pyproject.toml", r'^version = "(.*)"$')[1] == la.__version__ == heading[1]
    assert found("CITATION.cff", r"^version: (.*)$")[1] == la.__version__
    assert found("CITATION.cff", r"^date-released: (.*)$")[1] == heading[2]


def test_the_changelog_has_nothing_twice():
    """What a merge of two versions leaves: a release with two headings, an entry that stands twice or nearly so, in the middle of another."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    lines = text.splitlines()
    for told in (
        [line.split(",")[0] for line in lines if line.startswith("## ")],
        [line[:20] for line in lines if line.startswith("- ")],
        [line for line in lines if len(line) > 20],
    ):
        assert sorted(told) == sorted(set(told))
    assert not re.search(r"[.;,] - |[.;,] -$", text, re.MULTILINE)
