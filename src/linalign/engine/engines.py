"""Engines: what the training loop drives. One interface over the kernels, the reference, and sums of parts."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from .. import reference
from ..plan import cost, machine
from ..plan.cost import Pivot
from ..plan.planner import Work
from ..problem.problem import Descent, Problem, make_descent
from ..reduce import split
from ..reduce.complement import factors
from ..reduce.split import Modes, Split
from ..validate import Array
from . import bind as kernel

RUNNING, CONVERGED, DIVERGED, CALLBACK_FAILED = (machine.STATUSES[name] for name in ("running", "converged", "diverged", "callback failed"))
# losses of steps that are taken again are kept for so many at a time
REPLAYED = 4096


def simultaneous(depth: int) -> Descent:
    """Any simultaneous descent: for gradients, where the step does not matter."""
    return make_descent(depth, 1.0, 0.0, 0.0, "simultaneous", "parameters")


class Engine(ABC):
    """A run that can be advanced, looked at, and put back to an earlier state."""

    error: BaseException | None = None

    @abstractmethod
    def advance(self, steps: int, values: Array, tol: float) -> tuple[int, int]:
        """Take up to `steps` steps, `values[t]` the loss before step t without the floor; `(status, steps taken)`."""

    @abstractmethod
    def value(self, tol: float) -> tuple[int, float]:
        """`(status, loss)` where it stands."""

    @abstractmethod
    def params(self) -> list[Array]:
        """The parameters of the problem that is run; they may be views that move with it."""

    @abstractmethod
    def state(self) -> list[Array]:
        """The arrays that make up the state, in place."""

    @abstractmethod
    def gradient_norm(self) -> float:
        """`sqrt(sum_i ||dL/dtheta_i||^2)` where it stands."""

    def velocities(self) -> list[Array] | None:
        """The velocities of the parameters that are run; None without momentum. They may be views that move with it."""
        return None

    def prepare_scores(self, noise: Array, constant: Array | None) -> bool:
        """Whether `advance_scoring` can record the alignment of a network with these constants on its way."""
        return False

    def advance_scoring(self, steps: int, values: Array, tol: float, at: Array) -> tuple[int, int, Array]:
        """`advance`, and sine and cosine of every interface before the steps in `at`; needs `prepare_scores`."""
        raise NotImplementedError

    def use_one_thread(self) -> None:  # noqa: B027 - an engine that shares nothing has nothing to do
        """The other threads are taken from now on: those of one product wait for each other, and would wait for long."""

    def snapshot(self, into: list[Array] | None = None) -> list[Array]:
        """A copy of the state, in the arrays of an earlier one if they are given: fresh memory takes longer to touch than to copy."""
        if into is None:
            return [array.copy() for array in self.state()]
        for old, array in zip(into, self.state(), strict=True):
            old[...] = array
        return into

    def restore(self, kept: list[Array]) -> None:
        """Back to a snapshot."""
        for array, old in zip(self.state(), kept, strict=True):
            array[...] = old

    def replay(self, kept: list[Array], steps: int) -> int:
        """From a snapshot, steps that were taken before; how many there were.

        They are the same steps, unless other threads took part in them and rounding has carried some of them out of the finite
        numbers: it then ends before the first of these. Raises: what the loss raised.
        """
        scratch = np.empty(min(steps, REPLAYED))
        while True:
            self.restore(kept)
            status, done = RUNNING, 0
            while done < steps and status == RUNNING:
                status, taken = self.advance(min(steps - done, REPLAYED), scratch, -math.inf)
                done += taken
            if status == CALLBACK_FAILED:
                assert self.error is not None
                raise self.error
            if done == steps:
                return done
            steps = max(done - 1, 0)


def _norm(gradients: list[Array]) -> float:
    return math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients))


class ReferenceEngine(Engine):
    """The plain NumPy computation."""

    def __init__(self, problem: Problem, descent: Descent) -> None:
        self._problem, self._descent = problem, descent
        self._objective = problem.loss.objective(problem.T, problem.factor)
        self._params = [theta.copy() for theta in problem.net.params]
        self._velocities = [np.zeros_like(theta) for theta in self._params]

    def _status(self, value: float, tol: float) -> int:
        if not math.isfinite(value):
            return DIVERGED
        return CONVERGED if value + self._problem.floor <= tol else RUNNING

    def advance(self, steps: int, values: Array, tol: float) -> tuple[int, int]:
        d, layers = self._descent, self._problem.net.layers
        for t in range(steps):
            with np.errstate(all="ignore"):
                values[t], new, moved = reference.step(
                    layers, self._params, self._velocities, self._problem.X, self._objective,
                    d.lr, d.momentum, d.weight_decay, d.update, d.metric,
                )  # fmt: skip
            status = self._status(values[t], tol)
            if status != RUNNING:
                return status, t
            for keep, fresh in zip(self.state(), [*new, *moved], strict=True):
                keep[...] = fresh
        return RUNNING, steps

    def gradients(self) -> tuple[float, list[Array]]:
        """The loss and its gradients."""
        with np.errstate(all="ignore"):
            return reference.gradients(self._problem.net.layers, self._params, self._problem.X, self._objective)

    def value(self, tol: float) -> tuple[int, float]:
        value = self.gradients()[0]
        return self._status(value, tol), value

    def params(self) -> list[Array]:
        return self._params

    def velocities(self) -> list[Array] | None:
        return self._velocities if self._descent.momentum else None

    def state(self) -> list[Array]:
        return [*self._params, *self._velocities]

    def gradient_norm(self) -> float:
        return _norm(self.gradients()[1])


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
        return _norm(self.gradients()[2])


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
        taken = int(self._taken[0])
        # constant parts move by their decay alone: f <- f - lr v
        moved = (factors(self._descent, max(taken - 1, 0)) - factors(self._descent, taken)) / self._descent.lr
        states = []
        for part, engine in zip(self._split.parts, self._engines, strict=True):
            own = None if engine is None else engine.velocities()
            states.append([f * W for f, W in zip(moved, part.start, strict=True)] if own is None else own)
        return split.lift(self._split, states, self._dtype)

    def state(self) -> list[Array]:
        return [self._taken, *(array for engine, _ in self._running for array in engine.state())]

    def gradient_norm(self) -> float:
        return math.sqrt(sum(weight * engine.gradient_norm() ** 2 for engine, weight in self._running))


def bind(work: Work, descent: Descent, implementation: str, pivot: Pivot, threads: int = 1) -> Any:
    """The engine that runs the work. `threads`: that share products and convolutions."""
    if implementation == "reference":
        return ReferenceEngine(work.problem, descent)
    if work.split is not None:
        return SumEngine(work.split, work.problem, descent)
    return ChainEngine(work.problem, descent, pivot, threads)
