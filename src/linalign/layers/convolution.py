"""What convolutions of one and two axes share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..validate import Array, choice, integer
from .axis import PADDINGS, Axis
from .base import ConvGeometry, Form, Layer

Tap = tuple[int, int, tuple[Array, Array], tuple[Array, Array]]


class Convolution(Layer):
    """Rows are images `(channels, height, width)`, raveled; the taps are the same at every place.

    Every entry of W holds at most one tap, so the `A_k` are orthogonal. The methods go tap by tap and never make W.
    """

    in_channels: int
    out_channels: int

    @property
    @abstractmethod
    def axes(self) -> tuple[Axis, Axis]:
        """Height and width."""

    @property
    def shape(self) -> tuple[int, int]:
        h, w = self.axes
        return (self.out_channels * h.out * w.out, self.in_channels * h.size * w.size)

    @property
    def multiplicity(self) -> Array:
        h, w = self.axes
        return np.broadcast_to(np.outer(h.counts, w.counts).reshape(self.param_shape[2:]), self.param_shape).astype(np.float64)

    @property
    def work(self) -> int:
        return int(self.multiplicity.sum())

    @property
    def form(self) -> Form:
        h, w = self.axes
        ends = (self.in_channels, h.size, w.size, self.out_channels, h.out, w.out)
        circular = int(h.padding == "circular")
        return Form("conv", ConvGeometry(*ends, h.kernel, w.kernel, h.stride, w.stride, h.left, w.left, circular))

    def _taps(self) -> Iterator[Tap]:
        """Each tap with the outputs and the inputs, as indices of rows and columns, that meet at it."""
        h, w = self.axes
        for a in range(h.kernel):
            y, y_in = h.meets(a)
            for b in range(w.kernel):
                x, x_in = w.meets(b)
                yield a, b, (y[:, None], x), (y_in[:, None], x_in)

    def taps_of(self, theta: Array) -> Array:
        """theta as `(out_channels, in_channels, kh, kw)`."""
        h, w = self.axes
        return theta.reshape(self.out_channels, self.in_channels, h.kernel, w.kernel)

    def _inputs(self, A: Array) -> Array:
        h, w = self.axes
        return A.reshape(len(A), self.in_channels, h.size, w.size)

    def _outputs(self, D: Array) -> Array:
        h, w = self.axes
        return D.reshape(len(D), self.out_channels, h.out, w.out)

    def _entries(self, W: Array) -> Array:
        h, w = self.axes
        return W.reshape(self.out_channels, h.out, w.out, self.in_channels, h.size, w.size)

    def matrix(self, theta: Array) -> Array:
        W, K = np.zeros(self.shape, dtype=theta.dtype), self.taps_of(theta)
        entries = self._entries(W)
        for a, b, (y, x), (y_in, x_in) in self._taps():
            entries[:, y, x, :, y_in, x_in] = K[:, :, a, b]
        return W

    def coordinates(self, matrix: Array) -> Array:
        entries, found = self._entries(matrix), np.empty(self.param_shape, dtype=matrix.dtype)
        for a, b, (y, x), (y_in, x_in) in self._taps():
            self.taps_of(found)[:, :, a, b] = entries[:, y, x, :, y_in, x_in].sum(axis=(0, 1))
        return found

    def apply(self, theta: Array, A: Array) -> Array:
        K, images = self.taps_of(theta), self._inputs(A)
        out = np.zeros((len(A), self.shape[0]), dtype=A.dtype)
        for a, b, (y, x), (y_in, x_in) in self._taps():
            self._outputs(out)[:, :, y, x] += np.tensordot(images[:, :, y_in, x_in], K[:, :, a, b], (1, 1)).transpose(0, 3, 1, 2)
        return out

    def adjoint(self, theta: Array, D: Array) -> Array:
        K, images = self.taps_of(theta), self._outputs(D)
        out = np.zeros((len(D), self.shape[1]), dtype=D.dtype)
        for a, b, (y, x), (y_in, x_in) in self._taps():
            self._inputs(out)[:, :, y_in, x_in] += np.tensordot(images[:, :, y, x], K[:, :, a, b], (1, 0)).transpose(0, 3, 1, 2)
        return out

    def grad(self, D: Array, A: Array) -> Array:
        into, out, found = self._inputs(A), self._outputs(D), np.empty(self.param_shape, dtype=D.dtype)
        for a, b, (y, x), (y_in, x_in) in self._taps():
            self.taps_of(found)[:, :, a, b] = np.tensordot(out[:, :, y, x], into[:, :, y_in, x_in], ((0, 2, 3), (0, 2, 3)))
        return found


def settle(layer: Any, **checked: Any) -> None:
    """Keep the fields that the two share, checked, and those in `checked`. Raises: TypeError, ValueError."""
    for name in ("in_channels", "out_channels"):
        checked[name] = integer(name, getattr(layer, name), least=1)
    checked["padding"] = choice("padding", layer.padding, PADDINGS)
    for name, value in checked.items():
        object.__setattr__(layer, name, value)
