"""The authors' scores against PyTorch's decompositions, written from the definition; and what can be checked by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import linalign as la
from linalign.scores.singular_vectors import Side, matched
from linalign.scores.vector_scores import VectorScores, aligned_count, stayed_count
from tests.oracles import authors_scores as authors
from tests.oracles.reductions import applied, direct_sum, haar

pytestmark = pytest.mark.oracle

SCORES = ("alignment_svd", "invariance", "top_invariance")


def chain(rng, widths):
    return [rng.standard_normal((b, a)) for a, b in pairwise(widths)]


def aligned(rng, widths, ranks=None):
    """`Q_i S_i Q_{i-1}^T` with distinct values, of these ranks."""
    Q = [haar(rng, k) for k in widths]
    ranks = ranks or [min(pair) for pair in pairwise(widths)]
    out = []
    for i, r in enumerate(ranks):
        s = rng.permutation(np.linspace(0.5, 2.0, r))
        out.append(Q[i + 1][:, :r] * s @ Q[i][:, :r].T)
    return out


def test_a_hundred_chains_of_unequal_widths():
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(100):
        widths = [int(k) for k in rng.integers(1, 30, rng.integers(3, 6))]
        one, two = chain(rng, widths), chain(rng, widths)
        # half a turn away, so that scores are neither 1 nor those of strangers
        two = [W + 0.3 * V for W, V in zip(one, two, strict=True)]
        worst = max(
            worst,
            abs(la.alignment_svd(one) - authors.alignment(one)),
            abs(la.invariance(two, one) - authors.invariance(one, two)),
            abs(la.top_invariance(two, one) - authors.top_invariance(one, two)),
        )
    assert worst <= 1e-10


@pytest.mark.parametrize("widths", [(60, 80, 70, 3), (50, 120, 64, 90), (90, 55, 55, 100)], ids=str)
def test_wide_layers(widths):
    """From 48 rows on vectors come from a Gram matrix, where that is exact enough."""
    rng = np.random.default_rng(1)
    one = chain(rng, widths)
    two = [W + 0.1 * V for W, V in zip(one, chain(rng, widths), strict=True)]
    assert abs(la.alignment_svd(one) - authors.alignment(one)) <= 1e-10
    assert abs(la.invariance(two, one) - authors.invariance(one, two)) <= 1e-10


def test_figures_that_can_be_checked_by_hand():
    """784-1024-64-10 as the authors start it: rectangular diagonals in the bases of scrambled arrays, 256 samples, aligned by construction."""
    rng = np.random.default_rng(2)
    x = np.linalg.svd(rng.standard_normal((784, 256)), full_matrices=False)[0]
    y = np.linalg.svd(rng.standard_normal((10, 256)), full_matrices=False)[0]
    S = [np.zeros((1024, 256)), np.zeros((64, 1024)), np.zeros((10, 64))]
    for block in S:
        np.fill_diagonal(block, rng.uniform(0, 1, min(block.shape)))
    net = [S[0] @ x.T, S[1], y @ S[2]]
    assert la.alignment_svd(net) == pytest.approx(1.0, abs=1e-12)
    assert la.invariance(net, net) == pytest.approx(1.0, abs=1e-12)
    assert la.top_invariance(net, net) == pytest.approx(1.0, abs=1e-12)
    layers = VectorScores(net)._vectors(net)
    assert aligned_count(layers) == 74
    assert stayed_count(layers) == 922
    # where the first layer has its full rank, one upper vector that no lower one meets costs 1 / 74
    net[0] = np.vstack([np.diag(np.linspace(0.5, 1, 784)), np.zeros((240, 784))])
    turned = [net[0], np.vstack([net[1][:63], 0.01 * np.eye(1, 1024, 1000)]), net[2]]
    assert la.alignment_svd(turned) == pytest.approx(73 / 74, abs=1e-12)
    # and has left one of the start, of V_2, without a partner
    assert la.invariance(turned, net) == pytest.approx(921 / 922, abs=1e-12)
    base = la.alignment_baseline([W.shape for W in net], rng=0, draws=1)
    assert base["alignment_svd"] == pytest.approx(0.13, abs=0.01)
    assert base["invariance"] == pytest.approx(0.12, abs=0.01)


def test_aligned_chains_score_one_whatever_their_ranks():
    rng = np.random.default_rng(3)
    for _ in range(60):
        # thin decompositions of layers that do not grow
        widths = sorted((int(k) for k in rng.integers(2, 25, rng.integers(3, 6))), reverse=True)
        widths = [widths[1], widths[0], *widths[2:]]
        ranks = [int(rng.integers(1, min(pair) + 1)) for pair in pairwise(widths)]
        net = aligned(rng, widths, ranks)
        assert la.alignment_svd(net) == pytest.approx(1.0, abs=1e-9), (widths, ranks)
        other = aligned(rng, widths, ranks)
        assert la.invariance(net, net) == pytest.approx(1.0, abs=1e-12)
        assert la.alignment_svd(other) == pytest.approx(1.0, abs=1e-9)


def test_an_upper_layer_of_more_vectors_cannot_match_them_all():
    rng = np.random.default_rng(4)
    net = aligned(rng, (3, 10, 8, 8))
    assert la.alignment_svd(net) == pytest.approx((3 + 8) / (8 + 8), abs=1e-12)
    assert authors.alignment(net) == pytest.approx((3 + 8) / (8 + 8), abs=1e-12)


@pytest.mark.parametrize("widths", [(9, 14, 11, 5), (20, 12, 12, 30), (70, 90, 60, 8)], ids=str)
def test_null_vectors_are_no_matter_of_rounding(widths):
    """Layers of low rank: what a library returns for the value zero changes with the last bit, the scores do not."""
    rng = np.random.default_rng(5)
    ranks = [max(1, min(pair) // 2) for pair in pairwise(widths)]
    start, now = (
        [rng.standard_normal((b, r)) @ rng.standard_normal((r, a)) for (a, b), r in zip(pairwise(widths), ranks, strict=True)]
        for _ in range(2)
    )
    scores = [la.alignment_svd(now), la.invariance(now, start)]
    for _ in range(3):
        moved = [W + 1e-15 * np.linalg.norm(W, 2) * rng.standard_normal(W.shape) for W in now]
        assert [la.alignment_svd(moved), la.invariance(moved, start)] == pytest.approx(scores, abs=1e-9)
    # what a library returns matches at random
    assert la.alignment_svd(now) > authors.alignment(now)
    assert la.invariance(now, start) > authors.invariance(start, now)
    assert la.invariance(start, start) == pytest.approx(1.0, abs=1e-12)


def one_by_one(base, wanted, most):
    """Null vectors beside `base`: of all columns wanted the one with the longest part outside, by that part, and so on."""
    base = list(base.T)
    for _ in range(most):
        rest = [w - sum(((b @ w) * b for b in base), np.zeros(len(w))) for w in wanted.T]
        longest = max(rest, key=np.linalg.norm, default=np.zeros(1))
        if np.linalg.norm(longest) <= 1e-6:
            break
        base.append(longest / np.linalg.norm(longest))
    return np.array(base).reshape(-1, len(wanted)).T


def test_matching_is_that_of_null_vectors_chosen_one_by_one():
    rng = np.random.default_rng(6)
    for _ in range(200):
        k = int(rng.integers(2, 9))
        A, B = (Side(haar(rng, k)[:, :r], int(rng.integers(0, k - r + 1))) for r in map(int, rng.integers(0, k + 1, 2)))
        b = one_by_one(B.vectors, A.vectors, B.nulls)
        a = one_by_one(A.vectors, b, A.nulls)
        # what is left lies outside of all that, and is the same on both sides as far as it goes
        left_a, left_b = A.count - a.shape[1], B.count - b.shape[1]
        rest = np.linalg.svd(np.hstack([a, b]), full_matrices=True)[0][:, np.linalg.matrix_rank(np.hstack([a, b]), tol=1e-9) :]
        a, b = np.hstack([a, rest[:, :left_a]]), np.hstack([b, rest[:, : min(left_a, left_b)]])
        assert a.shape[1] == A.count
        for Q in (a, b):
            assert np.allclose(Q.T @ Q, np.eye(Q.shape[1]), rtol=0, atol=1e-9)
        assert matched(A, B) == pytest.approx(np.abs(b.T @ a).max(axis=0, initial=0.0).sum(), abs=1e-9)
    Q = haar(rng, 6)
    assert matched(Side(Q[:, :2], 2), Side(Q[:, 2:5], 2)) == pytest.approx(4.0, abs=1e-12)
    assert matched(Side(Q[:, :2], 0), Side(Q[:, 2:3], 0)) == pytest.approx(0.0, abs=1e-12)
    assert matched(Side(Q[:, :3], 0), Side(Q[:, 3:], 1)) == pytest.approx(1.0, abs=1e-12)
    assert matched(Side(np.zeros((4, 0)), 3), Side(np.zeros((4, 0)), 2)) == 2.0


def test_signs_and_zeros_of_the_top_vectors():
    rng = np.random.default_rng(7)
    net = chain(rng, (6, 5, 4))
    assert la.top_invariance([-net[0], net[1]], net) == pytest.approx(0.5, abs=1e-12)  # (u, v) and (-u, v): one term of two
    assert la.top_invariance([3 * net[0], 1e200 * net[1]], net) == pytest.approx(1.0, abs=1e-12)
    zero = [np.zeros((5, 6)), net[1]]
    assert la.top_invariance(net, zero) == la.top_invariance(zero, net) == pytest.approx(1.0, abs=1e-12)
    one = la.top_invariance([net[0]], [chain(rng, (6, 5))[0]])
    assert 0 <= one < 1
    with pytest.raises(ValueError, match="start is None but net is a single network"):
        la.top_invariance(net)
    with pytest.raises(ValueError, match=r"start has layers of shapes \[\(5, 6\)\]"):
        la.top_invariance(net, net[:1])


# ---- along runs ------------------------------------------------------------------------------------------------------------


def recorded(net, X, Y, **options):
    """The largest difference from PyTorch at any record, and the run."""
    run = la.train(net, X, Y, steps=60, record=dict.fromkeys([*SCORES, "params"], 20), **options)
    start, worst = net.matrices(), 0.0
    for j, Ws in enumerate(run.snapshots()):
        want = authors.alignment(Ws), authors.invariance(start, Ws), authors.top_invariance(start, Ws)
        worst = max(worst, *(abs(run.history[name].values[j] - score) for name, score in zip(SCORES, want, strict=True)))
    assert run.history["invariance"].values[-1] < 1
    assert worst <= 1e-10
    assert np.allclose(la.top_invariance(run), run.history["top_invariance"].values, atol=1e-12)
    return run


@pytest.mark.parametrize(
    ("reduce", "widths", "n"),
    [
        ("none", (9, 14, 7, 5), 20),
        (("samples", "inputs"), (30, 12, 7, 5), 8),
        (("samples", "inputs"), (12, 30, 7), 8),
        (("samples", "inputs", "width"), (98, 128, 16, 10), 32),
    ],
    ids=str,
)
@pytest.mark.parametrize("options", [{}, {"momentum": 0.5}, {"weight_decay": 0.1}], ids=str)
def test_dense_runs(reduce, widths, n, options):
    rng = np.random.default_rng(8)
    net = la.Network.dense(widths).init("gaussian", rng=0)
    X, Y = rng.standard_normal((n, widths[0])) / np.sqrt(n), rng.standard_normal((n, widths[-1])) / np.sqrt(n)
    run = recorded(net, X, Y, lr=1e-2, reduce=reduce, **options)
    assert set(applied(run)) >= set(reduce if reduce != "none" else ()) - {"samples"}


def test_runs_that_are_split():
    rng = np.random.default_rng(9)
    W, T = direct_sum(rng, [(5, 6, 5), (4, 4, 6)])
    run = recorded(la.Network.from_matrices(W), None, T, lr=0.02, reduce=("samples", "inputs", "width", "split"))
    assert "split" in applied(run)


def test_runs_of_convolutions():
    rng = np.random.default_rng(10)
    net = la.Network([la.Conv2d(6, 3)] * 3).init("gaussian", rng=0)
    X, Y = rng.standard_normal((40, 36)) / 8, rng.standard_normal((40, 36)) / 8
    run = recorded(net, X, Y, lr=1e-2, reduce=("samples", "filters"))
    assert "filters" in applied(run)


AFFINE = {
    "none": [la.Dense(12, 9, bias=True), la.Dense(9, 5, bias=True)],
    "inputs": [la.Dense(30, 9, bias=True), la.Dense(9, 7), la.Dense(7, 5, bias=True)],
    "width": [la.Dense(12, 40, bias=True), la.Dense(40, 5, bias=True)],
    "offsets": [la.Residual(la.Dense(12, 12)), la.Residual(la.Dense(12, 12, bias=True)), la.Dense(12, 5)],
    "convolutions": [la.Conv2d(6, 3, 1, 2, bias=True), la.Residual(la.Conv2d(6, 3, 2, 2, bias=True)), la.Dense(72, 5, bias=True)],
}


@pytest.mark.parametrize("plan", AFFINE)
def test_runs_with_biases_and_residual_layers(plan):
    """The scores are of the matrices alone, as the authors take them of convolutions with biases."""
    rng = np.random.default_rng(13)
    net = la.Network(AFFINE[plan]).init("gaussian", rng=0, bias="torch")
    X, Y = rng.standard_normal((8, net.widths[0])) / 6, rng.standard_normal((8, 5)) / 6
    reduce = {"none": "none", "convolutions": "auto"}.get(plan, ("samples", "offsets", "inputs", "width"))
    run = recorded(net, X, Y, lr=1e-2, reduce=reduce)
    assert plan in (*applied(run), "none", "convolutions")


def low_rank(rng, a, b, r):
    return rng.standard_normal((b, r)) @ rng.standard_normal((r, a)) / np.sqrt(a * r)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_layers_of_low_rank_score_the_same_however_the_run_is_reduced(momentum):
    """Null vectors on every side: of constant parts, of small layers, of a first layer that meets the data."""
    rng = np.random.default_rng(11)
    for widths, ranks, n in [((20, 30, 12, 6), (3, 4, 2), 6), ((40, 16, 12, 6), (5, 4, 6), 4), ((12, 50, 40), (2, 3), 5)]:
        net = la.Network.from_matrices([low_rank(rng, a, b, r) for (a, b), r in zip(pairwise(widths), ranks, strict=True)])
        X, Y = rng.standard_normal((n, widths[0])) / np.sqrt(n), rng.standard_normal((n, widths[-1])) / np.sqrt(n)
        runs = [
            la.train(net, X, Y, lr=1e-2, steps=30, momentum=momentum, record=dict.fromkeys(SCORES, 10), reduce=reduce)
            for reduce in ("none", ("samples", "inputs"), ("samples", "inputs", "width"))
        ]
        assert runs[2].plan.widths_after[1] < widths[1]
        for name in SCORES:
            for run in runs[1:]:
                assert np.allclose(run.history[name].values, runs[0].history[name].values, rtol=0, atol=1e-8), (name, widths)


def test_the_start_is_that_of_step_0_whenever_it_is_first_asked_for():
    rng = np.random.default_rng(12)
    net = la.Network.dense((30, 22, 8, 5)).init("xavier", rng=0)
    X, Y = rng.standard_normal((9, 30)) / 5, rng.standard_normal((9, 5))
    for reduce in ("none", ("samples", "inputs"), ("samples", "inputs", "width")):
        late = la.train(net, X, Y, lr=0.05, steps=40, record={"alignment_svd": 10, "invariance": [40]}, reduce=reduce)
        full = la.train(net, X, Y, lr=0.05, steps=40, record={"invariance": 10}, reduce=reduce)
        assert late.history["invariance"].values[-1] == pytest.approx(full.history["invariance"].values[-1], abs=1e-12)
