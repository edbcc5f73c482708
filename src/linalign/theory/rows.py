"""Rows: the data of a quadratic loss, checked, in float64, with no more rows than they need."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import linear_algebra, validate
from ..cached import cached_property
from ..linear_algebra import tall
from ..scores.chain import Matrices
from ..scores.chain import norm as _norm
from ..scores.interface import gram_norm
from ..validate import Array


@dataclass(frozen=True, eq=False)
class Rows:
    """`X (n, k_0)` and `Y (n, k_d)` with `C = X^T X`, `M = Y^T X`; `data` is X, None for the identity beside the transposed target.

    `precision` is the relative rounding error of what was given, `count` the number of samples that was given: for the identity, its size.
    """

    data: Array | None
    Y: Array
    count: int
    precision: float

    @property
    def factorisation(self) -> bool:
        return self.data is None

    @cached_property
    def X(self) -> Array:
        return np.eye(len(self.Y)) if self.data is None else self.data

    @property
    def x(self) -> float:
        """The norm of X; of an identity, of that which was given."""
        return math.sqrt(self.count) if self.data is None else _norm(self.data)

    @property
    def C(self) -> Array:
        return np.eye(len(self.Y)) if self.data is None else self.data.T @ self.data

    @property
    def M(self) -> Array:
        """`Y^T X`; zero where it is no more than what rounding leaves of a sum that cancels."""
        M = self.Y.T if self.data is None else self.Y.T @ self.data
        return M if _norm(M) > 100 * self.precision * self.x * _norm(self.Y) else np.zeros_like(M)

    @property
    def m(self) -> float:
        """What an error in M is measured by: its norm, but no less than the rounding errors of M over the smallest tolerance."""
        return max(_norm(self.M), 1e-5 * self.x * _norm(self.Y)) or 1.0

    @property
    def c(self) -> float:
        """What an error in C is measured by."""
        return math.sqrt(self.count) if self.data is None else gram_norm(self.data) or 1.0

    def compressed(self) -> Rows:
        """The triangular factor of `[X Y]` instead of the samples: the same C, M and losses (T7.1)."""
        if self.data is None or len(self.Y) <= self.data.shape[1] + self.Y.shape[1]:
            return self
        both, k = np.hstack([self.data, self.Y]), self.data.shape[1]
        found = tall.factor(both) if tall.worthwhile(*both.shape) else None
        R = found.R if found is not None else np.asarray(np.linalg.qr(both, mode="r"))
        return Rows(np.ascontiguousarray(R[:, :k]), np.ascontiguousarray(R[:, k:]), self.count, self.precision)


# the squares of norms in this range, and their products, are numbers
RANGE = (1e-60, 1e60)


def check(X: Any, Y: Any, inputs: int | None = None, outputs: int | None = None) -> Rows:
    """The data, checked against each other and, where they are given, the widths of a network."""
    if X is None:
        target = validate.matrix("Y", Y, rows=outputs, columns=inputs)
        precision = float(np.finfo(target.dtype).eps)
        _in_range("Y", target)
        return Rows(None, target.T.astype(np.float64), target.shape[1], precision)
    rows = validate.matrix("X", X, columns=inputs)
    given = validate.real_array("Y", Y)
    if given.ndim == 1:
        given = given[:, None]
    targets = validate.matrix("Y", given, columns=outputs)
    if len(targets) != len(rows):
        raise ValueError(f"Y has {len(targets)} rows but X has {len(rows)}; pass one row of targets a sample")
    precision = max(float(np.finfo(a.dtype).eps) for a in (rows, targets))
    _in_range("X", rows)
    _in_range("Y", targets)
    return Rows(rows.astype(np.float64, copy=False), targets.astype(np.float64, copy=False), len(rows), precision)


def _in_range(name: str, A: Array) -> None:
    largest = float(np.abs(A).max())
    if largest and not RANGE[0] < largest < RANGE[1]:
        raise ValueError(f"{name} has entries of size {largest:.0e}, whose squares leave the range of float64; rescale {name} to about 1")


def without_biases(net: Any) -> None:
    """Raises: ValueError if the network adds biases, which none of the statements here are about."""
    for i, layer in enumerate(getattr(net, "layers", ())):
        if getattr(layer, "has_bias", False):
            raise ValueError(f"net has a bias in layers[{i}], {layer!r}; the statements are proved without: pass layers without bias")


def check_weights(matrices: Matrices) -> None:
    """The squared product of the layers' norms is a number."""
    size = sum(max(0.0, float(np.log10(np.linalg.norm(W) or 1.0))) for W in matrices)
    if not size < np.log10(RANGE[1]):
        raise ValueError(f"net has layers whose norms multiply to 1e{size:.0f}, which leaves the range of float64; rescale the layers")


def tolerance(tol: Any, precision: float) -> float:
    """The relative residual at which an equation counts as true."""
    if tol is not None:
        return validate.real("tol", tol, above=0.0, below=1.0)
    return 1e-10 if precision < 1e-10 else 1e-5


def joint_eigenbasis(blocks: list[Array], width: int, rng: np.random.Generator) -> Array:
    """An orthogonal V in which the Gram matrices `B^T B` of all these blocks `(m, width)` are as diagonal as possible.

    Where the Gram matrices commute, a Gauss-Newton turn makes up for values of the random stack that happen to be close.
    """
    units = [B / size for B in blocks if (size := _norm(B)) > 0]
    if not units:
        return np.eye(width)
    V = linear_algebra.joint_eigenbasis(units, [1.0] * len(units), rng)[1]
    grams = [(B @ V).T @ (B @ V) for B in units]
    gaps = [np.subtract.outer(np.diag(A), np.diag(A)) for A in grams]
    weight = np.asarray(sum(gap * gap for gap in gaps))
    push = np.asarray(sum(A * gap for A, gap in zip(grams, gaps, strict=True)))
    # pairs with equal values everywhere may point anywhere in their plane: leave them
    turn = np.where(weight > 1e-16, -push / np.maximum(weight, 1e-16), 0.0)
    half, one = (turn - turn.T) / 4, np.eye(width)
    W = np.linalg.qr(V @ np.linalg.solve(one - half, one + half))[0]
    turned = [(B @ W).T @ (B @ W) for B in units]
    return W if sum(map(off_diagonal, turned)) < sum(map(off_diagonal, grams)) else V


def off_diagonal(E: Array) -> float:
    """The norm of what is off the diagonal of a rectangular matrix."""
    rest = E.copy()
    np.fill_diagonal(rest, 0.0)
    return _norm(rest)
