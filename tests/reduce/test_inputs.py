"""Samples and inputs: rank(X) rows and columns, alone, over losses, options, precisions, and data whose rank is a matter of opinion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linalign as la
from tests.oracles.reductions import (
    EVERYTHING,
    STARTS,
    applied,
    assert_same,
    assert_same_up_to_rounding,
    both,
    both_or_neither,
    distance,
    haar,
    problem,
    row,
    unit,
)

pytestmark = pytest.mark.usefixtures("whatever_holds")

OPTIONS = {
    "plain": {},
    "momentum and decay": {"momentum": 0.8, "weight_decay": 0.01},
    "a layer": {"lr": [0.01, 0.03, 0.02], "weight_decay": [0.02, 0.0, 0.01]},
    "cyclic": {"update": "cyclic", "lr": [0.01, 0.03, 0.02], "weight_decay": [0.0, 0.02, 0.01]},
}
LOSSES = ("squared", "mse", "logistic", "exponential", "cross_entropy")


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("start", STARTS)
def test_inputs_alone(start, loss, options):
    rng = np.random.default_rng(1)
    k = (11, 6, 7, 4)
    net = la.Network.from_matrices(STARTS[start](rng, k))
    X, Y, loss = problem(loss, rng, k, 9, 5)
    full, less = both(net, X, Y, loss=loss, reduce=["inputs"], record=EVERYTHING, **options)
    assert applied(less) == ("inputs",)
    assert less.plan.widths_after == (5, 6, 7, 4)
    assert_same(full, less)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("loss", ["squared", "mse"])
@pytest.mark.parametrize("start", STARTS)
def test_samples_alone(start, loss, options):
    rng = np.random.default_rng(2)
    k = (8, 6, 7, 4)
    net = la.Network.from_matrices(STARTS[start](rng, k))
    X, Y, loss = problem(loss, rng, k, 40, 5)
    full, less = both(net, X, Y, loss=loss, reduce=["samples"], record=EVERYTHING, **options)
    assert applied(less) == ("samples",)
    assert less.plan.rows_after == 5
    assert_same(full, less)


@pytest.mark.parametrize("loss", LOSSES)
def test_single_precision(loss):
    # 2,000 steps of rounding 6e-8 in each run, added up
    rng = np.random.default_rng(3)
    k = (11, 6, 4)
    X, Y, loss = problem(loss, rng, k, 9, 5)
    X = X.astype(np.float32)
    Y = Y if Y.dtype.kind == "i" else Y.astype(np.float32)
    net = la.Network.from_matrices(STARTS["gaussian"](rng, k)).astype(np.float32)
    full, less = both(net, X, Y, loss=loss, reduce=["samples", "inputs"])
    assert less.network.dtype == np.float32
    assert distance(full, less) <= 2000 * 2 * 2.0**-24


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(1, 3), st.integers(1, 9), st.sampled_from(LOSSES),
    st.integers(0, 99),
)  # fmt: skip
def test_any_shape(n, k_0, k_1, k_2, rank, loss, seed):
    rng = np.random.default_rng(seed)
    k = (k_0, k_1, k_2)
    rank = min(rank, n, k_0)
    net = la.Network.from_matrices(STARTS["gaussian"](rng, k))
    X, Y, loss = problem(loss, rng, k, n, rank)
    options = {"loss": loss, "steps": 200, "momentum": 0.5, "weight_decay": 0.1}
    runs = both_or_neither(net, X, Y, reduce=["samples", "inputs"], **options)
    if runs is not None:
        assert runs[1].plan.widths_after[0] == rank
        assert_same_up_to_rounding(net, X, Y, *runs, **options)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("small", [1e-6, 1e-9, 1e-11, 1e-12, 1e-13, 1e-15, 0.0])
def test_rank_that_is_a_matter_of_opinion(small, loss):
    # a direction of size e moves its weights by at most e * lr * steps * |G|, so dropping it below 1e-12 costs less than 4e-11
    rng = np.random.default_rng(4)
    k = (8, 6, 3)
    X = haar(rng, 10)[:, :8] * np.array([1, 0.9, 0.7, 0.5, 0.4, small, small / 2, small / 3]) @ haar(rng, 8).T
    _, Y, loss = problem(loss, rng, k, 10)
    net = la.Network.from_matrices(STARTS["gaussian"](rng, k))
    full, less = both(net, X, Y, loss=loss, reduce=["samples", "inputs"], record=EVERYTHING)
    assert less.plan.widths_after[0] == (8 if small >= 1e-11 else 5 if small < 1e-12 else less.plan.widths_after[0])
    assert_same(full, less)


def test_a_tiny_loss_stays_accurate():
    # a teacher of the network's own shape: the loss falls to rounding, where a Gram matrix would have lost it
    rng = np.random.default_rng(5)
    k = (6, 8, 4)
    X = haar(rng, 30)[:, :6]
    Y = X @ unit(rng.standard_normal((6, 4)))
    net = la.Network.from_matrices(STARTS["gaussian"](rng, k))
    full, less = both(net, X, Y, reduce=["samples", "inputs"], lr=0.1)
    assert full.loss[-1] < 1e-20
    # the residual R is off by dR, rounding of Y over sums of 30 terms, and the loss by |R| dR + dR^2
    off = 30 * 2.3e-16 * np.linalg.norm(Y)
    assert np.all(np.abs(less.loss - full.loss) <= off * np.sqrt(2 * full.loss) + off**2)


def test_zero_data():
    net = la.Network.from_matrices([np.ones((2, 3)), np.ones((2, 2))])
    full, less = both(net, np.zeros((5, 3)), np.ones((5, 2)), steps=50, weight_decay=0.1, momentum=0.5)
    assert_same(full, less)
    assert full.loss[-1] == pytest.approx(5.0)


def test_refusals_are_said():
    rng = np.random.default_rng(6)
    net = la.Network.dense([4, 3]).init("gaussian", rng=0)
    plan = la.explain(net, None, rng.standard_normal((3, 4)))
    assert row(plan, "samples").why == row(plan, "inputs").why == "there are no samples: the loss is on the product"
    plan = la.explain(net, rng.standard_normal((9, 4)), np.sign(rng.standard_normal((9, 3))), loss="logistic")
    assert row(plan, "samples").why == "needs a quadratic loss, logistic is not"
    assert row(plan, "inputs").why == "X has full rank 4"
    assert row(la.explain(net, rng.standard_normal((3, 4)), rng.standard_normal((3, 3))), "samples").why == "the 3 rows are independent"
    assert row(la.explain(net, rng.standard_normal((9, 4)), rng.standard_normal((9, 3)), reduce="none"), "samples").why == "switched off"


def test_nothing_of_the_callers_is_changed():
    rng = np.random.default_rng(7)
    X, Y = rng.standard_normal((9, 4)), rng.standard_normal((9, 3))
    kept = X.copy(), Y.copy()
    X.flags.writeable = Y.flags.writeable = False
    net = la.Network.dense([4, 5, 3]).init("gaussian", rng=0)
    params = [theta.copy() for theta in net.params]
    la.train(net, X, Y, lr=1e-3, steps=5, reduce=["samples", "inputs", "width", "split"])
    for a, b in zip([*kept, *params], [X, Y, *net.params], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_that_does_not_repay_the_decomposition():
    """A singular value decomposition that takes longer than the whole run is not made, unless it was asked for by name."""
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((400, 300)), rng.integers(0, 3, 400)
    net = la.Network.dense([300, 3]).init("xavier", rng=0)
    asked = {"loss": "cross_entropy"}
    once, named = la.explain(net, X, labels, steps=1, **asked), la.explain(net, X, labels, steps=1, reduce=["inputs"], **asked)
    reasons = [row(plan, "inputs").why for plan in (once, named)]
    assert reasons == ["the run is too short to repay the search", "X has full rank 300"]
    # what was found for another network on the same data is there for a short run too
    wide = X[:, :40] @ rng.standard_normal((40, 300))
    plans = la.sweep(
        lambda rng: net.init("xavier", rng=rng), wide, labels, grid={"steps": [10_000, 1], "rng": [0]}, lr=1e-6, keep_runs=True, threads=1,
        tol=1e9, **asked,
    )  # fmt: skip
    assert [row(run, "inputs").applied for run in plans.runs] == [True, True]
