"""Samples: n rows to rank(X) rows, for a quadratic loss (T7.1).

Precondition: the loss is quadratic in the outputs. Map: a triangular factor of `[X, Y - X P^T]`, centred at the
least-squares map P, so that what is left of Y carries its own rounding and not that of Y. Lift: nothing to do, the
parameters are the same. The Gram matrix is never formed: it would lose the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ..layers.homogeneous import Homogeneous
from ..problem.compressed import Compressed
from ..problem.descent import Descent
from ..problem.problem import Problem
from ..validate import Array
from .reduction import Budget, Found, Reduction, Refused, off

# rows that are factored at a time, so that memory stays bounded whatever n is
BLOCK = 16_384
# singular values of X below this share of the largest are rounding (T7.1)
RANK_TOLERANCE = 1e-12
# a check that is off by more than this is refused
TOLERANCE = 1e-10
# directions are centred where the least-squares map is at most this many times ||Y|| / ||X||
CENTRED = 10


@dataclass(frozen=True)
class Samples:
    """What the reduction did."""

    rows_before: int
    rows_after: int
    residual: float
    """Relative difference of the two losses at a random end-to-end matrix: rounding, if all went well."""


def triangle(X: Array, Y: Array) -> Array:
    """The triangular factor of `[X, Y]` in float64, by blocks of rows."""
    R = np.empty((0, X.shape[1] + Y.shape[1]))
    for start in range(0, len(X), BLOCK):
        block = np.hstack([X[start : start + BLOCK], Y[start : start + BLOCK]], dtype=np.float64)
        R = scipy.linalg.qr(np.vstack([R, block]), mode="r", overwrite_a=True, check_finite=False)[0][: block.shape[1]]
    return R


def compress(X: Array, Y: Array) -> tuple[Array, Array, float]:
    """`(X', Y', c)` with rank(X) rows and `||X P^T - Y||^2 = ||X' P^T - Y'||^2 + c` for every P.

    Shapes: X (n, k), Y (n, m); X' (r, k), Y' (r, m), float64. Rows of X' are orthogonal, largest first.
    Cost: `4 n (k + m)^2` flops, memory of one block. Source: T7.1, centred form.
    """
    return centre(triangle(X, Y), X.shape[1], lambda P: triangle(X, np.asarray(Y, dtype=np.float64) - X @ P))


def centre(R: Array, k: int, again: Callable[[Array], Array]) -> tuple[Array, Array, float]:
    """`compress` from the triangular factor R of `[X, Y]`, X with k columns; `again(P)` is that of `[X, Y - X P]`."""
    U, s, Vt = scipy.linalg.svd(R[:, :k], full_matrices=False)
    r = rank(s)
    if r == 0:
        return np.zeros((1, k)), np.zeros((1, R.shape[1] - k)), float(np.sum(R[:, k:] ** 2))
    rotated = U[:, :r].T @ R[:, k:]
    # directions that need a map much larger than the data would bring in its rounding; networks do not go there either
    near = np.linalg.norm(rotated, axis=1) * s[0] <= CENTRED * np.linalg.norm(R[:, k:]) * s[:r]
    least_squares = Vt[:r][near].T @ (rotated[near] / s[:r][near, None])
    R = again(least_squares)
    U, s, Vt = scipy.linalg.svd(R[:, :k], full_matrices=False)
    X_small = s[:r, None] * Vt[:r]
    centred = U[:, :r].T @ R[:, k:]
    constant = float(np.sum((R[:, k:] - U[:, :r] @ centred) ** 2))
    return X_small, X_small @ least_squares + centred, constant


def singular(problem: Problem) -> tuple[Array, Array, Array]:
    """Thin `U, s, V^T` of the data in float64: worked out once for all reductions that ask."""
    if problem.facts.singular is None:
        assert problem.X is not None
        problem.facts.singular = scipy.linalg.svd(problem.X.astype(np.float64, copy=False), full_matrices=False)
    return problem.facts.singular


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
    full = float(np.sum((problem.X @ probe - problem.T) ** 2, dtype=np.float64))
    small = float(np.sum((X @ probe - T) ** 2)) + constant
    residual = abs(full - small) / full if full else small
    dtype = problem.net.dtype
    return problem.with_data(X.astype(dtype), T.astype(dtype), problem.factor * constant), Samples(n, len(X), residual)


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
        smaller, done = reduce(problem)
        if smaller is problem:
            return Refused(f"the {done.rows_before} rows are independent", of_sizes=True)
        what = f"{done.rows_before} rows -> {done.rows_after}"
        biased = isinstance(problem.net.layers[0], Homogeneous)
        why = f"{'T16.2: rank([X 1])' if biased else 'T7.1: rank(X)'} rows have the same loss up to a constant"
        return off(done.residual, TOLERANCE) or Found(smaller, what, why, done.residual)
