"""The command line, from arguments to files; every refusal is one line and an exit status."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import pytest

import linalign as la
from linalign import cli, data, losses
from linalign.cli import train as cli_train
from linalign.record.quantities import QUANTITIES
from linalign.training.automatic_rate import automatic_rate

pytest.importorskip("sklearn")

FAST = ["--steps", "60", "--no-plot"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(path, n=20):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 3))
    np.savetxt(path, np.column_stack([X, X @ [1.0, 2.0, -1.0]]), delimiter=",", header="a,b,c,y", comments="")
    return str(path)


def refused(capsys, *arguments, status=2):
    """The one line on stderr; nothing on stdout."""
    assert cli.main(list(arguments)) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("linalign: ")
    assert "Traceback" not in err
    return err[len("linalign: ") : -1]


# ---- the main job ----------------------------------------------------------------------------------------------------------


def test_train_digits(here, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("tqdm")
    monkeypatch.setattr(cli_train, "terminal", lambda: True)
    assert cli.main(["train", "digits", "--steps", "3000"]) == 0
    out, err = capsys.readouterr()
    assert "3.00k/3.00k" in err  # the progress bar
    assert (here / "digits.png").read_bytes().startswith(b"\x89PNG")
    run = la.load("digits.npz")

    # the same run by the library alone
    digits = data.load("digits")
    net = la.Network.dense([64, 32, 16, 10]).init("gaussian", rng=0, scale=1e-5)
    at = sorted({*range(0, 3001, 10), *range(1, 11)})  # more often at the beginning
    record = {"alignment": at, "singular_values": at}
    same = la.train(net, digits.X, digits.Y, lr=float(run.lr[0]), steps=3000, record=record)
    assert np.array_equal(run.loss, same.loss)
    assert np.array_equal(run.history["singular_values"].values, same.history["singular_values"].values)
    assert len(run.history["alignment"]) == 301 + 9

    # what is printed is what was done
    assert "digits: 1,797 samples of 8x8, 10 classes" in out
    assert f"3,000 steps, lr {run.lr[0]:.4g} (auto), gaussian start" in out
    assert str(la.explain(net, digits.X, digits.Y, steps=3000)) in out
    assert f"loss       {run.loss[0]:.6g} -> {run.loss[-1]:.6g}; least squares {run.floor:.6g}, above it {run.excess[-1]:.3g}" in out
    right = np.mean(run.network(digits.X).argmax(axis=1) == digits.labels)
    assert f"accuracy   {100 * right:.1f} % of the 1,797 training samples" in out
    a = run.history["alignment"].values
    assert f"alignment  layers 1-2: {a[0, 0]:.3f} -> {a[-1, 0]:.3f}, layers 2-3: {a[0, 1]:.3f} -> {a[-1, 1]:.3f}" in out
    assert re.search(r"result     3,000 steps in [\d.]+ s, [\d.]+ us a step\n", out)
    assert out.endswith("written    digits.npz digits.png\n")


def test_auto_learning_rate(here):
    digits = data.load("digits")
    n, L = 1797, np.linalg.norm(digits.X, 2) ** 2
    q = 8 * np.linalg.norm(digits.Y) / np.linalg.norm(digits.X)
    small = la.Network.dense([64, 32, 16, 10]).init("gaussian", rng=0, scale=1e-5)
    rounding = 1e-10  # eigenvalues of X^T X to n eps
    for loss, c in [
        ("squared", 1),
        ("mse", 2 / (10 * n)),
        ("cross_entropy", 1 / (2 * n)),
        ("logistic", 1 / (4 * n)),
        ("exponential", 1 / n),
    ]:
        want = 1 / (c * L * 3 * q ** (4 / 3))
        assert automatic_rate(small, digits.X, digits.Y, loss, momentum=0.0) == pytest.approx(want, rel=rounding)
        assert automatic_rate(small, digits.X, digits.Y, loss, momentum=0.9) == pytest.approx(0.1 * want, rel=rounding)
    large = la.Network.dense([64, 32, 16, 10]).init("gaussian", rng=0, scale=100.0)
    W1, W2, W3 = large.matrices()
    start = sum(np.linalg.norm(A, 2) ** 2 for A in (W3 @ W2, W2 @ W1)) + np.linalg.norm(W3, 2) ** 2 * np.linalg.norm(W1, 2) ** 2
    assert automatic_rate(large, digits.X, digits.Y, "squared", momentum=0.0) == pytest.approx(1 / (L * start), rel=rounding)
    assert automatic_rate(small, digits.X[:5], digits.Y[:5], "squared", momentum=0.0) > 0  # fewer samples than inputs


def test_auto_learning_rate_with_biases():
    """That of the chain in homogeneous coordinates, by hand; and it is stable where the rate without the ones would not be."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((50, 4)) / 10, rng.standard_normal((50, 3)) / 10
    net = la.Network([la.Dense(4, 6, bias=True), la.Dense(6, 3, bias=True)]).init("gaussian", rng=0, bias="torch", scale=10.0)
    (W, V), (b, _) = net.matrices(), net.biases()
    first = np.block([[W, b[:, None]], [np.zeros((1, 4)), np.ones((1, 1))]])
    last = np.hstack([V, net.biases()[1][:, None]])
    rows = np.hstack([X, np.ones((50, 1))])
    L, start = np.linalg.norm(rows, 2) ** 2, np.linalg.norm(last, 2) ** 2 + np.linalg.norm(first, 2) ** 2
    grown = 2 * 8 * np.linalg.norm(Y) / np.linalg.norm(rows)
    lr = automatic_rate(net, X, Y, "squared", momentum=0.0)
    assert lr == pytest.approx(1 / (L * max(start, grown)), rel=1e-10)
    run = la.train(net, X, Y, loss="squared", lr=lr, steps=200)
    assert run.loss[-1] < run.loss[0]


@pytest.mark.parametrize("loss", sorted(set(losses.NAMED) - {"hinge"}))
def test_every_loss_falls_at_the_automatic_rate(here, loss):
    assert cli.main(["train", "digits", "--steps", "500", "--no-plot", "--quiet", "--loss", loss, "--scale", "0.1"]) == 0
    steps = np.diff(la.load("digits.npz").loss)
    assert (steps < 0).all()


# ---- options ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "widths", "kind", "how"),
    [
        ([], (64, 32, 16, 10), "gaussian", {"scale": 1e-5}),
        (["--hidden", "20"], (64, 20, 10), "gaussian", {"scale": 1e-5}),
        (["--hidden", "none"], (64, 10), "gaussian", {"scale": 1e-5}),
        (["--hidden", "9,8,7"], (64, 9, 8, 7, 10), "gaussian", {"scale": 1e-3}),
        (["--widths", "64,5,10", "--scale", "0.5", "--rng", "7"], (64, 5, 10), "gaussian", {"scale": 0.5, "rng": 7}),
        (["--init", "orthogonal", "--scale", "0.008"], (64, 32, 16, 10), "orthogonal", {"scale": 0.008 ** (1 / 3)}),
        (["--init", "identity", "--scale", "0.008"], (64, 32, 16, 10), "identity", {"scale": 0.008 ** (1 / 3)}),
        (["--init", "xavier"], (64, 32, 16, 10), "xavier", {}),
        (["--init", "zero"], (64, 32, 16, 10), "zero", {}),
        (
            ["--init", "gaussian,zero,identity", "--scale", "0.008"],
            (64, 32, 16, 10),
            ["gaussian", "zero", "identity"],
            {"scale": [0.008, None, 0.008 ** (1 / 3)]},
        ),
        (["--init", "gaussian", "--dtype", "float32"], (64, 32, 16, 10), "gaussian", {"scale": 1e-5, "dtype": np.float32}),
    ],
    ids=str,
)
def test_network_options(here, options, widths, kind, how):
    assert cli.main(["train", "digits", "--steps", "0", "--no-plot", "--quiet", *options]) == 0
    net = la.load("digits.npz").network
    want = la.Network.dense(widths).init(kind, **{"rng": 0, **how})
    assert net.widths == widths
    assert net.dtype == want.dtype
    for a, b in zip(net.params, want.params, strict=True):
        # the same numbers, but for the rotation to the data's basis and back (T8.1)
        assert np.abs(a - b).max() <= 64 * np.finfo(net.dtype).eps * np.linalg.norm(b)


def test_aligned_start(here):
    assert cli.main(["train", "digits", "--steps", "0", "--no-plot", "--quiet", "--init", "aligned", "--scale", "0.001"]) == 0
    run = la.load("digits.npz")
    values = np.linalg.svd(run.network.matrix(), compute_uv=False)
    assert np.abs(values - 1e-3).max() <= 64 * np.finfo(float).eps  # three products of norm 0.1, Haar bases of width 64
    assert (run.history["alignment"].values > 1 - 1e-12).all()


def test_training_options_reach_the_library(here, monkeypatch):
    seen = []
    original = la.train

    def watched(net, X, Y, **options):
        seen.append(options)
        return original(net, X, Y, **options)

    monkeypatch.setattr(la, "train", watched)
    arguments = "train digits --steps 4 --no-plot --quiet --lr 1e-6,2e-6,3e-6 --tol 0.5 --momentum 0.5 --weight-decay 0.1"
    arguments += " --metric parameters --update simultaneous --reduce none --pivot 2 --threads 1 --implementation kernel --record balancedness=2 --record alignment=log"
    assert cli.main(arguments.split()) == 0
    probe, options = seen
    assert probe["steps"] == 0
    assert {**options, "steps": 0, "reduce": "none", "progress": False} == {**probe, "steps": 0, "progress": False}
    assert options == {
        "loss": "squared", "lr": [1e-6, 2e-6, 3e-6], "steps": 4, "tol": 0.5, "momentum": 0.5, "weight_decay": 0.1,
        "metric": "parameters", "update": "simultaneous", "reduce": "none", "pivot": 2, "threads": 1, "implementation": "kernel", "progress": False,
        "record": {"alignment": "log", "singular_values": 1, "balancedness": 2},
    }  # fmt: skip


def test_data_options(here, capsys):
    path = table(here / "t.csv")
    assert (
        cli.main(["train", path, *FAST, "--target", "b", "--task", "regression", "--centre", "--normalise", "standard", "--limit", "15"])
        == 0
    )
    out, _ = capsys.readouterr()
    assert "t: 15 samples of 3, 1 targets" in out
    assert "accuracy" not in out
    want = data.load(path, target="b", task="regression", centre=True, normalise="standard", limit=15)
    run = la.load("t-run.npz")
    half = 0.5 * np.sum((run.network(want.X) - want.Y) ** 2)
    assert run.loss[-1] == pytest.approx(half, rel=1e-12)


def test_names_alone_are_recorded_with_the_others(here, capsys):
    given = ["train", "digits", "--limit", "40", "--hidden", "3", "--steps", "4", "--out", "run", "--scale", "1"]
    pytest.importorskip("matplotlib")
    assert cli.main([*given, "--record", "sharpness,ntk_trace", "--record", "loss=2"]) == 0
    assert "curvature  of what is run" in capsys.readouterr().out
    run = la.load("run.npz")
    assert set(run.history) == {"alignment", "singular_values", "sharpness", "ntk_trace", "loss"}
    assert np.array_equal(run.history["sharpness"].steps, run.history["alignment"].steps)
    assert run.history["loss"].steps.tolist() == [0, 2, 4]
    assert "Sharpness" in [ax.get_title(loc="left") for ax in run.plot().axes]


def test_recording_nothing_and_quiet(here, capsys):
    assert cli.main(["train", "digits", *FAST, "--quiet", "--record", "none"]) == 0
    assert capsys.readouterr() == ("", "")
    assert la.load("digits.npz").history == {}


def test_tol_is_reported(here, capsys):
    assert cli.main(["train", "digits", "--no-plot", "--tol", "898"]) == 0
    out, _ = capsys.readouterr()
    assert "(the loss reached --tol)" in out
    run = la.load("digits.npz")
    assert run.converged
    assert run.loss[-1] <= 898 < run.loss[-2]


def test_without_tqdm_there_is_no_bar(here, capsys, monkeypatch):
    find = cli_train.importlib.util.find_spec
    monkeypatch.setattr(cli_train.importlib.util, "find_spec", lambda name: None if name == "tqdm" else find(name))
    monkeypatch.setattr(cli_train, "terminal", lambda: True)
    assert cli.main(["train", "digits", *FAST]) == 0
    out, err = capsys.readouterr()
    assert "no progress bar without tqdm: pip install 'linalign[cli]'" in out
    assert err == ""


def test_no_bar_where_nobody_looks(here, capsys):
    assert cli.main(["train", "digits", *FAST]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "tqdm" not in out


def test_a_run_ends_when_nothing_moves(here, capsys):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 5))
    np.savez("easy.npz", X=X, Y=X @ rng.standard_normal((5, 2)))
    assert cli.main(["train", "easy.npz", "--hidden", "5", "--scale", "0.1", "--no-plot"]) == 0
    assert "us a step (nothing moves any more; --steps goes on)" in capsys.readouterr().out
    run = la.load("easy-run.npz")
    assert run.stopped
    assert run.steps < cli_train.STEPS / 10
    # it is where it would be after as many steps again, up to the share of each layer that nobody sees
    data = np.load("easy.npz")
    later = la.train(run.network, X / np.abs(X).max(), data["Y"], lr=float(run.lr[0]), steps=cli_train.STEPS)
    for a, b in zip(run.network.params, later.network.params, strict=True):
        assert np.linalg.norm(a - b) <= 2 * cli_train.MOVES * np.linalg.norm(a)
    assert cli.main(["train", "easy.npz", "--hidden", "5", "--scale", "0.1", "--no-plot", "--steps", "20000", "--quiet"]) == 0
    assert la.load("easy-run.npz").steps == 20_000


# ---- files -----------------------------------------------------------------------------------------------------------------


def test_where_files_go(here):
    pytest.importorskip("matplotlib")
    (here / "sub").mkdir()
    for out, names in [
        ("a", ["a.npz", "a.png"]),
        ("sub", ["sub/digits.npz", "sub/digits.png"]),
        ("sub/x.y", ["sub/x.y.npz", "sub/x.y.png"]),
    ]:
        assert cli.main(["train", "digits", "--steps", "1", "--quiet", "--out", out]) == 0
        assert all((here / name).is_file() for name in names)


def test_the_data_are_never_overwritten(here, capsys):
    np.savez("mine.npz", X=np.eye(4), Y=np.arange(4.0))
    before = (here / "mine.npz").read_bytes()
    assert cli.main(["train", "mine.npz", *FAST, "--quiet"]) == 0
    assert (here / "mine-run.npz").is_file()
    assert (
        refused(capsys, "train", "mine.npz", *FAST, "--out", "mine") == "mine.npz is the data and would be overwritten; pass another --out"
    )
    assert refused(capsys, "train", "./mine.npz", *FAST, "--out", str(here / "mine")).endswith("pass another --out")
    assert (here / "mine.npz").read_bytes() == before


def test_paths_that_cannot_be_written_are_found_before_training(here, capsys, monkeypatch):
    monkeypatch.setattr(la, "train", lambda *a, **k: pytest.fail("training began") if k["steps"] else la.train)
    (here / "file").write_text("")
    (here / "d.npz").mkdir()
    for out, message in [
        ("none/a", "cannot write in none: No such file or directory; pass another --out"),
        ("file/a", "cannot write in file: Not a directory; pass another --out"),
        ("d", "d.npz is a directory and cannot be written; pass another --out"),
    ]:
        assert refused(capsys, "train", "digits", *FAST, "--out", out, status=1) == message
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**6, 10**6, 1234))
    assert re.fullmatch(
        r"\. has 1,234 bytes free and the run needs about [\d,]+; free some or pass another --out",
        refused(capsys, "train", "digits", *FAST, status=1),
    )


def test_a_disk_that_fills_up_while_writing(here, capsys, monkeypatch):
    def full(self, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(la.Run, "save", full)
    assert cli.main(["train", "digits", *FAST, "--quiet"]) == 1
    assert capsys.readouterr().err == "linalign: cannot write digits.npz: No space left on device\n"


def test_a_real_limit_on_the_size_of_files(here):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    done = subprocess.run(command("train", "digits", *FAST, "--quiet"), capture_output=True, text=True, preexec_fn=limit, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "linalign: cannot write digits.npz: File too large\n")
    assert list(here.iterdir()) == []  # no half a file


# ---- refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "-1"], "--steps is -1; a whole number of at least 0 was wanted"),
        (["--steps", "many"], "argument --steps: invalid int value: 'many'; see linalign train --help"),
        (["--lr", "0"], "lr is 0.0; it must be greater than 0"),
        (["--lr", "fast"], "--lr is 'fast'; a number, or one a layer such as 0.1,0.1,0.01, was wanted"),
        (["--lr", "1,2"], "lr has 2 entries but the network has 3 layers; pass one number or one a layer"),
        (["--momentum", "1"], "momentum is 1.0; it must be less than 1"),
        (["--weight-decay", "-1"], "weight_decay is -1.0; it must be at least 0"),
        (["--tol", "nan"], "tol is nan; a finite number was wanted"),
        (["--hidden", "32,x"], "--hidden is 'x'; a whole number was wanted"),
        (["--hidden", "0"], "widths[1] is 0; a whole number of at least 1 was wanted"),
        (["--hidden", "4", "--widths", "64,10"], "--hidden and --widths both set the widths; pass one of them"),
        (["--widths", "63,10"], "--widths is 63,10 but the data have 64 inputs and 10 outputs; it must begin and end so"),
        (
            ["--init", "balanced"],
            "--init is 'balanced'; one of gaussian, xavier, orthogonal, identity, zero, aligned was wanted "
            "(the others take a matrix: use Network.init)",
        ),
        (["--init", "gaussian,zero"], "kind has 2 names but the network has 3 layers; pass one name or one a layer"),
        (["--init", "zero,aligned,zero"], "kind[1] is 'aligned'; one of 'gaussian', 'xavier', 'orthogonal', 'identity', 'zero' was wanted"),
        (["--init", "xavier", "--scale", "1"], "--scale has no meaning for --init xavier; leave it out"),
        (["--scale", "0"], "--scale is 0.0; a number above 0 was wanted"),
        (["--scale", "nan"], "--scale is nan; a number above 0 was wanted"),
        (["--rng", "-3"], "rng is -3; a seed is a whole number of at least 0"),
        (
            ["--record", "alignment="],
            "--record is 'alignment='; NAME or NAME=EVERY was wanted, such as sharpness, alignment=100 or alignment=log",
        ),
        (["--record", "alignment=often"], "--record alignment is 'often'; a whole number was wanted"),
        (["--record", "alignment=0"], "record['alignment'] is 0; a whole number of at least 1 was wanted"),
        (["--pivot", "4"], "pivot is 4 but the network has 3 layers; a pivot is 'auto' or a whole number from 0 to 3"),
        (["--pivot", "x"], "--pivot is 'x'; a whole number was wanted"),
        (["--threads", "0"], "threads is 0; a whole number of at least 1 was wanted"),
        (["--limit", "0"], "limit is 0; a whole number of at least 1 was wanted"),
        (["--target", "y"], "target is 'y' but the digits have their own targets; leave it out"),
        (["--nonsense"], "unrecognized arguments: --nonsense; see linalign --help"),
        (["--step", "3"], "unrecognized arguments: --step 3; see linalign --help"),
        (["--loss", "tukey"], "argument --loss: invalid choice: 'tukey'"),
        (["--loss", "hinge"], "lr is 'auto' but the curvature of the loss 'hinge' is not known"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options(here, capsys, options, message):
    assert refused(capsys, "train", "digits", "--no-plot", *options).startswith(message)
    assert list(here.iterdir()) == []


def test_unknown_names_list_the_known_ones(here, capsys):
    assert "record is 'spectrum'; one of 'loss', 'validation_loss', 'gradient_norm'" in refused(
        capsys, "train", "digits", *FAST, "--record", "spectrum=1"
    )
    assert "reduce[1] is 'depth'; one of 'filters'" in refused(capsys, "train", "digits", *FAST, "--reduce", "samples,depth")


def test_bad_files(here, capsys):
    (here / "bad.csv").write_text("a,b\n1,2\n3,four\n5,six\n7,8\n")
    (here / "short.csv").write_text("1,2,3\n1,2\n")
    (here / "empty.npz").write_bytes(b"")
    for name, message in [
        ("none.csv", "none.csv: no such file; pass a path to .npz, .npy, .csv or IDX, or the name 'digits'"),
        ("short.csv", "short.csv: line 2 has 2 cells but the first line has 3"),
        ("empty.npz", "empty.npz: the file is empty"),
        (".", ".: no IDX images here; a file such as train-images-idx3-ubyte, gzipped or not, was wanted"),
        ("digitz", "digitz: no such file; pass a path to .npz, .npy, .csv or IDX, or the name 'digits'"),
    ]:
        assert refused(capsys, "train", name, *FAST) == message
    path = table(here / "t.csv")
    message = "--loss cross_entropy needs classes but the targets of t are numbers; use squared or mse, or --task classification"
    assert refused(capsys, "train", path, *FAST, "--loss", "cross_entropy") == message


def test_divergence(here, capsys):
    assert cli.main(["train", "digits", *FAST, "--lr", "1", "--scale", "1", "--quiet"]) == 1
    err = capsys.readouterr().err
    assert re.fullmatch(r"linalign: training diverged after \d+ steps with lr 1; pass a smaller --lr \('auto' is [\d.e-]+ here\)\n", err)
    assert list(here.iterdir()) == []


def test_commands(capsys):
    assert refused(capsys) == "the following arguments are required: COMMAND; see linalign --help"
    assert "invalid choice: 'tarin'" in refused(capsys, "tarin")
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"linalign {la.__version__}\n"
    assert cli.main(["config"]) == 0
    out = capsys.readouterr().out
    la.show_config()
    assert out == capsys.readouterr().out
    assert "numpy" in out


def test_without_matplotlib(here, capsys, monkeypatch):
    find = cli_train.importlib.util.find_spec
    monkeypatch.setattr(cli_train.importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    message = "the picture needs matplotlib, which is not installed; pip install 'linalign[plot]', or pass --no-plot"
    assert refused(capsys, "train", "digits") == message
    assert cli.main(["train", "digits", *FAST, "--quiet"]) == 0


# ---- help ------------------------------------------------------------------------------------------------------------------


def test_help_is_enough(capsys):
    assert cli.main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    parser = cli.parser()._subparsers._group_actions[0].choices["train"]
    for action in parser._actions:
        assert action.help
        for name in action.option_strings:
            assert name in out
    assert str(cli_train.STEPS) in out
    assert all(name in cli_train.EXAMPLES for name in [*QUANTITIES, *losses.NAMED])
    examples = [shlex.split(line.split("  writes")[0]) for line in cli_train.EXAMPLES.splitlines() if line.startswith("  linalign ")]
    assert len(examples) >= 5
    for example in examples:
        cli.parser().parse_args(example[1:])  # a Stop if it does not parse


# ---- as a process ----------------------------------------------------------------------------------------------------------


def command(*arguments):
    return [sys.executable, "-m", "linalign", *arguments]


def test_ctrl_c_keeps_what_was_done(here):
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    arguments = command("train", "digits", "--steps", "20000000", "--no-plot")
    ours, theirs = pty.openpty()  # a bar is for terminals, of some width
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        try:
            err = b""
            while err.count(b"\r") < 4 and process.poll() is None:  # the bar moves: training has begun
                err += os.read(ours, 100)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
            with contextlib.suppress(OSError):  # the other end is closed
                while more := os.read(ours, 1000):
                    err += more
        finally:
            process.kill()
            os.close(ours)
    err = err.replace(b"\r\n", b"\n")
    assert process.returncode == 130
    assert b"Traceback" not in err
    run = la.load(here / "digits.npz")
    assert run.interrupted
    assert 0 < run.steps < 20_000_000
    assert len(run.loss) == run.steps + 1
    assert err.decode().endswith(f"linalign: stopped by Ctrl-C after {run.steps:,} of 20,000,000 steps, which digits.npz keep\n")
    assert "(stopped by Ctrl-C)" in out.decode()


def test_ctrl_c_before_training(here, capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "load", interrupted)
    assert refused(capsys, "train", "digits", status=130) == "stopped before training began; nothing was written"


def test_a_reader_that_goes_away(here):
    with subprocess.Popen(command("config"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_as_a_module(here):
    started = time.perf_counter()
    done = subprocess.run(command("train", "digits", *FAST), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - started < 60
    assert "written    digits.npz\n" in done.stdout
