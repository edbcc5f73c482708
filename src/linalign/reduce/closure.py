"""Closure: the smallest subspaces that are closed under the layers, grown direction by direction (T8.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from ..linear_algebra import tall
from ..linear_algebra.waited import interruptible
from ..validate import Array
from .products import diagonal, product, scaled_rows

# a new direction this strong is orthogonal to the others after one more projection, without another factorisation
STRONG = 1e-3
# from this many entries on it pays to pivot the triangle of a factorisation instead of the whole
TALL = 10_000
# a multiply-add of a factorisation takes as long as this many of a product
FACTOR = 15


@dataclass(eq=False)
class Budget:
    """Multiply-adds that a search may take."""

    left: float = math.inf

    def spend(self, macs: float) -> bool:
        """Whether there was as much left."""
        self.left -= macs
        return self.left >= 0


def search_cost(widths: tuple[int, ...], dimensions: list[int]) -> float:
    """Multiply-adds to find subspaces of these dimensions and to lift from them."""
    layers = sum(a * b * (2 * p + q) for a, b, p, q in zip(widths, widths[1:], dimensions, dimensions[1:], strict=False))
    return layers + FACTOR * sum(k * min(e, k) ** 2 for k, e in zip(widths[1:-1], dimensions[1:-1], strict=True))


def _pivoted(B: Array) -> tuple[Array, Array]:
    """`Q, R` of `B` with its columns in the order of their pivots; for tall matrices, by the pivots of the small triangle."""
    if B.size < TALL:
        return scipy.linalg.qr(B, mode="economic", pivoting=True, check_finite=False)[:2]  # type: ignore[no-any-return]
    # NumPy's BLAS, which has one thread here: many small products are slow while a second one wakes
    Q, R = tall.orthonormal(B) or interruptible(np.linalg.qr, B)
    turn, R, _ = interruptible(scipy.linalg.qr, R, mode="economic", pivoting=True, check_finite=False)
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
        rest = np.empty_like(B)
        for again in range(2 if Q.shape[1] else 0):  # once more for what the first pass leaves by rounding
            np.matmul(Q, Q.T @ B, out=rest)
            if again:
                B -= rest
            else:
                B = B - rest
            # the first pivot is the longest column: nothing is new
            if float(np.max(np.einsum("ij,ij->j", B, B))) <= tolerance**2:
                return np.zeros((self.size, 0))
        new, R = _pivoted(B)
        m = min(int(np.count_nonzero(np.abs(np.diag(R)) > tolerance)), self.size - Q.shape[1])
        if m == 0:
            return np.zeros((self.size, 0))
        weakest = float(abs(R[m - 1, m - 1]))
        self.weakest = min(self.weakest, weakest)
        if Q.shape[1] + m == self.size:
            return self.fill()
        new = new[:, :m]
        if Q.shape[1]:
            new = new - Q @ (Q.T @ new)
        if weakest < STRONG or new.size < TALL:
            new = (tall.orthonormal(new) or interruptible(np.linalg.qr, new))[0]
        self.basis = np.hstack([Q, new]) if Q.shape[1] else new
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
    diagonals: list[Array | None]
    """Of layers that are zero beside it."""


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

    def put(self, i: int, B: Array | None) -> bool:
        """Take these directions in; False if that is dearer than what is left."""
        space = self.spaces[i]
        if space.basis is None:
            return True
        if B is not None and not self.budget.spend(FACTOR * min(B.shape) * space.size * (B.shape[1] + space.dimension)):
            return False
        new = space.fill() if B is None else space.add(B, self.tolerance)
        if new is None or new.shape[1]:
            self.waiting.append((i, new))
        return True

    def map(self, i: int, new: Array | None, images: list[Array], *, up: bool) -> bool:
        """Take the images of new directions in, above or below; False if that is dearer than what is left."""
        image = self.image(i, new, up=up)
        if image is None:
            return False
        images.append(image)
        return self.put(i + 1 if up else i - 1, image)

    def image(self, i: int, new: Array | None, *, up: bool) -> Array | None:
        """Of new directions, under the layer above or the transpose of the one below; None if it is dearer than what is left."""
        at = i if up else i - 1
        W, norm, s = self.weights[at] if up else self.weights[at].T, self.norms[at], self.diagonals[at]
        if new is None:
            return W / norm
        if s is not None:
            return scaled_rows(s / norm, new, len(W))
        return product(W, new) / norm if self.budget.spend(W.size * new.shape[1]) else None


def closure(
    weights: list[Array], norms: list[float], data: Array | None, targets: Array | None, tolerance: float, budget: Budget,
    biases: Sequence[Array | None] = (),
) -> Closure | tuple[int, ...]:  # fmt: skip
    """The smallest closed subspaces that hold the columns of `data` (None: all of R^k_0) and `targets` (None: all of R^k_d).

    `biases`: vectors `(k_i,)` that the subspaces hold too, one a layer or None (T16.3). `norms` are those of the layers.
    Each direction is mapped once forward and once backward, so the cost is `2 sum_i dim(S_i) k_i k_{i-1}` multiply-adds and a
    factorisation a visit. Where that is dearer than the budget: the dimensions reached.
    """
    d = len(weights)
    spaces = [Subspace(weights[0].shape[1]), *(Subspace(W.shape[0]) for W in weights)]
    grown = _Grown(weights, norms, tolerance, budget, spaces, [diagonal(W) for W in weights])
    up: list[list[Array]] = [[] for _ in range(d + 1)]
    down: list[list[Array]] = [[] for _ in range(d + 1)]
    afforded = grown.put(0, data) and grown.put(d, targets)
    for i, b in enumerate(biases):
        if afforded and b is not None and b.any():
            afforded = grown.put(i + 1, b[:, None] / norms[i])
    for space in grown.spaces:
        space.weakest = 1.0  # what targets and biases hold is theirs, however small
    while afforded and grown.waiting:
        i, new = grown.waiting.pop(0)
        if i < d:
            afforded = grown.map(i, new, up[i], up=True)
        if afforded and i > 1:
            afforded = grown.map(i, new, down[i], up=False)
    if not afforded:
        return tuple(space.dimension for space in grown.spaces)
    bases = [space.basis for space in grown.spaces]

    def joined(images: list[list[Array]]) -> list[Array | None]:
        return [None if Q is None or not of else np.hstack(of) for Q, of in zip(bases, images, strict=True)]

    return Closure(bases, joined(up), joined(down), min(space.weakest for space in grown.spaces), grown.diagonals)


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
