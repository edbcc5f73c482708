"""Lasting: whether some start of one constrained layer, chosen after the data, keeps its singular bases while the rest is frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import validate
from ..calls import called
from ..scores.chain import norm as _norm
from ..validate import Array
from .obstruction import MOST, check_layer

# eigenvalues of H nearer than this, relative to the largest, count as one
EQUAL = 1e-9


@dataclass(frozen=True, eq=False)
class Lasting:
    """Whether a start exists that moves and keeps its bases; `print` it for plain words.

    possible : such a start was found; `start` is its parameters, `defect` how far its path is from one pair of bases. None if none was
        found but eigenvalues repeat, so that not all directions of motion were tried.
    defects : of each direction of motion `h`, an eigenvector of H with a positive eigenvalue: the least relative defect of
        L6.1 between `A(h)` and the limit, over all limits that fit the data.
    reaches : the data can ask for any motion in the layer: `A -> F A B X^T` is injective on it (L6.4).
    """

    possible: bool | None
    defect: float
    defects: Array
    start: Array | None
    reaches: bool
    name: str
    tol: float

    def __str__(self) -> str:
        number = f"the least defect of {len(self.defects)} directions of motion is {self.defect:.1e}, tolerance {self.tol:.0e}"
        if self.possible:
            return f"{self.name}: a start chosen after these data keeps its singular bases while it moves ({number}) [T6.5]"
        if self.possible is None:
            return f"{self.name}: no such start was found, but eigenvalues repeat and not all directions were tried ({number}) [T6.5]"
        return f"{self.name}: on these data no start that moves keeps its singular bases, with the other layers frozen ({number}) [T6.5]"


@called
def lasting(layer: Any, X: Any, Y: Any, F: Any = None, B: Any = None, tol: float = 1e-10) -> Lasting:
    r"""Can one trainable constrained layer keep fixed singular bases on these data, from a start chosen after them?

    The network is `F A(theta) B`, F and B frozen. In orthonormal coordinates of the layer let `J theta = vec(F A(theta) B X^T)` and
    `H = J^T J`. Descent from theta_0 moves in eigenvectors h of H towards a limit `theta_* + kappa`, `kappa` in the kernel of J. A start
    that keeps its bases exists exactly when for some h the matrices `A(h)` and `A(theta_* + kappa)` are diagonal in one pair of bases.

    Parameters
    ----------
    layer : anything with `shape`, `param_shape` and `matrix(theta)`, such as a `linalign.Layer`; up to 2000 parameters
    X : (n, k_0), the inputs of B. Y : (n, k_d), the targets of F's outputs.
    F : (k_d, out), B : (in, k_0), optional
        The frozen layers above and below; the identity by default.
    tol : float
        The relative defect up to which bases count as kept.

    Returns: Lasting. Raises: TypeError, ValueError for a layer, data or frozen layers that do not fit together.
    Cost: with r parameters, an SVD of `(n k_d, r)` and r least-squares problems of `(out^2 + in^2, dim ker J)`.
    Source: docs/theory, T6.5, L6.1.
    """
    check_layer(layer)
    validate.real("tol", tol, above=0.0, below=1.0)
    out, inputs = layer.shape
    count = int(np.prod(layer.param_shape))
    if count > MOST:
        raise ValueError(f"layer has {count} parameters; at most {MOST} are tried one by one")
    above = np.eye(out) if F is None else validate.matrix("F", F, columns=out).astype(np.float64)
    below = np.eye(inputs) if B is None else validate.matrix("B", B, rows=inputs).astype(np.float64)
    rows = validate.matrix("X", X, columns=below.shape[1]).astype(np.float64)
    targets = validate.matrix("Y", Y, rows=len(rows), columns=above.shape[0]).astype(np.float64)
    basis, back = _orthonormal(layer, count)
    J = np.stack([(above @ A @ below @ rows.T).ravel() for A in basis], axis=1)
    _, s, Vt = np.linalg.svd(J, full_matrices=True)
    rank = int(np.count_nonzero(s > 1e-12 * (s[0] if len(s) else 0.0)))
    limit = np.linalg.pinv(J, rcond=1e-12) @ targets.T.ravel()
    null = Vt[rank:]
    best, start, defects = np.inf, None, []
    for h in Vt[:rank]:
        theta, defect = _nearest(basis, limit, null, h)
        defects.append(defect)
        if defect < best:
            # a step away from the limit along h, so that there is something to move; outwards, so that it does not end at zero
            away = -1.0 if theta @ h < 0 else 1.0
            best, start = defect, theta + away * (float(np.linalg.norm(theta)) or 1.0) * h
    squares = s[:rank] ** 2
    repeats = bool(np.any(-np.diff(squares) <= EQUAL * squares[0])) if rank > 1 else False
    possible = best <= tol or (None if repeats else False)
    found = None if start is None or not possible else back(start)
    return Lasting(possible, float(best), np.array(defects), found, rank == len(basis), repr(layer), tol)


def _orthonormal(layer: Any, count: int) -> tuple[Array, Any]:
    """Orthonormal matrices that span the layer, and the way from coordinates in them to parameters."""
    images = np.stack([np.asarray(layer.matrix(one.reshape(layer.param_shape)), dtype=np.float64).ravel() for one in np.eye(count)])
    U, s, Vt = np.linalg.svd(images, full_matrices=False)
    live = s > 1e-12 * s[0]

    def back(theta: Array) -> Array:
        return np.asarray((U[:, live] / s[live]) @ theta).reshape(layer.param_shape)

    return Vt[live].reshape(-1, *layer.shape), back


def _skews(A: Array, C: Array) -> Array:
    """What L6.1 wants to be zero."""
    outer, inner = A @ C.T, A.T @ C
    return np.concatenate([(outer - outer.T).ravel(), (inner - inner.T).ravel()])


def _nearest(basis: Array, limit: Array, null: Array, h: Array) -> tuple[Array, float]:
    """The limit that fits the data whose matrix is nearest to sharing bases with `A(h)`, and its relative defect."""
    direction = np.tensordot(h, basis, 1)
    wanted = _skews(np.tensordot(limit, basis, 1), direction)
    theta = limit
    if len(null):
        moves = np.stack([_skews(np.tensordot(kappa, basis, 1), direction) for kappa in null], axis=1)
        theta = limit - null.T @ np.linalg.lstsq(moves, wanted, rcond=1e-12)[0]
    matrix = np.tensordot(theta, basis, 1)
    size = _norm(matrix) * _norm(direction)
    return theta, float(_norm(_skews(matrix, direction)) / (2 * size)) if size > 0 else 0.0
