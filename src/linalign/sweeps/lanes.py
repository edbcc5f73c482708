"""Lanes: whether the networks of a sweep run side by side, one a lane of the processor's vectors, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import losses
from ..engine.lanes import MOST_DEPTH
from ..layers import Biased, Dense
from ..plan import lanes, machine
from ..plan.lanes import Layout
from ..plan.planner import REDUCTIONS, Work, check_reduce, make_plan
from ..problem.descent import Descent
from ..problem.network import Network
from ..problem.problem import Problem
from ..record.stacked import stackable
from ..training.options import Options

# reductions that do the same to all networks on the same data
SHARED = ("samples", "inputs")
# options that may differ from lane to lane
BY_LANE = frozenset({"lr", "tol", "weight_decay", "momentum", "rng", "metric"})
# a sweep of fewer networks than so many vectors holds runs them one at a time
LEAST_VECTORS = 2
# schedules of records and of rates are worked out before the first step
MOST_RECORDED = 1_000_000
MOST_RATES = 2**23
# and so is which rows each step sees
MOST_DRAWN = 2**24


@dataclass(frozen=True)
class Lanes:
    """How the networks of a sweep run: `width` side by side, 1 one at a time; and why.

    `apart`: keys of the grid in which the networks of a vector do not differ.
    """

    width: int
    why: str
    apart: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.width} side by side: {self.why}" if self.width > 1 else f"one at a time: {self.why}"

    def chunk(self, count: int, workers: int) -> int:
        """How many networks a worker takes at a time: whole vectors, but shares for all."""
        return 1 if self.width == 1 else self.width * max(1, min(math.ceil(count / (8 * workers * self.width)), 512 // self.width))

    def order(self, axes: Mapping[str, Sequence[Any]]) -> Callable[[tuple[int, Any]], Any]:
        """By what numbered points are sorted so that those which may share a vector follow each other."""
        if not self.apart:
            return lambda task: 0
        shape = [len(values) for values in axes.values()]
        places = [list(axes).index(key) for key in self.apart]
        return lambda task: [np.unravel_index(task[0], shape)[place] for place in places]


ONE = Lanes(1, "nothing was decided")


def refusal(options: Options) -> str | None:
    """Why runs of these options cannot be made side by side; None if they can."""
    asked = [
        (options.implementation != "kernel", "the reference is asked for"),
        (options.update != "simultaneous", "cyclic updates go from layer to layer"),
        (options.stream is not None, "steps have data of their own"),
        (callable(options.batch), "the size of a batch is a function of the step"),
        (options.label_noise or options.gradient_noise, "steps have noise"),
        (options.stop is not None, "stop is a function of one network"),
        (options.validation is not None, "validation is of one network at a time"),
        (options.plan is not None or options.pivot != "auto", "a plan or a pivot is asked for"),
        (not isinstance(options.reduce, str) and not set(options.reduce) <= set(REDUCTIONS), "reduce has a reduction from elsewhere"),
        (losses.resolve(options.loss).kind not in lanes.LOSSES, "the loss is neither squared nor logistic nor cross-entropy"),
        (lanes.law(options.rule, 1.0) is None, f"the rule {options.rule.describe()} is run one network at a time"),
    ]
    for found, why in asked:
        if found:
            return why
    if options.record and options.steps > MOST_RECORDED:
        return f"record is of more than {MOST_RECORDED:,} steps"
    return stackable(options.record)


def names(problem: Problem, reduce: Any) -> list[str]:
    """The reductions that all networks share."""
    allowed = [name for name in check_reduce(reduce) if name in SHARED]
    if not problem.quadratic and problem.rows >= problem.net.widths[0]:
        # the rank is sought at the cost of a factorisation, and mostly full
        allowed = [name for name in allowed if name != "inputs"]
    return allowed


def fits(net: Any) -> bool:
    """Whether a network can be run beside others: all of its layers are dense, and all or none have biases."""
    if not isinstance(net, Network) or net.depth > MOST_DEPTH:
        return False
    return net.is_dense or all(isinstance(layer, Biased) and isinstance(layer.layer, Dense) for layer in net.layers)


def shared(problem: Problem, descent: Descent, options: Options) -> tuple[Work, Layout]:
    """What is run in place of the problem, for its network and all others of its widths, and how its step is laid out."""
    work = make_plan(options.seen(problem), descent, reduce=names(problem, options.reduce), steps=options.steps)[1]
    return work, lanes.layout(work.problem, descent.rule.slots)


def decide(job: Any, axes: Mapping[str, Sequence[Any]], net: Network | None, asked: bool | None) -> Lanes:
    """Whether runs are made side by side: from the first network, None if it failed, the grid, and what a step costs either way.

    The same for whatever part of the grid is missing, and for any number of threads. Raises: ValueError where lanes are asked for and
    cannot be had.
    """
    found = Lanes(1, "asked for") if asked is False else _decide(job, axes, net, bool(asked))
    if asked and found.width == 1:
        raise ValueError(f"lanes is True but {found.why}; leave it out")
    return found


def _decide(job: Any, axes: Mapping[str, Sequence[Any]], net: Network | None, asked: bool) -> Lanes:
    first = {key: values[0] for key, values in axes.items()}
    count = math.prod(map(len, axes.values()))
    if job.checkpoint is not None:
        return Lanes(1, "each run has a checkpoint of its own")
    if net is None:
        return Lanes(1, "the first network cannot be made")
    options = job.choice(first).options
    if why := refusal(options):
        return Lanes(1, why)
    if not fits(net):
        return Lanes(1, "the first network is not of dense layers alone, all or none with biases")
    if net.has_biases and (why := stackable(options.record, biases=True)):
        return Lanes(1, why)
    width = lanes.width(net.dtype)
    if width == 1:
        return Lanes(1, f"vectors of {machine.ISA} hold too few networks")
    if count < LEAST_VECTORS * width and not asked:
        return Lanes(1, f"{count} networks do not fill {LEAST_VECTORS} vectors of {width}")
    problem = job.problem(net, options.loss, options.reduce, options.batched)
    options = options.on(problem)
    descent = options.descent(net)
    if descent.rates.constant is None and options.steps * net.depth > MOST_RATES:
        return Lanes(1, f"lr has more than {MOST_RATES:,} rates")
    work, layout = shared(problem, descent, options)
    if options.batched and options.steps * layout.rows > MOST_DRAWN:
        return Lanes(1, f"batches have more than {MOST_DRAWN:,} rows in all")
    apart = _apart(job, axes, first, net)
    together = min(width, max(1, count // math.prod(len(axes[key]) for key in apart)))
    shapes = f"{'-'.join(map(str, net.widths))} on {work.problem.rows} rows"
    if layout.bytes > machine.PROFILE.lanes.cache and not asked:
        return Lanes(1, f"{width} networks {shapes} take {layout.bytes / 1e6:.1f} MB, more than the second cache")
    made, own = make_plan(options.seen(problem), descent, reduce=options.reduce, steps=options.steps)
    if own.split is not None and not asked:
        return Lanes(1, "the first network falls apart into parts that are run by themselves")
    if layout.nanoseconds > lanes.alone(own.problem, made.pivot) * together and not asked:
        return Lanes(1, f"a step of {together} networks {shapes} takes no longer one after the other")
    place = {"nowhere": "no data", "first": "data before the first layer", "behind": "data behind the last layer",
             "diagonal": "diagonal data", "batches": f"batches of {layout.rows} rows before the first layer"}[layout.place]  # fmt: skip
    end, held = "outputs" if layout.turned else "inputs", f"{layout.bytes / 1000:,.3g} kB"
    shapes += ", with biases" if net.has_biases else ""
    why = f"{shapes}, {work.problem.loss.kind} loss, {place}, from the {end}; all hold {held} ({machine.ISA})"
    return Lanes(width, why, apart)


def _apart(job: Any, axes: Mapping[str, Sequence[Any]], first: Mapping[str, Any], net: Network) -> tuple[str, ...]:
    """Keys whose values give networks that cannot share a vector: other options, or other shapes, which the last value shows."""
    found = []
    for key, values in axes.items():
        if len(values) == 1 or (key not in job.of_network and (key in BY_LANE or (key == "steps" and not job.settings(first)["record"]))):
            continue
        if key in job.of_network:
            try:
                other = job.network({**first, key: values[-1]})
                if fits(other) and (other.widths, other.dtype, other.has_biases) == (net.widths, net.dtype, net.has_biases):
                    continue
            except Exception:
                continue
        found.append(key)
    return tuple(found)


def named(plan: Any, width: int) -> Any:
    """The plan of a network that ran in a lane."""
    why = f"{width} networks side by side, one a lane of the vectors: the loop is one function"
    return replace(plan, kernel=f"lanes, {machine.ISA}", kernel_why=why)
