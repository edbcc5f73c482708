"""A run on disk: what is saved comes back to the bit, and a file that is no run, or a full disk, is said to be so."""

from __future__ import annotations

import errno
import importlib
import io
import json
import os
import pickle
import re
import stat
import zipfile

import numpy as np
import pytest

import linalign as la
from linalign.record.quantities import QUANTITIES

run_module = importlib.import_module("linalign.training.run")


def make(dtype=np.float64, **options):
    rng = np.random.default_rng(0)
    net = la.Network.dense([4, 5, 3]).init("gaussian", rng=0, dtype=dtype)
    X, Y = rng.standard_normal((20, 4)).astype(dtype), rng.standard_normal((20, 3)).astype(dtype)
    return la.train(net, X, Y, **{"lr": [0.01, 0.02], "steps": 7, **options})


def assert_equal(a, b):
    """Two runs that are the same to the bit, types included."""
    for name in ("excess", "loss", "lr"):
        mine, theirs = getattr(a, name), getattr(b, name)
        assert mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs)
    for name in ("floor", "steps", "converged", "interrupted", "seconds"):
        assert getattr(a, name) == getattr(b, name)
        assert type(getattr(a, name)) is type(getattr(b, name))
    assert a.plan == b.plan
    assert str(a.plan) == str(b.plan)
    assert a.network.layers == b.network.layers
    for mine, theirs in zip(a.network.params, b.network.params, strict=True):
        assert mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs)
    assert list(a.history) == list(b.history)
    for name, kept in a.history.items():
        assert kept.values.dtype == b.history[name].values.dtype
        assert np.array_equal(kept.steps, b.history[name].steps)
        assert np.array_equal(kept.values, b.history[name].values, equal_nan=True)
    assert repr(a) == repr(b)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dtype": np.float32},
        {"record": dict.fromkeys(QUANTITIES, 2), "validation": (np.ones((2, 4)), np.ones((2, 3)))},
        {"reduce": "none", "update": "cyclic"},
        {"implementation": "reference"},
        {"steps": 0},
        {"tol": 1e9},
        {"tol": 1e-300, "momentum": 0.9, "weight_decay": 0.1},
    ],
    ids=str,
)
def test_a_run_comes_back_to_the_bit(tmp_path, options):
    run = make(**options)
    path = run.save(tmp_path / "run.npz")
    assert path == tmp_path / "run.npz"
    assert_equal(la.load(path), run)
    assert os.listdir(tmp_path) == ["run.npz"]


def test_a_recorded_function_comes_back(tmp_path):
    def corner(net):
        return net.matrix()[0, 0] > 0

    run = make(record={corner: 2, (lambda net: net.params[0]): 3})
    again = la.load(run.save(tmp_path / "run.npz"))
    assert_equal(again, run)
    assert again.history["corner"].values.dtype == bool


def test_the_name_of_the_file_is_the_callers(tmp_path):
    # numpy.savez would append .npz
    for name in ("run", "run.dat", "ein Lauf.npz", "läuft.npz"):
        for path in (tmp_path / name, str(tmp_path / name)):
            assert make().save(path) == tmp_path / name
            assert la.load(path).steps == 7


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make().save("run.npz")
    assert la.load("run.npz").steps == 7


def test_layers_whose_sizes_are_numpy_integers_can_be_saved(tmp_path):
    net = la.Network([la.Dense(np.int64(4), np.int32(3))]).init("gaussian", rng=0)
    run = la.train(net, np.ones((2, 4)), np.ones((2, 3)), lr=0.01, steps=np.int64(2), record={"loss": np.int16(1)})
    assert_equal(la.load(run.save(tmp_path / "run.npz")), run)


def test_no_pickle_is_written(tmp_path):
    path = make(record=dict.fromkeys(QUANTITIES, 2), validation=(np.ones((2, 4)), np.ones((2, 3)))).save(tmp_path / "run.npz")
    with np.load(path, allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)


def test_the_file_has_the_permissions_of_any_other(tmp_path):
    old = os.umask(0o027)
    try:
        path = make().save(tmp_path / "run.npz")
        (tmp_path / "other").touch()
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o640
    finally:
        os.umask(old)


# ---- files that are no runs ------------------------------------------------------------------------------------------------


def rewritten(path, target, **changes):
    """The file with members changed; None drops one."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays |= changes
    np.savez(target, **{name: value for name, value in arrays.items() if value is not None})
    return target


def description(path, **changes):
    with np.load(path) as file:
        found = json.loads(str(file["run"]))
    found |= changes
    return np.array(json.dumps({name: value for name, value in found.items() if value is not None}))


def saved(tmp_path):
    return make(record={"loss": 2}).save(tmp_path / "good.npz")


def npy(path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    path.write_bytes(buffer.getvalue())


def npz_of_something_else(path):
    np.savez(path, X=np.zeros(3))


def other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("run.txt", "hello")


def pickled(path):
    with path.open("wb") as file:
        pickle.dump({"run": 1}, file)


NOT_RUNS = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("step,loss\n0,1\n"),
    "npy": npy,
    "npz": npz_of_something_else,
    "zip": other_zip,
    "pickle": pickled,
    "zip that is cut off": lambda path: path.write_bytes(make().save(path).read_bytes()[:-200]),
    "a bit that flipped": lambda path: path.write_bytes(
        (lambda b: b[:400] + bytes([b[400] ^ 1]) + b[401:])(make().save(path).read_bytes())
    ),
    "a run of objects": lambda path: np.savez(path, run=np.array({"format": 1}, dtype=object)),
    "a run that is a list": lambda path: np.savez(path, run=np.array("[1, 2]")),
    "a run that is a number": lambda path: np.savez(path, run=np.array("5")),
    "a run that is no JSON": lambda path: np.savez(path, run=np.array("{")),
    "a run without a format": lambda path: np.savez(path, run=np.array("{}")),
    "a run that is all format": lambda path: np.savez(path, run=np.array('{"format": 1}')),
}


@pytest.mark.parametrize("write", NOT_RUNS.values(), ids=NOT_RUNS)
def test_a_file_that_is_no_run_is_said_to_be_none(tmp_path, write):
    path = tmp_path / "file.npz"
    write(path)
    with pytest.raises(
        ValueError,
        match="^"
        + re.escape(str(path))
        + r" holds no run(, it is no .npz file| \(.*\)); Run.save writes one(, linalign.data.load reads data)?$",
    ) as caught:
        la.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["excess", "lr", "param_1", "steps_loss", "values_loss"])
def test_a_run_with_a_member_missing(tmp_path, name):
    path = rewritten(saved(tmp_path), tmp_path / "run.npz", **{name: None})
    with pytest.raises(ValueError, match=re.escape(str(path)) + " holds no run"):
        la.load(path)


@pytest.mark.parametrize("name", ["layers", "plan", "history", "floor", "steps", "converged", "interrupted", "seconds"])
def test_a_run_with_a_field_missing(tmp_path, name):
    good = saved(tmp_path)
    path = rewritten(good, tmp_path / "run.npz", run=description(good, **{name: None}))
    with pytest.raises(ValueError, match=re.escape(str(path)) + " holds no run"):
        la.load(path)


def test_a_format_of_the_future(tmp_path):
    good = saved(tmp_path)
    path = rewritten(good, tmp_path / "run.npz", run=description(good, format=99))
    with pytest.raises(ValueError, match=re.escape(f"{path} has format 99; this version reads format {run_module.FORMAT}")):
        la.load(path)


def test_layers_of_the_future(tmp_path):
    good = saved(tmp_path)
    path = rewritten(good, tmp_path / "run.npz", run=description(good, layers=[{"structure": "Octonion", "n": 4}] * 2))
    with pytest.raises(ValueError, match="'Octonion'"):
        la.load(path)


def test_parameters_that_do_not_fit(tmp_path):
    path = rewritten(saved(tmp_path), tmp_path / "run.npz", param_0=np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        la.load(path)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.npz"):
        la.load(tmp_path / "missing.npz")
    with pytest.raises(IsADirectoryError):
        la.load(tmp_path)


# ---- disks -----------------------------------------------------------------------------------------------------------------


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        make().save(tmp_path / "nowhere" / "run.npz")


def test_a_path_that_cannot_be_written(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        make().save(tmp_path / "taken")
    assert os.listdir(tmp_path) == ["taken"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        make().save(tmp_path / "run.npz")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=["full disk", "Ctrl-C"])
def test_what_interrupts_saving_leaves_the_old_file_whole(tmp_path, monkeypatch, error):
    path = make(steps=3).save(tmp_path / "run.npz")
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"half of it")
        raise error

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(type(error)):
        make(steps=5).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.npz"]
    assert la.load(path).steps == 3


# ---- the object ------------------------------------------------------------------------------------------------------------


def test_a_run_says_how_it_ended():
    assert repr(make()).startswith("Run(7 steps, loss ")
    assert "all steps taken" in repr(make())
    assert "converged" in repr(make(tol=1e9))


def test_the_loss_is_the_excess_above_the_floor():
    run = make()
    assert run.floor > 0
    assert np.array_equal(run.loss, run.excess + run.floor)
    assert run.seconds > 0


def test_a_run_is_a_value():
    with pytest.raises(AttributeError):
        make().steps = 3
