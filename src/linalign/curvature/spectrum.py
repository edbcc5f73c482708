"""Spectrum: eigenvalues at the ends, and the density of the eigenvalues of a Hessian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse.linalg

from .. import validate
from ..calls import called
from ..losses import Loss
from ..problem.network import Network
from ..validate import Array
from .operators import CurvatureOperator, hessian

# as many parameters have all their eigenvalues found at once
SMALL = 128
ENDS = ("LA", "SA", "BE")
# restarts of Lanczos
PATIENCE = 200


def eigenvalues(operator: Any, k: int, which: str, tol: float, start: Array | None) -> tuple[Array, Array]:
    """`(values ascending, their vectors as columns)`; `which` as in `sharpness`. Raises: ValueError, ArithmeticError."""
    size = operator.shape[0]
    most = 2 * k if which == "BE" else k
    if most > size:
        raise ValueError(f"k is {k} but there are {size} parameters; ask for fewer eigenvalues")
    if size <= SMALL or most >= size // 2:
        full = operator.toarray()
        if not np.isfinite(full).all():
            raise ArithmeticError("the Hessian is not finite; scale the network or the data down")
        values, vectors = np.linalg.eigh(full)
        places = {"LA": range(size - k, size), "SA": range(k), "BE": [*range(k), *range(size - k, size)]}[which]
        return values[list(places)], vectors[:, list(places)]
    begin = np.ones(size, dtype=operator.dtype) if start is None else start
    image = operator @ begin
    if not np.isfinite(image).all():
        raise ArithmeticError("the Hessian is not finite; scale the network or the data down")
    # the ends of float32 are as near as its rounding lets them be
    tol = max(tol, float(np.finfo(operator.dtype).eps))
    # near an eigenvector its own eigenvalue is a size
    scale = 0.0 if start is None else float(np.linalg.norm(image) / (np.linalg.norm(begin) or 1.0))
    scale = scale or _size(operator, begin)
    if which == "BE":
        low, high = (_end(operator, k, end, tol, begin, start is not None, scale) for end in ("SA", "LA"))
        return np.concatenate([low[0], high[0]]), np.hstack([low[1], high[1]])
    return _end(operator, k, which, tol, begin, start is not None, scale)


def _end(operator: Any, k: int, which: str, tol: float, begin: Array, near: bool, scale: float) -> tuple[Array, Array]:
    """k eigenvalues at one end, ascending, each as often as it is there: Lanczos from one vector sees one of equal ones.

    So those that were found are moved to the other end, and what is left is searched, until nothing there is beyond the last of them.
    """
    size, sign = operator.shape[0], 1.0 if which == "LA" else -1.0
    if scale == 0:
        return np.zeros(k), np.eye(size, k, dtype=operator.dtype)
    # ARPACK's tolerance is relative to each eigenvalue, and some are zero: all are moved away from there
    shift = 2 * sign * scale
    values, vectors = _lanczos_ends(lambda v: operator @ v + shift * v, operator, k, which, tol, begin, near)
    draws = np.random.default_rng(0)
    while k > 1:

        def moved(v: Array, values: Array = values, vectors: Array = vectors) -> Array:
            return np.asarray(operator @ v + shift * v - vectors @ ((values + shift) * (vectors.T @ v)))

        value, vector = _lanczos_ends(moved, operator, 1, which, tol, draws.standard_normal(size).astype(operator.dtype), False)
        worst = int(np.argmin(sign * values))
        if sign * (value[0] - values[worst]) <= tol * scale:
            break
        values, vectors = np.append(np.delete(values, worst), value), np.hstack([np.delete(vectors, worst, axis=1), vector])
    order = np.argsort(values)
    return values[order] - shift, vectors[:, order]


def _size(operator: Any, begin: Array) -> float:
    """A size of the operator, at most its norm: by a few powers."""
    found, v = 0.0, begin + 0.1 * np.random.default_rng(1).standard_normal(len(begin)).astype(begin.dtype)
    for _ in range(3):
        v = operator @ (v / np.linalg.norm(v))
        length = float(np.linalg.norm(v))
        if length == 0:
            break
        found = max(found, length)
    return found


def _lanczos_ends(
    product: Callable[[Array], Array], operator: Any, k: int, which: str, tol: float, begin: Array, near: bool,
) -> tuple[Array, Array]:  # fmt: skip
    """SciPy's Lanczos with few directions where the start is near, SciPy's 20, and more where these do not get there.

    Raises: ArithmeticError.
    """
    size = operator.shape[0]
    whole = scipy.sparse.linalg.LinearOperator(operator.shape, matvec=lambda v: product(v.ravel()), dtype=operator.dtype)
    counts = ([max(2 * k + 2, 8)] if near else []) + [max(2 * k + 1, 20), max(4 * k, 80)]
    for count in counts:
        try:
            found: tuple[Array, Array] = scipy.sparse.linalg.eigsh(
                whole, k=k, which=which, v0=begin, tol=tol, ncv=min(count, size - 1), maxiter=PATIENCE
            )
            return found
        except scipy.sparse.linalg.ArpackNoConvergence:
            continue
    raise ArithmeticError(f"the eigenvalues at the end {which!r} lie too close together for tol={tol:g}; pass a larger one")


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """The density of the eigenvalues, as Gauss quadratures of Lanczos: `mean_j f(lambda_j) ~ sum_i weights_i f(nodes_i)` for smooth f.

    nodes, weights : `(probes, steps)`; the weights of every probe sum to 1.
    """

    nodes: Array
    weights: Array

    def __call__(self, at: Any, width: float) -> Array:
        """The density at these places, every node a Gaussian of this standard deviation."""
        places = np.asarray(at, dtype=np.float64)
        spread = validate.real("width", width, above=0)
        bumps = np.exp(-(((places[..., None, None] - self.nodes) / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))
        return np.asarray((bumps * self.weights).sum(axis=-1).mean(axis=-1))

    def mean(self) -> float:
        """The mean eigenvalue: an estimate of the trace over the number of parameters."""
        return float((self.nodes * self.weights).sum(axis=1).mean())


@called
def spectral_density(
    net: Network, X: Any, Y: Any = None, *, loss: str | Loss = "squared", metric: str = "parameters", steps: int = 60, probes: int = 4,
    rng: Any = 0,
) -> SpectralDensity:  # fmt: skip
    """The density of the eigenvalues of the Hessian, by Lanczos quadrature from random vectors.

    Parameters
    ----------
    net, X, Y, loss, metric : as in `linalign.hessian`.
    steps : of Lanczos, with full orthogonalisation; the ends are found first, gaps wider than their distance are resolved.
    probes : random vectors of signs; the mean over them estimates the mean over all eigenvalues.
    rng : seed or numpy.random.Generator.

    Raises: ValueError, TypeError. Cost: `steps * probes` Hessian products, memory for `steps` vectors.
    Source: Golub and Welsch, 1969; Ghorbani, Krishnan, Xiao, 2019.

    Examples
    --------
    >>> import linalign as la, numpy as np
    >>> net = la.Network.from_matrices([[[2.0]], [[2.0]]])
    >>> found = la.spectral_density(net, [[1.0]], [[4.0]], steps=2)  # eigenvalues 0 and 8
    >>> round(float(found.nodes.max()), 9)
    8.0
    """
    operator = hessian(net, X, Y, loss=loss, metric=metric)
    size = operator.shape[0]
    count = min(validate.integer("steps", steps, least=1), size)
    draws = validate.generator(rng)
    found = [_lanczos(operator, draws.choice([-1.0, 1.0], size), count) for _ in range(validate.integer("probes", probes, least=1))]
    return SpectralDensity(np.array([nodes for nodes, _ in found]), np.array([weights for _, weights in found]))


def _lanczos(operator: CurvatureOperator, v: Array, steps: int) -> tuple[Array, Array]:
    """Nodes and weights of the quadrature of v. What an invariant subspace leaves over has weight 0."""
    size = len(v)
    basis = np.zeros((steps, size), dtype=np.float64)
    diagonal, beside = np.zeros(steps), np.zeros(steps)
    basis[0] = v / np.linalg.norm(v)
    taken = steps
    for j in range(steps):
        w = np.asarray(operator @ basis[j].astype(operator.dtype), dtype=np.float64)
        diagonal[j] = basis[j] @ w
        for _ in range(2):  # twice is enough
            w -= basis[: j + 1].T @ (basis[: j + 1] @ w)
        beside[j] = np.linalg.norm(w)
        if beside[j] <= 1e-12 * max(1.0, float(np.abs(diagonal[: j + 1]).max())):
            taken = j + 1
            break
        if j + 1 < steps:
            basis[j + 1] = w / beside[j]
    values, vectors = scipy.linalg.eigh_tridiagonal(diagonal[:taken], beside[: taken - 1])
    nodes, weights = np.full(steps, values[-1]), np.zeros(steps)
    nodes[:taken], weights[:taken] = values, vectors[0] ** 2
    return nodes, weights
