"""Lanes: networks of the same shapes side by side, one a lane of the vectors: how their step is laid out, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..layers.homogeneous import Homogeneous
from ..optim import SGD, Rule
from ..optim.adagrad import Adagrad
from ..optim.adam import Adam, AdamW
from ..optim.rmsprop import RMSprop
from ..optim.sign import Sign
from ..problem.problem import Problem
from . import machine
from .cost import Pivot

# losses and rules that keep no branches, so that one instruction does for all lanes
LOSSES = ("squared", "logistic", "cross_entropy")
RULES: dict[type[Rule], str] = {Adam: "adam", AdamW: "adam", RMSprop: "rmsprop", Adagrad: "adagrad", Sign: "sign"}
# bytes of a vector, of the instruction sets whose vectors are worth it
LONGEST = {"avx512": 64, "avx2": 32}
# nanoseconds of an output of a loss with exponentials, of one network by itself
ALONE = 12.0
# and of a step on a batch: rows are drawn and gathered for it
BATCH_ALONE = 2000.0


@dataclass(frozen=True)
class Layout:
    """A step of all lanes.

    widths : `k_0, ..., k_d` from the end where the identity, or the data, enter.
    place : of the data: "nowhere", "first" (before the first layer), "behind" the last one, "diagonal" behind it, or "batches" before the
        first layer.
    turned : whether that end is the outputs.
    carried : whether every layer but the last hands on a constant coordinate, by a last row that no step changes.
    rows : rows in flight.
    macs : multiply-adds of each lane.
    bytes : of what all lanes hold.
    """

    widths: tuple[int, ...]
    place: str
    turned: bool
    carried: bool
    rows: int
    macs: int
    bytes: int
    nanoseconds: float


def width(dtype: np.dtype[Any]) -> int:
    """Lanes of a vector: 1 where this processor has none that are worth it."""
    return max(LONGEST.get(machine.ISA, 0) // dtype.itemsize, 1)


def law(rule: Rule, momentum: float) -> str | None:
    """How a layer is changed; None if the rule cannot be run in lanes."""
    if type(rule) is not SGD:
        return RULES.get(type(rule)) if rule.compiled() is not None else None
    if not momentum:  # nor is there anything to be dampened
        return "descend"
    return "heavy ball" if rule.heavy_ball else "momentum"


def numbers(rule: Rule) -> tuple[float, ...]:
    """Those of the rule, as the kernels know it; the momentum of SGD, the first, is of each network."""
    found = rule.compiled()
    assert found is not None
    return (0.0, *found.numbers[1:]) if type(rule) is SGD else found.numbers


def layout(problem: Problem, slots: int) -> Layout:
    """The cheapest of the ends."""
    return min(layouts(problem, slots), key=lambda one: (one.macs, one.turned))


def layouts(problem: Problem, slots: int) -> list[Layout]:
    """From the inputs, the outputs, or the data before the first layer; `slots` matrices a layer are remembered."""
    k, X = problem.net.widths, problem.X
    if problem.batch is not None:
        return [_layout(problem, slots, k, "batches", False, problem.batch)]
    if X is None or X.ndim == 1:
        data = "nowhere" if X is None else "diagonal"
        if problem.net.depth == 1 or problem.loss.kind != "squared":
            data = "behind"
        ends = [(k, data, False, k[0]), (k[::-1], data, True, k[-1])]
    else:
        ends = [(k, "behind", False, k[0]), (k[::-1], "behind", True, k[-1]), (k, "first", False, len(X))]
    if isinstance(problem.net.layers[0], Homogeneous):  # seen from the outputs, what stands still would be a column
        ends = [end for end in ends if not end[2]]
    return [_layout(problem, slots, *end) for end in ends]


def alone(problem: Problem, pivot: Pivot) -> float:
    """Nanoseconds of a step of one network by itself."""
    entries = 0 if problem.loss.kind == "squared" else problem.rows_a_step * problem.net.widths[-1]
    return pivot.nanoseconds + ALONE * entries + (0.0 if problem.batch is None else BATCH_ALONE)


def _layout(problem: Problem, slots: int, widths: tuple[int, ...], place: str, turned: bool, rows: int) -> Layout:
    n, k_0, k_d = problem.rows_a_step, problem.net.widths[0], problem.net.widths[-1]
    sizes = [a * b for a, b in pairwise(widths)]
    # the first layer is its own row in flight where the identity enters
    macs = rows * (3 * sum(sizes[1:]) + 2 * (sizes[0] if place in ("first", "batches") else 0))
    macs += {"behind": 2 * n * k_0 * k_d, "diagonal": 2 * k_0 * k_d}.get(place, 0)
    itemsize = problem.net.dtype.itemsize
    lanes = width(problem.net.dtype)
    held = sum(sizes) * (1 + slots) + rows * (sum(widths[1:]) + 2 * max(widths)) + (n * k_d if place == "behind" else 0)
    held += rows * (k_0 + k_d) if place == "batches" else 0
    cost = machine.PROFILE.lanes
    # exponentials are in float64 whatever the type
    loss = cost.entry * n * k_d * max(lanes // 8, 1) if problem.loss.kind != "squared" else 0.0
    gathered = cost.gather * rows * (k_0 + k_d) if place == "batches" else 0.0
    carried = isinstance(problem.net.layers[0], Homogeneous)
    return Layout(widths, place, turned, carried, rows, macs, held * itemsize * lanes, cost.step + macs / cost.rate + loss + gathered)
