"""Width: hidden layers shrink to the smallest subspaces that are closed under the layers (T8.1, T8.2; with biases, T16.3).

Precondition: dense layers, and subspaces `S_i` with `W_i S_{i-1} in S_i` (i >= 1), `W_i^T S_i in S_{i-1}` (i >= 2), the
data in `S_0`; `S_d` is everything, or for a quadratic loss what the targets and `W_d` reach. Map: `Q_i^T W_i Q_{i-1}`.
Lift: `W_i(t) = f_i(t) E_i + Q_i W^_i(t) Q_{i-1}^T` with what is outside, `E_i = W_i(0) - Q_i W^_i(0) Q_{i-1}^T`.
With biases: `b_i(0) in S_i` besides; map and lift are `Q_i^T b_i` and `Q_i b^_i(t)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layers import Layer
from ..layers.homogeneous import Homogeneous
from ..problem.descent import Descent
from ..problem.problem import Problem
from ..validate import Array
from .biases import join, resized, separate
from .closure import Budget, Closure, closure, outside, residual, search_cost
from .complement import factors
from .products import add_product, product
from .reduction import TOO_SHORT, Found, Reduction, Refused
from .reduction import Budget as Means

# a direction is new if this share of its image lies outside; then smaller, if the closure does not verify (T8.1)
TOLERANCES = (1e-10, 1e-13)
# what a closure may miss, relative to the layer: rounding. An error at a saddle grows, so nothing above is accepted
RESIDUAL_TOLERANCE = 1e-12
NOT_CLOSED = "no smaller subspaces are closed under the layers"
# spaces that grow by less than this share of a layer are reported as nearly closed
NEARLY = 1e-5


@dataclass(frozen=True)
class Width:
    """What the reduction did; `widths_after == widths_before` if there is nothing to gain."""

    widths_before: tuple[int, ...]
    widths_after: tuple[int, ...]
    residual: float
    """`max ||(I - Q Q^T) W Q|| / ||W||` over layers and directions: how nearly the subspaces are, or would have been, closed."""
    targets_too: bool
    """Whether the outputs shrank as well (T8.2)."""
    grown_to: tuple[int, ...] | None = None
    """How far the subspaces had grown when the search was given up, as dearer than it could repay."""


def compress(W: Array, above: Array | None, below: Array | None) -> Array:
    """`Q_i^T W Q_{i-1}`."""
    if below is not None:
        W = W @ below
    return W if above is None else above.T @ W


def expand(W: Array, above: Array | None, below: Array | None) -> Array:
    """`Q_i W Q_{i-1}^T`."""
    if above is not None:
        W = product(above, W)
    return W if below is None else product(W, below.T)


@dataclass(frozen=True, eq=False)
class WidthLift:
    """`W_i(t) = f_i W_i(0) + Q_i (W^_i(t) - f_i W^_i(0)) Q_{i-1}^T`; a basis of None is the whole space."""

    original: list[Array]
    small: list[Array]
    bases: list[Array | None]
    descent: Descent
    dtype: np.dtype[Any]
    diagonals: list[Array | None]
    """Of layers that are zero beside it, such as an identity: these need not be copied."""

    def __call__(self, params: list[Array], steps: int) -> list[Array]:
        lifted = []
        for i, (W, W_small, f) in enumerate(zip(self.original, self.small, factors(self.descent, steps), strict=True)):
            below, above = self.bases[i], self.bases[i + 1]
            moved = params[i].astype(np.float64, copy=False)
            if below is None and above is None:
                lifted.append(moved.astype(self.dtype))
                continue
            change, s = expand(moved - f * W_small, above, None), self.diagonals[i]
            if below is not None and s is not None:
                full = product(change, below.T)
                np.einsum("ii->i", full[: len(s), : len(s)])[:] += f * s
                lifted.append(full.astype(self.dtype, copy=False))
                continue
            full = W.copy() if f == 1 else f * W
            if below is None:
                full += change
            else:
                add_product(full, change, below.T)
            lifted.append(full.astype(self.dtype, copy=False))
        return lifted

    def outside(self, i: int) -> Array:
        """`E_i = W_i(0) - Q_i W^_i(0) Q_{i-1}^T`, which no step changes."""
        return self.original[i] - expand(self.small[i], self.bases[i + 1], self.bases[i])


@dataclass(frozen=True, eq=False)
class BiasedWidthLift:
    """That of the weights, and `b_i(t) = Q_i b^_i(t)`."""

    weights: WidthLift
    layers: tuple[Layer, ...]

    def __call__(self, params: list[Array], steps: int) -> list[Array]:
        small, biases = separate(self.layers, params)
        bases = self.weights.bases[1:]
        lifted = [b if b is None or Q is None else Q @ b for b, Q in zip(biases, bases, strict=True)]
        dtype = self.weights.dtype
        return [theta.astype(dtype, copy=False) for theta in join(self.weights(small, steps), lifted)]


def reduce(problem: Problem, descent: Descent, most: float = math.inf) -> tuple[Problem, WidthLift | BiasedWidthLift | None, Width]:
    """The problem on the closed subspaces and the lift, or the problem itself and None where nothing shrinks.

    `most`: multiply-adds after which the search is given up. Precondition: dense layers; the data already in their own
    coordinates (`inputs`), so that S_0 is everything.
    """
    net = problem.net
    dtype = net.dtype
    original, biases = separate(net.layers, net.params)
    norms = [math.hypot(np.linalg.norm(W), 0.0 if b is None else np.linalg.norm(b)) or 1.0 for W, b in zip(original, biases, strict=True)]
    constant_coordinate = isinstance(net.layers[0], Homogeneous)
    widths_before = tuple(k - constant_coordinate for k in net.widths[:-1]) + net.widths[-1:]
    targets = None
    if problem.quadratic and net.widths[-1] > 1:
        assert problem.T is not None
        moment = _moment(problem)
        targets = moment / (float(np.linalg.norm(moment)) or 1.0)
    missed, budget = 0.0, Budget(most)
    for tolerance in TOLERANCES:
        found = closure(original, norms, None, targets, tolerance, budget, biases)
        if not isinstance(found, Closure):
            return problem, None, Width(widths_before, widths_before, missed, False, found)
        bases = found.bases
        widths = tuple(k if Q is None else Q.shape[1] for k, Q in zip(widths_before, bases, strict=True))
        if widths == widths_before or min(widths) == 0:
            # whole spaces that a tiny share of a layer leads to: nearly closed subspaces, and this is by how much they are not
            missed = missed or (found.weakest if found.weakest < NEARLY else 0.0)
            return problem, None, Width(widths_before, widths_before, missed, False)
        missed = residual(original, norms, found)
        if targets is not None:
            missed = max(missed, outside(bases[-1], targets))
        for Q, b, norm in zip(bases[1:], biases, norms, strict=True):
            missed = max(missed, 0.0 if b is None else outside(Q, b) / norm)
        if missed <= RESIDUAL_TOLERANCE:
            break
    else:
        return problem, None, Width(widths_before, widths_before, missed, False)
    small = []
    for i, (W, norm) in enumerate(zip(original, norms, strict=True)):
        image = found.up[i]
        small.append(compress(W if image is None else norm * image, bases[i + 1], None))
    last, T, constant = bases[-1], problem.T, 0.0
    if last is not None:
        assert T is not None
        T64 = T.astype(np.float64, copy=False)
        T = np.ascontiguousarray(T64 @ last)
        constant = problem.factor * float(np.sum((T64 - T @ last.T) ** 2))
        T = T.astype(dtype)
    within = [b if b is None or Q is None else Q.T @ b for b, Q in zip(biases, bases[1:], strict=True)]
    smaller = Problem(
        resized(net.layers, small, within, dtype),
        problem.X,
        T,
        problem.loss,
        problem.factor,
        problem.floor + constant,
        batch=problem.batch,
        ragged=problem.ragged,
    )
    lift = WidthLift(original, small, bases, descent, dtype, found.diagonals)
    back = BiasedWidthLift(lift, smaller.net.layers) if constant_coordinate else lift
    return smaller, back, Width(widths_before, widths, missed, last is not None)


def _moment(problem: Problem) -> Array:
    """`T^T X` (k_d, k_0): what the targets reach."""
    assert problem.T is not None
    T = problem.T.astype(np.float64, copy=False)
    if problem.X is None:
        return T.T
    if problem.X.ndim == 1:
        return T.T * problem.X
    return np.asarray(T.T @ problem.X)


class WidthReduction(Reduction):
    """T8.1, and T8.2 where the outputs shrink as well."""

    name = "width"
    needs_dense = slice(None)
    takes_biases = True

    def seek(self, problem: Problem, descent: Descent, budget: Means) -> Found | Refused:
        if problem.net.depth == 1 and not problem.quadratic:
            return Refused("there is no hidden layer")
        k, most = problem.net.widths, budget.affordable()
        # subspaces that pay are about as large as what they must hold: the inputs and the outputs
        if search_cost(k, [min(size, 2 * (k[0] + k[-1])) for size in k]) > most:
            return TOO_SHORT
        smaller, lift, done = reduce(problem, descent, most)
        if lift is None:
            if done.residual:
                return Refused(f"refused: nearly closed subspaces, off by {done.residual:.0e}, more than {RESIDUAL_TOLERANCE:.0e}")
            if done.grown_to:
                reached = "-".join(map(str, done.grown_to))
                return Refused(f"the search was given up: subspaces had grown to {reached}, and more than the run repays")
            return Refused(NOT_CLOSED)
        if no := budget.too_little(problem, smaller):
            return Refused(no)
        what = f"{'-'.join(map(str, done.widths_before))} -> {'-'.join(map(str, done.widths_after))}"
        statement = "T8.2" if done.targets_too else "T8.1"
        if isinstance(lift, BiasedWidthLift):
            statement += ", T16.3"
        return Found(smaller, what, f"{statement}: these subspaces are closed, the rest never moves", done.residual, lift)
