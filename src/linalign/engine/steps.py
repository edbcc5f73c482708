"""Steps: Runge-Kutta methods along a flow, with error control in the norms of layers; in the kernel, or in NumPy (T15.6)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.integrate

from ..validate import Array

# the step is at most so many times as long as the one before, at least so small a share of it, and this much shorter than the error asks
MOST, LEAST, SAFETY = 10.0, 0.2, 0.9


@dataclass(frozen=True)
class Tolerances:
    """What a step may be off: a layer by `atol + rtol ||W_i||`, in the mean over layers.

    outside : squared norms of what of each layer is not run, at time 0, where it decays from; `(d,)`.
    decay : of each layer, `(d,)`.
    """

    rtol: float
    atol: float
    outside: Array
    decay: Array

    def units(self, squares: Array, time: float) -> Array:
        """Of layers of which so much is run."""
        return np.asarray(self.atol + self.rtol * np.sqrt(squares + self.outside * np.exp(-2 * self.decay * time)))


@dataclass(frozen=True, eq=False)
class Method:
    """The coefficients of SciPy's class of this name.

    A : rows of stages 1.., then of the step itself, whose slope is the first of the next, then of the extra stages of dense output.
    errors : of the error estimate, or of two, the second of lower order. order : of the first, the exponent.
    """

    kind: Any
    stages: int
    A: Array
    errors: Array
    order: float

    @property
    def extra(self) -> int:
        return len(self.A) - self.stages

    def between(self, old: Array, new: Array, h: float, K: Array) -> Callable[[float], Array]:
        """The method's own polynomial over a step, of the share of it: from the states at both ends and all slopes."""
        kind = self.kind
        if not hasattr(kind, "D"):
            Q = K[: len(kind.P)].T @ kind.P
            return lambda x: np.asarray(old + h * Q @ x ** np.arange(1, Q.shape[1] + 1))
        change = new - old
        parts = [change, h * K[0] - change, 2 * change - h * (K[self.stages] + K[0]), *(h * kind.D @ K[: kind.D.shape[1]])]

        def nested(x: float) -> Array:
            # x (p_0 + (1 - x) (p_1 + x (p_2 + ...)))
            total = np.zeros_like(old)
            for i in reversed(range(len(parts))):
                total = (total + parts[i]) * (1 - x if i % 2 else x)
            return np.asarray(old + total)

        return nested


@functools.cache
def method_of(name: str) -> Method:
    """By its name in SciPy."""
    kind = getattr(scipy.integrate, name)
    stages, more = kind.n_stages, getattr(kind, "A_EXTRA", np.zeros((0, kind.n_stages + 1)))
    A = np.zeros((stages + len(more), stages + 1 + len(more)))
    A[: stages - 1, : kind.A.shape[1]] = kind.A[1:]
    A[stages - 1, :stages] = kind.B
    A[stages:, : more.shape[1]] = more
    errors = np.array([kind.E5, kind.E3]) if hasattr(kind, "E5") else kind.E[None]
    return Method(kind, stages, A, np.ascontiguousarray(errors), float(kind.error_estimator_order))


class Solver(Protocol):
    """A method under way."""

    @property
    def t(self) -> float:
        """The time that it has reached."""

    def advance(self, until: float, most: int, steady: float) -> tuple[str, int]:
        """Steps until one ends at `until` or beyond: `(why it ends, steps taken)`, "reached", "steps", "steady" or "diverged".

        `most` of them; "steady" where the norm of the slope is at most `steady`. Raises: what a loss in Python raised.
        """

    @property
    def length(self) -> float:
        """How long the next step would be."""

    def state(self) -> Array:
        """Where it stands."""

    def dense(self) -> Callable[[float], Array]:
        """The state at times within the last step."""


class InNumpy:
    """The steps written out, for slopes that no kernel has: those of layers whose Gram matrices are not diagonal."""

    def __init__(
        self, slope: Callable[[float, Array], Array], squared: Callable[[Array], Array], start: Array, method: Method, last: float,
        tolerances: Tolerances,
    ) -> None:  # fmt: skip
        """`slope(t, flat)`; `squared(flat)`: squared norms of the layers, of those that have parameters; `last`: where the flow ends."""
        self._slope, self._squared, self._method, self._last, self._tolerances = slope, squared, method, last, tolerances
        self.t, self._y, self._K = 0.0, np.array(start), np.zeros((len(method.A) + 1, len(start)))
        self._K[0] = slope(0.0, self._y)
        self._before, self._span = self._y, 0.0
        squares = self._squared(self._y)
        units = self._units(squares)
        size = float(np.sqrt(np.mean((squares + tolerances.outside) / units**2)))
        rate = self._measure(self._K[0], units)
        first = min(last, 1e-6 if size < 1e-5 or rate < 1e-5 else 0.01 * size / rate)
        curved = self._measure(slope(first, self._y + first * self._K[0]) - self._K[0], units) / first
        steep = max(rate, curved)
        second = max(1e-6, first * 1e-3) if steep <= 1e-15 else (0.01 / steep) ** (1 / (method.order + 1))
        self.length = min(100 * first, second, last)

    def _units(self, squares: Array) -> Array:
        return self._tolerances.units(squares, self.t)

    def _measure(self, change: Array, units: Array) -> float:
        """A change over what is allowed."""
        return float(np.sqrt(np.mean(self._squared(change) / units**2)))

    def _error(self, h: float, new: Array) -> float:
        units = self._units(np.maximum(self._squared(self._y), self._squared(new)))
        off = [self._measure(row @ self._K[: self._method.stages + 1], units) ** 2 for row in self._method.errors]
        if len(off) == 1 or not any(off):
            return abs(h) * math.sqrt(off[0])
        return abs(h) * off[0] / math.sqrt(off[0] + 0.01 * off[1])

    def _step(self) -> bool:
        """One step; whether one was short enough."""
        method, least, shortened = self._method, 10 * (np.nextafter(self.t, np.inf) - self.t), False
        self.length = max(self.length, least)
        while self.length >= least:
            until = min(self.t + self.length, self._last)
            h = until - self.t
            for s in range(1, method.stages + 1):
                new = self._y + h * method.A[s - 1, :s] @ self._K[:s]
                self._K[s] = self._slope(until, new)
            off = self._error(h, new)
            factor = SAFETY * off ** (-1 / (method.order + 1)) if off > 0 else MOST if off == 0 else LEAST
            if off < 1:
                self.length = h * min(1.0 if shortened else MOST, factor)
                self._before, self._y, self._span, self.t = self._y, new, h, until
                return True
            self.length, shortened = h * max(LEAST, factor), True
        return False

    def advance(self, until: float, most: int, steady: float) -> tuple[str, int]:
        taken = 0
        while self.t < until and taken < most:
            if self._span:
                self._K[0] = self._K[self._method.stages]
            if not self._step():
                return "diverged", taken
            taken += 1
            if float(np.linalg.norm(self._K[self._method.stages])) <= steady:
                return "steady", taken
        return "steps" if taken == most else "reached", taken

    def state(self) -> Array:
        return self._y

    def dense(self) -> Callable[[float], Array]:
        method, h, first = self._method, self._span, self.t - self._span
        for s in range(method.stages + 1, len(method.A) + 1):
            self._K[s] = self._slope(first, self._before + h * method.A[s - 1, :s] @ self._K[:s])
        inside = method.between(self._before, self._y, h, self._K.copy())
        return lambda t: inside((t - first) / h)


class InKernel:
    """The same steps made by a `Stepper`."""

    ENDS = ("reached", "steps", "steady", "diverged", "raised")

    def __init__(self, stepper: Any, method: Method, last: float, seen: Callable[[int], None], raised: Callable[[], BaseException]) -> None:
        """`seen` is told of evaluations, `raised` has what a loss in Python raised."""
        self._stepper, self._method, self._last, self._seen, self._raised, self._known = stepper, method, last, seen, raised, 0

    @property
    def t(self) -> float:
        found: float = self._stepper.t
        return found

    @property
    def length(self) -> float:
        found: float = self._stepper.length
        return found

    def _count(self) -> None:
        self._seen(self._stepper.evaluations - self._known)
        self._known = self._stepper.evaluations

    def advance(self, until: float, most: int, steady: float) -> tuple[str, int]:
        why, taken = self._stepper.advance(until, self._last, most, steady)
        self._count()
        if self.ENDS[why] == "raised":
            raise self._raised()
        return self.ENDS[why], taken

    def state(self) -> Array:
        found: Array = self._stepper.flat(self._stepper.y)
        return found

    def dense(self) -> Callable[[float], Array]:
        stepper = self._stepper
        if not stepper.dense():
            raise ArithmeticError("the loss leaves the finite numbers within a step of the flow")
        self._count()
        h, first = stepper.span, stepper.t - stepper.span
        inside = self._method.between(stepper.before.copy(), stepper.y.copy(), h, stepper.slopes.copy())
        return lambda t: np.asarray(stepper.flat(inside((t - first) / h)))
