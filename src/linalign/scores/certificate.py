"""Certificate of alignment: bases in which every layer is diagonal, or the pair of words that forbids them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .. import html, linear_algebra, validate
from ..cached import cached_property
from ..calls import called
from ..linear_algebra import Basis, room
from ..problem.network import Network
from ..validate import Array
from .aligning_bases import LEVELS, align_bases, images_in, largest_residual, turning_bytes
from .chain import Matrices, chain_matrices, norm, unit
from .chain import noise as rounding
from .interface import gram_norm, skew
from .lanes import pack

# A product this far below the product of its layers' norms counts as that far: near cancellation a relative commutator is noise
FLOOR = 1e-6


@dataclass(frozen=True, eq=False)
class AlignmentCertificate:
    """What is known about the alignment of a chain; `print` it for plain words.

    aligned : bases were found in which every layer has at most one nonzero a row and a column, up to `residual <= tol`.
    strict : they can be chosen so that every layer is rectangular diagonal (T1.3); None where neither was shown.
    bases : `Q_0, ..., Q_d`, orthogonal, `Q_i (k_i, k_i)`; where the chain is not aligned, the best ones met. Made when asked for where
        the layers around a vertex reach few of its dimensions: `frames[i].columns (k_i, r)` are the vectors that they reach.
    diagonals : `S_1, ..., S_d`, with `W_i = Q_i S_i Q_{i-1}^T` up to the residual; rectangular diagonal where `strict`.
    residual : the largest `||W_i - Q_i S_i Q_{i-1}^T||_F / ||W_i||_F`. An aligned chain this near exists, whatever else is true.
    distance : no aligned chain is nearer than this, in the same measure; a proof of misalignment where it exceeds `tol`.
    commutator : the chain criterion (E) of T1.2, in [0, 1]; 0 exactly when the chain is aligned.
    worst : `(i, b)`, the layers whose words `W_i W_i^T` and `(W_b ... W_{i+1})^T (W_b ... W_{i+1})` commute least; None if aligned.
    """

    aligned: bool
    strict: bool | None
    frames: tuple[Basis, ...]
    diagonals: tuple[Array, ...]
    residual: float
    distance: float
    commutator: float
    worst: tuple[int, int] | None
    tol: float

    @cached_property
    def bases(self) -> tuple[Array, ...]:
        """`Q_0, ..., Q_d`. Raises: MemoryError if this machine has no room for one of them."""
        return tuple(frame.whole(f"bases[{i}]") for i, frame in enumerate(self.frames))

    def _repr_html_(self) -> str:
        return html.page(html.text(str(self)))

    def __str__(self) -> str:
        if self.aligned:
            form = {
                True: "every layer rectangular diagonal",
                False: "every layer have one entry at most a row and a column (no order of these makes all rectangular diagonal)",
                None: "every layer have one entry at most a row and a column",
            }[self.strict]
            return f"aligned: orthogonal bases make {form}, up to {self.residual:.1e} of its norm (tolerance {self.tol:.0e})"
        assert self.worst is not None
        i, b = self.worst
        product = " ".join([f"W_{b}", *(["..."] if b > i + 2 else []), f"W_{i + 1}"]) if b > i + 1 else ""
        word = f"({product})^T ({product})" if product else f"W_{b}^T W_{b}"
        clash = f"W_{i} W_{i}^T and {word} do not commute, {self.commutator:.1e} on a scale of 0 to 1"
        if self.distance > self.tol:
            return (
                f"not aligned: {clash}; every aligned chain differs in some layer by {self.distance:.1e} of its norm or more "
                f"(tolerance {self.tol:.0e}); the nearest one found differs by {self.residual:.1e}"
            )
        return (
            f"not shown to be aligned: the nearest aligned chain found differs in some layer by {self.residual:.1e} of its norm "
            f"(tolerance {self.tol:.0e}), and none nearer than {self.distance:.1e} exists; {clash}"
        )


@called
def alignment_certificate(net: Network | Iterable[Any], tol: float | None = None) -> AlignmentCertificate:
    r"""Bases that align the chain `W_d ... W_1`, or the pair of words that do not commute.

    A chain is aligned if orthogonal `Q_0, ..., Q_d` exist in which every `Q_i^T W_i Q_{i-1}` has at most one nonzero a row and
    a column, strictly aligned if all of these can be rectangular diagonal. Right for repeated singular values, rank deficiency
    and rectangular layers, where the singular vectors of single layers prove nothing, and for chains whose neighbours all
    commute although the chain is not aligned.

    Parameters
    ----------
    net : Network, or sequence of matrices
    tol : float, optional
        The relative residual at which the chain counts as aligned: by default 1e-10 for float64 and 1e-5 for float32. Along a
        training run in float64, 1e-6 is sensible.

    Returns: AlignmentCertificate. The scales of the layers do not matter.
    Raises: ValueError, TypeError if `net` is not a network with parameters, nor matrices that fit together, or `tol` not in (0, 1);
    MemoryError, before any work, if this machine has no room for it.
    Cost: `O(d^2 k^3)` a sweep; one sweep for an exactly aligned chain, up to 24 for one that is aligned only roughly. Where a width is
    many times as large as the two beside it, their sum stands in its place.
    Source: docs/theory, T1.2 (algorithms A1, A2), T1.3.
    """
    matrices = chain_matrices(net)
    noise = max(rounding(W) for W in matrices)
    limit = (1e-10 if noise < 1e-10 else 1e-5) if tol is None else validate.real("tol", tol, above=0.0, below=1.0)
    units, exponents, norms = _normalised(matrices)
    widths = [units[0].shape[1], *(W.shape[0] for W in units)]
    frames = _frames(units)
    units = [_in_frames(W, above, below) for W, below, above in zip(units, frames, frames[1:], strict=False)]
    room("net", turning_bytes(units), "score it with linalign.alignment, which needs no bases")
    commutator, pair, distance = _commutators(units, norms, noise)
    # where no bases can do it, some are still of use, but not worth every try
    levels, seeds = (LEVELS[1::2], 1) if distance > limit else (LEVELS, 2)
    bases, parts, residual = align_bases(units, levels=levels, seeds=seeds, enough=50 * noise, wanted=limit / 10)
    strict: bool | None = False
    orders: list[Array | None] = [None] * len(widths)
    parts = [_wide(S, shape) for S, shape in zip(parts, pairwise(widths), strict=True)]
    if residual <= limit:
        images = [_wide(E, shape) for E, shape in zip(images_in(units, bases), pairwise(widths), strict=True)]
        orders, parts, residual, strict = _ordered(images, parts, residual, max(residual, 50 * noise), limit)
    return AlignmentCertificate(
        aligned=residual <= limit,
        strict=strict,
        frames=tuple(Basis(Q if frame is None else frame @ Q, order) for Q, frame, order in zip(bases, frames, orders, strict=True)),
        diagonals=tuple(np.ldexp(S, exponent) for S, exponent in zip(parts, exponents, strict=True)),
        residual=residual,
        distance=distance,
        commutator=commutator,
        worst=None if residual <= limit else pair,
        tol=limit,
    )


def _frames(units: Matrices) -> list[Array | None]:
    """Of each vertex, an orthonormal basis of what the layers beside it reach; None where that is most of it."""
    reached = [[units[0]], *([low.T, high] for low, high in pairwise(units)), [units[-1].T]]
    return [linear_algebra.frame(blocks, blocks[0].shape[1]) for blocks in reached]


def _in_frames(W: Array, above: Array | None, below: Array | None) -> Array:
    """A layer in the frames of its two vertices."""
    if below is not None:
        W = W @ below
    return W if above is None else above.T @ W


def _wide(A: Array, shape: tuple[int, int]) -> Array:
    """A in the corner of a matrix `(shape[1], shape[0])`, zero elsewhere; A itself if it fills it."""
    if A.shape == shape[::-1]:
        return A
    found = np.zeros(shape[::-1])
    found[: A.shape[0], : A.shape[1]] = A
    return found


# The criterion (E): algorithm A1.


def _normalised(matrices: Matrices) -> tuple[list[Array], list[int], list[float]]:
    """Layers times powers of two that bring their spectral norms into [1/2, 1), the exponents, and those norms."""
    units, exponents, norms = [], [], []
    for W in matrices:
        scaled, first = unit(np.asarray(W, dtype=np.float64))
        fraction, second = math.frexp(float(np.linalg.norm(scaled, 2)))
        units.append(np.ldexp(scaled, -second))
        exponents.append(first + second)
        norms.append(fraction)
    return units, exponents, norms


def _commutators(units: Matrices, norms: list[float], noise: float) -> tuple[float, tuple[int, int] | None, float]:
    """The largest score of (E), the layers (i, b) that have it, and a lower bound of the distance to the aligned chains."""
    score, pair, distance = 0.0, None, 0.0
    sizes = [norm(W) for W in units]
    for i in range(len(units) - 1):
        W, V, top = units[i], units[i + 1], norms[i + 1]
        for b in range(i + 1, len(units)):
            if b > i + 1:
                V, top = units[b] @ V, top * norms[b]
            clash, _ = skew(W, V, V @ W)
            scale = max(gram_norm(W) * gram_norm(V), (FLOOR * norms[i] * top) ** 2)
            value = math.sqrt(2.0) * clash / scale if scale else 0.0
            if pair is None or value > score:
                score, pair = value, (i + 1, b + 1)
            # rounding errors of the products, and of the entries that were given
            error = 8 * (b - i + 1) * max(W.shape[0], *(units[m].shape[0] for m in range(i, b + 1))) * noise * sizes[i] ** 2
            error *= math.prod(sizes[m] for m in range(i + 1, b + 1)) ** 2
            distance = max(distance, _distance(clash - error, i, b, norms, sizes))
    return score, pair, distance


def _distance(commutator: float, i: int, b: int, norms: list[float], sizes: list[float]) -> float:
    """The smallest relative change of the layers i..b that can remove this commutator.

    If every layer changes by at most rho ||W_l||_F then `A = W_i W_i^T` changes by at most `(2 n_i + e_i) e_i`, the product V
    of the others by at most `e = prod (n_l + e_l) - prod n_l`, and the commutator of A and `V^T V` by at most
    `n^2 (2 n_i + e_i) e_i + (n_i + e_i)^2 (2 n + e) e`, because `||[A, Z]||_F <= ||A||_2 ||Z||_F` for A >= 0.
    """
    if commutator <= 0.0:
        return 0.0

    def reach(rho: float) -> float:
        own = rho * sizes[i]
        n = math.prod(norms[i + 1 : b + 1])
        e = math.prod(norms[m] + rho * sizes[m] for m in range(i + 1, b + 1)) - n
        return n**2 * (2 * norms[i] + own) * own + (norms[i] + own) ** 2 * (2 * n + e) * e

    low, high = -40.0, 0.0  # logarithms to base 2
    if reach(2.0**high) < commutator:
        return 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if reach(2.0**middle) < commutator else (low, middle)
    return 2.0**low if reach(2.0**low) < commutator else 0.0


# Order: T1.3.


def _ordered(
    images: list[Array], parts: list[Array], residual: float, cut: float, limit: float
) -> tuple[list[Array | None], list[Array], float, bool | None]:
    """Orders of the bases that make every layer rectangular diagonal, if there are, and the diagonals; images are the layers in the bases.

    Entries below `cut` of their layer count as zero here, so that noise does not link what is not linked.
    """
    orders = pack([np.abs(S) > cut * norm(S) for S in parts])
    as_they_are: list[Array | None] = [None] * (len(parts) + 1)
    if orders is None:
        return as_they_are, parts, residual, False
    images = [E[np.ix_(above, below)] for E, (below, above) in zip(images, pairwise(orders), strict=True)]
    diagonals = []
    for E in images:
        S = np.zeros_like(E)
        np.fill_diagonal(S, np.diag(E))
        diagonals.append(S)
    left = largest_residual(images, diagonals)
    # what was cut away may have carried the residual over the tolerance; then neither answer is shown
    return (list(orders), diagonals, left, True) if left <= limit else (as_they_are, parts, residual, None)
