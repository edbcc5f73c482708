"""Operators: the Hessian of the loss in the parameters, and Gauss-Newton's part of it, as products with vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse.linalg

from .. import reference, validate
from ..layers.flat import split
from ..losses import Loss
from ..problem.network import Network
from ..problem.problem import Problem, make_problem
from ..reduce import samples
from ..reduce.biases import homogeneous
from ..validate import Array
from .metric import METRICS, Metric


class CurvatureOperator(scipy.sparse.linalg.LinearOperator):  # type: ignore[misc]
    """A symmetric operator on the flat parameters, layer 1 first, each raveled; `hessian` and `gauss_newton` make it.

    A `scipy.sparse.linalg.LinearOperator`: `H @ v`, `H @ V`, and all of SciPy's solvers. Activations and errors at the point are kept,
    so that a product costs six products a layer (Gauss-Newton four), on min(n, k_0) rows where the loss is quadratic.

    network : where it was taken.
    exact : whether the loss has a formula for its second derivative; else it is a difference of gradients, good to some ten digits.
    """

    def __init__(self, problem: Problem, metric: str, part: bool) -> None:
        """`problem` is checked; `part`: Gauss-Newton's alone."""
        self.network, self.exact = problem.net, problem.loss.twice_differentiable
        problem = homogeneous(problem)
        if problem.X is not None and problem.quadratic:
            problem = samples.reduce(problem)[0]
        self._problem, self._part, self._metric = problem, part, Metric(problem.net.layers, metric)
        self._shapes = [theta.shape for theta in problem.net.params]
        size = problem.net.size
        super().__init__(dtype=problem.net.dtype, shape=(size, size))
        self._stand(problem)

    def _stand(self, problem: Problem) -> None:
        """What every product needs of the point."""
        layers, params, dtype = problem.net.layers, list(problem.net.params), problem.net.dtype
        X = np.eye(problem.net.widths[0], dtype=dtype) if problem.X is None else problem.X
        self._A = reference.forward(layers, params, X)
        self._second = problem.loss.second(problem.T, problem.factor)
        self._D: list[Array] = []
        if not self._part:
            self._D = reference.backward(layers, params, problem.loss.objective(problem.T, problem.factor)(self._A[-1])[1])

    def at(self, network: Network) -> CurvatureOperator:
        """The same operator where another network of the same layers stands; the data are not looked at again."""
        moved: CurvatureOperator = object.__new__(type(self))
        moved.__dict__.update(self.__dict__)
        moved.network = network
        chain = type(network)._adopt(self._problem.net.layers, network.params)
        moved._problem = self._problem.on(chain)
        moved._stand(moved._problem)
        return moved

    def _matvec(self, vector: Array) -> Array:
        flat = vector.ravel().astype(self.dtype, copy=False)
        return self._metric.outside(self._product(self._metric.inside(split(flat, self._shapes))))

    def _product(self, V: list[Array]) -> list[Array]:
        """H V, or Gauss-Newton's part, which leaves out every term with an undifferentiated D (T13.1, from pivot 0).

        `A'_i = A_{i-1} V_i^T + A'_{i-1} W_i^T`, `D'_d = second(A_d, A'_d)`, `D'_{i-1} = D'_i W_i + D_i V_i`,
        `(H V)_i = <A_k, D'_i^T A_{i-1} + D_i^T A'_{i-1}>`.
        """
        layers, params, A, D = self._problem.net.layers, self._problem.net.params, self._A, self._D
        dA: list[Array | None] = [None]
        for i, layer in enumerate(layers):
            moved, before = reference.tangent(layer, V[i], A[i]), dA[-1]
            dA.append(moved if before is None else moved + layer.apply(params[i], before))
        dD = self._second(A[-1], dA[-1])
        found: list[Array] = [np.empty(0)] * len(layers)
        for i in reversed(range(len(layers))):
            found[i], before = layers[i].grad(dD, A[i]), dA[i]
            if D and before is not None:
                found[i] = found[i] + layers[i].grad(D[i], before)
            if i:
                dD = layers[i].adjoint(params[i], dD)
                if D:
                    dD = dD + reference.cotangent(layers[i], V[i], D[i])
        return found

    def _adjoint(self) -> CurvatureOperator:
        return self

    def toarray(self) -> Array:
        """The matrix, `(size, size)`, symmetric to the last bit. Cost: `size` products, and as much memory."""
        full = np.asarray(self @ np.eye(self.shape[0], dtype=self.dtype))
        return (full + full.T) / 2

    def __repr__(self) -> str:
        what = "Gauss-Newton" if self._part else "Hessian"
        return f"<{what} of the {self._problem.loss.kind} loss of {self.network!r}, {self.shape[0]} parameters>"


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
