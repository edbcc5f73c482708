"""Sweeps: every row is what `train` gives, wherever it runs; failures stay in their rows; a killed sweep goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import linalign as la
from linalign.engine.threads import limit
from linalign.plan import budget
from linalign.record import Sum
from linalign.reduce.stream import compress
from linalign.sweeps.journal import line
from linalign.sweeps.sweep import sweep
from tests.oracles.draws import gaussian

X, Y = gaussian(0, 12, 5), gaussian(1, 12, 3)
LABELS = np.random.default_rng(2).integers(3, size=12)


def network(rng, scale=1.0, width=4):
    return la.Network.dense([5, width, 3]).init("gaussian", rng=rng, scale=scale)


def sometimes(rng):
    if rng == 2:
        raise np.linalg.LinAlgError("no convergence")
    return network(rng, scale=1e3 if rng == 1 else 1.0)


GRID = {"rng": range(3), "lr": [1e-3, 2e-3], "momentum": [0.0, 0.9]}


def same(a, b):
    """Rows are equal but for the clock."""
    strip = [[{k: v for k, v in row.items() if k != "seconds"} for row in sweep_.rows] for sweep_ in (a, b)]
    np.testing.assert_equal(strip[0], strip[1])


@pytest.mark.parametrize("threads", [1, 2, 5, None])
@pytest.mark.parametrize(("loss", "targets"), [("squared", Y), ("mse", Y), ("cross_entropy", LABELS)])
def test_rows_are_single_runs_to_the_bit(threads, loss, targets):
    record = {"alignment": 10, "singular_values": [0, 7]}
    found = sweep(network, X, targets, grid=GRID, threads=threads, keep_runs=True, loss=loss, steps=50, record=record)
    assert len(found) == 12
    assert not found.interrupted
    for row, run in zip(found.rows, found.runs, strict=True):
        wanted = la.train(network(row["rng"]), X, targets, loss=loss, lr=row["lr"], momentum=row["momentum"], steps=50, record=record)
        assert row["loss"] == wanted.loss[-1]
        assert row["excess"] == wanted.excess[-1]
        assert (row["floor"], row["steps"], row["converged"], row["error"]) == (wanted.floor, 50, False, None)
        assert np.array_equal(run.loss, wanted.loss)
        assert np.array_equal(run.network.matrix(), wanted.network.matrix())
        assert str(run.plan) == str(wanted.plan)
        for name, history in run.history.items():
            assert np.array_equal(history.values, wanted.history[name].values)
    assert found.loss.shape == found.shape == (3, 2, 2)
    assert np.array_equal(found.loss.ravel(), found["loss"])
    assert found.loss[2, 0, 1] == next(r["loss"] for r in found.rows if (r["rng"], r["lr"], r["momentum"]) == (2, 1e-3, 0.9))


def test_short_runs_look_for_no_smaller_subspaces_and_long_ones_do(monkeypatch):
    wide = {"rng": [0, 1], "width": [30]}
    short = sweep(network, X, Y, grid=wide, keep_runs=True, lr=1e-2, steps=200, reduce="auto")
    monkeypatch.setattr(budget, "SEARCH_CALL", 0.0)
    monkeypatch.setattr(budget, "SEARCH_SHARE", 1.0)
    long = sweep(network, X, Y, grid=wide, keep_runs=True, lr=1e-2, steps=200, reduce="auto")
    for before, after in zip(short.runs, long.runs, strict=True):
        assert before.plan.widths_after[1] == 30
        assert after.plan.widths_after[1] < 30
        np.testing.assert_allclose(before.loss, after.loss, rtol=1e-12)


@pytest.mark.parametrize("kind", ["threads", "processes"])
@pytest.mark.parametrize(("loss", "targets"), [("mse", Y), ("cross_entropy", LABELS)])
def test_executors_give_the_same(kind, loss, targets):
    options = {"grid": GRID, "loss": loss, "steps": 30, "record": {"balancedness": 10}}
    wanted = sweep(network, X, targets, threads=1, **options)
    pool = ThreadPoolExecutor(2) if kind == "threads" else ProcessPoolExecutor(2, mp_context=get_context("spawn"))
    with pool as executor:
        found = sweep(network, X, targets, executor=executor, **options)
    same(found, wanted)
    assert np.array_equal(found.histories["balancedness"].values, wanted.histories["balancedness"].values)


def test_data_are_reduced_once(monkeypatch):
    from linalign.reduce import inputs, samples

    calls = []
    for module, name in ((samples, "_reduce"), (inputs, "_rotate")):
        plain = getattr(module, name)
        monkeypatch.setattr(module, name, lambda problem, plain=plain, name=name: calls.append(name) or plain(problem))
    sweep(network, X, Y, grid={"rng": range(5), "width": [2, 6], "loss": ["squared", "mse"]}, lr=1e-2, steps=5, threads=1)
    assert sorted(calls) == ["_reduce", "_reduce", "_rotate", "_rotate"]


def test_compressed_data():
    full = sweep(network, X, Y, grid={"rng": range(3)}, loss="mse", lr=1e-2, steps=50)
    small = sweep(network, compress([(X[:5], Y[:5]), (X[5:], Y[5:])]), grid={"rng": range(3)}, loss="mse", lr=1e-2, steps=50)
    assert np.allclose(small.loss, full.loss, rtol=1e-12, atol=0)
    assert full.rows[0]["floor"] > 0
    assert small.rows[0]["floor"] == pytest.approx(full.rows[0]["floor"], rel=1e-12)


def test_failures_stay_in_their_rows():
    found = sweep(sometimes, X, Y, grid={"rng": range(4)}, lr=5e-3, steps=100, record={"loss": 20}, threads=2, keep_runs=True)
    alone = sweep(network, X, Y, grid={"rng": [0, 3]}, lr=5e-3, steps=100)
    assert [row["error"] is None for row in found.rows] == [True, False, False, True]
    assert found["error"][1].startswith("DivergenceError: training diverged")
    assert found["error"][2] == "LinAlgError: no convergence"
    assert np.array_equal(found.loss[[0, 3]], alone.loss)
    assert np.isnan(found.loss[2])
    assert found.status.tolist() == [row["status"] for row in found.rows] == ["done", "diverged", "failed", "done"]
    # the last finite values, as of the run by itself
    assert found.rows[1]["loss"] == found.runs[1].loss[-1] == found.loss[1]
    assert np.isfinite(found.loss[1])
    assert 0 < found.rows[1]["steps"] < 100
    assert found.errors == found.rows[1:3]
    assert found.runs[1].steps == found.rows[1]["steps"]
    assert found.runs[2] is None
    history = found.histories["loss"]
    assert history.values.shape == (4, 6)
    assert np.isnan(history.values[2]).all()
    assert (history.steps[2] == -1).all()
    assert history.steps[0].tolist() == [0, 20, 40, 60, 80, 100]
    assert repr(found) == "Sweep(4 runs, 1 diverged, 1 failed: rng (4))"


def test_histories_of_other_shapes_and_lengths():
    found = sweep(network, X, Y, grid={"rng": [0], "width": [2, 4]}, lr=1e-2, steps=20, record={"params": 10, "loss": 5})
    params = found.histories["params"].values
    assert params.dtype == object
    assert [values.shape for values in params] == [(3, 16), (3, 32)]
    assert found.histories["loss"].values.shape == (2, 5)
    loss = sweep(network, X, Y, grid={"rng": [0], "steps": [3, 9]}, lr=1e-2, record={"loss": 3}).histories["loss"]
    assert loss.steps.tolist() == [[0, 3, -1, -1], [0, 3, 6, 9]]
    assert np.isnan(loss.values[0, 2:]).all()


def test_the_table():
    found = sweep(network, X, Y, grid={"rng": np.arange(2), "loss": ["squared", "mse"], "steps": [1, 2]}, lr=[1e-2, 1e-3])
    assert list(found.rows[0]) == [
        "rng",
        "grid_loss",
        "grid_steps",
        "steps",
        "converged",
        "loss",
        "excess",
        "floor",
        "seconds",
        "error",
        "status",
    ]
    assert [row["grid_loss"] for row in found.rows[:4]] == ["squared", "squared", "mse", "mse"]
    assert found["steps"].tolist() == [1, 2] * 4
    assert all(type(row["rng"]) is int for row in found.rows)
    with pytest.raises(KeyError, match="'nothing' is no column"):
        found["nothing"]
    frame = pytest.importorskip("pandas")
    table = found.to_pandas()
    assert isinstance(table, frame.DataFrame)
    assert table["loss"].tolist() == found["loss"].tolist()


def test_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_pandas needs pandas; install it with"):
        sweep(network, X, Y, grid={"rng": [0]}, lr=1e-2, steps=1).to_pandas()


def test_converged_runs_and_progress(capsys):
    found = sweep(network, X, Y, grid={"rng": range(2)}, lr=1e-2, steps=5, tol=1e9, progress=True)
    assert found["converged"].all()
    assert found["steps"].tolist() == [0, 0]
    assert "2/2" in capsys.readouterr().err.replace(".00", "")


# ------------------------------------------------------------------ resume
def test_resume_runs_what_is_missing(tmp_path):
    path = tmp_path / "sweep.jsonl"
    options = {"lr": 5e-3, "steps": 40, "record": {"alignment": 10}}
    whole = sweep(sometimes, X, Y, grid={"rng": range(4)}, path=path, threads=1, **options)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    made = []

    def counted(rng):
        made.append(rng)
        return sometimes(rng)

    # every place where a kill may have cut the file: in the header, between lines, within a line
    for cut in (len(lines[0]) // 2, sum(map(len, lines[:1])), sum(map(len, lines[:3])), sum(map(len, lines[:3])) + 9):
        path.write_bytes(b"".join(lines)[:cut])
        kept = [json.loads(line)["index"] for line in path.read_bytes().splitlines(keepends=True)[1:] if line.endswith(b"\n")]
        made.clear()
        again = sweep(counted, X, Y, grid={"rng": range(4)}, path=path, threads=1, **options)
        # the first network is made once more, to check the data
        assert sorted(made) == sorted([0, *(set(range(4)) - set(kept))])
        same(again, whole)
        np.testing.assert_equal(again.histories["alignment"].values, whole.histories["alignment"].values)
        assert len(path.read_bytes().splitlines()) == 5
    made.clear()
    same(sweep(counted, X, Y, grid={"rng": range(4)}, path=path, **options), whole)
    assert made == [0]


KILLED = """
import os, signal, time, numpy as np, linalign as la
from linalign.sweeps.sweep import sweep
from linalign.engine.threads import limit
def network(rng):
    if rng < 6:
        time.sleep(0.005)
    if rng == 6:
        # a thread hands on what it has every few milliseconds: let some arrive
        end = time.monotonic() + 30
        while open("kept", "rb").read().count(b"\\n") < 2 and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return la.Network.dense([5, 4, 3]).init("gaussian", rng=rng, scale=1.0)
X, Y = np.random.default_rng(0).standard_normal((12, 5)), np.random.default_rng(1).standard_normal((12, 3))
sweep(network, X, Y, grid={"rng": range(9)}, lr=1e-2, steps=20, threads=1, path="kept")
"""


def test_resume_after_a_kill(tmp_path):
    source = str(Path(la.__file__).parents[1])
    ended = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, env={**os.environ, "PYTHONPATH": source}, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    before = (tmp_path / "kept").read_bytes()
    assert before.count(b"\n") >= 2
    found = sweep(network_of_seed, X, Y, grid={"rng": range(9)}, lr=1e-2, steps=20, path=tmp_path / "kept")
    assert (tmp_path / "kept").read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    same(found, sweep(network_of_seed, X, Y, grid={"rng": range(9)}, lr=1e-2, steps=20))


def network_of_seed(rng):
    return network(rng)


def test_an_option_that_the_file_does_not_know_had_its_default(tmp_path):
    # a file of a version before there were optimisers and batches
    path = tmp_path / "sweep.jsonl"
    options = {"grid": {"rng": [0, 1], "lr": [0.1]}, "steps": 3, "path": path}
    want = sweep(network, X, Y, **options)
    first, *rest = path.read_text().splitlines(keepends=True)
    header = json.loads(first)
    for name in ("optimizer", "batch", "order"):
        del header["options"][name]
    del header["check"]
    path.write_text("".join([line(header).decode(), *rest]))
    same(sweep(network, X, Y, **options), want)
    with pytest.raises(ValueError, match="another optimizer"):
        sweep(network, X, Y, **options, optimizer="adam")


def test_another_sweep_in_the_file(tmp_path):
    path = tmp_path / "sweep.jsonl"
    options = {"grid": {"rng": [0, 1], "lr": [0.1]}, "steps": 3, "path": path}
    sweep(network, X, Y, **options)
    kept = path.read_bytes()
    for change, text in [
        ({"grid": {"rng": [0, 2], "lr": [0.1]}}, r"another grid\['rng'\]"),
        ({"grid": {"lr": [0.1], "rng": [0, 1]}}, "another order of the grid"),
        ({"grid": {"rng": [0, 1], "lr": [0.1], "momentum": [0.0]}}, r"another grid\['momentum'\]"),
        ({"steps": 4}, "another steps"),
        ({"loss": la.losses.Squared(half=False)}, "another loss"),
    ]:
        with pytest.raises(ValueError, match=text):
            sweep(network, X, Y, **options | change)
    with pytest.raises(ValueError, match="another X or Y"):
        sweep(network, X + 1e-9, Y, **options)
    assert path.read_bytes() == kept
    path.write_bytes(kept.replace(b'"steps": 3, "conv', b'"steps": x, "conv', 1))
    with pytest.raises(ValueError, match=r"line 2 of .* is damaged"):
        sweep(network, X, Y, **options)
    for other in (b"my notes", b"my notes\n", b"{}\n", b"[1]\n"):
        path.write_bytes(other)
        with pytest.raises(ValueError, match="holds no sweep"):
            sweep(network, X, Y, **options)
        assert path.read_bytes() == other
    with pytest.raises(TypeError, match=r"grid\['loss'\]\[0\]\.half is object, which no file can hold"):
        sweep(network, X, Y, grid={"rng": [0], "loss": [Strange()]}, lr=0.1, steps=1, path=tmp_path / "new")


class Strange(la.losses.Squared):
    """A loss with a field that cannot be written down."""

    def __init__(self):
        super().__init__()
        object.__setattr__(self, "reduction", "sum")
        object.__setattr__(self, "half", object())


# ------------------------------------------------------------------ Ctrl-C
@pytest.mark.parametrize("pool", [False, True])
def test_ctrl_c_returns_what_is_done(tmp_path, pool):
    assert threading.current_thread() is threading.main_thread()

    def pressed(rng):
        if rng == 500:  # many are made ahead of those that run
            signal.raise_signal(signal.SIGINT)
        return network(rng)

    options = {"grid": {"rng": range(1000)}, "lr": 1e-2, "steps": 20_000, "path": tmp_path / "kept"}
    previous = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if pool:
            with ThreadPoolExecutor(1) as executor:
                found = sweep(pressed, X, Y, executor=executor, **options)
        else:
            found = sweep(pressed, X, Y, threads=1, **options)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert found.interrupted
    assert 0 < len(found) < 1000
    assert np.isnan(found.loss).sum() == 1000 - len(found)
    assert (found.status == np.where(np.arange(1000) < len(found), "done", "interrupted")).all()
    assert np.array_equal(found["rng"], np.arange(len(found)))
    assert (found["steps"] == 20_000).all()
    assert (tmp_path / "kept").read_bytes().count(b"\n") == 1 + len(found)


def test_blas_threads_are_put_back():
    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    with limit(2):
        before = threads()
        seen = []
        sweep(lambda rng: seen.append(threads()) or network(rng), X, Y, grid={"rng": range(3)}, lr=1e-2, steps=1, threads=2)
        with limit(1), limit(1):
            assert set(threads()) == {1}
        assert threads() == before
    # the first network is made before the limit, to check the data
    assert all(set(inside) == {1} for inside in seen[1:])


# ------------------------------------------------------------------ bad input
@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"grid": [1]}, TypeError, "grid is list; a dict of lists was wanted"),
        ({"grid": {}}, ValueError, "grid is empty"),
        ({"grid": {"rng": 3}}, TypeError, r"grid\['rng'\] is 3; a list of values was wanted: \[3\]"),
        ({"grid": {"rng": [0], "loss": "mse"}}, TypeError, r"grid\['loss'\] is 'mse'"),
        ({"grid": {"rng": []}}, ValueError, r"grid\['rng'\] is empty"),
        ({"grid": {"rng": [np.random.default_rng(0)]}}, TypeError, r"grid\['rng'\]\[0\] is a Generator, whose state"),
        (
            {"grid": {"rng": [0], "depth": [2]}},
            ValueError,
            "grid has the key 'depth', no parameter of make_network; train has no option 'depth'; its options are",
        ),
        ({"grid": {"lr": [0.1]}}, ValueError, "make_network needs rng but grid has only lr"),
        ({"grid": {"rng": [0], "lr": [0.1]}}, ValueError, "lr is both in the grid and an option"),
        ({"grid": {"rng": [0], "momentum": [0.5, 1.5]}}, ValueError, "momentum is 1.5; it must be less than 1"),
        ({"grid": {"rng": [0], "loss": ["squared", "square"]}}, ValueError, "loss is 'square'; one of"),
        ({"lr": -1}, ValueError, "lr is -1.0"),
        ({"speed": 3}, TypeError, "train has no option 'speed'; its options are loss, lr"),
        ({"steps": 1.5}, TypeError, "steps is 1.5"),
        ({"record": {"mood": 3}}, ValueError, "record is 'mood'"),
        ({"reduce": "all"}, ValueError, "reduce is 'all'"),
        ({"threads": 0}, ValueError, "threads is 0"),
        ({"executor": 3}, TypeError, "executor is int"),
        ({"executor": ThreadPoolExecutor(1), "threads": 2}, ValueError, "threads is 2 but an executor was given"),
        ({"make_network": 3}, TypeError, "make_network is int"),
        ({"make_network": lambda rng: np.eye(3)}, TypeError, "make_network returned ndarray"),
        ({"X": X[:, :4]}, ValueError, "X has shape"),
        ({"Y": None}, ValueError, "Y is None"),
    ],
)
def test_bad_input(changes, error, text):
    given = {"make_network": network, "X": X, "Y": Y, "grid": {"rng": [0]}, "lr": 0.1, "steps": 1} | changes
    with pytest.raises(error, match=text):
        sweep(given.pop("make_network"), given.pop("X"), given.pop("Y"), **given)


def test_missing_options():
    with pytest.raises(ValueError, match="lr is missing; pass lr= or put it in the grid"):
        sweep(network, X, Y, grid={"rng": [0]}, steps=1)


def test_what_does_not_pickle_is_named():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.raises(TypeError, match=r"make_network does not pickle .*; processes need functions from the top level"):
            sweep(lambda rng: network(rng), X, Y, grid={"rng": [0]}, lr=0.1, steps=1, executor=pool)
        with pytest.raises(TypeError, match="record does not pickle"):
            sweep(network, X, Y, grid={"rng": [0]}, lr=0.1, steps=1, executor=pool, record={(lambda net: 1.0): 1})


def small(net):
    return float(np.abs(net.params[0]).max())


def low(state):
    return state.loss < 1.0


def test_what_is_watched_stands_in_the_journal(tmp_path):
    options = {"lr": 1e-2, "steps": 30, "validation": (X[:4], Y[:4]), "stop": low}
    options["record"] = {Sum(small, 2): 5, "validation_loss": 10}
    grid = {"rng": range(3), "width": [2, 3]}
    path = tmp_path / "kept"
    first = sweep(network, X, Y, grid=grid, **options, path=path)
    before = path.read_bytes()
    again = sweep(network, X, Y, grid=grid, **options, path=path)
    assert path.read_bytes() == before
    for name in ("sum of small", "validation_loss"):
        np.testing.assert_array_equal(again.histories[name].values, first.histories[name].values)
    for other, what in ((Sum(small, 3), "record"), (None, "validation")):
        changed = {**options, **({"record": {other: 5, "validation_loss": 10}} if other else {"validation": (X[:5], Y[:5])})}
        with pytest.raises(ValueError, match=f"holds a sweep with another {what}; pass another path"):
            sweep(network, X, Y, grid=grid, **changed, path=path)
        assert path.read_bytes() == before
