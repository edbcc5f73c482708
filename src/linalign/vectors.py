"""Vectors: singular vectors of layers along a run, computed as rarely and as cheaply as is exact, and the two scores that need them.

A factorisation is kept as long as it is one of the matrix as it is now, to rounding: its residual says so. Otherwise it is
made anew, from the smallest symmetric eigenproblem that gives it to nearly the accuracy of a singular value decomposition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.linalg import eigh

from .spectrum import Matrices, _norm
from .validate import Array

# from this many rows and columns on an eigenproblem is worth its overhead
LARGE = 48
# a Gram matrix squares the spread of the singular values: what it loses is at most this factor's inverse
SPREAD = 3e-3
# a factorisation whose residual is at most this, relative to the norm, is as good as LAPACK's
RESIDUAL = 2e-15
PROBES = 4


@dataclass(frozen=True, eq=False)
class Factors:
    """Thin singular vectors: `W = U diag(s) V^T`, up to the order of the columns. `twins`: V is U, up to signs and order of rows."""

    U: Array
    s: Array
    V: Array
    twins: str = ""


def factor(W: Array) -> Factors:
    """Thin singular vectors of a float64 matrix.

    A symmetric matrix, and one that is symmetric when its rows are turned over (every square Toeplitz matrix, every
    convolution of one channel with its output of the size of its input), has those of a symmetric eigenproblem, exactly. Any
    other is factored by the Gram matrix of its small side where its singular values are of one size, else by LAPACK's SVD.
    """
    m, n = W.shape
    if min(m, n) < LARGE:
        return _plain(W)
    if m == n:
        if np.array_equal(W, W.T):
            return _symmetric(W, "")
        if np.array_equal(W[::-1], W[::-1].T):
            return _symmetric(W[::-1], "flipped")
    found = _by_gram(W) if m >= n else _by_gram(W.T)
    if found is None:
        return _plain(W)
    return found if m >= n else Factors(found.V, found.s, found.U)


def _plain(W: Array) -> Factors:
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    return Factors(U, s, Vt.T)


def _symmetric(H: Array, turned: str) -> Factors:
    values, Z = symmetric_eigen(H)
    U = Z * np.where(values < 0, -1.0, 1.0)
    return Factors(U[::-1] if turned else U, np.abs(values), Z, turned or "same")


def _by_gram(W: Array) -> Factors | None:
    """W (m, n) with m >= n; None if its singular values are too different."""
    values, V = symmetric_eigen(W.T @ W)
    if not values[0] > SPREAD**2 * values[-1]:
        return None
    s = np.sqrt(values)
    return Factors((W @ V) / s, s, V)


def symmetric_eigen(H: Array) -> tuple[Array, Array]:
    """Eigenvalues, increasing, and eigenvectors. Divide and conquer, by SciPy's LAPACK, whose threads the loop shares."""
    values, vectors = eigh(H, driver="evd", check_finite=False)
    return values, vectors


class Kept:
    """The factors of a matrix that moves, made anew only when it has turned."""

    def __init__(self) -> None:
        self._found: Factors | None = None

    def __call__(self, W: Array) -> Factors:
        W = np.asarray(W, dtype=np.float64)
        if self._found is None or not self._still(W):
            self._found = factor(W)
        return self._found

    def _still(self, W: Array) -> bool:
        """Whether the old vectors are singular vectors of W, with new values: a few columns first, then all."""
        old = self._found
        assert old is not None
        r, limit = len(old.s), RESIDUAL * math.sqrt(max(W.shape)) * _norm(W) / math.sqrt(min(W.shape))
        some = np.linspace(0, r - 1, min(r, PROBES)).astype(int)
        if not _fits(W, old.U[:, some], old.V[:, some], limit):
            return False
        if r > PROBES and not _fits(W, old.U, old.V, limit):
            return False
        # the columns that a thin factorisation leaves out must be those of the smallest values
        return min(W.shape) == r


def _fits(W: Array, U: Array, V: Array, limit: float) -> bool:
    """Whether `W V = U diag(s)` and `W^T U = V diag(s)` for some s, column by column, up to `limit`."""
    image = W @ V
    s = np.einsum("ij,ij->j", U, image)
    if np.sqrt(np.max(np.sum((image - U * s) ** 2, axis=0))) > limit:
        return False
    return bool(np.sqrt(np.max(np.sum((W.T @ U - V * s) ** 2, axis=0))) <= limit)


# ---- matching of vectors ---------------------------------------------------------------------------------------------------


def best(products: Array) -> float:
    """`sum_j max_l |p_lj|`; 0 where there is nothing to match."""
    return float(np.abs(products).max(axis=0, initial=0.0).sum())


class Scores:
    """The two scores of the authors, along a run, from the matrices as they are."""

    def __init__(self, matrices: Callable[[], list[Array]], start: Matrices, step: Callable[[], int]) -> None:
        """`step()` says where the run stands: what was found there is used for both scores."""
        self._matrices, self._step = matrices, step
        self._kept = [Kept() for _ in start]
        self._start = [np.asarray(W, dtype=np.float64) for W in start]
        self._first: list[Factors] | None = None
        self._now: tuple[int, list[Factors]] | None = None

    def _factors(self) -> list[Factors]:
        if self._now is None or self._now[0] != self._step():
            self._now = self._step(), [keep(W) for keep, W in zip(self._kept, self._matrices(), strict=True)]
        return self._now[1]

    def alignment_svd(self) -> float:
        """`mean_j max_l |v_{i+1,l} . u_{i,j}|`, averaged over the interfaces."""
        if len(self._start) == 1:
            return 1.0
        return float(np.mean([best(high.V.T @ low.U) / low.U.shape[1] for low, high in pairwise(self._factors())]))

    def invariance(self) -> float:
        """The same between the vectors now and at the start."""
        d = len(self._start)
        if d == 1:
            return 1.0
        if self._first is None:
            # if this is the start its factors are made once, and kept by what follows
            self._first = [keep(W) for keep, W in zip(self._kept, self._start, strict=True)]
        scores = []
        for i, (now, then) in enumerate(zip(self._factors(), self._first, strict=True)):
            if now is then:
                scores += [1.0] * ((i < d - 1) + (i > 0))
                continue
            left = best(then.U.T @ now.U) / now.U.shape[1] if i < d - 1 else None
            if i > 0:
                # twins have the same products on both sides, up to signs
                same = left is not None and now.twins == then.twins != ""
                scores.append(left if same and left is not None else best(then.V.T @ now.V) / now.V.shape[1])
            if left is not None:
                scores.append(left)
        return float(np.mean(scores))




# ---- in reduced coordinates ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Block:
    """What of a layer no step changes, by its vectors: outputs in the complement of `S_i`, inputs in that of `S_{i-1}`.

    `U (k_i, a)`, `V (k_{i-1}, b)`; the layer's thin factorisation has `more` null vectors besides these and those inside.
    """

    U: Array
    V: Array


def complement(E: Array, above: Array | None, below: Array | None) -> Block:
    """The vectors of what is outside, `E` between the complements of the columns of `above` and `below` (None: everything)."""
    m, n = E.shape
    none = Block(np.zeros((m, 0)), np.zeros((n, 0)))
    if above is None or below is None:
        return none
    up, down = _rest(above), _rest(below)
    if not (up.shape[1] and down.shape[1]):
        return none
    found = factor(np.ascontiguousarray(up.T @ E @ down))
    return Block(up @ found.U, down @ found.V)


def _rest(Q: Array) -> Array:
    """An orthonormal basis of what is orthogonal to the columns of Q."""
    return np.linalg.qr(Q, mode="complete")[0][:, Q.shape[1] :]
