"""Curvature along a run: sharpness, ends of the spectrum and the tangent kernel of the network as given, each search from the last one.

Where a smaller network is run from which the spectrum of the whole one is known (T13.3), the whole one is never made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from ..curvature.factored import pays
from ..curvature.kernel import Factors, turned
from ..curvature.reduced import ReducedHessian, applies
from ..engine.engines import simultaneous
from ..plan import cost
from ..plan.planner import Work
from ..problem.descent import Descent
from ..problem.network import Network
from ..problem.problem import whole
from ..reduce import samples
from ..reduce.biases import homogeneous
from ..reduce.width import WidthLift
from ..validate import Array

# of the eigenvalues that are recorded, relative to the largest
TOLERANCE = 1e-6
# at each end
ENDS = 3


def sentence(work: Work) -> str:
    """Whose curvature is found along a run, why, and what it costs, for its plan."""
    smaller = applies(work)
    problem = work.problem if smaller else whole(work.given)
    rows = problem.net.widths[-1]
    if pays(problem):
        how, macs = f"by products of its {rows} rows of outputs with the layers (T13.7)", 2 * rows * problem.net.size
    else:
        # a gradient, and two products for each of its own
        pivot = cost.choose(homogeneous(problem), simultaneous(problem.net.depth))[0]
        how, macs = "by products in the kernel", 2 * pivot.macs
    how += f", each at most {macs:,} multiply-adds"
    if not smaller:
        return "of the network as given: its Hessian on all rows, " + how
    if any(isinstance(lift, WidthLift) for lift in work.lifts):
        return (
            "of what is run: T13.3: the whole spectrum is this one, that of the complement, whose norm is bounded first, and zeros; " + how
        )
    return "of what is run: T13.2: the whole spectrum is this one and zeros, of inputs that the data do not have; " + how


class Standing(Protocol):
    """What is asked of a state."""

    step: int

    def running(self) -> list[Array]:
        """The matrices that are run."""

    def network(self) -> Network:
        """The network as given."""


class Watched:
    """The curvature of one run, in the metric of its descent; Hessians are those of all the data, where it stands."""

    def __init__(self, work: Work, descent: Descent) -> None:
        """`work` as the run began."""
        self._work, self._problem, self._descent = work, whole(work.given), descent
        self._smaller = applies(work)
        self._hessians: dict[bool, ReducedHessian] = {}
        self._rows: Array | None = None
        self._first: Factors | None = None

    def _at(self, state: Standing, part: bool) -> ReducedHessian:
        """Where the run stands, from what is run, or from the network as given."""
        if part not in self._hessians:
            work = self._work if self._smaller else Work(self._problem, self._problem)
            self._hessians[part] = ReducedHessian(work, self._descent, part)
        found = self._hessians[part]
        found.move(state.running() if self._smaller else state.network().params, state.step)
        return found

    def top(self, state: Standing, part: bool = False) -> float:
        """The largest eigenvalue; nan where the search did not end."""
        return float(_or_nan(lambda: self._at(state, part).ends(1, "LA", TOLERANCE), 1)[0])

    def ends(self, state: Standing) -> Array:
        """The smallest and the largest eigenvalues, ascending; nan where there are not so many, or the search did not end."""
        count = min(ENDS, self._problem.net.size // 2)
        found = np.full(2 * ENDS, np.nan)
        if count:
            found[ENDS - count : ENDS + count] = _or_nan(lambda: self._at(state, False).ends(count, "BE", TOLERANCE), 2 * count)
        return found

    def factors(self, state: Standing) -> Factors:
        """The tangent kernel on the inputs, or on rows with the same second moments where the loss is quadratic."""
        return self._factors(state.running() if self._runs_the_kernel else state.network().params)

    @property
    def _runs_the_kernel(self) -> bool:
        """Whether the kernel of what is run is the whole one, which outputs outside have a part of (T14.3)."""
        return self._smaller and all(not isinstance(lift, WidthLift) or lift.bases[-1] is None for lift in self._work.lifts)

    def _factors(self, params: Sequence[Array]) -> Factors:
        problem = self._work.problem if self._runs_the_kernel else homogeneous(self._problem)
        if self._rows is None:
            X = problem.X
            if X is not None and X.ndim == 2 and problem.quadratic:
                X = samples.reduce(problem)[0].X
            self._rows = np.eye(problem.net.widths[0], dtype=problem.net.dtype) if X is None else np.diag(X) if X.ndim == 1 else X
        return Factors(problem.net.layers, params, self._rows, self._descent.metric)

    def distance(self, state: Standing) -> float:
        """How far the tangent kernel has turned from that of the start of the run; nan where one of them is zero."""
        now = self.factors(state)
        if self._first is None:
            self._first = self._factors((self._work.problem if self._runs_the_kernel else self._problem).net.params)
        first = self._first
        return float(_or_nan(lambda: np.array([turned(now, first)]), 1)[0])


def _or_nan(find: Callable[[], Array], count: int) -> Array:
    """What a search finds; nan where it did not end."""
    try:
        return find()
    except ArithmeticError:
        return np.full(count, np.nan)
