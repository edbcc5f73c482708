"""docs/extending.md: its blocks run, one after the other, and what they assert holds."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.S | re.M)


def test_what_is_added_from_outside_trains():
    shared = {"__name__": "extending"}
    for block in BLOCKS:
        exec(compile(block, "docs/extending.md", "exec"), shared)
    assert len(BLOCKS) == 6
    assert sum("assert " in block for block in BLOCKS) == 5


def test_each_addition_takes_at_most_thirty_lines():
    classes = re.findall(r"^(?:@dataclass[^\n]*\n)?class .*?(?=^\S)", "\n".join(BLOCKS), flags=re.S | re.M)
    assert len(classes) == 4
    assert all(len(text.strip().splitlines()) <= 30 for text in classes)
