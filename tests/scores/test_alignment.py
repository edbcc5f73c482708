"""Scores of alignment against independent few-line implementations, closed forms and extended precision."""

from itertools import pairwise

import numpy as np
import pytest

import linalign as al
from linalign.layers import Conv2d
from linalign.problem.network import Network
from linalign.scores import interface
from linalign.scores import spectrum as sp
from tests.oracles.extended import LD

EPS = np.finfo(float).eps
SCORES = [al.alignment, al.misalignment, al.alignment_svd, al.alignment_top]


def orthogonal(rng, k):
    q, r = np.linalg.qr(rng.standard_normal((k, k)))
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)


def gaussian(rng, widths):
    return [rng.standard_normal((b, a)) for a, b in pairwise(widths)]


def aligned_chain(rng, widths, values):
    """W_i = Q_i S_i Q_{i-1}^T with the given diagonal values, shape (d, at most min(widths))."""
    Q = [orthogonal(rng, k) for k in widths]
    out = []
    for i, s in enumerate(values):
        S = np.zeros((widths[i + 1], widths[i]))
        S[np.arange(len(s)), np.arange(len(s))] = s
        out.append(Q[i + 1] @ S @ Q[i].T)
    return out


def train(matrices, X, Y, lr, steps):
    """Snapshots of plain gradient descent on half the sum of squares."""
    Ws = [W.copy() for W in matrices]
    for _ in range(steps):
        yield [W.copy() for W in Ws]
        below = [np.eye(Ws[0].shape[1])]
        for W in Ws:
            below.append(W @ below[-1])
        G = (X @ below[-1].T - Y).T @ X
        for i in reversed(range(len(Ws))):
            G, grad = Ws[i].T @ G, G @ below[i].T
            Ws[i] = Ws[i] - lr * grad


def reference_angle(W, V):
    """Sine and cosine from the commutator of the two Gram matrices, in 80-bit arithmetic."""
    W, V = W.astype(LD), V.astype(LD)
    A, B = W @ W.T, V.T @ V
    K = A @ B
    whole = np.sqrt(np.sum(K * K))
    sine = np.sqrt(np.sum((K - K.T) ** 2)) / (np.sqrt(LD(2)) * whole)
    Z = V @ W
    return float(sine), float(np.sqrt(np.sum((Z @ Z.T) ** 2)) / whole)


SHAPES = [(4, 6, 5), (1, 1, 1), (1, 7, 1), (30, 3, 30), (3, 30, 2), (2, 100, 70), (70, 100, 2), (5, 90, 5), (17, 1, 4), (120, 70, 80)]


@pytest.mark.parametrize("widths", SHAPES, ids=str)
def test_scores_equal_the_definition_in_extended_precision(widths):
    rng = np.random.default_rng(0)
    for _ in range(5):
        W, V = gaussian(rng, widths)
        sine, cosine = reference_angle(W, V)
        # forward error of a chain of four products of k terms, relative to the norms of the factors; the quotient by
        # ||K|| costs kappa, the loss of norm in the products
        kappa = (np.linalg.norm(W) * np.linalg.norm(V)) ** 2 / np.linalg.norm(W @ W.T @ V.T @ V)
        bound = 8 * max(widths) * EPS * kappa
        assert abs(al.misalignment([W, V])[0] - sine) <= bound
        assert abs(al.alignment([W, V])[0] - cosine) <= bound


@pytest.mark.parametrize("widths", [(5, 4, 6), (3, 200, 4), (150, 200, 3), (3, 200, 150)], ids=str)
def test_sine_is_accurate_near_zero(widths):
    """A known small sine is found to a relative error that the note's trace form (floor 8e-9) cannot have."""
    rng = np.random.default_rng(1)
    for size in (1e-4, 1e-7, 1e-10):
        W, V = aligned_chain(rng, widths, [[2.0, 1.0], [1.5, 0.5]])
        V = V + size * rng.standard_normal(V.shape)
        exact, _ = reference_angle(W, V)
        assert exact > 0.01 * size
        assert abs(al.misalignment([W, V])[0] - exact) <= 8 * max(widths) * EPS * 10


def test_rank_one_is_the_angle_of_ji_and_telgarsky():
    """Rank one at angle t: alignment |cos t|, misalignment |sin t|, top |cos t|; accurate at both ends."""
    rng = np.random.default_rng(2)
    for angle in (0.0, 1e-9, 1e-5, 0.3, 1.0, np.pi / 2 - 1e-5, np.pi / 2 - 1e-9):
        Q = orthogonal(rng, 6)
        W = np.outer(Q[:, 0], [1.0, 2.0, 3.0])
        V = np.outer([1.0, -1.0], np.cos(angle) * Q[:, 0] + np.sin(angle) * Q[:, 1])
        assert al.alignment([W, V])[0] == pytest.approx(np.cos(angle), abs=40 * EPS)
        assert al.misalignment([W, V])[0] == pytest.approx(np.sin(angle), abs=40 * EPS)
        assert al.alignment_top([W, V])[0] == pytest.approx(np.cos(angle), abs=40 * EPS)


def test_alignment_is_one_where_vector_scores_are_noise():
    rng = np.random.default_rng(3)
    # W_1 twice an orthogonal matrix is aligned with every W_2
    pair = [2 * orthogonal(rng, 10), rng.standard_normal((10, 10))]
    assert al.misalignment(pair)[0] < 10 * 10 * EPS
    assert al.alignment(pair)[0] == 1.0
    assert al.alignment_svd(pair) < 0.8
    # chains of circulants are aligned at every instant (T6.6)
    N = 8
    chain = [sum(c * np.roll(np.eye(N), j, 1) for j, c in enumerate(rng.standard_normal(N))) for _ in range(4)]
    assert al.misalignment(chain, chain=True).max() < 1e-13
    assert np.all(al.alignment(chain) == 1.0)
    # a generic network is not
    assert al.alignment(gaussian(rng, [8, 8, 8, 8])).max() < 0.95


def test_aligned_chains_score_one():
    rng = np.random.default_rng(4)
    for _ in range(50):
        widths = [int(k) for k in rng.integers(2, 9, rng.integers(2, 6) + 1)]
        r = int(rng.integers(1, min(widths) + 1))
        values = rng.choice([2.0, 1.0, 0.5, 0.0], (len(widths) - 1, r)) * rng.choice([-1, 1], (len(widths) - 1, r))
        chain = aligned_chain(rng, widths, values)
        assert al.misalignment(chain, chain=True).max(initial=0) < 1e-13
        assert al.alignment(chain).min() > 1 - 1e-13


def test_pairwise_scores_miss_what_the_chain_score_sees():
    """The counterexample after T1.2: both interfaces commute exactly, the chain is not aligned."""
    for between in (1, 2, 3, 10):
        chain = [np.diag([2.0, 1.0]), *[np.eye(2)] * between, np.array([[1.0, 1.0], [0.0, 1.0]])]
        assert np.all(al.misalignment(chain) == 0.0)
        assert al.misalignment(chain, chain=True)[0] > 0.3


def test_zero_products():
    W, V = np.array([[1.0], [0.0]]), np.array([[0.0, 1.0]])
    assert al.alignment([W, V])[0] == 1.0
    assert al.misalignment([W, V])[0] == 0.0
    assert al.alignment([np.zeros((3, 2)), np.ones((4, 3))])[0] == 1.0
    assert al.alignment_top([np.zeros((3, 2)), np.ones((4, 3))])[0] == 1.0
    # ranges that are orthogonal up to rounding: Z is noise, not direction
    rng = np.random.default_rng(5)
    Q = orthogonal(rng, 9)
    pair = [Q[:, :4] @ rng.standard_normal((4, 5)), rng.standard_normal((6, 5)) @ Q[:, 4:].T]
    assert 0 < np.abs(pair[1] @ pair[0]).max() < 1e-14
    assert al.alignment(pair)[0] == 1.0
    assert al.alignment([W.astype(np.float32) for W in pair])[0] == 1.0


def test_products_that_are_rounding_noise_do_not_count():
    """An aligned chain whose longer products vanish: what is left of them points anywhere."""
    rng = np.random.default_rng(15)
    for seed in range(10):
        Q = [orthogonal(rng, 6) for _ in range(5)]
        lanes = [[0, 1, 2], [0, 1], [2, 3], [1, 2, 3, 4]]
        chain = [Q[i + 1][:, on] * rng.uniform(0.5, 2, len(on)) @ Q[i][:, on].T for i, on in enumerate(lanes)]
        assert 0 < np.abs(chain[2] @ chain[1]).max() < 1e-14
        assert al.misalignment(chain, chain=True).max() < 1e-13, seed


@pytest.mark.parametrize("low", [1e-15, 1e-300, 5e-324, 1e100, 1e300])
@pytest.mark.parametrize("high", [1e-15, 1.0, 1e100])
def test_scores_do_not_see_the_scale(low, high):
    rng = np.random.default_rng(6)
    W, V = rng.integers(-4, 5, (5, 4)).astype(float), rng.standard_normal((3, 5))
    for score in SCORES:
        np.testing.assert_allclose(score([W * low, V * high]), score([W, V]), rtol=1e-12)
    assert al.invariance([W * low, V * high], [W, V]) == pytest.approx(1.0, abs=1e-12)


def test_orthogonal_changes_of_basis_change_nothing():
    rng = np.random.default_rng(7)
    widths = [4, 6, 3, 5]
    chain = gaussian(rng, widths)
    Q = [orthogonal(rng, k) for k in widths]
    turned = [Q[i + 1] @ W @ Q[i].T for i, W in enumerate(chain)]
    for score in SCORES:
        np.testing.assert_allclose(score(turned), score(chain), rtol=0, atol=1e-12)
    np.testing.assert_allclose(al.misalignment(turned, chain=True), al.misalignment(chain, chain=True), rtol=0, atol=1e-12)
    np.testing.assert_allclose(al.balancedness(turned), al.balancedness(chain), rtol=1e-12)


@pytest.mark.parametrize("widths", [(5, 7, 4), (80, 100, 90), (90, 70, 100), (3, 100, 3)], ids=str)
def test_alignment_top(widths):
    rng = np.random.default_rng(9)
    W, V = gaussian(rng, widths)
    U, s, _ = np.linalg.svd(W)
    _, t, Vt = np.linalg.svd(V)
    gap = min(s[0] - s[1], t[0] - t[1]) / max(s[0], t[0])
    assert abs(al.alignment_top([W, V])[0] - abs(Vt[0] @ U[:, 0])) <= 20 * max(widths) * EPS / gap


@pytest.mark.parametrize("widths", [(5, 7, 4), (3, 300, 4), (30, 300, 4)], ids=str)
def test_balancedness(widths):
    rng = np.random.default_rng(10)
    W, V = gaussian(rng, widths)
    direct = np.linalg.norm(V.T @ V - W @ W.T)
    assert al.balancedness([W, V])[0] == pytest.approx(direct, rel=1e-12)
    assert al.balancedness([W * 1e100, V * 1e100])[0] == pytest.approx(direct * 1e200, rel=1e-12)
    assert al.balancedness([W * 1e-150, V * 1e-150])[0] == pytest.approx(direct * 1e-300, rel=1e-12)
    assert al.balancedness([W, W.T])[0] <= 10 * max(widths) * EPS * np.linalg.norm(W) ** 2
    # balanced implies aligned, aligned does not imply balanced
    assert al.misalignment([W, 2 * W.T])[0] < 10 * max(widths) * EPS
    assert al.balancedness([W, 2 * W.T])[0] > 1


def with_zeros(rng, rows, columns, share):
    W = np.zeros((rows, columns))
    W.flat[rng.choice(W.size, max(1, int(share * W.size)), replace=False)] = rng.standard_normal(max(1, int(share * W.size)))
    return W


@pytest.mark.parametrize("kind", ["masks", "masks that fill in", "between dense layers", "narrow ends", "convolutions", "orthogonal"])
def test_layers_of_few_nonzeros_score_the_same_as_sparse_matrices(kind, monkeypatch):
    rng = np.random.default_rng(5)
    chains = {
        "masks": lambda: [with_zeros(rng, b, a, 0.004) for a, b in pairwise((200, 190, 210, 200))],
        "masks that fill in": lambda: [with_zeros(rng, b, a, 0.03) for a, b in pairwise((200, 190, 210, 200))],
        "between dense layers": lambda: [rng.standard_normal((200, 150)), with_zeros(rng, 140, 200, 0.02), rng.standard_normal((150, 140))],
        "narrow ends": lambda: [with_zeros(rng, 800, 130, 0.01), with_zeros(rng, 140, 800, 0.01)],
        "convolutions": lambda: Network([Conv2d(20, 3), Conv2d(20, 3), Conv2d(20, 3)]).init("gaussian", rng=0).matrices(),
        "orthogonal": lambda: [np.eye(200)[rng.permutation(200)] for _ in range(3)],
    }
    chain = chains[kind]()
    made = []
    array = interface.scipy.sparse.csr_array
    monkeypatch.setattr(interface.scipy.sparse, "csr_array", lambda A: made.append(A.shape) or array(A))
    found = [al.alignment(chain), al.misalignment(chain), al.balancedness(chain)]
    assert made
    monkeypatch.setattr(interface, "SPARSE_SHARE", -1.0)
    del made[:]
    for ours, dense in zip(found, [al.alignment(chain), al.misalignment(chain), al.balancedness(chain)], strict=True):
        assert ours == pytest.approx(dense, rel=1e-13, abs=1e-14)
    assert not made


def test_spectra():
    rng = np.random.default_rng(11)
    chain = gaussian(rng, [5, 4, 6, 3])
    P = chain[2] @ chain[1] @ chain[0]
    np.testing.assert_allclose(sp.singular_values(chain), np.linalg.svd(P, compute_uv=False), rtol=1e-12)
    for got, W in zip(sp.layer_singular_values(chain), chain, strict=True):
        np.testing.assert_allclose(got, np.linalg.svd(W, compute_uv=False), rtol=1e-13)
    # depth 40 at scale 1e-15 underflows as a product; the effective rank does not see the scale
    for scale in (1e-15, 1.0, 1e15):
        deep = [scale * W for W in aligned_chain(rng, [4] * 41, np.ones((40, 4)))]
        assert sp.effective_rank(deep) == pytest.approx(4.0, rel=1e-10)
    assert sp.effective_rank([np.outer([1.0, 2.0], [3.0, 4.0])]) == pytest.approx(1.0, abs=1e-12)
    assert sp.effective_rank([np.diag([3.0, 1.0])]) == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))
    assert sp.effective_rank([np.zeros((2, 3))]) == 0.0
    np.testing.assert_array_equal(sp.singular_values([np.diag([4.0, 2.0]) * 1e-200, np.eye(2) * 1e-100]), np.array([4.0, 2.0]) * 1e-300)


def test_baseline_is_the_mean_over_random_layers():
    """The figures of the theory, 0.74, 0.61, 0.43 for the authors' score of two square layers, k = 5, 10, 30."""
    for k, known in ((5, 0.74), (10, 0.61), (30, 0.43)):
        base = al.alignment_baseline([(k, k)] * 3, rng=0, draws=40)
        # 80 interfaces, each a mean of k maxima with a spread below 0.2: three standard errors
        assert base["alignment_svd"] == pytest.approx(known, abs=3 * 0.2 / np.sqrt(80 * k) + 0.01)
        assert base["alignment"].shape == base["misalignment"].shape == base["alignment_top"].shape == (2,)
        assert 0 < base["alignment"].min() <= base["alignment"].max() < 1
        assert 0 < base["invariance"] < 1
        assert 0 < base["top_invariance"] < 1
    net = Network.dense([5, 4, 3])
    one, two = al.alignment_baseline(net, rng=1), al.alignment_baseline([(4, 5), (3, 4)], rng=1)
    assert one["alignment_svd"] == two["alignment_svd"]


def test_inputs_are_taken_as_they_come_and_left_alone():
    rng = np.random.default_rng(12)
    chain = gaussian(rng, [4, 6, 5])
    wanted = [score(chain) for score in SCORES]
    big = [np.zeros((2 * W.shape[0], 3 * W.shape[1])) for W in chain]
    views = [b[::2, ::3] for b in big]
    for view, W in zip(views, chain, strict=True):
        view[:] = W
        view.flags.writeable = False
    for given in (views, [np.asfortranarray(W) for W in chain], tuple(chain), iter(chain), Network.from_matrices(chain)):
        items = list(given) if not isinstance(given, Network) else given
        for score, value in zip(SCORES, wanted, strict=True):
            np.testing.assert_allclose(score(items), value, rtol=1e-13)
    singles = [W.astype(np.float32) for W in chain]
    for score in SCORES:
        out = score(singles)
        # the scores are computed in float64 of the rounded weights, not in float32
        np.testing.assert_allclose(out, score([W.astype(float) for W in singles]), rtol=1e-13)
        assert np.asarray(out).dtype == np.float64
    for score, value in zip(SCORES, wanted, strict=True):
        np.testing.assert_array_equal(score(chain), value)


def test_a_single_layer():
    W = [np.ones((3, 2))]
    for score in (al.alignment, al.misalignment, al.alignment_top, al.balancedness):
        assert score(W).shape == (0,)
    assert al.misalignment(W, chain=True).shape == (0,)
    assert al.alignment_svd(W) == al.invariance(W, W) == 1.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: al.alignment([]), ValueError, "net is empty"),
        (lambda: al.alignment(3), TypeError, "net is int; a Network or a sequence of matrices"),
        (lambda: al.alignment([np.ones((3, 2)), np.ones((2, 4))]), ValueError, r"net\[1\] takes 4 inputs but net\[0\] gives 3 outputs"),
        (lambda: al.alignment([np.array([[1.0, np.nan]])]), ValueError, r"net\[0\]\[0, 1\] is nan"),
        (lambda: al.alignment([np.ones((3, 2)) * 1j]), TypeError, r"net\[0\] is complex128"),
        (lambda: al.alignment(np.ones((3, 2))), ValueError, r"net\[0\] has 1 dimensions"),
        (lambda: al.alignment(Network.dense([3, 2])), ValueError, "no parameters yet"),
        (lambda: al.invariance([np.ones((3, 2))], [np.ones((2, 2))]), ValueError, r"start has layers of shapes \[\(2, 2\)\]"),
        (lambda: al.alignment_baseline([(3, 2), (2, 4)], rng=0), ValueError, r"shapes\[1\] takes 4 inputs"),
        (lambda: al.alignment_baseline([(3, 0)], rng=0), ValueError, r"shapes\[0\]\[1\] is 0"),
        (lambda: al.alignment_baseline([(3,)], rng=0), ValueError, r"shapes\[0\] is \(3,\)"),
        (lambda: al.alignment_baseline(3, rng=0), TypeError, "shapes is 3"),
        (lambda: al.alignment_baseline([], rng=0), ValueError, "shapes is empty"),
        (lambda: al.alignment_baseline([(3, 2)], rng=None), ValueError, "rng is None"),
        (lambda: al.alignment_baseline([(3, 2)], rng=0, draws=0), ValueError, "draws is 0"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize(("a", "k", "b"), [(100, 90, 80), (120, 200, 12), (9, 150, 100), (70, 64, 1)])
def test_sums_of_squares_give_the_careful_angle(a, k, b, more):
    # layers between many units are scored by ||K||^2 - tr K^2 where that keeps its digits
    rng = np.random.default_rng(5)
    W, V, L = rng.standard_normal((k, a)), rng.standard_normal((b, k)), rng.standard_normal((k, 30))
    whole, square, size, grown = interface.sums(W, V, L @ L.T if more else None)
    W = np.hstack([W, L]) if more else W
    K = W @ W.T @ V.T @ V
    assert np.allclose([whole, square, size], [np.sum(K * K), np.trace(K @ K), np.trace(K)], rtol=1e-12)
    sine, norm = np.linalg.norm(K - K.T) / np.sqrt(2), np.linalg.norm(K)
    found = interface.clear(whole, square, size, grown, floor=0.0)
    if found is None:
        # a cosine near zero, which the callers then find with care
        assert square < 1e-2 * whole
    else:
        assert np.allclose(found, [sine / norm, np.sqrt(np.trace(K @ K)) / norm], rtol=1e-11)


def test_sums_of_squares_are_not_trusted_near_an_aligned_pair():
    rng = np.random.default_rng(6)
    W, V = aligned_chain(rng, (90, 80, 70), rng.uniform(0.5, 2.0, (2, 70)))
    W = W + 1e-9 * rng.standard_normal(W.shape)
    assert interface.clear(*interface.sums(W, V), floor=0.0) is None
    K = W @ W.T @ V.T @ V
    assert al.misalignment([W, V])[0] == pytest.approx(np.linalg.norm(K - K.T) / np.sqrt(2) / np.linalg.norm(K), rel=1e-6)
