"""Interfaces of convolutions from small images: the same angles as from the matrices of the images as given."""

import contextlib
from itertools import pairwise, product, starmap

import numpy as np
import pytest

import linalign as la
from linalign.record.convolution_interfaces import interface_of, small_images
from linalign.scores.interfaces import angles

C1, C2 = la.Conv1d, la.Conv2d

PAIRS = {
    "same": (C2((28, 20), 3), C2((28, 20), 3)),
    "one axis is short": (C2((28, 4), 3), C2((28, 4), 3)),
    "channels, even kernels": (C2((18, 13), 3, 2, 3), C2((18, 13), (2, 4), 3, 2)),
    "valid": (C2((20, 24), (4, 3), 1, 2, "valid"), C2((17, 22), 3, 2, 1, "valid")),
    "valid, then same": (C2(20, 3, padding="valid"), C2(18, 2)),
    "same, then valid": (C2(20, 3), C2(20, 2, padding="valid")),
    "circular": (C2(20, 3, padding="circular"), C2(20, 5, padding="circular")),
    "circular, channels": (C2((20, 9), 3, 2, 2, "circular"), C2((20, 9), (2, 3), 2, 1, "circular")),
    "one axis": (C1(60, 5, 2, 2), C1(60, 3, 2, 1)),
    "one axis, circular": (C1(60, 5, 2, 2, "circular"), C1(60, 4, 2, 2, "circular")),
    "no pixel is left out": (C1(7, 5), C1(7, 4)),
}


def taps(rng, layer, dtype=np.float64):
    return rng.standard_normal(layer.param_shape).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "scale"), [(np.float64, 1), (np.float64, 1e-90), (np.float64, 1e90), (np.float32, 1), (np.float32, 1e-30)]
)
@pytest.mark.parametrize("name", PAIRS)
def test_the_angles_of_the_image_as_given(name, dtype, scale):
    low, high = PAIRS[name]
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = taps(rng, low, dtype) * dtype(scale), taps(rng, high, dtype)
        found = interface_of(low, high).angle(a, b)
        assert found == pytest.approx(angles([low.matrix(a), high.matrix(b)])[0], rel=1e-13, abs=1e-14)


def test_small_images_are_small():
    low, high = C2(224, 3, 2, 2), C2(224, 3, 2, 1)
    assert interface_of(low, high).low.shape == (2 * 81, 2 * 81)


@pytest.mark.parametrize(
    "layers", [(C2(20, 3, padding="circular"), C2(20, 3)), (C2(20, 3, stride=2), C2(10, 3)), (C1(9, 3), la.Dense(9, 4))]
)
def test_other_interfaces_are_left_to_others(layers):
    assert small_images(layers, list) is None


def convolutions():
    """Convolutions of many images, channels, kernels and borders, from rows of 12 numbers at most to as many."""
    found = []
    for channels, padding in product(((1, 1), (1, 2), (2, 1), (3, 3)), ("same", "valid", "circular")):
        options = *channels, padding
        strides = (1, 2) if padding == "same" else (1,)
        for length, kernel, stride in product((1, 2, 3, 4, 6), (1, 2, 3), strides):
            found.append((C1, (length, kernel, *options, stride)))
        for image, kernel, stride in product(((1, 1), (2, 2), (1, 4), (4, 1), (2, 3), (3, 2)), ((1, 1), (2, 2), (1, 3), (3, 1)), strides):
            found.append((C2, (image, kernel, *options, stride)))
    layers = []
    for kind, arguments in found:
        with contextlib.suppress(ValueError):  # the kernel does not fit, or a tap meets nothing
            layers.append(kind(*arguments))
    return [layer for layer in layers if max(layer.shape) <= 12]


def alike(low, high):
    """Whether both see the row between them as the same image."""
    return low.out_channels == high.in_channels and [axis.out for axis in low.axes] == [axis.size for axis in high.axes]


def test_any_pair_of_small_convolutions():
    rng, layers = np.random.default_rng(5), convolutions()
    pairs = [(low, high) for low, high in product(layers, layers) if low.shape[0] == high.shape[1]]
    mixed = [pair for pair in pairs if not alike(*pair)]
    assert len(mixed) > 3000
    assert all(interface_of(*pair) is None for pair in mixed)
    pairs = [pair for pair in pairs if interface_of(*pair) is not None]
    for at in rng.choice(len(pairs), 400, replace=False):
        low, high = pairs[at]
        a, b = taps(rng, low), taps(rng, high)
        angle = interface_of(low, high).angle(a, b)
        if angle is not None:
            assert angle == pytest.approx(angles([low.matrix(a), high.matrix(b)])[0], rel=1e-11, abs=1e-12), (low, high)


def test_any_three_small_convolutions_along_a_run():
    rng, layers = np.random.default_rng(6), convolutions()
    rng.shuffle(layers)
    kinds = set()
    for _ in range(60):
        chain = [layers[rng.integers(len(layers))]]
        while len(chain) < 3:
            # a neighbour that sees the row as another image, where there is one, as often as not
            fit = [layer for layer in layers if layer.shape[1] == chain[-1].shape[0]]
            other = [layer for layer in fit if alike(chain[-1], layer) == (rng.random() < 0.5)]
            chain.append((other or fit)[rng.integers(len(other or fit))])
        kinds.add(tuple(starmap(alike, pairwise(chain))))
        check_a_run(chain, rng)
    assert kinds == set(product((True, False), repeat=2))


def check_a_run(layers, rng, **options):
    """What is recorded is what the networks score."""
    net = la.Network(layers).init("gaussian", rng=rng)
    X, Y = (rng.standard_normal((5, width)) for width in (net.widths[0], net.widths[-1]))
    run = la.train(net, X, Y, lr=1e-4, steps=3, record={"alignment": 1, "misalignment": 1}, **options)
    for at, network in ((0, net), (-1, run.network)):
        assert run.history["alignment"].values[at] == pytest.approx(la.alignment(network), rel=1e-10), layers
        assert run.history["misalignment"].values[at] == pytest.approx(la.misalignment(network), rel=1e-10, abs=1e-12), layers


def test_layers_that_do_not_meet_are_aligned():
    low, high = C2(12, 3), C2(12, 3)
    assert interface_of(low, high).angle(np.zeros((1, 1, 3, 3)), np.ones((1, 1, 3, 3))) == (0.0, 1.0)


def test_a_cosine_near_zero_is_left_to_others():
    # two channels: orthogonal projections onto lines at nearly a right angle
    low, high = C1(9, 1, 2, 2), C1(9, 1, 2, 2)
    u, v = np.array([1.0, 0.0]), np.array([1e-4, 1.0])
    a, b = np.outer(u, u)[:, :, None], np.outer(v, v)[:, :, None]
    assert interface_of(low, high).angle(a, b) is None
    net = la.Network([low, high], [a, b])
    run = la.train(net, np.eye(18)[:3], np.zeros((3, 18)), lr=1e-9, steps=1, record={"alignment": 1})
    assert run.history["alignment"].values[0] == pytest.approx(la.alignment(net), rel=1e-10)


MIXED = [
    [C2((1, 1), 1, 3, 3), C1(3, 2)],
    [C2((2, 2), 2), C1(4, 3)],
    [C1(4, 3), C2((2, 2), 2)],
    [C1(6, 2), C1(3, 2, 2, 2), C2((2, 3), 2)],
    [C2((2, 3), 2), C2((3, 2), 2), C2((3, 2), (2, 1))],
    [C2((2, 2), 1, 1, 3), C2((2, 2), 1, 3, 3), C1(12, 3)],
    [C2((1, 6), (1, 2)), C1(6, 3), C2((6, 1), (3, 1))],
    [C1(3, 2, 2, 2, "circular"), C2((3, 2), 2, 1, 1, "circular"), C1(6, 2, padding="circular")],
    [C2((4, 3), 2, 1, 2, bias=True), C2((4, 3), 3, 2, 1), C2((4, 3), (2, 1), bias=True), la.Residual(C2((4, 3), 2, bias=True))],
]


def test_biases_stand_beside_the_taps():
    low, high = C2((18, 13), 3, 2, 3, bias=True), C2((18, 13), (2, 4), 3, 2, bias=True)
    rng = np.random.default_rng(4)
    params = [taps(rng, layer) for layer in (low, high)]
    found = small_images((low, high), lambda: params).angles()
    assert found[0] == pytest.approx(angles([low.matrix(params[0]), high.matrix(params[1])])[0], rel=1e-13, abs=1e-14)


@pytest.mark.parametrize("options", [{}, {"reduce": "none"}, {"implementation": "reference"}], ids=str)
@pytest.mark.parametrize("layers", MIXED, ids=range(len(MIXED)))
def test_neighbours_that_see_the_row_as_different_images(layers, options):
    check_a_run(layers, np.random.default_rng(0), **options)


@pytest.mark.parametrize("reduce", ["auto", "none"])
def test_along_a_run(reduce):
    # convolutions of both kinds of interface, and a dense layer that takes its scores from the matrices
    rng = np.random.default_rng(3)
    net = la.Network([C2(12, 3), C2(12, 3, padding="valid"), C2(10, 3, stride=2), la.Dense(25, 3)]).init("gaussian", rng=0)
    X, Y = rng.standard_normal((40, 144)), rng.standard_normal((40, 3))
    seen = []

    def member(network):
        seen.append(network)
        return 0.0

    run = la.train(net, X, Y, lr=1e-3, steps=12, record={"alignment": 4, "misalignment": 4, member: 4}, reduce=reduce)
    assert len(seen) == 4
    for at, network in enumerate(seen):
        assert run.history["alignment"].values[at] == pytest.approx(la.alignment(network), rel=1e-12)
        assert run.history["misalignment"].values[at] == pytest.approx(la.misalignment(network), rel=1e-11)
