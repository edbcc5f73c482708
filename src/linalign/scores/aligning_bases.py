"""Bases that align a chain, by sweeps of joint eigenbases and a least-squares polish."""

from __future__ import annotations

from itertools import product

import numpy as np

from ..linear_algebra import joint_eigenbasis, signed_qr
from ..validate import Array
from .chain import Matrices, norm
from .lanes import assign

# Levels below which a column of a product counts as zero: the right one depends on the noise in the weights
LEVELS = (1e-13, 1e-10, 1e-7, 1e-5, 1e-3, 1e-2)

Found = tuple[list[Array], list[Array], float]  # bases, diagonals, residual


def align_bases(
    units: Matrices, *, levels: tuple[float, ...] = LEVELS, seeds: int = 2, enough: float = 1e-14, wanted: float = 0.0
) -> tuple[list[Array], list[Array], float]:
    """The best of several sweeps in both directions, polished: `Q_0..Q_d`, the generalised diagonal `S_1..S_d`, the residual.

    `units` are float64 matrices with spectral norms of about 1 (or 0). Stops at a residual of `enough`, or once four more tries
    have not halved a residual of at most `wanted`. The residual is the largest `||W_i - Q_i S_i Q_{i-1}^T||_F / ||W_i||_F`.
    Source: docs/theory, algorithm A2.
    """
    best: Found | None = None
    stale = 0
    for seed, level, backward in product(range(seeds), levels, (False, True)):
        chain = [W.T for W in units[::-1]] if backward else units
        bases = _sweep(chain, level, np.random.default_rng(seed))
        found = _polish(units, _measured(units, bases[::-1] if backward else bases), enough)
        stale = 0 if best is None or found[2] < best[2] / 2 else stale + 1
        if best is None or found[2] < best[2]:
            best = found
        if best[2] <= enough or (best[2] <= wanted and stale >= 4):
            break
    assert best is not None
    return best


def turning_bytes(units: Matrices) -> float:
    """Bytes that a polish of these layers takes at most: it holds some matrices of the largest width for every vertex (`_turned`)."""
    top = float(max(max(W.shape) for W in units))
    return 8.0 * (8 * (len(units) + 1) + 12) * top * top


def _polish(units: Matrices, found: Found, enough: float) -> Found:
    """Gauss-Newton steps for as long as each halves the residual."""
    while found[2] > enough:
        nearer = _measured(units, _turned(*found[:2], images_in(units, found[0])))
        if nearer[2] >= found[2] / 2:
            return min(found, nearer, key=lambda tried: tried[2])
        found = nearer
    return found


def _measured(units: Matrices, bases: list[Array]) -> Found:
    images = images_in(units, bases)
    parts = [_matched(E) for E in images]
    return bases, parts, largest_residual(images, parts)


def _sweep(units: Matrices, level: float, rng: np.random.Generator) -> list[Array]:
    """Forward sweep: the image of a joint eigenbasis is one, completed by a joint eigenbasis of what it leaves over."""
    d = len(units)
    widths = [units[0].shape[1], *(W.shape[0] for W in units)]
    # words[i]: the products W_b ... W_{i+1} that are not rounding noise
    words: list[list[Array]] = [[] for _ in range(d + 1)]
    for i in reversed(range(d)):
        words[i] = [V for V in (units[i], *(V @ units[i] for V in words[i + 1])) if norm(V) > level]
    bases = [_joint(words[0], widths[0], level, rng)]
    for i, W in enumerate(units, 1):
        Z = W @ bases[-1]
        sizes = np.sqrt(np.einsum("ij,ij->j", Z, Z))
        keep = np.argsort(-sizes, kind="stable")
        keep = keep[sizes[keep] > level][: widths[i]]
        # large columns first: the rounding errors of a column then stay in proportion to it
        Q = signed_qr(Z[:, keep], "complete")[0]
        rest = Q[:, len(keep) :]
        if i < d and rest.shape[1] > 1:
            Q[:, len(keep) :] = rest @ _joint([V @ rest for V in words[i]], rest.shape[1], level, rng)
        bases.append(Q)
    return bases


def _joint(words: list[Array], width: int, level: float, rng: np.random.Generator) -> Array:
    """A joint eigenbasis of the `V^T V` where they commute, of those above the level."""
    sizes = [norm(V) for V in words]
    kept = [i for i, size in enumerate(sizes) if size > level]
    return joint_eigenbasis([words[i] for i in kept], [sizes[i] for i in kept], rng)[1] if kept else np.eye(width)


def images_in(units: Matrices, bases: list[Array]) -> list[Array]:
    """The layers in these bases."""
    return [bases[i + 1].T @ W @ bases[i] for i, W in enumerate(units)]


def _matched(E: Array) -> Array:
    """E with one entry at most a row and a column: largest first.

    Entries that are largest in their row and their column are what taking the largest left, one by one, would take.
    """
    left, kept = np.abs(E), np.zeros_like(E)
    while True:
        rows = np.arange(len(left))
        columns = left.argmax(axis=1)
        rows = rows[(left.argmax(axis=0)[columns] == rows) & (left[rows, columns] > 0)]
        if not len(rows):
            return kept
        columns = columns[rows]
        kept[rows, columns] = E[rows, columns]
        left[rows] = 0.0
        left[:, columns] = 0.0


def largest_residual(images: list[Array], parts: list[Array]) -> float:
    """The most that a layer differs from its part, relative to its norm."""
    return max(norm(E - S) / size if (size := norm(E)) else 0.0 for E, S in zip(images, parts, strict=True))


def _turned(bases: list[Array], parts: list[Array], images: list[Array]) -> list[Array]:
    """One Gauss-Newton step: turn `Q_i` by the skew `X_i` that makes `E_i - X_i S_i + S_i X_{i-1}` most diagonal.

    Every basis vector has a lane, its index in the frame below, in which all S_i are diagonal. There a pair of lanes (p, q) has
    unknowns `x_i = X_i[p, q]` of its own, two equations a layer, and so a tridiagonal least-squares problem; all the pairs are
    solved together.
    """
    widths = [len(Q) for Q in bases]
    lanes = assign([S != 0 for S in parts], widths)
    top = max(widths)
    there = np.zeros((len(widths), top))
    for i, lane in enumerate(lanes):
        there[i, lane] = 1.0
    shape = (len(widths), top, top)
    diagonal, beside, right = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for i, (E, S) in enumerate(zip(images, parts, strict=True), 1):
        place = np.ix_(lanes[i], lanes[i - 1])
        off, full = np.zeros((top, top)), np.zeros((top, top))
        off[place], full[place] = E - S, S
        s = np.diag(full)
        exists = np.outer(there[i], there[i - 1])
        # equations off[p, q] - s[q] x_i + s[p] x_{i-1} = 0 and off[q, p] + s[p] x_i - s[q] x_{i-1} = 0, where their entries exist
        up, down = exists * s, exists.T * s[:, None]
        other_up, other_down = exists * s[:, None], exists.T * s
        diagonal[i] += up**2 + down**2
        diagonal[i - 1] += other_up**2 + other_down**2
        beside[i] = -(up * other_up + down * other_down)
        right[i] += up * off - down * off.T
        right[i - 1] += other_down * off.T - other_up * off
    alive = np.einsum("ip,iq->ipq", there, there) * (diagonal > 0)
    # lanes with equal values may turn together: that changes nothing, and the small shift keeps it from happening
    diagonal = np.where(alive > 0, diagonal + 1e-13 * diagonal.max(axis=0), 1.0)
    right *= alive
    beside[1:] *= alive[1:] * alive[:-1]
    for i in range(1, len(widths)):
        factor = beside[i] / diagonal[i - 1]
        diagonal[i] -= factor * beside[i]
        right[i] -= factor * right[i - 1]
    turn = right / diagonal
    for i in reversed(range(len(widths) - 1)):
        turn[i] = (right[i] - beside[i + 1] * turn[i + 1]) / diagonal[i]
    out = []
    for i, Q in enumerate(bases):
        half = turn[i][np.ix_(lanes[i], lanes[i])] / 2
        half = (half - half.T) / 2
        one = np.eye(len(Q))
        out.append(signed_qr(Q @ np.linalg.solve(one - half, one + half))[0])
    return out
