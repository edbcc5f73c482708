"""Runs that go on: unchanged, the same bits as one that was never cut; changed, the trajectory of all phases in one."""

import gc
import json
import pickle
import re
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

import linalign as la
from linalign import optim
from linalign.optim import schedules

FIRST, REST = 37, 55


def problem(dtype=np.float64, widths=(8, 10, 7, 3)):
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((30, widths[0])), rng.standard_normal((30, widths[-1]))
    X[:, 6:] = X[:, : widths[0] - 6]  # six of the inputs say it all
    net = la.Network.dense(widths).init("gaussian", rng=0, scale=0.3, dtype=dtype)
    return net, X.astype(dtype), Y.astype(dtype)


def assert_same_bits(full, again):
    assert again.steps == full.steps
    np.testing.assert_array_equal(again.excess, full.excess)
    np.testing.assert_array_equal(again.lr, full.lr)
    assert again.floor == full.floor
    assert again.plan == full.plan
    assert (again.converged, again.interrupted) == (full.converged, full.interrupted)
    pairs = [(full.network, again.network)] + ([] if full.average is None else [(full.average, again.average)])
    for mine, theirs in pairs:
        for a, b in zip(mine.params, theirs.params, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
    assert set(again.history) == set(full.history)
    for name, kept in full.history.items():
        np.testing.assert_array_equal(again.history[name].steps, kept.steps)
        # scores are sums whose order depends on where their arrays lie
        rounding = 16 * np.finfo(kept.values.dtype).eps if name in ("alignment", "invariance", "gradient_norm") else 0
        np.testing.assert_allclose(again.history[name].values, kept.values, rtol=rounding, atol=0)


class Decaying(optim.Rule):
    """A rule of a user's, in NumPy."""

    name, commutes, slots, numbers = "decaying", "linear", 1, 1

    def update(self, theta, gradient, slots, lr, weight_decay, step):
        slots[0][...] = 0.5 * slots[0] + gradient / np.sqrt(step)
        theta -= lr * slots[0]


CASES = {
    "plain": {},
    "momentum": {"momentum": 0.9, "weight_decay": 0.02},
    "one a layer": {"lr": [1e-3, 0.0, 2e-3], "momentum": 0.5, "weight_decay": [0.1, 0.2, 0.0]},
    **{name: {"optimizer": name} for name in optim.RULES},
    **{f"mean of {name}": {"optimizer": name, "average": 0.9} for name in optim.RULES},
    "nesterov": {"optimizer": optim.SGD(0.9, nesterov=True, weight_decay=0.1)},
    "dampened": {"optimizer": optim.SGD(0.9, dampening=0.3)},
    "centred": {"optimizer": optim.RMSprop(centered=True, momentum=0.9)},
    "polar": {"optimizer": optim.Muon(form="polar")},
    "clipped": {"clip_norm": 0.5, "momentum": 0.9},
    "of the user": {"optimizer": Decaying()},
    "cyclic": {"update": "cyclic", "momentum": 0.5},
    "cyclic adam": {"update": "cyclic", "optimizer": "adam"},
    "reference": {"implementation": "reference", "momentum": 0.9},
    "cosine": {"lr": schedules.Cosine(2e-3, FIRST + REST), "momentum": 0.9, "weight_decay": 0.02},
    "function": {"lr": lambda t: 2e-3 / (1 + t)},
    "table": {"lr": np.linspace(1e-3, 2e-3, FIRST + REST)[:, None]},
    "shuffled": {"batch": 7, "rng": 3, "momentum": 0.9},
    "drawn": {"batch": 4, "rng": np.random.default_rng(5), "order": "replacement", "optimizer": "adam"},
    "of Mersenne": {"batch": 4, "rng": np.random.Generator(np.random.MT19937(5))},
    "sizes": {"batch": lambda t: 1 + t % 5, "rng": 0, "optimizer": "group_rmsprop"},
    "given rows": {"order": np.arange(3 * (FIRST + REST)).reshape(-1, 3) % 30},
    "cross entropy": {"loss": "cross_entropy", "lr": 0.1, "batch": 8, "rng": 1},
    "unreduced": {"reduce": "none", "optimizer": "muon"},
    "narrow": {"reduce": ["samples", "inputs", "width"], "momentum": 0.9},
    "single": {"dtype": np.float32, "momentum": 0.9},
}


@pytest.mark.parametrize("case", CASES)
def test_unchanged_it_is_the_run_that_was_never_cut(case, tmp_path):
    options = {"lr": 2e-3, "record": {"loss": 5, "alignment": 7, "invariance": 9, "gradient_norm": [3, 40]}, **CASES[case]}
    net, X, Y = problem(options.pop("dtype", np.float64), (8, 20, 3) if case == "narrow" else (8, 10, 7, 3))
    if options.get("loss") == "cross_entropy":
        Y = np.arange(30) % 3
    full = la.train(net, X, Y, steps=FIRST + REST, **options)
    cut = la.train(net, X, Y, steps=FIRST, **options)
    bits = [theta.tobytes() for theta in cut.network.params]
    for run in (cut, la.load(cut.save(tmp_path / "run.npz")), pickle.loads(pickle.dumps(cut))):
        # what a file cannot hold is passed again
        again = la.resume(run, X, Y, steps=REST, **{name: options[name] for name in run.kept.missing if name in options and name != "rng"})
        assert_same_bits(full, again)
    assert [theta.tobytes() for theta in cut.network.params] == bits
    thrice = la.resume(la.resume(cut, X, Y, steps=1), X, Y, steps=REST - 1)
    assert_same_bits(full, thrice)


def test_parts_that_run_side_by_side(tmp_path):
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((6, 6))
    net = la.Network.dense([6, 6, 6]).init("aligned", Y=Y, singular_values=0.3, rng=0)
    for options in ({}, {"momentum": 0.9, "weight_decay": 0.1}, {"update": "cyclic"}):
        options = {"lr": 1e-3, "reduce": ["split"], **options}
        full = la.train(net, None, Y, steps=FIRST + REST, **options)
        assert [row.name for row in full.plan.reductions if row.applied] == ["split"]
        cut = la.train(net, None, Y, steps=FIRST, **options)
        for run in (cut, la.load(cut.save(tmp_path / "run.npz"))):
            assert_same_bits(full, la.resume(run, None, Y, steps=REST))
        # and the whole network, where a part of it no longer runs by itself
        turned = la.resume(cut, None, Y + 1, steps=REST, update="simultaneous")
        plain = la.resume(
            la.train(net, None, Y, steps=FIRST, **{**options, "reduce": "none"}), None, Y + 1, steps=REST, update="simultaneous"
        )
        assert_near(turned, plain)


CHILD = """
import sys
import numpy as np
import linalign as la
from tests.training.test_resume import problem
net, X, Y = problem()
run = la.resume(la.load(sys.argv[1]), X, Y, steps=55)
run.save(sys.argv[2])
"""


def test_in_a_new_process(tmp_path):
    net, X, Y = problem()
    options = {"lr": 2e-3, "optimizer": "muon", "batch": 7, "rng": 3, "average": 0.9}
    la.train(net, X, Y, steps=FIRST, **options).save(tmp_path / "cut.npz")
    subprocess.run([sys.executable, "-c", CHILD, tmp_path / "cut.npz", tmp_path / "all.npz"], check=True, cwd=Path(__file__).parents[2])
    assert_same_bits(la.train(net, X, Y, steps=FIRST + REST, **options), la.load(tmp_path / "all.npz"))


def test_a_longer_tolerance_goes_on():
    net, X, Y = problem()
    full = la.train(net, X, Y, lr=2e-3, steps=500)
    cut = la.train(net, X, Y, lr=2e-3, steps=500, tol=float(full.loss[100]))
    assert cut.converged
    assert cut.steps == 100
    assert_same_bits(full, la.resume(cut, X, Y, steps=400, tol=None))


# ---- with something changed ------------------------------------------------------------------------------------------------


def assert_near(a, b):
    """As `tests/optim` compares with torch: rounding of a thousand contracting steps stays below."""
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-9, atol=1e-9 * b.loss[0])
    for mine, theirs in zip(a.network.params, b.network.params, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-9 * np.abs(theirs).max())


@pytest.mark.parametrize("reduce", ["auto", "none", ["samples", "inputs", "width"]], ids=str)
@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.9}, {"momentum": 0.9, "weight_decay": 0.3}, {"optimizer": "adam"}, {"optimizer": "muon"},
     {"optimizer": optim.SGD(0.9, nesterov=True, weight_decay=0.3)}, {"optimizer": "group_rmsprop"}, {"average": 0.9}],
    ids=str,
)  # fmt: skip
def test_another_rate_is_the_schedule_of_both(options, reduce):
    net, X, Y = problem(widths=(8, 20, 3))
    rates = np.repeat([2e-3, 5e-4], [FIRST, REST])
    full = la.train(net, X, Y, lr=rates, steps=FIRST + REST, reduce="none", **options)
    cut = la.train(net, X, Y, lr=2e-3, steps=FIRST, reduce=reduce, **options)
    for again in (la.resume(cut, X, Y, steps=REST, lr=5e-4), la.resume(cut, X, Y, steps=REST, lr=rates[FIRST:])):
        assert_near(again, full)
        if full.average is not None:
            np.testing.assert_allclose(again.average.matrix(), full.average.matrix(), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(again.lr, np.full(2, 5e-4))


def by_hand(params, v, X, Y, lr, momentum, decay, steps):
    """Heavy-ball steps on half the sum of squares, and the losses before them."""
    found = []
    for _ in range(steps):
        rows = [X]
        for W in params:
            rows.append(rows[-1] @ W.T)
        D = rows[-1] - Y
        found.append(0.5 * np.sum(D**2))
        gradients = []
        for i in reversed(range(len(params))):
            gradients.append(D.T @ rows[i])
            D = D @ params[i]
        for i, G in enumerate(reversed(gradients)):
            v[i] = momentum * v[i] + G + decay * params[i]
            params[i] = params[i] - lr * v[i]
    return found


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("reduce", ["auto", "none", ["samples", "inputs", "width"]], ids=str)
def test_other_data_momentum_and_decay(reduce, decay):
    # velocities of the smaller network, and of what it left outside, move the whole of it
    net, X, Y = problem(widths=(8, 20, 3))
    rng = np.random.default_rng(9)
    X2, Y2 = rng.standard_normal((25, 8)), rng.standard_normal((25, 3))
    params, v = [np.array(W) for W in net.params], [np.zeros(W.shape) for W in net.params]
    losses = by_hand(params, v, X, Y, 1e-3, 0.9, decay, FIRST)
    losses += by_hand(params, v, X2, Y2, 5e-4, 0.5, 0.1, REST)
    cut = la.train(net, X, Y, lr=1e-3, momentum=0.9, weight_decay=decay, steps=FIRST, reduce=reduce)
    assert len([row for row in cut.plan.reductions if row.applied]) == {"auto": 2, "none": 0}.get(str(reduce), 3)
    again = la.resume(cut, X2, Y2, steps=REST, lr=5e-4, momentum=0.5, weight_decay=0.1)
    np.testing.assert_allclose(again.loss[:-1], losses, rtol=1e-9)
    for W, wanted in zip(again.network.params, params, strict=True):
        np.testing.assert_allclose(W, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())
    assert ("what sgd remembers" in str(again.plan)) == (reduce != "none")


def test_without_memory_the_rest_is_reduced():
    net, X, Y = problem()
    cut = la.train(net, X, Y, lr=1e-3, steps=FIRST)
    again = la.resume(cut, 2 * X, Y, steps=REST)
    assert {row.name for row in again.plan.reductions if row.applied} >= {"samples", "inputs"}
    plain = la.train(cut.network, 2 * X, Y, lr=1e-3, steps=REST)
    np.testing.assert_array_equal(again.loss[FIRST:], plain.loss)
    np.testing.assert_allclose(again.loss[:FIRST], cut.loss[:-1], rtol=1e-12)


def test_a_run_holds_no_more_of_its_engine_than_what_it_remembers(monkeypatch):
    from linalign.training import execute

    engines = []
    plain = execute.bind
    monkeypatch.setattr(execute, "bind", lambda *args: engines.append(weakref.ref(found := plain(*args))) or found)
    net, X, Y = problem()
    runs = [la.train(net, X, Y, lr=1e-3, steps=5, **options) for options in ({}, {"optimizer": "adam"}, {"batch": 3, "rng": 0})]
    gc.collect()
    assert len(runs) == len(engines) == 3
    assert [engine() for engine in engines] == [None] * 3


def test_an_automatic_rate_is_that_of_the_place():
    net, X, Y = problem()
    cut = la.train(net, X, Y, lr="auto", steps=FIRST)
    assert_same_bits(la.train(net, X, Y, lr="auto", steps=FIRST + REST), la.resume(cut, X, Y, steps=REST))
    again, alone = la.resume(cut, X, Y, steps=REST, lr="auto"), la.train(cut.network, X, Y, lr="auto", steps=REST)
    np.testing.assert_array_equal(again.lr, alone.lr)


def test_another_optimizer_begins_to_remember():
    # its steps count from its first one: a bias correction of step 38 would be another one
    net, X, Y = problem()
    cut = la.train(net, X, Y, lr=1e-3, momentum=0.9, steps=FIRST)
    again = la.resume(cut, X, Y, steps=REST, optimizer="adam", momentum=0.0)
    plain = la.train(cut.network, X, Y, lr=1e-3, optimizer="adam", steps=REST)
    np.testing.assert_allclose(again.loss[FIRST:], plain.loss, rtol=1e-9)
    third = la.resume(again, X, Y, steps=REST)
    np.testing.assert_allclose(third.loss[FIRST:], la.train(cut.network, X, Y, lr=1e-3, optimizer="adam", steps=2 * REST).loss, rtol=1e-9)


def test_another_batch_goes_on_in_the_epoch():
    net, X, Y = problem()
    cut = la.train(net, X, Y, lr=1e-3, steps=3, batch=7, rng=0)
    again = la.resume(cut, X, Y, steps=4, batch=3)
    full = la.train(net, X, Y, lr=1e-3, steps=7, batch=[7, 7, 7, 3, 3, 3, 3], rng=0)
    np.testing.assert_allclose(again.loss, full.loss, rtol=1e-12)
    fresh = la.resume(cut, X, Y, steps=4, batch=3, rng=5)
    np.testing.assert_allclose(fresh.loss[3:], la.train(cut.network, X, Y, lr=1e-3, steps=4, batch=3, rng=5).loss, rtol=1e-12)


def test_what_is_recorded_may_change():
    net, X, Y = problem()
    cut = la.train(net, X, Y, lr=1e-3, steps=10, record={"loss": 4, "alignment": 5})
    again = la.resume(cut, X, Y, steps=10, record={"loss": 6, "balancedness": 20})
    assert again.history["loss"].steps.tolist() == [0, 4, 8, 12, 18, 20]
    assert again.history["alignment"].steps.tolist() == [0, 5, 10]
    assert again.history["balancedness"].steps.tolist() == [20]
    assert_near(again, la.train(net, X, Y, lr=1e-3, steps=20))


def test_constrained_layers_and_biases_go_on():
    rng = np.random.default_rng(2)
    X, Y = rng.standard_normal((30, 6)), rng.standard_normal((30, 4))
    net = la.Network([la.Circulant(6), la.Dense(6, 5, bias=True), la.Dense(5, 4)]).init("gaussian", rng=0, scale=0.5)
    for options in ({"metric": "matrix"}, {"metric": "parameters", "momentum": 0.9}, {"metric": "parameters", "optimizer": "adam"}):
        full = la.train(net, X, Y, lr=1e-3, steps=FIRST + REST, **options)
        cut = la.train(net, X, Y, lr=1e-3, steps=FIRST, **options)
        assert_same_bits(full, la.resume(cut, X, Y, steps=REST))


def test_a_diverged_run_goes_on_with_a_smaller_rate():
    net, X, Y = problem()
    with pytest.raises(la.DivergenceError) as caught:
        la.train(net, X, Y, lr=10.0, steps=100)
    run = caught.value.run
    with pytest.raises(la.DivergenceError) as again:
        la.resume(run, X, Y, steps=5)
    assert again.value.run.steps == run.steps
    early = la.train(net, X, Y, lr=10.0, steps=1)
    assert np.isfinite(la.resume(early, X, Y, steps=5, lr=1e-12).loss).all()


# ---- what is refused -------------------------------------------------------------------------------------------------------


def test_bad_input_in_one_line(tmp_path):
    net, X, Y = problem()
    run = la.train(net, X, Y, lr=1e-3, steps=5)
    wrong = [
        ({"run": net}, TypeError, "run is Network; a linalign.Run was wanted, from train, resume or load"),
        ({"steps": -1}, ValueError, "steps is -1; a whole number of at least 0 was wanted"),
        ({"rate": 1}, TypeError, "train has no option 'rate'; pass lr="),
        ({"momentum": 2.0}, ValueError, "momentum is 2.0; it must be less than 1"),
        ({"batch": 4}, ValueError, "rng is None but order is 'shuffle'; pass a seed such as rng=0, so that the batches can be drawn again"),
        ({"lr": np.ones(7)}, ValueError, "lr has 7 entries but the network has 3 layers; pass one number or one a layer"),
        ({"X": X[:, :5]}, ValueError, "X has shape (30, 5); 8 columns were wanted, not 5"),
    ]
    for options, kind, message in wrong:
        with pytest.raises(kind, match=re.escape(message)) as caught:
            la.resume(**{"run": run, "X": X, "Y": Y, "steps": 5, **options})
        assert "\n" not in str(caught.value)
    table = la.train(net, X, Y, lr=np.full(5, 1e-3), steps=5)
    with pytest.raises(ValueError, match="lr has"):
        la.resume(table, X, Y, steps=5)
    function = la.load(la.train(net, X, Y, lr=lambda t: 1e-3, steps=5).save(tmp_path / "run.npz"))
    with pytest.raises(ValueError, match=re.escape("lr of the run is of a kind that its file does not hold; pass lr= again")):
        la.resume(function, X, Y, steps=5)
    with np.load(la.train(net, X, Y, lr=1e-3, steps=5).save(tmp_path / "run.npz")) as old:
        arrays = {name: old[name] for name in old.files if not name.startswith("kept")}
        described = {name: value for name, value in json.loads(str(arrays.pop("run"))).items() if name not in ("kept", "average", "held")}
        np.savez(tmp_path / "old.npz", run=np.array(json.dumps(described)), **arrays)
    with pytest.raises(
        ValueError, match="run holds nothing to go on from: its file is of an earlier version; train from run.network instead"
    ):
        la.resume(la.load(tmp_path / "old.npz"), X, Y, steps=5)


# ---- velocities ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduce", ["none", ["samples", "inputs", "width"]], ids=str)
@pytest.mark.parametrize("lr", [[1e-3, 0.0], lambda t: 1e-3 if t % 3 else 0.0], ids=["a frozen layer", "rests"])
def test_velocities_where_nothing_moves(lr, reduce):
    # a velocity is remembered where the rate is 0, outside of the smaller network too
    net, X, Y = problem(widths=(8, 20, 3))
    v = [np.zeros(W.shape) for W in net.params]
    seen = {}
    la.train(net, X, Y, lr=lr, momentum=0.9, weight_decay=0.2, steps=8, reduce=reduce,
             record={"v": (1, lambda net, state: seen.update({state.step: (net.params, state.gradients, state.velocities)}) or 0)})  # fmt: skip
    for t in range(8):
        params, gradients, _ = seen[t]
        v = [0.9 * old + G + 0.2 * W for old, G, W in zip(v, gradients, params, strict=True)]
        for mine, wanted in zip(seen[t + 1][2], v, strict=True):
            np.testing.assert_allclose(mine, wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())


def test_rows_in_flight_are_those_of_the_plan():
    # from the data either their rows or those of the first layer are in flight: the sums differ in their rounding
    for n in (2, 5, 20, 60):
        rng = np.random.default_rng(n)
        X, Y = rng.standard_normal((n, 7)), rng.standard_normal((n, 3))
        for widths in ((7, 2, 9, 3), (7, 9, 3), (7, 3)):
            net = la.Network.dense(widths).init("gaussian", rng=0, scale=0.5)
            full = la.train(net, X, Y, lr=1e-3, steps=60, reduce="none")
            followed = la.train(net, X, Y, lr=1e-3, steps=60, plan=full.plan)
            np.testing.assert_array_equal(followed.loss, full.loss)
            assert followed.plan.pivot == full.plan.pivot
            assert_same_bits(full, la.resume(la.train(net, X, Y, lr=1e-3, steps=20, reduce="none"), X, Y, steps=40))


def test_functions_that_a_file_does_not_hold_are_named(tmp_path):
    net, X, Y = la.Network.dense([3, 2]).init("xavier", rng=0), np.eye(3), np.eye(3)[:, :2]
    run = la.train(net, X, Y, lr=0.1, steps=4, record={"alignment": 2, "own": (2, lambda network: 1.0)})
    kept = la.load(run.save(tmp_path / "run.npz"))
    with pytest.raises(
        ValueError, match=r"^record of the run is of a kind that its file does not hold \('own' of yours\); pass record= again$"
    ):
        la.resume(kept, X, Y, steps=2)
    assert "own" in la.resume(kept, X, Y, steps=2, record={"own": (2, lambda network: 1.0)}).history
