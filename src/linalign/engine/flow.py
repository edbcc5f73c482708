"""Flow: the compiled chain as the right side of `dtheta_i/dt = -dL/dtheta_i - lambda_i theta_i`, and Runge-Kutta steps along it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import scipy.integrate

from ..cached import cached_property
from ..layers.flat import split
from ..optim import SGD
from ..plan.cost import Pivot
from ..problem.descent import Descent, make_descent
from ..problem.problem import Problem
from ..validate import Array
from . import bind as kernel
from .engine import CALLBACK_FAILED
from .engines import ChainEngine, simultaneous

# a slope that no error control accepts, whose square is finite: with nan SciPy's would try for ever
TOO_FAR = 1e100
# the reduction that a flow cannot use
APART = "split"
# steps between two looks for Ctrl-C
SLICE = 500


class Following(Descent):
    """Gradient flow as a descent: what no gradient meets is `exp(-lambda_i t)` times its start (T15.1), at the time of its clock."""

    @cached_property
    def clock(self) -> list[float]:
        """The time at which the flow is looked at, of one entry."""
        return [0.0]

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """Other than that of descent."""
        return "flow", *super().key

    def forbids(self, reduction: str) -> str | None:
        """Nothing (T15.1), but parts that would each choose steps of their own."""
        return "parts would each choose steps of their own" if reduction == APART else super().forbids(reduction)

    def factors(self, steps: int) -> Array:
        """At the time of the clock, whatever number that time has."""
        return np.exp(-self.weight_decay * self.clock[0])


def following(depth: int, metric: str, weight_decay: Array) -> Following:
    """The flow of a network of this depth. Precondition: checked."""
    made = make_descent(depth, 1.0, SGD(weight_decay=list(weight_decay)), "simultaneous", metric)
    return Following(made.rates, made.rule, made.weight_decay, made.update, made.metric)


class FlowEngine(ChainEngine):
    """A chain that stands where it is put; in the metric "matrix" slopes are those of projected gradient descent."""

    def __init__(self, problem: Problem, descent: Descent, pivot: Pivot, threads: int = 1) -> None:
        # the gradient of the chain has no decay in it
        super().__init__(problem, simultaneous(problem.net.depth, descent.metric), pivot, threads, alone=False)
        layers, params = problem.net.layers, problem.net.params
        self._shapes = [theta.shape for theta in params]
        self.start = np.concatenate([theta.ravel() for theta in params])
        self.evaluations = 0
        matrix = descent.metric == "matrix"
        self._decays = descent.weight_decay.any()
        self._decay = np.concatenate([np.full(theta.size, rate) for theta, rate in zip(params, descent.weight_decay, strict=True)])
        self._solved = [(i, layer) for i, layer in enumerate(layers) if matrix and layer.size and not layer.orthonormal]

    def split(self, flat: Array) -> list[Array]:
        """Views of a flat vector, one a layer."""
        return split(flat, self._shapes)

    def slope(self, time: float, flat: Array) -> Array:
        """The right side there, one vector; `TOO_FAR` where the loss is not finite. Raises: what a loss in Python raised."""
        self.evaluations += 1
        slope = np.empty_like(self.start)
        status, value = self._chain.evaluate(np.ascontiguousarray(flat, self.start.dtype), slope)
        if status == CALLBACK_FAILED:
            assert self.error is not None
            raise self.error
        if not math.isfinite(value):
            # the padding of the chain may have left the finite numbers too
            self._chain.restore(self.split(self.start))
            slope[:] = TOO_FAR
            return slope
        np.negative(slope, out=slope)
        parts = self.split(slope)
        for i, layer in self._solved:
            parts[i][...] = layer.solve_gram(parts[i])
        if self._decays:
            slope -= self._decay * flat
        return slope

    def stand(self, flat: Array) -> None:
        """From now on recorded quantities look at these parameters."""
        for theta, part in zip(self._chain.params, self.split(flat), strict=True):
            theta[...] = part
        self._chain.refresh()

    def solver(self, method: str, last: float, rtol: float, atol: float) -> Solver:
        """The steps from the start on: in the kernel, but where slopes are solved with Gram matrices in NumPy, or decay is in them."""
        begun = getattr(scipy.integrate, method)(self.slope, 0.0, self.start, last, rtol=rtol, atol=atol)
        return InPython(begun) if self._solved or self._decays else Compiled(self, begun, rtol, atol)

    def stepper(self, *how: Any) -> Any:
        """A `Stepper` on the chain."""
        return kernel.bind_flow(self._chain, *how)


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


class InPython:
    """SciPy's."""

    def __init__(self, solver: Any) -> None:
        self._solver, self.t = solver, 0.0

    def advance(self, until: float, most: int, steady: float) -> tuple[str, int]:
        solver, taken = self._solver, 0
        while solver.t < until and taken < most:
            solver.step()
            if solver.status == "failed":
                return "diverged", taken
            taken, self.t = taken + 1, solver.t
            if float(np.linalg.norm(solver.f)) <= steady:
                return "steady", taken
        return "reached" if solver.t >= until else "steps", taken

    @property
    def length(self) -> float:
        return float(self._solver.h_abs)

    def state(self) -> Array:
        return np.array(self._solver.y)

    def dense(self) -> Callable[[float], Array]:
        found: Callable[[float], Array] = self._solver.dense_output()
        return found


class Compiled:
    """The same steps in the kernel, with the coefficients and the first step of SciPy's methods."""

    ENDS = ("reached", "steps", "steady", "diverged", "raised")

    def __init__(self, engine: FlowEngine, begun: Any, rtol: float, atol: float) -> None:
        """`begun`: SciPy's, which has chosen its first step."""
        self._engine, self._method, self._last = engine, begun, float(begun.t_bound)
        kind, stages = type(begun), begun.n_stages
        more = getattr(kind, "A_EXTRA", np.zeros((0, stages + 1)))
        A = np.zeros((stages + len(more), stages + 1 + len(more)))
        A[: stages - 1, : kind.A.shape[1]] = kind.A[1:]
        A[stages - 1, :stages] = kind.B
        A[stages:, : more.shape[1]] = more
        errors = np.array([kind.E5, kind.E3]) if hasattr(kind, "E5") else kind.E[None]
        self._stepper = engine.stepper(
            A, np.ascontiguousarray(errors), stages, len(more), float(kind.error_estimator_order), engine.start, begun.f,
            float(begun.h_abs), rtol, atol,
        )  # fmt: skip
        self._seen = 0

    @property
    def t(self) -> float:
        found: float = self._stepper.t
        return found

    @property
    def length(self) -> float:
        found: float = self._stepper.length
        return found

    def _count(self) -> None:
        self._engine.evaluations += self._stepper.evaluations - self._seen
        self._seen = self._stepper.evaluations

    def advance(self, until: float, most: int, steady: float) -> tuple[str, int]:
        why, taken = self._stepper.advance(until, self._last, most, steady)
        self._count()
        if self.ENDS[why] == "raised":
            assert self._engine.error is not None
            raise self._engine.error
        return self.ENDS[why], taken

    def state(self) -> Array:
        return np.array(self._stepper.y)

    def dense(self) -> Callable[[float], Array]:
        """The method's own polynomial: of the step, of its slopes at both ends, and of sums of all slopes."""
        stepper, kind = self._stepper, type(self._method)
        if not stepper.dense():
            raise ArithmeticError("the loss leaves the finite numbers within a step of the flow")
        self._count()
        old, new, h, first = stepper.before.copy(), stepper.y.copy(), stepper.span, stepper.t - stepper.span
        K = stepper.slopes.copy()
        if not hasattr(kind, "D"):
            Q = K[: len(kind.P)].T @ kind.P

            def quartic(t: float) -> Array:
                x = (t - first) / h
                return np.asarray(old + h * Q @ x ** np.arange(1, Q.shape[1] + 1))

            return quartic
        change, stages = new - old, self._method.n_stages
        parts = [change, h * K[0] - change, 2 * change - h * (K[stages] + K[0]), *(h * kind.D @ K[: kind.D.shape[1]])]

        def nested(t: float) -> Array:
            # x (p_0 + (1 - x) (p_1 + x (p_2 + ...)))
            x = (t - first) / h
            total = np.zeros_like(old)
            for i in reversed(range(len(parts))):
                total = (total + parts[i]) * (1 - x if i % 2 else x)
            return np.asarray(old + total)

        return nested
