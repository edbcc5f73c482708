"""Width: hidden layers shrink to the smallest subspaces that are closed under the layers (T8.1, T8.2).

Precondition: dense layers, and subspaces `S_i` with `W_i S_{i-1} in S_i` (i >= 1), `W_i^T S_i in S_{i-1}` (i >= 2), the
data in `S_0`; `S_d` is everything, or for a quadratic loss what the targets and `W_d` reach. Map: `Q_i^T W_i Q_{i-1}`.
Lift: `W_i(t) = f_i(t) E_i + Q_i W^_i(t) Q_{i-1}^T` with what is outside, `E_i = W_i(0) - Q_i W^_i(0) Q_{i-1}^T`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from ..network import Network
from ..problem import Descent, Problem
from ..validate import Array
from .complement import factors

# a direction is new if this share of its image lies outside; then smaller, if the closure does not verify (T8.1)
TOLERANCES = (1e-10, 1e-13)
# what a closure may miss, relative to the layer: rounding. An error at a saddle grows, so nothing above is accepted
RESIDUAL_TOLERANCE = 1e-12
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
        new, R, _ = scipy.linalg.qr(B, mode="economic", pivoting=True, check_finite=False)
        m = min(int(np.count_nonzero(np.abs(np.diag(R)) > tolerance)), self.size - Q.shape[1])
        if m == 0:
            return np.zeros((self.size, 0))
        self.weakest = min(self.weakest, float(abs(R[m - 1, m - 1])))
        if Q.shape[1] + m == self.size:
            return self.fill()
        new = new[:, :m]
        new = np.linalg.qr(new - Q @ (Q.T @ new))[0]
        self.basis = np.hstack([Q, new])
        return new


def _scaled(weights: list[Array]) -> list[Array]:
    return [W / (float(np.linalg.norm(W)) or 1.0) for W in weights]


def closure(weights: list[Array], data: Array | None, targets: Array | None, tolerance: float) -> tuple[list[Array | None], float]:
    """The smallest closed subspaces that hold the columns of `data` (None: all of R^k_0) and `targets` (None: all of R^k_d).

    Returns orthonormal bases, None for a whole space, and the smallest share of an image that made a direction. `weights`
    have Frobenius norm one. Each direction is mapped once forward and once backward, so the cost is
    `2 sum_i dim(S_i) k_i k_{i-1}` multiply-adds and a factorisation a visit.
    """
    d = len(weights)
    spaces = [Subspace(weights[0].shape[1]), *(Subspace(W.shape[0]) for W in weights)]
    # directions that have not been mapped: (vertex, columns or None for all, up, down)
    waiting: list[tuple[int, Array | None]] = []

    def put(i: int, B: Array | None) -> None:
        before = spaces[i].basis
        if before is None:
            return
        new = spaces[i].fill() if B is None else spaces[i].add(B, tolerance)
        if new is None or new.shape[1]:
            waiting.append((i, new))

    put(0, None if data is None else data)
    put(d, None if targets is None else targets)
    for space in spaces:
        space.weakest = 1.0  # what the targets hold is theirs, however small
    while waiting:
        i, new = waiting.pop(0)
        if i < d:
            put(i + 1, weights[i] if new is None else weights[i] @ new)
        if i > 1:
            put(i - 1, weights[i - 1].T if new is None else weights[i - 1].T @ new)
    return [space.basis for space in spaces], min(space.weakest for space in spaces)


def outside(Q: Array | None, B: Array) -> float:
    """`||(I - Q Q^T) B||_F`."""
    return 0.0 if Q is None else float(np.linalg.norm(B - Q @ (Q.T @ B)))


def residual(weights: list[Array], bases: list[Array | None]) -> float:
    """How nearly the subspaces are closed: forward for every layer, backward for all but the first."""
    worst = 0.0
    for i, W in enumerate(weights):
        below, above = bases[i], bases[i + 1]
        worst = max(worst, outside(above, W if below is None else W @ below))
        if i:
            worst = max(worst, outside(below, W.T if above is None else W.T @ above))
    return worst


def compress(W: Array, above: Array | None, below: Array | None) -> Array:
    """`Q_i^T W Q_{i-1}`."""
    if below is not None:
        W = W @ below
    return W if above is None else above.T @ W


def expand(W: Array, above: Array | None, below: Array | None) -> Array:
    """`Q_i W Q_{i-1}^T`."""
    if above is not None:
        W = above @ W
    return W if below is None else W @ below.T


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
            full = expand(moved - f * W_small, above, below)
            full += W if f == 1 else f * W
            lifted.append(full.astype(self.dtype, copy=False))
        return lifted

    def outside(self, i: int) -> Array:
        """`E_i = W_i(0) - Q_i W^_i(0) Q_{i-1}^T`, which no step changes."""
        return self.original[i] - expand(self.small[i], self.bases[i + 1], self.bases[i])


def reduce(problem: Problem, descent: Descent) -> tuple[Problem, WidthLift | None, Width]:
    """The problem on the closed subspaces and the lift, or the problem itself and None where nothing shrinks.

    Precondition: dense layers; the data already in their own coordinates (`inputs`), so that S_0 is everything.
    """
    net = problem.net
    dtype = net.dtype
    original = [theta.astype(np.float64, copy=False) for theta in net.params]
    scaled = _scaled(original)
    targets = None
    if problem.loss.quadratic and net.widths[-1] > 1:
        assert problem.T is not None
        moment = _moment(problem)
        targets = moment / (float(np.linalg.norm(moment)) or 1.0)
    found = 0.0
    for tolerance in TOLERANCES:
        bases, weakest = closure(scaled, None, targets, tolerance)
        widths = tuple(k if Q is None else Q.shape[1] for k, Q in zip(net.widths, bases, strict=True))
        if widths == net.widths or min(widths) == 0:
            # whole spaces that a tiny share of a layer leads to: nearly closed subspaces, and this is by how much they are not
            return problem, None, Width(net.widths, net.widths, found or (weakest if weakest < NEARLY else 0.0), False)
        found = residual(scaled, bases)
        if targets is not None:
            found = max(found, outside(bases[-1], targets))
        if found <= RESIDUAL_TOLERANCE:
            break
    else:
        return problem, None, Width(net.widths, net.widths, found, False)
    small = [compress(W, bases[i + 1], bases[i]) for i, W in enumerate(original)]
    last, T, constant = bases[-1], problem.T, 0.0
    if last is not None:
        assert T is not None
        T64 = T.astype(np.float64, copy=False)
        T = np.ascontiguousarray(T64 @ last)
        constant = problem.factor * float(np.sum((T64 - T @ last.T) ** 2))
        T = T.astype(dtype)
    smaller = Problem(
        Network.from_matrices([W.astype(dtype) for W in small]), problem.X, T, problem.loss, problem.factor, problem.floor + constant
    )
    lift = WidthLift(original, small, bases, descent, dtype)
    return smaller, lift, Width(net.widths, widths, found, last is not None)


def _moment(problem: Problem) -> Array:
    """`T^T X` (k_d, k_0): what the targets reach."""
    assert problem.T is not None
    T = problem.T.astype(np.float64, copy=False)
    if problem.X is None:
        return T.T
    if problem.X.ndim == 1:
        return T.T * problem.X
    return np.asarray(T.T @ problem.X)
