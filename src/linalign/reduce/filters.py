"""Filters: a chain of convolutions becomes a chain on the operators that its taps compose to (T9.1).

Precondition: every layer is a convolution or a circulant, and the loss is quadratic. A tap moves an image by a step, and
drops what leaves it; the moves of all layers compose to few different ones, `B_q`. With z_q the sum over the ways to make
B_q of the products of their taps, the output is `F = sum_q z_q B_q x` at every pixel: a linear map of the moved images. So a
quadratic loss depends on the data only through as many rows as there are moves, whatever the number of samples and pixels:
a triangular factor of `[B_1 x, B_2 x, ...]`, centred (T7.1), or the root of its Gram matrix where no map can fit the targets
nearly. Map: layer i becomes the sparse matrix whose entries are its taps, from the moves of the layers above it to those
with its own. The parameters are the same, and so is the loss as a function of them; so is the trajectory. Lift: nothing to
do.

Where no pixel is dropped (valid, circular), a move is known by its step: z is the composed filter of T9.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..layers import Dense
from ..layers.homogeneous import Homogeneous
from ..problem.descent import Descent
from ..problem.network import Network
from ..problem.problem import Problem
from ..validate import Array
from .biases import within
from .moved_rows import MovedRows, Probed, from_gram
from .moves import Composition, compose
from .reduction import TOO_SHORT, Budget, Found, Reduction, Refused, off
from .samples import centre

# a check that is off by more than this is refused
TOLERANCE = 1e-10
# where the Gram matrix loses digits, as between moves of very smooth images, its check is off by more than this, and the triangular
# factor is made
GRAM_TOLERANCE = 1e-12
# a factorisation does this many times the multiply-adds of a convolution in the same time
SEARCH_RATE = 3
# a convolution does this many times the multiply-adds of sparse matrices in the same time
SPARSE_SLOWER = 2


@dataclass(frozen=True)
class Filters:
    """What the reduction did."""

    rows_before: int
    rows_after: int
    moves: int
    residual: float
    """Relative difference of the two losses at a random `z` of the size of the targets: rounding, if all went well."""


def composition(problem: Problem) -> Composition | str:
    """`compose`, once for all networks of these layers on the same data."""
    known = problem.facts.moves
    if problem.net.layers not in known:
        known[problem.net.layers] = compose(problem.net)
    found: Composition | str = known[problem.net.layers]
    return found


def reduce(problem: Problem, chain: Composition) -> tuple[Problem, Filters]:
    """The chain on moves over rank rows of data.

    Precondition: `chain` is `compose(problem.net)`, a quadratic loss on data. Cost: `chain.search` multiply-adds a sample.
    """
    known = problem.facts.filters
    if problem.net.layers not in known:
        known[problem.net.layers] = _data(problem, chain)
    (X, T, constant), done = known[problem.net.layers]
    dtype = problem.net.dtype
    net = Network(chain.layers, problem.net.params)
    smaller = Problem(net, X.astype(dtype), T.astype(dtype), problem.loss, problem.factor, problem.floor + problem.factor * constant)
    return smaller, done


def _data(problem: Problem, chain: Composition) -> tuple[tuple[Array, Array, float], Filters]:
    assert problem.X is not None
    assert problem.T is not None
    rows = MovedRows(chain, problem.X.astype(np.float64, copy=False), problem.T.astype(np.float64, copy=False))
    k = chain.layers[0].shape[1]

    def residual(found: tuple[Array, Array, float]) -> float:
        X, T, constant = found
        return rows.probed.off(Probed.of(X @ rows.probe, T, constant))

    found = from_gram(rows.gram(), k)
    if found is None or residual(found) > GRAM_TOLERANCE:
        found = centre(rows.triangle(None), k, rows.triangle)
    return found, Filters(len(problem.X), len(found[0]), chain.moves, residual(found))


class FilterReduction(Reduction):
    """T9.1; the parameters are the same."""

    name = "filters"
    needs_data = needs_quadratic = True

    def relevant(self, problem: Problem) -> bool:
        return not all(isinstance(within(layer).linear, Dense) for layer in problem.net.layers)

    def forbidden(self, problem: Problem, descent: Descent) -> str | None:
        if any(isinstance(layer, Homogeneous) for layer in problem.net.layers):
            return "with biases the outputs are no sum of moves of the image alone"
        return super().forbidden(problem, descent)

    def seek(self, problem: Problem, descent: Descent, budget: Budget) -> Found | Refused:
        chain = composition(problem)
        if isinstance(chain, str):
            return Refused(chain)
        inputs_after = chain.layers[0].shape[1]
        probe = Problem(
            Network(chain.layers, problem.net.params), np.zeros((min(inputs_after, problem.rows * chain.pixels), inputs_after)), None,
            problem.loss, problem.factor,
        )  # fmt: skip
        if no := budget.too_little(problem, probe, SPARSE_SLOWER):
            return Refused(no)
        if problem.rows * chain.search > SEARCH_RATE * budget.affordable():
            return TOO_SHORT
        smaller, done = reduce(problem, chain)
        what = f"{done.rows_before} images -> {done.rows_after} rows of {done.moves} moves"
        why = "T9.1: the taps of all layers compose to few moves of the image"
        return off(done.residual, TOLERANCE) or Found(smaller, what, why, done.residual)
