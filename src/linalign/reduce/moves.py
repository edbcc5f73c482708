"""Moves: the operators that the taps of a chain of convolutions compose to, and the chain on them (T9.1).

A tap moves an image by a step, and drops what leaves it. The moves of all layers are few different ones; a layer becomes the sparse
matrix whose entries are its taps, from the moves of the layers above it to those with its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product as pairs
from typing import Any

import numpy as np
import scipy  # which imports scipy.sparse when it is first asked for

from ..cached import cached_property
from ..layers import AntiCirculant, Circulant, Layer
from ..layers.base import Form
from ..layers.convolution import Convolution
from ..problem.network import Network
from ..validate import Array

# more different moves than this are not looked through
MOST = 4096

Move = tuple[int, ...]
"""Where each output pixel of an axis takes its value from; -1 if from outside."""


@dataclass(frozen=True, eq=False)
class Taps(Layer):
    """A layer's taps as the entries of a sparse matrix between moves. Its metric is that of the layer it stands for."""

    original: Layer
    rows: Array
    cols: Array
    index: Array
    sides: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        return self.sides

    @property
    def param_shape(self) -> tuple[int, ...]:
        return self.original.param_shape

    @property
    def multiplicity(self) -> Array:
        return self.original.multiplicity

    @property
    def work(self) -> int:
        return len(self.index)

    @cached_property
    def form(self) -> Form:
        ptr = np.searchsorted(self.rows, np.arange(self.sides[0] + 1))
        return Form("sparse", arrays={"indptr": ptr, "cols": self.cols, "index": self.index, "sign": None})

    def _sparse(self, theta: Array) -> Any:
        return scipy.sparse.csr_array((theta.ravel()[self.index], (self.rows, self.cols)), shape=self.sides)

    def matrix(self, theta: Array) -> Array:
        return np.asarray(self._sparse(theta).toarray())

    def coordinates(self, matrix: Array) -> Array:
        weights = matrix[self.rows, self.cols]
        return np.bincount(self.index, weights, self.size).astype(matrix.dtype).reshape(self.param_shape)

    def apply(self, theta: Array, A: Array) -> Array:
        return np.ascontiguousarray((self._sparse(theta) @ A.T).T)

    def adjoint(self, theta: Array, D: Array) -> Array:
        return np.ascontiguousarray((self._sparse(theta).T @ D.T).T)


def _steps(layer: Layer) -> tuple[list[Move], list[Move]]:
    """What each tap does along the two axes."""
    if isinstance(layer, Convolution):
        found = []
        for axis in layer.axes:
            moves = []
            for a in range(axis.kernel):
                out, into = axis.meets(a)
                move = np.full(axis.out, -1)
                move[out] = into
                moves.append(tuple(move.tolist()))
            found.append(moves)
        return found[0], found[1]
    assert isinstance(layer, (Circulant, AntiCirculant))
    order = np.argsort(layer.entries, axis=1)
    return [(0,)], [tuple(order[:, k].tolist()) for k in range(layer.size)]


def _channels(layer: Layer) -> tuple[int, int]:
    """Inputs and outputs."""
    return (layer.in_channels, layer.out_channels) if isinstance(layer, Convolution) else (1, 1)


def _image(layer: Layer) -> tuple[int, int]:
    """Height and width of an input."""
    return (layer.axes[0].size, layer.axes[1].size) if isinstance(layer, Convolution) else (1, layer.shape[1])


@dataclass(frozen=True, eq=False)
class Axis:
    """The different moves of one axis, from the last layer down; `links[i]` are `(q, tap, q')`, q above layer i and q' below."""

    moves: list[list[Move]]
    links: list[list[tuple[int, int, int]]]


def _compose(steps: list[list[Move]], outputs: int) -> Axis | None:
    """Every way through the layers, equal ones together; None if there are too many."""
    above: dict[Move, int] = {tuple(range(outputs)): 0}
    moves = [list(above)]
    links: list[list[tuple[int, int, int]]] = []
    for taps in reversed(steps):
        below: dict[Move, int] = {}
        found = []
        table = np.array([(*tap, -1) for tap in taps])
        for move, q in above.items():
            for a, line in enumerate(table[:, np.array(move)].tolist()):
                if max(line) >= 0:
                    found.append((q, a, below.setdefault(tuple(line), len(below))))
        if len(below) > MOST:
            return None
        above = below
        moves.insert(0, list(below))
        links.insert(0, found)
    return Axis(moves, links)


@dataclass(frozen=True, eq=False)
class Composition:
    """The reduced layers, and the moves that make their inputs."""

    layers: list[Taps]
    heights: list[Move]
    widths: list[Move]
    channels: int
    image: tuple[int, int]
    outputs: tuple[int, int]

    @property
    def moves(self) -> int:
        return len(self.heights) * len(self.widths)

    @property
    def pixels(self) -> int:
        return self.outputs[0] * self.outputs[1]

    @cached_property
    def groups(self) -> list[Group]:
        """Pixels of the output where the same moves coincide, or leave the image."""
        lines = [_alike(moves) for moves in (self.heights, self.widths)]
        return [Group(y, x) for y, x in pairs(*lines)]

    @property
    def search(self) -> int:
        """Multiply-adds a sample of the triangular factors, both passes."""
        total = 0
        for group in self.groups:
            columns = group.y.distinct * group.x.distinct * self.channels + 1
            total += 2 * len(group.y.pixels) * len(group.x.pixels) * columns**2
        return total


def compose(net: Network) -> Composition | str:
    """The chain on moves, or why there is none."""
    for i, layer in enumerate(net.layers):
        if not isinstance(layer, (Convolution, Circulant, AntiCirculant)):
            return f"layer {i + 1} is {type(layer).__name__}, no convolution"
    steps = [_steps(layer) for layer in net.layers]
    sizes = [(len(h[0]), len(w[0])) for h, w in steps]
    first = net.layers[0]
    for i, layer in enumerate(net.layers[1:], 1):
        if _image(layer) != sizes[i - 1] or _channels(layer)[0] != _channels(net.layers[i - 1])[1]:
            return f"layer {i + 1} takes images of another shape than layer {i} gives"
    heights, widths = (_compose([s[axis] for s in steps], sizes[-1][axis]) for axis in (0, 1))
    many = f"the taps compose to more than {MOST:,} different moves"
    if heights is None or widths is None:
        return many
    if any(len(h) * len(w) > MOST for h, w in zip(heights.moves, widths.moves, strict=True)):
        return many
    layers = [_taps(layer, i, len(steps[i][1]), heights, widths) for i, layer in enumerate(net.layers)]
    return Composition(layers, heights.moves[0], widths.moves[0], _channels(first)[0], _image(first), sizes[-1])


def _taps(layer: Layer, i: int, kw: int, heights: Axis, widths: Axis) -> Taps:
    """Layer i, with `kw` taps along the width, from the moves above it to those with its own."""
    c_in, c_out = _channels(layer)
    h, w = np.array(heights.links[i]).reshape(-1, 3, 1), np.array(widths.links[i]).reshape(-1, 3).T
    across, below = len(widths.moves[i + 1]), len(widths.moves[i])
    q, tap, p = h[:, 0] * across + w[0], h[:, 1] * kw + w[1], h[:, 2] * below + w[2]
    taps = layer.size // (c_in * c_out)
    o, c = (a.reshape(-1, 1, 1) for a in np.divmod(np.arange(c_out * c_in), c_in))
    rows, cols, index = (q * c_out + o).ravel(), (p * c_in + c).ravel(), (tap + taps * (o * c_in + c)).ravel()
    order = np.lexsort((cols, rows))
    sides = (across * len(heights.moves[i + 1]) * c_out, below * len(heights.moves[i]) * c_in)
    return Taps(layer, rows[order], cols[order], index[order], sides)


@dataclass(frozen=True, eq=False)
class Line:
    """Pixels of one axis that are alike: `column[q]` is the column of move q among the distinct ones, -1 if it is outside."""

    pixels: Array
    column: Array
    sources: Array
    """(distinct, pixels): where each distinct column takes its values from."""

    @property
    def distinct(self) -> int:
        return len(self.sources)


@dataclass(frozen=True, eq=False)
class Group:
    y: Line
    x: Line


def _alike(moves: list[Move]) -> list[Line]:
    table = np.array(moves)
    kinds: dict[bytes, list[int]] = {}
    columns: dict[bytes, Array] = {}
    for t, sources in enumerate(table.T):
        # moves that take the same pixel are one column; numbered by their first appearance
        _, first, which = np.unique(sources, return_index=True, return_inverse=True)
        inside = sources[first] >= 0
        rank = np.full(len(first), -1)
        rank[np.argsort(first)[inside[np.argsort(first)]]] = np.arange(int(inside.sum()))
        column = rank[which]
        kinds.setdefault(column.tobytes(), []).append(t)
        columns[column.tobytes()] = column
    found = []
    for key, pixels in kinds.items():
        column = columns[key]
        firsts = [int(np.flatnonzero(column == j)[0]) for j in range(int(column.max()) + 1)]
        found.append(Line(np.array(pixels), column, table[firsts][:, pixels]))
    return found
