"""The command line's rules, batches, schedules, validation and checkpoints: what the library does with the same arguments."""

import signal

import numpy as np
import pytest

import linalign as la
from linalign import cli, data
from linalign.optim import schedules

from .test_cli import refused

STEPS = 300
FAST = ["--hidden", "4", "--scale", "0.1", "--no-plot", "--steps", str(STEPS)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with two files of one kind, classes and numbers."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    X = 3 + 2 * rng.standard_normal((60, 5))
    classes = (X[:, 0] > 3).astype(int) + (X[:, 1] > 3)
    for name, rows in (("train", slice(40)), ("test", slice(40, None))):
        np.savetxt(f"{name}.csv", np.column_stack([X[rows], classes[rows]]), delimiter=",")
        np.savetxt(f"{name}-numbers.csv", np.column_stack([X[rows], X[rows] @ np.arange(5.0)]), delimiter=",")
    return tmp_path


def train(*arguments):
    assert cli.main(["train", *arguments]) == 0


def start(of="train.csv", **how):
    found = data.load(of, **how)
    return found, la.Network.dense([5, 4, found.Y.shape[1]]).init("gaussian", rng=0, scale=0.1)


def assert_same(run, same):
    np.testing.assert_array_equal(run.loss, same.loss)
    for mine, theirs in zip(run.network.params, same.network.params, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--optimizer", "adam"], {"optimizer": "adam", "lr": 1e-3}),
        (["--optimizer", "muon", "--lr", "0.02", "--batch", "8"], {"optimizer": "muon", "lr": 0.02, "batch": 8, "rng": 0}),
        (["--batch", "7", "--lr", "0.01"], {"batch": 7, "rng": 0, "lr": 0.01}),
        (["--lr", "0.01", "--schedule", "cosine"], {"lr": schedules.Cosine(0.01, STEPS)}),
        (["--lr", "0.01", "--schedule", "linear"], {"lr": lambda t: 0.01 * (1 - t / STEPS)}),
        (["--lr", "0.01,0.02", "--schedule", "step"], {"lr": lambda t: np.array([0.01, 0.02]) * 0.1 ** (t // 100)}),
        (["--lr", "0.01", "--schedule", "exponential"], {"lr": lambda t: 0.01 * 0.01 ** (t / STEPS)}),
        (["--lr", "0.01", "--clip-norm", "0.1", "--average", "0.9"], {"lr": 0.01, "clip_norm": 0.1, "average": 0.9}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_rules_batches_and_schedules(here, arguments, options):
    train("train.csv", *FAST, *arguments)
    found, net = start()
    record = dict.fromkeys(("alignment", "singular_values"), 1)
    same = la.train(net, found.X, found.Y, steps=STEPS, record=record, **options)
    run = la.load("train-run.npz")
    # rates are the same numbers up to the rounding of their formula
    np.testing.assert_allclose(run.loss, same.loss, rtol=1e-12)
    assert (run.average is None) == ("average" not in options)


def test_validation_is_scaled_as_the_data_are(here, capsys):
    train("train.csv", *FAST, "--lr", "0.01", "--validation", "test.csv", "--normalise", "standard")
    out = capsys.readouterr().out
    found, net = start(normalise="standard")
    raw = [data.load(name, normalise="none") for name in ("train.csv", "test.csv")]
    X = (raw[1].X - raw[0].X.mean(axis=0)) / raw[0].X.std(axis=0)
    run = la.load("train-run.npz")
    assert run.history["validation_loss"].values[-1] == pytest.approx(0.5 * np.sum((run.network(X) - raw[1].Y) ** 2), rel=1e-12)
    assert len(run.history["validation_loss"]) == STEPS + 1
    np.testing.assert_allclose(run.loss, la.train(net, found.X, found.Y, lr=0.01, steps=STEPS).loss, rtol=1e-12)
    right = np.mean(run.network(X).argmax(axis=1) == raw[1].labels)
    values = run.history["validation_loss"].values
    assert f"validation {values[0]:.6g} -> {values[-1]:.6g}, least {values.min():.6g}, on 20 samples of test" in out
    assert f"accuracy   {100 * right:.1f} % of the 20 validation samples" in out
    for extra in (["--loss", "cross_entropy"], ["--loss", "logistic"], ["--autoencode"]):
        train("train.csv", *FAST, "--lr", "0.01", "--validation", "test.csv", *extra)
        assert np.isfinite(la.load("train-run.npz").history["validation_loss"].values).all()
    train("train-numbers.csv", *FAST, "--lr", "1e-4", "--task", "regression", "--validation", "test-numbers.csv")
    assert "validation samples" not in capsys.readouterr().out.split("\n")[-2]


def test_the_same_command_goes_on_from_its_checkpoint(here, capsys):
    command = ["train.csv", *FAST, "--optimizer", "adam", "--batch", "8", "--schedule", "cosine", "--validation", "test.csv"]
    train(*command)
    full = la.load("train-run.npz")
    kept = [*command, "--checkpoint", "kept.npz", "--checkpoint-every", "0"]
    train(*kept)
    assert "resumed" not in capsys.readouterr().out
    assert_same(la.load("train-run.npz"), full)
    assert_same(la.load("kept.npz"), full)
    train(*kept)
    assert "resumed    after 300 steps, which kept.npz keeps" in capsys.readouterr().out
    assert_same(la.load("train-run.npz"), full)


def test_ctrl_c_and_on(here, capsys, monkeypatch):
    plain = la.train
    command = ["train.csv", *FAST, "--lr", "0.01", "--checkpoint", "kept.npz"]

    def pressed(net, X, Y, **how):
        def press(net, state):
            if state.step == 100:
                signal.raise_signal(signal.SIGINT)
            return 0.0

        return plain(net, X, Y, **{**how, "record": {**how["record"], "press": (100, press)}} if how["steps"] else how)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # a function of the test's stands in the checkpoint by its name
        monkeypatch.setattr(la, "train", pressed)
        assert cli.main(["train", *command]) == 130
    finally:
        signal.signal(signal.SIGINT, previous)
        monkeypatch.undo()
    monkeypatch.chdir(here)
    err = capsys.readouterr().err
    assert "stopped by Ctrl-C after 100 of 300 steps, which train-run.npz keep; the same command goes on from kept.npz" in err
    assert la.load("kept.npz").steps == 100


def test_refusals(here, capsys):
    np.savetxt("wide.csv", np.column_stack([np.ones((6, 6)) * np.arange(6)[:, None], [0, 1, 0, 1, 0, 1]]), delimiter=",")
    np.savetxt("other.csv", np.column_stack([np.arange(30.0).reshape(6, 5), [0, 7, 0, 7, 0, 7]]), delimiter=",")
    cases = [
        (["--batch", "41", "--lr", "0.1"], "batch is 41 but X has 40 rows; a batch has at most so many"),
        (["--batch", "0", "--lr", "0.1"], "batch is 0; a whole number of at least 1 was wanted"),
        (["--lr", "certified", "--schedule", "cosine"],
         "--schedule is cosine but --lr certified is one rate for the whole run; pass a number as --lr"),
        (["--optimizer", "adam", "--momentum", "0.9"],
         "momentum is 0.9 but the optimizer adam has its own; pass momentum to the rule instead"),
        (["--validation", "wide.csv"], "wide.csv: the inputs have 6 columns but those of train have 5"),
        (["--validation", "other.csv"], "other.csv: the class '7' is none of the 3 classes of train"),
        (["--validation", "none.csv"], "none.csv"),
        (["--checkpoint", "train-run.npz"], "--checkpoint is train-run.npz, which the run reads or writes as something else; pass another file"),
        (["--checkpoint", "train.csv"], "--checkpoint is train.csv, which the run reads or writes as something else; pass another file"),
        (["--checkpoint", "none/kept.npz"], "checkpoint is none/kept.npz but"),
        (["--checkpoint", "test.csv"], "test.csv holds no run"),
        (["--clip-norm", "0"], "clip_norm is 0.0; it must be greater than 0"),
    ]  # fmt: skip
    for arguments, message in cases:
        assert message in refused(capsys, "train", "train.csv", *FAST, *arguments)
    train("train.csv", *FAST, "--lr", "0.01", "--checkpoint", "kept.npz", "--quiet")
    before = (here / "kept.npz").read_bytes()
    message = "checkpoint kept.npz is of a run with another lr; pass another path, or what it was begun with"
    assert message in refused(capsys, "train", "train.csv", *FAST, "--lr", "0.02", "--checkpoint", "kept.npz")
    assert (here / "kept.npz").read_bytes() == before


def test_the_help_reads_well(capsys):
    assert cli.main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    for words in ("--optimizer NAME", "--batch B", "--schedule", "--validation FILE", "--checkpoint FILE", "the same command goes"):
        assert words in out
    assert all(name in out for name in la.optim.RULES)
