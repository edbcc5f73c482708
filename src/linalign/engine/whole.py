"""Whole: the loss of all the data, for a run whose steps see batches of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import reference
from ..problem.problem import Problem, whole
from ..reduce import samples
from ..validate import Array

# entries of the rows in flight of networks that are looked at together
ENTRIES = 2**18


class Whole:
    """The loss of all rows and its gradients: of a quadratic loss by rank(X) rows, whatever their number (T7.1)."""

    def __init__(self, problem: Problem) -> None:
        self._full = whole(problem)
        self._run: Problem | None = None

    def compress(self) -> None:
        """Now, and not when the loss is first asked for."""
        self._small  # noqa: B018 - a property that is kept

    @property
    def _small(self) -> Problem:
        """What is evaluated; the rows are compressed when they are first asked for."""
        found = self._run
        if found is None:
            found = self._full
            if found.loss.quadratic and found.rows > found.net.widths[0]:
                found = samples.reduce(found)[0]
            self._run = found  # not before it is whole: threads of a sweep look at the same object
        return found

    def gradients(self, params: Sequence[Array]) -> tuple[float, list[Array]]:
        """The loss without the floor of the problem that is run, and its gradients."""
        small = self._small
        with np.errstate(all="ignore"):
            value, found = reference.gradients(small.net.layers, list(params), small.X, small.loss.objective(small.T, small.factor))
        return value + small.floor - self._full.floor, found

    def loss(self, params: Sequence[Array]) -> float:
        """The loss."""
        small = self._small
        assert small.X is not None
        with np.errstate(all="ignore"):
            F = reference.forward(small.net.layers, list(params), small.X)[-1]
            return float(small.loss.objective(small.T, small.factor)(F)[0]) + small.floor

    def value(self, params: Sequence[Array]) -> float:
        """The loss without the floor of the problem that is run."""
        return self.loss(params) - self._full.floor

    def values(self, stacks: Sequence[Array]) -> Array:
        """Those of many dense networks at once, `stacks[i] (m, k_i, k_{i-1})`."""
        small = self._small
        assert small.X is not None
        objective = small.loss.objective(small.T, small.factor)
        found = np.empty(len(stacks[0]))
        most = max(1, ENTRIES // (small.rows * max(small.net.widths)))
        with np.errstate(all="ignore"):
            for i in range(0, len(found), most):
                F = small.X
                for W in stacks:
                    F = F @ W[i : i + most].swapaxes(1, 2)
                found[i : i + most] = [objective(outputs)[0] for outputs in F]
        return found + (small.floor - self._full.floor)
