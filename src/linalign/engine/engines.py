"""Engines: over the kernels, the reference, and sums of parts that run side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..optim import SGD
from ..optim.batches import Batches
from ..optim.wrapped import Averaged
from ..plan import cost
from ..plan.cost import Pivot
from ..plan.planner import Work
from ..problem.descent import Descent, make_descent
from ..problem.problem import Problem
from ..reduce import split
from ..reduce.complement import factors
from ..reduce.split import Modes, Split
from ..validate import Array
from . import bind as kernel
from .engine import CALLBACK_FAILED, CONVERGED, DIVERGED, RUNNING, Engine, norm
from .memory import Memory
from .rules import ChainSource, ReferenceSource, RuleEngine
from .whole import Whole

# what a rule without numbers of its own remembers of the network
NO_NUMBERS = np.zeros(0)


@lru_cache(maxsize=64)
def simultaneous(depth: int) -> Descent:
    """Any simultaneous descent: for gradients, where the step does not matter."""
    return make_descent(depth, 1.0, SGD(), "simultaneous", "parameters")


class ChainEngine(Engine):
    """The compiled chain."""

    def __init__(self, problem: Problem, descent: Descent, pivot: Pivot, threads: int = 1) -> None:
        self._problem, self._descent = problem, descent
        self._chain = kernel.bind(problem, descent, pivot.at, pivot.rows, threads)

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

    def restore(self, kept: list[Array]) -> None:
        self._chain.restore(kept)

    def memory(self, step: int) -> Memory:
        chain = self._chain
        return Memory(step, 0, chain.params, [chain.velocities] if self._descent.momentum else [], NO_NUMBERS)

    def _resume(self, memory: Memory) -> None:
        here = self.memory(memory.step)
        params = here.params if memory.params is None else memory.params
        slots = here.slots if memory.slots is None else memory.slots
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
    """The compiled chain with a rule, rates that change, or batches: what each step goes by is handed to it with the steps."""

    def __init__(
        self, problem: Problem, descent: Descent, pivot: Pivot, threads: int, shapes: Sequence[tuple[int, int]], batches: Batches | None,
    ) -> None:  # fmt: skip
        super().__init__(problem if batches is None else kernel.first_rows(problem), descent, pivot, threads)
        self._taken = np.zeros(1, dtype=np.int64)
        self._began = 0
        self._memory: list[Array] = []
        rule = descent.compiled(problem.net)
        if not descent.heavy_ball and rule is not None:
            kernel.drive(self._chain, problem, descent, rule, shapes)
            self._memory = [self._chain.numbers]
        self._batches, self._whole = batches, None if batches is None else Whole(problem)
        if batches is not None:
            kernel.draw_from(self._chain, problem)

    def _hand_over(self, steps: int) -> tuple[Any, ...]:
        """What the next steps go by; the arrays are to be kept until they are taken."""
        first, rates, rows, counts = int(self._taken[0]), None, None, None
        if self._descent.rates.constant is None:
            rates = np.ascontiguousarray(self._descent.rates.at(first, steps))
        if self._batches is not None and steps:
            drawn = self._batches.at(first, steps)
            rows, counts = drawn.rows, drawn.counts
        self._chain.schedule(first - self._began, rates if steps else None, rows, counts)
        return rates, rows, counts

    def advance(self, steps: int, values: Array, tol: float) -> tuple[int, int]:
        kept = self._hand_over(steps)
        status, taken = super().advance(steps, values, tol)
        del kept
        self._taken[0] += taken
        return status, taken

    def advance_scoring(self, steps: int, values: Array, tol: float, at: Array) -> tuple[int, int, Array]:
        kept = self._hand_over(steps)
        status, taken, scores = super().advance_scoring(steps, values, tol, at)
        del kept
        self._taken[0] += taken
        return status, taken, scores

    def average(self) -> list[Array] | None:
        return self._chain.slots[-1] if isinstance(self._descent.rule, Averaged) else None

    def state(self) -> list[Array]:
        return [self._taken, *self._memory, *super().state(), *(array for slot in self._chain.slots for array in slot)]

    def restore(self, kept: list[Array]) -> None:
        own = 1 + len(self._memory)
        for array, old in zip((self._taken, *self._memory), kept[:own], strict=True):
            array[...] = old
        super().restore(kept[own:])

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
            return super().value(tol)
        value = self._whole.value(self.params())
        if not math.isfinite(value):
            return DIVERGED, value
        return (CONVERGED if value + self._problem.floor <= tol else RUNNING), value

    def gradients(self) -> tuple[int, float, list[Array]]:
        return super().gradients() if self._whole is None else (RUNNING, *self._whole.gradients(self.params()))


class ModesEngine(Engine):
    """The compiled scalars of aligned modes."""

    def __init__(self, modes: Modes, problem: Problem, descent: Descent) -> None:
        self._modes, self._factor = modes, problem.factor
        self._kernel = kernel.bind_modes(modes, problem, descent)

    def advance(self, steps: int, values: Array, tol: float) -> tuple[int, int]:
        status, taken = self._kernel.advance(steps, values, tol)
        return status, taken

    def value(self, tol: float) -> tuple[int, float]:
        status, value = self._kernel.value(tol)
        return status, value

    def params(self) -> list[Array]:
        return [self._kernel.sigma]

    def velocities(self) -> list[Array] | None:
        velocity = self._kernel.velocity
        return None if velocity is None else [velocity]

    def state(self) -> list[Array]:
        velocity = self._kernel.velocity
        return [self._kernel.sigma] if velocity is None else [self._kernel.sigma, velocity]

    def memory(self, step: int) -> Memory:
        return Memory(step, 0, self.state(), [], NO_NUMBERS)

    def _resume(self, memory: Memory) -> None:
        if memory.params is not None:
            self.restore(memory.params)

    def gradient_norm(self) -> float:
        sigma = self._kernel.sigma.astype(np.float64)
        below = np.cumprod(np.vstack([np.ones(sigma.shape[1]), sigma[:-1]]), axis=0)
        above = np.cumprod(np.vstack([np.ones(sigma.shape[1]), sigma[:0:-1]]), axis=0)[::-1]
        residual = self._modes.x * sigma.prod(axis=0) - self._modes.y
        gradient = 2 * self._factor * self._modes.x * residual * below * above
        return math.sqrt(float(np.sum(self._modes.weight * gradient**2)))


class SumEngine(Engine):
    """Independent parts that run side by side; the loss is their weighted sum."""

    def __init__(self, found: Split, problem: Problem, descent: Descent) -> None:
        self._split, self._descent, self._dtype = found, descent, problem.net.dtype
        self._engines: list[Engine | None] = []
        self._weights: list[float] = []
        for part in found.parts:
            if isinstance(part.content, Modes):
                self._engines.append(ModesEngine(part.content, problem, descent))
            elif part.content is None:
                self._engines.append(None)
            else:
                self._engines.append(ChainEngine(part.content, descent, cost.choose(part.content, descent)[0]))
            self._weights.append(1.0 if isinstance(part.content, Modes) else float(len(part.places)))
        self._running = [(e, w) for e, w in zip(self._engines, self._weights, strict=True) if e is not None]
        self._taken = np.zeros(1, dtype=np.int64)

    def advance(self, steps: int, values: Array, tol: float) -> tuple[int, int]:
        kept = self.snapshot() if tol >= 0 else None
        status, taken = self._together(steps, values)
        if kept is not None:
            reached = np.flatnonzero(values[:taken] + self._split.floor <= tol)
            if len(reached):
                # the parts ran past the step that ends the run
                return CONVERGED, self.replay(kept, int(reached[0]))
        return status, taken

    def _together(self, steps: int, values: Array) -> tuple[int, int]:
        values[:steps] = 0
        part = np.empty(steps)
        taken = steps
        with np.errstate(all="ignore"):
            for engine, weight in self._running:
                status, done = engine.advance(steps, part, -math.inf)
                if status == DIVERGED:
                    taken = min(taken, done)
                    values[done] = part[done]
                values[:done] += weight * part[:done]
            if not math.isfinite(values[:taken].max(initial=0)):
                # each part is finite, their sum is not
                taken = int(np.argmin(np.isfinite(values[:taken])))
        self._taken[0] += taken
        return (RUNNING if taken == steps else DIVERGED), taken

    def value(self, tol: float) -> tuple[int, float]:
        total = 0.0
        for engine, weight in self._running:
            total += weight * engine.value(-math.inf)[1]
        if not math.isfinite(total):
            return DIVERGED, total
        return (CONVERGED if total + self._split.floor <= tol else RUNNING), total

    def params(self) -> list[Array]:
        f = factors(self._descent, int(self._taken[0]))
        states = [
            [fi * W for fi, W in zip(f, part.start, strict=True)] if engine is None else engine.params()
            for part, engine in zip(self._split.parts, self._engines, strict=True)
        ]
        return split.lift(self._split, states, self._dtype)

    def velocities(self) -> list[Array] | None:
        if not self._descent.momentum:
            return None
        # what decays by itself in constant parts
        moved = self._descent.remembered(int(self._taken[0]))[0]
        states = []
        for part, engine in zip(self._split.parts, self._engines, strict=True):
            own = None if engine is None else engine.velocities()
            states.append([f * W for f, W in zip(moved, part.start, strict=True)] if own is None else own)
        return split.lift(self._split, states, self._dtype)

    def state(self) -> list[Array]:
        return [self._taken, *(array for engine, _ in self._running for array in engine.state())]

    def memory(self, step: int) -> Memory:
        return Memory(step, 0, self.state()[1:], [], NO_NUMBERS)

    def _resume(self, memory: Memory) -> None:
        if memory.params is not None:
            self.restore([self._taken, *memory.params])
        self._taken[0] = memory.step

    def gradient_norm(self) -> float:
        return math.sqrt(sum(weight * engine.gradient_norm() ** 2 for engine, weight in self._running))


def bind(
    work: Work, descent: Descent, implementation: str, pivot: Pivot, threads: int = 1, batches: Batches | None = None,
) -> Engine:  # fmt: skip
    """The engine that runs the work. `threads`: of convolutions."""
    shapes = [layer.shape for layer in work.given.net.layers]
    if implementation == "reference":
        return RuleEngine(work.problem, descent, ReferenceSource(work.problem), shapes, batches)
    if work.split is not None:
        return SumEngine(work.split, work.problem, descent)
    if batches is not None and not kernel.compiled(work.problem.loss):
        # a loss in Python would have to be asked of each batch
        return RuleEngine(work.problem, descent, ReferenceSource(work.problem), shapes, batches)
    if descent.fused and batches is None:
        return ChainEngine(work.problem, descent, pivot, threads)
    if descent.update == "simultaneous" and (descent.heavy_ball or descent.compiled(work.problem.net)):
        return DrivenEngine(work.problem, descent, pivot, threads, shapes, batches)
    plain = simultaneous(work.problem.net.depth)
    problem = work.problem if batches is None else kernel.first_rows(work.problem)
    if descent.update == "cyclic":
        pivot = cost.choose(problem, plain)[0]
    chain = kernel.bind(problem, plain, pivot.at, pivot.rows, threads)
    if batches is not None:
        kernel.draw_from(chain, work.problem)
    return RuleEngine(work.problem, descent, ChainSource(chain), shapes, batches)
