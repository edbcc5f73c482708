"""Width: hidden layers shrink to the smallest subspaces that are closed under the layers (T8.1, T8.2).

Precondition: dense layers, and subspaces `S_i` with `W_i S_{i-1} in S_i` (i >= 1), `W_i^T S_i in S_{i-1}` (i >= 2), the
data in `S_0`; `S_d` is everything, or for a quadratic loss what the targets and `W_d` reach. Map: `Q_i^T W_i Q_{i-1}`.
Lift: `W_i(t) = f_i(t) E_i + Q_i W^_i(t) Q_{i-1}^T` with what is outside, `E_i = W_i(0) - Q_i W^_i(0) Q_{i-1}^T`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.linalg

from ..problem.descent import Descent
from ..problem.network import Network
from ..problem.problem import Problem
from ..validate import Array
from .complement import factors
from .products import add_product, diagonal, product, scaled_rows

# a direction is new if this share of its image lies outside; then smaller, if the closure does not verify (T8.1)
TOLERANCES = (1e-10, 1e-13)
# what a closure may miss, relative to the layer: rounding. An error at a saddle grows, so nothing above is accepted
RESIDUAL_TOLERANCE = 1e-12
# spaces that grow by less than this share of a layer are reported as nearly closed
NEARLY = 1e-5
# a new direction this strong is orthogonal to the others after one more projection, without another factorisation
STRONG = 1e-3
# from this many entries on it pays to pivot the triangle of a factorisation instead of the whole
TALL = 10_000
# a multiply-add of a factorisation takes as long as this many of a product
FACTOR = 15


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


class TooDear(Exception):
    """A search has spent what it may."""


@dataclass(eq=False)
class Budget:
    """Multiply-adds that a search may take."""

    left: float = math.inf

    def spend(self, macs: float) -> None:
        """Raises: TooDear once nothing is left."""
        self.left -= macs
        if self.left < 0:
            raise TooDear


def search_cost(widths: tuple[int, ...], dimensions: list[int]) -> float:
    """Multiply-adds to find subspaces of these dimensions and to lift from them."""
    layers = sum(a * b * (2 * p + q) for a, b, p, q in zip(widths, widths[1:], dimensions, dimensions[1:], strict=False))
    return layers + FACTOR * sum(k * min(e, k) ** 2 for k, e in zip(widths[1:-1], dimensions[1:-1], strict=True))


def _pivoted(B: Array) -> tuple[Array, Array]:
    """`Q, R` of `B` with its columns in the order of their pivots; for tall matrices, by the pivots of the small triangle."""
    if B.size < TALL:
        return scipy.linalg.qr(B, mode="economic", pivoting=True, check_finite=False)[:2]  # type: ignore[no-any-return]
    # NumPy's BLAS, which has one thread here: many small products are slow while a second one wakes
    Q, R = np.linalg.qr(B)
    turn, R, _ = scipy.linalg.qr(R, mode="economic", pivoting=True, check_finite=False)
    return Q @ turn, R


class Subspace:
    """An orthonormal basis that grows; None as basis stands for everything."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.basis: Array | None = np.zeros((size, 0))
        self.weakest = 1.0
        """The smallest share of an image that was taken for a new direction."""

    @property
    def dimension(self) -> int:
        return self.size if self.basis is None else self.basis.shape[1]

    def fill(self) -> Array | None:
        """Take everything; what is returned is mapped on: everything again."""
        self.basis = None
        return None

    def add(self, B: Array, tolerance: float) -> Array | None:
        """Add the columns of B; returns the new directions, `(size, 0)` if none, None if the whole space is new."""
        Q = self.basis
        if Q is None or B.shape[1] == 0:
            return np.zeros((self.size, 0))
        for _ in range(2):  # once more for what the first pass leaves by rounding
            B = B - Q @ (Q.T @ B)
        new, R = _pivoted(B)
        m = min(int(np.count_nonzero(np.abs(np.diag(R)) > tolerance)), self.size - Q.shape[1])
        if m == 0:
            return np.zeros((self.size, 0))
        weakest = float(abs(R[m - 1, m - 1]))
        self.weakest = min(self.weakest, weakest)
        if Q.shape[1] + m == self.size:
            return self.fill()
        new = new[:, :m]
        new = new - Q @ (Q.T @ new)
        if weakest < STRONG or new.size < TALL:
            new = np.linalg.qr(new)[0]
        self.basis = np.hstack([Q, new])
        return new


@dataclass(eq=False)
class Closure:
    """Closed subspaces. `bases` are orthonormal, None for a whole space; the images of what is no whole space come along."""

    bases: list[Array | None]
    up: list[Array | None]
    """`W_{i+1} Q_i / ||W_{i+1}||`, one a vertex below the last."""
    down: list[Array | None]
    """`W_i^T Q_i / ||W_i||`, one a vertex from the second."""
    weakest: float
    """The smallest share of an image that made a direction."""


@dataclass(eq=False)
class _Grown:
    """The subspaces while they grow, and the images of every direction so far, in the order of the directions."""

    weights: list[Array]
    norms: list[float]
    tolerance: float
    budget: Budget
    spaces: list[Subspace]
    diagonals: list[Array | None]
    """Of layers that are zero beside it: an identity need not be multiplied by."""
    # directions that have not been mapped: (vertex, columns or None for all)
    waiting: list[tuple[int, Array | None]] = field(default_factory=list)

    def put(self, i: int, B: Array | None) -> None:
        space = self.spaces[i]
        if space.basis is None:
            return
        if B is not None:
            self.budget.spend(FACTOR * min(B.shape) * space.size * (B.shape[1] + space.dimension))
        new = space.fill() if B is None else space.add(B, self.tolerance)
        if new is None or new.shape[1]:
            self.waiting.append((i, new))

    def image(self, i: int, new: Array | None, *, up: bool) -> Array:
        at = i if up else i - 1
        W, norm, s = self.weights[at] if up else self.weights[at].T, self.norms[at], self.diagonals[at]
        if new is None:
            return W / norm
        if s is not None:
            return scaled_rows(s / norm, new, len(W))
        self.budget.spend(W.size * new.shape[1])
        return product(W, new) / norm


def closure(
    weights: list[Array], norms: list[float], data: Array | None, targets: Array | None, tolerance: float, budget: Budget
) -> Closure:
    """The smallest closed subspaces that hold the columns of `data` (None: all of R^k_0) and `targets` (None: all of R^k_d).

    `norms` are the Frobenius norms of the weights. Each direction is mapped once forward and once backward, so the cost is
    `2 sum_i dim(S_i) k_i k_{i-1}` multiply-adds and a factorisation a visit. Raises: TooDear, with the dimensions reached.
    """
    d = len(weights)
    spaces = [Subspace(weights[0].shape[1]), *(Subspace(W.shape[0]) for W in weights)]
    grown = _Grown(weights, norms, tolerance, budget, spaces, [diagonal(W) for W in weights])
    up: list[list[Array]] = [[] for _ in range(d + 1)]
    down: list[list[Array]] = [[] for _ in range(d + 1)]
    try:
        grown.put(0, data)
        grown.put(d, targets)
        for space in grown.spaces:
            space.weakest = 1.0  # what the targets hold is theirs, however small
        while grown.waiting:
            i, new = grown.waiting.pop(0)
            if i < d:
                up[i].append(grown.image(i, new, up=True))
                grown.put(i + 1, up[i][-1])
            if i > 1:
                down[i].append(grown.image(i, new, up=False))
                grown.put(i - 1, down[i][-1])
    except TooDear:
        raise TooDear(tuple(space.dimension for space in grown.spaces)) from None
    bases = [space.basis for space in grown.spaces]

    def joined(images: list[list[Array]]) -> list[Array | None]:
        return [None if Q is None or not of else np.hstack(of) for Q, of in zip(bases, images, strict=True)]

    return Closure(bases, joined(up), joined(down), min(space.weakest for space in grown.spaces))


def outside(Q: Array | None, B: Array) -> float:
    """`||(I - Q Q^T) B||_F`."""
    return 0.0 if Q is None else float(np.linalg.norm(B - Q @ (Q.T @ B)))


def residual(weights: list[Array], norms: list[float], found: Closure) -> float:
    """How nearly the subspaces are closed: forward for every layer, backward for all but the first."""
    worst = 0.0
    for i, (W, norm) in enumerate(zip(weights, norms, strict=True)):
        below, above = found.bases[i], found.bases[i + 1]
        if above is not None:
            image = found.up[i]
            worst = max(worst, outside(above, W / norm if image is None else image))
        if i and below is not None:
            image = found.down[i + 1]
            worst = max(worst, outside(below, W.T / norm if image is None else image))
    return worst


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

    def __call__(self, params: list[Array], steps: int) -> list[Array]:
        lifted = []
        for i, (W, W_small, f) in enumerate(zip(self.original, self.small, factors(self.descent, steps), strict=True)):
            below, above = self.bases[i], self.bases[i + 1]
            moved = params[i].astype(np.float64, copy=False)
            if below is None and above is None:
                lifted.append(moved.astype(self.dtype))
                continue
            full = W.copy() if f == 1 else f * W
            change = expand(moved - f * W_small, above, None)
            if below is None:
                full += change
            else:
                add_product(full, change, below.T)
            lifted.append(full.astype(self.dtype, copy=False))
        return lifted

    def outside(self, i: int) -> Array:
        """`E_i = W_i(0) - Q_i W^_i(0) Q_{i-1}^T`, which no step changes."""
        return self.original[i] - expand(self.small[i], self.bases[i + 1], self.bases[i])


def reduce(problem: Problem, descent: Descent, most: float = math.inf) -> tuple[Problem, WidthLift | None, Width]:
    """The problem on the closed subspaces and the lift, or the problem itself and None where nothing shrinks.

    `most`: multiply-adds after which the search is given up. Precondition: dense layers; the data already in their own
    coordinates (`inputs`), so that S_0 is everything.
    """
    net = problem.net
    dtype = net.dtype
    original = [theta.astype(np.float64, copy=False) for theta in net.params]
    norms = [float(np.linalg.norm(W)) or 1.0 for W in original]
    targets = None
    if problem.quadratic and net.widths[-1] > 1:
        assert problem.T is not None
        moment = _moment(problem)
        targets = moment / (float(np.linalg.norm(moment)) or 1.0)
    missed, budget = 0.0, Budget(most)
    for tolerance in TOLERANCES:
        try:
            found = closure(original, norms, None, targets, tolerance, budget)
        except TooDear as stop:
            return problem, None, Width(net.widths, net.widths, missed, False, stop.args[0])
        bases = found.bases
        widths = tuple(k if Q is None else Q.shape[1] for k, Q in zip(net.widths, bases, strict=True))
        if widths == net.widths or min(widths) == 0:
            # whole spaces that a tiny share of a layer leads to: nearly closed subspaces, and this is by how much they are not
            missed = missed or (found.weakest if found.weakest < NEARLY else 0.0)
            return problem, None, Width(net.widths, net.widths, missed, False)
        missed = residual(original, norms, found)
        if targets is not None:
            missed = max(missed, outside(bases[-1], targets))
        if missed <= RESIDUAL_TOLERANCE:
            break
    else:
        return problem, None, Width(net.widths, net.widths, missed, False)
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
    smaller = Problem(
        Network.from_matrices([W.astype(dtype) for W in small]),
        problem.X,
        T,
        problem.loss,
        problem.factor,
        problem.floor + constant,
        batch=problem.batch,
        ragged=problem.ragged,
    )
    lift = WidthLift(original, small, bases, descent, dtype)
    return smaller, lift, Width(net.widths, widths, missed, last is not None)


def _moment(problem: Problem) -> Array:
    """`T^T X` (k_d, k_0): what the targets reach."""
    assert problem.T is not None
    T = problem.T.astype(np.float64, copy=False)
    if problem.X is None:
        return T.T
    if problem.X.ndim == 1:
        return T.T * problem.X
    return np.asarray(T.T @ problem.X)
