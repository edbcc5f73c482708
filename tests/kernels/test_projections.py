"""The compiled projection of every layer: the reference's, in both dtypes and every layout."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import linalign as la
from linalign import reference
from tests.oracles.layer_cases import LAYERS, NAMES


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layer", LAYERS, ids=NAMES)
def test_every_layer(layer, dtype):
    r = np.random.default_rng(0)
    for wrapped in (layer, la.layers.Biased(layer), la.Affine(layer, r.standard_normal(layer.shape))):
        M = r.standard_normal(layer.shape).astype(dtype)
        before = M.copy()
        want = reference.project(wrapped, M)
        out = np.full(wrapped.param_shape, np.nan, dtype)
        found = la.kernels.project(wrapped, M, out=out)
        assert found is out
        # a mean of at most all entries of the layer, each of size one: half of that many roundings either way, and as many of a basis
        assert np.allclose(found, want, rtol=0, atol=(M.size + 8) * np.finfo(dtype).eps * max(1.0, np.abs(want).max(initial=0)))
        assert np.array_equal(M, before)
        for other in (np.asfortranarray(M), M.tolist() if dtype == np.float64 else M, np.repeat(M, 2, axis=1)[:, ::2]):
            assert np.array_equal(la.kernels.project(wrapped, other), found)


def test_projections_of_members_are_exact():
    for layer in (la.Toeplitz(5, 4), la.Masked(np.eye(4, dtype=bool)), la.Conv2d((4, 5), 3)):
        theta = np.random.default_rng(1).integers(-9, 9, layer.param_shape).astype(float)
        # whole numbers: sums are exact, and a mean of equal ones is one rounding from it
        assert np.allclose(la.kernels.project(layer, layer.matrix(theta)), theta, rtol=4e-16, atol=0)


def test_tables_live_as_long_as_the_layer():
    layer = la.Masked(np.random.default_rng(2).random((9, 9)) < 0.5)
    la.kernels.project(layer, np.eye(9))
    gone = weakref.ref(layer)
    del layer
    gc.collect()
    assert gone() is None


def test_layers_that_have_no_hash():
    class Other(la.Toeplitz):
        def __eq__(self, other):
            return self is other

        __hash__ = None

    M = np.arange(12.0).reshape(3, 4)
    assert np.allclose(la.kernels.project(Other(4, 3), M), la.kernels.project(la.Toeplitz(4, 3), M), rtol=1e-15, atol=1e-14)


def test_bad_input_is_named():
    layer = la.Toeplitz(4, 3)
    with pytest.raises(TypeError, match=r"^layer is str; a layer such as linalign\.Toeplitz\(64, 10\) was wanted$"):
        la.kernels.project("toeplitz", np.eye(3))
    with pytest.raises(ValueError, match=r"^M has shape \(4, 3\); Toeplitz\(n_in=4, n_out=3\) projects matrices of shape \(3, 4\)$"):
        la.kernels.project(layer, np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"^out is shape \(5,\) and dtype float64; an array of shape \(6,\) and dtype float64 was wanted$"):
        la.kernels.project(layer, np.ones((3, 4)), out=np.empty(5))
    with pytest.raises(ValueError, match=r"^out is shape \(6,\) and dtype float32; "):
        la.kernels.project(layer, np.ones((3, 4)), out=np.empty(6, np.float32))
