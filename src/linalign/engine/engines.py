"""Engines: the compiled chain, by itself and driven by a rule, rates, batches or noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..optim import SGD
from ..optim.wrapped import Averaged
from ..plan import cost
from ..plan.cost import Pivot
from ..problem.descent import Descent, make_descent
from ..problem.problem import Problem
from ..validate import Array
from . import bind as kernel
from .engine import CALLBACK_FAILED, CONVERGED, DIVERGED, RUNNING, Engine, norm
from .feed import Feed, Seen
from .memory import Memory
from .whole import Whole

# what a rule without numbers of its own remembers of the network
NO_NUMBERS = np.zeros(0)


@lru_cache(maxsize=64)
def simultaneous(depth: int, metric: str = "parameters") -> Descent:
    """Any simultaneous descent: for gradients, where the step does not matter."""
    return make_descent(depth, 1.0, SGD(), "simultaneous", metric)


def still(array: Array) -> Array:
    """A copy that is not to be written to; zeros take no memory."""
    return array.copy() if array.any() else np.broadcast_to(array.dtype.type(0), array.shape)


class ChainEngine(Engine):
    """The compiled chain."""

    def __init__(self, problem: Problem, descent: Descent, pivot: Pivot, threads: int = 1, alone: bool = True) -> None:
        """`alone`: nothing but the descent changes from step to step."""
        self._problem, self._descent, self._resumed = problem, descent, False
        self._chain = kernel.bind(problem, descent, pivot.at, pivot.rows, threads, alone=alone, lent=True)

    @property
    def error(self) -> BaseException | None:  # type: ignore[override]
        found: BaseException | None = self._chain.error
        return found

    def advance(self, steps: int, values: Array, tol: float) -> tuple[int, int]:
        status, taken = self._chain.advance(steps, values, tol)
        self.torn = status == CALLBACK_FAILED and self._descent.update == "cyclic"
        return status, taken

    def use_one_thread(self) -> None:
        self._chain.use_one_thread()

    def prepare_scores(self, noise: Array, constant: Array | None) -> bool:
        answer: bool = self._chain.prepare_scores(noise, constant)
        return answer

    def advance_scoring(self, steps: int, values: Array, tol: float, at: Array) -> tuple[int, int, Array]:
        status, taken, scores = self._chain.advance_scoring(steps, values, tol, at)
        return status, taken, scores

    def scores(self) -> Array:
        scores: Array = self._chain.advance_scoring(0, np.empty(0), -math.inf, np.zeros(1, dtype=np.int64))[2][0]
        return scores

    def value(self, tol: float) -> tuple[int, float]:
        status, value = self._chain.value(tol)
        return status, value

    def params(self) -> list[Array]:
        found: list[Array] = self._chain.params
        return found

    def velocities(self) -> list[Array] | None:
        found: list[Array] = self._chain.velocities
        return found if self._descent.momentum else None

    def state(self) -> list[Array]:
        return [*self._chain.params, *self._chain.velocities]

    @property
    def tells(self) -> bool:
        return kernel.compiled(self._problem.loss)

    def first(self) -> list[Array]:
        if self._resumed:
            return self.snapshot()
        return [*self._problem.net.params, *map(still, self._chain.velocities)]

    def restore(self, kept: list[Array]) -> None:
        self._chain.restore(kept)

    def memory(self, step: int) -> Memory:
        chain = self._chain
        return Memory(step, 0, chain.params, [chain.velocities] if self._descent.momentum else [], NO_NUMBERS)

    def _resume(self, memory: Memory) -> None:
        here = self.memory(memory.step)
        params = here.params if memory.params is None else memory.params
        slots = here.slots if memory.slots is None else memory.slots
        self._resumed = True
        # copies: what is the chain's own is cleared before it is written
        self._chain.restore([array.copy() for arrays in (params or [], *(slots or [])) for array in arrays])

    def gradients(self) -> tuple[int, float, list[Array]]:
        """Status, loss and gradients. Raises: what the loss raised."""
        chain = self._chain
        if self._descent.update == "cyclic":
            # a cyclic sweep has no single gradient; ask a simultaneous chain at the same place
            here = Problem(self._problem.net.with_params(self.params()), self._problem.X, self._problem.T, self._problem.loss,
                           self._problem.factor, self._problem.floor)  # fmt: skip
            plain = simultaneous(here.net.depth)
            pivot = cost.choose(here, plain)[0]
            chain = kernel.bind(here, plain, pivot.at, pivot.rows)
        status, value = chain.differentiate()
        if status == CALLBACK_FAILED:
            raise chain.error
        return status, value, chain.gradients

    def gradient_norm(self) -> float:
        return norm(self.gradients()[2])


class DrivenEngine(ChainEngine):
    """The compiled chain with a rule, rates that change, batches or noise: what each step goes by is handed to it with the steps."""

    def __init__(
        self, problem: Problem, descent: Descent, pivot: Pivot, threads: int, shapes: Sequence[tuple[int, int]], feed: Feed | None,
    ) -> None:  # fmt: skip
        drawn = feed is not None and feed.drawn
        super().__init__(kernel.first_rows(problem) if drawn else problem, descent, pivot, threads, alone=feed is None)
        self._taken = np.zeros(1, dtype=np.int64)
        self._began = 0
        self._memory: list[Array] = []
        rule = descent.compiled(problem.net)
        if not descent.heavy_ball and rule is not None:
            kernel.drive(self._chain, problem, descent, rule, shapes)
            self._memory = [self._chain.numbers]
        self._feed, self._whole = feed, Whole(problem) if feed is not None and feed.batches is not None else None
        self._last: Array | None = None
        if feed is not None:
            kernel.draw_from(self._chain, problem, drawn)
            self.longest, self.streams = feed.longest, feed.stream is not None
            if feed.stream is not None:
                self._look(np.arange(problem.rows))

    def _look(self, rows: Array) -> None:
        """Where no step is taken, the loss is that of these rows."""
        self._last = rows
        self._chain.window(rows)

    def _hand_over(self, steps: int) -> tuple[Any, Seen | None, int]:
        """What the next steps go by, in arrays to be kept until they are taken, and how many they are."""
        first, rates, seen = int(self._taken[0]), None, None
        if self._descent.rates.constant is None:
            rates = np.ascontiguousarray(self._descent.rates.at(first, steps))
        if self._feed is not None:
            seen = self._feed.at(first, steps)
            steps = seen.steps
            if seen.data is not None:
                kernel.draw_from(self._chain, seen.data)
        by = (None, None, None) if seen is None else (seen.rows, seen.counts, seen.noise)
        self._chain.schedule(first - self._began, rates if steps else None, *by)
        return rates, seen, steps

    def _took(self, seen: Seen | None, taken: int) -> None:
        self._taken[0] += taken
        if seen is not None and seen.data is not None and seen.rows is not None and taken:
            self._last = seen.rows[taken - 1]

    def advance(self, steps: int, values: Array, tol: float) -> tuple[int, int]:
        rates, seen, steps = self._hand_over(steps)
        status, taken = super().advance(steps, values, tol)
        del rates
        self._took(seen, taken)
        return status, taken

    def advance_scoring(self, steps: int, values: Array, tol: float, at: Array) -> tuple[int, int, Array]:
        rates, seen, steps = self._hand_over(steps)
        status, taken, scores = super().advance_scoring(steps, values, tol, at[at < steps])
        del rates
        self._took(seen, taken)
        return status, taken, scores

    def ready(self) -> None:
        if self._whole is not None:
            self._whole.compress()

    def average(self) -> list[Array] | None:
        return self._chain.slots[-1] if isinstance(self._descent.rule, Averaged) else None

    def state(self) -> list[Array]:
        return [self._taken, *self._memory, *super().state(), *(array for slot in self._chain.slots for array in slot)]

    @property
    def tells(self) -> bool:
        return self._feed is None and super().tells

    def first(self) -> list[Array]:
        if self._resumed:
            return self.snapshot()
        slots = (still(array) for slot in self._chain.slots for array in slot)
        return [self._taken.copy(), *(array.copy() for array in self._memory), *super().first(), *slots]

    def restore(self, kept: list[Array]) -> None:
        own = 1 + len(self._memory)
        for array, old in zip((self._taken, *self._memory), kept[:own], strict=True):
            array[...] = old
        super().restore(kept[own:])

    def _without_noise(self) -> None:
        if self._whole is None and self._feed is not None:
            self._chain.window(self._last)

    def memory(self, step: int) -> Memory:
        slots = self._chain.slots or super().memory(step).slots
        return Memory(step, self._began, self._chain.params, slots, self._memory[0] if self._memory else NO_NUMBERS)

    def _resume(self, memory: Memory) -> None:
        self._taken[0], self._began = memory.step, memory.began
        if memory.slots is not None and self._memory:
            self._memory[0][...] = memory.numbers
        super()._resume(memory)

    def value(self, tol: float) -> tuple[int, float]:
        if self._whole is None:
            self._without_noise()
            return super().value(tol)
        value = self._whole.value(self.params())
        if not math.isfinite(value):
            return DIVERGED, value
        return (CONVERGED if value + self._problem.floor <= tol else RUNNING), value

    def streamed_gradients(self) -> list[Array]:
        return self.gradients()[2]

    def gradients(self) -> tuple[int, float, list[Array]]:
        self._without_noise()
        return super().gradients() if self._whole is None else (RUNNING, *self._whole.gradients(self.params()))
