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

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product as pairs
from typing import Any

import numpy as np
import scipy.linalg
from scipy import sparse

from ..cached import cached_property
from ..layers import AntiCirculant, Circulant, Layer
from ..layers.base import Form
from ..layers.convolution import Convolution
from ..problem.network import Network
from ..problem.problem import Problem
from ..validate import Array
from .samples import centre

# more different moves than this are not looked through
MOST = 4096
# elements of the moved images that are made at a time
BLOCK = 2_000_000
# where the best map leaves this share of the targets' squares, the Gram matrix keeps twelve digits of the loss
NEVER_EXACT = 1e-3
# eigenvalues of the Gram matrix below this share of the largest are rounding
RANK_TOLERANCE_OF_GRAM = 1e-14
# where they are not, as between moves of very smooth images, the check is off by more than this, and the triangular factor is made
GRAM_TOLERANCE = 1e-12

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
        return sparse.csr_array((theta.ravel()[self.index], (self.rows, self.cols)), shape=self.sides)

    def matrix(self, theta: Array) -> Array:
        return np.asarray(self._sparse(theta).toarray())

    def coordinates(self, matrix: Array) -> Array:
        weights = matrix[self.rows, self.cols]
        return np.bincount(self.index, weights, self.size).astype(matrix.dtype).reshape(self.param_shape)

    def apply(self, theta: Array, A: Array) -> Array:
        return np.ascontiguousarray((self._sparse(theta) @ A.T).T)

    def adjoint(self, theta: Array, D: Array) -> Array:
        return np.ascontiguousarray((self._sparse(theta).T @ D.T).T)


@dataclass(frozen=True)
class Filters:
    """What the reduction did."""

    rows_before: int
    rows_after: int
    moves: int
    residual: float
    """Relative difference of the two losses at a random `z` of the size of the targets: rounding, if all went well."""


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
class _Axis:
    """The different moves of one axis, from the last layer down; `links[i]` are `(q, tap, q')`, q above layer i and q' below."""

    moves: list[list[Move]]
    links: list[list[tuple[int, int, int]]]


def _compose(steps: list[list[Move]], outputs: int) -> _Axis | None:
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
    return _Axis(moves, links)


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
    def groups(self) -> list[_Group]:
        """Pixels of the output where the same moves coincide, or leave the image."""
        lines = [_alike(moves) for moves in (self.heights, self.widths)]
        return [_Group(y, x) for y, x in pairs(*lines)]

    @property
    def search(self) -> int:
        """Multiply-adds a sample of the triangular factors, both passes."""
        total = 0
        for group in self.groups:
            columns = group.y.distinct * group.x.distinct * self.channels + 1
            total += 2 * len(group.y.pixels) * len(group.x.pixels) * columns**2
        return total


def composition(problem: Problem) -> Composition | str:
    """`compose`, once for all networks of these layers on the same data."""
    known = problem.memo.setdefault("moves", {})
    if problem.net.layers not in known:
        known[problem.net.layers] = compose(problem.net)
    found: Composition | str = known[problem.net.layers]
    return found


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


def _taps(layer: Layer, i: int, kw: int, heights: _Axis, widths: _Axis) -> Taps:
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


# ------------------------------------------------------------------ the data
@dataclass(frozen=True, eq=False)
class _Line:
    """Pixels of one axis that are alike: `column[q]` is the column of move q among the distinct ones, -1 if it is outside."""

    pixels: Array
    column: Array
    sources: Array
    """(distinct, pixels): where each distinct column takes its values from."""

    @property
    def distinct(self) -> int:
        return len(self.sources)


@dataclass(frozen=True, eq=False)
class _Group:
    y: _Line
    x: _Line


def _alike(moves: list[Move]) -> list[_Line]:
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
        found.append(_Line(np.array(pixels), column, table[firsts][:, pixels]))
    return found


def _expand(group: _Group, channels: int) -> Array:
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
class _Probed:
    """`||t F - T||^2` for any t, from the outputs F of a probe and the targets T."""

    outputs: float = 0.0
    meeting: float = 0.0
    targets: float = 0.0

    @classmethod
    def of(cls, F: Array, T: Array, constant: float = 0.0) -> _Probed:
        """`constant`: what is left out of T, in squares."""
        return cls(float(np.sum(F**2)), float(np.sum(F * T)), float(np.sum(T**2)) + constant)

    def __add__(self, other: _Probed) -> _Probed:
        return _Probed(self.outputs + other.outputs, self.meeting + other.meeting, self.targets + other.targets)

    def off(self, other: _Probed) -> float:
        """Relative difference of the two where the outputs are as large as the targets, as networks are trained to be.

        On the far side of them: where few moves differ the probe may fit the targets, and nothing is relative to nothing.
        """
        t = math.sqrt(self.targets / self.outputs) if self.outputs > 0 and self.targets > 0 else 1.0
        t = math.copysign(t, -self.meeting)
        mine, theirs = (t * t * p.outputs - 2 * t * p.meeting + p.targets for p in (self, other))
        return abs(mine - theirs) / mine if mine else abs(theirs)


class _Rows:
    """The moved images beside what is left of the targets, group by group: their Gram matrix or triangular factor."""

    def __init__(self, chain: Composition, X: Array, T: Array) -> None:
        self.chain = chain
        self.images = X.reshape(len(X), chain.channels, *chain.image)
        self.targets = T.reshape(len(T), -1, *chain.outputs)
        self.outputs = self.targets.shape[1]
        self.moves = chain.layers[0].shape[1]
        self.probe = np.random.default_rng(0).standard_normal((self.moves, self.outputs))
        self.probed = _Probed()

    def gram(self) -> Array:
        """`[X', Y]^T [X', Y]`; measures the loss along `probe` on the way."""
        G, self.probed = np.zeros((self.moves + self.outputs,) * 2), _Probed()
        for group in self.chain.groups:
            column = _expand(group, self.chain.channels)
            mapped = self._mapped(column, self.probe)
            own: Any = 0.0
            for block, _ in self._blocks(group, 0):
                own = own + block @ block.T
                self.probed += _Probed.of(mapped.T @ block[: len(mapped)], block[len(mapped) :])
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

    def _triangle(self, group: _Group, mapped: Array | None) -> Array:
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

    def _blocks(self, group: _Group, triangles: int) -> Iterator[tuple[Array, int]]:
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


def _from_gram(G: Array, k: int) -> tuple[Array, Array, float] | None:
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


def reduce(problem: Problem, chain: Composition) -> tuple[Problem, Filters]:
    """The chain on moves over rank rows of data.

    Precondition: `chain` is `compose(problem.net)`, a quadratic loss on data. Cost: `chain.search` multiply-adds a sample.
    """
    known = problem.memo.setdefault("filters", {})
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
    rows = _Rows(chain, problem.X.astype(np.float64, copy=False), problem.T.astype(np.float64, copy=False))
    k = chain.layers[0].shape[1]

    def residual(found: tuple[Array, Array, float]) -> float:
        X, T, constant = found
        return rows.probed.off(_Probed.of(X @ rows.probe, T, constant))

    found = _from_gram(rows.gram(), k)
    if found is None or residual(found) > GRAM_TOLERANCE:
        found = centre(rows.triangle(None), k, rows.triangle)
    return found, Filters(len(problem.X), len(found[0]), chain.moves, residual(found))
