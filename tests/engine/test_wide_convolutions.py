"""Convolutions of 3 x 3 taps on images that are wider than a vector, in integers: equal to the bit, whatever the order of the sums.

The kernels take rows of outputs by eights, fours, twos and ones, outputs by fours and ones, gradients by twos and ones, and the last
vector of a row overlaps the one before it; where fewer than four outputs meet several inputs they are summed input by input.
"""

from __future__ import annotations

import numpy as np
import pytest

import linalign as la
from linalign.problem.problem import make_problem
from tests.oracles.checks import DTYPES, RUNNING, descent, isas
from tests.oracles.structured_cases import structured_engine

# image, channels from the inputs to the outputs, padding: heights of all remainders, widths of whole vectors, of one more, of one less
CASES = [
    ((15, 28), (1, 1, 1), "same"),
    ((14, 16), (1, 4, 1), "same"),
    ((13, 17), (1, 5, 3), "same"),
    ((12, 31), (2, 3, 2), "same"),
    ((3, 32), (5, 9, 4), "same"),
    ((7, 19), (3, 2, 8), "same"),
    ((5, 20), (9, 6, 1), "same"),
    ((3, 18), (1, 6, 2), "same"),
    ((6, 33), (4, 4, 4), "same"),
    ((19, 22), (1, 2, 1), "valid"),
    ((12, 21), (2, 5, 3), "valid"),
    ((11, 20), (4, 1, 4), "valid"),
]


def chain_of(image, channels, padding):
    first = la.Conv2d(image, 3, *channels[:2], padding)
    return [first, la.Conv2d(tuple(axis.out for axis in first.axes), 3, *channels[1:], padding)]


def gradients(layers, params, X, Y):
    """Of `0.5 sum (F - Y)^2`, by the layers' own products in NumPy, which the tests of the layers hold to their matrices."""
    below = [X]
    for layer, theta in zip(layers, params, strict=True):
        below.append(layer.apply(theta, below[-1]))
    D, found = below[-1] - Y, []
    for layer, theta, A in zip(reversed(layers), reversed(params), reversed(below[:-1]), strict=True):
        found.insert(0, layer.grad(D, A))
        D = layer.adjoint(theta, D)
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_integer_gradients_are_exact(case, dtype):
    layers = chain_of(*case)
    rng = np.random.default_rng(0)
    for n, threads in ((1, 1), (5, 1), (5, 3)):
        params = [rng.integers(-1, 2, layer.param_shape).astype(float) for layer in layers]
        X, Y = (rng.integers(-4, 5, (n, k)) // 4.0 for k in (layers[0].shape[1], layers[1].shape[0]))
        wanted = gradients(layers, params, X, Y)
        # no sum leaves the whole numbers of the type, in any order
        most = gradients(layers, [np.abs(theta) for theta in params], np.abs(X), -np.abs(Y))
        assert max(np.abs(G).max() for G in most) < 2 / np.finfo(dtype).eps
        net = la.Network(layers, [theta.astype(dtype) for theta in params])
        problem = make_problem(net, X.astype(dtype), Y.astype(dtype), "squared")
        for isa in isas():
            engine = structured_engine(isa, 0, threads)(problem, descent(2))
            for _ in range(2):  # what a step leaves in the margins is seen by the next
                status, _ = engine.differentiate()
                assert status == RUNNING
                for found, G in zip(engine.gradients, wanted, strict=True):
                    assert np.array_equal(found, G), (isa, n, threads)
