"""What is watched on the way: validation data, running sums, the state, and what ends a run."""

import pickle
import re

import numpy as np
import pytest

import linalign as la
from linalign.record import Sum
from linalign.reduce import samples
from tests.training.test_resume import Decaying, problem


def held_out(n=50, loss="squared"):
    rng = np.random.default_rng(4)
    X, Y = rng.standard_normal((n, 8)), rng.standard_normal((n, 3))
    if loss in ("logistic", "exponential"):
        Y = np.sign(Y)
    return X, (rng.integers(3, size=n) if loss == "cross_entropy" else Y)


@pytest.mark.parametrize("n", [1, 5, 50])
@pytest.mark.parametrize("reduce", ["auto", "none", ["samples", "inputs", "width"]], ids=str)
@pytest.mark.parametrize(
    "loss", ["squared", "mse", "cross_entropy", "logistic", la.losses.Squared(half=False, reduction="samples")], ids=str
)
def test_the_validation_loss_is_the_loss_there(loss, reduce, n):
    net, X, Y = problem(widths=(8, 20, 3))
    if loss in ("logistic", "exponential"):
        Y = np.sign(Y)
    if loss == "cross_entropy":
        Y = np.arange(30) % 3
    there = held_out(n, loss)
    kept = []
    record = {"validation_loss": 5, "net": (5, lambda net: kept.append(net) or 0)}
    run = la.train(net, X, Y, loss=loss, lr=1e-3, steps=12, record=record, validation=there, reduce=reduce)
    wanted = [la.train(here, *there, loss=loss, lr=1.0, steps=0, reduce="none").loss[0] for here in kept]
    # rounding of sums of n squares, and of the compression's orthogonal factors
    np.testing.assert_allclose(run.history["validation_loss"].values, wanted, rtol=1e-12)
    plain = la.train(net, X, Y, loss=loss, lr=1e-3, steps=12, reduce=reduce)
    np.testing.assert_array_equal(run.loss, plain.loss)


def test_rows_are_compressed_once(monkeypatch):
    calls = []
    plain = samples.compress
    monkeypatch.setattr(samples, "compress", lambda X, Y: calls.append(len(X)) or plain(X, Y))
    net, X, Y = problem()
    la.train(net, X, Y, lr=1e-3, steps=50, record={"validation_loss": 1}, validation=held_out(1000), reduce="none")
    assert calls == [1000]
    grid = {"rng": range(4), "width": [5, 6]}

    def network(rng, width):
        return la.Network.dense([8, width, 3]).init("gaussian", rng=rng)

    options = {"lr": 1e-3, "steps": 20, "record": {"validation_loss": 10}, "threads": 1}
    found = la.sweep(network, X, Y, grid=grid, validation=held_out(1000), **options)
    assert calls == [1000, 30, 1000]
    alone = la.train(network(3, 6), X, Y, lr=1e-3, steps=20, record={"validation_loss": 10}, validation=held_out(1000))
    np.testing.assert_allclose(found.histories["validation_loss"].values[-1], alone.history["validation_loss"].values, rtol=1e-12)


def test_validation_of_biases_constraints_and_compressed_data():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((30, 6)), rng.standard_normal((30, 4))
    A, B = rng.standard_normal((40, 6)), rng.standard_normal((40, 4))
    net = la.Network([la.Circulant(6), la.Dense(6, 5, bias=True), la.Dense(5, 4)]).init("gaussian", rng=0, scale=0.5)
    run = la.train(net, X, Y, lr=1e-3, steps=5, record={"validation_loss": 5}, validation=(A, B))
    assert run.history["validation_loss"].values[-1] == pytest.approx(0.5 * np.sum((run.network(A) - B) ** 2), rel=1e-12)
    net = la.Network.dense([6, 5, 4]).init("gaussian", rng=0)
    run = la.train(net, X, Y, lr=1e-3, steps=5, record={"validation_loss": 5}, validation=(la.compress([(A, B)]), None))
    assert run.history["validation_loss"].values[-1] == pytest.approx(0.5 * np.sum((run.network(A) - B) ** 2), rel=1e-12)


# ---- running sums ----------------------------------------------------------------------------------------------------------


def length(net, state):
    return float(state.lr[0]) * state.gradient_norm


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("implementation", ["kernel", "reference"])
def test_running_sums(implementation, each):
    net, X, Y = problem()
    record = {Sum(length, each): 10, "at a time": (1, length), "corner": ([0, 7, 20], Sum(lambda net: net.matrix()[:2, :2]))}
    run = la.train(net, X, Y, lr=1e-3, steps=25, momentum=0.9, record={**record, "params": 1}, implementation=implementation)
    found = run.history["sum of length"]
    assert found.steps.tolist() == [0, 10, 20, 25]
    terms = run.history["at a time"].values
    # the same numbers, added in the same order
    np.testing.assert_array_equal(found.values, [np.cumsum(terms[: step + 1 : each])[-1] for step in found.steps])
    corners = np.cumsum([np.linalg.multi_dot(matrices[::-1])[:2, :2] for matrices in run.snapshots()], axis=0)
    np.testing.assert_allclose(run.history["corner"].values, corners[[0, 7, 20, 25]], rtol=1e-12, atol=1e-12)


def test_running_sums_go_on(tmp_path):
    net, X, Y = problem()
    options = {"lr": 1e-3, "momentum": 0.9, "record": {Sum(length, 2): 10, "three": (7, Sum(length, 3))}}
    full = la.train(net, X, Y, steps=60, **options)
    cut = la.train(net, X, Y, steps=31, **options)
    for run in (cut, la.load(cut.save(tmp_path / "run.npz")), pickle.loads(pickle.dumps(cut))):
        again = la.resume(run, X, Y, steps=29, record=options["record"])
        for name, kept in full.history.items():
            np.testing.assert_array_equal(again.history[name].steps, kept.steps)
            np.testing.assert_allclose(again.history[name].values, kept.values, rtol=1e-14)


# ---- the end ---------------------------------------------------------------------------------------------------------------


def test_stop_ends_a_run_where_something_is_recorded(tmp_path):
    net, X, Y = problem()
    options = {"lr": 1e-3, "steps": 500, "record": {"alignment": 10, "loss": 7}}
    plain = la.train(net, X, Y, **options)
    below = float(plain.loss[95])
    for stop in (lambda state: state.loss < below, lambda net, state: state.loss < below and net.depth == 3):
        run = la.train(net, X, Y, **options, stop=stop)
        assert run.stopped
        assert run.steps == 98
        assert not run.converged
        assert not run.interrupted
        assert "stopped" in repr(run)
        np.testing.assert_array_equal(run.loss, plain.loss[:99])
        assert la.load(run.save(tmp_path / "run.npz")).stopped
        assert run.history["alignment"].steps.tolist() == [*range(0, 98, 10), 98]
    assert la.train(net, X, Y, **options, stop=lambda state: True).steps == 0
    assert not la.train(net, X, Y, **options, stop=lambda state: False).stopped
    going = la.resume(run, X, Y, steps=402, stop=None)
    np.testing.assert_array_equal(going.loss, plain.loss)


def test_the_state_knows_its_rates():
    net, X, Y = problem()
    seen = {}

    def watch(net, state):
        seen[state.step] = state.lr
        return 0.0

    rates = np.linspace(1e-3, 2e-3, 10)
    run = la.train(net, X, Y, lr=rates, steps=10, record={"watch": (1, watch)})
    for t in range(10):
        np.testing.assert_array_equal(seen[t], np.full(3, rates[t]))
    # after the last step it is the last one: there is none to come
    np.testing.assert_array_equal(seen[10], np.full(3, rates[9]))
    np.testing.assert_array_equal(run.lr, np.full(3, rates[9]))
    np.testing.assert_array_equal(la.train(net, X, Y, lr=rates, steps=10).lr, np.full(3, rates[9]))


# ---- what raises -----------------------------------------------------------------------------------------------------------


class Broken(Exception):
    """Mine."""


def breaks_at(step):
    def watch(net, state):
        if state.step == step:
            raise Broken("mine")
        return state.loss

    return watch


class Breaking(Decaying):
    """A rule that raises in the second layer of step 8, once the first has moved."""

    def update(self, theta, gradient, slots, lr, weight_decay, step):
        if step == 8 and theta.shape[1] == 10:
            raise Broken("mine")
        super().update(theta, gradient, slots, lr, weight_decay, step)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"record": {"mine": (3, breaks_at(9)), "loss": 2}}, 9),
        ({"record": {"mine": (3, breaks_at(0)), "loss": 2}}, 0),
        ({"record": {"mine": (7, breaks_at(20))}}, 20),
        ({"record": {"loss": 2}, "stop": lambda state: 1 / (state.step - 12) > 1}, 12),
        ({"record": {"mine": (5, Sum(breaks_at(11)))}}, 11),
        ({"optimizer": Breaking()}, 7),
        ({"optimizer": Breaking(), "implementation": "reference"}, 7),
    ],
    ids=["recorded", "at the start", "at the end", "stop", "sum", "rule", "rule of the reference"],
)
def test_what_raises_carries_the_run(options, steps):
    net, X, Y = problem()
    options = {"lr": 1e-3, **options}
    with pytest.raises((Broken, ZeroDivisionError)) as caught:
        la.train(net, X, Y, steps=20, **options)
    run = caught.value.run
    assert run.steps == steps
    plain = la.train(net, X, Y, **{**options, "record": None, "stop": None, "lr": 1e-3}, steps=steps)
    np.testing.assert_array_equal(run.loss, plain.loss)
    for mine, theirs in zip(run.network.params, plain.network.params, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    if "loss" in options.get("record", {}):
        np.testing.assert_allclose(run.history["loss"].values, plain.loss[run.history["loss"].steps], rtol=1e-14)
    if not isinstance(options.get("optimizer"), Breaking):
        again = la.resume(run, X, Y, steps=20 - steps, record=None, stop=None, lr=1e-3)
        np.testing.assert_array_equal(again.loss, la.train(net, X, Y, lr=1e-3, steps=20).loss)


def test_a_loss_that_raises_in_a_batch_carries_the_run():
    net, X, Y = problem()
    calls = []

    class Mine(la.losses.Squared):
        kind = "mine"
        quadratic = False

        def objective(self, T, factor):
            plain = super().objective(T, factor)

            def function(F):
                calls.append(len(F))
                if len(calls) == 6:
                    raise Broken("mine")
                return plain(F)

            return function

    for options in ({"batch": 5, "rng": 0}, {}):
        calls.clear()
        with pytest.raises(Broken) as caught:
            la.train(net, X, Y, loss=Mine(), lr=1e-3, steps=20, **options)
        assert caught.value.run.steps == 5
        assert np.isfinite(caught.value.run.loss[:5]).all()
        assert np.isnan(caught.value.run.loss[5])
        plain = la.train(net, X, Y, lr=1e-3, steps=5, reduce="none", **options)
        np.testing.assert_allclose(caught.value.run.network.matrix(), plain.network.matrix(), rtol=1e-12, atol=1e-14)


def test_a_schedule_that_raises_carries_the_run():
    net, X, Y = problem()

    def rate(t):
        if t == 15:
            raise Broken("mine")
        return 1e-3

    with pytest.raises(Broken) as caught:
        la.train(net, X, Y, lr=rate, steps=20)
    run = caught.value.run
    assert run.steps == 15
    np.testing.assert_array_equal(run.loss, la.train(net, X, Y, lr=1e-3, steps=20).loss[: run.steps + 1])


def test_a_failed_run_of_a_sweep_keeps_what_it_found():
    net, X, Y = problem()
    found = la.sweep(lambda rng: net, X, Y, grid={"rng": [0]}, lr=1e-3, steps=20, record={"mine": (3, breaks_at(9))}, keep_runs=True)
    assert found.status.tolist() == ["failed"]
    assert found.rows[0]["steps"] == 9
    assert found.rows[0]["error"] == "Broken: mine"
    assert found.histories["mine"].steps.tolist() == [[0, 3, 6]]
    assert found.runs[0].steps == 9


# ---- bad input -------------------------------------------------------------------------------------------------------------


def test_bad_input_in_one_line():
    net, X, Y = problem()
    wrong = [
        ({"validation": X}, TypeError, "validation is ndarray; a pair (X, Y), or compressed data, was wanted"),
        ({"validation": (X[:, :5], Y)}, ValueError, "validation: X has shape (30, 5); 8 columns were wanted, not 5"),
        ({"validation": (X, Y[:4])}, ValueError, "validation: Y has shape (4, 3); 30 rows were wanted, not 4"),
        ({"validation": (None, Y)}, ValueError, "validation[0] is None; rows of data were wanted, as validation=(X, Y)"),
        ({"record": {"validation_loss": 1}}, ValueError, "record has 'validation_loss' but validation is None; pass validation=(X, Y)"),
        ({"stop": 3, "record": {"loss": 1}}, TypeError, "stop is 3; a function of the state, or of the network and the state, was wanted"),
        (
            {"stop": len},
            ValueError,
            'stop is given but record is empty; it is called where something is recorded: pass record={"loss": 100}',
        ),
    ]
    for options, kind, message in wrong:
        with pytest.raises(kind, match=f"^{re.escape(message)}$"):
            la.train(net, X, Y, lr=1e-3, steps=5, **options)
        with pytest.raises(kind, match=f"^{re.escape(message)}$"):
            la.sweep(lambda rng: net, X, Y, grid={"rng": [0]}, lr=1e-3, steps=5, **options)
    loss = la.losses.EndToEnd(lambda P: (0.5 * float(np.sum(P**2)), P))
    with pytest.raises(ValueError, match="validation was given but the loss 'end_to_end' is a function of the product alone; leave it out"):
        la.train(net, None, loss=loss, lr=1e-3, steps=5, validation=(X, Y))
    with pytest.raises(TypeError, match="fn is 3; a function of the network, or of the network and the state, was wanted"):
        Sum(3)
    with pytest.raises(ValueError, match="each is 0; a whole number of at least 1 was wanted"):
        Sum(length, 0)
