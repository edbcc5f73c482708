"""The edge of stability: thresholds of modes as published, and the flattest minimisers, against dense Hessians and against descent."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import linalign as la


def test_the_thresholds_are_those_that_were_published():
    """arXiv 2502.20531: 5 x 5, three layers, target diag(10, 9.5, 9, 0, 0): 0.030944, 0.033134, 0.035611."""
    target = np.diag([10.0, 9.5, 9.0, 0.0, 0.0])
    net = la.Network.from_matrices([0.01 * np.eye(5)] * 3)
    edges = la.theory.certify(net, None, target).edges
    assert np.round(sorted(edges)[:3], 6).tolist() == [0.030944, 0.033134, 0.035611]
    assert np.isinf(sorted(edges)[3:]).all()


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("loss", ["squared", "mse"])
def test_a_balanced_minimum_is_as_sharp_as_its_mode(loss, depth):
    """Data of one input and one output: the mode is all there is."""
    q, X = 3.0, np.array([[1.0], [2.0], [0.5]])
    net = la.Network.from_matrices([np.array([[q ** (1 / depth)]])] * depth)
    proof = la.theory.certify(net.with_params([0.5 * W for W in net.params]), X, q * X, loss)
    top = la.sharpness(net, X, q * X, loss=loss)
    assert proof.edges == (pytest.approx(2 / top, rel=1e-12),)
    assert proof.least_sharpness == pytest.approx(top, rel=1e-12)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_no_minimiser_is_flatter(depth):
    rng = np.random.default_rng(depth)
    X = rng.standard_normal((12, 4)) * [2.0, 1.0, 1.0, 0.5]
    w = rng.standard_normal(4)
    widths = [4, *([3] * (depth - 1)), 1]
    least, balanced = la.theory.edge.least_sharpness(la.theory.rows.check(X, X @ w[:, None], 4, 1), 1.0, depth)
    for _ in range(30):
        Ws = [rng.standard_normal((b, a)) for a, b in pairwise(widths)]
        # the first layer makes the product w, by the least change
        above = np.linalg.multi_dot(Ws[:0:-1]) if depth > 2 else Ws[1]
        Ws[0] = Ws[0] + np.linalg.pinv(above) @ (w[None] - above @ Ws[0])
        net = la.Network.from_matrices(Ws)
        assert la.sharpness(net, X, (X @ w)[:, None]) >= least * (1 - 1e-9)
    best = la.theory.aligned_minimum(widths, X, (X @ w)[:, None]).network
    top = la.sharpness(best, X, (X @ w)[:, None])
    assert top == pytest.approx(balanced, rel=1e-9)
    assert least <= top * (1 + 1e-12)
    assert la.theory.certify(best, X, (X @ w)[:, None]).least_sharpness == pytest.approx(least, rel=1e-12)


def test_it_is_known_for_one_output_and_full_rank_alone():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, 4))
    net = la.Network.dense([4, 3, 2]).init("gaussian", rng=0)
    assert la.theory.certify(net, X, rng.standard_normal((12, 2))).least_sharpness is None
    one = la.Network.dense([4, 3, 1]).init("gaussian", rng=0)
    assert la.theory.certify(one, X[:3], rng.standard_normal((3, 1))).least_sharpness is None
    assert la.theory.certify(one, X, np.zeros((12, 1))).least_sharpness is None


def test_descent_leaves_a_mode_above_its_edge_and_not_below():
    target = np.diag([10.0, 9.5, 9.0, 0.0, 0.0])
    balanced = [np.diag(np.cbrt(np.diag(target)))] * 3
    rng = np.random.default_rng(0)
    near = la.Network.from_matrices([W + 1e-6 * rng.standard_normal((5, 5)) for W in balanced])
    edge = sorted(la.theory.certify(la.Network.from_matrices(balanced), None, target).edges)[0]
    for share, grows in ((0.99, False), (1.01, True)):
        run = la.train(near, None, target, lr=share * edge, steps=2000, metric="parameters")
        assert (run.loss[-1] > 1e-6) == grows
