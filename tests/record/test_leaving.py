"""Runs that leave the finite numbers while they are recorded say that they diverged, and nothing else, on no stream."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import linalign as la
from linalign.linear_algebra import leaving

NETS = {
    "dense": la.Network.dense([5, 6, 7, 3]),
    "large": la.Network([la.Toeplitz(50, 50), la.Circulant(50), la.Dense(50, 50)]),
    "conv": la.Network([la.layers.Conv2d((8, 8), 3), la.Dense(64, 5)]),
}
SCORES = ["alignment_svd", "alignment_top", "effective_rank", "invariance", "layer_singular_values", "nuclear_norm", "singular_values",
          "top_invariance"]  # fmt: skip


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("lr", [3.0, 1e150])
def test_lapack_is_not_asked_for_what_is_not_finite(capfd, kind, lr):
    # it would write "On entry to DLASCL parameter number 4 had an illegal value" to the terminal
    rng = np.random.default_rng(0)
    net = NETS[kind].init("gaussian", rng=0)
    X, Y = rng.standard_normal((20, net.widths[0])), rng.standard_normal((20, net.widths[-1]))
    for update in ("cyclic", "simultaneous"):
        with np.errstate(all="ignore"), pytest.raises(la.DivergenceError) as caught:
            la.train(net, X, Y, lr=lr, steps=60, record=dict.fromkeys(SCORES, 1), reduce="none", update=update)
        assert list(caught.value.run.history) == SCORES
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["sharpness", "edge", "hessian_eigenvalues", "gauss_newton_top", "kernel_distance"])
def test_a_curvature_that_overflows_before_the_loss_ends_no_run(name):
    # ARPACK and the norm of the kernel raised, and hid that the run diverged
    rng = np.random.default_rng(0)
    net = NETS["conv"].init("gaussian", rng=0)
    X, Y = rng.standard_normal((20, 64)), rng.standard_normal((20, 5))
    with np.errstate(all="ignore"), pytest.raises(la.DivergenceError) as caught:
        la.train(net, X, Y, lr=3.0, steps=60, record={name: 1}, reduce="none")
    assert np.isfinite(caught.value.run.history[name].values[:2]).any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_factorisations_of_what_is_not_finite_are_nan(capfd, value):
    A = np.eye(3, 4)
    A[1, 2] = value
    for found, shape in zip(leaving.thin_svd(A), [(3, 3), (3,), (3, 4)], strict=True):
        assert found.shape == shape
        assert np.isnan(found).all()
    assert np.isnan(leaving.singular_values(A)).all()
    assert all(np.isnan(found).all() for found in leaving.symmetric_eigen(A[:, :3] + A[:, :3].T + value))
    assert capfd.readouterr() == ("", "")


def test_a_product_that_is_zero_is_zero_however_the_run_was_reduced():
    # what a reduction turns leaves rounding in its place: 6e-19 of a direction of its own, and a rank of 1.67 for 0
    rng = np.random.default_rng(0)
    for case in range(20):
        k = [int(rng.integers(*bounds)) for bounds in ((4, 9), (10, 25), (10, 25), (2, 4))]
        W = [rng.standard_normal((out, into)) for into, out in itertools.pairwise(k)]
        half = k[1] // 2
        W[0][half:] = 0.0
        W[1][:, :half] = 0.0
        dtype = np.float32 if case % 2 else np.float64
        net = la.Network.dense(k, [w.astype(dtype) for w in W])
        X, Y = (rng.standard_normal((6, 2)) @ rng.standard_normal((2, k[0]))).astype(dtype), rng.standard_normal((6, k[3])).astype(dtype)
        for reduce in ("none", ["samples", "inputs", "width"]):
            run = la.train(net, X, Y, lr=1e-9, steps=0, record={"effective_rank": 1, "singular_values": 1}, reduce=reduce)
            assert run.history["effective_rank"].values[0] == 0.0
            assert not run.history["singular_values"].values[0].any()
    assert la.effective_rank(net) == 0.0


def test_a_deep_chain_of_small_layers_is_not_zero():
    # every factor takes 30 digits off, and leaves as many as it had
    rng = np.random.default_rng(1)
    matrices = [rng.standard_normal((6, 6)) * 1e-30 for _ in range(40)]
    scaled = [W * 1e30 for W in matrices]
    assert abs(la.effective_rank(matrices) - la.effective_rank(scaled)) < 1e-9
    graded = [np.diag([1.0, 1e-12]), np.diag([1e-12, 1.0])]
    assert np.allclose(la.singular_values(graded), 1e-12, rtol=1e-12, atol=0)
