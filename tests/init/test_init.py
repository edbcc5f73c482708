"""Starts: the equation of every kind, its statistics, reproducibility, and the message of every refusal."""

from __future__ import annotations

from itertools import combinations_with_replacement, pairwise, product

import numpy as np
import pytest

from linalign import Conv1d, Dense, Diagonal, Fixed, Masked, Network, Scaled, Skew, Subspace, Toeplitz
from linalign.init import CHAIN_KINDS, LAYER_KINDS, draw

EPS = np.finfo(np.float64).eps
SHAPES = [(1, 1), (7, 3), (3, 7), (5, 5), (1, 6), (6, 1)]
RANDOM = ["gaussian", "xavier", "orthogonal"]


def rounding(k, d, size):
    """Products of d + 1 factors of width k, orthonormal to `k^1.5 eps` (Householder QR), of norm `size` in all: with a factor 4."""
    return 4 * (d + 1) * k**1.5 * EPS * size


def one(kind, shape, **options):
    """The matrix of a single layer of this start."""
    return draw([Dense(shape[1], shape[0])], kind, **options)[0]


def gaps(net):
    """`W_{i+1}^T W_{i+1} - W_i W_i^T` of every interface."""
    Ws = net.matrices()
    return [Ws[i + 1].T @ Ws[i + 1] - Ws[i] @ Ws[i].T for i in range(len(Ws) - 1)]


# ---- what holds for every kind ---------------------------------------------------------------------------------------------


def options_of(kind, widths, seed=5):
    rng = np.random.default_rng(seed)
    r = min(widths)
    P = rng.standard_normal((widths[-1], r)) @ rng.standard_normal((r, widths[0]))
    data = {"X": rng.standard_normal((9, widths[0])), "Y": rng.standard_normal((9, widths[-1]))}
    return {"balanced": {"matrix": P}, "aligned": data, "lambda_balanced": {"lam": 0.0, "matrix": P}}.get(kind, {})


@pytest.mark.parametrize("widths", [(4, 3, 5), (1, 1, 1), (2, 6, 3, 7)], ids=str)
@pytest.mark.parametrize("kind", [*LAYER_KINDS, *CHAIN_KINDS])
def test_shapes_dtypes_and_seeds(kind, widths):
    net, options = Network.dense(widths), options_of(kind, widths)
    double = draw(net.layers, kind, rng=3, **options)
    single = draw(net.layers, kind, rng=3, dtype=np.float32, **options)
    for layer, a, b in zip(net.layers, double, single, strict=True):
        assert a.shape == b.shape == layer.param_shape
        assert a.dtype == np.float64
        assert b.dtype == np.float32
        assert a.flags.c_contiguous
        assert b.flags.c_contiguous
        assert np.array_equal(a.astype(np.float32), b)  # the same numbers rounded
    for again in (draw(net.layers, kind, rng=3, **options), draw(net.layers, kind, rng=np.random.default_rng(3), **options)):
        assert all(np.array_equal(a, b) for a, b in zip(double, again, strict=True))
    other = draw(net.layers, kind, rng=4, **options)
    if kind in RANDOM:
        assert widths == (1, 1, 1) or all(not np.array_equal(a, b) for a, b in zip(double, other, strict=True))
    if kind in ("identity", "zero"):
        assert all(np.array_equal(a, b) for a, b in zip(double, draw(net.layers, kind), strict=True))


@pytest.mark.parametrize("kind", [*RANDOM, "balanced", "aligned", "lambda_balanced"])
def test_random_kinds_need_a_seed(kind):
    with pytest.raises(ValueError, match="rng is None; pass a seed such as rng=0"):
        Network.dense([3, 3, 3]).init(kind, **options_of(kind, (3, 3, 3)))


@pytest.mark.parametrize("kind", CHAIN_KINDS)
def test_options_are_not_modified(kind):
    options = options_of(kind, (4, 3, 5))
    before = {name: np.copy(value) for name, value in options.items()}
    for value in options.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    Network.dense([4, 3, 5]).init(kind, rng=0, **options)
    assert all(np.array_equal(before[name], options[name]) for name in options)


# ---- kinds of one layer ----------------------------------------------------------------------------------------------------


def within(samples, expected, errors=6.0):
    """The mean is within 6 of its own standard errors of what is expected: it fails by chance once in 10^8."""
    error = samples.std(ddof=1) / np.sqrt(samples.size)
    return abs(samples.mean() - expected) <= errors * error


def test_gaussian_is_the_stated_normal():
    widths, scale = [40, 30, 20, 10], 1e-3
    noise = np.random.default_rng(11)
    for theta, (fan_in, fan_out) in zip(draw(Network.dense(widths).layers, "gaussian", rng=11, scale=scale), pairwise(widths), strict=True):
        assert np.array_equal(theta, scale ** (1 / 3) / np.sqrt(fan_in) * noise.standard_normal((fan_out, fan_in)))


@pytest.mark.parametrize("widths", [(3, 8, 5), (9, 2, 4, 3)], ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_gaussian_has_the_end_to_end_scale(widths, scale):
    net, rng = Network.dense(widths), np.random.default_rng(0)
    squares = np.array([np.sum(net.init("gaussian", rng=rng, scale=scale).matrix() ** 2) for _ in range(3000)])
    assert within(squares, widths[-1] * scale**2)
    assert not within(squares, 1.2 * widths[-1] * scale**2)  # so the test can tell


@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_xavier_is_uniform_with_glorots_bound(gain):
    W = one("xavier", (120, 80), rng=0, gain=gain)
    bound = gain * np.sqrt(6 / 200)
    assert np.abs(W).max() < bound
    assert within(W**2, bound**2 / 3)
    assert within(W**4, bound**4 / 5)
    assert within(W, 0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_orthogonal_is_semi_orthogonal(shape):
    W = one("orthogonal", shape, rng=0, scale=3.0)
    gram = W.T @ W if shape[0] >= shape[1] else W @ W.T
    assert np.abs(gram - 9 * np.eye(min(shape))).max() <= rounding(max(shape), 1, 9)


def test_orthogonal_is_haar():
    rng = np.random.default_rng(0)
    Q = np.array([one("orthogonal", (4, 3), rng=rng) for _ in range(4000)])
    # moments of the uniform distribution on the sphere in R^4; without the sign fix every q_jj would have one sign
    for i, j in product(range(4), range(3)):
        assert within(Q[:, i, j], 0)
        assert within(Q[:, i, j] ** 2, 1 / 4)
        assert within(Q[:, i, j] ** 4, 3 / 24)
    assert within(Q[:, 0, 0] * Q[:, 1, 1], 0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_identity_and_zero(shape):
    W = one("identity", shape, scale=-2.0)
    assert all(W[i, j] == (-2.0 if i == j else 0.0) for i in range(shape[0]) for j in range(shape[1]))
    assert not one("zero", shape).any()


def test_one_kind_a_layer():
    net = Network.dense([4, 4, 4, 2])
    mixed = net.init(["gaussian", "identity", "gaussian"], rng=0, scale=[1e-3, None, 8e-3])
    noise = np.random.default_rng(0)
    assert np.array_equal(mixed.params[0], 1e-3 ** (1 / 3) / 2 * noise.standard_normal((4, 4)))
    assert np.array_equal(mixed.params[1], np.eye(4))
    assert np.array_equal(mixed.params[2], 8e-3 ** (1 / 3) / 2 * noise.standard_normal((2, 4)))
    first = net.init(["xavier", "zero", "xavier"], rng=0, gain=0.5).params[0]
    assert np.array_equal(first, 0.5 * net.init("xavier", rng=0).params[0])
    assert np.array_equal(net.init(["orthogonal", "identity", "zero"], rng=0, scale=0.25).params[1], np.eye(4) / 4)


# ---- balanced --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bases", ["random", "identity"])
@pytest.mark.parametrize("widths", [(4, 3), (6, 5, 4), (4, 9, 9, 3), (3, 2, 5, 2, 4)], ids=str)
def test_balanced(widths, bases):
    P = options_of("balanced", widths)["matrix"]
    net = Network.dense(widths).init("balanced", matrix=P, bases=bases, rng=0)
    d, k, size = len(widths) - 1, max(widths), np.linalg.norm(P, 2)
    assert np.abs(net.matrix() - P).max() <= rounding(k, d, size)
    for gap in gaps(net):
        assert np.abs(gap).max() <= rounding(k, 1, size ** (2 / d))
    # every layer has the singular values of P to the power 1/d
    for W in net.matrices():
        s = np.linalg.svd(W, compute_uv=False)
        want = np.linalg.svd(P, compute_uv=False)[: min(widths)] ** (1 / d)
        assert np.abs(s[: min(widths)] - want).max() <= rounding(k, 1, want.max())
        assert np.all(s[min(widths) :] <= rounding(k, 1, want.max()))


def test_balanced_with_identity_bases_needs_no_seed():
    net = Network.dense([3, 3, 3]).init("balanced", matrix=np.diag([9.0, 4.0, 1.0]), bases="identity")
    assert np.abs(np.abs(net.params[0]) - np.diag([3.0, 2.0, 1.0])).max() <= rounding(3, 1, 3)


def test_balanced_accepts_a_numerically_rank_deficient_matrix():
    rng = np.random.default_rng(0)
    for dtype in (np.float64, np.float32):
        P = (rng.standard_normal((6, 2)) @ rng.standard_normal((2, 6))).astype(dtype)
        net = Network.dense([6, 2, 6]).init("balanced", matrix=P, rng=0)
        assert np.abs(net.matrix() - P).max() <= 6 * np.finfo(dtype).eps * np.linalg.norm(P, 2) + rounding(6, 2, np.linalg.norm(P, 2))


# ---- aligned ---------------------------------------------------------------------------------------------------------------


def commuting_data(rng, n, k0, kd, lam, s):
    """Data with `X^T X = V diag(lam) V^T` and `Y^T X = U diag(s) V^T`."""
    m = len(lam)
    E = np.linalg.qr(rng.standard_normal((n, m)))[0]
    V = np.linalg.qr(rng.standard_normal((k0, k0)))[0][:, :m]
    U = np.linalg.qr(rng.standard_normal((kd, kd)))[0][:, :m]
    return (E * np.sqrt(lam)) @ V.T, (E * (s / np.sqrt(lam))) @ U.T, U, V


def off_diagonal(A):
    return np.linalg.norm(A[~np.eye(*A.shape, dtype=bool)])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("lam", [[4.0, 3.0, 2.0, 1.0], [2.0, 2.0, 2.0, 2.0], [4.0, 4.0, 1.0, 1.0]], ids=str)
def test_aligned_takes_the_bases_of_commuting_data(lam, dtype):
    lam, s = np.array(lam), np.array([1.0, 3.0, 2.0, 0.5])
    X, Y, _, _ = commuting_data(np.random.default_rng(0), 11, 6, 5, lam, s)
    X, Y = X.astype(dtype), Y.astype(dtype)
    values = np.array([1.5, 1.2, 1.1, 0.9, 0.7])
    net = Network.dense([6, 8, 5]).init("aligned", X=X, Y=Y, rng=0, singular_values=values)
    U, p, Vt = np.linalg.svd(net.matrix())
    assert np.abs(p - values**2).max() <= rounding(8, 2, values[0] ** 2)
    C, M = (X.T @ X).astype(np.float64), (Y.T @ X).astype(np.float64)
    # the certificate of algorithm A4, and for float32 the rounding of the data themselves
    tolerance = 1e-10 if dtype is np.float64 else 1e-5
    assert off_diagonal(Vt @ C @ Vt.T) <= 10 * tolerance * np.linalg.norm(C)
    B = U.T @ M @ Vt.T
    assert off_diagonal(B) <= 10 * tolerance * np.linalg.norm(M)
    strengths = np.diagonal(B)
    assert np.all(strengths >= -tolerance)
    explained = (s**2 / lam)[np.argsort(-(s**2) / lam)]
    assert np.allclose(strengths[:4] ** 2 / np.diagonal(Vt @ C @ Vt.T)[:4], explained, rtol=100 * tolerance)


def test_aligned_chooses_the_modes_that_explain_most_at_a_bottleneck():
    # mode 0 is the strongest in Y^T X, mode 1 explains most of the loss: s^2 / lambda = 1 against 4
    X, Y, U, V = commuting_data(np.random.default_rng(1), 9, 4, 3, np.array([9.0, 1.0]), np.array([3.0, 2.0]))
    P = Network.dense([4, 1, 3]).init("aligned", X=X, Y=Y, rng=0).matrix()
    assert np.abs(P - np.outer(U[:, 1], V[:, 1])).max() <= 1e-10  # the certificate of algorithm A4


def test_aligned_stays_aligned_under_gradient_descent():
    lam, s = np.array([3.0, 2.0, 1.0]), np.array([2.0, 1.0, 1.5])
    X, Y, _, _ = commuting_data(np.random.default_rng(2), 8, 3, 3, lam, s)
    net = Network.dense([3, 4, 3, 3]).init("aligned", X=X, Y=Y, rng=0, singular_values=[1.1, 0.8, 0.5])
    Ws, C, M = net.matrices(), X.T @ X, Y.T @ X
    for _ in range(50):
        W1, W2, W3 = Ws
        G = W3 @ W2 @ W1 @ C - M
        Ws = [W1 - 0.02 * (W3 @ W2).T @ G, W2 - 0.02 * W3.T @ G @ W1.T, W3 - 0.02 * G @ (W2 @ W1).T]
    P = Ws[2] @ Ws[1] @ Ws[0]
    # T3.2: P keeps the bases of the data, so P C P^T and P M^T are diagonal in one of them, hence symmetric products
    for A in (P @ C @ M.T, M @ C @ P.T, P @ M.T):
        assert np.linalg.norm(A - A.T) <= 1e-10 * np.linalg.norm(A)
    assert np.linalg.norm(P @ C - M) < 0.5 * np.linalg.norm(net.matrix() @ C - M)  # it did train


def test_aligned_falls_back_to_the_singular_vectors_of_the_data():
    rng = np.random.default_rng(3)
    for n, dtype in ((12, np.float64), (4, np.float64), (12, np.float32)):
        X, Y = rng.standard_normal((n, 6)).astype(dtype), rng.standard_normal((n, 5)).astype(dtype)
        values = np.array([1.5, 1.2, 1.1, 0.9, 0.7])[: min(5, n)]
        P = Network.dense([6, len(values), 5]).init("aligned", X=X, Y=Y, rng=0, singular_values=values).matrix()
        V = np.linalg.svd(X.astype(np.float64))[2][: len(values)]
        U = np.linalg.svd(Y.astype(np.float64))[2][: len(values)]
        diagonal = U @ P @ V.T
        signs = np.sign(np.diagonal(U @ (Y.T @ X).astype(np.float64) @ V.T))
        # the simple singular vectors of a gaussian matrix are right to eps / gap; the gaps here are above 1e-3
        assert np.abs(diagonal - np.diag(signs * values**2)).max() <= 1e4 * EPS


def test_aligned_without_inputs_takes_the_bases_of_the_target():
    target = np.random.default_rng(0).standard_normal((3, 5))
    P = Network.dense([5, 4, 3]).init("aligned", Y=target, rng=0, singular_values=[3.0, 2.0, 1.0]).matrix()
    U, _, Vt = np.linalg.svd(target)
    assert np.abs(U.T @ P @ Vt.T - np.diag([9.0, 4.0, 1.0]) @ np.eye(3, 5)).max() <= 1e-10 * 9


def test_aligned_values_a_layer_and_mode():
    values = np.array([[2.0, 1.0], [-3.0, 0.0], [0.5, 4.0]])
    net = Network.dense([4, 3, 2, 5]).init("aligned", **options_of("aligned", (4, 3, 2, 5)), rng=0, singular_values=values)
    for W, row in zip(net.matrices(), values, strict=True):
        s = np.linalg.svd(W, compute_uv=False)
        assert np.abs(s[:2] - np.sort(np.abs(row))[::-1]).max() <= rounding(5, 1, 4)
    assert np.linalg.matrix_rank(net.matrix()) == 1
    assert np.linalg.norm(net.matrix(), 2) == pytest.approx(3.0, rel=rounding(5, 3, 1))


@pytest.mark.parametrize("X", [np.zeros((4, 3)), np.ones((1, 3))], ids=["zero", "one row"])
def test_aligned_on_degenerate_data(X):
    Y = np.zeros((len(X), 2))
    net = Network.dense([3, 2, 2]).init("aligned", X=X, Y=Y, rng=0, singular_values=0.5)
    assert np.abs(np.linalg.svd(net.matrix(), compute_uv=False) - 0.25).max() <= rounding(3, 2, 0.25)


# ---- lambda balanced -------------------------------------------------------------------------------------------------------


def exists(widths, lams, rank):
    """By brute force: is there a multiset of squared entries of the first layer from which all widths can be met?

    `W_{i+1}^T W_{i+1} = W_i W_i^T + lam_i I` fixes the squared singular values of a layer by those of the layer before: those
    at vertex i, padded by zeros to `k_i`, plus `lam_i`. Modes through the whole chain are generic; all others vanish somewhere.
    """
    sums = np.concatenate([[0], np.cumsum(lams)])
    special = sorted({-v for v in sums.tolist() if v < 0})
    full = [100 + 0.25 * j for j in range(rank)]
    for count in range(min(widths[0], widths[1]) - rank + 1):
        for chosen in combinations_with_replacement(special, count):
            values = full + list(chosen)
            for k, lam in zip(widths[1:-1], lams, strict=True):
                if len(values) > k:
                    break
                shifted = [v + lam for v in values + [0] * (k - len(values))]
                if min(shifted) < 0:
                    break
                values = [v for v in shifted if v > 0]
            else:
                if len(values) <= widths[-1]:
                    return True
    return False


def small_chains():
    for widths, lam in product(product([1, 2, 3], repeat=3), [-1, 0, 1]):
        yield widths, [lam]
    for widths, lams in product(product([1, 2, 3], repeat=4), product([-1, 0, 1], repeat=2)):
        yield widths, list(lams)
    rng = np.random.default_rng(0)
    for _ in range(400):  # long chains mostly have no solution: draw widths that climb and fall slowly
        d = int(rng.integers(3, 6))
        widths = np.clip(np.cumsum(rng.integers(-1, 2, d + 1)) + 3, 1, 5)
        yield tuple(widths.tolist()), rng.integers(-1, 2, d - 1).tolist()


def test_lambda_balanced_exactly_where_one_exists():
    built = refused = 0
    rng = np.random.default_rng(0)
    for widths, lams in small_chains():
        for rank in range(min(widths) + 1):
            P = rng.standard_normal((widths[-1], rank)) @ rng.standard_normal((rank, widths[0]))
            if not exists(widths, lams, rank):
                refused += 1
                with pytest.raises(ValueError, match="is impossible for widths"):
                    Network.dense(widths).init("lambda_balanced", lam=lams, matrix=P, rng=0)
                continue
            built += 1
            net = Network.dense(widths).init("lambda_balanced", lam=lams, matrix=P, rng=0)
            k, d, top = max(widths), len(widths) - 1, max(np.linalg.norm(W, 2) for W in net.matrices())
            assert np.abs(net.matrix() - P).max() <= rounding(k, d, top**d)
            for i, (gap, lam) in enumerate(zip(gaps(net), lams, strict=True)):
                assert np.abs(gap - lam * np.eye(widths[i + 1])).max() <= rounding(k, 1, top**2)
    assert built > 500
    assert refused > 1000


@pytest.mark.parametrize("lam", [-3.0, -1e-9, 0.0, 1e-9, 0.3, 1e4])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e3])
def test_lambda_balanced_two_layers_over_scales(lam, scale):
    net = Network.dense([5, 4, 6]).init("lambda_balanced", lam=lam, scale=scale, rng=7)
    W1, W2 = net.matrices()
    top = max(np.linalg.norm(W1, 2), np.linalg.norm(W2, 2))
    assert np.abs(W2.T @ W2 - W1 @ W1.T - lam * np.eye(4)).max() <= rounding(6, 1, top**2)
    P = Network.dense([5, 4, 6]).init("gaussian", scale=scale, rng=7).matrix()  # the same draw
    assert np.abs(net.matrix() - P).max() <= rounding(6, 2, np.linalg.norm(W1, 2) * np.linalg.norm(W2, 2))


def test_lambda_balanced_ties_up_to_rounding():
    # 0.1 + 0.2 - 0.3 is not 0 in floating point; the modes that end where they began must be found all the same
    lam = [0.1, 0.2, -0.3]
    assert sum(lam) != 0
    net = Network.dense([2, 4, 4, 4, 2]).init("lambda_balanced", lam=lam, scale=0.1, rng=0)
    for gap, value in zip(gaps(net), lam, strict=True):
        assert np.abs(gap - value * np.eye(4)).max() <= rounding(4, 1, 1)


# ---- constrained layers ----------------------------------------------------------------------------------------------------


CONSTRAINED = [
    Toeplitz(5, 3),
    Skew(4),
    Masked(np.tri(4, 6, dtype=bool)),
    Subspace(np.arange(24.0).reshape(2, 3, 4) ** 2 + 1),
    Conv1d(6, 3, 2, 2),
    Scaled(np.ones((2, 3))),
]


def test_constrained_layers_take_the_projection():
    net = Network([Diagonal(4), Dense(4, 2)])
    for kind in ("gaussian", "xavier", "orthogonal", "identity"):
        dense = Network.dense([4, 4, 2]).init(kind, rng=0)
        mine = net.init(kind, rng=0)
        # of 16 entries 4 are left, so independent ones are doubled
        assert np.array_equal(mine.params[0], np.diagonal(dense.params[0]) * (2 if kind in RANDOM[:2] else 1))
        assert np.array_equal(mine.params[1], dense.params[1])
    with pytest.raises(ValueError, match=r"kind 'balanced' does not fit layers\[0\], Diagonal\(n=4\): the nearest matrix is"):
        net.init("balanced", matrix=np.ones((2, 4)), rng=0)
    exact = Network([Diagonal(3)] * 2).init("balanced", matrix=np.diag([9.0, 4.0, 1.0]), bases="identity")
    assert np.abs(exact.matrix() - np.diag([9.0, 4.0, 1.0])).max() <= rounding(3, 2, 9)


@pytest.mark.parametrize("layer", CONSTRAINED, ids=repr)
@pytest.mark.parametrize("kind", ["gaussian", "xavier"])
def test_constrained_draws_are_as_large_as_dense_ones(layer, kind):
    n_out, n_in = layer.shape
    dense = n_out if kind == "gaussian" else 2 * n_in * n_out / (n_in + n_out)  # sigma^2 in out
    rng = np.random.default_rng(0)
    squares = np.array([np.sum(Network([layer]).init(kind, rng=rng).matrix() ** 2) for _ in range(2000)])
    assert within(squares, dense)
    assert not within(squares, 1.3 * dense)  # so the test can tell


def test_layers_without_parameters_are_left_alone():
    fixed = Fixed(np.diag([2.0, 3.0]))
    found = Network([Dense(2, 2), fixed]).init("gaussian", rng=0, dtype=np.float32)
    assert found.params[1].shape == (0,)
    assert found.params[1].dtype == np.float32
    assert np.array_equal(found.matrix(), np.diag(np.float32([2, 3])) @ found.params[0])
    # the draws of the other layers do not depend on it
    assert np.array_equal(found.params[0], Network.dense([2, 2, 2]).init("gaussian", rng=0, dtype=np.float32).params[0])
    with pytest.raises(ValueError, match=r"kind 'balanced' does not fit layers\[1\], Fixed\(2 to 2\)"):
        Network([Dense(2, 2), fixed]).init("balanced", matrix=np.eye(2), rng=0)


# ---- refusals --------------------------------------------------------------------------------------------------------------

REFUSED = [
    ("foo", {}, "kind is 'foo'; one of 'gaussian', 'xavier', 'orthogonal', 'identity', 'zero', 'balanced', 'aligned', 'lambda_balanced'"),
    (7, {}, "kind is 7; a name such as 'gaussian' or a list with one name a layer was wanted"),
    (["gaussian"], {}, "kind has 1 names but the network has 2 layers; pass one name or one a layer"),
    (["gaussian", "balanced"], {}, r"kind\[1\] is 'balanced'; one of 'gaussian', 'xavier', 'orthogonal', 'identity', 'zero' was wanted"),
    (["gaussian", []], {}, r"kind\[1\] is \[\]; one of 'gaussian'"),
    ("gaussian", {"gain": 2}, "gain is no option of 'gaussian'; it has the options scale"),
    ("zero", {"scale": 2}, "scale is no option of 'zero'; it has no options"),
    ("gaussian", {"shape": 2}, "shape is no option of 'gaussian'"),
    (["gaussian", "xavier"], {"matrix": 1}, "matrix is no option of 'gaussian' and 'xavier'; it has the options gain, scale"),
    ("gaussian", {"scale": 0}, "scale is 0.0; it must be greater than 0"),
    ("gaussian", {"scale": "big"}, "scale is 'big'; a number was wanted"),
    ("gaussian", {"scale": [1.0]}, "scale has 1 entries but the network has 2 layers"),
    ("orthogonal", {"scale": -1.0}, "scale is -1.0; it must be greater than 0"),
    ("identity", {"scale": np.inf}, "scale is inf; a finite number was wanted"),
    ("xavier", {"gain": np.nan}, "gain is nan; a finite number was wanted"),
    ("identity", {"dtype": np.float32, "scale": 1e300}, r"params\[0\]\[0, 0\] is inf"),
    (
        ["gaussian", "identity"],
        {"scale": 0.1},
        "scale is end to end for 'gaussian' but of one layer for 'identity'; pass one entry a layer",
    ),
    (["gaussian", "zero"], {"scale": [0.1, 0.2]}, r"scale\[1\] is 0.2 but 'zero' has no such option; pass None there"),
    ("gaussian", {"dtype": np.float16}, "dtype is float16; linalign computes in float64 or float32"),
    ("gaussian", {"rng": -1}, "rng is -1; a seed is a whole number of at least 0"),
    ("gaussian", {"rng": 1.5}, "rng is 1.5; a seed such as rng=0"),
    ("balanced", {}, "'balanced' needs the option matrix: pass matrix="),
    ("balanced", {"matrix": np.eye(3)}, r"matrix has shape \(3, 3\); 2 rows were wanted, not 3"),
    ("balanced", {"matrix": np.ones((2, 4)), "bases": "haar"}, "bases is 'haar'; one of 'random', 'identity' was wanted"),
    ("balanced", {"matrix": np.full((2, 4), np.nan)}, r"matrix\[0, 0\] is nan; every entry must be finite"),
    ("aligned", {}, "'aligned' needs the option Y: pass Y="),
    ("aligned", {"X": np.ones((3, 4)), "Y": np.ones((2, 2))}, r"Y has shape \(2, 2\); 3 rows were wanted, not 2"),
    ("aligned", {"X": np.ones((3, 5)), "Y": np.ones((3, 2))}, r"X has shape \(3, 5\); 4 columns were wanted, not 5"),
    ("aligned", {"Y": np.ones((3, 2))}, r"Y has shape \(3, 2\); 2 rows were wanted, not 3"),
    (
        "aligned",
        {"Y": np.ones((2, 4)), "singular_values": [1.0, 2.0, 3.0]},
        r"singular_values has shape \(3,\); a number, one a mode \(2,\) or one a layer and mode \(2, 2\) was wanted",
    ),
    ("lambda_balanced", {}, "'lambda_balanced' needs the option lam: pass lam="),
    ("lambda_balanced", {"lam": [1.0, 2.0]}, "lam has 2 entries but the network has 1 interfaces; pass one number or one an interface"),
    ("lambda_balanced", {"lam": "a"}, r"lam\[0\] is 'a'; a number was wanted"),
    ("lambda_balanced", {"lam": 0, "matrix": np.ones((2, 4)), "scale": 1.0}, "matrix and scale both set the end-to-end matrix"),
    (
        "lambda_balanced",
        {"lam": 0.5},
        r"lam = \[0.5\] is impossible for widths 4-3-2 and an end-to-end matrix of rank 2: widths\[2\] is 2 but must be at least 3",
    ),
]


@pytest.mark.parametrize(("kind", "options", "message"), REFUSED, ids=lambda v: v if isinstance(v, str) else None)
def test_refusals_say_what_came_and_what_was_wanted(kind, options, message):
    with pytest.raises((ValueError, TypeError), match=message) as error:
        Network.dense([4, 3, 2]).init(kind, **{"rng": 0, **options})
    assert "\n" not in str(error.value)


def test_lambda_balanced_reasons():
    def refused(widths, **options):
        with pytest.raises(ValueError) as error:
            Network.dense(widths).init("lambda_balanced", rng=0, **options)
        return str(error.value)

    assert "widths[0] is 2 but must be at least 4; change" in refused([2, 4, 6], lam=-1.0)
    assert "widths[1] is 3 and widths[2] is 2, but they must be equal" in refused([5, 3, 2, 5], lam=[1.0, -2.0])
    assert "widths[2] is 2 but must be at least 3" in refused([2, 3, 2, 5], lam=[1.0, 1.0], scale=0.1)
    assert "has one layer; use 'balanced' with matrix=" in refused([2, 3], lam=1.0)
    with pytest.raises(ValueError, match="matrix has rank 3 but the narrowest layer has width 2, and the product"):
        Network.dense([3, 2, 3]).init("balanced", matrix=np.eye(3), rng=0)
