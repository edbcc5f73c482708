"""`linalign train`: its options, the job, the report and the files."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import linalign as la

from ..data import Dataset
from ..layers.words import GRAMMAR
from ..record.quantities import QUANTITIES
from ..training.automatic_rate import automatic_rate, for_metric
from ..training.certified_run import compare, prove, rate
from . import descent
from .common import DATA, Stop, add_data_options, add_network_options, describe, described, load, numbers, refusals, start, whole

STEPS = 150_000
POINTS = 300
# bounds of the second derivative of each loss in an output, over its factor; for "exponential" at output 0, it has none

DESCRIPTION = "Train a deep linear network on a data set, print the result, write NAME.npz (the run) and NAME.png (its picture)."
EXAMPLES = f"""\
examples:
  linalign train digits                              writes digits.npz and digits.png in this directory
  linalign train digits --hidden 64,64,64 --scale 1e-2
  linalign train digits --init orthogonal --scale 0.1 --loss cross_entropy --lr 0.1 --steps 20000
  linalign train digits --layers "conv 3x3, conv 3x3 valid 2 channels, dense 10" --scale 0.1 --steps 2000
  linalign train wine.csv --target quality --task regression --normalise standard
  linalign train mnist/train-images-idx3-ubyte.gz --limit 10000 --out results/mnist
  linalign train digits --record sharpness,ntk_trace  writes a picture with sharpness beside 2/lr
  linalign train digits --record balancedness=1000 --record modes=log --steps 50000
  linalign train train.csv --optimizer adam --batch 32 --schedule cosine --validation test.csv --checkpoint kept.npz --steps 20000

{DATA}

{GRAMMAR}

losses: squared, half the sum of squares; mse, their mean over all entries; huber, mean over all entries; cross_entropy, mean over
samples; logistic, exponential, hinge and squared_hinge, one output a class with targets -1 and 1, summed over outputs, mean over
samples. Classes are one-hot targets.

{textwrap.fill("to record: " + ", ".join(QUANTITIES) + ".", 125)}
alignment is a number from 0 to 1 for each pair of neighbouring layers; at 1 they share their singular vectors.

{descent.HELP}

the network is f(x) = W_d ... W_1 x, without biases; training is gradient descent on all samples at once, unless options say otherwise.
the learning rate "auto" is (1 - momentum) / (c L G): L the largest eigenvalue of X^T X, c a bound of the loss's second
derivative in an output, G the larger of sum_i ||W_d ... W_(i+1)||^2 ||W_(i-1) ... W_1||^2 at the start and d q^(2 - 2/d), which
is that sum for balanced layers with an end-to-end matrix of norm q = 8 ||Y|| / ||X||. If training diverges, pass a smaller --lr.

the plan that is printed says what is trained instead of the network as given, and by which statement, such as T8.1; docs/theory/ of
the repository lists and proves the statements.
reading the result: run = linalign.load("digits.npz"); run.loss, run.history["alignment"].values, run.network, run.plan
exit status: 0 done, 1 failed (divergence, disk), 2 wrong options or a bad file, 130 stopped by Ctrl-C (files are written)
"""


def add_options(train: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_data_options(train)
    add_network_options(train)

    add = train.add_argument_group("training").add_argument
    add("--loss", choices=sorted(la.losses.NAMED), default="squared", help="see below [squared]")
    add(
        "--lr",
        default="auto",
        metavar="R",
        help='learning rate; a number, one a layer R,R,..., "certified" (see linalign check), or "auto", see below [auto]',
    )
    add("--steps", type=int, metavar="N", help=f"steps of gradient descent [{STEPS}, or until nothing moves any more]")
    add("--tol", type=float, metavar="L", help="stop when the loss is at most L [never]")
    add("--momentum", type=float, default=0.0, metavar="M", help="heavy ball, 0 <= M < 1, as torch's SGD [0]")
    add("--weight-decay", default="0", metavar="D", help="a number, or one a layer D,D,... [0]")
    add(
        "--metric", choices=("parameters", "matrix"), default="parameters",
        help="of layers with a structure: gradient descent on their parameters, or projected gradient descent [parameters]",
    )  # fmt: skip
    add("--update", choices=("simultaneous", "cyclic"), default="simultaneous", help="all layers at once, or in turn [simultaneous]")
    descent.add_options(train)

    add = train.add_argument_group("how it is computed (none of these changes the result beyond rounding)").add_argument
    add("--reduce", default="auto", metavar="R", help='"auto", "none", or reductions R,R,... [auto]')
    add("--pivot", default="auto", metavar="P", help='where the identity enters the chain, "auto" or 0 to the number of layers [auto]')
    add("--threads", type=int, metavar="N", help="threads at most [as many as BLAS is set up for]")
    add("--implementation", choices=("kernel", "reference"), default="kernel", help="compiled, or plain NumPy [kernel]")

    add = train.add_argument_group("output").add_argument
    add("--record", action="append", default=[], metavar="NAME[=EVERY],...", help="also record NAME every so many steps, or EVERY=log; "
        f"may be repeated; --record none for nothing [alignment and singular_values, {POINTS} times]")  # fmt: skip
    add("--out", metavar="PATH", help="write PATH.npz and PATH.png, or into PATH if it is a directory [digits; FILE-run for a file]")
    add("--no-plot", action="store_true", help="no picture")
    add("--quiet", action="store_true", help="print nothing but errors")


def run(options: argparse.Namespace) -> int:
    """`linalign train`."""
    say = (lambda *lines: None) if options.quiet else print
    if not options.no_plot and importlib.util.find_spec("matplotlib") is None:
        raise Stop("the picture needs matplotlib, which is not installed; pip install 'linalign[plot]', or pass --no-plot", 2)
    enough = options.steps is None
    options.steps = STEPS if options.steps is None else options.steps
    if options.steps < 0:
        raise Stop(f"--steps is {options.steps}; a whole number of at least 0 was wanted", 2)
    # in a file or a pipe a bar is a thousand lines
    bar = not options.quiet and terminal() and importlib.util.find_spec("tqdm") is not None
    with refusals():
        data = load(options)
        net, Y = start(options, data), targets(data, options.loss)
        auto = automatic_rate(net, data.X, data.Y, options.loss, momentum=options.momentum, batch=options.batch)
        held_out = descent.validation(options, data)
        how: dict[str, Any] = {
            "loss": options.loss,
            "lr": descent.scheduled(wanted_rate(options, net, auto), options),
            "tol": options.tol,
            "momentum": options.momentum,
            "weight_decay": numbers("--weight-decay", options.weight_decay),
            "metric": options.metric,
            "update": options.update,
            "record": recorded(options.record, options.steps, held_out is not None),
            "reduce": options.reduce if options.reduce in ("auto", "none") else options.reduce.split(","),
            "pivot": options.pivot if options.pivot == "auto" else whole("--pivot", options.pivot),
            "threads": options.threads,
            "implementation": options.implementation,
            **descent.arguments(options),
        }
        if held_out is not None:
            how["validation"] = held_out.X, targets(held_out, options.loss)
        prefix = output(options, data, net, len(how["record"]))
        kept = descent.checkpoint(options, files_at(prefix, not options.no_plot))
        shown = said_rate(options, how["lr"], auto)
        proof = None
        if options.lr == "certified":
            # once: the runs that check the options and that train get its number
            proof = prove(options.lr, net, data.X, Y, options.loss, options.update, options.momentum, how["weight_decay"])
            how["lr"] = rate(proof)
        try:
            # all options are checked, without a step, before the plan is shown and training begins
            la.train(net, data.X, Y, steps=0, **{**how, "reduce": "none"})
            before = descent.begun(kept, net, data.X, Y, how, options.steps)
            plan = None
            if options.batch is None:
                asked = ("loss", "update", "momentum", "reduce", "pivot", "implementation", "metric", "lr", "weight_decay", "optimizer")
                plan = la.explain(net, data.X, Y, steps=options.steps, **{name: how[name] for name in asked if name in how})
            say(f"data       {describe(data)}")
            if options.layers is not None:
                say(f"network    {described(net)}")
            say(f"training   {options.steps:,} steps, lr {shown}, {options.init} start")
            if plan is not None:
                say(plan)
            if before:
                say(f"resumed    after {before:,} steps, which {options.checkpoint} keeps")
            if terminal() and not bar:
                say("no progress bar without tqdm: pip install 'linalign[cli]'")
            sys.stdout.flush()
            ends = {"stop": still(options)} if enough and how["record"] else {}
            done = la.train(net, data.X, Y, steps=options.steps, progress=bar, **how, **kept, **ends)
            if plan is None:
                say(done.plan)
            if proof is not None:
                done = replace(done, certificate=compare(proof, how["lr"], done.excess, done.floor))
        except la.DivergenceError as error:
            hint = f" ('auto' is {auto:.3g} here)" if options.lr != "auto" else ""
            raise Stop(f"training diverged after {error.run.steps:,} steps with lr {shown}; pass a smaller --lr{hint}", 1) from None
    for line in report(done, data) + descent.report(done, held_out):
        say(line)
    files = " ".join(map(str, write(done, prefix, data, plot=not options.no_plot)))
    say(f"written    {files}")
    if done.interrupted:
        more = f"; the same command goes on from {options.checkpoint}" if kept else ""
        print(f"linalign: stopped by Ctrl-C after {done.steps:,} of {options.steps:,} steps, which {files} keep{more}", file=sys.stderr)
        return 130
    return 0


def terminal() -> bool:
    """Whether what goes to standard error is seen as it comes."""
    return sys.stderr.isatty()


# a run ends where as many steps again would move no layer by more than this share of it
MOVES = 1e-9


def still(options: argparse.Namespace) -> Any:
    """Whether nothing moves any more: gradient descent from here, with gradients that do not grow, changes nothing that can be seen."""

    def ends(network: la.Network, state: la.record.State) -> bool:
        ahead = options.steps / (1 - options.momentum)
        moves = zip(state.lr, state.gradients, network.params, strict=True)
        return all(ahead * lr * np.linalg.norm(gradient) <= MOVES * np.linalg.norm(theta) for lr, gradient, theta in moves)

    return ends


# ---- options into arguments ------------------------------------------------------------------------------------------------


def recorded(given: Sequence[str], steps: int, validated: bool) -> dict[str, Any]:
    """What to record and when."""
    every: Any = max(1, steps // POINTS)
    if every > 1:
        # more often at the beginning, where all may happen
        every = sorted({*range(0, steps + 1, every), *np.geomspace(1, every, POINTS // 6).astype(int).tolist()})
    record: dict[str, Any] = (
        {} if any("none" in text.split(",") for text in given) else dict.fromkeys(("alignment", "singular_values"), every)
    )
    if validated:
        record["validation_loss"] = every
    for text in ",".join(given).split(",") if given else ():
        name, equals, asked = text.partition("=")
        if text == "none":
            continue
        if not name or (equals and not asked):
            raise Stop(f"--record is {text!r}; NAME or NAME=EVERY was wanted, such as sharpness, alignment=100 or alignment=log", 2)
        record[name] = every if not equals else asked if asked == "log" else whole(f"--record {name}", asked)
    return record


def targets(data: Dataset, loss: str) -> Any:
    """The targets as the loss wants them: labels, signs, or numbers."""
    signs = isinstance(la.losses.resolve(loss), la.losses.Signs)
    if (signs or loss == "cross_entropy") and data.labels is None:
        raise Stop(
            f"--loss {loss} needs classes but the targets of {data.name} are numbers; use squared or mse, or --task classification", 2
        )
    if loss == "cross_entropy":
        return data.labels
    return 2 * data.Y - 1 if signs else data.Y


def wanted_rate(options: argparse.Namespace, net: la.Network, auto: float) -> Any:
    """What --lr asks for."""
    if options.lr == "certified":
        return options.lr
    if options.lr == "auto":
        return descent.rate(options, for_metric(net, auto, options.metric))
    return numbers("--lr", options.lr)


def said_rate(options: argparse.Namespace, lr: Any, auto: float) -> str:
    """The learning rate in a few words."""
    then = "" if options.schedule == "constant" else f", {options.schedule}"
    if options.lr != "auto":
        return f"{options.lr}{then}"
    if options.optimizer not in ("sgd", "sam"):
        return f"{descent.RATE:g} (auto){then}"
    base = getattr(lr, "lr", lr)
    return f"{auto:.4g} (auto)" + (", of each layer over the most entries that share a parameter" if isinstance(base, list) else "") + then


# ---- files and the report --------------------------------------------------------------------------------------------------


def output(options: argparse.Namespace, data: Dataset, net: la.Network, recordings: int) -> Path:
    """The path of the files without extension; a Stop if they cannot be written or would overwrite the data."""
    name = "digits" if options.data == "digits" else f"{data.name}-run"
    prefix = Path(options.out or name).expanduser()
    if prefix.is_dir() or (options.out or "").endswith(os.sep):
        prefix = prefix / name
    for path in files_at(prefix, not options.no_plot):
        if path.exists() and Path(options.data).exists() and path.samefile(options.data):
            raise Stop(f"{path} is the data and would be overwritten; pass another --out", 2)
        if path.is_dir():
            raise Stop(f"{path} is a directory and cannot be written; pass another --out", 1)
        if path.exists() and not path.is_file():
            raise Stop(f"{path} is no regular file and cannot be written; pass another --out", 1)
    folder = prefix.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        raise Stop(f"cannot write in {folder}: {error.strerror}; pass another --out", 1) from None
    # the loss of every step, unless nobody can say how many there will be, the parameters, the recordings, and a picture
    steps = options.steps if options.tol is None else 0
    needed = 8 * (steps + net.size + recordings * POINTS * sum(net.widths)) + 10**6
    if free < needed:
        raise Stop(f"{folder} has {free:,} bytes free and the run needs about {needed:,}; free some or pass another --out", 1)
    return prefix


def files_at(prefix: Path, plot: bool) -> list[Path]:
    """The files of a run."""
    return [prefix.with_name(prefix.name + extension) for extension in ((".npz", ".png") if plot else (".npz",))]


def write(run: la.Run, prefix: Path, data: Dataset, plot: bool) -> list[Path]:
    """The run, then its picture."""
    files = files_at(prefix, plot)
    for path in files:
        try:
            if path.suffix == ".npz":
                run.save(path)
            else:
                from ..training.plot import plot_run

                plot_run(run, path, data=data.name)
        except OSError as error:
            raise Stop(f"cannot write {path}: {error.strerror or error}", 1) from None
    return files


def report(run: la.Run, data: Dataset) -> list[str]:
    """The result in a few lines."""
    each = f", {1e6 * run.seconds / run.steps:.3g} us a step" if run.steps else ""
    end = (
        " (the loss reached --tol)"
        if run.converged
        else " (nothing moves any more; --steps goes on)"
        if run.stopped
        else " (stopped by Ctrl-C)"
        if run.interrupted
        else ""
    )
    lines = [f"result     {run.steps:,} steps in {run.seconds:.3g} s{each}{end}"]
    least = f"; least squares {run.floor:.6g}, above it {run.excess[-1]:.3g}" if run.floor > 0 else ""
    lines.append(f"loss       {run.loss[0]:.6g} -> {run.loss[-1]:.6g}{least}")
    if run.plan.curvature:
        lines.append(f"curvature  {run.plan.curvature}")
    if run.certificate is not None:
        lines += [f"{'promised' if i == 0 else '':<11}{line}" for i, line in enumerate(str(run.certificate).splitlines())]
    if data.labels is not None:
        right = float(np.mean(run.network(data.X).argmax(axis=1) == data.labels))
        lines.append(f"accuracy   {100 * right:.1f} % of the {len(data.X):,} training samples")
    scores = run.history.get("alignment")
    if scores is not None and scores.values.size:
        pairs = zip(scores.values[0], scores.values[-1], strict=True)
        lines.append("alignment  " + ", ".join(f"layers {i + 1}-{i + 2}: {a:.3f} -> {b:.3f}" for i, (a, b) in enumerate(pairs)))
    return lines
