"""The README: each of its Python blocks runs, and prints what stands below it.

What varies is compared loosely: seconds not at all; the kernel's line only where the instruction set is the one that printed it;
numbers at the level of rounding within a factor of 1,000; other numbers with a point to a relative 1e-4, since another BLAS sums in
another order.
"""

import re
from pathlib import Path

import pytest

from linalign.engine.config import config

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```\n\nprints\n\n```\n(.*?)^```$", README, flags=re.S | re.M)
NUMBER = r"\d[\d,]*\.?\d*(?:e[-+]?\d+)?"


def test_every_block_shows_what_it_prints():
    assert len(BLOCKS) == README.count("```python") == 2


def words_and_numbers(line):
    """The line without its numbers and the space between columns, and the numbers as written."""
    line = re.sub(rf"{NUMBER} s\)$", "seconds)", line)
    return " ".join(re.sub(NUMBER, "#", line).split()), re.findall(NUMBER, line)


def alike(found, shown):
    """Whether two numbers as written are the same but for what rounding may do."""
    a, b = (float(number.replace(",", "")) for number in (found, shown))
    if abs(b) < 1e-10:
        return a <= 1e3 * b
    return abs(a - b) <= 1e-4 * abs(b) if "." in shown or "e" in shown else found == shown


def differences(found, shown, *, kernel=True):
    """Pairs of lines that are not alike; without `kernel` the plan's line of this name is left out."""
    pairs = zip(found.splitlines(), shown.splitlines(), strict=True)
    different = []
    for line, other in pairs:
        if not kernel and line.split()[:1] == other.split()[:1] == ["kernel"]:
            continue
        words, numbers = words_and_numbers(line)
        expected, values = words_and_numbers(other)
        if words != expected or not all(alike(*both) for both in zip(numbers, values, strict=True)):
            different.append((line, other))
    return different


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
    same_kernel = config()["instruction set"].split()[0] in shown
    assert differences(capsys.readouterr().out, shown, kernel=same_kernel) == []
