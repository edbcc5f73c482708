"""Tables: files as people have them, by pandas, as numbers, with a line for everything that was done to them."""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..validate import Array
from . import dialect, frames
from .columns import columns as chosen
from .columns import is_index, label

TEXTS = ("onehot", "drop", "refuse")
MISSING = ("refuse", "drop", "mean")
# a text with more values than this is no class
MOST_VALUES = 100
# a text whose values come so often on average are classes, be they numbers
EACH = 5
DATE = re.compile(r"(?=.*\d)[\w :.,/+-]*(?:[-/:]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[\w :.,/+-]*", re.IGNORECASE)
GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
NAMES_OF_ROWS = re.compile(r"|unnamed: 0|row[ ._]?names?|row|index|obs|id", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Table:
    """A table as numbers: rows are samples.

    X : `(n, k)`, float64, nan where a value is missing and stays so; `inputs` are the names of its columns
    Y : `(n,)` or `(n, m)`, numbers or text; None if nothing is a target; `targets` are their names
    notes : what was done, a line each
    """

    X: Array
    Y: Array | None
    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Table({len(self.X)} rows, {len(self.inputs)} inputs, {len(self.targets)} targets)"


def installed() -> bool:
    """Whether pandas is."""
    return importlib.util.find_spec("pandas") is not None


@dataclass(eq=False)
class Options:
    """What a caller asks of a table; see `data.read`."""

    target: Any = None
    columns: Any = None
    text: str = "onehot"
    missing: str = "refuse"
    targets: bool = True
    """Whether there are targets at all."""


def read(path: Path, content: bytes, options: Options) -> Table:
    """Raises: ValueError in one line that names the file and the place; ImportError where the reader of a format is not installed."""
    asked = _listed(options.target)
    named = not all(map(is_index, [*asked, *_listed(options.columns)]))
    frame, header, cut = frames.read(path, content, named, lambda count: [int(wanted) for wanted in asked or [-1] if is_index(wanted)])
    return _Reading(path, frame, header, cut, options).table()


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


@dataclass(eq=False)
class _Reading:
    """One frame on its way to numbers."""

    path: Path
    frame: Any
    header: Sequence[str] | None
    cut: dialect.Dialect | None
    options: Options
    notes: list[str] = field(default_factory=list)

    def table(self) -> Table:
        """Raises: ValueError."""
        count = self.frame.shape[1]
        kinds = {j: self._converted(j) for j in range(count)}
        asked = None if self.options.columns is None else chosen(self.path, self.options.columns, count, self.header, "columns")
        targets = self._targets(kinds, asked) if self.options.targets else []
        inputs = [j for j in (range(count) if asked is None else asked) if j not in targets]
        if not inputs:
            raise ValueError(f"{self.path}: {self._few(count)}")
        inputs = self._useful(kinds, inputs, asked is not None)
        keep = self._kept(kinds, inputs, targets)
        names: list[str] = []
        X = [np.empty((int(keep.sum()), 0))]
        for j in inputs:
            columns, of_columns = self._numbers(j, kinds[j][keep])
            X.append(columns)
            names += of_columns
        if not names:
            raise ValueError(f"{self.path}: no column of inputs is left ({'; '.join(self.notes)})")
        return Table(
            np.hstack(X), self._target_values(kinds, targets, keep), tuple(names), tuple(map(self._name, targets)), tuple(self.notes)
        )

    def _few(self, count: int) -> str:
        if count == 1:
            return "has one column; at least one of inputs and one of targets are needed"
        return f"all {count} columns are targets; at least one of inputs is needed"

    def _name(self, j: int) -> str:
        return str(self.header[j]) if self.header and self.header[j] else f"column {j}"

    # -- one column
    def _converted(self, j: int) -> Any:
        """A column as float64 numbers, or as text (objects), None where a value is missing. Raises: ValueError for lists and the like."""
        import pandas as pd

        column = self.frame[j]
        if pd.api.types.is_datetime64_any_dtype(column):
            return self._dates(j, column)
        if pd.api.types.is_timedelta64_dtype(column):
            return column.dt.total_seconds().to_numpy(np.float64)
        if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
            if column.dtype.kind == "c":
                raise ValueError(f"{self.path}: {self._place(None, j)} holds complex numbers; real ones were wanted")
            return column.to_numpy(np.float64, na_value=np.nan)
        values = np.array([None if missing else value for value, missing in zip(column, column.isna(), strict=True)], dtype=object)
        there = values[[value is not None for value in values]]
        if not len(there):
            return np.full(len(values), np.nan)
        if any(isinstance(value, (list, tuple, dict, set, np.ndarray)) for value in there):
            raise ValueError(f"{self.path}: {self._place(None, j)} holds {type(there[0]).__name__}s; numbers or text were wanted")
        words = np.array([str(value).strip() for value in there], dtype=object)
        numeric = [dialect.is_number(word) or bool(GROUPED.fullmatch(word)) for word in words]
        found: Array
        if all(numeric):
            found = np.full(len(values), np.nan)
            found[[value is not None for value in values]] = [float(word.replace(",", "")) for word in words]
            return found
        if all(map(DATE.fullmatch, words[:20])):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                days = pd.to_datetime(pd.Series(words), errors="coerce", format="mixed", utc=True)
            if not days.isna().any():
                found = np.full(len(values), np.nan)
                found[[value is not None for value in values]] = self._dates(j, days)
                return found
        text = np.full(len(values), None, dtype=object)
        text[[value is not None for value in values]] = words
        return text

    def _dates(self, j: int, column: Any) -> Array:
        import pandas as pd

        column = column.dt.tz_localize(None) if getattr(column.dtype, "tz", None) is None else column.dt.tz_convert(None)
        self.notes.append(f"{self._name(j)}: dates, as days since 1970-01-01")
        return np.asarray(((column - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)).to_numpy(np.float64))

    def _place(self, row: int | None, j: int) -> str:
        """Where a cell is, as an editor counts."""
        column = label(j, self.header)
        if row is None:
            return column
        if self.cut is None:
            return f"row {row + 1}, {column}"
        return f"line {frames.line_of(self.path, self.cut, row)}, {column}"

    # -- which columns
    def _targets(self, kinds: dict[int, Any], asked: list[int] | None) -> list[int]:
        """The columns of targets: those that were named, else the last one that says something of its rows."""
        count = len(kinds)
        if self.options.target is not None:
            return chosen(self.path, self.options.target, count, self.header, "target")
        if count < 2:
            return [count - 1]
        places = [j for j in range(count) if asked is None or j not in asked] or list(asked or [])
        for j in reversed(places):
            if len(self.frame) <= 2 or not (self._same(kinds[j]) or self._names_rows(j, kinds[j]) or self._too_many(kinds[j])):
                if j != places[-1]:
                    self.notes.append(f"{self._name(j)}: the target, as the last column that can be one")
                return [j]
        return [places[-1]]

    def _useful(self, kinds: dict[int, Any], inputs: list[int], asked: bool) -> list[int]:
        """The inputs without names of rows, constants and, where they are not wanted, text. Raises: ValueError for text that is refused."""
        kept = []
        for j in inputs:
            values, name = kinds[j], self._name(j)
            text = values.dtype == object
            if not asked and self._names_rows(j, values):
                self.notes.append(f"{name}: names of rows, left out")
            elif len(values) > 2 and self._same(values):
                self.notes.append(f"{name}: {'no value' if self._empty(values) else 'the same'} in every row, left out")
            elif text and self.options.text == "drop":
                self.notes.append(f"{name}: text, left out")
            elif text and (self.options.text == "refuse" or self._mixed(values)):
                row = next(i for i, value in enumerate(values) if value is not None and not dialect.is_number(value))
                fix = "fill or drop the line or the column"
                fix = fix if self._mixed(values) else f"{fix}, or pass --text onehot (text='onehot')"
                raise ValueError(f"{self.path}: {self._place(row, j)} is {values[row]!r}, no number; {fix}")
            elif self._too_many(values):
                self.notes.append(f"{name}: text with {len(set(values) - {None}):,} different values, left out")
            else:
                kept.append(j)
        counting = [j for j in inputs if kinds[j].dtype != object and self._names_rows(j, kinds[j])]
        if not kept and counting and not asked:
            # a series: all there is to tell of a row is which one it is
            self.notes[:] = [note for note in self.notes if not note.startswith(f"{self._name(counting[0])}: names of rows")]
            self.notes.append(f"{self._name(counting[0])}: the number of the row, as the only input")
            return counting[:1]
        return kept

    def _empty(self, values: Array) -> bool:
        return bool(self._holes(values).all())

    def _same(self, values: Array) -> bool:
        if values.dtype == object:
            return len(set(values) - {None}) < 2
        there = values[~np.isnan(values)]
        return not len(there) or bool((there == there[0]).all())

    def _mixed(self, values: Array) -> bool:
        """Whether half of a text or more are numbers: a slip among these, and no classes."""
        there = [value for value in values if value is not None]
        if len(there) >= EACH * len(set(there)):
            return False
        return 2 * sum(map(dialect.is_number, there)) >= len(there)

    def _too_many(self, values: Array) -> bool:
        return values.dtype == object and len(set(values) - {None}) > min(MOST_VALUES, max(2, len(values) // 2))

    def _names_rows(self, j: int, values: Array) -> bool:
        """Whether a column only says which row this is: its text differs everywhere, or it counts under such a name."""
        n = len(values)
        if n <= 2:
            return False
        if values.dtype == object:
            return None not in values and len(set(values)) == n and not self._mixed(values)
        counts = bool(np.array_equal(values, np.arange(n)) or np.array_equal(values, np.arange(1, n + 1)))
        return j == 0 and counts and self.header is not None and bool(NAMES_OF_ROWS.fullmatch(self.header[j].strip()))

    # -- which rows
    def _kept(self, kinds: dict[int, Any], inputs: list[int], targets: list[int]) -> Array:
        """The rows that stay. Raises: ValueError for missing values that are refused."""
        for j in [*inputs, *targets]:
            if kinds[j].dtype != object and np.isinf(kinds[j]).any():
                row = int(np.argmax(np.isinf(kinds[j])))
                raise ValueError(f"{self.path}: {self._place(row, j)} is {kinds[j][row]}; fill or drop the line or the column")
        holes = {j: self._holes(kinds[j]) for j in [*inputs, *targets]}
        n = len(self.frame)
        any_hole = np.any(list(holes.values()), axis=0)
        keep = np.ones(n, dtype=bool)
        if not any_hole.any():
            return keep
        if self.options.missing == "refuse":
            row = int(np.argmax(any_hole))
            j = next(j for j, of_column in holes.items() if of_column[row])
            what = ", the target, is empty" if j in targets else " is empty"
            some = f", one of {int(any_hole.sum()):,} such rows of {n:,}" if any_hole.sum() > 1 else ""
            fix = "fill or drop the line or the column, or pass --missing drop or mean (missing='drop')"
            raise ValueError(f"{self.path}: {self._place(row, j)}{what}{some}; {fix}")
        of_target = np.any([holes[j] for j in targets], axis=0) if targets else np.zeros(n, dtype=bool)
        keep = ~any_hole if self.options.missing == "drop" else ~of_target
        if not keep.all():
            why = "with a missing value" if self.options.missing == "drop" else "without a target"
            self.notes.append(f"{n - int(keep.sum()):,} of {n:,} rows {why} dropped")
        if not keep.any():
            raise ValueError(f"{self.path}: every row has a missing value; pass --missing mean (missing='mean'), or fewer --columns")
        filled = sum(int(holes[j][keep].sum()) for j in inputs)
        if filled:
            self.notes.append(f"{filled:,} missing values: numbers are the mean of their column, text is no class")
        return keep

    def _holes(self, values: Array) -> Array:
        return np.array([value is None for value in values]) if values.dtype == object else np.isnan(values)

    def _numbers(self, j: int, values: Array) -> tuple[Array, list[str]]:
        """The columns of X that an input is, and their names."""
        name = self._name(j)
        if values.dtype != object:
            with np.errstate(over="ignore", invalid="ignore"):
                there = values[~np.isnan(values)]
                mean = float(np.mean(there)) if len(there) else 0.0
            return np.where(np.isnan(values), mean, values)[:, None], [name]
        classes = sorted(set(values) - {None})
        self.notes.append(f"{name}: text, {len(classes)} columns of 0 and 1")
        return (values[:, None] == np.array(classes, dtype=object)).astype(np.float64), [f"{name}={value}" for value in classes]

    def _target_values(self, kinds: dict[int, Any], targets: list[int], keep: Array) -> Array | None:
        if not targets:
            return None
        for j in targets:
            if kinds[j].dtype == object and len(targets) > 1:
                row = next(i for i, value in enumerate(kinds[j]) if value is not None and not dialect.is_number(value))
                raise ValueError(f"{self.path}: {self._place(row, j)} is {kinds[j][row]!r}, no number; several targets must be numbers")
        values = [kinds[j][keep] for j in targets]
        if len(values) == 1:
            return np.asarray(values[0].astype(str) if values[0].dtype == object else values[0])
        return np.stack(values, axis=1)
