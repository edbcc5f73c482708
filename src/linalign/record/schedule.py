"""Schedule: the steps at which a quantity is recorded, however many a run may take."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import validate
from ..validate import Array

# points of a log-spaced schedule, a decade
PER_DECADE = 20


class Schedule:
    """Some steps, ascending, and the last step always: a `range`, which takes no memory, or a list."""

    def __init__(self, at: range | list[int], last: int) -> None:
        self._at, self._last = at, last

    def _before(self, step: int) -> int:
        """How many of the steps are below this one."""
        at = self._at
        if isinstance(at, range):
            return min(max(-((at.start - step) // at.step), 0), len(at))
        return bisect_left(at, step)

    def __contains__(self, step: int) -> bool:
        if isinstance(self._at, range):
            return step in self._at or step == self._last
        i = bisect_left(self._at, step)
        return (i < len(self._at) and self._at[i] == step) or step == self._last

    def after(self, step: int) -> int:
        """The first one after `step`; the last step, if there is none."""
        i = self._before(step + 1)
        return self._at[i] if i < len(self._at) else self._last

    def within(self, first: int, last: int) -> Array:
        """Those in first..last - 1, which must not be more than memory holds."""
        found: Any = self._at[self._before(first) : self._before(last)]
        if isinstance(found, range):
            found = np.arange(found.start, found.stop, found.step)  # by its ends, not one by one
        at = np.array(found, dtype=np.int64)
        if first <= self._last < last and (not len(at) or at[-1] != self._last):
            return np.append(at, np.int64(self._last))
        return at


def schedule(name: str, every: Any, steps: int) -> Schedule:
    """The steps at which to record: every so many, "log" (about 20 a decade), or a list or range; the last step always.

    Raises: ValueError, TypeError if it is none of these. Memory: that of the list, if it is one.
    """
    if isinstance(every, str):
        validate.choice(f"record[{name!r}]", every, ("log",))
        decades = math.log10(max(steps, 1))
        points = np.round(np.logspace(0, decades, int(PER_DECADE * decades) + 1))
        # the last one may be a rounding above
        return Schedule(sorted({0, *(min(int(point), steps) for point in points)}), steps)
    if isinstance(every, range):
        ascending = every if every.step > 0 else every[::-1]
        if len(ascending):
            validate.integer(f"record[{name!r}][{every.index(ascending[0])}]", ascending[0], least=0)
        whole = Schedule(ascending, steps)
        return Schedule(ascending[: whole._before(steps + 1)], steps)
    if isinstance(every, Iterable) and np.ndim(every):  # type: ignore[arg-type]
        given = {validate.integer(f"record[{name!r}][{j}]", step, least=0) for j, step in enumerate(every)}
        return Schedule(sorted(step for step in given if step <= steps), steps)
    return Schedule(range(0, steps + 1, validate.integer(f"record[{name!r}]", every, least=1)), steps)
