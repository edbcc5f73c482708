"""Singular values and vectors that a structure gives, against LAPACK's singular value decomposition."""

from __future__ import annotations

import numpy as np
import pytest

import linalign as la
from linalign.scores import structured_svd as singular
from linalign.scores.structured_svd import LARGE, SPREAD, factor, values

LAYERS = [
    la.Circulant(LARGE), la.Circulant(LARGE + 1), la.AntiCirculant(LARGE), la.AntiCirculant(61), la.Toeplitz(55, 55), la.Hankel(50, 50),
    la.Symmetric(49), la.Conv1d(64, 5), la.Conv1d(65, 4), la.Conv2d((8, 7), 3), la.Conv2d((7, 8), (3, 2), padding="circular"),
    la.Diagonal(50), la.Skew(50), la.Toeplitz(60, 50), la.Dense(50, 50), la.Conv2d((8, 8), 3, stride=2), la.Conv1d(30, 3, 2, 2),
]  # fmt: skip


def drawn(layer, seed=0):
    theta = np.random.default_rng(seed).standard_normal(layer.param_shape)
    if isinstance(layer, la.Diagonal):
        theta[:3] = 0.0
    return layer.matrix(theta)


def unpacked(W):
    found = factor(W)
    return found.U, found.s, found.V


def check(W, slack=1.0):
    """Orthonormal, a factorisation, and the values of LAPACK, each to the rounding of n terms.

    `slack`: a Gram matrix loses the square of the spread of the values, at most 1 / SPREAD^2.
    """
    U, s, V = unpacked(W)
    r, eps = min(W.shape), np.finfo(float).eps
    size = np.linalg.norm(W, 2)
    exact = np.linalg.svd(W, compute_uv=False)
    for Q in (U, V):
        assert np.abs(Q.T @ Q - np.eye(r)).max() <= 4 * max(W.shape) * eps * slack
    assert np.abs(U * s @ V.T - W).max() <= 10 * max(W.shape) * eps * size * slack
    assert np.all(np.diff(s) <= 0)
    for found in (s, values(W)):
        assert np.abs(found - exact).max() <= 1e-12 * size
    return s


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_factors_and_values(layer):
    slack = 1.0 if layer in LAYERS[:12] else SPREAD**-2
    check(drawn(layer), slack)
    check(1e-200 * drawn(layer), slack)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_numbers_that_are_hardly_there(layer):
    # whole multiples of the smallest number: each has all its digits, and what is rounded is a few of these
    W = np.ldexp(np.rint(64 * drawn(layer)), -1074)
    U, s, V = unpacked(W)
    for Q in (U, V):
        assert np.abs(Q.T @ Q - np.eye(min(W.shape))).max() <= 1e-10
    assert np.isfinite(values(W)).all()
    assert (s >= 0).all()


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, LARGE])
def test_the_fourier_basis_of_any_size(n, monkeypatch):
    monkeypatch.setattr(singular, "LARGE", 1)
    for layer in (la.Circulant(n), la.AntiCirculant(n)):
        check(drawn(layer))
        check(np.zeros((n, n)))
        check(layer.matrix(np.ones(n)))  # one frequency, all others zero
        check(layer.matrix(np.eye(n)[n // 2]))  # a permutation: all values are one


def test_no_decomposition_is_made_where_a_structure_gives_it(monkeypatch):
    def refused(*a, **options):
        raise AssertionError("a singular value decomposition")

    matrices = [drawn(layer) for layer in LAYERS[:12]]
    monkeypatch.setattr(np.linalg, "svd", refused)
    for W in matrices:
        unpacked(W)
        values(W)
    with pytest.raises(AssertionError, match="a singular value decomposition"):
        unpacked(np.linalg.qr(drawn(la.Dense(60, 60)))[0] * 10.0 ** -np.arange(60))


def subspaces(U, s, gap):
    """Orthogonal projections on the vectors of values that are equal up to `gap`."""
    edges = np.flatnonzero(-np.diff(s) > gap) + 1
    return [block @ block.T for block in np.split(U, edges, axis=1)]


@pytest.mark.parametrize("layer", LAYERS[:11], ids=repr)
def test_subspaces_are_those_of_lapack(layer):
    W = drawn(layer)
    U, s, V = unpacked(W)
    exact = np.linalg.svd(W)
    gap = 1e-6 * s[0]
    for mine, theirs in ((U, exact[0]), (V, exact[2].T)):
        for P, Q in zip(subspaces(mine, s, gap), subspaces(theirs, exact[1], gap), strict=True):
            # vectors turn by rounding over the gap
            assert np.abs(P - Q).max() <= 100 * len(W) * np.finfo(float).eps * s[0] / gap


def test_scores_are_those_of_lapack(monkeypatch):
    # where no value repeats, vectors are what they are up to signs
    net = la.Network([la.Conv1d(64, 5), la.Toeplitz(64, 64), la.Conv2d((8, 8), 3)]).init("gaussian", rng=0)
    start = net.init("gaussian", rng=1)
    mine = la.alignment_svd(net), la.invariance(net, start), la.layer_singular_values(net)
    monkeypatch.setattr(singular, "LARGE", 1000)
    assert mine[0] == pytest.approx(la.alignment_svd(net), abs=1e-9)
    assert mine[1] == pytest.approx(la.invariance(net, start), abs=1e-9)
    for a, b in zip(mine[2], la.layer_singular_values(net), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * b[0])


def test_what_is_nearly_a_structure_is_none():
    W = drawn(la.Circulant(LARGE))
    W[3, 5] += 1e-9
    check(W, SPREAD**-2)
    W = drawn(la.Symmetric(LARGE))
    W[3, 5] += 1e-9
    check(W, SPREAD**-2)


def test_records_use_them():
    rng = np.random.default_rng(0)
    net = la.Network([la.Circulant(LARGE), la.Conv1d(LARGE, 3)]).init("gaussian", rng=0)
    run = la.train(
        net, rng.standard_normal((9, LARGE)), rng.standard_normal((9, LARGE)), lr=1e-4, steps=5, record={"layer_singular_values": 5}
    )
    for row, W in zip(run.history["layer_singular_values"].values[-1], run.network.matrices(), strict=True):
        np.testing.assert_allclose(row, np.linalg.svd(W, compute_uv=False), rtol=0, atol=1e-12 * row[0])
