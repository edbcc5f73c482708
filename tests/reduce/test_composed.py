"""All reductions together: the same run, its end, its divergence, its file; and what the plan says."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linalign as la
from tests.oracles.reductions import (
    ALL,
    EVERYTHING,
    STARTS,
    applied,
    assert_same,
    assert_same_up_to_rounding,
    both,
    both_or_neither,
    data,
    direct_sum,
    distance,
    haar,
    problem,
    row,
    unit,
)

pytestmark = pytest.mark.usefixtures("whatever_holds")

OPTIONS = {
    "plain": lambda d: {},
    "momentum and decay": lambda d: {"momentum": 0.8, "weight_decay": 0.01},
    "cyclic, a layer": lambda d: {
        "update": "cyclic", "weight_decay": [0.01 * i for i in range(d)], "lr": [0.01 + 0.005 * i for i in range(d)],
    },
}  # fmt: skip
LOSSES = ("squared", "mse", "logistic", "exponential", "cross_entropy", "entries")
DATA = {"factorisation": (None, None), "few samples": (7, 5), "many samples": (30, 6)}


def net_of(W, dtype=np.float64):
    return la.Network.from_matrices(W).astype(dtype)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("start", STARTS)
def test_composed(start, loss):
    for k in [(8, 12, 10, 4), (10, 9, 9, 9, 3), (6, 6, 6, 6)]:
        for n, rank in DATA.values():
            if loss == "entries" and n:
                continue
            rng = np.random.default_rng(1)
            net = net_of(STARTS[start](rng, k))
            X, Y, kind = problem(loss, rng, k, n, rank)
            for options in OPTIONS.values():
                assert_same(*both(net, X, Y, loss=kind, record=EVERYTHING, **options(net.depth)))


@pytest.mark.parametrize("start", STARTS)
def test_single_precision(start):
    # 2,000 steps of rounding 6e-8 in each run
    rng = np.random.default_rng(2)
    k = (8, 12, 4)
    X, Y, _ = problem("squared", rng, k, 30, 5)
    full, less = both(net_of(STARTS[start](rng, k), np.float32), X.astype(np.float32), Y.astype(np.float32), momentum=0.5)
    assert less.network.dtype == np.float32
    assert set(applied(less)) >= {"samples", "inputs"}
    assert distance(full, less) <= 2000 * 2 * 2.0**-24


@given(
    st.lists(st.integers(1, 7), min_size=3, max_size=5), st.one_of(st.none(), st.integers(1, 12)), st.integers(1, 7),
    st.sampled_from(sorted(STARTS)), st.sampled_from(LOSSES), st.sets(st.sampled_from(ALL), min_size=1), st.booleans(),
    st.sampled_from([0.0, 0.6]), st.sampled_from([0.0, 0.1]), st.integers(0, 999),
)  # fmt: skip
def test_any_problem_and_any_set_of_reductions(k, n, rank, start, loss, reduce, cyclic, momentum, decay, seed):
    rng = np.random.default_rng(seed)
    net = net_of(STARTS[start](rng, k))
    n = None if loss == "entries" else n
    X, Y, kind = problem(loss, rng, k, n, n and min(rank, n, k[0]))
    options = {"loss": kind, "steps": 200, "momentum": momentum, "weight_decay": decay, "update": "cyclic" if cyclic else "simultaneous"}
    runs = both_or_neither(net, X, Y, reduce=sorted(reduce), **options)
    if runs is not None:
        assert set(applied(runs[1])) <= reduce
        assert_same_up_to_rounding(net, X, Y, *runs, **options)


# ---- problems that are reduced in different ways ----------------------------------------------------------------------------
def _gaussian(rng):
    k = (9, 14, 5, 3)
    return STARTS["gaussian"](rng, k), *problem("squared", rng, k, 20, 4)[:2]


def _modes(rng):
    X = data(rng, 30, 6, 6)
    W = la.Network.dense([6, 8, 7, 6]).init("aligned", X=X, Y=X, rng=rng, singular_values=0.8).params
    return list(W), X, X


def _blocks(rng):
    W, Y = direct_sum(rng, [(2, 3, 2), (3, 3, 3)], copies=2)
    return W, None, Y


def _mixed(rng):
    W = [0.7 * haar(rng, 9) for _ in range(3)]
    return W, None, unit(rng.standard_normal((9, 2)) @ rng.standard_normal((2, 9)))


PROBLEMS = {"gaussian": _gaussian, "modes": _modes, "blocks": _blocks, "modes and blocks": _mixed}
problems = pytest.mark.parametrize("build", PROBLEMS.values(), ids=PROBLEMS)


@problems
@pytest.mark.parametrize("update", ["simultaneous", "cyclic"])
def test_the_run_ends_at_the_same_step(build, update):
    W, X, Y = build(np.random.default_rng(3))
    net, options = net_of(W), {"update": update, "momentum": 0.3}
    loss = la.train(net, X, Y, lr=0.05, steps=400, reduce="none", **options).loss
    for at in (0, 1, 57, 399):
        # between two losses, so that rounding cannot decide
        tol = 0.5 * (loss[at] + loss[at - 1]) if at else 2 * loss[0]
        full, less = both(net, X, Y, tol=tol, steps=400, lr=0.05, **options)
        assert (full.steps, full.converged) == (at, True)
        assert less.converged
        assert_same(full, less)
    full, less = both(net, X, Y, tol=0.5 * loss[-1], steps=400, lr=0.05, **options)
    assert not full.converged
    assert not less.converged
    # reached by the last step: converged, though no step was saved
    full, less = both(net, X, Y, tol=0.5 * (loss[400] + loss[399]), steps=400, lr=0.05, **options)
    assert full.converged
    assert less.converged
    assert_same(full, less)


@problems
@pytest.mark.parametrize("lr", [3.0, 30.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_divergence(build, lr, dtype):
    W, X, Y = build(np.random.default_rng(4))
    net = net_of(W, dtype)
    X, Y = None if X is None else X.astype(dtype), Y.astype(dtype)
    errors = []
    for reduce in ("none", ALL):
        with pytest.raises(la.DivergenceError, match="not finite after it, with lr=") as caught:
            la.train(net, X, Y, lr=lr, steps=3000, reduce=reduce)
        errors.append(caught.value)
    full, less = (error.run for error in errors)
    assert abs(full.steps - less.steps) <= 1
    both_took = min(full.steps, less.steps)
    for run in (full, less):
        assert not run.converged
        assert len(run.loss) == run.steps + 1
        assert np.isfinite(run.loss).all()
        assert all(np.isfinite(theta).all() for theta in run.network.params)
    # a tenth of the run, before rounding is blown up with everything else
    head = slice(0, max(2, both_took // 3))
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(less.loss[head], full.loss[head], rtol=1e-10 if dtype == np.float64 else 2000 * eps)
    # the network that is returned is that of the last loss
    again = la.train(less.network, X, Y, lr=1e-9, steps=0, reduce="none")
    assert again.loss[0] == pytest.approx(less.loss[-1], rel=1e-6 if dtype == np.float64 else 0.2)


@problems
def test_save_and_load(build, tmp_path):
    W, X, Y = build(np.random.default_rng(5))
    run = la.train(net_of(W), X, Y, lr=0.02, steps=50, reduce=ALL, record={"alignment": 10, "params": 25})
    again = la.load(run.save(tmp_path / "run.npz"))
    assert str(again.plan) == str(run.plan)
    assert again.plan == run.plan
    np.testing.assert_array_equal(again.loss, run.loss)
    for a, b in zip(again.network.params, run.network.params, strict=True):
        np.testing.assert_array_equal(a, b)
    for name, kept in run.history.items():
        np.testing.assert_array_equal(again.history[name].values, kept.values)


@problems
def test_interruption(build):
    W, X, Y = build(np.random.default_rng(6))
    net = net_of(W)

    def stop(network):
        stop.calls += 1
        if stop.calls == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return 0.0

    stop.calls = 0
    run = la.train(net, X, Y, lr=0.02, steps=1000, reduce=ALL, record={stop: 20}, momentum=0.5, weight_decay=0.01)
    assert run.interrupted
    assert not run.converged
    assert run.steps == 40
    full = la.train(net, X, Y, lr=0.02, steps=40, reduce="none", momentum=0.5, weight_decay=0.01)
    assert_same(full, run)


@problems
def test_recording_changes_nothing(build):
    W, X, Y = build(np.random.default_rng(7))
    bare = la.train(net_of(W), X, Y, lr=0.02, steps=100, reduce=ALL)
    seen = la.train(net_of(W), X, Y, lr=0.02, steps=100, reduce=ALL, record=dict.fromkeys(EVERYTHING, 7))
    np.testing.assert_array_equal(bare.loss, seen.loss)
    for a, b in zip(bare.network.params, seen.network.params, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_aligned_start_on_autoencoding_data_is_scalars():
    rng = np.random.default_rng(8)
    X = data(rng, 1000, 100, 100)
    net = la.Network.dense([100] * 5).init("aligned", X=X, Y=X, rng=0, singular_values=0.8)
    full, less = both(net, X, X, steps=20)
    assert less.plan.kernel == "modes"
    assert row(less, "split").what == "100 scalar modes"
    assert_same(full, less)


def test_searching_is_forced_by_naming_the_reductions():
    W, X, Y = _modes(np.random.default_rng(9))
    assert "split" in applied(la.train(net_of(W), X, Y, lr=1e-3, steps=1, reduce=ALL))
    assert row(la.train(net_of(W), X, Y, lr=1e-3, steps=1), "split").why == "the run is too short to repay the search"


def test_the_same_call_gives_the_same_run():
    for build in PROBLEMS.values():
        W, X, Y = build(np.random.default_rng(10))
        a, b = (la.train(net_of(W), X, Y, lr=0.02, steps=50, reduce=ALL) for _ in range(2))
        assert a.plan == b.plan
        np.testing.assert_array_equal(a.loss, b.loss)
