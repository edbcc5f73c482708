"""Split: independent blocks and scalar modes, alone, over structures that split and structures that nearly do."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

import linalign as la
from linalign.problem.problem import make_problem
from linalign.reduce import blocks, canonical, split
from linalign.reduce.width import RESIDUAL_TOLERANCE
from tests.oracles.reductions import (
    EVERYTHING,
    applied,
    assert_same,
    assert_same_up_to_rounding,
    balanced,
    both,
    direct_sum,
    gaussian,
    haar,
    row,
    semi,
    unit,
)

pytestmark = pytest.mark.usefixtures("whatever_holds")

OPTIONS = {
    "plain": {},
    "mse": {"loss": "mse", "lr": 0.2},
    "momentum and decay": {"momentum": 0.8, "weight_decay": 0.01},
    "a layer": {"lr": [0.01, 0.03, 0.02], "weight_decay": [0.02, 0.0, 0.01]},
    "cyclic": {"update": "cyclic", "lr": [0.01, 0.03, 0.02], "weight_decay": [0.0, 0.02, 0.01], "momentum": 0.5},
}
options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def aligned(rng, k, Y):
    return la.Network.dense(k).init("aligned", Y=Y, rng=rng, singular_values=rng.uniform(0.3, 1.0, min(k)))


@options
@pytest.mark.parametrize("k", [(6, 6, 6, 6), (5, 8, 7, 4), (4, 7, 9, 6), (6, 3, 9, 5)])
def test_aligned_starts_are_scalars(k, options):
    rng = np.random.default_rng(1)
    Y = unit(rng.standard_normal((k[-1], k[0])))
    full, less = both(aligned(rng, k, Y), None, Y, reduce=["split"], record=EVERYTHING, **options)
    assert applied(less) == ("split",)
    assert row(less, "split").what == f"{min(k)} scalar modes"
    assert_same(full, less)


def test_scores_of_modes_beside_layers_that_stay():
    # the second block never moves, as its last layer is zero and no target sees it; its first two layers are not aligned
    rng = np.random.default_rng(7)
    W, V = [np.diag(rng.uniform(0.3, 1.0, 3)) for _ in range(3)], [rng.standard_normal((4, 4)) for _ in range(2)]
    Q = [haar(rng, 7) for _ in range(4)]
    for meets in (False, True):
        below = V[0] if meets else np.zeros((4, 4))
        layers = [scipy.linalg.block_diag(a, b) for a, b in zip(W, [below, V[1], np.zeros((4, 4))], strict=True)]
        net = la.Network.from_matrices([Q[i + 1] @ A @ Q[i].T for i, A in enumerate(layers)])
        Y = Q[3] @ scipy.linalg.block_diag(np.diag([1.0, 0.7, 0.4]), np.zeros((4, 4))) @ Q[0].T
        full, less = both(net, None, Y, reduce=["split"], record={"alignment": 3, "misalignment": 3})
        assert applied(less) == ("split",)
        assert (full.history["alignment"].values[0, 0] < 0.99) == meets
        assert_same(full, less)


@options
def test_orthogonal_starts_are_a_block_of_2r_and_one_mode(options):
    # the law of parsimony (section 8 of docs/theory): k - 2 r copies of one mode
    rng = np.random.default_rng(2)
    k, r = 12, 2
    W = [0.7 * haar(rng, k) for _ in range(3)]
    Y = unit(rng.standard_normal((k, r)) @ rng.standard_normal((r, k)))
    full, less = both(la.Network.from_matrices(W), None, Y, reduce=["split"], record=EVERYTHING, **options)
    assert row(less, "split").what in ("4-4-4-4, 8 scalar modes (1 distinct)", "2-2-2-2, 2-2-2-2, 8 scalar modes (1 distinct)")
    assert_same(full, less)


def test_the_same_with_whitened_data():
    rng = np.random.default_rng(3)
    k, r, n = 12, 2, 40
    W = [0.7 * haar(rng, k) for _ in range(3)]
    X = haar(rng, n)[:, :k]
    Y = X @ unit(rng.standard_normal((k, r)) @ rng.standard_normal((r, k)))
    full, less = both(la.Network.from_matrices(W), X, Y, record=EVERYTHING)
    assert "8 scalar modes (1 distinct)" in row(less, "split").what
    assert_same(full, less)


@options
@pytest.mark.parametrize("shapes", [[(2, 3, 3, 2), (3, 2, 4, 2)], [(3, 3, 3, 3), (2, 2, 2, 2), (1, 1, 1, 1)], [(2, 1, 2, 2), (3, 4, 3, 3)]])
def test_direct_sums(shapes, options):
    rng = np.random.default_rng(4)
    W, Y = direct_sum(rng, shapes)
    full, less = both(la.Network.from_matrices(W), None, Y, reduce=["split"], record=EVERYTHING, **options)
    assert applied(less) == ("split",)
    assert_same(full, less)


@options
@pytest.mark.parametrize("shape", [(2, 3, 3, 2), (3, 3, 3, 3), (2, 2, 2, 2), (3, 2, 4, 1), (3, 5, 4, 2)])
def test_equal_blocks_run_once(shape, options):
    rng = np.random.default_rng(5)
    W, Y = direct_sum(rng, [shape], copies=3)
    full, less = both(la.Network.from_matrices(W), None, Y, reduce=["split"], record=EVERYTHING, **options)
    # a vertex that its neighbours do not fill leaves directions that never move
    assert row(less, "split").what == "3 x " + "-".join(map(str, _filled(shape)))
    assert_same(full, less)


def _filled(shape):
    """Dimensions that the end vertices generate."""
    m = list(shape)
    for _ in m:
        for i in range(1, len(m) - 1):
            m[i] = min(m[i], m[i - 1] + m[i + 1])
    return m


def test_equal_blocks_beside_others():
    rng = np.random.default_rng(6)
    W, Y = direct_sum(rng, [(2, 2, 2)], copies=3)
    V, Z = direct_sum(rng, [(3, 4, 2)])
    Q = [haar(rng, n) for n in (9, 10, 8)]
    net = la.Network.from_matrices([Q[i + 1] @ scipy.linalg.block_diag(W[i], V[i]) @ Q[i].T for i in range(2)])
    full, less = both(net, None, Q[2] @ scipy.linalg.block_diag(Y, Z) @ Q[0].T, reduce=["split"], record=EVERYTHING)
    assert sorted(row(less, "split").what.split(", ")) == ["3 x 2-2-2", "3-4-2"]
    assert_same(full, less)


def test_blocks_that_differ_are_not_taken_for_equal():
    # equal layers, targets that differ by a share of 1e-9: two blocks
    rng = np.random.default_rng(7)
    shape = (2, 3, 2)
    W, Y = direct_sum(rng, [shape], copies=2)
    V, Z = direct_sum(np.random.default_rng(7), [shape], copies=2)
    problem = make_problem(la.Network.from_matrices(W), None, Y, "squared")
    parts, residual = blocks.find(problem)
    assert residual <= RESIDUAL_TOLERANCE
    assert len(split.split(problem, parts, residual).parts) == 1
    np.testing.assert_array_equal(Y, Z)
    B = parts[0].vertices
    Z = Z + 1e-9 * B[-1][:, :1] @ B[0][:, :1].T
    other = make_problem(la.Network.from_matrices(V), None, Z, "squared")
    parts, residual = blocks.find(other)
    assert sum(len(part.places) for part in split.split(other, parts, residual).parts) == len(split.split(other, parts, residual).parts)


@given(st.integers(1, 4), st.lists(st.integers(1, 5), min_size=2, max_size=4), st.integers(0, 10**6))
def test_canonical_coordinates_do_not_depend_on_the_bases(first, rest, seed):
    rng = np.random.default_rng(seed)
    k = [first, *rest]
    # vertices that the others fill, or no basis is better than another
    for i in range(1, len(k)):
        k[i] = min(k[i], k[i - 1])
    W, s, T = gaussian(rng, k), rng.uniform(0.5, 2, k[0]), rng.standard_normal((k[0], k[-1]))
    scales = [float(np.linalg.norm(A)) for A in (*W, s, T)]
    # a rotated copy, in coordinates in which its data are diagonal: signs there, rotations elsewhere, samples as the data
    O = [np.diag(rng.choice([-1.0, 1.0], k[0])), *(haar(rng, m) for m in k[1:])]
    V = [O[i + 1] @ W[i] @ O[i].T for i in range(len(W))]
    U = O[0] @ T @ O[-1].T
    a = canonical.form(W, s, T, canonical.rotations(W, s, T, scales))
    b = canonical.form(V, s, U, canonical.rotations(V, s, U, scales))
    R = canonical.rotations(V, s, U, scales)
    for i, m in enumerate(k):
        np.testing.assert_allclose(R[i].T @ R[i], np.eye(m), atol=1e-13)
    # rounding, over the gaps of a random spectrum and the condition of random matrices: 1e-9 tells equal from not equal
    for left, right, scale in zip(a, b, scales, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("e", [1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-9, 1e-6])
@pytest.mark.parametrize("kind", ["aligned", "blocks", "orthogonal"])
def test_nearly_independent_parts(kind, e):
    # the parts are run as if nothing led from one to another: an error of the residual at the start, which is refused above
    # 1e-12; over 2,000 steps near no saddle it stays of the size of e (the factor is the growth of the weights, below 100)
    rng = np.random.default_rng(8)
    if kind == "aligned":
        k = (6, 6, 6, 6)
        Y = unit(rng.standard_normal((6, 6)))
        W = list(aligned(rng, k, Y).params)
    elif kind == "blocks":
        W, Y = direct_sum(rng, [(2, 2, 2, 2), (3, 4, 3, 3)])
    else:
        W = [0.7 * haar(rng, 9) for _ in range(3)]
        Y = unit(rng.standard_normal((9, 2)) @ rng.standard_normal((2, 9)))
    W = [V + e * rng.standard_normal(V.shape) for V in W]
    full, less = both(la.Network.from_matrices(W), None, Y, reduce=["split"], record=EVERYTHING)
    assert_same(full, less)
    report = row(less, "split")
    if e >= 1e-11:
        assert not report.applied
        assert report.why == "the network and the data are one block" or "off by" in report.why
    if e <= 1e-15:
        assert report.applied


def test_ill_conditioned_data_keep_the_loss():
    # two modes in a plane that X sees with 1 and 1e-9: C = X^T X cannot tell an error of the plane, the loss can
    rng = np.random.default_rng(9)
    for small in 10.0 ** -np.arange(1, 12):
        X = haar(rng, 8)[:, :4] * np.array([1, 1, small, small]) @ haar(rng, 4).T
        U, _, Vt = np.linalg.svd(X, full_matrices=False)
        turn = haar(rng, 4)
        W = [turn @ np.diag([0.5, 0.6, 0.7, 0.8]) @ Vt, haar(rng, 4) @ np.diag([0.9, 0.8, 0.7, 0.6]) @ turn.T]
        Y = U @ np.diag([1.0, 0.8, 0.6, 0.5]) @ (W[1] @ turn / np.linalg.norm(W[1] @ turn, axis=0)).T
        full, less = both(la.Network.from_matrices(W), X, Y)
        assert_same(full, less)


def test_parts_that_share_samples_are_seen():
    # bases turned by 1e-13 decouple C = X^T X and M to 1e-13, but the samples of the small input, X b / |X b|, are off by 1e-4
    x, turn = np.array([1.0, 1e-9]), 1e-13
    net = la.Network.from_matrices([np.diag([0.5, 0.6]), np.diag([0.7, 0.8])])
    problem = dataclasses.replace(make_problem(net, np.diag(x), np.eye(2), "squared"), X=x)
    B, I = np.array([[1.0, turn], [-turn, 1.0]]), np.eye(2)
    parts = [blocks.Bases([B[:, [j]], I[:, [j]], I[:, [j]]], True) for j in range(2)]
    assert blocks._residual(blocks._Sum(list(net.params), *blocks.moments(problem)), parts) <= RESIDUAL_TOLERANCE
    assert split.split(problem, parts, 0.0).residual == pytest.approx(1e-4 * np.sqrt(2), rel=1e-2)


def test_a_product_that_is_rounding_is_zero():
    rng = np.random.default_rng(13)
    Q = [haar(rng, 5) for _ in range(3)]
    A, B = Q[2] @ np.diag([1.0, 1, 0, 0, 0]) @ Q[1].T, Q[1] @ np.diag([0.0, 0, 1, 1, 1]) @ Q[0].T
    assert (A @ B).any()
    assert not blocks.times(A, B).any()
    product = np.eye(5)
    for _ in range(30):
        product = blocks.times(0.1 * A, product)
    assert product.any()


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_frozen_parts_keep_their_loss(decay):
    # rows of the target that no layer reaches, and layers that reach nothing
    rng = np.random.default_rng(10)
    k = (5, 6, 5)
    W = [np.zeros((b, a)) for a, b in pairwise(k)]
    W[0][:2, :2], W[1][:2, :2] = rng.standard_normal((2, 2, 2))
    W[0][4, 4], W[1][3, 5] = 0.7, 0.3
    Y = np.zeros((5, 5))
    # rounding leaves this saddle at a rate of 0.02 * 0.05 / (1 - 0.6) a step, which is e^5 after 2,000; with a target of 1.5
    # full training would have been carried away by its own rounding, and the reduced run would not
    Y[:2, :2], Y[2, 2] = rng.standard_normal((2, 2)) / 2, 0.05
    Q = [haar(rng, n) for n in k]
    net = la.Network.from_matrices([Q[i + 1] @ V @ Q[i].T for i, V in enumerate(W)])
    full, less = both(net, None, Q[-1] @ Y @ Q[0].T, reduce=["split"], weight_decay=decay, momentum=0.6, record=EVERYTHING)
    assert row(less, "split").what.startswith("2-2-2")
    assert_same(full, less)


@pytest.mark.parametrize("depth", [3, 20, 40])
def test_long_chains_still_move(depth):
    # the product of 40 gaussian layers is 1e-30 of what the norms allow, and no zero
    rng = np.random.default_rng(11)
    W, Y = direct_sum(rng, [(3,) * (depth + 1), (4,) * (depth + 1)])
    growth = np.linalg.norm(np.linalg.multi_dot(W[::-1]), 2) ** (1 / depth)
    W = [V / growth for V in W]
    full, less = both(la.Network.from_matrices(W), None, Y, reduce=["split"], steps=100, lr=1e-5)
    moved = [np.linalg.norm(a - b) for a, b in zip(full.network.params, W, strict=True)]
    assert min(moved) > 1e-8
    assert_same(full, less)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(0, 999))
def test_any_direct_sum(a, b, c, d, copies, cyclic, seed):
    rng = np.random.default_rng(seed)
    W, Y = direct_sum(rng, [(a, b, c), (d, a, b)], copies=copies)
    net = la.Network.from_matrices(W)
    options = {"steps": 200, "momentum": 0.5, "weight_decay": [0.0, 0.1], "update": "cyclic" if cyclic else "simultaneous"}
    full, less = both(net, None, Y, reduce=["split"], **options)
    assert_same_up_to_rounding(net, None, Y, full, less, **options)


@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(0, 6), st.booleans(), st.integers(0, 999))
def test_any_orthogonal_or_balanced_start(k, rank, orthogonal, seed):
    rng = np.random.default_rng(seed)
    W = [0.8 * semi(rng, b, a) for a, b in pairwise(k)] if orthogonal else balanced(rng, k)
    Y = rng.standard_normal((k[-1], rank)) @ rng.standard_normal((rank, k[0])) / (rank + 1)
    net = la.Network.from_matrices(W)
    full, less = both(net, None, Y, reduce=["split"], steps=200, weight_decay=0.1)
    assert_same_up_to_rounding(net, None, Y, full, less, steps=200, weight_decay=0.1)


def test_refusals_are_said():
    rng = np.random.default_rng(12)
    net = la.Network.dense([4, 4, 4]).init("gaussian", rng=0)
    X, Y = rng.standard_normal((2, 9, 4))
    assert row(la.explain(net, X, Y, reduce=["split"]), "split").why == "needs the data diagonal (inputs)"
    assert row(la.explain(net, X, Y, reduce=["samples", "inputs", "split"]), "split").why == "the network and the data are one block"
    assert row(la.explain(net, X, np.sign(Y), loss="logistic", reduce=["split"]), "split").why == "needs a quadratic loss, logistic is not"
