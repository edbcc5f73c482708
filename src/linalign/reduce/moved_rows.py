"""Moved rows: data of as few rows as there are moves, from the moved images of all samples (T7.1, T9.1)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from ..validate import Array
from .moves import Composition, Group

# elements of the moved images that are made at a time
BLOCK = 2_000_000
# where the best map leaves this share of the targets' squares, the Gram matrix keeps twelve digits of the loss
NEVER_EXACT = 1e-3
# eigenvalues of the Gram matrix below this share of the largest are rounding
RANK_TOLERANCE_OF_GRAM = 1e-14


def _expand(group: Group, channels: int) -> Array:
    """The distinct column of each input of the chain, -1 for a zero."""
    y, x = group.y.column[:, None, None], group.x.column[:, None]
    column = (y * group.x.distinct + x) * channels + np.arange(channels)
    return np.where((y >= 0) & (x >= 0), column, -1).ravel()


def _take(A: Array, sources: Array, axis: int) -> Array:
    """`A` at these places of an axis, as a view where they follow each other."""
    first = int(sources[0])
    if np.array_equal(sources, np.arange(first, first + len(sources))):
        return A[(slice(None),) * axis + (slice(first, first + len(sources)),)]
    return np.take(A, sources, axis=axis)


@dataclass(frozen=True)
class Probed:
    """`||t F - T||^2` for any t, from the outputs F of a probe and the targets T."""

    outputs: float = 0.0
    meeting: float = 0.0
    targets: float = 0.0

    @classmethod
    def of(cls, F: Array, T: Array, constant: float = 0.0) -> Probed:
        """`constant`: what is left out of T, in squares."""
        return cls(float(np.sum(F**2)), float(np.sum(F * T)), float(np.sum(T**2)) + constant)

    def __add__(self, other: Probed) -> Probed:
        return Probed(self.outputs + other.outputs, self.meeting + other.meeting, self.targets + other.targets)

    def off(self, other: Probed) -> float:
        """Relative difference of the two where the outputs are as large as the targets, as networks are trained to be.

        On the far side of them: where few moves differ the probe may fit the targets, and nothing is relative to nothing.
        """
        t = math.sqrt(self.targets / self.outputs) if self.outputs > 0 and self.targets > 0 else 1.0
        t = math.copysign(t, -self.meeting)
        mine, theirs = (t * t * p.outputs - 2 * t * p.meeting + p.targets for p in (self, other))
        return abs(mine - theirs) / mine if mine else abs(theirs)


class MovedRows:
    """The moved images beside what is left of the targets, group by group: their Gram matrix or triangular factor."""

    def __init__(self, chain: Composition, X: Array, T: Array) -> None:
        self.chain = chain
        self.images = X.reshape(len(X), chain.channels, *chain.image)
        self.targets = T.reshape(len(T), -1, *chain.outputs)
        self.outputs = self.targets.shape[1]
        self.moves = chain.layers[0].shape[1]
        self.probe = np.random.default_rng(0).standard_normal((self.moves, self.outputs))
        self.probed = Probed()

    def gram(self) -> Array:
        """`[X', Y]^T [X', Y]`; measures the loss along `probe` on the way."""
        G, self.probed = np.zeros((self.moves + self.outputs,) * 2), Probed()
        for group in self.chain.groups:
            column = _expand(group, self.chain.channels)
            mapped = self._mapped(column, self.probe)
            own: Any = 0.0
            for block, _ in self._blocks(group, 0):
                own = own + block @ block.T
                self.probed += Probed.of(mapped.T @ block[: len(mapped)], block[len(mapped) :])
            place = np.append(column, len(own) - self.outputs + np.arange(self.outputs))
            G += np.where((place >= 0)[:, None] & (place >= 0), own[np.ix_(place, place)], 0.0)
        return G

    def triangle(self, least_squares: Array | None) -> Array:
        """The triangular factor of `[X', Y - X' P]`, P the map `(moves, outputs)` or None for zero."""
        R = np.empty((0, self.moves + self.outputs))
        for group in self.chain.groups:
            column = _expand(group, self.chain.channels)
            own = self._triangle(group, None if least_squares is None else self._mapped(column, least_squares))
            wide = np.zeros((len(own), self.moves + self.outputs))
            wide[:, : self.moves][:, column >= 0] = own[:, column[column >= 0]]
            wide[:, self.moves :] = own[:, -self.outputs :]
            R = scipy.linalg.qr(np.vstack([R, wide]), mode="r", overwrite_a=True, check_finite=False)[0][: self.moves + self.outputs]
        return R

    def _triangle(self, group: Group, mapped: Array | None) -> Array:
        R: Array | None = None
        for block, room in self._blocks(group, 1):
            if mapped is not None:
                block[len(mapped) :, room:] -= mapped.T @ block[: len(mapped), room:]
            block[:, :room] = 0.0 if R is None else R.T
            # the transpose of a block is in the order that LAPACK wants, and is its own workspace
            R = np.triu(scipy.linalg.lapack.dgeqrf(block.T, overwrite_a=1)[0][:room])
        assert R is not None
        return R

    def _mapped(self, column: Array, P: Array) -> Array:
        """A map of the moves as one of the distinct columns of a group."""
        mapped = np.zeros((int(column.max()) + 1, self.outputs))
        np.add.at(mapped, column[column >= 0], P[column >= 0])
        return mapped

    def _blocks(self, group: Group, triangles: int) -> Iterator[tuple[Array, int]]:
        """`[X', Y]^T` of a group, some images at a time, after room for a triangle or none."""
        y, x, channels = group.y, group.x, self.chain.channels
        count = y.distinct * x.distinct * channels
        room = triangles * (count + self.outputs)
        pixels = len(y.pixels), len(x.pixels)
        step = max(1, BLOCK // (pixels[0] * pixels[1] * (count + self.outputs)))
        for first in range(0, len(self.images), step):
            images, targets = self.images[first : first + step], self.targets[first : first + step]
            n = len(images)
            block = np.empty((count + self.outputs, room + n * pixels[0] * pixels[1]))
            lines = block[:, room:].reshape(-1, n, *pixels) if not room else None
            for a, rows in enumerate(y.sources):
                some = _take(images, rows, 2)
                for b, columns in enumerate(x.sources):
                    moved = _take(some, columns, 3)
                    for c in range(channels):
                        at = (a * x.distinct + b) * channels + c
                        self._put(block, lines, at, room, moved[:, c])
            some = _take(_take(targets, y.pixels, 2), x.pixels, 3)
            for o in range(self.outputs):
                self._put(block, lines, count + o, room, some[:, o])
            yield block, room

    @staticmethod
    def _put(block: Array, lines: Array | None, at: int, room: int, images: Array) -> None:
        if lines is not None:
            lines[at] = images
        else:
            block[at, room:].reshape(images.shape)[...] = images


def from_gram(G: Array, k: int) -> tuple[Array, Array, float] | None:
    """`(X', Y', c)` from the Gram matrix of `[X, Y]`, or None where X might fit Y so well that it would lose the loss (T7.1)."""
    w, V = scipy.linalg.eigh(G[:k, :k], check_finite=False)
    total = float(np.trace(G[k:, k:]))
    kept = w > RANK_TOLERANCE_OF_GRAM * w[-1]
    if w[-1] <= 0 or total <= 0:
        return None
    root = np.sqrt(w[kept])[::-1]
    V = V[:, kept][:, ::-1]
    T = (V.T @ G[:k, k:]) / root[:, None]
    constant = total - float(np.sum(T**2))
    return (root[:, None] * V.T, T, constant) if constant > NEVER_EXACT * total else None
