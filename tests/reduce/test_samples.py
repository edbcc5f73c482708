"""Compression of the samples (T7.1): the same loss, gradients and trajectory on rank(X) rows, without losing small losses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linalign as la
from linalign.problem.problem import make_problem
from linalign.reduce import samples
from tests.oracles.checks import U64
from tests.oracles.extended import LD


def squares(X, Y, P):
    """`||X P^T - Y||^2` in 80 bits."""
    return np.sum((X.astype(LD) @ P.astype(LD).T - Y.astype(LD)) ** 2)


def check_compression(compress, X, Y, rank=None):
    """Shapes, orthogonal rows in falling order, and the same squares at any P within the backward error of Householder QR.

    Two factorisations and one decomposition change `[X, Y]` by at most `gamma ||[X, Y]||`, `gamma = 20 n (k + m) u`; so with
    `h = gamma ||[X, Y]|| (1 + ||P||)` the squares change by at most `2 sqrt(squares) h + h^2`.
    """
    small_X, small_Y, constant = compress(X, Y)
    n, (k, m) = len(X), (X.shape[1], Y.shape[1])
    if rank is not None:
        assert small_X.shape == (rank, k)
        assert small_Y.shape == (rank, m)
    size = np.sqrt(np.sum(X.astype(LD) ** 2) + np.sum(Y.astype(LD) ** 2))
    gamma = 20 * max(n, k) * (k + m) * U64
    gram = small_X.astype(LD) @ small_X.astype(LD).T
    assert np.abs(gram - np.diag(np.diag(gram))).max() <= gamma * size**2
    assert (np.diff(np.diag(gram)) <= gamma * size**2).all()
    assert constant >= 0
    rng = np.random.default_rng(5)
    for scale in (0.0, 1.0, 1e3):
        P = scale * rng.standard_normal((m, k))
        full, small = squares(X, Y, P), squares(small_X, small_Y, P) + constant
        h = gamma * size * (1 + np.linalg.norm(P))
        assert abs(full - small) <= 2 * np.sqrt(full) * h + h**2, f"squares {float(small)!r}, in full {float(full)!r}"
        gradient = (X.astype(LD) @ P.T.astype(LD) - Y).T @ X
        found = (small_X.astype(LD) @ P.T.astype(LD) - small_Y).T @ small_X
        assert np.abs(gradient - found).max() <= 2 * h * size


def close_fit(residual, n=500, k=12, m=5, seed=0):
    """Data that P fits but for noise of norm `residual ||Y||`."""
    rng = np.random.default_rng(seed)
    X, P = rng.standard_normal((n, k)), rng.standard_normal((m, k))
    Y = X @ P.T
    noise = rng.standard_normal(Y.shape)
    return X, Y + residual * np.linalg.norm(Y) / np.linalg.norm(noise) * noise, P


def check_loss_of_a_close_fit(compress):
    """A loss of 1e-16 of the data is right to four digits: the residual is 1e-8 of Y, and rounding 1e-16 of it an entry."""
    X, Y, P = close_fit(1e-8)
    small_X, small_Y, constant = compress(X, Y)
    full = squares(X, Y, P)
    assert float(full) < 2e-16 * np.sum(Y**2)
    small = float(np.sum((small_X @ P.T - small_Y) ** 2)) + constant
    assert abs(small - full) <= 1e-4 * full, f"squares {small!r}, in full {float(full)!r}"


def standard(n, k, m, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, k)), rng.standard_normal((n, m))


DATA = {
    "tall": lambda: standard(40, 5, 3),
    "one column": lambda: standard(30, 1, 1),
    "one more": lambda: standard(6, 5, 2),
    "integers": lambda: (np.arange(24.0).reshape(8, 3) % 5, np.arange(16.0).reshape(8, 2) % 3),
    "badly scaled": lambda: (standard(40, 5, 3)[0] * np.logspace(0, -8, 5), standard(40, 5, 3)[1]),
    "huge": lambda: tuple(1e100 * A for A in standard(40, 5, 3)),
    "tiny": lambda: tuple(1e-100 * A for A in standard(40, 5, 3)),
    "targets far away": lambda: (standard(40, 5, 3)[0], 1e8 + standard(40, 5, 3)[1]),
}


@pytest.mark.parametrize("name", DATA)
def test_compression(name):
    X, Y = DATA[name]()
    check_compression(samples.compress, X, Y, rank=X.shape[1])


@pytest.mark.parametrize(("n", "k", "rank"), [(40, 6, 3), (40, 6, 1), (5, 9, 2), (7, 7, 4)])
def test_compression_to_the_rank(n, k, rank):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, k))
    check_compression(samples.compress, X, rng.standard_normal((n, 2)), rank=rank)
    assert samples.rank(np.linalg.svd(X)[1]) == rank


def test_compression_of_a_constant_and_a_repeated_column():
    X, Y = standard(30, 4, 2)
    check_compression(samples.compress, np.hstack([np.ones((30, 1)), X, X[:, :2], np.zeros((30, 1))]), Y, rank=5)


def test_compression_of_zero_inputs():
    Y = standard(9, 4, 2)[1]
    small_X, small_Y, constant = samples.compress(np.zeros((9, 4)), Y)
    assert small_X.shape == (1, 4)
    assert not small_X.any()
    assert not small_Y.any()
    assert constant == pytest.approx(float(np.sum(Y**2)), rel=20 * U64)
    assert samples.rank(np.zeros(4)) == 0


@pytest.mark.parametrize("block", [1, 7, 16])
def test_blocks_of_rows_give_the_same(monkeypatch, block):
    monkeypatch.setattr(samples, "BLOCK", block)
    X, Y = standard(50, 5, 3)
    check_compression(samples.compress, X, Y, rank=5)


def test_single_precision_data_are_compressed_in_double():
    X, Y = (A.astype(np.float32) for A in standard(60, 5, 3))
    check_compression(samples.compress, X, Y, rank=5)
    assert all(A.dtype == np.float64 for A in samples.compress(X, Y)[:2])


def test_a_close_fit_keeps_its_loss():
    check_loss_of_a_close_fit(samples.compress)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1.0, 1e4]))
def test_compression_of_any_data(n, k, m, seed, scale):
    X, Y = standard(n, k, m, seed)
    check_compression(samples.compress, X, scale * Y, rank=min(n, k))


# ---- in training -----------------------------------------------------------------------------------------------------------


def train(net, X, Y, reduce=("samples",), **options):
    return la.train(net, X, Y, reduce=reduce, **{"lr": 1e-4, "steps": 0, **options})


@pytest.mark.parametrize("loss", ["squared", "mse", la.losses.Squared(reduction="samples"), la.losses.Squared(half=False)], ids=str)
def test_the_normalisation_is_that_of_the_data_as_given(loss):
    X, Y = standard(50, 4, 3)
    net = la.Network.dense([4, 6, 3]).init("gaussian", rng=0)
    compressed, plain = train(net, X, Y, loss=loss), train(net, X, Y, loss=loss, reduce="none")
    assert compressed.plan.reductions[0].applied
    n, rows = 50, compressed.plan.rows_after
    assert rows == 4
    # both are within the bound of the exact loss: a few hundred roundings of its size
    assert compressed.loss[0] == pytest.approx(plain.loss[0], rel=2 * 20 * n * 7 * U64)
    assert compressed.floor > 0
    assert plain.floor == 0
    assert plain.loss[0] == plain.excess[0]


def test_a_loss_of_1e_16_of_the_data_is_right_to_four_digits():
    X, Y, P = close_fit(1e-8)
    net = la.Network.from_matrices([np.eye(12), P])
    run = train(net, X, Y, lr=1e-9, steps=3, record={"loss": 1})
    exact = squares(X, Y, P) / 2
    assert run.plan.reductions[0].applied
    assert exact < 1.1e-16 * float(np.sum(Y**2)) / 2
    assert abs(run.loss[0] - exact) <= 1e-4 * exact
    assert np.array_equal(run.history["loss"].values, run.loss)
    # the floor is the least-squares residual, the excess what is above it; each to its own four digits
    least_squares = np.linalg.solve((X.T @ X), X.T @ Y).astype(LD)
    for _ in range(3):  # refined in 80 bits
        rest = Y.astype(LD) - X.astype(LD) @ least_squares
        least_squares = least_squares + np.linalg.solve(X.T @ X, (X.T.astype(LD) @ rest).astype(float))
    floor = squares(X, Y, least_squares.T) / 2
    assert abs(run.floor - floor) <= 1e-4 * floor
    above = np.sum((X.astype(LD) @ (P.astype(LD) - least_squares.T).T) ** 2) / 2
    assert above < 0.1 * floor
    assert abs(run.excess[0] - above) <= 1e-4 * above


def test_the_excess_is_right_far_below_the_floor():
    # noise of the size of the data: the loss cannot fall below it, and its excess is seen sixteen digits further down
    X, Y = standard(300, 6, 3)
    least_squares = np.linalg.lstsq(X, Y, rcond=None)[0].T
    step = 1e-8 * np.random.default_rng(3).standard_normal((3, 6))
    run = train(la.Network.from_matrices([least_squares + step]), X, Y)
    # to first order in the rounding of the least squares, 1e-15 of the step's 1e-8
    above = float(np.sum((X @ step.T) ** 2)) / 2
    assert run.excess[0] < 2e-15 * run.floor
    assert run.excess[0] == pytest.approx(above, rel=1e-4)
    assert run.loss[0] == pytest.approx(float(squares(X, Y, least_squares + step)) / 2, rel=1e-12)


@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.9, "weight_decay": 0.01}, {"update": "cyclic"}], ids=["plain", "momentum", "cyclic"]
)
def test_the_trajectory_is_the_same(options):
    # 300 steps of a contraction: the relative errors of the gradients, 20 n (k + m) u at most, add up
    X, Y = standard(200, 5, 3)
    net = la.Network.dense([5, 4, 3]).init("gaussian", rng=1)
    few, many = (train(net, X, Y, reduce=reduce, lr=1e-4, steps=300, **options) for reduce in (("samples",), "none"))
    assert few.plan.rows_after == 5
    bound = 300 * 20 * 200 * 8 * U64
    assert np.abs(few.loss / many.loss - 1).max() <= bound
    for a, b in zip(few.network.params, many.network.params, strict=True):
        assert np.linalg.norm(a - b) <= bound * np.linalg.norm(b)


# ---- when it is not used ---------------------------------------------------------------------------------------------------


def reduction_of(X, Y, net=None, **options):
    net = net or la.Network.dense([X.shape[1], 3, 2]).init("gaussian", rng=0)
    return la.explain(net, X, Y, **options).reductions[0]


def test_independent_rows_stay_as_they_are():
    X, Y = standard(4, 6, 2)
    done = reduction_of(X, Y)
    assert not done.applied
    assert done.why == "the 4 rows are independent"
    problem = make_problem(la.Network.dense([6, 2]).init("gaussian", rng=0), X, Y, "squared")
    assert samples.reduce(problem)[0] is problem


def test_other_losses_are_left_alone():
    X, Y = standard(40, 4, 2)
    done = reduction_of(X, np.sign(Y), loss="logistic")
    assert not done.applied
    assert done.why == "needs a quadratic loss, logistic is not"


def test_a_compression_that_does_not_hold_is_refused(monkeypatch):
    X, Y = standard(40, 4, 2)
    true = samples.compress
    monkeypatch.setattr(samples, "compress", lambda X, Y: (lambda A, B, c: (A, B * (1 + 1e-6), c))(*true(X, Y)))
    done = reduction_of(X, Y)
    assert not done.applied
    assert done.why.startswith("refused: its check is off by ")
    assert done.why.endswith("more than 1e-10")
    run = train(la.Network.dense([4, 3, 2]).init("gaussian", rng=0), X, Y)
    assert run.plan.rows_after == 40


@pytest.mark.parametrize("sign", [1, -1])
def test_a_probe_that_happens_to_fit_is_no_refusal(sign):
    # one direction: scaled to the targets, any probe fits them or their opposite, and the loss of a fit is rounding alone
    for seed in range(20):
        X = np.random.default_rng(seed).standard_normal((9, 1))
        problem = make_problem(la.Network.dense([1, 1]).init("gaussian", rng=0), X, 0.7 * sign * X, "squared")
        assert samples.reduce(problem)[1].residual < 1e-14


def test_a_check_that_is_nan_is_refused(monkeypatch):
    X, Y = standard(40, 4, 2)
    true = samples.reduce
    monkeypatch.setattr(samples, "reduce", lambda p: (lambda q, d: (q, replace(d, residual=float("nan"))))(*true(p)))
    assert not reduction_of(X, Y).applied


@pytest.mark.parametrize("reduce", ["auto", "none", ["samples"], ["inputs"]], ids=str)
def test_data_whose_squares_overflow_are_named_as_such(reduce):
    X, Y = (1e160 * A for A in standard(20, 4, 2))
    with pytest.raises(la.DivergenceError, match="the loss of the start is not finite, before any step; scale the start or the data down"):
        la.train(la.Network.dense([4, 3, 2]).init("gaussian", rng=0), X, Y, lr=1e-3, steps=3, reduce=reduce)
