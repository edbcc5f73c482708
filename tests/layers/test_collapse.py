"""collapse: one layer for the whole network, of the structure that the product has."""

from __future__ import annotations

import numpy as np
import pytest

import linalign as la
from tests.oracles.layer_cases import LAYERS, NAMES

EPS = np.finfo(np.float64).eps


def chain(*layers):
    return la.Network(layers).init("gaussian", rng=3)


def valid1d(length, *shape):
    """Valid convolutions, each `(kernel, channels, stride)`, on an image of this length."""
    layers, channels = [], 2
    for kernel, out, stride in shape:
        layers.append(la.Conv1d(length, kernel, channels, out, "valid", stride))
        length, channels = (length - kernel) // stride + 1, out
    return chain(*layers)


def valid2d(size, *shape):
    layers, channels = [], 1
    for kernel, out, stride in shape:
        layers.append(la.Conv2d(size, kernel, channels, out, "valid", stride))
        size, channels = layers[-1].axes[0].out, out
        size = (size, layers[-1].axes[1].out)
    return chain(*layers)


def circular(size, *kernels, kind=la.Conv1d):
    return chain(*(kind(size, kernel, c, d, "circular") for kernel, c, d in zip(kernels, (1, 3, 2, 2), (3, 2, 2, 1), strict=False)))


T = la.Toeplitz(6, 6)

CASES = {
    "diagonals": (chain(la.Diagonal(5), la.Diagonal(5), la.Diagonal(5)), la.Diagonal(5)),
    "circulants": (chain(la.Circulant(6), la.Circulant(6), la.Circulant(6)), la.Circulant(6)),
    "a reflection": (chain(la.Circulant(5), la.AntiCirculant(5)), la.AntiCirculant(5)),
    "two reflections": (chain(la.AntiCirculant(5), la.Circulant(5), la.AntiCirculant(5)), la.Circulant(5)),
    "blocks": (
        chain(la.BlockDiagonal([(2, 3), (1, 4)]), la.BlockDiagonal([(3, 1), (4, 2)]), la.BlockDiagonal([(1, 5), (2, 1)])),
        la.BlockDiagonal([(2, 5), (1, 1)]),
    ),
    "blocks that do not fit": (chain(la.BlockDiagonal([(2, 3), (1, 4)]), la.BlockDiagonal([(4, 2), (3, 1)])), la.Dense(3, 3)),
    "valid": (valid1d(12, (3, 2, 1), (4, 3, 1), (2, 1, 1)), la.Conv1d(12, 7, 2, 1, "valid")),
    "valid strided": (valid1d(40, (3, 2, 2), (4, 3, 3), (2, 1, 2)), la.Conv1d(40, 3 + 3 * 2 + 1 * 6, 2, 1, "valid", 12)),
    "valid, one output": (valid1d(9, (4, 2, 2), (3, 2, 2)), la.Conv1d(9, 8, 2, 2, "valid", 4)),
    "valid, 2 axes": (valid2d((9, 8), ((3, 2), 2, 1), ((2, 3), 3, 1)), la.Conv2d((9, 8), (4, 4), 1, 3, "valid")),
    "valid strided, 2 axes": (valid2d((15, 14), ((3, 2), 2, (2, 1)), ((2, 3), 2, (1, 3)), (1, 1, 2)), la.Conv2d((15, 14), (5, 4), 1, 1, "valid", (4, 6))),
    "one tap is neither padded nor wrapped": (
        chain(la.Conv1d(9, 3, 1, 2, "valid"), la.Conv1d(7, 1, 2, 3, "same"), la.Conv1d(7, 1, 3, 1, "circular", 2)),
        la.Conv1d(9, 3, 1, 1, "valid", 2),
    ),
    "taps alone": (chain(la.Conv1d(9, 1, 1, 2), la.Conv1d(9, 1, 2, 3)), la.Conv1d(9, 1, 1, 3, "valid")),
    "circular": (circular(9, 3, 5, 1), la.Conv1d(9, 7, 1, 2, "circular")),
    "circular even": (circular(9, 2, 2), la.Conv1d(9, 4, 1, 2, "circular")),
    "circular mixed": (circular(12, 2, 3, 4), la.Conv1d(12, 8, 1, 2, "circular")),
    "circular as large as the image": (circular(7, 3, 5), la.Conv1d(7, 7, 1, 2, "circular")),
    "circular larger than the image": (circular(6, 5, 4, 6, 3), la.Conv1d(6, 6, 1, 1, "circular")),
    "circular, 2 axes": (circular((6, 4), (3, 2), (3, 3), (2, 1), kind=la.Conv2d), la.Conv2d((6, 4), (6, 4), 1, 2, "circular")),
    "circular strided": (chain(la.Conv1d(8, 3, padding="circular", stride=2), la.Conv1d(4, 3, padding="circular")), la.Dense(8, 4)),
    "padded": (chain(la.Conv1d(8, 3), la.Conv1d(8, 3)), la.Dense(8, 8)),
    "valid after circular": (chain(la.Conv1d(8, 3, padding="circular"), la.Conv1d(8, 3, padding="valid")), la.Dense(8, 6)),
    "other channels": (chain(la.Conv1d(8, 3, 1, 2, "valid"), la.Conv1d(6, 3, 2, 1, "valid")), la.Conv1d(8, 5, 1, 1, "valid")),
    "another image": (chain(la.Conv1d(8, 3, 1, 2, "valid"), la.Conv1d(12, 3, 1, 1, "valid")), la.Dense(8, 10)),
    "one axis then two": (chain(la.Conv1d(8, 3, padding="valid"), la.Conv2d((2, 3), 2, padding="valid")), la.Dense(8, 2)),
    "Toeplitz": (chain(T, T), la.Dense(6, 6)),
    "mixed": (chain(la.Masked(np.tri(4, dtype=bool)), la.Fixed(np.ones((3, 4))), la.Diagonal(3)), la.Dense(4, 3)),
    "dense": (chain(la.Dense(4, 3), la.Dense(3, 2)), la.Dense(4, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_product_keeps_its_structure(name):
    net, layer = CASES[name]
    for dtype in (np.float64, np.float32):
        flat = net.astype(dtype).collapse()
        assert flat.layers == (layer,)
        assert flat.dtype == dtype
        # sums of at most k_1 ... k_{d-1} products, of at most 60 terms each
        size = np.linalg.multi_dot([np.abs(W) for W in reversed(net.matrices())]).max() if net.depth > 1 else 1.0
        assert np.abs(flat.matrix() - net.matrix()).max() <= 4 * 60 * net.depth * np.finfo(dtype).eps * size


@pytest.mark.parametrize("layer", LAYERS, ids=NAMES)
def test_one_layer_is_its_own_product(layer):
    flat = la.Network([layer]).init("gaussian", rng=0)
    again = flat.collapse()
    assert again.layers == (layer,)
    assert np.array_equal(again.params[0], flat.params[0])


def test_random_chains_of_convolutions():
    rng = np.random.default_rng(0)
    for seed in range(150):
        padding = ("valid", "circular")[seed % 2]
        sizes = [int(n) for n in rng.integers(3, 12, 2)]
        channels, layers, product = 1, [], np.ones(2, dtype=int)
        for _ in range(rng.integers(2, 5)):
            kernel = [int(rng.integers(1, n + 1)) for n in sizes]
            stride = (1, 1) if padding == "circular" else tuple(int(s) for s in rng.integers(1, 4, 2))
            layers.append(la.Conv2d(tuple(sizes), tuple(kernel), channels, int(rng.integers(1, 4)), padding, stride))
            sizes, channels = [axis.out for axis in layers[-1].axes], layers[-1].out_channels
            product = product * stride
        net = la.Network(layers).init("gaussian", rng=seed)
        flat = net.collapse()
        (found,) = flat.layers
        assert isinstance(found, la.Conv2d)
        assert padding == "circular" or found.stride == tuple(product)
        bound = 1e3 * EPS * np.linalg.multi_dot([np.abs(W) for W in reversed(net.matrices())]).max()
        assert np.abs(flat.matrix() - net.matrix()).max() <= bound
