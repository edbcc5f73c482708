"""Operators: the Hessian of the loss in the parameters, and Gauss-Newton's part of it, as products with vectors."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import scipy.sparse.linalg

from .. import reference, validate
from ..calls import called
from ..engine import bind as kernel
from ..engine.engines import simultaneous
from ..engine.threads import count, limit
from ..layers.flat import split
from ..losses import Loss
from ..plan import cost, machine
from ..plan.cost import Pivot
from ..problem.network import Network
from ..problem.problem import Problem, make_problem
from ..reduce import samples
from ..reduce.biases import homogeneous
from ..validate import Array
from .metric import METRICS, Metric


class CurvatureOperator(scipy.sparse.linalg.LinearOperator):  # type: ignore[misc]
    """A symmetric operator on the flat parameters, layer 1 first, each raveled; `hessian` and `gauss_newton` make it.

    A `scipy.sparse.linalg.LinearOperator`: `H @ v`, `H @ V`, and all of SciPy's solvers. Activations and errors at the point are kept in
    the compiled loop, so that a product costs two gradients (Gauss-Newton some 5/3), from the pivot that suits a gradient, on
    min(n, k_0) rows where the loss is quadratic. Losses in Python are asked through NumPy.

    network : where it was taken.
    exact : whether the loss has a formula for its second derivative; else it is a difference of gradients, good to some ten digits.
    """

    def __init__(self, problem: Problem, metric: str, part: bool, pivot: Pivot | None = None) -> None:
        """`problem` is checked; `part`: Gauss-Newton's alone; `pivot`: from where products go, the fastest if None."""
        self.network, self.exact = problem.net, problem.loss.twice_differentiable
        problem = homogeneous(problem)
        if problem.X is not None and problem.quadratic and problem.X.ndim == 2:
            problem = samples.reduce(problem)[0]
        self._problem, self._part, self._metric = problem, part, Metric(problem.net.layers, metric)
        self._shapes = [theta.shape for theta in problem.net.params]
        self._pivot = pivot or cost.choose(problem, simultaneous(problem.net.depth))[0]
        size = problem.net.size
        super().__init__(dtype=problem.net.dtype, shape=(size, size))
        self._bind()

    def _bind(self) -> None:
        """The products in C, where the loss is there."""
        problem, pivot, threads = self._problem, self._pivot, count(None)
        self._lock = threading.Lock()
        self._compiled, self._shared = None, machine.SHARES and kernel.sharers(problem, pivot.rows, threads, written=False) > 1
        if kernel.compiled(problem.loss):
            descent = simultaneous(problem.net.depth)
            self._compiled = kernel.bind_curvature(problem, descent, pivot.at, pivot.rows, threads, part=self._part)

    def at(self, network: Network) -> CurvatureOperator:
        """The same operator where another network of the same layers stands; the data are not looked at again."""
        moved: CurvatureOperator = object.__new__(type(self))
        moved.__dict__.update(self.__dict__)
        moved.network = network
        moved._problem = self._problem.on(type(network)._adopt(self._problem.net.layers, network.params))
        moved._bind()
        return moved

    def move(self, network: Network) -> None:
        """`at`, but for this operator itself: where it was is gone."""
        with self._lock:
            self.network = network
            self._problem = self._problem.on(type(network)._adopt(self._problem.net.layers, network.params))
            if self._compiled is not None:
                chain = self._compiled.chain
                for theta, moved in zip(chain.params, network.params, strict=True):
                    theta[...] = moved
                chain.refresh()
                self._compiled.stand()

    def matvec(self, x: Any) -> Array:
        """`H x`, `(size,)` or `(size, 1)` as x is."""
        # SciPy's own checks take longer than the product of a small network
        if type(x) is np.ndarray and x.dtype == self.dtype and x.shape == self.shape[:1] and self._metric.plain:
            return self._flat(np.ascontiguousarray(x))
        return np.asarray(super().matvec(x))

    def __matmul__(self, x: Any) -> Any:
        if type(x) is np.ndarray and x.ndim == 1:
            return self.matvec(x)
        return super().__matmul__(x)

    def _flat(self, vectors: Array, many: int = 1) -> Array:
        """H times vectors in parameters, one after the other."""
        found = np.empty_like(vectors)
        if self._compiled is not None:
            with self._lock:
                if self._shared:
                    with limit(1):
                        self._compiled.product(vectors, found, many)
                else:
                    self._compiled.product(vectors, found, many)
            return found
        net, loss = self._problem.net, self._problem.loss
        objective = loss.objective(self._problem.T, self._problem.factor)
        second = loss.second(self._problem.T, self._problem.factor)
        for v, h in zip(vectors.reshape(many, -1), found.reshape(many, -1), strict=True):
            V = split(v, self._shapes)
            parts = reference.hessian_product(net.layers, list(net.params), V, self._problem.X, objective, second, 0, self._part)
            h[:] = np.concatenate([part.ravel() for part in parts])
        return found

    def _matvec(self, vector: Array) -> Array:
        flat = np.ascontiguousarray(vector.ravel(), dtype=self.dtype)
        if self._metric.plain:
            return self._flat(flat)
        inside = np.concatenate([part.ravel() for part in self._metric.inside(split(flat, self._shapes))])
        return self._metric.outside(split(self._flat(inside), self._shapes))

    def _matmat(self, vectors: Array) -> Array:
        if not self._metric.plain:
            return np.stack([self._matvec(v) for v in vectors.T], axis=1)
        rows = np.ascontiguousarray(vectors.T, dtype=self.dtype)
        found: Array = self._flat(rows.ravel(), len(rows))
        return np.asarray(found.reshape(rows.shape).T)

    def _adjoint(self) -> CurvatureOperator:
        return self

    def toarray(self) -> Array:
        """The matrix, `(size, size)`, symmetric to the last bit. Cost: `size` products, and as much memory."""
        full: Array = self @ np.eye(self.shape[0], dtype=self.dtype)
        return np.asarray((full + full.T) / 2)

    def __repr__(self) -> str:
        what = "Gauss-Newton" if self._part else "Hessian"
        how = "" if self.exact else ", by differences of gradients"
        return f"<{what} of the {self._problem.loss.kind} loss of {self.network!r}, {self.shape[0]} parameters{how}>"


@called
def hessian(net: Network, X: Any, Y: Any = None, *, loss: str | Loss = "squared", metric: str = "parameters") -> CurvatureOperator:
    """The Hessian of the loss in the parameters, `H v` without H.

    Parameters
    ----------
    net, X, Y, loss : as in `linalign.train`.
    metric : "parameters", or "matrix": the Hessian in orthonormal coordinates of the layers' subspaces, `G^(-1/2) H G^(-1/2)` with the Gram
        matrices G of the layers; it decides which learning rates are stable there (T13.4).

    Returns
    -------
    CurvatureOperator
        `(size, size)`, a `scipy.sparse.linalg.LinearOperator`; `toarray()` for small ones, `at(net)` for another point.

    Raises: ValueError, TypeError as `train`. Source: docs/theory, T13.1.

    Examples
    --------
    >>> import linalign as la, numpy as np
    >>> net = la.Network.from_matrices([[[2.0]], [[3.0]]])
    >>> la.hessian(net, [[1.0]], [[5.0]]).toarray()  # of (a b - 5)^2 / 2 at a = 2, b = 3
    array([[9., 7.],
           [7., 4.]])
    """
    return _made(net, X, Y, loss, metric, part=False)


@called
def gauss_newton(net: Network, X: Any, Y: Any = None, *, loss: str | Loss = "squared", metric: str = "parameters") -> CurvatureOperator:
    """Gauss-Newton's part of the Hessian, `J^T l'' J` with the Jacobian J of the outputs in the parameters.

    Of a convex loss it has no negative eigenvalue.
    As `hessian`, in every respect. At a network that fits the data both are the same.

    Examples
    --------
    >>> import linalign as la, numpy as np
    >>> net = la.Network.from_matrices([[[2.0]], [[3.0]]])
    >>> la.gauss_newton(net, [[1.0]], [[5.0]]).toarray()
    array([[9., 6.],
           [6., 4.]])
    """
    return _made(net, X, Y, loss, metric, part=True)


def _made(net: Network, X: Any, Y: Any, loss: str | Loss, metric: str, *, part: bool) -> CurvatureOperator:
    problem = make_problem(net, X, Y, loss)
    return CurvatureOperator(problem, validate.choice("metric", metric, METRICS), part)
