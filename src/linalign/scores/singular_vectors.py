"""Vectors: singular vectors of layers along a run, computed as rarely and as cheaply as is exact, and the two scores that need them.

A factorisation is kept as long as it is one of the matrix as it is now, to rounding: its residual says so. Otherwise it is
made anew, from the smallest symmetric eigenproblem that gives it to nearly the accuracy of a singular value decomposition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..validate import Array
from . import structured_svd as singular
from .deferred import Pool
from .spectrum import Matrices, _norm

# from this many rows and columns on an eigenproblem is worth its overhead
LARGE = singular.LARGE
# a Gram matrix squares the spread of the singular values: what it loses is at most this factor's inverse
SPREAD = 3e-3
# a factorisation whose columns have residuals of at most this, relative to the mean singular value and by the root of the size, is
# kept: some ten times what LAPACK leaves, since rounding adds to it when values change their order
RESIDUAL = 1e-14
PROBES = 4
# products of more than the cube of this many multiply-adds are made in float32 first, unless more than so many entries a column
# then remain to be made again
SHORT, MANY = 256, 8
# a layer whose smaller side is at least this is factored beside the others, not after them
WORTH_A_THREAD = 256


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
        H, turned = singular.symmetric(W)
        if H is not None:
            return Factors(*singular.of_symmetric(*symmetric_eigen(H), turned), "flipped" if turned else "same")
    found = _by_gram(W) if m >= n else _by_gram(W.T)
    if found is None:
        return _plain(W)
    return found if m >= n else Factors(found.V, found.s, found.U)


def _plain(W: Array) -> Factors:
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    return Factors(U, s, Vt.T)


def _by_gram(W: Array) -> Factors | None:
    """W (m, n) with m >= n; None if its singular values are too different."""
    values, V = symmetric_eigen(W.T @ W)
    if not values[0] > SPREAD**2 * values[-1]:
        return None
    s = np.sqrt(values)
    return Factors((W @ V) / s, s, V)


def symmetric_eigen(H: Array) -> tuple[Array, Array]:
    """Eigenvalues, increasing, and eigenvectors, by divide and conquer."""
    values, vectors = np.linalg.eigh(H)
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

    def forget(self) -> None:
        """The next factors are made anew."""
        self._found = None

    def _still(self, W: Array) -> bool:
        """Whether the old vectors are singular vectors of W, with new values: a few columns first, then all."""
        old = self._found
        assert old is not None
        r, limit = len(old.s), RESIDUAL * math.sqrt(max(W.shape)) * _norm(W) / math.sqrt(min(W.shape))
        some = np.linspace(0, r - 1, min(r, PROBES)).astype(int)
        if not _fits(W, old.U[:, some], old.V[:, some], limit):
            return False
        return r <= PROBES or _fits(W, old.U, old.V, limit)


def _fits(W: Array, U: Array, V: Array, limit: float) -> bool:
    """Whether `W V = U diag(s)` and `W^T U = V diag(s)` for some s, column by column, up to `limit`."""
    image = W @ V
    s = np.einsum("ij,ij->j", U, image)
    if np.sqrt(np.max(np.sum((image - U * s) ** 2, axis=0))) > limit:
        return False
    return bool(float(np.sqrt(np.max(np.sum((W.T @ U - V * s) ** 2, axis=0)))) <= limit)


# ---- matching of vectors ---------------------------------------------------------------------------------------------------


def best(A: Array, B: Array) -> float:
    """`sum_j max_l |a_l . b_j|` over the columns of A and of B, none longer than 1; 0 where there is nothing to match."""
    return float(largest(A, B).sum())


def largest(A: Array, B: Array, scale: float = 1.0) -> Array:
    """`max_l |a_l . b_j|` for every j, over columns none longer than 1 where those of A are multiplied by `scale`.

    Large products are made in float32, which costs half as much and finds the few that can be the largest of their column;
    these are made again in float64.
    """
    if A.shape[1] * B.size < SHORT**3 or not 1e-15 < scale < 1e15:  # float32 ends at 1e38
        return np.asarray(np.abs(A.T @ B).max(axis=0, initial=0.0))
    rough = A.T.astype(np.float32) @ B.astype(np.float32)
    np.abs(rough, out=rough)
    # each entry is a sum of k products of sizes that add up to 1 at most
    slack = 2.5 * (len(A) + 2) * float(np.finfo(np.float32).eps) / scale
    row, column = np.nonzero(rough >= rough.max(axis=0) - np.float32(slack))
    if len(row) > MANY * B.shape[1]:
        return np.asarray(np.abs(A.T @ B).max(axis=0))
    exact = np.abs(np.einsum("ik,ik->i", A.T[row], B.T[column]))
    found = np.zeros(B.shape[1])
    np.maximum.at(found, column, exact)
    return found


class _Ready:
    """What a pool would promise, at once."""

    def __init__(self, task: Callable[..., Any], *arguments: Any) -> None:
        self._found = task(*arguments)

    def result(self) -> Any:
        return self._found


class Scores:
    """The two scores of the authors, along a run, from the matrices as they are."""

    def __init__(self, matrices: Callable[[], list[Array]], start: Matrices, step: Callable[[], int], threads: int = 1) -> None:
        """`step()` says where the run stands: what was found there serves both scores. `threads`: factorisations at a time."""
        self._matrices, self._step = matrices, step
        self._kept = [Kept() for _ in start]
        self._start = [np.asarray(W, dtype=np.float64) for W in start]
        self._first: list[Factors] | None = None
        self._at = -1
        self._factors: list[Any] = []
        self._found: dict[str, float] = {}
        # both scores were asked for at the last step
        self._both = False
        large = sum(min(W.shape) >= WORTH_A_THREAD for W in start) > 1
        self._pool = Pool(threads) if threads > 1 and large else None

    def close(self) -> None:
        """End the threads, without what they have not begun."""
        if self._pool is not None:
            self._pool.close()

    def _submit(self, task: Callable[..., Any], *arguments: Any) -> Any:
        return _Ready(task, *arguments) if self._pool is None else self._pool.submit(task, *arguments)

    def alignment_svd(self) -> float:
        """`mean_j max_l |v_{i+1,l} . u_{i,j}|`, averaged over the interfaces."""
        return self._score("alignment_svd")

    def invariance(self) -> float:
        """The same between the vectors now and at the start."""
        return self._score("invariance")

    def _score(self, name: str) -> float:
        if len(self._start) == 1:
            return 1.0
        if self._at != self._step():
            self._both = len(self._found) == 2
            self._at, self._found = self._step(), {}
            if self._first is None and (self._at == 0 or name == "invariance" or self._both):
                self._first = [task.result() for task in [self._submit(keep, W) for keep, W in zip(self._kept, self._start, strict=True)]]
            self._factors = [self._submit(keep, W) for keep, W in zip(self._kept, self._matrices(), strict=True)]
        if name not in self._found:
            # tasks wait for factors only, which were handed out before them: no two wait for each other
            wanted = ("alignment_svd", "invariance") if self._both else (name,)
            parts = {key: [self._submit(part, i) for part, i in self._parts(key)] for key in wanted}
            for key, tasks in parts.items():
                self._found[key] = float(np.mean([score for task in tasks for score in task.result()]))
        return self._found[name]

    def _parts(self, name: str) -> list[tuple[Callable[[int], list[float]], int]]:
        if name == "alignment_svd":
            return [(self._interface, i) for i in range(len(self._start) - 1)]
        if self._first is None:
            self._first = [task.result() for task in [self._submit(Kept(), W) for W in self._start]]
        return [(self._turned, i) for i in range(len(self._start))]

    def _interface(self, i: int) -> list[float]:
        low, high = self._factors[i].result(), self._factors[i + 1].result()
        return [best(high.V, low.U) / low.U.shape[1]]

    def _turned(self, i: int) -> list[float]:
        """Of a layer's outputs, but for the last layer, and of its inputs, but for the first."""
        assert self._first is not None
        now, then, last = self._factors[i].result(), self._first[i], i == len(self._start) - 1
        if now is then:
            return [1.0] * ((not last) + (i > 0))
        left = [] if last else [best(then.U, now.U) / now.U.shape[1]]
        if i == 0:
            return left
        # twins have the same products on both sides, up to signs
        if left and now.twins == then.twins != "":
            return left * 2
        return [*left, best(then.V, now.V) / now.V.shape[1]]
