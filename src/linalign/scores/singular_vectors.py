"""Singular vectors of layers as the scores need them: of a layer that moves, computed as rarely and as cheaply as is exact.

A thin decomposition of an (m, n) matrix has min(m, n) vectors a side. Those with values above zero are given by the matrix; the
others, its null vectors, are any orthonormal ones beside them. Null vectors count as all others do, and are chosen one by one to match
what they are compared with (`matched`): then a score depends on the matrices alone, not on which null vectors a library happens to
return, which match at random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh, qr

from ..linear_algebra.leaving import thin_svd
from ..validate import Array
from . import structured_svd
from .structured_svd import Factors

# a value counts as zero up to this share of the largest, or the rounding error of the entries times the longer side: over a long
# run rounding fills in what is zero
NULL = 1e-12
# a factorisation whose columns have residuals of at most this, relative to the mean singular value and by the root of the size, is
# kept: some ten times what LAPACK leaves, since rounding adds to it when values change their order
RESIDUAL = 1e-14
PROBES = 4
# products of more than the cube of this many multiply-adds are made in float32 first, unless more than so many entries a column
# then remain to be made again
SHORT, MANY = 256, 8
# parts of vectors that are shorter are rounding, and no directions
NOTHING = 1e-6


@dataclass(frozen=True, eq=False)
class Side:
    """Singular vectors of one side of a layer: orthonormal columns with values above zero, and how many null vectors count."""

    vectors: Array
    nulls: int

    @property
    def count(self) -> int:
        """Vectors of the thin decomposition."""
        return int(self.vectors.shape[1]) + self.nulls


@dataclass(frozen=True, eq=False)
class Vectors:
    """Both sides of a layer, the largest value first where it has not moved; `twins` as in `Factors`."""

    left: Side
    right: Side
    twins: str = ""


def zero(shape: tuple[int, int], noise: float) -> float:
    """The share of the largest singular value up to which another counts as zero, where entries are known to `noise`."""
    return max(NULL, noise * max(shape))


def divided(found: Factors, live: Array) -> Vectors:
    """The vectors of these factors, those of `live` by themselves."""
    if live.all():
        return Vectors(Side(found.U, 0), Side(found.V, 0), found.twins)
    nulls = len(live) - int(np.count_nonzero(live))
    return Vectors(Side(found.U[:, live], nulls), Side(found.V[:, live], nulls), found.twins)


class Kept:
    """The vectors of a matrix that moves, made anew only when it has turned."""

    def __init__(self, zero: float, beside: float = 0.0) -> None:
        """Values count as zero up to `zero` times the largest, or times that of what stands `beside` the matrix."""
        self._zero, self._beside = zero, beside
        self._factors: Factors | None = None
        # which values are not zero; None: all of them
        self._live: Array | None = None
        self._found: Vectors | None = None

    def __call__(self, W: Array) -> Vectors:
        s = None if self._factors is None else still(W, self._factors)
        if s is None:
            found = self._factors = structured_svd.factor(W)
            s, self._found = found.s, None
            # largest first: most layers have no value near zero, and nothing else to be told
            if len(s) and s[-1] > self._zero * max(s[0], self._beside):
                self._live, self._found = None, Vectors(Side(found.U, 0), Side(found.V, 0), found.twins)
                return self._found
        assert self._factors is not None
        # nan counts as a value
        live = ~(s <= self._zero * max(float(s.max(initial=0.0)), self._beside))
        before = np.ones(len(s), dtype=bool) if self._live is None else self._live
        if self._found is None or not np.array_equal(live, before):
            self._live, self._found = live, divided(self._factors, live)
        return self._found


def still(W: Array, old: Factors) -> Array | None:
    """The singular values of W by the old vectors, if these are still its own; None if it has turned.

    A few columns first, then all.
    """
    r = len(old.s)
    limit = RESIDUAL * math.sqrt(max(W.shape)) * math.sqrt(float(np.vdot(W, W))) / math.sqrt(min(W.shape))
    some = np.linspace(0, r - 1, min(r, PROBES)).astype(int)
    found = _fitting(W, old.U[:, some], old.V[:, some], limit)
    if found is not None and r > PROBES:
        found = _fitting(W, old.U, old.V, limit)
    return None if found is None else np.abs(found)


def _fitting(W: Array, U: Array, V: Array, limit: float) -> Array | None:
    """The s with `W V = U diag(s)` and `W^T U = V diag(s)`, column by column, up to `limit`; None if there are none."""
    image = W @ V
    s = np.einsum("ij,ij->j", U, image)
    if not math.sqrt(np.max(np.sum((image - U * s) ** 2, axis=0))) <= limit:
        return None
    return s if math.sqrt(np.max(np.sum((W.T @ U - V * s) ** 2, axis=0))) <= limit else None


def top_pair(W: Array) -> tuple[Array, Array]:
    """`u_1` and `v_1` of a float64 matrix that is not zero, and neither huge nor tiny."""
    if max(W.shape) <= 64:
        U, _, Vt = thin_svd(W)
        return U[:, 0], Vt[0]
    # The largest eigenvector of the Gram matrix is as accurate as that of the SVD: squaring widens the gap at the top
    wide = W.shape[0] <= W.shape[1]
    gram = W @ W.T if wide else W.T @ W
    if not np.isfinite(gram).all():
        return np.full(len(W), np.nan), np.full(W.shape[1], np.nan)
    small = eigh(gram, subset_by_index=[len(gram) - 1, len(gram) - 1])[1][:, 0]
    image = small @ W if wide else W @ small
    image = image / math.sqrt(float(np.vdot(image, image)))
    return (small, image) if wide else (image, small)


# ---- matching of vectors ---------------------------------------------------------------------------------------------------


def matched(A: Side, B: Side) -> float:
    """`sum_j max_l |a_j . b_l|` over all vectors of A and of B, null vectors chosen to match.

    Null vectors of B are taken one by one: of all a_j that with the longest part outside of B, by that part. Then those of A in the
    same way, by the vectors of B. What is left of both is orthogonal to all that, and may be the same.
    """
    if not (A.nulls or B.nulls):
        return best(A.vectors, B.vectors)
    b = np.hstack([B.vectors, _beyond(B.vectors, A.vectors, B.nulls)])
    a = np.hstack([A.vectors, _beyond(A.vectors, b, A.nulls)])
    return best(a, b) + float(min(A.count - a.shape[1], B.count - b.shape[1]))


def _beyond(base: Array, wanted: Array, most: int) -> Array:
    """Orthonormal vectors outside the span of `base` and inside that of `base` and `wanted`: at most so many, the longest parts first."""
    if most:
        # twice, for what is left may be short
        rest = wanted - base @ (base.T @ wanted)
        rest -= base @ (base.T @ rest)
        rest = rest[:, np.einsum("ij,ij->j", rest, rest) > NOTHING**2]
        if rest.shape[1]:
            Q, R, _ = qr(rest, mode="economic", pivoting=True, check_finite=False)
            return np.asarray(Q[:, : min(most, int(np.count_nonzero(np.abs(np.diag(R)) > NOTHING)))])
    return base[:, :0]


def best(A: Array, B: Array) -> float:
    """`sum_j max_l |a_j . b_l|` over the columns of A and of B, none longer than 1; 0 where there is nothing to match."""
    return float(largest(A, B).sum())


def largest(A: Array, B: Array, longest: Array | None = None) -> Array:
    """`max_l |a_j . b_l|` for every j, over columns of A none longer than 1 and columns of B none longer than `longest`, or 1.

    Large products are made in float32, which costs half as much and finds the few that can be the largest of their column;
    these are made again in float64.
    """
    if B.shape[1] * A.size < SHORT**3:
        return np.asarray(np.abs(B.T @ A).max(axis=0, initial=0.0))
    rough = B.T.astype(np.float32) @ A.astype(np.float32)
    np.abs(rough, out=rough)
    # each entry is a sum of k products of sizes that add up to the length of b at most
    slack = np.float32(1.25 * (len(A) + 2) * float(np.finfo(np.float32).eps))
    if longest is None:
        near = rough >= rough.max(axis=0) - 2 * slack
    else:
        margin = slack * np.asarray(longest, dtype=np.float32)[:, None]
        least = (rough - margin).max(axis=0)
        near = np.add(rough, margin, out=rough) >= least
    row, column = np.nonzero(near)
    if len(row) > MANY * A.shape[1]:
        return np.asarray(np.abs(B.T @ A).max(axis=0))
    exact = np.abs(np.einsum("ik,ik->i", B.T[row], A.T[column]))
    found = np.zeros(A.shape[1])
    np.maximum.at(found, column, exact)
    return found
