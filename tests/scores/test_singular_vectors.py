"""The two scores of the authors along runs: equal to plain NumPy, with factorisations only where vectors have turned."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import linalign as la
from linalign.record import reduced_vectors as small_scores
from linalign.scores import singular_vectors as vectors
from linalign.scores import structured_svd
from linalign.scores.structured_svd import factor
from linalign.scores.vector_scores import VectorScores
from tests.oracles.theory_cases import orthogonal

EVERY = ["samples", "inputs", "width", "split"]


def plain(Ws, start):
    """Alignment and invariance, a thin SVD of every layer and a product for every pair."""
    now, then = ([np.linalg.svd(W, full_matrices=False) for W in of] for of in (Ws, start))

    def match(these, those):
        return [max(abs(b @ a) for b in those) for a in these]

    aligned = [score for low, high in pairwise(now) for score in match(high[2], low[0].T)]
    kept = [score for a, b in zip(now[:-1], then[:-1], strict=True) for score in match(b[0].T, a[0].T)]
    kept += [score for a, b in zip(now[1:], then[1:], strict=True) for score in match(b[2], a[2])]
    return np.mean(aligned), np.mean(kept)


def matrices(net):
    return np.concatenate([W.ravel() for W in net.matrices()])


def split(flat, start):
    out, at = [], 0
    for W in start:
        out.append(flat[at : at + W.size].reshape(W.shape))
        at += W.size
    return out


def aligned_start(rng, widths, X, targets):
    bases = [np.linalg.svd(X)[2].T, *(orthogonal(rng, k) for k in widths[1:-1]), np.linalg.svd(targets)[2].T]
    layers = []
    for low, high in pairwise(bases):
        r = min(len(low), len(high))
        layers.append((high[:, :r] * rng.uniform(0.3, 1.0, r)) @ low[:, :r].T)
    return la.Network.from_matrices(layers)


def compare(net, X, Y, steps=60, lr=1e-2, **options):
    """The largest difference from `plain` at any record, and the run."""
    record = {"alignment_svd": 20, "invariance": 20, matrices: 20}
    run = la.train(net, X, Y, lr=lr, steps=steps, record=record, **options)
    start = net.matrices()
    want = np.array([plain(split(flat, start), start) for flat in run.history["matrices"].values])
    got = np.column_stack([run.history["alignment_svd"].values, run.history["invariance"].values])
    return np.abs(got - want).max(), run


CASES = [
    ((20, 30, 8, 3), 6), ((20, 30, 8, 3), 50), ((30, 20, 8, 3), 6), ((20, 12, 4), 5), ((12, 40, 12), 5), ((9, 9, 9, 9), 9),
    ((98, 128, 16, 10), 32), ((60, 80, 70, 3), 10), ((80, 100, 90, 70), 60), ((300, 20, 1), 4),
]  # fmt: skip


@pytest.mark.parametrize("reduce", ["none", "auto", EVERY], ids=str)
@pytest.mark.parametrize("kind", ["gaussian", "aligned"])
@pytest.mark.parametrize(("widths", "n"), CASES, ids=str)
def test_equal_to_plain_numpy_on_trajectories(widths, n, kind, reduce):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((n, widths[0])) / np.sqrt(n), rng.standard_normal((n, widths[-1])) / np.sqrt(n)
    net = la.Network.dense(widths).init("gaussian", rng=0) if kind == "gaussian" else aligned_start(rng, widths, X, Y)
    error, run = compare(net, X, Y, reduce=reduce)
    assert error <= 1e-10
    if widths == (98, 128, 16, 10) and reduce == EVERY:
        assert run.plan.widths_after[1] < 128  # the width is reduced, or this tests nothing


def test_a_single_layer_scores_one():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((20, 7)), rng.standard_normal((20, 5))
    for reduce in ("none", "auto"):
        run = la.train(
            la.Network.dense([7, 5]).init("gaussian", rng=0),
            X,
            Y,
            lr=1e-3,
            steps=5,
            record={"alignment_svd": 1, "invariance": 1},
            reduce=reduce,
        )
        assert (run.history["alignment_svd"].values == 1).all()
        assert (run.history["invariance"].values == 1).all()


def test_factorisation_momentum_decay_and_float32():
    rng = np.random.default_rng(1)
    net = la.Network.dense([15, 20, 12]).init("gaussian", rng=0)
    target = rng.standard_normal((12, 15))
    assert compare(net, None, target)[0] <= 1e-10
    X, Y = rng.standard_normal((8, 15)), rng.standard_normal((8, 12))
    assert compare(net, X, Y, momentum=0.9, lr=1e-3)[0] <= 1e-10
    assert compare(net, X, Y, weight_decay=0.1)[0] <= 1e-10
    error, _ = compare(net.astype(np.float32), X.astype(np.float32), Y.astype(np.float32), lr=1e-3)
    assert error <= 1e-3  # the lifted network is rounded to float32, singular vectors by that over their gaps


@pytest.mark.parametrize(
    "layers",
    [
        [la.Conv2d(8, 3)] * 3,
        [la.Conv2d(8, 3, out_channels=2), la.Conv2d(8, 3, 2, 1), la.Dense(64, 5)],
        [la.Conv2d(9, 3, padding="valid"), la.Toeplitz(49, 60), la.Hankel(60, 60)],
        [la.Dense(64, 50), la.Toeplitz(50, 50), la.Symmetric(50)],
    ],
    ids=lambda layers: "-".join(type(layer).__name__ for layer in layers),
)
def test_constrained_layers(layers):
    rng = np.random.default_rng(2)
    net = la.Network(layers).init("gaussian", rng=0)
    X, Y = rng.standard_normal((6, net.widths[0])) / 8, rng.standard_normal((6, net.widths[-1])) / 8
    assert compare(net, X, Y)[0] <= 1e-10


def test_large_layers_go_to_threads_and_are_the_same():
    rng = np.random.default_rng(3)
    start = [rng.standard_normal((k, k)) for k in (260, 260, 260)]
    later = [W + 0.1 * rng.standard_normal(W.shape) for W in start]
    found = []
    for threads in (1, 2):
        scores = VectorScores(start, threads)
        for Ws in (start, later, start):
            found.append(tuple(scores.take(Ws, ("alignment_svd", "invariance")).values()))
    assert np.abs(np.array(found[:3]) - found[3:]).max() <= 1e-13
    want = plain(later, start)
    assert found[1] == pytest.approx(want, abs=1e-10)
    assert found[2][1] == pytest.approx(1.0, abs=1e-12)


# ---- beside the run ----------------------------------------------------------------------------------------------------------

BESIDE = [("alignment_svd", "invariance"), ("invariance",), ("alignment_svd",)]


def beside(names, threads, **options):
    """A run whose first layer has inputs that the data do not reach, with scores every 7 steps."""
    rng = np.random.default_rng(4)
    net = la.Network.dense([30, 22, 8, 5]).init("xavier", rng=0)
    X, Y = rng.standard_normal((9, 30)) / 5, rng.standard_normal((9, 5))
    options = {"lr": 0.05, "steps": 400, "record": dict.fromkeys(names, 7), "reduce": ("inputs", "width")} | options
    return la.train(net, X, Y, threads=threads, **options)


@pytest.fixture
def tasks(monkeypatch):
    """What is left to other threads: every such first layer, however small."""
    seen = []
    original = small_scores.ReducedScores._task

    def counted(self, weights, names):
        seen.append(names)
        return original(self, weights, names)

    monkeypatch.setattr(small_scores, "WIDE", 1)
    monkeypatch.setattr(small_scores.ReducedScores, "_task", counted)
    return seen


@pytest.mark.parametrize("names", BESIDE, ids="-".join)
def test_scores_found_beside_the_run_are_those_found_in_it(names, tasks):
    alone = beside(names, 1)
    assert not tasks
    run = beside(names, 3)
    # one task a record, whatever is asked for
    assert [set(n) for n in tasks] == [set(names)] * len(run.history[names[0]])
    assert all(np.array_equal(a, b) for a, b in zip(run.network.params, alone.network.params, strict=True))
    for name in names:
        assert np.array_equal(run.history[name].steps, alone.history[name].steps)
        assert np.abs(run.history[name].values - alone.history[name].values).max() <= 1e-12


def test_a_run_that_diverges_keeps_the_scores_found_beside_it(tasks):
    runs = []
    for threads in (1, 2):
        with pytest.raises(la.DivergenceError) as caught:
            beside(("alignment_svd", "invariance"), threads, lr=30.0)
        runs.append(caught.value.run)
    alone, run = runs
    assert tasks
    for name in run.history:
        assert np.array_equal(run.history[name].steps, alone.history[name].steps)
        assert run.history[name].values == pytest.approx(alone.history[name].values, abs=1e-8)


def test_a_score_that_fails_beside_the_run_says_so(tasks, monkeypatch):
    def broken(self, weights, names):
        raise np.linalg.LinAlgError("no vectors")

    monkeypatch.setattr(small_scores.ReducedScores, "_task", broken)
    with pytest.raises(np.linalg.LinAlgError, match="no vectors"):
        beside(("alignment_svd",), 2)


# ---- how often -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch):
    """The shapes of the factorisations that are made."""
    seen = []
    original = structured_svd.factor

    def counted(W):
        seen.append(W.shape)
        return original(W)

    monkeypatch.setattr(structured_svd, "factor", counted)
    return seen


def test_vectors_that_stay_are_kept(made):
    """An aligned start on autoencoding: the values move, the vectors do not; one factorisation a layer, whatever the records."""
    rng = np.random.default_rng(4)
    X = rng.standard_normal((30, 12))
    condition = la.theory.invariance_condition(X, X)
    bases = [condition.inputs, orthogonal(rng, 12), condition.outputs]
    net = la.Network.from_matrices([(Q * rng.uniform(0.3, 1, 12)) @ P.T for P, Q in pairwise(bases)])
    lr = la.theory.certify(net, X, X).lr_matrix
    run = la.train(net, X, X, lr=lr, steps=200, record={"alignment_svd": 10, "invariance": 10}, reduce="none")
    assert run.loss[-1] < 0.5 * run.loss[0]
    assert len(run.history["invariance"]) == 21
    assert len(made) == 2
    assert run.history["invariance"].values == pytest.approx(1.0, abs=1e-12)
    made.clear()
    # vectors that turn are made anew, once for both scores
    other = la.Network.dense([12, 12, 12]).init("gaussian", rng=0)
    la.train(other, X, X, lr=1e-3, steps=50, record={"alignment_svd": 10, "invariance": 10}, reduce="none")
    assert len(made) == 2 * 6


def test_kept_vectors_are_singular_vectors():
    """What is kept fits the new matrix to rounding; what does not is made anew: a small turn is seen, in every column."""
    rng = np.random.default_rng(5)
    for m, n in ((30, 30), (40, 25), (25, 40)):
        r = min(m, n)
        U, V = orthogonal(rng, m)[:, :r], orthogonal(rng, n)[:, :r]
        s = np.linspace(0.5, 2, r)
        keep = vectors.Kept(1e-12)
        first = keep((U * s) @ V.T)
        assert keep((U * s[::-1]) @ V.T) is first
        for j in range(r - 1):
            turn = np.eye(r)
            turn[j : j + 2, j : j + 2] = [[1, -1e-10], [1e-10, 1]]
            assert keep((U @ turn * s) @ V.T) is not first
            first = keep((U * s) @ V.T)
        # the same part of the space, but a direction more
        assert keep((U * s) @ V.T + 1e-9 * np.outer(rng.standard_normal(m), rng.standard_normal(n))) is not first


@pytest.mark.parametrize("shape", [(60, 60), (90, 60), (60, 90), (5, 300)], ids=str)
def test_factor_is_a_singular_value_decomposition(shape):
    rng = np.random.default_rng(6)
    W = rng.standard_normal(shape)
    flipped = rng.standard_normal((shape[0], shape[0]))
    flipped = (flipped + flipped.T)[::-1]
    graded = (
        orthogonal(rng, shape[0])[:, : min(shape)] * 10.0 ** -np.linspace(0, 12, min(shape)) @ orthogonal(rng, shape[1])[:, : min(shape)].T
    )
    for A in (W, flipped, flipped[::-1], graded, np.zeros(shape)):
        f = factor(np.ascontiguousarray(A))
        r = min(A.shape)
        assert f.U.shape == (A.shape[0], r)
        assert np.linalg.norm((f.U * f.s) @ f.V.T - A) <= 1e-13 * max(np.linalg.norm(A), 1e-300)
        for Q in (f.U, f.V):
            assert np.linalg.norm(Q.T @ Q - np.eye(r)) <= 1e-11
        assert (f.s >= 0).all()


def test_large_products_find_the_same_maxima(monkeypatch):
    rng = np.random.default_rng(7)
    monkeypatch.setattr(vectors, "SHORT", 8)
    for k, p, q in ((40, 40, 40), (60, 20, 50), (30, 1, 70)):
        A, B = np.linalg.qr(rng.standard_normal((k, p)))[0], np.linalg.qr(rng.standard_normal((k, min(q, k))))[0]
        for B_ in (B, np.repeat(A[:, :1], 9, axis=1), np.hstack([A, A])):
            want = np.abs(A.T @ B_).max(axis=0)
            assert np.abs(vectors.largest(B_, A) - want).max() <= 1e-15 * k
            longest = rng.uniform(0.1, 300.0, A.shape[1])
            want = np.abs((A * longest).T @ B_).max(axis=0)
            assert np.abs(vectors.largest(B_, A * longest, longest) - want).max() <= 1e-15 * k * 300
    # ties everywhere: all of them are made again, or the whole product
    A = np.eye(40)
    B = np.full((40, 40), 1 / np.sqrt(40))
    assert vectors.largest(B, A) == pytest.approx(1 / np.sqrt(40), abs=1e-15)
    assert vectors.best(np.eye(5), np.zeros((5, 0))) == 0.0


def test_orthogonal_layers_before_constrained_ones_are_recorded():
    """A dense first layer shrinks to the data while the layers above it keep their structure."""
    rng = np.random.default_rng(8)
    net = la.Network([la.Dense(20, 8), la.Circulant(8), la.Dense(8, 3)]).init("gaussian", rng=0)
    X, Y = rng.standard_normal((6, 20)), rng.standard_normal((6, 3))
    record = {"alignment": 10, "balancedness": 10, "singular_values": 10}
    runs = [la.train(net, X, Y, lr=1e-2, steps=30, record=record, implementation=how) for how in ("kernel", "reference")]
    assert any(r.name == "inputs" and r.applied for r in runs[0].plan.reductions)
    for name in record:
        assert np.allclose(runs[0].history[name].values, runs[1].history[name].values, rtol=1e-10, atol=1e-12)


# ---- trajectories ----------------------------------------------------------------------------------------------------------


def test_scores_of_a_trajectory_are_those_of_its_members():
    rng = np.random.default_rng(9)
    net = la.Network([la.Dense(10, 9), la.Circulant(9), la.Dense(9, 4)]).init("gaussian", rng=0)
    X, Y = rng.standard_normal((12, 10)), rng.standard_normal((12, 4))
    run = la.train(net, X, Y, lr=1e-2, steps=40, record={"params": 10, "alignment": 10, "alignment_svd": 10, "invariance": 10})
    nets = [la.train(net, X, Y, lr=1e-2, steps=t).network if t else net for t in range(0, 41, 10)]
    stacks = [np.stack([n.matrices()[i] for n in nets]) for i in range(3)]
    for name in ("alignment", "misalignment", "alignment_svd", "alignment_top", "balancedness", "singular_values", "effective_rank"):
        score = getattr(la, name)
        want = np.array([score(n) for n in nets])
        for given in (run, nets, tuple(nets), stacks):
            assert np.allclose(score(given), want, rtol=0, atol=1e-10), name
    assert np.allclose(la.alignment(run), run.history["alignment"].values, atol=1e-10)
    want = np.array([la.invariance(n, net) for n in nets])
    assert want[0] == pytest.approx(1.0, abs=1e-12)
    assert want[-1] < 1
    for given in (run, nets, stacks):
        assert np.allclose(la.invariance(given), want, rtol=0, atol=1e-10)
        assert np.allclose(la.invariance(given, nets[2]), [la.invariance(n, nets[2]) for n in nets], atol=1e-10)
    assert la.misalignment(run, chain=True).shape == (5, 2)


def test_trajectories_that_are_none():
    rng = np.random.default_rng(10)
    net = la.Network.dense([4, 3, 2]).init("gaussian", rng=0)
    run = la.train(net, rng.standard_normal((5, 4)), rng.standard_normal((5, 2)), lr=1e-3, steps=2)
    with pytest.raises(ValueError, match='the run recorded no parameters; train with record={"params": 100}'):
        la.alignment(run)
    with pytest.raises(ValueError, match=r"net\[1\] has layers of shapes \[\(3, 3\)\] but net\[0\] has"):
        la.alignment([net, la.Network.dense([3, 3]).init("gaussian", rng=0)])
    with pytest.raises(ValueError, match=r"net holds stacks of \[2, 3\] matrices"):
        la.alignment([np.ones((2, 3, 3)), np.ones((3, 3, 3))])
    with pytest.raises(ValueError, match="start is None but net is a single network"):
        la.invariance(net)
