"""A program that is killed: checkpointed runs of many kinds, one after the other, and a sweep. `python killed_child.py FOLDER`."""

import os
import sys
from pathlib import Path

import numpy as np

import linalign as la
from linalign.optim import schedules

STEPS = 60_000
# every rule where many examples are asked for, else those that differ in what they remember
EXPLORING = os.environ.get("LINALIGN_HYPOTHESIS") == "explore"
CASES = {
    "plain": {"lr": 1e-4, "record": {"loss": 7000, "alignment": 9000}},
    "momentum": {"lr": 1e-4, "momentum": 0.9, "weight_decay": 0.01},
    "adam": {"lr": 1e-4, "optimizer": "adam", "average": 0.99},
    "muon": {"lr": schedules.Cosine(1e-3, STEPS), "optimizer": "muon"},
    "batches": {"lr": 1e-4, "batch": 4, "rng": 0, "record": {"loss": 5000}},
    "drawn": {"lr": 1e-4, "batch": 3, "order": "replacement", "rng": 1, "optimizer": "group_rmsprop"},
    "cyclic": {"lr": 1e-4, "update": "cyclic"},
}
if EXPLORING:
    CASES |= {f"rule {name}": {"lr": 1e-4, "optimizer": name, "average": 0.9} for name in la.optim.RULES}


def problem():
    rng = np.random.default_rng(3)
    X, Y = rng.standard_normal((12, 5)), rng.standard_normal((12, 2))
    X[:, 4] = X[:, 0]
    return la.Network.dense([5, 6, 2]).init("gaussian", rng=0, scale=0.3), X, Y


def started(rng):
    return la.Network.dense([5, 6, 2]).init("gaussian", rng=rng, scale=0.3)


def all_of(folder=None, every=0.0):
    """Every run, and the sweep; kept in `folder` on the way."""
    net, X, Y = problem()
    found = {}
    for name, options in CASES.items():
        kept = {} if folder is None else {"checkpoint": folder / name, "checkpoint_every": every}
        found[name] = la.train(net, X, Y, steps=STEPS, **options, **kept)
    kept = {} if folder is None else {"checkpoint": folder / "sweep", "checkpoint_every": every, "path": folder / "journal"}
    swept = la.sweep(started, X, Y, grid={"rng": range(3)}, lr=1e-4, momentum=0.5, steps=STEPS, threads=2, record={"loss": 1000}, **kept)
    return found, swept


if __name__ == "__main__":
    all_of(Path(sys.argv[1]))
