"""Sweeps whose networks run side by side: as those that run one at a time up to rounding, and the same bits however they are shared out."""

from __future__ import annotations

import pickle
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from multiprocessing import get_context

import numpy as np
import pytest

import linalign as la
from linalign import losses
from linalign.engine.whole import Whole
from linalign.plan import lanes, machine
from linalign.problem.problem import make_problem
from linalign.record.stacked import OF_BIASES, STACKED
from linalign.reduce import samples
from linalign.sweeps.sweep import sweep
from tests.oracles.checks import use_isa
from tests.oracles.draws import gaussian

X, Y = gaussian(0, 12, 5) / 4, gaussian(1, 12, 3) / 4
SIGNS = np.sign(Y)
LABELS = np.argmax(Y, axis=1)

pytestmark = pytest.mark.skipif(machine.ISA not in lanes.LONGEST, reason="no vectors that are worth it")


def network(rng, scale=1.0, width=4, dtype=np.float64):
    return la.Network.dense([5, width, 3]).init("gaussian", rng=rng, scale=scale, dtype=dtype)


def compare(found, alone, bound):
    """Rows, runs and histories of both: statuses and steps the same, numbers within `bound` of their size."""
    assert found.lanes.width > 1
    assert alone.lanes.width == 1
    for row, other, run, wanted in zip(found.rows, alone.rows, found.runs, alone.runs, strict=True):
        for name in ("status", "steps", "converged"):
            assert row[name] == other[name]
        assert (row["error"] is None) == (other["error"] is None)
        for name in ("loss", "excess", "floor"):
            assert row[name] == pytest.approx(other[name], rel=bound, abs=bound)
        assert len(run.loss) == len(wanted.loss) == row["steps"] + 1
        np.testing.assert_allclose(run.loss, wanted.loss, rtol=bound, atol=bound)
        assert row["excess"] == run.excess[-1]
        for W, V in zip(run.network.params, wanted.network.params, strict=True):
            assert W.dtype == V.dtype
            np.testing.assert_allclose(W, V, rtol=bound, atol=bound)
        np.testing.assert_array_equal(run.lr, wanted.lr)
        assert run.history.keys() == wanted.history.keys()
        for name, history in run.history.items():
            np.testing.assert_array_equal(history.steps, wanted.history[name].steps)
            # scores of matrices whose entries differ by `bound`: quotients of products of four of them, by norms above 1/10
            np.testing.assert_allclose(history.values, wanted.history[name].values, rtol=1e3 * bound, atol=1e3 * bound)


def bound_of(dtype, magnified=1):
    """Of 60 steps of rates of at most 0.05.

    Weights and activations are below 3, a gradient has fewer than 40 roundings, which Adam divides by its eps, and a step rounds once
    more; with data and weights of norms of about one errors grow by less than 30 on the way.
    """
    return float(60 * 3 * (1 + 0.05 * 40 * magnified) * 30 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("targets", "options"),
    [
        (Y, {"loss": "squared"}),
        (Y, {"loss": "mse", "momentum": 0.5, "weight_decay": 0.1}),
        (Y, {"loss": "squared", "weight_decay": [0.1, 0.0], "reduce": "none"}),
        (SIGNS, {"loss": "logistic", "momentum": 0.5}),
        (Y, {"optimizer": la.optim.Adam(eps=0.1)}),
        (Y, {"optimizer": la.optim.SGD(0.5, nesterov=True)}),
        (SIGNS, {"loss": "logistic", "optimizer": la.optim.AdamW(eps=0.1)}),
        (Y, {"optimizer": la.optim.RMSprop(eps=0.1, momentum=0.5, centered=True)}),
        (Y, {"optimizer": la.optim.Adagrad(eps=0.1, lr_decay=0.1)}),
        (LABELS, {"loss": "cross_entropy", "momentum": 0.5, "weight_decay": 0.1}),
    ],
    ids=["squared", "decay", "as given", "logistic", "adam", "nesterov", "adamw", "rmsprop", "adagrad", "cross-entropy"],
)
def test_runs_are_those_that_are_made_one_at_a_time(dtype, targets, options):
    given = {"grid": {"rng": range(37), "lr": [0.01, 0.05], "dtype": [dtype]}, "steps": 60, "keep_runs": True, **options}
    data = X.astype(dtype), targets if targets is LABELS else targets.astype(dtype)
    compare(sweep(network, *data, **given), sweep(network, *data, lanes=False, **given), bound_of(dtype, 10))


@pytest.mark.parametrize("options", [{"weight_decay": 0.1, "momentum": 0.5}, {"optimizer": la.optim.Sign(0.5)}], ids=["sgd", "sign"])
def test_rates_that_change_from_step_to_step(options):
    schedules = [la.optim.schedules.Cosine(0.05, 60), lambda t: [0.05, 0.0] if t % 2 else 0.01, np.linspace(0.05, 0.01, 60)[:, None]]
    wide = np.hstack([X, X[:, :2]])  # of rank 5: what lies outside decays

    def net(rng):
        return la.Network.dense([7, 4, 3]).init("gaussian", rng=rng)

    given = {"grid": {"rng": range(11), "lr": schedules, "steps": [20, 60]}, "keep_runs": True, **options}
    found = sweep(net, wide, Y, **given)
    compare(found, sweep(net, wide, Y, lanes=False, **given), bound_of(np.float64))
    assert len({tuple(run.lr) for run in found.runs}) == 5  # the second schedule is the same after 20 as after 60


def seeded(seed):
    return network(seed)


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        (Y, {"loss": "mse", "batch": 4, "momentum": 0.5}),
        (Y, {"loss": "mse", "batch": 5, "weight_decay": 0.1, "record": {"loss": 7, "alignment": 20}}),
        (LABELS, {"loss": "cross_entropy", "batch": 5, "optimizer": la.optim.Adam(eps=0.1), "record": {"loss": 7}}),
        (SIGNS, {"loss": "logistic", "batch": 3, "order": "replacement", "lr": la.optim.schedules.Cosine(0.05, 60)}),
        (Y, {"loss": "mse", "order": np.arange(180).reshape(60, 3) % 11}),
        (Y, {"loss": "mse", "batch": [2, 5, 12] * 20, "tol": 0.05}),
    ],
    ids=["whole epochs", "ragged", "cross-entropy", "replacement", "given", "sizes"],
)
@pytest.mark.parametrize("drawn", [[3], [3, 5, 8]], ids=["the same rows", "rows of each"])
def test_batches(targets, options, drawn):
    by = {"rng": drawn} if "order" not in options or isinstance(options["order"], str) else {}
    given = {"grid": {"seed": range(19), **by}, "steps": 60, "lr": 0.05, "keep_runs": True, **options}
    found = sweep(seeded, X, targets, **given)
    assert "batches of" in str(found.lanes)
    compare(found, sweep(seeded, X, targets, lanes=False, **given), bound_of(np.float64, 10))
    if "record" not in options:
        onward, whole = la.resume(found.runs[1], X, targets, steps=0), found.runs[1]
        np.testing.assert_array_equal(onward.network.params[0], whole.network.params[0])


def test_batches_go_on_and_diverge():
    given = {"grid": {"seed": range(9), "rng": [1, 2]}, "loss": "mse", "batch": 5, "keep_runs": True}
    found = sweep(seeded, X, Y, lr=0.05, steps=20, **given)
    assert found.lanes.width > 1
    onward = la.resume(found.runs[3], X, Y, steps=20)
    whole = la.train(seeded(1), X, Y, lr=0.05, steps=40, loss="mse", batch=5, rng=2)
    np.testing.assert_allclose(onward.loss, whole.loss, rtol=0, atol=bound_of(np.float64, 10))
    gone, alone = (sweep(seeded, X, 4 * Y, lr=40.0, steps=400, lanes=lanes, **given) for lanes in (None, False))
    assert set(gone["status"].tolist()) == {"diverged"}
    # how long it takes depends on the digits; a network that was left is that of its step
    assert (np.abs(gone["steps"] - alone["steps"]) <= 2).all()
    assert all(np.isfinite(run.network.matrix()).all() for run in gone.runs)
    # nor do the bits depend on who is beside
    same(sweep(seeded, X, Y, lr=0.05, steps=20, threads=2, **given), sweep(seeded, X, Y, lr=0.05, steps=20, threads=1, **given))


def test_rates_that_end_or_diverge():
    def ending(t):
        if t == 30:
            raise RuntimeError("no more")
        return 0.05

    given = {"grid": {"rng": range(16), "lr": [ending, lambda t: 0.05 if t < 20 else 40.0]}, "steps": 40, "loss": "mse", "keep_runs": True}
    found, alone = sweep(network, X, Y, **given), sweep(network, X, Y, lanes=False, **given)
    assert found.lanes.width > 1
    assert set(found["status"].tolist()) == {"failed", "diverged"}
    for row, other in zip(found.rows, alone.rows, strict=True):
        assert row["error"] == other["error"] or row["status"] == "diverged"
    gone = found.rows[1]
    assert "with lr=40; " in gone["error"]


def test_rates_that_are_found_from_each_network():
    given = {
        "grid": {"rng": range(10), "scale": [1.0, 8.0], "momentum": [0.0, 0.5]},
        "lr": "auto",
        "loss": "mse",
        "steps": 30,
        "keep_runs": True,
    }
    found = sweep(network, X, Y, **given)
    compare(found, sweep(network, X, Y, lanes=False, **given), bound_of(np.float64, 10))
    assert len({float(run.lr[0]) for run in found.runs}) > 10
    assert la.resume(found.runs[0], X, Y, steps=5).steps == 35


def test_everything_that_is_recorded():
    record = {**dict.fromkeys(STACKED, 7), "loss": (3, 50), "modes": "log"}
    given = {"grid": {"rng": range(20), "lr": [0.05]}, "steps": 60, "keep_runs": True, "record": record, "weight_decay": 0.01}
    wide = np.hstack([X, X[:, :2]])  # of rank 5: what lies outside decays

    def net(rng):
        return la.Network.dense([7, 4, 3]).init("gaussian", rng=rng)

    found = sweep(net, wide, Y, **given)
    compare(found, sweep(net, wide, Y, lanes=False, **given), bound_of(np.float64))
    assert found.histories["modes"].values.shape == (20, len(found.runs[0].history["modes"]), 3)
    assert found.histories["loss"].steps[0].tolist() == [3, 50, 60]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("targets", "options"),
    [
        (Y, {"loss": "squared", "record": {**dict.fromkeys(set(STACKED) - set(OF_BIASES), 7), "modes": "log"}, "weight_decay": 0.01}),
        (Y, {"loss": "mse", "momentum": 0.5, "weight_decay": [0.1, 0.0, 0.1], "reduce": "none"}),
        (SIGNS, {"loss": "logistic", "optimizer": la.optim.Adam(eps=0.1)}),
        (Y, {"optimizer": la.optim.RMSprop(eps=0.1, momentum=0.5, centered=True)}),
        (LABELS, {"loss": "cross_entropy", "momentum": 0.5, "batch": 5}),
        (Y, {"loss": "mse", "batch": 4, "optimizer": la.optim.SGD(0.5, nesterov=True)}),
        (Y, {"loss": "squared", "tol": 0.3, "momentum": 0.5}),
    ],
    ids=["squared", "decay", "logistic", "rmsprop", "batches", "nesterov", "ending"],
)
def test_biases(dtype, targets, options):
    wide = np.hstack([X, X[:, :2]])  # of rank 5: the first layer is turned beside its bias

    def net(seed):
        return la.Network([la.Dense(a, b, bias=True) for a, b in ((7, 4), (4, 6), (6, 3))]).init(
            "gaussian", scale=0.5, rng=seed, dtype=dtype, bias="torch"
        )

    given = {"grid": {"seed": range(5), "lr": [0.01, 0.05]}, "rng": 3, "steps": 60, "keep_runs": True, **options}
    data = wide.astype(dtype), targets if targets is LABELS else targets.astype(dtype)
    found = sweep(net, *data, lanes=True, **given)
    assert "with biases" in str(found.lanes)
    compare(found, sweep(net, *data, lanes=False, **given), bound_of(dtype, 10))
    if "record" not in options:
        onward = la.resume(found.runs[1], *data, steps=0)
        for theta, wanted in zip(onward.network.params, found.runs[1].network.params, strict=True):
            np.testing.assert_array_equal(theta, wanted)


def test_networks_with_biases_do_not_share_vectors_with_those_without():
    def net(rng, bias, depth):
        widths = [5, *[4] * (depth - 1), 3]
        layers = [la.Dense(*sizes, bias=bias) for sizes in pairwise(widths)]
        return la.Network(layers).init("gaussian", rng=rng, bias="torch" if bias else "zero")

    given = {"grid": {"rng": range(5), "bias": [False, True], "depth": [2, 1]}, "steps": 60, "lr": 0.05, "keep_runs": True}
    found = sweep(net, X, Y, lanes=True, **given)
    assert found.lanes.apart == ("bias", "depth")
    compare(found, sweep(net, X, Y, lanes=False, **given), bound_of(np.float64))
    same(sweep(net, X, Y, lanes=True, threads=2, **given), sweep(net, X, Y, lanes=True, threads=1, **given))


def test_scores_of_matrices_without_numbers_in_them():
    # zero products are aligned and of rank zero, here as anywhere
    found = sweep(lambda rng: la.Network.dense([5, 4, 3]).init("zero"), X, Y, grid={"rng": range(16)}, lr=0.1, steps=3,
                  record=dict.fromkeys(STACKED, 1))  # fmt: skip
    assert found.lanes.width > 1
    assert (found.histories["alignment"].values == 1).all()
    assert (found.histories["misalignment"].values == 0).all()
    assert (found.histories["effective_rank"].values == 0).all()


def test_ends_of_all_kinds():
    grid = {"rng": range(20), "lr": [0.05, 0.2, 5.0, 40.0]}
    given = {"grid": grid, "steps": 300, "tol": 0.5, "loss": "mse", "record": {"alignment": 10}, "keep_runs": True}
    found, alone = sweep(network, X, 4 * Y, **given), sweep(network, X, 4 * Y, lanes=False, **given)
    assert set(found["status"].tolist()) == {"done", "converged", "diverged"}
    for row, run, other in zip(found.rows, found.runs, alone.rows, strict=True):
        assert row["loss"] == run.loss[-1]
        assert run.steps == row["steps"]
        assert np.isfinite(run.network.matrix()).all()
        if row["status"] == "converged":
            assert row["loss"] <= 0.5 < min(run.loss[:-1], default=1.0)
        elif row["status"] == "diverged":
            assert row["error"].startswith("DivergenceError: training diverged: the loss was ")
            assert f"before step {row['steps']} and not finite after it, with lr={row['lr']:g}" in row["error"]
            # the network of that step: its loss is the last one
            assert la.value_and_grad(run.network, X, 4 * Y, loss="mse")[0] == pytest.approx(row["loss"], rel=1e-9)
            assert (run.history["alignment"].steps <= row["steps"]).all()
        if row["lr"] == 0.05:
            assert (row["status"], row["steps"]) == (other["status"], other["steps"])


def failing(rng, scale=1.0):
    if rng % 7 == 3:
        raise np.linalg.LinAlgError("no convergence")
    return network(rng, 1e200 if rng % 7 == 5 else scale, width=3 if rng % 2 else 4)


def same(a, b):
    """Rows and histories are equal but for the clock."""
    strip = [[{k: v for k, v in row.items() if k != "seconds"} for row in sweep_.rows] for sweep_ in (a, b)]
    np.testing.assert_equal(strip[0], strip[1])
    assert a.histories.keys() == b.histories.keys()
    for name, history in a.histories.items():
        assert np.array_equal(history.steps, b.histories[name].steps)
        assert all(np.array_equal(x, y, equal_nan=True) for x, y in zip(history.values, b.histories[name].values, strict=True))


GRID = {"rng": range(23), "lr": [0.05, 0.2, 40.0], "momentum": [0.0, 0.5], "steps": [5, 40]}


def test_the_same_bits_for_any_threads_executors_and_beginnings(tmp_path):
    given = {"grid": GRID, "loss": "mse", "record": {"balancedness": 10, "singular_values": 10}, "weight_decay": 0.01}
    wanted = sweep(failing, X, Y, threads=1, **given)
    assert wanted.lanes.width > 1
    assert {"done", "diverged", "failed"} <= set(wanted["status"].tolist())
    same(sweep(failing, X, Y, threads=2, **given), wanted)
    same(sweep(failing, X, Y, threads=4, **given), wanted)
    with ThreadPoolExecutor(3) as pool:
        same(sweep(failing, X, Y, executor=pool, **given), wanted)
    # a file that holds every third run
    path = tmp_path / "kept"
    sweep(failing, X, Y, threads=2, path=path, **given)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *lines[1::3]]))
    same(sweep(failing, X, Y, threads=2, path=path, **given), wanted)


def test_processes():
    given = {"grid": {"rng": range(20), "lr": [0.05, 40.0]}, "steps": 40, "keep_runs": True, "loss": "mse", "record": {"alignment": 10}}
    wanted = sweep(network, X, Y, threads=1, **given)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = sweep(network, X, Y, executor=pool, **given)
    # to processes go data that are compressed: their bits are others
    for row, other, run, mine in zip(found.rows, wanted.rows, found.runs, wanted.runs, strict=True):
        assert row["status"] == other["status"]
        if row["status"] == "done":
            assert row["loss"] == pytest.approx(other["loss"], rel=1e-9)
            np.testing.assert_allclose(run.network.matrix(), mine.network.matrix(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.5}, {"optimizer": la.optim.Adam(eps=0.1)}, {"weight_decay": 0.1},
                                     {"optimizer": la.optim.RMSprop(eps=0.1, momentum=0.5)}, {"lr": la.optim.schedules.Cosine(0.05, 60)}])  # fmt: skip
def test_a_run_goes_on(options):
    options = {"lr": 0.05, **options}
    found = sweep(network, X, Y, grid={"rng": range(16)}, steps=20, keep_runs=True, **options)
    for rng in (0, 15):
        run = found.runs[rng]
        assert run is found.runs[rng]
        whole = la.train(network(rng), X, Y, steps=60, **options)
        onward = la.resume(run, X, Y, steps=40)
        assert onward.steps == 60
        np.testing.assert_allclose(onward.loss, whole.loss, rtol=0, atol=bound_of(np.float64, 10))
        np.testing.assert_allclose(onward.network.matrix(), whole.network.matrix(), rtol=0, atol=bound_of(np.float64, 10))
        again = pickle.loads(pickle.dumps(run))
        np.testing.assert_array_equal(again.loss, run.loss)
        assert "side by side, one a lane of the vectors" in str(run.plan)


def test_ctrl_c_keeps_those_that_ended():
    def pressed(rng):
        if rng == 1000:  # many are made ahead of those that run
            signal.raise_signal(signal.SIGINT)
        return network(rng)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        found = sweep(pressed, X, Y, grid={"rng": range(2000)}, lr=0.01, steps=2000, threads=1)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert found.interrupted
    assert 0 < len(found) < 2000
    assert (found["status"] == "done").all()
    assert (found["steps"] == 2000).all()


def test_a_sweep_says_why():
    given = {"grid": {"rng": range(16)}, "lr": 0.01, "steps": 5}
    with use_isa(machine.available()):
        found = sweep(network, X, Y, **given)
        name = machine.ISA
    width = found.lanes.width
    assert width == {"avx512": 8, "avx2": 4}[name]
    assert str(found.lanes).startswith(f"{width} side by side: 5-4-3 on 5 rows, squared loss, diagonal data, from the inputs; all hold ")
    assert str(found.lanes).endswith(f" kB ({name})")
    said = {
        "asked for": {"lanes": False},
        "cyclic updates go from layer to layer": {"update": "cyclic"},
        "the reference is asked for": {"implementation": "reference"},
        "the loss is neither squared nor logistic nor cross-entropy": {"loss": "huber"},
        "the rule muon, ": {"optimizer": "muon"},
        "record has 'gradient_norm', which is found of one network at a time": {"record": {"gradient_norm": 1}},
        "record has 'mine', which is found": {"record": {"mine": (1, lambda net: 1.0)}},
        "3 networks do not fill 2 vectors of ": {"grid": {"rng": range(3)}},
        "a plan or a pivot is asked for": {"pivot": 1},
    }
    for why, change in said.items():
        alone = sweep(network, X, Y, **given | change)
        assert alone.lanes.width == 1
        assert str(alone.lanes).startswith(f"one at a time: {why}")
    toeplitz = sweep(lambda rng: la.Network([la.Toeplitz(5, 3)]).init("gaussian", rng=rng), X, Y, **given)
    assert str(toeplitz.lanes) == "one at a time: the first network is not of dense layers alone, all or none with biases"
    with pytest.raises(ValueError, match="lanes is True but cyclic updates go from layer to layer; leave it out"):
        sweep(network, X, Y, lanes=True, update="cyclic", **given)
    assert sweep(network, X, Y, lanes=True, **given | {"grid": {"rng": [1]}}).lanes.width == width


def test_tables_of_rates_and_rows_have_room(monkeypatch):
    monkeypatch.setattr("linalign.sweeps.lanes.MOST_RATES", 100)
    monkeypatch.setattr("linalign.sweeps.lanes.MOST_DRAWN", 100)
    given = {"grid": {"seed": range(16)}, "steps": 51}
    assert str(sweep(seeded, X, Y, lr=lambda t: 0.1, **given).lanes) == "one at a time: lr has more than 100 rates"
    assert str(sweep(seeded, X, Y, lr=0.1, batch=2, rng=0, **given).lanes) == "one at a time: batches have more than 100 rows in all"


def test_networks_of_many_shapes_share_vectors_with_their_like():
    grid = {"width": [2, 3, 4], "rng": range(16), "loss": ["squared", "mse"]}
    found = sweep(network, X, Y, grid=grid, lr=0.05, steps=30, keep_runs=True)
    assert found.lanes.apart == ("width", "loss")
    compare(found, sweep(network, X, Y, grid=grid, lr=0.05, steps=30, keep_runs=True, lanes=False), bound_of(np.float64))
    assert found["width"].tolist() == sorted(found["width"].tolist())


def test_starts_that_a_reduction_takes_apart_run_by_themselves():
    aligned = sweep(lambda rng: la.Network.dense([12] * 3).init("aligned", X=gaussian(2, 40, 12), Y=gaussian(3, 40, 12), rng=rng),
                    gaussian(2, 40, 12), gaussian(3, 40, 12), grid={"rng": range(16)}, lr=1e-3, steps=5, reduce=["samples", "inputs", "split"])  # fmt: skip
    assert aligned.lanes.width in (1, 4, 8)
    data = np.linalg.qr(gaussian(2, 40, 12))[0]
    parts = sweep(lambda rng: la.Network.dense([12] * 3).init("aligned", X=data, Y=data, rng=rng), data, data, grid={"rng": range(16)},
                  lr=1e-3, steps=5, reduce=["samples", "inputs", "split"])  # fmt: skip
    assert str(parts.lanes) == "one at a time: the first network falls apart into parts that are run by themselves"


def test_the_loss_of_all_rows_is_of_the_same_rows_for_all_threads(monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def slowly(problem):
        begun.set()
        go_on.wait(10)
        return reduce(problem)

    problem = make_problem(network(0), X, Y, losses.resolve("mse"))
    reduce, params = samples.reduce, [W[None] for W in problem.net.params]
    wanted = Whole(problem).values(params)
    shared = Whole(problem)
    monkeypatch.setattr(samples, "reduce", slowly)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(shared.values, params)
        assert begun.wait(10)
        monkeypatch.setattr(samples, "reduce", reduce)
        # in the middle of what the other one does
        second = shared.values(params)
        go_on.set()
        np.testing.assert_array_equal(first.result(), wanted)
    np.testing.assert_array_equal(second, wanted)
