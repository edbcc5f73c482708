"""Training: what a run holds, when it stops, and that nothing but the equations moves the network."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

import linalign as la
from linalign import losses
from linalign.engine.threads import count, limit
from tests.oracles.checks import U64
from tests.oracles.extended import LD

loop = importlib.import_module("linalign.training.loop")
IMPLEMENTATIONS = ["kernel", "reference"]
# what a run may be made of: the compiled chain on the problem as given, all reductions, plain NumPy
WAYS = {"as given": {"reduce": "none"}, "reduced": {}, "reference": {"implementation": "reference"}}
way = pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)


def problem(widths=(4, 5, 3), n=20, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    net = la.Network.dense(widths).init("gaussian", rng=seed, dtype=dtype)
    return net, rng.standard_normal((n, widths[0])).astype(dtype), rng.standard_normal((n, widths[-1])).astype(dtype)


def same(a, b):
    """Two runs or networks that are equal to the bit."""
    a, b = (getattr(x, "network", x) for x in (a, b))
    return all(np.array_equal(x, y) for x, y in zip(a.params, b.params, strict=True))


# ---- what a run holds ------------------------------------------------------------------------------------------------------


@way
def test_there_is_one_loss_more_than_steps(options):
    net, X, Y = problem()
    run = la.train(net, X, Y, lr=0.01, steps=7, **options)
    assert run.steps == 7
    assert run.loss.shape == run.excess.shape == (8,)
    assert run.loss.dtype == np.float64
    assert (np.diff(run.loss) < 0).all()
    assert not run.converged
    assert not run.interrupted
    assert np.array_equal(run.lr, [0.01, 0.01])
    # each is the loss of the network that stands there
    for steps in (0, 1, 6):
        shorter = la.train(net, X, Y, lr=0.01, steps=steps, **options)
        assert np.array_equal(shorter.loss, run.loss[: steps + 1])
        assert np.sum((shorter.network(X) - Y) ** 2) / 2 == pytest.approx(run.loss[steps], rel=1e-12)
    assert np.sum((run.network(X) - Y) ** 2) / 2 == pytest.approx(run.loss[7], rel=1e-12)


@way
def test_no_steps_evaluate_the_start(options):
    net, X, Y = problem()
    run = la.train(net, X, Y, lr=0.01, steps=0, record={"loss": 1, "params": 1}, **options)
    assert run.steps == 0
    assert run.loss.shape == (1,)
    assert run.history["loss"].values == run.loss
    if options != {}:
        assert same(run, net)
    else:  # the reductions turn the coordinates, and back
        assert all(np.abs(a - b).max() <= 100 * U64 * np.abs(b).max() for a, b in zip(run.network.params, net.params, strict=True))


@way
@pytest.mark.parametrize("update", ["simultaneous", "cyclic"])
def test_a_run_can_be_cut_in_two(options, update):
    net, X, Y = problem()
    whole = la.train(net, X, Y, lr=0.01, steps=10, update=update, **options)
    first = la.train(net, X, Y, lr=0.01, steps=4, update=update, **options)
    second = la.train(first.network, X, Y, lr=0.01, steps=6, update=update, **options)
    if options == {}:
        assert np.concatenate([first.loss, second.loss[1:]]) == pytest.approx(whole.loss, rel=1e-12)
    else:
        assert np.array_equal(np.concatenate([first.loss, second.loss[1:]]), whole.loss)
        assert same(second, whole)


@way
def test_the_same_call_gives_the_same_bits(options):
    net, X, Y = problem((30, 20, 10), 50)
    runs = [la.train(net, X, Y, lr=1e-3, steps=20, momentum=0.5, **options) for _ in range(2)]
    assert np.array_equal(runs[0].loss, runs[1].loss)
    assert same(*runs)


@way
def test_single_precision_stays_single(options):
    net, X, Y = problem(dtype=np.float32)
    run = la.train(net, X, Y, lr=0.01, steps=3, record={"params": 1, "singular_values": 1}, **options)
    assert run.network.dtype == np.float32
    assert run.loss.dtype == np.float64
    double = la.train(net.astype(np.float64), X.astype(np.float64), Y.astype(np.float64), lr=0.01, steps=3, **options)
    # three steps of products of some 30 terms
    assert run.loss == pytest.approx(double.loss, rel=3 * 100 * float(np.finfo(np.float32).eps))
    assert not same(run, double)


def test_kernel_and_reference_agree_along_a_run():
    net, X, Y = problem()
    for options in ({}, {"momentum": 0.9, "weight_decay": [0.1, 0.0]}, {"update": "cyclic", "lr": [0.01, 0.02]}):
        slow = la.train(net, X, Y, **{"lr": 0.01, "steps": 100, "implementation": "reference", **options})
        for reduce in ("none", "auto", ["samples"], ["samples", "inputs"]):
            fast = la.train(net, X, Y, **{"lr": 0.01, "steps": 100, "reduce": reduce, **options})
            # a contraction: the errors of a hundred steps, each of a few hundred roundings, add up at worst
            assert fast.loss == pytest.approx(slow.loss, rel=100 * 300 * U64)
            for a, b in zip(fast.network.params, slow.network.params, strict=True):
                assert np.linalg.norm(a - b) <= 100 * 300 * U64 * np.linalg.norm(b)


@given(
    widths=st.lists(st.integers(1, 7), min_size=2, max_size=5),
    n=st.integers(1, 12),
    seed=st.integers(0, 10**6),
    start=st.sampled_from(["gaussian", "orthogonal", "identity", "balanced"]),
    loss=st.sampled_from(["squared", "mse", "logistic", "exponential"]),
    update=st.sampled_from(["simultaneous", "cyclic"]),
    momentum=st.sampled_from([0.0, 0.9]),
    decay=st.sampled_from([0.0, 0.1]),
    low_rank=st.booleans(),
)
def test_no_reduction_changes_a_run(widths, n, seed, start, loss, update, momentum, decay, low_rank):
    rng = np.random.default_rng(seed)
    net = la.Network.dense(widths)
    low = min(widths)
    matrix = 0.3 * rng.standard_normal((widths[-1], low)) @ rng.standard_normal((low, widths[0]))
    options = {"matrix": matrix} if start == "balanced" else {}
    net = net.init(start, rng=seed, **options)
    X, Y = 0.3 * rng.standard_normal((n, widths[0])), rng.standard_normal((n, widths[-1]))
    if low_rank:
        X = X[:, :1] @ np.ones((1, widths[0]))
    if loss in ("logistic", "exponential"):
        Y = np.where(Y < 0, -1.0, 1.0)
    how = {"loss": loss, "lr": 1e-3, "steps": 10, "update": update, "momentum": momentum, "weight_decay": decay}
    plain, reduced = la.train(net, X, Y, reduce="none", **how), la.train(net, X, Y, **how)
    # ten short steps: rounding of the reductions (a few hundred units of the data's size) is all that may differ
    size = max(float(np.sum(Y**2)), float(plain.loss[0]))
    assert np.abs(plain.loss - reduced.loss).max() <= 1e-11 * size
    for a, b in zip(plain.network.params, reduced.network.params, strict=True):
        assert np.abs(a - b).max() <= 1e-11 * max(1.0, float(np.abs(a).max()))


# ---- by hand ---------------------------------------------------------------------------------------------------------------


@way
def test_a_step_by_hand(options):
    # w2 w1 = 6 on x = 1 against y = 4: residual 2, gradients 2 w2 = 6 and 2 w1 = 4
    net = la.Network.from_matrices([[[2.0]], [[3.0]]])
    run = la.train(net, [[1.0]], [[4.0]], lr=[0.125, 0.25], steps=1, **options)
    assert run.loss[0] == 2
    assert np.ravel(run.network.params).tolist() == [2 - 0.125 * 6, 3 - 0.25 * 4]
    assert run.loss[1] == (1.25 * 2 - 4) ** 2 / 2


@way
def test_momentum_and_decay_by_hand_in_the_convention_of_torch(options):
    # g <- g + decay w; v <- g at first, then momentum v + g; w <- w - lr v
    w, v = [2.0, 3.0], [0.0, 0.0]
    for _ in range(3):
        r = w[1] * w[0] - 4
        g = [r * w[1] + 0.5 * w[0], r * w[0] + 0.25 * w[1]]
        v = [0.75 * v[0] + g[0], 0.75 * v[1] + g[1]]
        w = [w[0] - 0.125 * v[0], w[1] - 0.0625 * v[1]]
    net = la.Network.from_matrices([[[2.0]], [[3.0]]])
    run = la.train(net, [[1.0]], [[4.0]], lr=[0.125, 0.0625], momentum=0.75, weight_decay=[0.5, 0.25], steps=3, **options)
    assert np.ravel(run.network.params) == pytest.approx(w, rel=20 * U64)
    # decay is no part of the loss
    assert run.loss[0] == 2


@way
def test_cyclic_updates_by_hand(options):
    # layer 1 from the residual 2: 2 - 0.125 * 2 * 3 = 1.25; layer 2 from the new one, 3.75 - 4 = -0.25: 3 + 0.25 * 0.25 * 1.25
    net = la.Network.from_matrices([[[2.0]], [[3.0]]])
    run = la.train(net, [[1.0]], [[4.0]], lr=[0.125, 0.25], steps=1, update="cyclic", **options)
    assert np.ravel(run.network.params).tolist() == [1.25, 3 + 0.25 * 0.25 * 1.25]
    assert run.loss[0] == 2


@way
def test_matrices_by_hand_cyclic(options):
    # two layers of 2 x 2 in small integers and a rate of 1/4: exact
    W1, W2 = np.array([[1.0, 2], [0, 1]]), np.array([[1.0, 0], [1, 1]])
    X, Y = np.array([[1.0, 0], [1, 1]]), np.array([[0.0, 1], [2, 0]])
    E = X @ (W2 @ W1).T - Y
    new1 = W1 - 0.25 * W2.T @ E.T @ X
    E = X @ (W2 @ new1).T - Y
    new2 = W2 - 0.25 * E.T @ (X @ new1.T)
    run = la.train(la.Network.from_matrices([W1, W2]), X, Y, lr=0.25, steps=1, update="cyclic", **options)
    tolerance = {"atol": 1e-13} if options == {} else {"atol": 0}
    assert np.allclose(run.network.params[0], new1, rtol=0, **tolerance)
    assert np.allclose(run.network.params[1], new2, rtol=0, **tolerance)


# ---- stopping --------------------------------------------------------------------------------------------------------------


@way
@pytest.mark.parametrize("update", ["simultaneous", "cyclic"])
def test_tol_stops_before_the_step(options, update):
    net, X, Y = problem()
    whole = la.train(net, X, Y, lr=0.01, steps=40, update=update, **options)
    for at in (0, 1, 17, 40):
        # between the loss there and the one before
        tol = whole.loss[at] * (1 + 1e-9)
        run = la.train(net, X, Y, lr=0.01, steps=40, tol=tol, update=update, **options)
        assert run.converged
        assert run.steps == at
        assert np.array_equal(run.loss, whole.loss[: at + 1])
        assert same(run, la.train(net, X, Y, lr=0.01, steps=at, update=update, **options))
    run = la.train(net, X, Y, lr=0.01, steps=40, tol=whole.loss[40] * (1 - 1e-9), update=update, **options)
    assert not run.converged
    assert run.steps == 40


@way
def test_tol_is_of_the_loss_and_not_of_the_excess(options):
    # the loss cannot fall below its floor, however close the excess comes to zero
    net, X, Y = problem((4, 3), 50)
    run = la.train(net, X, Y, lr=0.01, steps=3000, tol=1e-3, **options)
    assert not run.converged
    assert run.loss[-1] > 1
    if options != {"implementation": "reference"} and options != {"reduce": "none"}:
        assert run.excess[-1] < 1e-3


def test_tol_that_is_met_at_once_leaves_the_network_alone():
    net, X, Y = problem()
    run = la.train(net, X, Y, lr=0.01, steps=40, tol=1e9, reduce="none")
    assert run.converged
    assert run.steps == 0
    assert same(run, net)


@way
def test_a_perfect_fit_converges_with_tol_zero(options):
    net = la.Network.from_matrices([np.eye(2)])
    run = la.train(net, np.eye(2), np.eye(2), lr=0.5, steps=5, tol=0.0, **options)
    assert run.converged
    assert run.steps == 0
    assert run.loss.tolist() == [0.0]


# ---- nothing of the caller's is touched ------------------------------------------------------------------------------------


@way
def test_the_callers_arrays_are_unchanged(options):
    net, X, Y = problem()
    lr, decay, start = np.array([0.01, 0.02]), np.array([0.1, 0.2]), [theta.copy() for theta in net.params]
    kept = [array.copy() for array in (X, Y, lr, decay)]
    run = la.train(net, X, Y, lr=lr, weight_decay=decay, momentum=0.9, steps=5, record={"params": 1}, **options)
    for before, after in zip([*kept, *start], [X, Y, lr, decay, *net.params], strict=True):
        assert np.array_equal(before, after)
    for theta in run.network.params:
        assert not theta.flags.writeable
        assert all(not np.shares_memory(theta, other) for other in (X, Y, *net.params))


@way
def test_read_only_data_are_fine(options):
    net, X, Y = problem()
    X.flags.writeable = Y.flags.writeable = False
    la.train(net, X, Y, lr=0.01, steps=2, **options)
    la.value_and_grad(net, X, Y)


def test_gradients_are_the_callers():
    net, X, Y = problem((8, 8, 8))
    _, grads = la.value_and_grad(net, X, Y)
    for grad in grads:
        assert grad.flags.c_contiguous
        assert grad.flags.writeable
        grad[...] = 0
    assert any(g.any() for g in la.value_and_grad(net, X, Y)[1])


# ---- divergence ------------------------------------------------------------------------------------------------------------


def diverge(net, X, Y, **options):
    with pytest.raises(la.DivergenceError) as caught:
        la.train(net, X, Y, **options)
    return caught.value


@way
@pytest.mark.parametrize(
    "how", [{}, {"momentum": 0.9}, {"update": "cyclic"}, {"weight_decay": 0.1}], ids=["plain", "momentum", "cyclic", "decay"]
)
def test_divergence_carries_the_run_up_to_the_last_finite_loss(options, how):
    net, X, Y = problem()
    error = diverge(net, X, Y, lr=5.0, steps=1000, **how, **options)
    run = error.run
    assert 1 <= run.steps < 20
    assert run.loss.shape == (run.steps + 1,)
    assert np.isfinite(run.loss).all()
    assert all(np.isfinite(theta).all() for theta in run.network.params)
    assert not run.converged
    step, loss = run.steps, run.loss[-1]
    auto = la.train(net, X, Y, lr="auto", steps=0, **how, **options).lr[0]
    assert str(error) == (
        f"training diverged: the loss was {loss:.3g} before step {step} and not finite after it, with lr=5; "
        f"pass lr='auto', which is {auto:.3g} here, or less (error.run holds the {step} steps before)"
    )
    clean = la.train(net, X, Y, lr=5.0, steps=run.steps, **how, **options)
    assert np.array_equal(clean.loss, run.loss)
    assert same(clean, run)


@pytest.mark.parametrize("record", [None, {"loss": 1}, {"loss": 3}], ids=["nothing", "each", "third"])
@pytest.mark.parametrize("seconds", [-1.0, 1e9], ids=["every slice", "never again"])
@way
def test_divergence_is_traced_from_any_snapshot(monkeypatch, options, seconds, record):
    # a snapshot may have been taken where the loss had left the finite numbers already: on large problems each step has one
    monkeypatch.setattr(loop, "SNAPSHOT_SECONDS", seconds)
    monkeypatch.setattr(loop, "SNAPSHOT_SHARE", math.inf)
    net, X, Y = problem()
    run = diverge(net, X, Y, lr=5.0, steps=1000, record=record, **options).run
    clean = la.train(net, X, Y, lr=5.0, steps=run.steps, **options)
    assert np.array_equal(clean.loss, run.loss)
    assert same(clean, run)
    if record:
        assert run.history["loss"].steps[-1] <= run.steps
        assert np.isfinite(run.history["loss"].values).all()


def test_divergence_names_the_range_of_rates():
    net, X, Y = problem()
    error = diverge(net, X, Y, lr=[5.0, 0.5], steps=1000)
    assert "with lr between 0.5 and 5; pass lr='auto', which is 0.00243 here, or less" in str(error)


def test_divergence_at_the_last_step():
    net, X, Y = problem()
    steps = diverge(net, X, Y, lr=5.0, steps=1000, reduce="none").run.steps
    # the loss after the last step is not finite either
    error = diverge(net, X, Y, lr=5.0, steps=steps + 1, reduce="none")
    assert error.run.steps == steps
    assert la.train(net, X, Y, lr=5.0, steps=steps, reduce="none").steps == steps


@way
@pytest.mark.parametrize("W", [np.full((2, 2), 1e200), np.diag([1e200, 1.0])], ids=["dense", "diagonal"])
def test_a_start_that_is_not_finite_is_said_to_be(options, W):
    net = la.Network.from_matrices([W, W])
    error = diverge(net, np.eye(2), np.eye(2), lr=0.1, steps=5, **options)
    assert str(error) == "the loss of the start is not finite, before any step; scale the start or the data down"
    assert error.run.steps == 0
    assert error.run.network is not None
    assert same(error.run, net)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_function_that_answers_nan_diverges(implementation):
    net = problem()[0]
    calls = []

    def fn(P):
        calls.append(P)
        return (math.nan if len(calls) == 4 else 0.5 * float(np.sum(P**2))), P

    error = diverge(net, None, None, loss=losses.EndToEnd(fn), lr=0.01, steps=50, implementation=implementation)
    assert error.run.steps == 2
    assert "not finite after it" in str(error)


def test_recording_a_run_that_diverges_does_not_hide_it():
    net, X, Y = problem()
    error = diverge(net, X, Y, lr=5.0, steps=1000, record=dict.fromkeys(("alignment", "singular_values", "gradient_norm"), 1))
    for kept in error.run.history.values():
        assert kept.steps[-1] <= error.run.steps
        assert len(kept.steps) == len(kept.values)


def test_a_divergence_survives_a_process_pool():
    import pickle

    net, X, Y = problem()
    error = diverge(net, X, Y, lr=5.0, steps=1000)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert np.array_equal(again.run.loss, error.run.loss)


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def default_ctrl_c():
    """Python's own handler of Ctrl-C, whatever runs the tests."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def interrupt_after(seconds):
    """Ctrl-C from another thread, unless this is over first."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


@pytest.mark.usefixtures("default_ctrl_c")
@way
def test_ctrl_c_returns_the_run_so_far(options):
    net, X, Y = problem((5, 5, 5, 5), 5)
    began = time.perf_counter()
    with interrupt_after(0.15):
        run = la.train(net, X, Y, lr=1e-6, steps=10**8, record={"loss": 10**7}, **options)
    assert time.perf_counter() - began < 30
    assert run.interrupted
    assert not run.converged
    assert 0 < run.steps < 10**8
    assert run.loss.shape == (run.steps + 1,)
    assert np.isfinite(run.loss).all()
    # the last step is recorded here as well
    assert run.history["loss"].steps[-1] == run.steps
    assert run.history["loss"].values[-1] == run.loss[-1]
    assert "interrupted" in repr(run)
    # Python handles Ctrl-C again
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("default_ctrl_c")
def test_a_second_ctrl_c_ends_it_at_once():
    def fn(P):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return 0.0, P

    with pytest.raises(KeyboardInterrupt):
        la.train(problem()[0], None, loss=losses.EndToEnd(fn), lr=0.1, steps=5)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("default_ctrl_c")
def test_ctrl_c_at_the_very_end_has_not_ended_the_run():
    calls = []

    def fn(P):
        calls.append(P)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return 0.5 * float(np.sum(P**2)), P

    run = la.train(problem()[0], None, loss=losses.EndToEnd(fn), lr=0.1, steps=4)
    assert run.steps == 4
    assert not run.interrupted


def test_another_handler_of_ctrl_c_is_left_alone():
    seen = []
    previous = signal.signal(signal.SIGINT, lambda *_: seen.append(True))
    try:
        net, X, Y = problem()

        def fn(P):
            signal.raise_signal(signal.SIGINT)
            return 0.0, P

        run = la.train(net, None, loss=losses.EndToEnd(fn), lr=0.1, steps=2)
        assert len(seen) == 3
        assert run.steps == 2
        assert not run.interrupted
    finally:
        signal.signal(signal.SIGINT, previous)


# ---- functions of the caller -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("update", ["simultaneous", "cyclic"])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("at", [1, 2, 5, 6])
def test_an_exception_of_the_loss_passes_through(implementation, at, update):
    mine, calls = RuntimeError("mine"), []

    def fn(P):
        calls.append(P)
        if len(calls) == at:
            raise mine
        return 0.5 * float(np.sum(P**2)), P

    with pytest.raises(RuntimeError, match="^mine$") as caught:
        la.train(problem()[0], None, loss=losses.EndToEnd(fn), lr=0.1, steps=5, implementation=implementation, update=update)
    assert caught.value is mine
    # within a sweep, the steps before it are taken again
    assert len(calls) == at or (update == "cyclic" and at > 2)
    run = caught.value.run
    assert run.steps == ((at - 1) // 2 if update == "cyclic" else at - 1)
    assert np.isnan(run.loss[-1])
    plain = la.train(problem()[0], None, loss=losses.EndToEnd(lambda P: (0.5 * float(np.sum(P**2)), P)), lr=0.1, steps=run.steps,
                     implementation=implementation, update=update)  # fmt: skip
    np.testing.assert_array_equal(run.loss[:-1], plain.loss[:-1])
    for mine, theirs in zip(run.network.params, plain.network.params, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", ["loss", "gradient_norm"])
def test_an_exception_of_the_loss_while_recording_passes_through(implementation, name):
    calls = []

    def fn(P):
        calls.append(P)
        if len(calls) == 1:  # the recording of step 0 is the first to ask
            raise RuntimeError("mine")
        return 0.5 * float(np.sum(P**2)), P

    with pytest.raises(RuntimeError, match="^mine$"):
        la.train(problem()[0], None, loss=losses.EndToEnd(fn), lr=0.1, steps=5, record={name: 1}, implementation=implementation)


def test_an_exception_of_a_recorded_function_passes_through():
    def broken(net):
        raise KeyError("mine")

    net, X, Y = problem()
    with pytest.raises(KeyError, match="mine"):
        la.train(net, X, Y, lr=0.01, steps=3, record={broken: 2})


# ---- threads ---------------------------------------------------------------------------------------------------------------


def together(*jobs):
    """Run the jobs at once; what they return."""
    found = [None] * len(jobs)
    barrier = threading.Barrier(len(jobs))

    def work(i):
        barrier.wait()
        found[i] = jobs[i]()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_two_threads_train_different_networks_on_the_same_arrays():
    _, X, Y = problem((6, 5, 3), 40)
    X.flags.writeable = Y.flags.writeable = False
    nets = [la.Network.dense([6, 5, 3]).init("gaussian", rng=1), la.Network.dense([6, 9, 4, 3]).init("gaussian", rng=2)]
    jobs = [
        lambda net=net, options=options: la.train(net, X, Y, lr=1e-3, steps=3000, record={"alignment": 500}, **options)
        for net in nets
        for options in ({"reduce": "none"}, {"update": "cyclic"}, {"momentum": 0.5})
    ]
    serial = [job() for job in jobs]
    for alone, beside in zip(serial, together(*jobs), strict=True):
        assert np.array_equal(alone.loss, beside.loss)
        assert np.array_equal(alone.history["alignment"].values, beside.history["alignment"].values)
        assert same(alone, beside)


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_the_threads_of_blas_are_put_back(threads):
    net, X, Y = problem()
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        la.train(net, X, Y, lr=0.01, steps=2, threads=threads)
        assert blas_threads() == before
        diverge(net, X, Y, lr=5.0, steps=100)
        assert blas_threads() == before


def test_the_threads_of_blas_are_put_back_after_runs_that_overlap():
    # the first to begin is the first to end: what it puts back must not be lost to the other
    net = problem()[0]
    inside, begun, ended = threading.Event(), threading.Event(), threading.Event()

    def first(P):
        inside.set()
        begun.wait(10)
        return 0.0, P

    def second(P):
        begun.set()
        ended.wait(10)
        return 0.0, P

    def run_first():
        la.train(net, None, loss=losses.EndToEnd(first), lr=0.1, steps=1)
        ended.set()

    def run_second():
        inside.wait(10)
        la.train(net, None, loss=losses.EndToEnd(second), lr=0.1, steps=1)

    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        together(run_first, run_second)
        assert blas_threads() == before


def test_the_kernel_shares_products_itself_and_leaves_blas_one_thread():
    seen = []

    def fn(P):
        seen.append(blas_threads())
        return 0.0, P

    with threadpool_limits(2, user_api="blas"):
        la.train(problem()[0], None, loss=losses.EndToEnd(fn), lr=0.1, steps=1)
        wide = la.Network.dense([300, 300]).init("gaussian", rng=0)
        la.train(wide, None, loss=losses.EndToEnd(fn), lr=0.1, steps=0, threads=2)
        kernels = len(seen)
        la.train(wide, None, loss=losses.EndToEnd(fn), lr=0.1, steps=0, threads=2, implementation="reference")
    # spinning workers of BLAS would take a core from the loop
    assert all(n == 1 for counts in seen[:kernels] for n in counts)
    assert all(n == 2 for n in seen[-1])


def test_threads_are_as_many_as_blas_is_set_up_for():
    for n in (1, 2):
        with threadpool_limits(n, user_api="blas"):
            assert count(None) == n
            with limit(1):
                # the limits of a run that goes on are not what was set up
                assert count(None) == n
                assert count(7) == 7


FORKED = """
import multiprocessing, sys
import numpy as np
import linalign as la

rng = np.random.default_rng(0)
net = la.Network.dense([200, 200, 200]).init("gaussian", rng=1)
X, Y = rng.standard_normal((300, 200)), rng.standard_normal((300, 200))

def last(_=None):
    return la.train(net, X, Y, lr=1e-6, steps=20, threads=2).loss[-1]

here = last()
with multiprocessing.get_context("fork").Pool(2) as pool:
    there = pool.map(last, range(2))
assert np.allclose(there, here, rtol=1e-12)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_of_a_process_that_has_started_threads_trains_too():
    # the threads of OpenMP are lost in a fork, and a child that shares its products with them waits for ever
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=120)


# ---- the progress bar ------------------------------------------------------------------------------------------------------


def test_the_progress_bar_counts_the_steps(capsys):
    pytest.importorskip("tqdm", reason="the progress bar needs tqdm")
    net, X, Y = problem()
    shown = la.train(net, X, Y, lr=0.01, steps=50, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(r"50\.?0?/50\.?0? ", err)
    silent = la.train(net, X, Y, lr=0.01, steps=50)
    assert capsys.readouterr() == ("", "")
    assert np.array_equal(shown.loss, silent.loss)


def test_a_progress_bar_without_tqdm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    net, X, Y = problem()
    with pytest.raises(ImportError, match=re.escape("progress=True needs tqdm; install it with: pip install linalign[cli]")):
        la.train(net, X, Y, lr=0.01, steps=5, progress=True)


# ---- long runs -------------------------------------------------------------------------------------------------------------


def test_a_long_run_ends_at_the_least_squares_solution():
    net, X, Y = problem((3, 4, 2), 30)
    run = la.train(net, X, Y, lr=5e-3, steps=4000)
    best = np.linalg.lstsq(X, Y, rcond=None)[0].T
    # at the minimum the step is a contraction: what is left is its rounding, and the loss is its floor
    assert np.linalg.norm(run.network.matrix() - best) <= 1e-12 * np.linalg.norm(best)
    assert run.excess[-1] <= 1e-26 * run.floor
    exact = float(np.sum((X.astype(LD) @ best.T - Y) ** 2)) / 2
    assert run.floor == pytest.approx(exact, rel=1e-13)
