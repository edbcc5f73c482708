"""`linalign flow`: gradient flow, the limit of small learning rates, on data from a file, and a picture of it."""

from __future__ import annotations

import argparse
import importlib.util
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import linalign as la

from ..files import replacing
from ..record.quantities import QUANTITIES
from ..training.automatic_rate import automatic_rate
from ..training.flow import METHODS, Flow
from .common import DATA, Stop, add_data_options, add_network_options, describe, described, load, numbers, refusals, start
from .train import targets

# the default length, in automatic learning rates, and how many times are looked at
LENGTH = 5_000
POINTS = 200

DESCRIPTION = (
    "Follow gradient flow, dtheta/dt = -dL/dtheta, with error control: what gradient descent does as the learning rate goes to 0. A time t "
    "is t / lr steps of it. Writes the losses, what was recorded and the network, and a picture."
)
EXAMPLES = f"""\
examples:
  linalign flow digits                                         the network and the start of "linalign train digits"
  linalign flow digits --time 50 --record sharpness,singular_values
  linalign flow wine.csv --target quality --task regression --hidden 8 --loss mse --rtol 1e-10

{DATA}

written: PATH.npz with times, loss, excess, drift, each quantity recorded, and params_0, params_1, ...; PATH.png
reading it: found = numpy.load("digits-flow.npz"); found["times"], found["loss"]
to record: {", ".join(QUANTITIES)}.

exit status: 0 done, or the flow stood still; 1 it went no further (stiff, or not finite), 2 wrong options or a bad file, 130 Ctrl-C
"""


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_data_options(command)
    add_network_options(command)
    add = command.add_argument_group("flow").add_argument
    add("--loss", choices=sorted(la.losses.NAMED), default="squared", help="[squared]")
    add("--time", type=float, metavar="T", help=f"how long [{LENGTH:,} times the learning rate of train --lr auto]")
    add("--points", type=int, default=POINTS, metavar="N", help=f"times to look at, evenly from 0 to T [{POINTS}]")
    add("--rtol", type=float, default=1e-8, metavar="R", help="relative tolerance of a step [1e-8]")
    add("--method", choices=METHODS, default=METHODS[0], help=f"Runge-Kutta method [{METHODS[0]}]")
    add("--max-steps", type=int, default=100_000, metavar="N", help="of the method; a stiff flow ends there [100,000]")
    add("--metric", choices=("parameters", "matrix"), default="parameters", help="as for train [parameters]")
    add("--weight-decay", default="0", metavar="L[,L...]", help="decay of the flow, one number or one a layer [0]")
    add("--reduce", default="auto", metavar="R", help='"auto", "none", or reductions R,R,... [auto]')
    add("--record", action="append", default=[], metavar="NAME,...", help="record these at all times; may be repeated [nothing]")
    add("--out", metavar="PATH", help="write PATH.npz and PATH.png [digits-flow; FILE-flow for a file]")
    add("--no-plot", action="store_true", help="no picture")


def run(options: argparse.Namespace) -> int:
    """`linalign flow`."""
    if not options.no_plot and importlib.util.find_spec("matplotlib") is None:
        raise Stop("the picture needs matplotlib, which is not installed; pip install 'linalign[plot]', or pass --no-plot", 2)
    if options.points < 2:
        raise Stop(f"--points is {options.points}; a whole number of at least 2 was wanted", 2)
    with refusals():
        data = load(options)
        net, Y = start(options, data), targets(data, options.loss)
        end = LENGTH * automatic_rate(net, data.X, data.Y, options.loss) if options.time is None else options.time
        if not 0 < end < math.inf:
            raise Stop(f"--time is {options.time}; a number above 0 was wanted", 2)
        names = [name for text in options.record for name in text.split(",")]
        prefix = Path(options.out or f"{data.name}-flow").expanduser()
        print(f"data       {describe(data)}")
        print(f"network    {described(net)}, {options.init} start, {options.loss} loss", flush=True)
        with warnings.catch_warnings():
            # said below, in words of the command line
            warnings.filterwarnings("ignore", "max_steps is", RuntimeWarning)
            found = la.flow(
                net, data.X, Y, times=np.linspace(0.0, end, options.points), loss=options.loss, metric=options.metric, rtol=options.rtol,
                method=options.method, weight_decay=numbers("--weight-decay", options.weight_decay), record=dict.fromkeys(names, 1),
                max_steps=options.max_steps,
                reduce=options.reduce if options.reduce in ("auto", "none") else options.reduce.split(","),
            )  # fmt: skip
    for line in report(found):
        print(line)
    print(f"written    {' '.join(map(str, write(found, prefix, data.name, plot=not options.no_plot)))}")
    return {"done": 0, "steady": 0, "interrupted": 130}.get(found.end, 1)


ENDS = {
    "done": "all of it", "steady": "it stood still", "interrupted": "stopped by Ctrl-C",
    "gave up": "the problem is stiff: --max-steps were taken, and what was done is written",
    "diverged": "no step was small enough: the loss leaves the finite numbers",
}  # fmt: skip


def report(found: Flow) -> list[str]:
    """The result in a few lines."""
    lines = [
        str(found.plan),
        f"result     to t = {found.time:.6g} in {found.seconds:.3g} s: {ENDS[found.end]}",
        f"           {found.steps:,} steps, {found.evaluations:,} gradients",
        f"loss       {found.loss[0]:.6g} -> {found.loss[-1]:.6g}" + (f"; least squares {found.floor:.6g}" if found.floor > 0 else ""),
    ]
    if len(found.drift) and np.isfinite(found.drift).all():
        lines.append(f"conserved  differences of the layers' squared norms, up to {float(found.drift.max()):.1e} of these (T15.2)")
    return lines


def write(found: Flow, prefix: Path, name: str, plot: bool) -> list[Path]:
    """The arrays, then the picture. Raises: Stop."""
    arrays: dict[str, Any] = {"times": found.times, "time": found.time, "loss": found.loss, "excess": found.excess, "drift": found.drift}
    arrays |= {name: kept.values for name, kept in found.history.items()}
    arrays |= {f"params_{i}": theta for i, theta in enumerate(found.network.params)}
    files = [prefix.with_name(prefix.name + ".npz")]
    try:
        with replacing(files[0]) as file:
            np.savez(file, **arrays)
        if plot:
            files.append(prefix.with_name(prefix.name + ".png"))
            found.plot(files[1], data=name)
    except OSError as error:
        raise Stop(f"cannot write {prefix}: {error.strerror or error}", 1) from None
    return files
