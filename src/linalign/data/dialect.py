"""Dialects of text tables: what separates cells, what the decimal point is, whether the first line is a header."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# from what is rarest inside of cells; a space is any number of them
DELIMITERS = ("\t", ";", "|", ",", " ")
# the share of lines that have as many cells as most have
AGREEING = 0.9
LOOKED_AT = 200
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
DECIMAL_POINT = re.compile(r"[-+]?\d*\.\d+(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Dialect:
    """How a text is cut into cells.

    `delimiter`; `decimal`, "." or ","; `header`, the names of the columns or None; `count`, the cells of a line; `named_rows`, whether the
    header has one cell less than the lines, which then begin with their names (R's write.table); `skipped`, comments before the table.
    """

    delimiter: str
    decimal: str
    header: tuple[str, ...] | None
    count: int
    named_rows: bool
    skipped: int


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of one line."""
    if delimiter == " ":
        line = " ".join(line.split())
    if delimiter not in line and '"' not in line:
        # csv refuses cells of more than 131,072 characters, which lines of many columns are by the delimiters that they have not
        return [line.lstrip()] if line else []
    if delimiter == " ":
        return next(csv.reader([line], delimiter=" "), [])
    return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])


def is_number(cell: str, decimal: str = ".") -> bool:
    """Whether a cell is a number."""
    try:
        float(cell if decimal == "." else cell.replace(".", "").replace(",", "."))
    except ValueError:
        return False
    return True


def find(text: str, wants_header: bool, targets: Callable[[int], Sequence[int]]) -> Dialect:
    """The dialect of a text with at least one line.

    `wants_header`: the caller names columns, so the first line is one. `targets`: of so many columns, the indices of the targets; a text
    in these alone is no header, but a label.
    """
    lines = [line for line in text[: 10**6].splitlines() if line.strip()]
    skipped = next((i for i, line in enumerate(lines) if not line.lstrip().startswith("#")), 0)
    lines = lines[skipped : skipped + LOOKED_AT]
    delimiter = _delimiter(lines)
    rows = [cells_of(line, delimiter) for line in lines]
    sizes = Counter(map(len, rows[1:] or rows))
    most = sizes.most_common(1)[0][0]
    first = [cell.strip() for cell in rows[0]]
    named_rows = len(first) + 1 == most and len(rows) > 2 and not any(map(is_number, first))
    cells = [cell.strip() for row in rows[1:] for cell in row]
    commas = delimiter != "," and any(map(DECIMAL_COMMA.fullmatch, cells)) and not any(map(DECIMAL_POINT.fullmatch, cells))
    decimal = "," if commas else "."
    if named_rows:
        return Dialect(delimiter, decimal, ("row names", *first), most, True, skipped)
    inputs = set(range(len(first))) - {j % len(first) for j in targets(len(first))}
    header = wants_header or (bool(inputs) and not any(is_number(first[j], decimal) for j in inputs))
    return Dialect(delimiter, decimal, tuple(first) if header else None, len(first), False, skipped)


def _delimiter(lines: Sequence[str]) -> str:
    """The first one that cuts nearly all lines into as many cells, more than one; else the commonest in the first line."""
    spaced = [line.split() for line in lines]
    even = len(lines) > 1 and len(spaced[-1]) > 1 and {len(cells) for cells in spaced} == {len(spaced[-1])}
    if even and any(map(DECIMAL_COMMA.fullmatch, spaced[-1])) and all(is_number(cell, ",") for cells in spaced[1:] for cell in cells):
        return " "
    for delimiter in DELIMITERS:
        sizes = Counter(len(cells_of(line, delimiter)) for line in lines)
        size, agreeing = sizes.most_common(1)[0]
        # a header may lack the name of the rows' names
        if size > 1 and agreeing >= AGREEING * (len(lines) - 1):
            return delimiter
    return max(",;\t", key=lines[0].count)
