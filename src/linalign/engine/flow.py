"""Flow: the compiled chain as the right side of `dtheta_i/dt = -dL/dtheta_i - lambda_i theta_i`, and Runge-Kutta steps along it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..cached import cached_property
from ..layers import Layer
from ..layers.flat import split
from ..optim import SGD
from ..plan.cost import Pivot
from ..problem.descent import Descent, make_descent
from ..problem.problem import Problem
from ..validate import Array
from . import bind as kernel
from .engine import CALLBACK_FAILED
from .engines import ChainEngine, simultaneous
from .steps import InKernel, InNumpy, Solver, Tolerances, method_of

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
        self._layers, self._matrix = layers, descent.metric == "matrix"
        self._decays = np.array(descent.weight_decay, dtype=np.float64)
        self._solved = [(i, layer) for i, layer in enumerate(layers) if self._matrix and layer.size and not layer.orthonormal]

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
        if self._decays.any():
            for part, theta, decay in zip(parts, self.split(flat), self._decays, strict=True):
                part -= decay * theta
        return slope

    def stand(self, flat: Array) -> None:
        """From now on recorded quantities look at these parameters."""
        for theta, part in zip(self._chain.params, self.split(flat), strict=True):
            theta[...] = part
        self._chain.refresh()

    def squares(self, params: Sequence[Array], layers: Sequence[Layer] | None = None) -> Array:
        """The squared norms of the layers, or of such of other layers: of parameters, or of matrices in their metric."""
        kinds = self._layers if layers is None else layers
        return np.array([_squared(layer, theta, self._matrix) for layer, theta in zip(kinds, params, strict=True)])

    def solver(self, method: str, last: float, rtol: float, atol: float, given: Array | None = None) -> Solver:
        """The steps from the start on, up to this time: in the kernel, but where slopes are solved with full Gram matrices.

        `given`: squared norms of the layers, of which those that are run are a part; None where that is all of them.
        """
        how, layers = method_of(method), self._layers
        outside = np.zeros(len(layers))
        if given is not None:
            outside = np.maximum(given - self.squares(self.split(self.start)), 0.0)
        if all(_diagonal(layer) for _, layer in self._solved):
            weights = None
            if self._solved:
                counts = (np.broadcast_to(layer.multiplicity, shape) for layer, shape in zip(layers, self._shapes, strict=True))
                weights = np.concatenate([np.ravel(count).astype(np.float64) for count in counts])
            stepper = kernel.bind_flow(
                self._chain, how.A, how.errors, how.stages, how.extra, how.order, self.start, last, rtol, atol, outside, self._decays,
                weights,
            )  # fmt: skip
            return InKernel(stepper, how, last, self._evaluated, self._failure)
        counted = [i for i, layer in enumerate(layers) if layer.size]

        def squared(flat: Array) -> Array:
            parts = self.split(flat)
            return self.squares([parts[i] for i in counted], [layers[i] for i in counted])

        return InNumpy(self.slope, squared, self.start, how, last, Tolerances(rtol, atol, outside[counted], self._decays[counted]))

    def _evaluated(self, count: int) -> None:
        self.evaluations += count

    def _failure(self) -> BaseException:
        assert self.error is not None
        return self.error


def _diagonal(layer: Layer) -> bool:
    """Whether its Gram matrix is."""
    return layer.linear.form.kind != "basis"


def _squared(layer: Layer, theta: Array, matrix: bool) -> float:
    """The squared norm of parameters, or of their matrix with its bias."""
    if not matrix or layer.orthonormal:
        return float(np.vdot(theta, theta))
    if _diagonal(layer):
        return float(np.vdot(theta, layer.multiplicity * theta))
    inner = layer.linear
    weight, bias = theta.ravel()[: inner.size], theta.ravel()[inner.size :]
    times = np.ravel(layer.multiplicity)[inner.size :]
    return float(np.sum(inner.matrix(weight.reshape(inner.param_shape)) ** 2) + np.vdot(bias, times * bias))
