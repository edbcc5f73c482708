"""Streams: data of their own for every step, from a function or a generator, as if each step were a run by itself."""

import re

import numpy as np
import pytest

import linalign as la
from linalign.optim import schedules
from linalign.problem import stream as module
from tests.optim.test_noise import assert_near, descend, labels
from tests.training.test_resume import assert_same_bits

STEPS = 60


def net(widths=(8, 10, 7, 3), dtype=np.float64):
    return la.Network.dense(widths).init("gaussian", rng=0, scale=0.3, dtype=dtype)


def pair(t, n=6):
    rng = np.random.default_rng([5, t])
    return rng.standard_normal((n, 8)), rng.standard_normal((n, 3))


def generator(begin=0, steps=10**9):
    for t in range(begin, begin + steps):
        yield pair(t)


def by_hand(start, lr, momentum=0.0, steps=STEPS, noise=None):
    """Steps that each see their own data, one at a time, and their losses."""
    params, v, losses = [np.array(W) for W in start.params], None, []
    for t in range(steps):
        X, Y = pair(t)
        here = start.with_params(params)
        # two steps of which the first is this one say what its gradient was
        moved, found = descend(here, X, [Y if noise is None else Y + noise[t]], 1.0)
        gradients = [W - new for W, new in zip(params, moved, strict=True)]
        v = gradients if v is None else [momentum * old + G for old, G in zip(v, gradients, strict=True)]
        params = [W - lr * u for W, u in zip(params, v, strict=True)]
        losses += found
    return params, losses


@pytest.mark.parametrize("implementation", ["kernel", "reference"])
@pytest.mark.parametrize("source", [lambda: pair, generator], ids=["function", "generator"])
def test_every_step_sees_its_own_data(source, implementation):
    run = la.train(net(), stream=source(), lr=1e-2, momentum=0.9, steps=STEPS, implementation=implementation, record={"alignment": 7})
    params, losses = by_hand(net(), 1e-2, 0.9)
    assert_near(run, params, losses)
    # the last entry is on the data of the last step
    X, Y = pair(STEPS - 1)
    assert run.loss[-1] == pytest.approx(0.5 * np.sum((run.network(X) - Y) ** 2), rel=1e-12)
    assert not [row for row in run.plan.reductions if row.applied and implementation == "kernel"]
    assert implementation == "reference" or "every step has data of its own" in str(run.plan)


@pytest.mark.parametrize("pivot", ["auto", 0, 1, 2, 3])
def test_from_every_pivot(pivot):
    run = la.train(net(), stream=pair, lr=1e-2, steps=STEPS, pivot=pivot)
    assert_near(run, *by_hand(net(), 1e-2))


def test_with_noise_on_the_labels():
    run = la.train(net(), stream=pair, lr=1e-2, steps=STEPS, label_noise=0.5, rng=7)
    assert_near(run, *by_hand(net(), 1e-2, noise=0.5 * labels(7, 6, 3, STEPS)))
    X, Y = pair(STEPS - 1)
    assert run.loss[-1] == pytest.approx(0.5 * np.sum((run.network(X) - Y) ** 2), rel=1e-12)


OPTIONS = {
    "adam": {"optimizer": "adam"},
    "sam": {"optimizer": "sam"},
    "muon, a schedule": {"optimizer": "muon", "lr": schedules.Cosine(1e-2, STEPS)},
    "cyclic": {"update": "cyclic", "momentum": 0.5},
    "mse": {"loss": "mse", "lr": 0.1},
    "huber": {"loss": la.losses.Huber(0.5)},
    "noise": {"gradient_noise": 0.1, "rng": 0},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_rules_and_losses(options):
    options = {"lr": 1e-2, "steps": STEPS, **options}
    mine, theirs = (la.train(net(), stream=pair, implementation=implementation, **options) for implementation in ("kernel", "reference"))
    np.testing.assert_allclose(mine.loss, theirs.loss, rtol=1e-9)
    np.testing.assert_allclose(mine.network.matrix(), theirs.network.matrix(), rtol=0, atol=1e-9)


def test_biases_and_constrained_layers():
    start = la.Network([la.Circulant(8), la.Dense(8, 5, bias=True), la.Dense(5, 3)]).init("gaussian", rng=0, scale=0.5)
    mine, theirs = (la.train(start, stream=pair, lr=1e-2, steps=STEPS, implementation=how) for how in ("kernel", "reference"))
    np.testing.assert_allclose(mine.loss, theirs.loss, rtol=1e-9)
    again = la.train(mine.network, *pair(STEPS), lr=1.0, steps=0, loss="squared")
    assert la.resume(mine, steps=1).loss[STEPS] == pytest.approx(again.loss[0], rel=1e-12)


def test_what_is_recorded_is_on_the_data_of_the_step_before():
    seen = {}

    def watch(net, state):
        seen[state.step] = (net, state.loss, state.gradients, state.gradient_norm)
        return 0.0

    for update in ("simultaneous", "cyclic"):
        seen.clear()
        la.train(net(), stream=pair, lr=1e-2, steps=8, record={"watch": (1, watch)}, update=update)
        for t in range(9):
            here, loss, gradients, norm = seen[t]
            value, wanted = la.value_and_grad(here, *pair(max(t - 1, 0)))
            assert loss == pytest.approx(value, rel=1e-12)
            for mine, theirs in zip(gradients, wanted, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12 * np.abs(theirs).max())
            assert norm == pytest.approx(np.sqrt(sum(np.sum(G**2) for G in wanted)), rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "record": {"alignment": 7}}, {"optimizer": "adam", "implementation": "reference"}],
                         ids=str)  # fmt: skip
def test_streams_go_on(tmp_path, options):
    options = {"lr": 1e-2, **options}
    full = la.train(net(), stream=pair, steps=STEPS, **options)
    cut = la.train(net(), stream=pair, steps=STEPS - 23, **options)
    assert_same_bits(full, la.resume(cut, steps=23))
    loaded = la.load(cut.save(tmp_path / "run.npz"))
    assert_same_bits(full, la.resume(loaded, steps=23, stream=pair))
    drawn = la.train(net(), stream=generator(), steps=STEPS - 23, **options)
    assert_same_bits(full, la.resume(drawn, steps=23))
    assert_same_bits(full, la.resume(loaded, steps=23, stream=generator(STEPS - 23)))
    kept = {**options, "checkpoint": tmp_path / "kept", "checkpoint_every": 0}
    la.train(net(), stream=pair, steps=STEPS - 23, **kept)
    assert_same_bits(full, la.train(net(), stream=pair, steps=STEPS, **kept))
    # and from a stream to data that stay
    X, Y = pair(3)
    phase = la.resume(cut, X, Y, steps=5, stream=None)
    assert phase.loss[STEPS - 23] == pytest.approx(0.5 * np.sum((cut.network(X) - Y) ** 2), rel=1e-12)


def wild(t):
    X, Y = pair(t)
    return (X, Y) if t < 40 else (1e200 * X, Y)


@pytest.mark.parametrize("kept", [2**24, 300])
@pytest.mark.parametrize("source", [lambda: wild, lambda: (wild(t) for t in range(100))], ids=["function", "generator"])
def test_a_run_that_diverges(source, kept, monkeypatch):
    monkeypatch.setattr(module, "KEPT", kept)
    with pytest.raises(la.DivergenceError) as caught:
        la.train(net(), stream=source(), lr=1e-2, steps=100)
    run = caught.value.run
    # the loss before step 40 is not finite; where data are gone, the run goes back to what was kept of the network
    gone = kept == 300 and not callable(source())
    assert run.steps <= 39 if gone else run.steps == 39
    plain = la.train(net(), stream=pair, lr=1e-2, steps=run.steps)
    np.testing.assert_array_equal(run.loss[: run.steps], plain.loss[:-1])
    np.testing.assert_array_equal(run.network.matrix(), plain.network.matrix())


def test_a_generator_that_ends_carries_the_run():
    with pytest.raises(ValueError, match="^stream ended before step 50; a pair \\(X, Y\\) for each step was wanted$") as caught:
        la.train(net(), stream=generator(steps=50), lr=1e-2, steps=100)
    assert caught.value.run.steps == 50
    assert_near(caught.value.run, *by_hand(net(), 1e-2, steps=50))


def test_bad_input_in_one_line():
    X, Y = pair(0)
    wrong = [
        ({"stream": 3}, TypeError, "stream is int; a function of the step, or a generator, that returns (X, Y) was wanted"),
        ({"stream": [(X, Y)]}, TypeError, "stream is list; a function of the step, or a generator, that returns (X, Y) was wanted"),
        ({"stream": lambda t: X}, TypeError, "stream returned ndarray for step 0; a pair (X, Y) was wanted"),
        ({"stream": pair, "X": X, "Y": Y}, ValueError, "X or Y is given but stream has the data of every step; pass one of the two"),
        ({"stream": pair, "batch": 3, "rng": 0}, ValueError, "batch or order is given but stream has the data of every step; leave them out"),
        ({"stream": lambda t: pair(t, 6 if t < 20 else 5)}, ValueError,
         "stream, step 20: X has shape (5, 8); 6 rows were wanted, not 5"),
        ({"stream": lambda t: (X, Y if t < 20 else Y * np.nan)}, ValueError,
         "stream, step 20: Y[0, 0] is nan; every entry must be finite: drop or fill such rows"),
        ({"stream": lambda t: (X[:, :4], Y)}, ValueError, "X has shape (6, 4); 8 columns were wanted, not 4"),
    ]  # fmt: skip
    for options, kind, message in wrong:
        with pytest.raises(kind, match=f"^{re.escape(message)}$"):
            la.train(net(), **{"lr": 1e-2, "steps": 50, **options})
    with pytest.raises(
        ValueError, match="stream is given but the runs of a sweep share X and Y, and take turns at them in an order that no generator"
    ):
        la.sweep(lambda rng: net(), None, None, grid={"rng": [0]}, lr=1e-2, steps=5, stream=pair)
