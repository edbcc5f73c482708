"""Inputs: the first layer in the coordinates of the data, k_0 columns to rank(X) (T8.1 with only S_0 small).

Precondition: the first layer is dense. Map: `W_1 -> W_1 V`, `X -> X V`, with V the right singular vectors of X; for a
quadratic loss the samples are rotated too, and the data become `diag(s)`. Lift: `W_1(0) (I - V V^T) f + W_1(t) V^T`.
With biases the constant coordinate keeps its place, `[X 1] -> [X V 1]`, and b_1 is as it was (T16.3): rank(X) + 1 columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layers import Layer
from ..layers.homogeneous import Homogeneous
from ..linear_algebra import tall
from ..linear_algebra.waited import svd
from ..problem.descent import Descent
from ..problem.network import Network
from ..problem.problem import Problem
from ..validate import Array
from .biases import join, resized, separate
from .complement import factors
from .products import add_product, product
from .reduction import TOO_SHORT, Budget, Found, Reduction, Refused, off
from .samples import RANK_TOLERANCE, rank, singular, triangle

# what the coordinates may miss of the data
TOLERANCE = 1e-10
# a singular value decomposition of X takes as long as so many products of it with a matrix of its smaller side
SVD = 8
# and the factor and the turned rows of long data as so many, and a first look at some rows as so many of their columns
GRAMS, SAMPLED = 2.5, 4


@dataclass(frozen=True)
class Inputs:
    """What the reduction did."""

    columns_before: int
    columns_after: int
    residual: float
    """`||X - X V V^T||_F / ||X||_F`: what of the data the new coordinates miss."""


@dataclass(frozen=True, eq=False)
class InputsLift:
    """`W_1(t) = f W_1(0) + (W^_1(t) - f W^_1(0)) V^T`; nothing of the size of W_1 is kept but W_1(0), which the network has."""

    original: Array
    small: Array
    V: Array
    descent: Descent
    dtype: np.dtype[Any]

    def __call__(self, params: list[Array], steps: int) -> list[Array]:
        f = factors(self.descent, steps)[0]
        W = self.original.astype(np.float64) if f == 1 else f * self.original
        add_product(W, params[0].astype(np.float64, copy=False) - f * self.small, self.V.T)
        return [W.astype(self.dtype, copy=False), *params[1:]]

    @property
    def outside(self) -> Array:
        """`E = W_1(0) (I - V V^T)`, outside the range of the data, which no step changes."""
        W = self.original.astype(np.float64)
        add_product(W, -self.small, self.V.T)
        return W


@dataclass(frozen=True, eq=False)
class BiasedInputsLift:
    """That of the weights; the bias is the same."""

    weights: InputsLift
    first: Layer

    def __call__(self, params: list[Array], steps: int) -> list[Array]:
        (W,), (b,) = separate([self.first], params[:1])
        (theta,) = join(self.weights([W], steps), [b])
        return [theta.astype(self.weights.dtype, copy=False), *params[1:]]


def reduce(problem: Problem, descent: Descent) -> tuple[Problem, InputsLift | BiasedInputsLift, Inputs]:
    """The problem in the coordinates of the data, and the lift.

    Precondition: data, and a dense first layer. Cost: one singular value decomposition of X.
    """
    given, constant_coordinate = problem.net, isinstance(problem.net.layers[0], Homogeneous)
    if problem.facts.inputs is None:
        problem.facts.inputs = _rotate_beside_ones(problem) if constant_coordinate else _rotate(problem)
    rotated, V, done = problem.facts.inputs
    (W,), (b,) = separate(given.layers[:1], given.params[:1])
    small_W = product(W, V)
    first = resized(given.layers[:1], [small_W], [b], given.dtype)
    net = Network._adopt((*first.layers, *given.layers[1:]), [*first.params, *given.params[1:]])
    lift = InputsLift(W, small_W, V, descent, given.dtype)
    return rotated.on(net), BiasedInputsLift(lift, first.layers[0]) if constant_coordinate else lift, done


def _rotate(problem: Problem) -> tuple[Problem, Array, Inputs]:
    """The data in their own coordinates, the coordinates, and what they miss: all that does not depend on the network."""
    assert problem.X is not None
    dtype = problem.net.dtype
    if not problem.quadratic:
        V, residual = _range(problem.X)
        done = Inputs(problem.X.shape[1], V.shape[1], residual)
        return problem.with_data(_turned(problem.X, V, dtype), problem.T, 0.0), V, done
    U, s, Vt = singular(problem)
    turned, r = s[:, None] * Vt, max(rank(s), 1)
    U, s, V = U[:, :r], s[:r], np.ascontiguousarray(Vt[:r].T)
    scale = float(np.linalg.norm(turned))
    residual = float(np.linalg.norm(turned - (turned @ V) @ V.T)) / scale if scale else 0.0
    done = Inputs(problem.X.shape[1], r, residual)
    # the residual outside the range of X is a constant; it is zero when the samples were compressed first
    assert problem.T is not None
    T = problem.T.astype(np.float64, copy=False)
    rotated = U.T @ T
    constant = problem.factor * float(np.sum((T - U @ rotated) ** 2)) if r < len(problem.X) else 0.0
    return problem.with_data(s.astype(dtype), rotated.astype(dtype), constant), V, done


def _rotate_beside_ones(problem: Problem) -> tuple[Problem, Array, Inputs]:
    """The same for rows `(x, o)`: o keeps its place."""
    assert problem.X is not None
    X, o = problem.X[:, :-1], problem.X[:, -1:]
    V, residual = _range(X)
    rows = np.empty((len(X), V.shape[1] + 1), dtype=X.dtype)
    rows[:, :-1], rows[:, -1:] = _turned(X, V, X.dtype), o
    return problem.with_data(rows, problem.T, 0.0), V, Inputs(X.shape[1], V.shape[1], residual)


def _range(X: Array) -> tuple[Array, float]:
    """An orthonormal basis `(k, r)` of the range of `X^T`, and `||X - X V V^T|| / ||X||`, from a factor with as few rows as columns."""
    n, k = X.shape
    found = tall.factor(X) if tall.worthwhile(n, k) else None
    R = found.R if found is not None else triangle(X, X[:, :0]) if n > k else X.astype(np.float64, copy=False)
    s, Vt = svd(R)[1:]
    V = np.ascontiguousarray(Vt[: max(rank(s), 1)].T)
    scale = float(np.linalg.norm(R))
    return V, float(np.linalg.norm(R - (R @ V) @ V.T)) / scale if scale else 0.0


def _turned(X: Array, V: Array, dtype: np.dtype[Any]) -> Array:
    """`X V`, by blocks of rows."""
    found = np.empty((len(X), V.shape[1]), dtype=dtype)
    at = 0
    for (rows,) in tall.blocks(X):
        found[at : at + len(rows)] = rows @ V
        at += len(rows)
    return found


def _independent(problem: Problem) -> bool:
    """Whether a Gram matrix shows that X has full rank, as most long data have."""
    assert problem.X is not None
    if problem.facts.independent is None:
        X = problem.X[:, :-1] if isinstance(problem.net.layers[0], Homogeneous) else problem.X
        problem.facts.independent = X.shape[1] > 0 and tall.worthwhile(*X.shape) and tall.independent(X, RANK_TOLERANCE)
    return problem.facts.independent


class InputReduction(Reduction):
    """T8.1 in the first layer; with biases, T16.3."""

    name = "inputs"
    of_data = needs_data = True
    needs_dense = slice(0, 1)
    takes_biases = True

    def seek(self, problem: Problem, descent: Descent, budget: Budget) -> Found | Refused:
        assert problem.X is not None
        n, k = problem.X.shape
        biased = isinstance(problem.net.layers[0], Homogeneous)
        kept = biased or not problem.quadratic
        if problem.facts.inputs is None and problem.facts.singular is None:
            tall_enough = kept and tall.worthwhile(n, k)
            if tall_enough and problem.facts.independent is None and not budget.repaid(SAMPLED * k**3):
                return TOO_SHORT
            if kept and _independent(problem):
                return Refused(f"X has full rank {k - biased}", of_sizes=True)
            if not budget.repaid(GRAMS * n * k * k + SVD * k**3 if tall_enough else SVD * n * k * min(n, k)):
                return TOO_SHORT
        smaller, lift, done = reduce(problem, descent)
        if no := off(done.residual, TOLERANCE):
            return no
        if kept and done.columns_after == done.columns_before:
            return Refused(f"X has full rank {done.columns_before}")
        what = f"{done.columns_before} inputs -> {done.columns_after}"
        if biased:
            why = "T8.1, T16.3: the first layer moves in the range of X only, beside its bias"
            return Found(smaller, what, why, done.residual, lift)
        why = "T8.1: the first layer moves in the range of X only"
        return Found(smaller, what, why + ", where the data are diagonal" if problem.quadratic else why, done.residual, lift)
