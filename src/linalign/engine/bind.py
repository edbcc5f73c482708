"""Binding a problem to the compiled loop: what it takes, and how many threads share a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._kernels import _chain, _curvature, _flow, _modes
from ..losses import Loss
from ..optim import Muon
from ..optim.rule import Compiled
from ..optim.wrapped import innermost
from ..plan import machine, structures
from ..problem.descent import Descent
from ..problem.facts import DataFacts
from ..problem.problem import Problem
from ..validate import Array

Function = Callable[[Array], tuple[float, Array]]

# the kind of a loss in Python, for the kernels
IN_PYTHON = "end_to_end"
# multiply-adds of the largest product that repay each thread more
SHARE_WORTH = machine.PROFILE.share
# a layer of at most so many times the `cache` of the profile stays in one core's, one of more than so many not in those of two either
KEPT, LARGE = 2, 4
# numbers of a block of long data and of what is computed of it: they stay in the second cache; and how many rows that may be, in whole
# vectors, from so many blocks on
BLOCK, LEAST, MOST, UNIT, MANY = 2**16, 96, 4096, 16, 8


# ---- what a `Chain` is given, by name --------------------------------------------------------------------------------------


class Entries(NamedTuple):
    """Observed entries of the product: `np.intp`, and float64."""

    rows: Array
    columns: Array
    values: Array


class Sensing(NamedTuple):
    """Functionals of the product `<A_j, P>`: `matrices (m, k_d, k_0)`, float64."""

    matrices: Array
    values: Array


class Data(NamedTuple):
    """Samples, targets and the loss between them.

    `X`: rows `(n, k_0)`, `(k_0,)` for a diagonal, None for the identity; `targets (n, k_d)`, None for a loss of the product;
    `loss`: a number of `machine.LOSSES`, times `factor`; `floor`: what is left out of it; `function`: a loss in Python;
    `delta`: where a Huber loss turns linear; `block`: rows that the chain meets at a time, 0 for all at once; `lent`: nobody writes to
    samples and targets for as long as the chain is used, so that they need not be copied.
    """

    X: Array | None
    targets: Array | None
    loss: int
    factor: float
    floor: float
    observations: Entries | Sensing | None = None
    function: Function | None = None
    delta: float = 0.0
    block: int = 0
    lent: bool = False


class Rule(NamedTuple):
    """The update of each layer: `v <- momentum v + G + decay theta`, `theta <- theta - lr v`; one after the other if `cyclic`."""

    lr: Array
    decay: Array
    momentum: float
    cyclic: bool


class Schedule(NamedTuple):
    """`rows` in flight from a pivot; or the whole loop in registers, from an end (`machine.runs_in_registers`).

    `one_row`: steps that are given one row each have a loop of their own (`machine.runs_one_row`).
    """

    pivot: int
    rows: int
    in_registers: bool
    one_row: bool = False


class Machine(NamedTuple):
    """Instruction set, the most columns of the register tile, threads that share products, and the least sides of one that goes by
    panels; `wake` and `cache` are of the profile."""

    level: int
    tile: int
    threads: int
    panels: int = 0
    wake: int = machine.PROFILE.wake
    cache: int = machine.PROFILE.cache


# ---- binding ---------------------------------------------------------------------------------------------------------------


def sharers(problem: Problem, rows: int, threads: int, written: bool = True) -> int:
    """How many threads share the products of a step: no more than the largest of those that BLAS or the tile makes repays.

    `written`: layers change at every step, and what one thread has written is slow to reach for the others: of products of few rows that
    takes longer than they do, but where two caches hold a layer that one does not. They share nothing then, unless more is to be multiplied
    by the data, which nobody writes to.
    """
    if threads == 1:
        return 1
    few, itemsize = machine.PROFILE.few, problem.net.dtype.itemsize
    shared, kept, largest = 0, 0, 0
    for a, b in (side for layer in problem.net.layers for side in structures.products(layer)):
        size = a * b * itemsize / machine.PROFILE.cache
        if written and rows < (few[0] if size <= KEPT else few[1] if size > LARGE else 0):
            kept += rows * a * b
        else:
            shared, largest = shared + rows * a * b, max(largest, a * b)
    if problem.X is not None and problem.X.ndim == 2:
        shared, largest = shared + rows * problem.X.size, max(largest, problem.X.size)
    return 1 if kept > shared else min(threads, max(1, rows * largest // SHARE_WORTH))


def rows_at_once(problem: Problem, pivot: int, rows: int) -> int:
    """The rows of long data that a chain meets at a time, by the sizes alone; 0 for all."""
    X, T, k = problem.X, problem.T, problem.net.widths
    if X is None or T is None or X.ndim != 2 or len(X) <= max(k) or not compiled(problem.loss) or (pivot == 0 and rows == len(X)):
        return 0
    across = k[0] + 2 * k[-1] + (2 * rows if 0 < pivot < len(k) - 1 else 0)
    block = min(max(BLOCK // across, LEAST), MOST) // UNIT * UNIT
    return block if len(X) >= MANY * block else 0


def _copy(numbers: Array, dtype: type[np.generic]) -> Array:
    return np.array(numbers, dtype=dtype, order="C")


def _observed(loss: Any) -> Entries | Sensing | None:
    """What a loss of some entries, or of some functionals, of the product was told."""
    if loss.kind == "entries":
        return Entries(_copy(loss.rows, np.intp), _copy(loss.cols, np.intp), _copy(loss.values, np.float64))
    if loss.kind == "sensing":
        return Sensing(_copy(loss.matrices, np.float64), _copy(loss.values, np.float64))
    return None


def compiled(loss: Loss) -> bool:
    """Whether the kernels compute the loss by themselves; any other is asked for in Python, once a step."""
    return loss.kind in machine.LOSSES and loss.kind != IN_PYTHON


def _called(problem: Problem) -> Function | None:
    """A loss in Python, of the outputs `(k_d, n)`: for a loss of the product, of the product."""
    if compiled(problem.loss):
        return None
    objective = problem.loss.objective(problem.T, problem.factor)

    def function(outputs: Array) -> tuple[float, Array]:
        value, gradient = objective(outputs.T)
        return value, gradient.T

    return function


def bind(problem: Problem, descent: Descent, pivot: int, rows: int, threads: int = 1, *, alone: bool = True, lent: bool = False) -> Any:
    """A `Chain` over `problem`: `rows` rows in flight from `pivot`; all checked before by the planner.

    `threads`: that share products and convolutions; BLAS is held to one from outside. `alone`: the loop may run in registers, where
    nothing is handed to it from step to step, and on long data in blocks of rows. `lent`: nobody writes to the data while it is used.
    """
    net, loss, X = problem.net, problem.loss, problem.X
    cyclic = descent.update == "cyclic"
    in_registers = alone and machine.runs_in_registers(problem, descent, pivot, rows)
    given = X is not None and pivot == 0 and not cyclic and rows == problem.rows
    if X is not None and X.ndim == 1 and not in_registers and (pivot == 0 or cyclic):
        X = np.diag(X)
    return _chain.Chain(
        net.params,
        [structures.parts(layer, descent.metric, net.dtype, rows, threads, given) for layer in net.layers],
        Data(
            X,
            problem.T,
            machine.LOSSES.get(loss.kind, machine.LOSSES[IN_PYTHON]),
            problem.factor,
            problem.floor,
            _observed(loss),
            _called(problem),
            getattr(loss, "delta", 0.0),
            rows_at_once(problem, pivot, rows) if alone and not cyclic else 0,
            alone and lent,
        ),
        Rule(descent.lr, descent.weight_decay, descent.momentum, cyclic),
        Schedule(0 if cyclic else pivot, rows, in_registers, machine.runs_one_row(problem, descent, pivot)),
        Machine(machine.LEVELS[machine.ISA], machine.TILE, sharers(problem, rows, threads), machine.PANELS),
    )


def bind_curvature(problem: Problem, descent: Descent, pivot: int, rows: int, threads: int, *, part: bool) -> Any:
    """A `Curvature` over `problem`, Gauss-Newton's part alone if `part`, that stands at its parameters; as `bind`."""
    found = _curvature.Curvature(bind(problem, descent, pivot, rows, threads, alone=False), part)
    found.stand()
    return found


def bind_flow(chain: Any, *how: Any) -> Any:
    """A `Stepper` of the flow of a chain."""
    return _flow.Stepper(chain, *how)


def drive(chain: Any, problem: Problem, descent: Descent, rule: Compiled, shapes: Sequence[tuple[int, int]]) -> None:
    """Give a chain its rule; `shapes` are those of the layers as given."""
    inner = innermost(descent.rule)
    scales = [inner.scale(shape) for shape in shapes] if isinstance(inner, Muon) else None
    chain.optimise(
        machine.RULES[rule.kind], rule.numbers, descent.rule.slots, descent.rule.numbers, matrix_metric=descent.metric == "matrix",
        clip=rule.clip, rho=rule.rho, average=rule.average, scales=scales,
    )  # fmt: skip
    start = descent.rule.start(problem.net.params)
    for slots, first in zip(chain.slots, start.arrays, strict=True):
        for array, value in zip(slots, first, strict=True):
            array[...] = value


def draw_from(chain: Any, problem: Problem, batches: bool = True) -> None:
    """Give a chain that was bound to the first rows all of them, to take batches of; or, without, its targets to put noise on."""
    assert problem.T is not None
    k_d = problem.net.widths[-1]
    if batches:
        assert problem.X is not None
        chain.batches(problem.X, problem.T, [0.0, *(problem.loss.factor(count, k_d) for count in range(1, problem.rows_a_step + 1))])
    else:
        chain.batches(None, problem.T, [problem.factor])


def first_rows(problem: Problem) -> Problem:
    """The problem of the first rows, as many as a step sees."""
    assert problem.X is not None
    assert problem.T is not None
    return replace(problem, X=problem.X[: problem.batch], T=problem.T[: problem.batch], facts=DataFacts())


def bind_modes(modes: Any, problem: Problem, descent: Descent) -> Any:
    """A `Modes` kernel over the scalars of `linalign.reduce.split.Modes`."""
    dtype = problem.net.dtype
    return _modes.Modes(
        modes.sigma.astype(dtype), modes.x, modes.y, modes.weight, factor=problem.factor, floor=0.0, lr=descent.lr,
        decay=descent.weight_decay, momentum=descent.momentum, cyclic=descent.update == "cyclic", level=machine.LEVELS[machine.ISA],
    )  # fmt: skip
