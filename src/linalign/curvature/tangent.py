"""Tangent: the lazy dynamics from a start, of the network's tangent there, in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import reference, validate
from ..calls import called
from ..layers.homogeneous import beside_ones
from ..losses import Loss
from ..problem.metric import METRICS
from ..problem.network import Network
from ..problem.problem import Problem, make_problem
from ..reduce import samples
from ..reduce.biases import homogeneous
from ..validate import Array
from .kernel import Factors

# outputs on all rows that are run; their kernel is decomposed
MOST = 4000


class Linearized:
    """`f(theta_0) + J (theta - theta_0)` under gradient flow or gradient descent of a squared loss; `linalign.linearized` makes it.

    With the tangent kernel `Theta = J J^T` and twice the loss's factor, f: residuals `r(t) = exp(-f Theta t) r_0`, or
    `(1 - lr f Theta)^(t / lr) r_0` of gradient descent, and `theta(t) = theta_0 - J^T Theta^-1 (r_0 - r(t))`.

    network : where it is the tangent.
    eigenvalues : f times those of the kernel on the data, ascending, some of them zero: the rates of the flow. Gradient descent is stable
        up to 2 over the largest.

    Examples
    --------
    >>> import linalign as la
    >>> lazy = la.linearized(la.Network.from_matrices([[[2.0]], [[3.0]]]), [[1.0]], [[5.0]])
    >>> lazy.outputs([[1.0]], 100.0).round(6), lazy.at(100.0).matrix().round(6)  # the network itself is of second order in the step
    (array([[5.]]), array([[5.035503]]))
    """

    def __init__(self, problem: Problem, metric: str) -> None:
        """`problem` is checked, of a squared loss."""
        self.network, self._metric = problem.net, metric
        small = homogeneous(problem)
        if small.X is not None and small.X.ndim == 2 and small.quadratic:
            small = samples.reduce(small)[0]
        self._problem = small
        self._rows = np.eye(small.net.widths[0], dtype=small.net.dtype) if small.X is None else small.X
        self._factors = Factors(small.net.layers, small.net.params, self._rows, metric)
        count = len(self._rows) * self._factors.outputs
        if count > MOST:
            raise ValueError(f"X and Y make {count} outputs whose kernel is to be decomposed; pass fewer rows, {MOST} outputs at most")
        theta = self._factors.whole(self._factors).astype(np.float64)
        values, self._basis = np.linalg.eigh((theta + theta.T) / 2)
        self._first = reference.forward(small.net.layers, list(small.net.params), self._rows)[-1].astype(np.float64)
        assert small.T is not None
        self._along = self._basis.T @ (self._first - small.T).ravel()
        self._kernel, self.eigenvalues = np.maximum(values, 0.0), 2 * small.factor * np.maximum(values, 0.0)

    def loss(self, times: Any, *, lr: float | None = None) -> Array:
        """The loss at these times of the flow, shape of `times`; with `lr`, of gradient descent after `times / lr` steps.

        Raises: ValueError, TypeError.
        """
        left = self._left(times, lr)
        return np.asarray(self._problem.factor * np.sum((left * self._along) ** 2, axis=-1) + self._problem.floor)

    def outputs(self, X: Any, times: Any, *, lr: float | None = None) -> Array:
        """The outputs on rows of inputs `(n, k_0)` at these times, `(*times.shape, n, k_d)`. Raises: ValueError, TypeError."""
        rows = validate.matrix("X", X, self.network.dtype, columns=self.network.widths[0])
        if self.network.has_biases:
            rows = beside_ones(rows)
        net = self._problem.net
        theirs = Factors(net.layers, net.params, rows, self._metric)
        first = reference.forward(net.layers, list(net.params), rows)[-1].astype(np.float64)
        moved = self._weights(times, lr) @ (theirs.whole(self._factors).astype(np.float64) @ self._basis).T
        return np.asarray(first - moved.reshape(*moved.shape[:-1], *first.shape))

    def at(self, time: float, *, lr: float | None = None) -> Network:
        """The network whose parameters are those of the linear model at this time. Raises: ValueError, TypeError."""
        net = self._problem.net
        back = (self._basis @ self._weights(time, lr)).reshape(self._first.shape).astype(net.dtype)
        A = reference.forward(net.layers, list(net.params), self._rows)
        D = reference.backward(net.layers, list(net.params), back)
        moved: list[Array] = []
        for layer, theta, above, below in zip(net.layers, net.params, D, A, strict=False):
            change = layer.grad(above, below)
            moved.append(theta - (layer.solve_gram(change) if self._metric == "matrix" else change))
        return self.network.with_params(moved)

    def _left(self, times: Any, lr: float | None) -> Array:
        """What is left of each part of the residual, `(*times.shape, outputs)`."""
        t = validate.finite("times", validate.real_array("times", np.asarray(times)).astype(np.float64))
        if t.size and t.min() < 0:
            raise ValueError(f"times holds {t.min():g}; the dynamics begin at time 0")
        if lr is None:
            return np.asarray(np.exp(-t[..., None] * self.eigenvalues))
        steps = np.round(t / validate.real("lr", lr, above=0.0))
        return np.asarray((1.0 - lr * self.eigenvalues) ** steps[..., None])

    def _weights(self, times: Any, lr: float | None) -> Array:
        """`Theta^-1 (r_0 - r(t))` in the eigenbasis; where the kernel is zero, what it tends to."""
        left = self._left(times, lr)
        t = np.broadcast_to(np.asarray(times, dtype=np.float64)[..., None], left.shape)
        seen = self._kernel > 1e-14 * self._kernel.max(initial=0.0)
        passed = 2 * self._problem.factor * t
        gone = -np.expm1(-t * self.eigenvalues) if lr is None else 1.0 - left
        return np.asarray(np.where(seen, gone / np.where(seen, self._kernel, 1.0), passed) * self._along)

    def __repr__(self) -> str:
        return f"<tangent of {self.network!r}, rates {self.eigenvalues[0]:.3g} to {self.eigenvalues[-1]:.3g}>"


@called
def linearized(net: Network, X: Any, Y: Any = None, *, loss: str | Loss = "squared", metric: str = "parameters") -> Linearized:
    """The lazy dynamics from this start: the network's tangent there, trained by gradient flow or gradient descent in closed form.

    Parameters
    ----------
    net, X, Y, loss, metric : as in `linalign.flow`; a squared loss.

    Returns
    -------
    Linearized
        `loss(times)`, `outputs(X, times)`, `at(time)`, each of the flow, or with `lr=` of gradient descent.

    Raises: ValueError, TypeError as `train`, and where the kernel is too large or the loss is not squared.
    Cost: the tangent kernel on min(n, k_0) rows and its eigenvalues. Source: docs/theory, T14.1; Lee et al., 2019 (arXiv 1902.06720).

    Examples
    --------
    >>> import linalign as la, numpy as np
    >>> net = la.Network.from_matrices([[[2.0]], [[3.0]]])
    >>> lazy = la.linearized(net, [[1.0]], [[5.0]])  # f = 6, and the kernel is 2^2 + 3^2
    >>> bool(np.isclose(lazy.loss(0.1), np.exp(-2 * 13 * 0.1) / 2))
    True
    """
    problem = make_problem(net, X, Y, loss)
    validate.choice("metric", metric, METRICS)
    if problem.loss.kind != "squared":
        raise ValueError(f"loss is {problem.loss.kind!r}, whose lazy dynamics have no closed form; pass 'squared', 'mse' or losses.Squared")
    return Linearized(problem, metric)
