"""Rules in NumPy: the kernel or the reference computes the gradients, the rule of the descent updates the parameters in place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from .. import reference
from ..optim import Moment
from ..optim.wrapped import Averaged
from ..problem.descent import Descent
from ..problem.problem import Problem
from ..validate import Array
from .bind import draw_from
from .engine import CALLBACK_FAILED, CONVERGED, DIVERGED, RUNNING, Engine, norm
from .feed import Feed
from .memory import Memory
from .whole import Whole


class Source(Protocol):
    """Where gradients come from: parameters that stand still, or move in place."""

    params: list[Array]

    @property
    def error(self) -> BaseException | None:
        """What a loss in Python raised."""

    def differentiate(self) -> tuple[int, float, list[Array]]:
        """Status, loss and the coordinates `<A_k, G>` of the gradients at `params`."""

    def value(self) -> tuple[int, float]:
        """Status and loss at `params`."""

    def refresh(self) -> None:
        """`params` were written to."""

    def window(self, rows: Array | None, noise: Array | None = None) -> None:
        """From now on the loss is that of these rows of the data, all if None, with noise on their targets."""

    def feed(self, problem: Problem) -> None:
        """From now on the data are those of this problem."""


class ReferenceSource:
    """Backpropagation in NumPy, on the data as they are."""

    def __init__(self, problem: Problem) -> None:
        self.error: BaseException | None = None
        self._problem = problem
        self._X = problem.X
        self._objective = problem.loss.objective(problem.T, problem.factor)
        self.params = [theta.copy() for theta in problem.net.params]

    def differentiate(self) -> tuple[int, float, list[Array]]:
        try:
            with np.errstate(all="ignore"):
                value, gradients = reference.gradients(self._problem.net.layers, self.params, self._X, self._objective)
        except Exception as error:
            self.error = error
            return CALLBACK_FAILED, math.nan, []
        return RUNNING, value, gradients

    def value(self) -> tuple[int, float]:
        status, value, _ = self.differentiate()
        return status, value

    def refresh(self) -> None:
        """Nothing is made of the parameters."""

    def feed(self, problem: Problem) -> None:
        self._problem = problem

    def window(self, rows: Array | None, noise: Array | None = None) -> None:
        p = self._problem
        assert p.T is not None
        T = p.T if rows is None else p.T[rows]
        if noise is not None:
            T = T + noise[: len(T)].astype(T.dtype)
        if rows is None:
            self._objective = p.loss.objective(T, p.factor)
            return
        assert p.X is not None
        self._X = p.X[rows]
        self._objective = p.loss.objective(T, p.loss.factor(len(rows), p.T.shape[1]))


class ChainSource:
    """The gradients of a compiled chain; `chain` is bound to a simultaneous descent."""

    def __init__(self, chain: Any) -> None:
        self._chain = chain
        self.params: list[Array] = chain.params

    @property
    def error(self) -> BaseException | None:
        found: BaseException | None = self._chain.error
        return found

    def differentiate(self) -> tuple[int, float, list[Array]]:
        status, value = self._chain.differentiate()
        return status, value, self._chain.gradients

    def value(self) -> tuple[int, float]:
        found: tuple[int, float] = self._chain.value(-math.inf)
        return found

    def refresh(self) -> None:
        self._chain.refresh()

    def window(self, rows: Array | None, noise: Array | None = None) -> None:
        self._chain.window(rows, noise)

    def feed(self, problem: Problem) -> None:
        draw_from(self._chain, problem)


class RuleEngine(Engine):
    """A rule that updates what a source computes the gradients of."""

    def __init__(self, problem: Problem, descent: Descent, source: Source, shapes: Sequence[tuple[int, int]] | None = None,
                 feed: Feed | None = None) -> None:  # fmt: skip
        """`shapes`: of the layers as given, where the problem is a reduced one."""
        self._problem, self._descent, self._source = problem, descent, source
        self._layers = problem.net.layers
        self._shapes = shapes or [layer.shape for layer in self._layers]
        self._slots = descent.rule.start(source.params)
        self._taken = np.zeros(1, dtype=np.int64)
        self._began = 0
        self._raised: BaseException | None = None
        self._feed = feed
        self._whole = None if feed is None or feed.batches is None else Whole(problem)
        self._last: Array | None = None
        if feed is not None:
            self.longest, self.streams = feed.longest, feed.stream is not None
            if feed.stream is not None:
                self._last = np.arange(problem.rows)
                source.window(self._last)

    @property
    def error(self) -> BaseException | None:  # type: ignore[override]
        return self._source.error if self._raised is None else self._raised

    def advance(self, steps: int, values: Array, tol: float) -> tuple[int, int]:
        d, first = self._descent, int(self._taken[0])
        seen = None if self._feed is None else self._feed.at(first, steps)
        if seen is not None:
            steps = seen.steps
            if seen.data is not None:
                self._source.feed(seen.data)
        rates = d.rates.at(first, steps)
        for t in range(steps):
            if seen is not None and (seen.rows is not None or seen.noise is not None):
                self._source.window(seen.rows_of(t), seen.noise_of(t))
            status, values[t], gradients = self._source.differentiate()
            status = self._status(status, values[t], tol)
            if status != RUNNING:
                return status, t
            self._taken[0] += 1
            self.torn = True
            try:
                with np.errstate(all="ignore"):
                    status = self._sweep(gradients, rates[t]) if d.update == "cyclic" else self._step(gradients, rates[t])
            except Exception as error:
                self._raised, self.at_loss = error, error is self._source.error
                return CALLBACK_FAILED, t
            if status != RUNNING:
                return status, t
            self.torn = False
            if seen is not None and seen.data is not None:
                self._last = seen.rows_of(t)
        return RUNNING, steps

    def _step(self, gradients: list[Array], lr: Array) -> int:
        d, step = self._descent, int(self._taken[0]) - self._began
        at = Moment(step, lr, d.weight_decay, self._layers, self._shapes, d.metric, self._elsewhere)
        d.rule.step(self._source.params, self._noisy(self._measured(gradients)), self._slots, at)
        self._source.refresh()
        return RUNNING

    def _sweep(self, gradients: list[Array], lr: Array) -> int:
        """Layer 1 to d, each from the newest."""
        step, decay, rule = int(self._taken[0]) - self._began, self._descent.weight_decay, self._descent.rule
        for i in range(len(gradients)):
            if i:
                status, _, gradients = self._source.differentiate()
                if status == CALLBACK_FAILED:
                    return status
            rule.update(
                self._source.params[i], self._noisy(self._measured(gradients))[i], self._slots.of(i), float(lr[i]), float(decay[i]), step
            )
            self._source.refresh()
        return RUNNING

    def _measured(self, gradients: list[Array]) -> list[Array]:
        """In the metric of the descent (T5.1), as arrays that later gradients leave alone."""
        plain = self._descent.metric == "parameters"
        return [np.array(g) if plain or layer.form.kind in ("dense", "fixed") else layer.solve_gram(g)
                for layer, g in zip(self._layers, gradients, strict=True)]  # fmt: skip

    def _noisy(self, gradients: list[Array]) -> list[Array]:
        """With the noise of the step."""
        if self._feed is None or self._feed.noise is None:
            return gradients
        noise = self._feed.noise.on_gradients(int(self._taken[0]) - 1, [g.shape for g in gradients])
        return gradients if noise is None else [g + xi.astype(g.dtype) for g, xi in zip(gradients, noise, strict=True)]

    def _without_noise(self) -> None:
        """Back to the labels as they are."""
        if self._feed is not None and self._whole is None and (self._feed.labels or self._feed.stream is not None):
            self._source.window(self._last)

    def _elsewhere(self, params: list[Array]) -> tuple[float, list[Array]]:
        """The loss and its gradients at other parameters."""
        here = [theta.copy() for theta in self._source.params]
        self._write(params)
        status, value, found = self._source.differentiate()
        found = self._measured(found)
        self._write(here)
        if status == CALLBACK_FAILED:
            assert self.error is not None
            raise self.error
        return value, found

    def _write(self, params: list[Array]) -> None:
        for theta, new in zip(self._source.params, params, strict=True):
            theta[...] = new
        self._source.refresh()

    def _status(self, status: int, value: float, tol: float) -> int:
        if status == CALLBACK_FAILED:
            return status
        if not math.isfinite(value):
            return DIVERGED
        return CONVERGED if value + self._problem.floor <= tol else RUNNING

    def value(self, tol: float) -> tuple[int, float]:
        self._without_noise()
        status, value = self._source.value() if self._whole is None else (RUNNING, self._whole.value(self._source.params))
        return self._status(status, value, tol), value

    def gradients(self) -> tuple[float, list[Array]]:
        """The loss and its gradients, of all the data."""
        if self._whole is not None:
            return self._whole.gradients(self._source.params)
        self._without_noise()
        status, value, gradients = self._source.differentiate()
        if status == CALLBACK_FAILED:
            assert self._source.error is not None
            raise self._source.error
        return value, gradients

    def streamed_gradients(self) -> list[Array]:
        return self.gradients()[1]

    def params(self) -> list[Array]:
        return self._source.params

    def velocities(self) -> list[Array] | None:
        return self._slots.arrays[0] if self._descent.momentum else None

    def average(self) -> list[Array] | None:
        return self._slots.arrays[-1] if isinstance(self._descent.rule, Averaged) else None

    def state(self) -> list[Array]:
        return [self._taken, *self._source.params, *self._slots.all()]

    def restore(self, kept: list[Array]) -> None:
        super().restore(kept)
        self._source.refresh()

    def memory(self, step: int) -> Memory:
        return Memory(step, self._began, self._source.params, self._slots.arrays, self._slots.numbers)

    def _resume(self, memory: Memory) -> None:
        self._taken[0], self._began = memory.step, memory.began
        if memory.params is not None:
            self._write(memory.params)
        if memory.slots is not None:
            for array, old in zip(self._slots.all(), memory.flat or (), strict=True):
                array[...] = old

    def gradient_norm(self) -> float:
        return norm(self.gradients()[1])
