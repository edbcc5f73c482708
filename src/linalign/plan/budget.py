"""Budget: what a search for a reduction may cost, and what it must save, by the cost model of the run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..problem.descent import Descent
from ..problem.problem import Problem
from ..reduce.split import Modes, Split
from . import cost, machine

# a reduction must save this share of the multiply-adds
GAIN = 0.95
# nanoseconds of a step of scalar modes: of the call, and of each scalar
MODES_CALL, MODES_EACH = 30.0, 0.5
# seeking a reduction must cost less than this many steps of the problem as given, and this share of the run without it
SEARCH_STEPS, SEARCH_SHARE = 50, 0.125
# nanoseconds that a reduction may take in any run: a short run of a small problem has the bits of the beginning of a long one
ALWAYS = 1e5
# nanoseconds of Python: of a search, and for each direction that blocks are grown from one by one
SEARCH_CALL, SEARCH_DIRECTION = 1e6, 1e5


@dataclass(frozen=True, eq=False)
class RunBudget:
    """That of one run; without `thrifty` a search may cost anything, and must save all the same.

    `step` are the multiply-adds a step of the problem as given, `nanoseconds` the time a step of the problem as it is now: both
    are asked for when they are needed.
    """

    descent: Descent
    steps: int | None
    thrifty: bool
    step: Callable[[], int]
    nanoseconds: Callable[[], float]

    def affordable(self, directions: int = 0) -> float:
        """Multiply-adds that a search may take, besides the calls that it is made of; `directions` as in `SEARCH_DIRECTION`."""
        if not self.thrifty:
            return math.inf
        limit = float(SEARCH_STEPS * self.step())
        if self.steps is not None:
            run = self.steps * self.nanoseconds()
            calls = SEARCH_CALL + SEARCH_DIRECTION * directions
            limit = min(limit, (SEARCH_SHARE * run - calls) * cost.MACHINES[machine.ISA][1].rate)
        return limit

    def repaid(self, macs: float) -> bool:
        """Whether so many multiply-adds take no longer than the run without them, or next to nothing."""
        if not self.thrifty or self.steps is None:
            return True
        took = macs / cost.MACHINES[machine.ISA][1].rate
        return took <= ALWAYS or took <= self.steps * self.nanoseconds()

    def too_little(self, before: Problem, after: Problem, slower: float = 1.0) -> str | None:
        """Why the smaller problem does not pay; None if it does. `slower`: times as long as its products would take by the model."""
        old, new = (cost.choose(problem, self.descent)[0] for problem in (before, after))
        return None if slower * new.nanoseconds <= GAIN * old.nanoseconds else _little(new.macs, old.macs)

    def too_little_apart(self, before: Problem, after: Split) -> str | None:
        """The same of parts that run side by side."""
        old, (macs, time) = cost.choose(before, self.descent)[0], split_cost(after, self.descent)
        return None if time <= GAIN * old.nanoseconds else _little(macs, old.macs) + ", in more calls"


def _little(after: int, before: int) -> str:
    return f"saves too little: {after:,} multiply-adds instead of {before:,}"


def split_cost(found: Split, descent: Descent) -> tuple[int, float]:
    """Multiply-adds and nanoseconds a step of all parts that run."""
    macs, time = 0, 0.0
    for part in found.parts:
        if isinstance(part.content, Modes):
            macs += 4 * part.content.sigma.size
            time += MODES_CALL + MODES_EACH * part.content.sigma.size
        elif part.content is not None:
            pivot = cost.choose(part.content, descent)[0]
            macs, time = macs + pivot.macs, time + pivot.nanoseconds
    return macs, time
