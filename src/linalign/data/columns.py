"""Columns of a table, by name or by index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def is_index(value: Any) -> bool:
    """Whether a column is asked for by its number."""
    return (isinstance(value, (int, np.integer)) and not isinstance(value, bool)) or (
        isinstance(value, str) and value.lstrip("-").isdecimal()
    )


def columns(path: Path, asked: Any, count: int, header: Sequence[str] | None, what: str = "target") -> list[int]:
    """The indices of the columns that were asked for, each in 0..count-1; the last one by default. `what`: the name of the option.

    Raises: ValueError for columns that there are not, or twice; for targets if all are.
    """
    found = []
    for wanted in [-1] if asked is None else asked if isinstance(asked, (list, tuple)) else [asked]:
        if header is not None and wanted in header:
            if header.count(wanted) > 1:
                raise ValueError(f"{path}: {header.count(wanted)} columns are named {wanted!r}; pass {what}= the index of one")
            found.append(header.index(wanted))
        elif is_index(wanted):
            if not -count <= int(wanted) < count:
                raise ValueError(f"{path}: {what} is column {wanted} but there are {count} columns, 0 to {count - 1}")
            found.append(int(wanted) % count)
        else:
            known = f"the columns are {shortened(header)}" if header else "there is no header line; pass the index of a column"
            raise ValueError(f"{path}: {what} is {wanted!r} but {known}")
    if len(set(found)) != len(found):
        raise ValueError(f"{path}: {what} names a column twice: {asked!r}")
    if len(found) == count and what == "target":
        raise ValueError(f"{path}: all {count} columns are targets; at least one of inputs is needed")
    return found


def shortened(names: Sequence[str]) -> str:
    """Names in a line, the first and the last of many."""
    shown = list(names) if len(names) <= 12 else [*names[:6], "...", *names[-3:]]
    return ", ".join(shown)


def label(j: int, header: Sequence[str] | None) -> str:
    """A column as messages name it."""
    return f"column {j}" + (f" ({header[j]})" if header else "")
