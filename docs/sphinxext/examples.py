"""Examples of the reference: of each public name whose docstring has none, in the files of `docs/api/examples`.

A name at the beginning of a line, its doctest indented below. `np` and `la` are imported; the tests run them all.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "api" / "examples"


def read(path: Path) -> dict[str, str]:
    """Full name to doctest."""
    found = re.findall(r"^([\w.]+)\n((?:(?: .*)?\n)+)", path.read_text(encoding="utf-8"), flags=re.M)
    return {name: textwrap.dedent(text).strip() for name, text in found}


EXAMPLES = {name: text for path in sorted(FOLDER.glob("*.txt")) for name, text in read(path).items()}
