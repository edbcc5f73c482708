"""Network and its layers: shapes, values, and the three primitives."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linalign as la
from linalign import reference
from linalign.layers import describe, from_description
from tests.oracles.extended import LD

W1, W2 = np.array([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]]), np.array([[2.0, 1.0]])


def net():
    return la.Network.from_matrices([W1, W2])


# ---- what it is ------------------------------------------------------------------------------------------------------------


def test_shapes():
    found = net()
    assert found.widths == (3, 2, 1)
    assert found.depth == 2
    assert found.size == 8
    assert found.dtype == np.float64
    assert found.layers == (la.Dense(3, 2), la.Dense(2, 1))
    assert [theta.shape for theta in found.params] == [(2, 3), (1, 2)]
    assert found.is_initialised
    assert repr(found) == "Network(3-2-1, float64)"
    bare = la.Network.dense([3, 2, 1])
    assert not bare.is_initialised
    assert repr(bare) == "Network(3-2-1, no parameters yet)"
    assert bare.widths == (3, 2, 1)


def test_it_computes_x_times_the_transpose_of_the_product():
    X = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    assert np.array_equal(net().matrix(), W2 @ W1)
    assert np.array_equal(net()(X), X @ (W2 @ W1).T)
    assert np.array_equal(net()(X), [[2.0], [8.0]])
    assert np.array_equal(net()([[1, 1, 1]]), [[8.0]])  # whole numbers are numbers
    for W, M in zip((W1, W2), net().matrices(), strict=True):
        assert np.array_equal(W, M)
    flat = net().collapse()
    assert flat.widths == (3, 1)
    assert np.array_equal(flat.matrix(), W2 @ W1)
    assert np.array_equal(flat(X), net()(X))


def test_the_reference_computes_the_same():
    found = net()
    assert np.array_equal(reference.end_to_end(found.layers, list(found.params)), found.matrix())
    X = np.arange(6.0).reshape(2, 3)
    activations = reference.forward(found.layers, list(found.params), X)
    assert [A.shape for A in activations] == [(2, 3), (2, 2), (2, 1)]
    assert np.array_equal(activations[-1], found(X))


def test_it_is_a_value():
    weights = [W1.copy(), W2.copy()]
    found = la.Network.from_matrices(weights)
    weights[0][...] = 0
    assert np.array_equal(found.params[0], W1)
    with pytest.raises(ValueError, match="read-only"):
        found.params[0][0, 0] = 5
    with pytest.raises(AttributeError):
        found.params = ()
    other = found.with_params([2 * W1, W2])
    assert np.array_equal(found.params[0], W1)
    assert np.array_equal(other.params[0], 2 * W1)
    assert other.layers is found.layers


def test_a_recorded_product_of_one_layer_is_no_way_in():
    # with one layer the product is the layer: it must not be writeable either
    found = la.Network.from_matrices([W1])
    matrix = found.matrix()
    assert not matrix.flags.writeable or not np.shares_memory(matrix, found.params[0])


def test_precision():
    single = net().astype(np.float32)
    assert single.dtype == np.float32
    assert single(np.ones((1, 3), dtype=np.float32)).dtype == np.float32
    assert single.astype("float64").dtype == np.float64
    assert la.Network.from_matrices([W1.astype(">f8")]).dtype == np.dtype(np.float64)
    assert la.Network.from_matrices([W1.astype(int)]).dtype == np.float64
    assert np.array_equal(la.Network.from_matrices([np.asfortranarray(W1)]).params[0], W1)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))], ids=["copy", "deepcopy", "pickle"])
def test_copies(make):
    again = make(net())
    assert again.widths == (3, 2, 1)
    assert np.array_equal(again.matrix(), net().matrix())
    assert (
        la.train(again, np.eye(3), np.ones((3, 1)), lr=0.01, steps=2).loss[0]
        == la.train(net(), np.eye(3), np.ones((3, 1)), lr=0.01, steps=2).loss[0]
    )


def test_init_gives_a_new_network():
    bare = la.Network.dense([4, 3, 2])
    found = bare.init("gaussian", rng=0)
    assert not bare.is_initialised
    assert found.is_initialised
    again = bare.init(["gaussian", "orthogonal"], rng=0, dtype=np.float32)
    assert again.dtype == np.float32


# ---- layers ----------------------------------------------------------------------------------------------------------------


def test_a_layer_is_a_value():
    assert la.Dense(3, 2) == la.Dense(np.int64(3), np.int32(2))
    assert la.Dense(3, 2) != la.Dense(2, 3)
    assert hash(la.Dense(3, 2)) == hash(la.Dense(3, 2))
    assert repr(la.Dense(3, 2)) == "Dense(n_in=3, n_out=2)"
    layer = la.Dense(3, 2)
    assert layer.shape == layer.param_shape == (2, 3)
    assert layer.size == 6
    assert np.array_equal(layer.multiplicity, np.ones((2, 3)))
    assert from_description(describe(layer)) == layer
    with pytest.raises(ValueError, match="structure is 'Cube'; this version knows Dense"):
        from_description({"structure": "Cube"})


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_the_primitives_are_adjoint(n_in, n_out, s, seed):
    """`<A W^T, D> = <A, D W> = <W, grad(D, A)>`, and to the bit for small integers."""
    rng = np.random.default_rng(seed)
    layer = la.Dense(n_in, n_out)
    for whole in (False, True):
        draw = (lambda shape: rng.integers(-9, 10, shape).astype(float)) if whole else rng.standard_normal
        theta, A, D = (draw(shape) for shape in ((n_out, n_in), (s, n_in), (s, n_out)))
        forward = np.sum(layer.apply(theta, A).astype(LD) * D)
        backward = np.sum(A.astype(LD) * layer.adjoint(theta, D))
        gradient = np.sum(theta.astype(LD) * layer.grad(D, A))
        # each is a sum of s k_in k_out products, rounded in the inner sum
        size = np.sum(np.abs(A) @ np.abs(theta).T * np.abs(D))
        bound = 0 if whole else (n_in + n_out + s) * np.finfo(float).eps * size
        assert abs(forward - backward) <= bound
        assert abs(forward - gradient) <= bound
        assert np.array_equal(layer.project(layer.matrix(theta)), theta)


# ---- refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: la.Network([]), ValueError, "layers is empty; a network needs at least one layer, such as linalign.Dense(64, 10)"),
        (lambda: la.Network([3]), TypeError, "layers[0] is int; a layer such as linalign.Dense(64, 10) was wanted"),
        (lambda: la.Network([la.Dense(3, 2), W2]), TypeError, "layers[1] is ndarray; a layer such as linalign.Dense(64, 10) was wanted"),
        (
            lambda: la.Network([la.Dense(3, 2), la.Dense(5, 4)]), ValueError,
            "layers[1] takes 5 inputs but layers[0] gives 2 outputs; layers[0] is applied first, "
            "so layers[1].shape[1] must equal layers[0].shape[0]",
        ),
        (lambda: la.Network.dense([3]), ValueError, "widths is [3]; at least two widths are needed, the inputs' and the outputs'"),
        (lambda: la.Network.dense([]), ValueError, "widths is []; at least two widths are needed, the inputs' and the outputs'"),
        (lambda: la.Network.dense([3, 0, 2]), ValueError, "widths[1] is 0; a whole number of at least 1 was wanted"),
        (lambda: la.Network.dense([3, -2]), ValueError, "widths[1] is -2; a whole number of at least 1 was wanted"),
        (lambda: la.Network.dense([3, 2.5]), TypeError, "widths[1] is 2.5; a whole number of at least 1 was wanted"),
        (lambda: la.Network.dense([3, True]), TypeError, "widths[1] is True; a whole number of at least 1 was wanted"),
        (lambda: la.Network.dense(["3", 2]), TypeError, "widths[0] is '3'; a whole number of at least 1 was wanted"),
        (lambda: la.Dense(0, 2), ValueError, "n_in is 0; a whole number of at least 1 was wanted"),
        (lambda: la.Dense(2, 1.0), TypeError, "n_out is 1.0; a whole number of at least 1 was wanted"),
        (
            lambda: la.Network.from_matrices([W1, W1]), ValueError,
            "layers[1] takes 3 inputs but layers[0] gives 2 outputs; layers[0] is applied first, "
            "so layers[1].shape[1] must equal layers[0].shape[0]",
        ),
        (lambda: la.Network.from_matrices([]), ValueError, "layers is empty; a network needs at least one layer, such as linalign.Dense(64, 10)"),
        (
            lambda: la.Network.from_matrices([W1, [1.0, 2.0]]), ValueError,
            "matrices[1] has 1 dimensions, shape (2,); a matrix was wanted: use matrices[1].reshape(rows, columns)",
        ),
        (lambda: la.Network.from_matrices([np.zeros((0, 3))]), ValueError, "matrices[0] is empty, shape (0, 3); at least one row and one column are needed"),
        (
            lambda: la.Network.from_matrices([W1, [[1.0, np.nan]]]), ValueError,
            "matrices[1][0, 1] is nan; every entry must be finite: drop or fill such rows",
        ),
        (lambda: la.Network.from_matrices([W1, W2.astype(np.float32)]), TypeError, "params[1] is float32 but params[0] is float64; use one dtype for all layers"),
        (lambda: net().with_params([W1]), ValueError, "params has 1 arrays but the network has 2 layers; pass one array a layer"),
        (
            lambda: net().with_params([W1.T, W2]), ValueError,
            "params[0] has shape (3, 2); Dense(n_in=3, n_out=2) takes parameters of shape (2, 3)",
        ),
        (lambda: net().with_params([W1, [[np.inf, 0]]]), ValueError, "params[1][0, 0] is inf; every entry must be finite: drop or fill such rows"),
        (
            lambda: net().with_params([W1, W2 + 1j]), TypeError,
            "params[1] is complex128; linalign is real: pass params[1].real, or real and imaginary parts stacked",
        ),
        (
            lambda: la.Network.dense([3, 2]).params, ValueError,
            'the network has no parameters yet; call net.init("gaussian", rng=0) or pass params=',
        ),
        (lambda: net().astype(np.float16), TypeError, "dtype is float16; linalign computes in float64 or float32"),
        (lambda: net().astype(int), TypeError, "dtype is int64; linalign computes in float64 or float32"),
        (lambda: net().astype("quad"), TypeError, "dtype is 'quad', which is no dtype; use numpy.float64 or numpy.float32"),
        (lambda: net()(np.ones((2, 4))), ValueError, "X has shape (2, 4); 3 columns were wanted, not 4"),
        (lambda: net()(np.ones(3)), ValueError, "X has 1 dimensions, shape (3,); a matrix was wanted: use X.reshape(rows, columns)"),
        (
            lambda: net()(np.ones((2, 3), dtype=np.float32)), TypeError,
            "X is float32 but the network is float64; nothing is converted silently: pass X.astype(np.float64) or net.astype(np.float32)",
        ),
    ],
)  # fmt: skip
def test_refusals(make, error, message):
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        make()


def test_a_number_too_large_for_single_precision_is_refused():
    big = la.Network.from_matrices([[[1e300]]])
    with pytest.raises(ValueError, match=re.escape("params[0][0, 0] is inf; every entry must be finite")):
        big.astype(np.float32)
