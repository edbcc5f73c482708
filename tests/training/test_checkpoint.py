"""Checkpoints: killed at any moment, the same call ends with the same bits; what is not theirs they leave alone."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import linalign as la
from linalign import files
from tests.examples import times

from . import killed_child
from .test_resume import Decaying, assert_same_bits, problem

# where `tests` is found
ROOT = Path(__file__).parents[2]


def kept(**options):
    return {"lr": 1e-3, "momentum": 0.9, "steps": 400, "checkpoint_every": 0.0, **options}


@pytest.mark.exploring
def test_killed_at_random_moments_the_same_call_ends_with_the_same_bits(tmp_path):
    # about a second a kill, most of which is the start of Python
    rng = np.random.default_rng(0)
    child = [sys.executable, killed_child.__file__, str(tmp_path)]
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import linalign, tests.training.killed_child"], env=env, check=True, cwd=ROOT)
    start = time.perf_counter() - began
    killed = 0
    for _ in range(times(10, 50)):
        process = subprocess.Popen(child, env=env)
        time.sleep(start * rng.uniform(0.5, 1.0) + rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        # whole files only: whatever is there can be read
        for name in killed_child.CASES:
            if (tmp_path / name).exists():
                assert la.load(tmp_path / name).steps <= killed_child.STEPS
    assert killed
    subprocess.run(child, env=env, check=True)
    wanted, wanted_sweep = killed_child.all_of()
    found, sweep = killed_child.all_of(tmp_path)
    for name, run in found.items():
        assert_same_bits(wanted[name], run)
    np.testing.assert_array_equal(sweep.loss, wanted_sweep.loss)
    np.testing.assert_array_equal(sweep.histories["loss"].values, wanted_sweep.histories["loss"].values)
    # the runs of the sweep are in its journal; nothing else is left but what a kill left of a file that had no name yet
    named = sorted(name for name in os.listdir(tmp_path) if not name.endswith(".part"))
    assert named == sorted([*killed_child.CASES, "journal"])


class Crash(Exception):
    """What ends a run, as a kill does."""


@pytest.mark.parametrize(
    "options",
    [{}, {"batch": 4, "rng": np.random.default_rng(2)}, {"optimizer": Decaying(), "momentum": 0.0}, {"lr": lambda t: 1e-3 / (1 + t)},
     {"loss": la.losses.EndToEnd(lambda P: (0.5 * float(np.sum(P**2)), P))}, {"reduce": ["samples", "inputs", "width"]}, {"tol": 18.0}],
    ids=["plain", "batches", "rule of a user", "function", "loss of a user", "width", "tol"],
)  # fmt: skip
def test_what_no_file_holds_comes_with_the_call(tmp_path, options):
    net, X, Y = problem(widths=(8, 20, 3))
    data = (None, None) if "loss" in options else (X, Y)
    crashing = []

    def watched(net):
        if crashing and next(crashing[0]) > 12:
            raise Crash
        return 0.0

    options = kept(**{"record": {"loss": 9, "watched": (10, watched)}, **options})
    full = la.train(net, *data, **{**options, "checkpoint_every": 60.0})
    path = tmp_path / "kept"
    for _ in range(2):
        crashing[:] = [iter(range(100))]
        with pytest.raises(Crash) as caught:
            la.train(net, *data, **options, checkpoint=path)
        assert la.load(path).steps <= caught.value.run.steps
    crashing.clear()
    assert_same_bits(full, la.train(net, *data, **options, checkpoint=path))
    # finished, it is there at once
    assert_same_bits(full, la.train(net, *data, **options, checkpoint=path))
    longer = la.train(net, *data, **{**options, "tol": None, "steps": 500}, checkpoint=tmp_path / "longer")
    assert longer.steps == 500


def test_more_steps_go_on_from_the_checkpoint(tmp_path):
    net, X, Y = problem()
    la.train(net, X, Y, **kept(steps=100), checkpoint=tmp_path / "kept")
    more = la.train(net, X, Y, **kept(), checkpoint=tmp_path / "kept")
    assert_same_bits(la.train(net, X, Y, **kept()), more)
    run = la.load(tmp_path / "kept")
    assert_same_bits(la.train(net, X, Y, **kept(steps=450)), la.resume(run, X, Y, steps=50))


def test_ctrl_c_leaves_what_was_done(tmp_path):
    net, X, Y = problem()

    def press(net, state):
        if state.step == 50:
            signal.raise_signal(signal.SIGINT)
        return 0.0

    options = kept(record={"press": (50, press)})
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run = la.train(net, X, Y, **{**options, "checkpoint_every": 60.0}, checkpoint=tmp_path / "kept")
    finally:
        signal.signal(signal.SIGINT, previous)
    assert run.interrupted
    assert la.load(tmp_path / "kept").steps == run.steps < 400


# ---- what is refused, and what fails ----------------------------------------------------------------------------------------


def test_a_checkpoint_of_something_else_is_refused_and_left_alone(tmp_path):
    net, X, Y = problem()
    path = tmp_path / "kept"
    la.train(net, X, Y, **kept(), checkpoint=path)
    before = path.read_bytes()
    refused = f"checkpoint {path} is of a run with another %s; pass another path, or what it was begun with"
    others = [
        ((net.init("gaussian", rng=5), X, Y, {}), refused % "net"),
        ((la.Network.dense([8, 3]).init("gaussian", rng=0), X, Y, {}), refused % "net"),
        ((net, X + 1e-12, Y, {}), refused % "X or Y"),
        ((net, X, Y, {"lr": 2e-3}), refused % "lr"),
        ((net, X, Y, {"optimizer": "adam", "momentum": 0.0}), refused % "momentum"),
        ((net, X, Y, {"batch": 4, "rng": 0}), refused % "batch"),
        ((net, X, Y, {"record": {"loss": 3}}), refused % "record"),
        ((net, X, Y, {"steps": 10}), f"steps is 10 but checkpoint {path} has taken 400; pass steps=400 or more, or another path"),
    ]
    for (other, A, B, options), message in others:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            la.train(other, A, B, **kept(**options), checkpoint=path)
        assert path.read_bytes() == before
    run = la.train(net, X, Y, **{name: value for name, value in kept().items() if name != "checkpoint_every"})
    run.save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"^checkpoint {re.escape(str(path))} holds a run that was no checkpoint; pass another path$"):
        la.train(net, X, Y, **kept(), checkpoint=path)
    assert path.read_bytes() == before
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} holds no run"):
        la.train(net, X, Y, **kept(), checkpoint=path)
    assert path.read_bytes() == b"mine"


def test_bad_arguments(tmp_path):
    net, X, Y = problem()
    with pytest.raises(IsADirectoryError):
        la.train(net, X, Y, **kept(), checkpoint=tmp_path)
    missing = tmp_path / "none" / "kept"
    with pytest.raises(OSError, match=re.escape(f"checkpoint is {missing} but {missing.parent} is no directory that can be written to")):
        la.train(net, X, Y, **kept(), checkpoint=missing)
    with pytest.raises(ValueError, match=re.escape("checkpoint_every is -1.0; it must be at least 0")):
        la.train(net, X, Y, **kept(checkpoint_every=-1), checkpoint=tmp_path / "kept")
    with pytest.raises(TypeError, match="rng is SeedSequence, which no file can hold"):
        la.train(net, X, Y, **kept(batch=3, rng=np.random.SeedSequence(1)), checkpoint=tmp_path / "kept")
    with pytest.raises(OSError, match=re.escape(f"checkpoint is {missing} but {missing.parent} is no directory; make it, or pass another")):
        la.sweep(killed_child.started, X[:, :5], Y[:, :2], grid={"rng": [0]}, lr=1e-3, steps=5, checkpoint=missing)
    assert os.listdir(tmp_path) == []


def test_on_a_full_disk_the_run_goes_on_with_the_old_file(tmp_path, monkeypatch):
    net, X, Y = problem()
    path = tmp_path / "kept"
    la.train(net, X, Y, **kept(steps=100), checkpoint=path)
    before = path.read_bytes()

    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.whole.os, "fsync", full)
    with pytest.warns(RuntimeWarning, match=r"kept was not written after \d+ steps \(No space left on device\); an older one is kept"):
        run = la.train(net, X, Y, **kept(), checkpoint=path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["kept"]
    monkeypatch.undo()
    assert_same_bits(la.train(net, X, Y, **kept()), run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same_bits(run, la.train(net, X, Y, **kept(), checkpoint=path))


def test_runs_of_a_sweep_go_on(tmp_path):
    net, X, Y = killed_child.problem()
    grid = {"rng": range(3), "lr": [1e-3, 2e-3]}
    options = {"steps": 300, "momentum": 0.5, "threads": 1}
    plain = la.sweep(killed_child.started, X, Y, grid=grid, **options)
    half = la.sweep(killed_child.started, X, Y, grid=grid, **{**options, "steps": 100}, checkpoint=tmp_path / "kept")
    assert sorted(os.listdir(tmp_path)) == [f"kept.{i}" for i in range(6)]
    assert (half["steps"] == 100).all()
    again = la.sweep(killed_child.started, X, Y, grid=grid, **options, checkpoint=tmp_path / "kept", path=tmp_path / "journal")
    np.testing.assert_array_equal(again.loss, plain.loss)
    assert os.listdir(tmp_path) == ["journal"]
