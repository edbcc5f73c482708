"""Tall: the factor of many rows by Gram products of blocks, as good as a QR factorisation's and several times as fast (T7.1).

A Gram matrix loses half of the digits, unless the columns, brought to one length, are well conditioned. So they are preconditioned:
the pivoted Cholesky factor of the scaled Gram matrix turns most columns into nearly orthonormal ones Q, and takes from the others what
lies in the range of Q. The Gram matrix of the result is well conditioned, or is treated once more; its factor times those before is R,
with the backward error of Householder's QR. A level is a triangular solve and a Gram product of all rows, by blocks, on all threads of
BLAS; nothing as long as the data is allocated. Where the condition does not permit it there is no answer, and LAPACK has to be asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg
from scipy.linalg import blas, lapack

Array = npt.NDArray[Any]

# rows a column, and multiply-adds, from which on this is tried: with fewer LAPACK is as fast
TALL, WORTH = 4, 4e6
# numbers of a block of rows: it stays in the last cache
BLOCK = 2**19
# what must be new of a column of length one, squared, for it to be a pivot: Q is then orthonormal up to n eps / PIVOT
PIVOT = 1e-12
# reciprocal condition number of a scaled Gram matrix from which on its Cholesky factor is as good as that of a QR factorisation
SOUND = 1e-2
# and from which on it shows that the columns are independent, whatever rounding has done to it
CERTAIN = 1e-9
LEVELS = 3
# what is left of a column, over the length of the longest one: rounding, far below what counts as rank
NEGLIGIBLE = 1e-14
# columns shorter than this, over the longest one, have squares that underflow
TINY = 1e-30
# lengths whose squares, and products of these, are numbers
RANGE = (1e-120, 1e120)
# rows a column of the sample that shows full rank at once
SAMPLED = 3


def blocks(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """The same rows of all, in float64 and C-contiguous: views where they are so, else copies in one room for each."""
    n, width = len(arrays[0]), max(A.shape[1] for A in arrays)
    size = max(1, BLOCK // width)
    plain = [A.dtype == np.float64 and A.flags.c_contiguous for A in arrays]
    rooms = [None if ok else np.empty((min(size, n), A.shape[1])) for A, ok in zip(arrays, plain, strict=True)]
    for start in range(0, n, size):
        found = []
        for A, room in zip(arrays, rooms, strict=True):
            rows = A[start : start + size]
            if room is not None:
                room[: len(rows)] = rows
                rows = room[: len(rows)]
            found.append(rows)
        yield tuple(found)


@dataclass(eq=False)
class _Level:
    """A preconditioner: columns `kept` over their `length` are whitened by the triangle R, columns `rest` over theirs lose `Q beside`."""

    length: Array
    kept: Array
    rest: Array
    R: Array
    beside: Array
    whole: bool
    """Whether all columns are kept in their order."""
    room: tuple[Array, ...] = field(default=(), repr=False)

    def __call__(self, W: Array) -> Array:
        """`[Q, Z]` of a block of rows, in a room of its own that the next call overwrites."""
        n, r, q = len(W), len(self.kept), len(self.rest)
        if not self.room or len(self.room[0]) < n:
            self.room = np.empty((n, r)), np.empty((n, q)), np.empty((n, r + q if q else 0))
        Q, Z, both = (room[:n] for room in self.room)
        if self.whole:
            np.divide(W, self.length, out=Q)
        else:
            np.take(W, self.kept, axis=1, out=Q, mode="clip")
            Q /= self.length[self.kept]
        blas.dtrsm(1.0, self.R, Q.T, trans_a=1, overwrite_b=1)
        if not q:
            return Q
        np.take(W, self.rest, axis=1, out=Z, mode="clip")
        Z /= self.length[self.rest]
        Z -= Q @ self.beside
        both[:, :r], both[:, r:] = Q, Z
        return both

    def back(self, R: Array) -> Array:
        """The factor of what came in from that of `[Q, Z]`."""
        r, found = len(self.kept), np.zeros((len(R), len(self.length)))
        found[:, self.kept] = (R[:, :r] @ self.R) * self.length[self.kept]
        found[:, self.rest] = (R[:, :r] @ self.beside + R[:, r:]) * self.length[self.rest]
        return found


@dataclass(eq=False)
class Tall:
    """The factor `R (r, k)` of rows, `R^T R = X^T X`, and the way to it, so that targets can be turned as well."""

    R: Array
    levels: list[_Level]
    last: Array
    """The triangle of those columns of the last level that are no rounding."""
    columns: Array
    """Which these are."""
    gram: Array
    """`X^T X` as it was first, with the rounding of a Gram matrix."""
    direct: bool
    """Whether R is a triangle, beside columns of X that are next to zero, whose condition permits `Q^T E` as the solution of
    `R^T Z = X^T E`: R^T Z, all that a loss sees of Z but for its constant, then has the backward error of a solve, whatever the
    condition, and Z as many digits less as R has in its condition."""

    def turned(self, X: Array, Y: Array, P: Array) -> tuple[Array, Array]:
        """`Q^T (Y - X P)` of the factorisation `X = Q R`, (r, m), and the squares of the columns of `Y - X P`.

        Cost: two products of X with m columns, and unless it is `direct` a triangular solve of all rows a level.
        """
        moment, squares = np.zeros((X.shape[1] if self.direct else len(self.last), Y.shape[1])), np.zeros(Y.shape[1])
        for rows, targets in blocks(X, Y):
            rest = targets - rows @ P
            moment += (rows if self.direct else _whitened(rows, self.levels, self.columns)).T @ rest
            squares += np.einsum("ij,ij->j", rest, rest)
        if self.direct:
            there = self.levels[0].kept if self.levels else self.columns
            return scipy.linalg.solve_triangular(self.R[:, there], moment[there], trans=1, check_finite=False), squares
        return scipy.linalg.solve_triangular(self.last, moment, trans=1, check_finite=False), squares


def _whitened(W: Array, levels: list[_Level], columns: Array | None = None) -> Array:
    """A block of rows after these levels, of it these columns."""
    for level in levels:
        W = level(W)
    return W if columns is None else W[:, columns]


def worthwhile(n: int, k: int) -> bool:
    """Whether so many rows of so many columns are for this, and not for LAPACK."""
    return n >= TALL * k and n * k * k >= WORTH


def gram(X: Array, levels: list[_Level] | None = None) -> Array:
    """The Gram matrix of the columns of X, or of what these levels make of them; (w, w), float64. Cost: `n w^2 / 2` multiply-adds."""
    G: Array | None = None
    for (rows,) in blocks(X):
        W = _whitened(rows, levels or [])
        if G is None:
            G = np.zeros((W.shape[1], W.shape[1]), order="F")
        blas.dsyrk(1.0, W.T, beta=1.0, c=G, overwrite_c=1)
    assert G is not None
    return np.asarray(np.triu(G) + np.triu(G, 1).T)


def factor(X: Array) -> Tall | None:
    """The factor of X, or None where its condition does not permit it.

    Shapes: X (n, k), of float64 or float32. Cost: a Gram product of X and two more for each level; most data have one or none.
    Source: T7.1; the error of Cholesky-QR is that of its last Gram matrix.
    """
    levels: list[_Level] = []
    first: Array | None = None
    pivoted = False
    # what a column of length one was long, of those that are no part of Q
    unit, top = np.ones(X.shape[1]), 0.0
    while True:
        G = gram(X, levels)
        if not np.isfinite(G).all():
            return None
        length = np.sqrt(np.maximum(np.diagonal(G), 0.0))
        if first is None:
            first, top = G, float(length.max())
            if not RANGE[0] < top < RANGE[1]:
                return None
            columns = np.flatnonzero(length > TINY * top)
        else:
            columns = np.flatnonzero(length * unit > NEGLIGIBLE * top)
        scaled = np.asarray(G[np.ix_(columns, columns)] / np.outer(length[columns], length[columns]), order="F")
        R, sound = _cholesky(scaled)
        kept, rest, beside = columns, columns[:0], np.zeros((len(columns), 0))
        if CERTAIN < sound < SOUND and not levels:
            # a preconditioner without pivots: columns stay where they are
            sound = 0.0
        elif sound < SOUND:
            pivoted = True
            R, pivots, r, _ = lapack.dpstrf(scaled, tol=PIVOT)
            order = columns[pivots - 1]
            kept, rest, R, beside = order[:r], order[r:], np.triu(R[:r, :r]), np.ascontiguousarray(R[:r, r:])
            left = np.sqrt(PIVOT) * (length * unit)[rest]
            sound = _condition(R, scaled[np.ix_(pivots[:r] - 1, pivots[:r] - 1)]) if levels and (left <= NEGLIGIBLE * top).all() else 0.0
        if sound >= SOUND:
            break
        if len(levels) == LEVELS:
            return None
        levels.append(_Level(length, kept, rest, R, beside, not pivoted and len(kept) == len(length)))
        unit = np.concatenate([np.full(len(kept), np.inf), (unit * length)[rest]])
    last = R * length[kept]
    whole = np.zeros((len(last), len(length)))
    whole[:, kept], whole[:, rest] = last, beside * length[rest]
    for level in reversed(levels):
        whole = level.back(whole)
    return Tall(whole, levels, last, kept, first, not pivoted and len(last) == (len(levels[0].kept) if levels else len(kept)))


def _cholesky(G: Array) -> tuple[Array, float]:
    """The upper triangle, and an estimate of the reciprocal condition number of G; 0 where it is not positive definite."""
    R, info = lapack.dpotrf(G, clean=1)
    return R, 0.0 if info else _condition(R, G)


def _condition(R: Array, G: Array) -> float:
    """An estimate of the reciprocal condition number of G from its triangle."""
    return float(lapack.dpocon(R, np.abs(G).sum(axis=0).max())[0])


def independent(X: Array, tolerance: float) -> bool:
    """Whether the Gram matrix of X shows that its columns are independent: no singular value below `tolerance` times the largest.

    False where it cannot tell. Cost: that of a Gram product of a few rows a column; of all rows where these do not tell.
    """
    n, k = X.shape
    size = float(np.sqrt(sum(float(np.vdot(rows, rows)) for (rows,) in blocks(X))))
    for step in dict.fromkeys((max(1, n // (SAMPLED * k)), 1)):
        G = gram(X[::step])
        length = np.sqrt(np.diagonal(G))
        if not np.isfinite(G).all() or not RANGE[0] < length.min() <= length.max() < RANGE[1]:
            continue
        sound = _cholesky(np.asarray(G / np.outer(length, length), order="F"))[1]
        # more rows only add to the singular values; their smallest is at least that of the scaled columns times the shortest
        if sound > CERTAIN and np.sqrt(sound / k) * length.min() > tolerance * size:
            return True
    return False


def orthonormal(B: Array) -> tuple[Array, Array] | None:
    """`Q, R` of the thin QR factorisation of B, float64, by Cholesky-QR twice; None where the condition of B does not permit it.

    Shapes: B (n, k), Q (n, k), R (k, k). Q is orthonormal to rounding. Cost: two Gram products and two triangular solves.
    """
    n, k = B.shape
    if not k or not worthwhile(n, k):
        return None
    Q, whole = np.array(B, order="C"), np.eye(k)
    for sound_enough in (CERTAIN, SOUND):
        G = gram(Q)
        length = np.sqrt(np.diagonal(G))
        if not np.isfinite(length).all() or not RANGE[0] < length.min() <= length.max() < RANGE[1]:
            return None
        R, sound = _cholesky(np.asarray(G / np.outer(length, length), order="F"))
        if sound < sound_enough:
            return None
        R *= length
        blas.dtrsm(1.0, np.asarray(R, order="F"), Q.T, trans_a=1, overwrite_b=1)
        whole = R @ whole
    return Q, whole
