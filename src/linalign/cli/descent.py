"""How `linalign train` descends: the update rule, batches, a schedule, data to validate with, and a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import linalign as la

from .. import data as datasets
from ..data import Dataset
from ..optim import SGD, schedules
from ..training.checkpoint import Checkpoint
from ..training.options import Options
from .common import Stop

SCHEDULES = ("constant", "cosine", "linear", "exponential", "step")
# the rate of a rule whose steps do not grow with the gradient, as torch's Adam
RATE = 1e-3
# what an exponential schedule has come down to at the last step
DOWN_TO = 1e-2

HELP = """\
rules: sgd is gradient descent (--momentum, --weight-decay); the others are those of linalign.optim, with their own defaults. With an
--optimizer other than sgd and sam, the learning rate "auto" is 0.001; with --batch, L is B times the largest squared norm of a row.
batches of --batch rows are drawn by --rng, an epoch at a time; the loss that is shown is then that of a batch.
schedules over all --steps: cosine and linear come down to 0, exponential to a hundredth, step has a tenth of the rate after each third.
--validation FILE has the columns of DATA, and is scaled as DATA is; its loss is recorded as validation_loss."""


def add_options(train: argparse.ArgumentParser) -> None:
    """The options of the descent."""
    add = train.add_argument_group("rule, batches and what is kept on the way (see below)").add_argument
    add("--optimizer", choices=sorted(la.optim.RULES), default="sgd", metavar="NAME", help=f"{', '.join(sorted(la.optim.RULES))} [sgd]")
    add("--batch", type=int, metavar="B", help="rows that a step sees [all]")
    add("--schedule", choices=SCHEDULES, default="constant", help="of the learning rate [constant]")
    add("--clip-norm", type=float, metavar="C", help="the most that the norm of the gradients may be [no limit]")
    add("--average", type=float, metavar="A", help="also keep a mean of the weights, 0 <= A < 1 [no]")
    add("--validation", metavar="FILE", help="record the loss on other data, and their accuracy at the end [no]")
    add("--checkpoint", metavar="FILE", help="keep the run in FILE on the way; the same command goes on from there [no]")
    add("--checkpoint-every", type=float, default=60.0, metavar="S", help="seconds between two times [60]")


def arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What `train` is told of the rule and of batches."""
    found = {name: getattr(options, name) for name in ("clip_norm", "average") if getattr(options, name) is not None}
    if options.optimizer != "sgd":
        found["optimizer"] = options.optimizer
    if options.batch is not None:
        found |= {"batch": options.batch, "rng": options.rng}
    return found


def rate(options: argparse.Namespace, automatic: Any) -> Any:
    """The learning rate that "auto" means, where `automatic` is that of gradient descent."""
    return automatic if issubclass(la.optim.RULES[options.optimizer], (SGD, la.optim.SAM)) else RATE


def scheduled(lr: Any, options: argparse.Namespace) -> Any:
    """The schedule of a rate, a number or one a layer."""
    steps = options.steps
    if options.schedule == "constant" or not steps:
        return lr
    if isinstance(lr, str):
        raise Stop(f"--schedule is {options.schedule} but --lr {lr} is one rate for the whole run; pass a number as --lr", 2)
    if options.schedule == "cosine":
        return schedules.Cosine(lr, steps)
    if options.schedule == "linear":
        return schedules.Warmup(lr, steps, start=1.0, end=0.0)
    if options.schedule == "exponential":
        return schedules.Exponential(lr, DOWN_TO ** (1 / steps))
    return schedules.Step(lr, max(1, -(-steps // 3)))


def validation(options: argparse.Namespace, data: Dataset) -> Dataset | None:
    """The data of --validation, scaled as those of the run are."""
    if options.validation is None:
        return None
    columns = None if options.columns is None else options.columns.split(",")
    return datasets.beside(
        data, options.validation, target=options.target, columns=columns, text=options.text, missing=options.missing,
        autoencode=options.autoencode,
    )  # fmt: skip


def checkpoint(options: argparse.Namespace, written: list[Path]) -> dict[str, Any]:
    """What `train` is told of --checkpoint. Raises: Stop where the run would be written there."""
    if options.checkpoint is None:
        return {}
    path = Path(options.checkpoint).expanduser()
    if any(path.resolve() == other.resolve() for other in written) or path.resolve() == Path(options.data).expanduser().resolve():
        raise Stop(f"--checkpoint is {path}, which the run reads or writes as something else; pass another file", 2)
    return {"checkpoint": path, "checkpoint_every": options.checkpoint_every}


def begun(kept: dict[str, Any], net: la.Network, X: Any, Y: Any, how: dict[str, Any], steps: int) -> int:
    """Steps that the checkpoint has taken, 0 without one. Raises: ValueError, OSError where it is of another run."""
    if not kept:
        return 0
    options = Options(steps=steps, **{name: value for name, value in how.items() if name != "threads"})
    found = Checkpoint(kept["checkpoint"], kept["checkpoint_every"], net, X, Y, options).run
    return 0 if found is None else found.steps


def report(run: la.Run, data: Dataset | None) -> list[str]:
    """What the validation data say."""
    if data is None:
        return []
    values = run.history["validation_loss"].values
    lines = [f"validation {values[0]:.6g} -> {values[-1]:.6g}, least {values.min():.6g}, on {len(data.X):,} samples of {data.name}"]
    if data.labels is not None:
        right = float(np.mean(run.network(data.X).argmax(axis=1) == data.labels))
        lines.append(f"accuracy   {100 * right:.1f} % of the {len(data.X):,} validation samples")
    return lines
