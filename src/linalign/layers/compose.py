"""Products of layers that have a structure of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise

import numpy as np

from ..validate import Array
from .axis import Axis
from .base import Layer
from .biased import Biased
from .blocks import BlockDiagonal
from .circulant import AntiCirculant, Circulant
from .conv import Conv1d, Conv2d
from .convolution import Convolution
from .dense import Dense
from .diagonal import Diagonal

Composed = tuple[Layer, Array]


def compose(layers: Sequence[Layer], params: Sequence[Array]) -> Composed:
    """One layer with the matrix `W_d ... W_1`, and its parameters; `Dense` if no structure is known for the product.

    Known are the products of diagonals, of circulants and anti-circulants, of block diagonals whose blocks fit, of valid
    convolutions with any strides, and of circular convolutions of stride 1 (T9.1). A single layer is its own product.
    Biases are no part of a product, see `with_constant`. Cost: at most that of the dense product.
    """
    if len(layers) == 1:
        return layers[0], params[0]
    pairs = [(layer.layer, layer.separate(theta)[0]) if isinstance(layer, Biased) else (layer, theta)
             for layer, theta in zip(layers, params, strict=True)]  # fmt: skip
    layers, params = [layer for layer, _ in pairs], [theta for _, theta in pairs]
    for kinds, product in PRODUCTS:
        if all(isinstance(layer, kinds) for layer in layers):
            found = product(layers, params)
            if found is not None:
                return found
    W = reduce(lambda P, pair: pair[0].apply(pair[1], P.T).T, zip(layers[1:], params[1:], strict=True), layers[0].matrix(params[0]))
    W = np.ascontiguousarray(W)
    return Dense(W.shape[1], W.shape[0]), W


def with_constant(layer: Layer, theta: Array, constant: Array) -> Composed:
    """The layer with a bias, `f(a) = W a + constant`; `Dense` where the structure has too few biases for it (T9.1).

    A constant that differs within a channel, as padding with zeros makes it, is none of a convolution.
    """
    biased = Biased(layer)
    each = constant.reshape(-1, biased.places)
    # rounding: the outputs of a channel are sums of the same numbers, in an order of their own
    if np.abs(each - each[:, :1]).max() > 8 * layer.shape[1] * np.finfo(constant.dtype).eps * np.abs(each).max():
        W = layer.matrix(theta)
        return with_constant(Dense(W.shape[1], W.shape[0]), np.ascontiguousarray(W), constant)
    return biased, biased.join(theta, np.ascontiguousarray(each[:, 0]))


def _diagonals(layers: Sequence[Layer], params: Sequence[Array]) -> Composed:
    return layers[0], np.multiply.reduce(list(params))


def _circulants(layers: Sequence[Layer], params: Sequence[Array]) -> Composed:
    # theta is the first column, and a product with two reflections has none
    column = params[0]
    for layer, theta in zip(layers[1:], params[1:], strict=True):
        column = layer.matrix(theta) @ column
    reflections = sum(isinstance(layer, AntiCirculant) for layer in layers)
    return (AntiCirculant if reflections % 2 else Circulant)(layers[0].shape[1]), column


def _blocks(layers: Sequence[BlockDiagonal], params: Sequence[Array]) -> Composed | None:
    ends = layers[0].blocks
    product = layers[0].split(params[0])
    for layer, theta in zip(layers[1:], params[1:], strict=True):
        if [n_out for _, n_out in ends] != [n_in for n_in, _ in layer.blocks]:
            return None
        product = [block @ below for block, below in zip(layer.split(theta), product, strict=True)]
        ends = layer.blocks
    found = BlockDiagonal(tuple((block.shape[1], block.shape[0]) for block in product))
    return found, np.concatenate([block.ravel() for block in product])


def _convolutions(layers: Sequence[Convolution], params: Sequence[Array]) -> Composed | None:
    """`K[:, :, b] = sum K_d[:, :, a_d] ... K_1[:, :, a_1]` over the taps with `b = sum_l a_l s_1 ... s_{l-1}` (T9.1)."""
    # a kernel of one tap is neither padded nor wrapped around
    paddings = {axis.padding for layer in layers for axis in layer.axes if axis.kernel > 1} or {"valid"}
    strides = [[axis.stride for axis in layer.axes] for layer in layers]
    fits = all(
        above.in_channels == below.out_channels and [axis.size for axis in above.axes] == [axis.out for axis in below.axes]
        for below, above in pairwise(layers)
    )
    if not fits or not (paddings == {"valid"} or (paddings == {"circular"} and np.max(strides) == 1)):
        return None
    padding = paddings.pop()
    kernel, step = layers[0].taps_of(params[0]), strides[0]
    for layer, theta, stride in zip(layers[1:], params[1:], strides[1:], strict=True):
        kernel, step = _under(layer.taps_of(theta), kernel, step), [s * t for s, t in zip(step, stride, strict=True)]
    axes = layers[0].axes
    if padding == "circular":
        for i in (0, 1):
            kernel = _wrapped(kernel, 2 + i, axes[i].size, sum(layer.axes[i].left for layer in layers))
    sizes, taps = [axis.size for axis in axes], kernel.shape[2:]
    channels = (layers[0].in_channels, layers[-1].out_channels)
    if isinstance(layers[0], Conv1d):
        return Conv1d(sizes[1], taps[1], *channels, padding, step[1]), np.ascontiguousarray(kernel[:, :, 0])
    return Conv2d((sizes[0], sizes[1]), (taps[0], taps[1]), *channels, padding, (step[0], step[1])), kernel


def _under(K: Array, below: Array, step: Sequence[int]) -> Array:
    """The kernel of K after `below`, whose outputs are `step` inputs apart."""
    m, n = K.shape[2:]
    height, width = below.shape[2:]
    found = np.zeros((K.shape[0], below.shape[1], height + (m - 1) * step[0], width + (n - 1) * step[1]), dtype=K.dtype)
    for a in range(m):
        for b in range(n):
            y, x = a * step[0], b * step[1]
            found[:, :, y : y + height, x : x + width] += np.tensordot(K[:, :, a, b], below, 1)
    return found


def _wrapped(kernel: Array, axis: int, size: int, left: int) -> Array:
    """The same circular kernel in the layout of a layer: `left` taps before the centre become what `Axis.left` says.

    Zeros are added at one end where it is not centred (even kernels); a kernel larger than the image goes round it.
    """
    taps = kernel.shape[axis]
    wanted = min(size, max(2 * left + 1, 2 * (taps - 1 - left)))
    found = np.zeros((*kernel.shape[:axis], wanted, *kernel.shape[axis + 1 :]), dtype=kernel.dtype)
    to, of = np.moveaxis(found, axis, 0), np.moveaxis(kernel, axis, 0)
    for a in range(taps):
        to[(a - left + Axis(size, wanted, 1, "circular").left) % size] += of[a]
    return found


# the conditions of each product beyond the kinds of its layers are its own
PRODUCTS: list[tuple[tuple[type[Layer], ...], Callable[..., Composed | None]]] = [
    ((Diagonal,), _diagonals),
    ((Circulant, AntiCirculant), _circulants),
    ((BlockDiagonal,), _blocks),
    ((Conv1d,), _convolutions),
    ((Conv2d,), _convolutions),
]
