"""The pages of the site: their blocks of code run, one after the other, and print what stands below them; commands run too.

docs/extending.md and docs/pytorch.md have tests of their own, which ask more of them.
"""

import re
import shlex
from pathlib import Path

import pytest
from matplotlib import pyplot

from linalign.cli import main
from tests.docs.shown import differences, same_kernel

DOCS = Path(__file__).parents[2] / "docs"
ELSEWHERE = {"extending.md", "pytorch.md"}
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", flags=re.S | re.M)
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", flags=re.S | re.M)
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
WITH_CODE = [name for name, text in PAGES.items() if name not in ELSEWHERE and "```python" in text]
WITH_COMMANDS = [name for name, text in PAGES.items() if COMMANDS.search(text)]


def test_pages_are_found():
    assert {"index.md", "lecture.md", "factorise.md", "clusters.md", "guide/networks.md", "guide/plans.md"} <= set(WITH_CODE)
    for name in WITH_CODE:
        assert len(BLOCK.findall(PAGES[name])) == PAGES[name].count("```python"), name


@pytest.mark.parametrize("name", WITH_CODE)
def test_page_prints_what_it_shows(name, capsys, tmp_path, monkeypatch):
    if name == "clusters.md":
        pytest.importorskip("distributed")
        pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    pyplot.switch_backend("Agg")
    shared = {"__name__": "page"}
    for code, shown in BLOCK.findall(PAGES[name]):
        exec(compile(code, f"docs/{name}", "exec"), shared)
        assert differences(capsys.readouterr().out, shown, kernel=same_kernel(shown)) == []
    pyplot.close("all")


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_commands_of_a_page_run(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = [line for block in COMMANDS.findall(PAGES[name]) for line in block.splitlines()]
    for line in commands:
        program, *options = shlex.split(line, comments=True)
        if program == "linalign":
            assert main(options) == 0
            assert capsys.readouterr().out
        else:
            # what sets up is what CI runs
            assert program == "make"
            assert re.search(rf"^{options[0]}:", (DOCS.parent / "Makefile").read_text(), flags=re.M)
