"""Small images: the interface of two convolutions, from images just large enough to have every border.

Column j of `K = W W^T V^T V` holds paths of four taps that begin at pixel j of the image between the layers. What these meet
depends on how far j is from each end of each axis, and pixels further inside than the reach of the four are all alike. So
an axis of `2 reach + 1` pixels has a column of every kind, and sums over columns are weighted sums there, the pixel in the
middle counting for all those left out. Around a circle all pixels are alike. Exact; the cost does not depend on the size of
the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..layers import Biased, Layer
from ..layers.axis import Axis
from ..layers.conv import Conv2d
from ..layers.convolution import Convolution
from ..scores.chain import noise, norm, safe
from ..scores.interface import Part, sine_cosine
from ..validate import Array

# below this, the square of the cosine has lost too many digits to the sum that it is taken from
LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class _Scatter:
    """A layer as a matrix in one step: which entries are which taps."""

    shape: tuple[int, int]
    where: Array
    tap: Array

    def __call__(self, theta: Array) -> Array:
        W = np.zeros(self.shape)
        W.ravel()[self.where] = theta.ravel()[self.tap]
        return W


def _scatter(layer: Conv2d) -> _Scatter:
    size = math.prod(layer.param_shape)
    named = layer.matrix(np.arange(1.0, size + 1).reshape(layer.param_shape)).ravel()
    where = np.flatnonzero(named)
    return _Scatter(layer.shape, where, named[where].astype(np.intp) - 1)


@dataclass(frozen=True, eq=False)
class _Interface:
    """An interface of two convolutions."""

    low: _Scatter
    high: _Scatter
    weights: Array
    """For how many pixels each column of K stands, and the square roots."""
    roots: Array
    counts: tuple[Array, Array]
    """How often each tap stands in the layers as given."""
    size: int
    """Outputs of the lower layer as given."""

    def angle(self, below: Array, above: Array) -> tuple[float, float] | None:
        """Sine and cosine of the interface from the taps of its two layers; None where the cosine is too near zero for this way."""
        rounding = self.size * max(noise(below), noise(above))
        (below, _), (above, _) = safe(below), safe(above)
        W, V = self.low(below), self.high(above)
        Z = V @ W
        K = W @ (Z.T @ V) if Z.shape[1] <= Z.shape[0] else (W @ Z.T) @ V
        low, high = self.counts
        # tr K = ||Z||^2
        product = math.sqrt(max(float(self.weights @ K.diagonal()), 0.0))
        floor = rounding * math.sqrt(float(np.vdot(low, below * below)) * float(np.vdot(high, above * above)))
        part = Part(
            norm((K - K.T) * self.roots), norm(K * self.roots), product,
            # tr K^2 = ||Z Z^T||^2
            lambda: math.sqrt(max(float(self.weights @ np.einsum("ij,ji->j", K, K)), 0.0)),
        )  # fmt: skip
        sine, cosine = sine_cosine([part], floor)
        return (sine, cosine) if cosine * cosine > LEAST else None


def _axis(low: Axis, high: Axis) -> tuple[int, int, Array] | None:
    """Sizes of the small images below and above the lower layer, and the weights of those above; None where pixels differ otherwise."""
    if low.out != high.size or low.stride > 1 or high.stride > 1 or (low.padding == "circular") != (high.padding == "circular"):
        return None
    # there and back through a layer leads at most from one end of its kernel to the other
    reach = low.kernel - 1 + high.kernel - 1
    middle = min(low.out, 2 * reach + 1)
    weights = np.ones(middle)
    if low.padding == "circular":
        weights *= low.out / middle
    else:
        weights[middle // 2] += low.out - middle
    return middle + low.kernel - 1 if low.padding == "valid" else middle, middle, weights


def interface_of(low: Layer, high: Layer) -> _Interface | None:
    """The interface of these layers by small images; None if they are no convolutions of stride 1 with like borders.

    Nor where they see the row between them as different images, of other sides or channels: no pixel is the same in both.
    """
    if not isinstance(low, Convolution) or not isinstance(high, Convolution) or low.out_channels != high.in_channels:
        return None
    found = [_axis(a, b) for a, b in zip(low.axes, high.axes, strict=True)]
    if found[0] is None or found[1] is None:
        return None
    (h_in, h, rows), (w_in, w, columns) = found[0], found[1]
    between = low.out_channels
    scatters = [
        _scatter(Conv2d(image, (layer.axes[0].kernel, layer.axes[1].kernel), layer.in_channels, layer.out_channels, padding))
        for layer, image, padding in ((low, (h_in, w_in), low.axes[1].padding), (high, (h, w), high.axes[1].padding))
    ]
    weights = np.tile(np.outer(rows, columns).ravel(), between)
    return _Interface(scatters[0], scatters[1], weights, np.sqrt(weights), (low.multiplicity, high.multiplicity), low.shape[0])


class Images:
    """The interfaces of a network that small images give."""

    def __init__(self, interfaces: list[_Interface | None], params: Callable[[], list[Array]]) -> None:
        self._interfaces, self._params = interfaces, params

    def angles(self) -> list[tuple[float, float] | None]:
        """Sine and cosine of every interface, None where another way is needed."""
        pairs = pairwise(self._params())
        return [None if at is None else at.angle(*pair) for at, pair in zip(self._interfaces, pairs, strict=True)]


def small_images(layers: tuple[Layer, ...], params: Callable[[], list[Array]]) -> Images | None:
    """The interfaces of these layers; None if small images give none. `params()` are the parameters of the network now."""
    found = [interface_of(low.unbiased, high.unbiased) for low, high in pairwise(layers)]

    def taps() -> list[Array]:
        return [layer.separate(theta)[0] if isinstance(layer, Biased) else theta for layer, theta in zip(layers, params(), strict=True)]

    return Images(found, taps) if any(found) else None
