"""Lanes: a batch of networks that are run side by side, from their parameters to what they came to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from .._kernels import _lanes
from ..optim import Rule
from ..optim.adagrad import Adagrad
from ..plan import machine
from ..plan.lanes import Layout, numbers
from ..problem.problem import Problem
from ..validate import Array
from .engine import CONVERGED, DIVERGED

# the loop comes back to Python this often, to be stopped
SLICE_SECONDS = 0.05
UNFINISHED: int = _lanes.UNFINISHED
MOST_DEPTH: int = _lanes.MOST_DEPTH


@dataclass(eq=False)
class Batch:
    """Networks of the same shapes, a row each: what they start from and go by, and, once `slices` are through, what they came to.

    params : (count, size), layers of the problem that is run, one after the other; in their place the end.
    lr, decay : (count, d). momentum, tol : (count,).
    limit : steps at most, (count,), int64.
    schedule : where rates change from step to step, `(tables, steps, d)`, in place of lr; network j has those of `table[j]`.
    at : steps before which parameters and loss are kept, ascending; those before which a network ended are left out.
    order, counts : where a step sees a batch, `(tables, steps, rows)` and `(tables, steps)`, int32: network j sees, at step t, the first
        `counts[drawn[j], t]` of the rows `order[drawn[j], t]`. Its losses are those of the batches, and there is none where it ends.
    slots : how many arrays the rule remembers; kept where `remember`.
    losses : whether the loss before every step is kept.
    """

    params: Array
    lr: Array
    decay: Array
    momentum: Array
    tol: Array
    limit: Array
    at: Array
    slots: int = 0
    losses: bool = False
    schedule: Array | None = None
    table: Array | None = None
    order: Array | None = None
    counts: Array | None = None
    drawn: Array | None = None
    value: Array = field(init=False)
    """The last loss, without the floor."""
    before: Array = field(init=False)
    """The one before it."""
    steps: Array = field(init=False)
    """Steps taken when it was found."""
    status: Array = field(init=False)
    """`RUNNING` where all steps were taken; `UNFINISHED` if the batch was stopped."""
    kept: Array = field(init=False)
    kept_value: Array = field(init=False)
    taken: Array = field(init=False)
    path: Array | None = field(init=False)
    """The losses, `(count, most steps + 1)`."""
    remembered: list[Array] = field(init=False)
    seconds: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        count, size = self.params.shape
        self.value, self.before = np.zeros(count), np.zeros(count)
        self.steps, self.status = np.zeros(count, dtype=np.int64), np.full(count, UNFINISHED, dtype=np.int32)
        self.taken = np.zeros(count, dtype=np.int32)
        self.kept = np.empty((count, len(self.at), size), dtype=self.params.dtype)
        self.kept_value = np.empty((count, len(self.at)))
        self.path = np.empty((count, int(self.limit.max()) + 1)) if self.losses else None
        self.remembered = [np.empty_like(self.params) for _ in range(self.slots)]

    def slices(self, problem: Problem, layout: Layout, rule: Rule, law: str, stop: Sequence[bool] | None = None) -> Iterator[None]:
        """Train all of them, some 50 ms at a time, without the GIL; `stop[0]` ends it with those that have ended."""
        lanes = _lanes.Lanes(
            layout.widths, rows=layout.rows, samples=problem.rows_a_step, place=_lanes.PLACES[layout.place], turned=layout.turned,
            carried=layout.carried, loss=machine.LOSSES[problem.loss.kind], law=_lanes.LAWS[law], X=_data(problem, layout),
            Y=_targets(problem, layout), factors=_factors(problem), factor=problem.factor, floor=problem.floor, numbers=numbers(rule),
            slots=rule.slots, initial=rule.initial if isinstance(rule, Adagrad) else 0.0, single=problem.net.dtype == np.float32,
            level=machine.LEVELS[machine.ISA],
        )  # fmt: skip
        lanes.take(
            self.params, lr=self.lr, schedule=self.schedule, table=self.table, order=self.order, counts=self.counts, drawn=self.drawn,
            decay=self.decay, momentum=self.momentum, tol=self.tol, limit=self.limit, at=self.at, kept=self.kept,
            kept_value=self.kept_value, taken=self.taken, losses=self.path, slots=self.remembered, value=self.value,
            before=self.before, steps=self.steps, status=self.status,
        )  # fmt: skip
        budget = max(1, int(SLICE_SECONDS * 1e9 / (4 * layout.nanoseconds)))
        left = True
        while left and not (stop is not None and stop[0]):
            began = time.perf_counter()
            left = not lanes.advance(budget)
            spent = time.perf_counter() - began
            self.seconds += spent
            budget = max(1, min(2 * budget, int(budget * SLICE_SECONDS / max(spent, 1e-9))))
            yield

    @property
    def converged(self) -> Array:
        """Which networks reached their `tol`."""
        return np.asarray(self.status == CONVERGED)

    @property
    def diverged(self) -> Array:
        """Whose loss left the finite numbers."""
        return np.asarray(self.status == DIVERGED)


def _data(problem: Problem, layout: Layout) -> Array | None:
    X = problem.X
    if layout.place == "behind" and (X is None or X.ndim == 1):
        X = np.eye(problem.net.widths[0], dtype=problem.net.dtype) if X is None else np.diag(X)
    return None if X is None else np.ascontiguousarray(X)


def _targets(problem: Problem, layout: Layout) -> Array:
    """Rows are samples, but where the last product meets the targets: as it lies."""
    assert problem.T is not None
    turned = layout.turned and layout.place in ("nowhere", "diagonal")
    return np.ascontiguousarray(problem.T.T if turned else problem.T)


def _factors(problem: Problem) -> Array | None:
    """The factor of the loss of so many rows, where steps see batches."""
    if problem.batch is None:
        return None
    k_d = problem.net.widths[-1]
    return np.array([0.0, *(problem.loss.factor(count, k_d) for count in range(1, problem.batch + 1))])
