"""Flow: the compiled chain as the right side of `dtheta/dt = -dL/dtheta`, moved from outside."""

from __future__ import annotations

import math

import numpy as np

from ..layers.flat import split
from ..plan.cost import Pivot
from ..problem.descent import Descent
from ..problem.problem import Problem
from ..validate import Array
from .engine import CALLBACK_FAILED
from .engines import ChainEngine

# a slope that no error control accepts, whose square is finite: with nan SciPy's would try for ever
TOO_FAR = 1e100


class FlowEngine(ChainEngine):
    """A chain that stands where it is put; in the metric "matrix" slopes are those of projected gradient descent."""

    def __init__(self, problem: Problem, descent: Descent, pivot: Pivot, threads: int = 1) -> None:
        super().__init__(problem, descent, pivot, threads)
        layers, params = problem.net.layers, problem.net.params
        self._shapes = [theta.shape for theta in params]
        self.start = np.concatenate([theta.ravel() for theta in params])
        self.evaluations = 0
        matrix = descent.metric == "matrix"
        self._solved = [(i, layer) for i, layer in enumerate(layers) if matrix and layer.size and not layer.orthonormal]

    def split(self, flat: Array) -> list[Array]:
        """Views of a flat vector, one a layer."""
        return split(flat, self._shapes)

    def slope(self, time: float, flat: Array) -> Array:
        """`-dL/dtheta` there, one vector; `TOO_FAR` where the loss is not finite. Raises: what a loss in Python raised."""
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
        return slope

    def stand(self, flat: Array) -> None:
        """From now on recorded quantities look at these parameters."""
        for theta, part in zip(self._chain.params, self.split(flat), strict=True):
            theta[...] = part
        self._chain.refresh()
