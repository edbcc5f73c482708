"""Inputs: the first layer in the coordinates of the data, k_0 columns to rank(X) (T8.1 with only S_0 small).

Precondition: the first layer is dense. Map: `W_1 -> W_1 V`, `X -> X V`, with V the right singular vectors of X; for a
quadratic loss the samples are rotated too, and the data become `diag(s)`. Lift: `W_1(0) (I - V V^T) f + W_1(t) V^T`.
With biases the constant coordinate keeps its place, `[X 1] -> [X V 1]`, and b_1 is as it was (T16.3): rank(X) + 1 columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from ..layers import Layer
from ..layers.homogeneous import Homogeneous
from ..problem.descent import Descent
from ..problem.network import Network
from ..problem.problem import Problem
from ..validate import Array
from .biases import join, resized, separate
from .complement import factors
from .products import add_product, product
from .reduction import TOO_SHORT, Budget, Found, Reduction, Refused, off
from .samples import rank, singular

# what the coordinates may miss of the data
TOLERANCE = 1e-10
# a singular value decomposition of X takes as long as so many products of it with a matrix of its smaller side
SVD = 8


@dataclass(frozen=True)
class Inputs:
    """What the reduction did."""

    columns_before: int
    columns_after: int
    residual: float
    """`||X - X V V^T||_F / ||X||_F`: what of the data the new coordinates miss."""


@dataclass(frozen=True, eq=False)
class InputsLift:
    """`W_1(t) = f E + W^_1(t) V^T`, with `E = W_1(0) (I - V V^T)` outside the range of the data."""

    outside: Array
    V: Array
    descent: Descent
    dtype: np.dtype[Any]

    def __call__(self, params: list[Array], steps: int) -> list[Array]:
        f = factors(self.descent, steps)[0]
        W = self.outside * f
        add_product(W, params[0].astype(np.float64, copy=False), self.V.T)
        return [W.astype(self.dtype, copy=False), *params[1:]]


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
    outside = W.copy()
    add_product(outside, -small_W, V.T)
    lift = InputsLift(outside, V, descent, given.dtype)
    return rotated.on(net), BiasedInputsLift(lift, first.layers[0]) if constant_coordinate else lift, done


def _rotate(problem: Problem) -> tuple[Problem, Array, Inputs]:
    """The data in their own coordinates, the coordinates, and what they miss: all that does not depend on the network."""
    assert problem.X is not None
    dtype = problem.net.dtype
    X = problem.X.astype(np.float64, copy=False)
    U, s, Vt = singular(problem)
    r = max(rank(s), 1)
    U, s, V = U[:, :r], s[:r], np.ascontiguousarray(Vt[:r].T)
    scale = float(np.linalg.norm(X))
    residual = float(np.linalg.norm(X - (X @ V) @ V.T)) / scale if scale else 0.0
    done = Inputs(problem.X.shape[1], r, residual)
    if not problem.quadratic:
        return problem.with_data(np.ascontiguousarray(X @ V).astype(dtype), problem.T, 0.0), V, done
    # the residual outside the range of X is a constant; it is zero when the samples were compressed first
    assert problem.T is not None
    T = problem.T.astype(np.float64, copy=False)
    rotated = U.T @ T
    constant = problem.factor * float(np.sum((T - U @ rotated) ** 2)) if r < len(X) else 0.0
    return problem.with_data(s.astype(dtype), rotated.astype(dtype), constant), V, done


def _rotate_beside_ones(problem: Problem) -> tuple[Problem, Array, Inputs]:
    """The same for rows `(x, o)`: o keeps its place."""
    assert problem.X is not None
    X, o = problem.X[:, :-1].astype(np.float64, copy=False), problem.X[:, -1:]
    s, Vt = scipy.linalg.svd(X, full_matrices=False)[1:]
    V = np.ascontiguousarray(Vt[: max(rank(s), 1)].T)
    inside, scale = X @ V, float(np.linalg.norm(X))
    residual = float(np.linalg.norm(X - inside @ V.T)) / scale if scale else 0.0
    rows = np.hstack([inside.astype(problem.X.dtype), o])
    return problem.with_data(rows, problem.T, 0.0), V, Inputs(X.shape[1], V.shape[1], residual)


class InputReduction(Reduction):
    """T8.1 in the first layer; with biases, T16.3."""

    name = "inputs"
    of_data = needs_data = True
    needs_dense = slice(0, 1)
    takes_biases = True

    def seek(self, problem: Problem, descent: Descent, budget: Budget) -> Found | Refused:
        assert problem.X is not None
        if problem.facts.inputs is None and problem.facts.singular is None:
            n, k = problem.X.shape
            if not budget.repaid(SVD * n * k * min(n, k)):
                return TOO_SHORT
        smaller, lift, done = reduce(problem, descent)
        if no := off(done.residual, TOLERANCE):
            return no
        biased = isinstance(lift, BiasedInputsLift)
        if (biased or not problem.quadratic) and done.columns_after == done.columns_before:
            return Refused(f"X has full rank {done.columns_before}")
        what = f"{done.columns_before} inputs -> {done.columns_after}"
        if biased:
            why = "T8.1, T16.3: the first layer moves in the range of X only, beside its bias"
            return Found(smaller, what, why, done.residual, lift)
        why = "T8.1: the first layer moves in the range of X only"
        return Found(smaller, what, why + ", where the data are diagonal" if problem.quadratic else why, done.residual, lift)
