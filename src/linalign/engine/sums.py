"""Sums: parts that run side by side; aligned ones are scalars."""

from __future__ import annotations

import math

import numpy as np

from ..plan import cost
from ..problem.descent import Descent
from ..problem.problem import Problem
from ..reduce import split
from ..reduce.complement import factors
from ..reduce.split import Modes, Split
from ..validate import Array
from . import bind as kernel
from .engine import CONVERGED, DIVERGED, RUNNING, Engine
from .engines import NO_NUMBERS, ChainEngine
from .memory import Memory


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
