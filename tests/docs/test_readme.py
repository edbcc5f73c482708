"""The README: each of its Python blocks runs, and prints what stands below it, as tests/docs/shown.py compares it."""

import re
from pathlib import Path

import pytest

from tests.docs.shown import differences, same_kernel

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```\n\nprints\n\n```\n(.*?)^```$", README, flags=re.S | re.M)


def test_every_block_shows_what_it_prints():
    assert len(BLOCKS) == README.count("```python") == 1


def test_differences_are_seen():
    shown = "  width     1024 -> 320  checked to 1e-15\nRun(5 steps, loss 2.6133 -> 4.5e-32, 1.18 s)\n  kernel avx512"
    assert not differences(
        shown.replace("1e-15", "7e-15").replace("1.18", "9").replace("4.5e-32", "1e-31").replace("  width    ", " width"), shown
    )
    assert differences(shown.replace("320", "321"), shown)
    assert differences(shown.replace("2.6133", "2.6153"), shown)
    assert differences(shown.replace("4.5e-32", "4.5e-3"), shown)
    assert differences(shown.replace("checked", "verified"), shown)
    assert differences(shown.replace("avx512", "avx2"), shown)
    assert not differences(shown.replace("avx512", "avx2"), shown, kernel=False)


@pytest.mark.parametrize(("code", "shown"), BLOCKS, ids=lambda text: None)
def test_block_prints_what_it_shows(code, shown, capsys):
    exec(compile(code, "README.md", "exec"), {})
    assert differences(capsys.readouterr().out, shown, kernel=same_kernel(shown)) == []
