"""Convolutions: cross-correlations of images, as `torch.nn.functional.conv1d` and `conv2d` compute them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..validate import Array, choice, integer
from .axis import PADDINGS, Axis, check, pair
from .base import Form, Layer

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
        return Form("conv", (*ends, h.kernel, w.kernel, h.stride, w.stride, h.left, w.left, int(h.padding == "circular")))

    def _taps(self) -> Iterator[Tap]:
        """Each tap with the outputs and the inputs, as indices of rows and columns, that meet at it."""
        h, w = self.axes
        for a in range(h.kernel):
            y, y_in = h.meets(a)
            for b in range(w.kernel):
                x, x_in = w.meets(b)
                yield a, b, (y[:, None], x), (y_in[:, None], x_in)

    def _kernel(self, theta: Array) -> Array:
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
        W, K = np.zeros(self.shape, dtype=theta.dtype), self._kernel(theta)
        entries = self._entries(W)
        for a, b, (y, x), (y_in, x_in) in self._taps():
            entries[:, y, x, :, y_in, x_in] = K[:, :, a, b]
        return W

    def coordinates(self, matrix: Array) -> Array:
        entries, found = self._entries(matrix), np.empty(self.param_shape, dtype=matrix.dtype)
        for a, b, (y, x), (y_in, x_in) in self._taps():
            self._kernel(found)[:, :, a, b] = entries[:, y, x, :, y_in, x_in].sum(axis=(0, 1))
        return found

    def apply(self, theta: Array, A: Array) -> Array:
        K, images = self._kernel(theta), self._inputs(A)
        out = np.zeros((len(A), self.shape[0]), dtype=A.dtype)
        for a, b, (y, x), (y_in, x_in) in self._taps():
            self._outputs(out)[:, :, y, x] += np.tensordot(images[:, :, y_in, x_in], K[:, :, a, b], (1, 1)).transpose(0, 3, 1, 2)
        return out

    def adjoint(self, theta: Array, D: Array) -> Array:
        K, images = self._kernel(theta), self._outputs(D)
        out = np.zeros((len(D), self.shape[1]), dtype=D.dtype)
        for a, b, (y, x), (y_in, x_in) in self._taps():
            self._inputs(out)[:, :, y_in, x_in] += np.tensordot(images[:, :, y, x], K[:, :, a, b], (1, 0)).transpose(0, 3, 1, 2)
        return out

    def grad(self, D: Array, A: Array) -> Array:
        into, out, found = self._inputs(A), self._outputs(D), np.empty(self.param_shape, dtype=D.dtype)
        for a, b, (y, x), (y_in, x_in) in self._taps():
            self._kernel(found)[:, :, a, b] = np.tensordot(out[:, :, y, x], into[:, :, y_in, x_in], ((0, 2, 3), (0, 2, 3)))
        return found


def _settle(layer: Any, **checked: Any) -> None:
    """Keep the fields that the two share and `checked`, then check that the kernel fits. Raises: TypeError, ValueError."""
    for name in ("in_channels", "out_channels"):
        checked[name] = integer(name, getattr(layer, name), least=1)
    checked["padding"] = choice("padding", layer.padding, PADDINGS)
    for name, value in checked.items():
        object.__setattr__(layer, name, value)


@dataclass(frozen=True)
class Conv1d(Convolution):
    """`z[o, t] = sum_{c, a} theta[o, c, a] x[c, t * stride - left + a]`, as `torch.nn.functional.conv1d`.

    `padding`: "same" (zeros; `ceil(length / stride)` outputs, `left = (kernel_size - 1) // 2`), "valid" (none, `left = 0`), or
    "circular" (as "same", but the image goes on at its other end).
    Shapes: rows `(in_channels, length)` raveled to `(out_channels, outputs)` raveled; `theta (out_channels, in_channels, kernel_size)`.
    Cost: `apply`, `adjoint` and `grad` take at most `s * in_channels * out_channels * kernel_size * outputs` on `s` rows.
    Raises: TypeError, ValueError if the kernel is larger than the image, or a tap never meets it. Source: theory note, T5.1, T9.1.
    """

    length: int
    kernel_size: int
    in_channels: int = 1
    out_channels: int = 1
    padding: str = "same"
    stride: int = 1

    def __post_init__(self) -> None:
        whole = {name: integer(name, getattr(self, name), least=1) for name in ("length", "kernel_size", "stride")}
        _settle(self, **whole)
        check(self.axes[1:])

    @property
    def axes(self) -> tuple[Axis, Axis]:
        return Axis(1, 1, 1, self.padding), Axis(self.length, self.kernel_size, self.stride, self.padding)

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (self.out_channels, self.in_channels, self.kernel_size)


@dataclass(frozen=True)
class Conv2d(Convolution):
    """`z[o, t, u] = sum_{c, a, b} theta[o, c, a, b] x[c, t * stride - top + a, u * stride - left + b]`, as `conv2d` of torch.

    `image`: height and width, or one number for both; so too `kernel_size` and `stride`. `padding`: as `Conv1d`, on both axes.
    Shapes: rows `(in_channels, h, w)` raveled to `(out_channels, h_out, w_out)` raveled;
    `theta (out_channels, in_channels, kh, kw)`.
    Cost: `apply`, `adjoint` and `grad` take at most `s * in_channels * out_channels * kh * kw * h_out * w_out` on `s` rows.
    Raises: TypeError, ValueError if the kernel is larger than the image, or a tap never meets it. Source: theory note, T5.1, T9.1.
    """

    image: int | tuple[int, int]
    kernel_size: int | tuple[int, int]
    in_channels: int = 1
    out_channels: int = 1
    padding: str = "same"
    stride: int | tuple[int, int] = 1

    def __post_init__(self) -> None:
        _settle(self, **{name: pair(name, getattr(self, name), 2) for name in ("image", "kernel_size", "stride")})
        check(self.axes)

    @property
    def axes(self) -> tuple[Axis, Axis]:
        image, kernel, stride = (pair(name, getattr(self, name), 2) for name in ("image", "kernel_size", "stride"))
        return Axis(image[0], kernel[0], stride[0], self.padding), Axis(image[1], kernel[1], stride[1], self.padding)

    @property
    def param_shape(self) -> tuple[int, ...]:
        h, w = self.axes
        return (self.out_channels, self.in_channels, h.kernel, w.kernel)
