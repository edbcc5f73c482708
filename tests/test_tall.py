"""The factor of long data by Gram products of blocks: that of Householder's QR within its backward error, or none."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import linalign as la
from linalign.linear_algebra import tall
from linalign.reduce import samples
from tests.oracles.checks import U64
from tests.oracles.extended import LD
from tests.reduce.test_samples import check_compression, squares


@pytest.fixture(autouse=True)
def small_data_too(monkeypatch):
    monkeypatch.setattr(tall, "WORTH", 0)


def spread(n, k, condition, rank=None, seed=0):
    """A matrix with singular values from 1 down to 1 over the condition."""
    rng = np.random.default_rng(seed)
    r = rank or k
    Q, V = (np.linalg.qr(rng.standard_normal((size, r)))[0] for size in (n, k))
    return (Q * np.logspace(0, -np.log10(condition), r)) @ V.T


def targets(n, m=3, seed=1):
    return np.random.default_rng(seed).standard_normal((n, m))


def by_lapack(X, Y):
    return samples.centre(samples.triangle(X, Y), X.shape[1], lambda P: samples.triangle(X, Y, P))


N, K = 400, 12
RNG = np.random.default_rng
DATA = {
    **{f"condition 3e{p}": (lambda p=p: spread(N, K, 3 * 10.0**p)) for p in range(15)},
    **{f"rank {r}, condition 1e{p}": (lambda r=r, p=p: spread(N, K, 10.0**p, r)) for r in (1, 7, 11) for p in (0, 5, 9, 11)},
    "columns of lengths up to 1e14": lambda: RNG(2).standard_normal((N, K)) * np.logspace(0, 14, K),
    "deficient, lengths up to 1e14": lambda: spread(N, K, 10.0, 5) * np.logspace(0, 14, K),
    "repeated, constant and zero columns": lambda: RNG(3).standard_normal((N, K))[:, [0, 1, 1, 2, 3, 4, 5, 6, 7, 7, 8, 9]] * ([1.0] * 11 + [0]),
    "two classes as one-hot": lambda: np.hstack([np.eye(6)[RNG(4).integers(6, size=N)], np.eye(6)[RNG(5).integers(6, size=N)]]),
    "single precision": lambda: RNG(6).standard_normal((N, K)).astype(np.float32),
    "single precision, rank 7 but for rounding": lambda: spread(N, K, 10.0, 7).astype(np.float32),
    "1e90": lambda: 1e90 * RNG(7).standard_normal((N, K)),
    "1e-90": lambda: 1e-90 * RNG(8).standard_normal((N, K)),
    "columns of a wider matrix": lambda: RNG(9).standard_normal((N, K + 3))[:, 1:-2],
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_it_is_the_factor_that_qr_has(name):
    X = DATA[name]()
    Y = targets(N) * float(np.abs(X).max())
    found = tall.factor(X)
    assert found is not None
    assert len(found.levels) <= 2
    # the rank is that of the singular values, as LAPACK finds them
    s = np.linalg.svd(X.astype(np.float64), compute_uv=False)
    assert abs(np.log10(s[s > 0] / s[0] / samples.RANK_TOLERANCE)).min() > 0.05, "the case is on the brink"
    check_compression(samples.compress, X, Y, rank=samples.rank(s))


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6, 1e9, 1e12])
@pytest.mark.parametrize("residual", [0.0, 1e-8, 1.0])
def test_losses_of_fits_have_the_digits_that_lapack_leaves(condition, residual):
    """At the least-squares map the error is at most ten times LAPACK's, or what rounding Y, and `X P^T` at the map, leaves of squares."""
    X, E = spread(N, K, condition), targets(N, seed=3)
    P = np.random.default_rng(2).standard_normal((3, K))
    Y = X @ P.T
    Y += residual * np.linalg.norm(Y) / np.linalg.norm(E) * E
    full = squares(X, Y, P)
    mine, lapack = (abs(squares(*rows, P) + constant - full) for *rows, constant in (samples.compress(X, Y), by_lapack(X, Y)))
    floor = 4 * np.sqrt(K) * U64 * (np.linalg.norm(X) * np.linalg.norm(P) + np.linalg.norm(Y))
    assert mine <= 10 * lapack + 2 * np.sqrt(full) * floor + floor**2


def test_targets_that_are_the_data_leave_nothing():
    X = np.random.default_rng(0).standard_normal((N, K))
    small_X, small_Y, constant = samples.compress(X, X)
    np.testing.assert_array_equal(small_X, small_Y)
    assert constant == 0
    again = samples.compress(X, X.copy())
    assert again[2] <= (40 * np.sqrt(K) * U64 * np.linalg.norm(X)) ** 2
    np.testing.assert_allclose(again[1], small_Y, atol=40 * K * U64 * np.linalg.norm(X))


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_blocks_of_any_length_give_the_same(monkeypatch, rows):
    X, Y = spread(N, K, 1e6), targets(N)
    monkeypatch.setattr(tall, "BLOCK", rows * K)
    check_compression(samples.compress, X, Y, rank=K)


def test_what_it_cannot_do_goes_to_lapack(monkeypatch):
    """A fit in directions that are too small to be taken out of the targets: what is left of them would be what cancelling leaves."""
    t = np.linspace(-1, 1, N)[:, None]
    X, Y = t ** np.arange(30), np.sin(5 * t)
    check_compression(samples.compress, X, Y)
    asked = []
    plain = samples.triangle
    monkeypatch.setattr(samples, "triangle", lambda *given: asked.append(1) or plain(*given))
    samples.compress(X, Y)
    assert len(asked) == 2
    samples.compress(spread(N, K, 1e6), targets(N))
    assert len(asked) == 2
    assert tall.factor(np.zeros((N, K))) is None
    assert tall.factor(np.full((N, K), 1e200)) is None


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: spread(N, K, 10.0), True),
        (lambda: spread(N, K, 1e3), True),
        (lambda: spread(N, K, 1e9), False),
        (lambda: spread(N, K, 10.0, 11), False),
        (lambda: np.eye(N, K), True),
        # all that is independent is in the last rows, which the sample misses
        (lambda: np.vstack([np.ones((N - K, K)), np.eye(K)]), True),
        (lambda: spread(N, K, 10.0) * np.logspace(0, 8, K), True),
        (lambda: spread(N, K, 10.0) * np.logspace(0, 14, K), False),
    ],
)
def test_independent_columns_are_seen_where_a_gram_matrix_can_tell(make, says):
    X = make()
    assert tall.independent(X, samples.RANK_TOLERANCE) is says
    if says:
        assert samples.rank(np.linalg.svd(X, compute_uv=False)) == K


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4, 1e6, 1e12])
def test_orthonormal_columns_by_gram_products_or_not_at_all(condition):
    B = spread(N, K, condition) * 3.0
    found = tall.orthonormal(B)
    # what a Gram matrix shows to be independent: 1 over the condition squared is above CERTAIN
    assert (found is not None) == (condition <= 1e4)
    if found is not None:
        Q, R = found
        np.testing.assert_allclose(Q.T @ Q, np.eye(K), atol=20 * K * U64)
        np.testing.assert_allclose(Q @ R, B, atol=20 * K * U64 * np.linalg.norm(B))
        np.testing.assert_array_equal(np.tril(R, -1), 0)
    assert tall.orthonormal(np.zeros((N, K))) is None


# ---- in plans --------------------------------------------------------------------------------------------------------------


def row(plan, name):
    return next(r for r in plan.reductions if r.name == name)


def net(k=K, dtype=np.float64):
    return la.Network.dense([k, 6, 3]).init("gaussian", rng=0, dtype=dtype)


def test_inputs_of_full_rank_are_refused_without_a_decomposition(monkeypatch):
    X, labels = spread(N, K, 10.0), np.arange(N) % 3
    monkeypatch.setattr(tall, "factor", None)
    plan = la.explain(net(), X, labels, loss="cross_entropy")
    assert row(plan, "inputs").why == f"X has full rank {K}"


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_runs_in_the_range_of_long_data_are_those_of_the_data(bias, dtype):
    # numbers that are sums of few bits: the rank is 7 in single precision too
    rng = np.random.default_rng(0)
    X = (rng.integers(-3, 4, (N, 7)) @ rng.integers(-1, 2, (7, K))).astype(dtype)
    labels = np.arange(N) % 3
    start = la.Network([la.Dense(K, 6, bias=bias), la.Dense(6, 3)]).init("gaussian", rng=0, dtype=dtype)
    options = {"loss": "cross_entropy", "lr": 1e-3, "steps": 50}
    full, less = (la.train(start, X, labels, reduce=reduce, **options) for reduce in ("none", ["inputs"]))
    assert row(less.plan, "inputs").what == "12 inputs -> 7"
    # each step rounds the gradient, a sum over n rows, once more
    atol = 50 * N * float(np.finfo(dtype).eps)
    for a, b in zip(full.network.params, less.network.params, strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


def test_a_run_too_short_for_it_is_planned_without_the_samples():
    X, Y = np.random.default_rng(0).standard_normal((20_000, 50)), targets(20_000)
    assert row(la.explain(net(50), X, Y, steps=2), "samples").why == "the run is too short to repay the search"
    assert row(la.explain(net(50), X, Y, steps=10_000), "samples").applied
    assert row(la.explain(net(50), X, Y, steps=2, reduce=["samples"]), "samples").applied


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_memory_is_that_of_a_block(dtype):
    """Blocks, their preconditioned copies, and a few matrices of the columns: far below the data."""
    rng = np.random.default_rng(0)
    k = 100
    X = (rng.standard_normal((60_000, k)) @ (np.eye(k) + 0.5)).astype(dtype)
    Y = rng.standard_normal((60_000, 3)).astype(dtype)
    start = net(k, dtype)
    tracemalloc.start()
    try:
        la.explain(start, X, Y)
        la.explain(start, X, np.arange(60_000) % 3, loss="cross_entropy")
        la.compress(X, Y)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 5 * 8 * tall.BLOCK + 20 * 8 * k * k
    assert most < 60_000 * k * 8


@pytest.mark.parametrize("empty", [0, 3])
@pytest.mark.parametrize(("condition", "direct"), [(1.0, True), (1e3, True), (1e6, False), (1e12, False)])
def test_targets_are_turned_by_a_solve_where_the_condition_permits_it(condition, direct, empty):
    """R^T Z = X^T E, to the backward errors of the product, the solve and the factor; Z itself loses the digits of the condition."""
    # as in pictures, some columns may be zero
    X, Y = np.insert(spread(N, K, condition), np.arange(empty), 0.0, axis=1), targets(N)
    found = tall.factor(X)
    assert found is not None
    assert found.direct is direct
    assert all(level.whole for level in found.levels[bool(empty) :]) or not direct
    P = np.linalg.lstsq(X, Y, rcond=None)[0]
    Z, squares = found.turned(X, Y, P)
    E = Y.astype(LD) - X.astype(LD) @ P
    size = np.linalg.norm(X) * np.linalg.norm(E.astype(np.float64))
    # sums of N and K terms, and E itself is the difference of numbers as large as Y and X P
    bound = (N + 8 * K**2) * U64 * size + 2 * K * U64 * np.linalg.norm(X) ** 2 * np.linalg.norm(P)
    if direct:
        assert np.linalg.norm(found.R.T @ Z - (X.T.astype(LD) @ E).astype(np.float64)) <= bound
        np.testing.assert_allclose(squares, np.sum(E**2, axis=0).astype(np.float64), rtol=1e-9)
