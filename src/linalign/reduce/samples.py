"""Samples: n rows to rank(X) rows, for a quadratic loss (T7.1).

Precondition: the loss is quadratic in the outputs. Map: a factor of `[X, Y - X P^T]`, centred at a map P near the least-squares one, so
that what is left of Y carries its own rounding and not that of Y. Lift: nothing to do, the parameters are the same. A Gram matrix of the
data alone would lose the loss; where it is a preconditioner it does not (`tall.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ..layers.homogeneous import Homogeneous
from ..linear_algebra import tall
from ..linear_algebra.waited import interruptible, svd
from ..problem.compressed import Compressed
from ..problem.descent import Descent
from ..problem.problem import Problem
from ..validate import Array
from .reduction import TOO_SHORT, Budget, Found, Reduction, Refused, off

# rows that are factored at a time by LAPACK, over the columns: with their triangle they stay near the cache
STACKED = 2
# rows that are gathered at most, so that memory stays bounded whatever n is
BLOCK = 16_384
# singular values of X below this share of the largest are rounding (T7.1)
RANK_TOLERANCE = 1e-12
# a check that is off by more than this is refused
TOLERANCE = 1e-10
# directions are centred where the least-squares map is at most this many times ||Y|| / ||X||
CENTRED = 10
# what cancels in the constant: the share of the squares that is right to ten digits, and the share of those of Y that is rounding
CANCELLED, ROUNDING = 1e-5, 1e-13
# Gram products, and products of the cube of the columns, that compressing takes
PASSES, CUBES = 4, 8


@dataclass(frozen=True)
class Samples:
    """What the reduction did."""

    rows_before: int
    rows_after: int
    residual: float
    """Relative difference of the two losses at a random end-to-end matrix: rounding, if all went well."""


def triangle(X: Array, Y: Array, P: Array | None = None) -> Array:
    """The triangular factor of `[X, Y - X P]` in float64, by LAPACK's QR of blocks of rows below the triangle so far."""
    n, k, m = len(X), X.shape[1], Y.shape[1]
    w = k + m
    size = min(BLOCK, n, max(STACKED * w, 64))
    stack = np.empty((min(w, n) + size, w), order="F")
    rows = 0
    for start in range(0, n, size):
        end = rows + min(size, n - start)
        stack[rows:end, :k] = X[start : start + size]
        stack[rows:end, k:] = Y[start : start + size]
        if P is not None:
            stack[rows:end, k:] -= stack[rows:end, :k] @ P
        # a block of its own is a copy where it is not the whole room
        R = interruptible(scipy.linalg.qr, stack[:end], mode="r", overwrite_a=True, check_finite=False)[0][:w]
        rows = len(R)
        stack[:rows] = R
    return stack[:rows].copy()


def compress(X: Array, Y: Array) -> tuple[Array, Array, float]:
    """`(X', Y', c)` with rank(X) rows and `||X P^T - Y||^2 = ||X' P^T - Y'||^2 + c` for every P.

    Shapes: X (n, k), Y (n, m); X' (r, k), Y' (r, m), float64. Rows of X' are orthogonal, largest first.
    Cost: 1 to 3 Gram products of X where its columns, brought to one length, are independent enough, else `4 n (k + m)^2` flops by
    LAPACK; memory of one block. Source: T7.1, centred form.
    """
    if tall.worthwhile(*X.shape):
        found = tall.factor(X)
        if found is not None:
            done = _compress_tall(X, Y, found)
            if done is not None:
                return done
    return centre(triangle(X, Y), X.shape[1], lambda P: triangle(X, Y, P))


def _compress_tall(X: Array, Y: Array, found: tall.Tall) -> tuple[Array, Array, float] | None:
    """`compress` with the factor of X; None where the constant would be what cancelling has left of larger numbers."""
    U, s, Vt = svd(found.R)
    r = rank(s)
    X_small = s[:r, None] * Vt[:r]
    if X is Y or (X.shape == Y.shape and np.may_share_memory(X, Y) and np.array_equal(X, Y)):
        return X_small, X_small.copy(), 0.0
    moment, whole = np.zeros((X.shape[1], Y.shape[1])), np.zeros(Y.shape[1])
    for rows, targets in tall.blocks(X, Y):
        moment += rows.T @ targets
        whole += np.einsum("ij,ij->j", targets, targets)
    size = float(np.sqrt(whole.sum()))
    P = _map(s[:r], Vt[:r], (Vt[:r] @ moment) / s[:r, None], size)
    for _ in range(2):
        turned, constant = _rest(found, X, Y, P, whole)
        inside = U[:, :r].T @ turned
        if constant is not None:
            return X_small, X_small @ P + inside, constant + float(np.sum((turned - U[:, :r] @ inside) ** 2))
        P = P + _map(s[:r], Vt[:r], inside, size)
    return None


def _rest(found: tall.Tall, X: Array, Y: Array, P: Array, whole: Array) -> tuple[Array, float | None]:
    """What the factor's rows have of `Y - X P`, and the squares that they miss; None where cancelling has left too little of these."""
    turned, squares = found.turned(X, Y, P)
    constants = squares - np.sum(turned**2, axis=0)
    right = (constants > CANCELLED * squares) | (squares <= ROUNDING * whole)
    return turned, float(np.sum(np.maximum(constants, 0.0))) if right.all() else None


def shrunk(X: Array, Y: Array, P: Array) -> tuple[Array, Array, float]:
    """Rows and targets with the squares of X and `Y - X P` at every map but for a constant: as few as columns, or those given."""
    found = tall.factor(X) if tall.worthwhile(*X.shape) else None
    if found is not None:
        turned, constant = _rest(found, X, Y, P, np.einsum("ij,ij->j", Y, Y))
        if constant is not None:
            return found.R, turned, constant
    if len(X) <= BLOCK:
        return X, Y - X @ P, 0.0
    R = triangle(X, Y, P)
    return R[:, : X.shape[1]], R[:, X.shape[1] :], 0.0


def _map(s: Array, Vt: Array, rotated: Array, size: float) -> Array:
    """The least-squares map `(k, m)` of rotated targets, in the directions where it is no larger than the data.

    Directions that need a map much larger would bring in its rounding; networks do not go there either.
    """
    near = np.linalg.norm(rotated, axis=1) * s[0] <= CENTRED * size * s
    return np.asarray(Vt[near].T @ (rotated[near] / s[near, None]))


def centre(R: Array, k: int, again: Callable[[Array], Array]) -> tuple[Array, Array, float]:
    """`compress` from the triangular factor R of `[X, Y]`, X with k columns; `again(P)` is that of `[X, Y - X P]`."""
    U, s, Vt = svd(R[:, :k])
    r = rank(s)
    if r == 0:
        return np.zeros((1, k)), np.zeros((1, R.shape[1] - k)), float(np.sum(R[:, k:] ** 2))
    least_squares = _map(s[:r], Vt[:r], U[:, :r].T @ R[:, k:], float(np.linalg.norm(R[:, k:])))
    R = again(least_squares)
    U, s, Vt = svd(R[:, :k])
    X_small = s[:r, None] * Vt[:r]
    centred = U[:, :r].T @ R[:, k:]
    constant = float(np.sum((R[:, k:] - U[:, :r] @ centred) ** 2))
    return X_small, X_small @ least_squares + centred, constant


def singular(problem: Problem) -> tuple[Array, Array, Array]:
    """Thin `U, s, V^T` of the data in float64: worked out once for all reductions that ask."""
    if problem.facts.singular is None:
        assert problem.X is not None
        X = problem.X.astype(np.float64, copy=False)
        problem.facts.singular = _of_rows(X) or svd(X)
    return problem.facts.singular


def _of_rows(X: Array) -> tuple[Array, Array, Array] | None:
    """`U, s, V^T` of data that are compressed already: their rows are singular values times singular vectors, largest first.

    None for any others. Data that are compressed before a run have the bits of those that a run compresses.
    """
    n, k = X.shape
    if n > k:
        return None
    with np.errstate(over="ignore"):
        s = np.linalg.norm(X, axis=1)
    if not (s[-1] > 0 and np.isfinite(s[0]) and (np.diff(s) <= 0).all()):
        return None
    V = X / s[:, None]
    return (np.eye(n), s, V) if np.abs(V @ V.T - np.eye(n)).max() <= 4 * k * np.finfo(np.float64).eps else None


def rank(s: Array) -> int:
    """The number of singular values above the tolerance."""
    return int(np.count_nonzero(s > RANK_TOLERANCE * s[0])) if s[0] > 0 else 0


def reduce(problem: Problem) -> tuple[Problem, Samples]:
    """The problem on rank(X) rows, or the problem itself where that is no fewer.

    Precondition: a quadratic loss on data. Raises: nothing; a failed precondition is the caller's to see.
    """
    if problem.facts.samples is None:
        problem.facts.samples = _reduce(problem)
    smaller, done = problem.facts.samples
    return problem if smaller is None else smaller.on(problem.net), done


def _reduce(problem: Problem) -> tuple[Problem | None, Samples]:
    """`reduce`, with None for the problem itself."""
    assert problem.X is not None
    assert problem.T is not None
    n, k = problem.X.shape
    if n <= k and rank(singular(problem)[1]) == n:
        return None, Samples(n, n, 0.0)
    X, T, constant = problem.facts.compressed = compress(problem.X, problem.T)
    if len(X) >= n:
        return None, Samples(n, n, 0.0)
    probe = np.random.default_rng(0).standard_normal((k, T.shape[1]))
    probe *= np.linalg.norm(T) / max(float(np.linalg.norm(X @ probe)), np.finfo(np.float64).tiny)
    # on the far side of the targets: with few directions the probe may fit them, and nothing is relative to nothing
    probe *= np.copysign(1.0, -float(np.vdot(X @ probe, T)))
    full = sum(float(np.sum((rows @ probe - targets) ** 2)) for rows, targets in tall.blocks(problem.X, problem.T))
    small = float(np.sum((X @ probe - T) ** 2)) + constant
    residual = abs(full - small) / full if full else small
    dtype = problem.net.dtype
    smaller = problem.with_data(X.astype(dtype, copy=False), T.astype(dtype, copy=False), problem.factor * constant)
    # its rows are singular values times singular vectors, before they are rounded to float32; of numbers whose squares are zero none
    s = np.linalg.norm(X, axis=1)
    if len(s) and s.all():
        smaller.facts.singular = np.eye(len(X)), s, X / s[:, None]
    return smaller, Samples(n, len(X), residual)


def search_cost(n: int, k: int) -> float:
    """Multiply-adds of `compress`, to within a few times."""
    return PASSES * n * k * k / 2 + CUBES * min(n, k) ** 2 * k


def compressed(problem: Problem) -> Compressed | None:
    """The data on rank(X) rows, in float64, for whoever is to have them in place of the samples; None where that is no gain."""
    smaller, done = reduce(problem)
    if smaller is problem or not done.residual <= TOLERANCE:
        return None
    assert problem.facts.compressed is not None
    X, T, constant = problem.facts.compressed
    return Compressed(X, T, constant, problem.rows, done.residual)


class SampleReduction(Reduction):
    """T7.1; the parameters are the same."""

    name = "samples"
    of_data = needs_data = needs_quadratic = True

    def seek(self, problem: Problem, descent: Descent, budget: Budget) -> Found | Refused:
        if problem.facts.samples is None:
            assert problem.X is not None
            if not budget.repaid(search_cost(*problem.X.shape)):
                return TOO_SHORT
        smaller, done = reduce(problem)
        if smaller is problem:
            return Refused(f"the {done.rows_before} rows are independent", of_sizes=True)
        what = f"{done.rows_before} rows -> {done.rows_after}"
        biased = isinstance(problem.net.layers[0], Homogeneous)
        why = f"{'T16.2: rank([X 1])' if biased else 'T7.1: rank(X)'} rows have the same loss up to a constant"
        return off(done.residual, TOLERANCE) or Found(smaller, what, why, done.residual)
