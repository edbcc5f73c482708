"""Sweep: the result of a sweep, as a table and as stacked histories."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import html
from ..cached import cached_property
from ..calls import called
from ..files import Name
from ..record.recorder import History
from ..training.run import Run
from ..validate import Array
from . import labelled, phase, table
from .journal import COLUMNS, STATUSES, Outcome
from .lanes import ONE, Lanes

# rows of a sweep in a notebook
SHOWN = 20


@dataclass(frozen=True, eq=False)
class Sweep:
    """What `sweep` returns.

    Attributes
    ----------
    grid : dict of lists
        As given; the last key varies fastest.
    outcomes : sequence of Outcome
        One a run that was made, in the order of the grid.
    interrupted : bool
        Whether Ctrl-C ended it before every run was made; the runs that were not have no row.
    lanes : Lanes
        How many networks ran side by side (`width`), and why; `print(sweep.lanes)`.

    `sweep["loss"]` is a column of `rows`, `len(sweep)` their number.
    """

    grid: Mapping[str, Sequence[Any]]
    outcomes: Sequence[Outcome]
    interrupted: bool
    lanes: Lanes = ONE

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each key of the grid has."""
        return tuple(len(values) for values in self.grid.values())

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One dict a run: the grid's values, then

        steps (taken), converged, loss (the last), excess (the loss above the floor, accurate however small), floor, seconds
        (in the loop), error (None, or what went wrong) and status ("done", "converged", "diverged" or "failed").
        One that diverged has the steps before that and its last finite loss; one that failed what was found before, nan where nothing was.
        A key of the grid with one of these names, such as loss or steps, is called grid_loss or grid_steps.
        """
        names = [f"grid_{key}" if key in COLUMNS else key for key in self.grid]
        found = []
        for outcome in self.outcomes:
            at = np.unravel_index(outcome.index, self.shape)
            values = [axis[int(i)] for axis, i in zip(self.grid.values(), at, strict=True)]
            found.append(dict(zip(names, values, strict=True)) | outcome.columns())
        return found

    def __len__(self) -> int:
        return len(self.outcomes)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows."""
        return iter(self.rows)

    def __getitem__(self, column: str) -> Array:
        """A column of `rows`, `(len(self),)`. Raises: KeyError if there is none of that name."""
        if self.rows and column not in self.rows[0]:
            raise KeyError(f"{column!r} is no column; there are {', '.join(self.rows[0])}")
        values = [row[column] for row in self.rows]
        if all(isinstance(value, (bool, int, float)) for value in values) or all(isinstance(value, str) for value in values):
            return np.array(values)
        found = np.empty(len(values), dtype=object)
        found[:] = values
        return found

    @property
    def loss(self) -> Array:
        """The final losses in the shape of the grid, the last finite ones of runs that diverged; nan where none was found."""
        found = np.full(self.shape, np.nan)
        for outcome in self.outcomes:
            found.flat[outcome.index] = outcome.loss
        return found

    @property
    def status(self) -> Array:
        """How each run ended, in the shape of the grid: "done", "converged", "diverged", "failed", or "interrupted": not made."""
        found = np.full(self.shape, STATUSES[-1])
        for outcome in self.outcomes:
            found.flat[outcome.index] = outcome.status
        return found

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The rows of the runs that diverged or failed."""
        return [row for row in self.rows if row["error"] is not None]

    @property
    def runs(self) -> list[Run | None]:
        """The runs themselves, with `keep_runs=True`; None for one that failed before its first step or came from the file."""
        return [outcome.run for outcome in self.outcomes]

    @cached_property
    def histories(self) -> dict[str, History]:
        """What was recorded, stacked: values (runs, records, ...), steps (runs, records).

        Runs with fewer records than others (converged, diverged, failed) are filled with nan and the step -1. Where the shapes
        of the values differ between runs (another width or depth), values is a list of arrays instead: an object array (runs,).
        """
        names = dict.fromkeys(name for outcome in self.outcomes for name in outcome.history)
        return {name: _stack([outcome.history.get(name) for outcome in self.outcomes]) for name in names}

    def to_pandas(self, *names: str) -> Any:
        """`rows` as a DataFrame; with names of what was recorded, a line for each record: keys of the grid, run, step and values.

        `run` is the place in `rows`. A quantity with several numbers has a column for each, `alignment_0`, `alignment_1`, nan in runs that
        have fewer. Raises: ImportError without pandas; KeyError for what was not recorded.
        """
        return table.to_pandas(self, names)

    def to_xarray(self) -> Any:
        """The sweep as a Dataset whose dimensions are the keys of the grid.

        Variables: those of `rows`, and what was recorded, with a dimension `NAME_record` and its own, `NAME_0`, ...; `NAME_steps` says
        when. Where a run was not made there is nan, the step -1, or the status "interrupted". Where the shapes of a quantity differ
        between runs (another depth) the smaller ones are filled with nan. Raises: ImportError without xarray.
        """
        return labelled.to_xarray(self)

    @called
    def plot(
        self, x: str, y: str | None = None, value: str | Callable[[dict[str, Any]], float] = "loss",
        path: Name | None = None,
    ) -> Any:  # fmt: skip
        """A phase diagram: `value` by colour over the keys x and y of the grid, the median over all other keys.

        value : a column of `rows`, a recorded quantity (its last), of several numbers one by its place, such as "alignment_0", or a
            function of a row. Values and keys are on log scales where they ask for it; where no run has a value the plane is grey.
            Without y a line, with quartiles.
        path : also save the figure there; the extension chooses the format

        Returns: the matplotlib Figure. Raises: ImportError without matplotlib; ValueError, KeyError, TypeError for a key or a value that
        there is not; OSError if it cannot be written.
        """
        return phase.plot(self, x, y, value, path)

    def _repr_html_(self) -> str:
        shown = self.rows[:SHOWN]
        more = f"{len(self) - len(shown):,} more rows in .rows, .to_pandas()" if len(self) > len(shown) else ""
        cells = [[i, *(_short(value) for value in row.values())] for i, row in enumerate(shown)]
        return html.page(html.text(repr(self)), html.table(cells, ["", *shown[0]]) if shown else "", html.text(more) if more else "")

    def __repr__(self) -> str:
        ends = [outcome.status for outcome in self.outcomes]
        failed = "".join(f", {ends.count(end)} {end}" for end in ("diverged", "failed") if end in ends)
        total = int(np.prod(self.shape))
        made = f"{total} runs" if len(self) == total else f"{len(self)} of {total} runs"
        axes = " x ".join(f"{key} ({len(values)})" for key, values in self.grid.items())
        return f"Sweep({made}{failed}: {axes})"


def _short(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _stack(found: list[History | None]) -> History:
    most = max(len(history) for history in found if history is not None)
    steps = np.full((len(found), most), -1, dtype=np.int64)
    for row, history in zip(steps, found, strict=True):
        if history is not None:
            row[: len(history)] = history.steps
    kept = [history.values for history in found if history is not None and len(history)]
    shapes = {values.shape[1:] for values in kept}
    if len(shapes) > 1:
        ragged = np.empty(len(found), dtype=object)
        for j, history in enumerate(found):
            ragged[j] = np.empty(0) if history is None else history.values
        return History(steps, ragged)
    trailing = shapes.pop() if shapes else ()
    kind = np.result_type(*kept) if kept else np.dtype(np.float64)
    full = all(history is not None and len(history) == most for history in found)
    values = np.full((len(found), most, *trailing), np.nan, dtype=kind if full or kind.kind == "f" else np.float64)
    for j, history in enumerate(found):
        if history is not None and len(history):
            values[j, : len(history)] = history.values
    return History(steps, values)
