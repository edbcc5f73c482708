"""Binding a problem to the compiled loop: what it takes, and how many threads share a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._kernels import _chain, _modes
from ..plan import machine, structures
from ..problem.problem import Descent, Problem
from ..validate import Array

Function = Callable[[Array], tuple[float, Array]]

# multiply-adds of a convolution that repay waking a second thread, some microseconds
CONV_WORTH = 250_000
# multiply-adds of the largest product that repay each thread more
SHARE_WORTH = 75_000


# ---- what a `Chain` is given, by name --------------------------------------------------------------------------------------


class Entries(NamedTuple):
    """Observed entries of the product."""

    rows: Array
    columns: Array
    values: Array


class Sensing(NamedTuple):
    """Functionals of the product `<A_j, P>`: `matrices (m, k_d, k_0)`."""

    matrices: Array
    values: Array


class Data(NamedTuple):
    """Samples, targets and the loss between them.

    `X`: rows `(n, k_0)`, `(k_0,)` for a diagonal, None for the identity; `targets (n, k_d)`, None for a loss of the product;
    `loss`: a number of `machine.LOSSES`, times `factor`; `floor`: what is left out of it; `function`: a loss in Python.
    """

    X: Array | None
    targets: Array | None
    loss: int
    factor: float
    floor: float
    observations: Entries | Sensing | None = None
    function: Function | None = None


class Rule(NamedTuple):
    """The update of each layer: `v <- momentum v + G + decay theta`, `theta <- theta - lr v`; one after the other if `cyclic`."""

    lr: Array
    decay: Array
    momentum: float
    cyclic: bool


class Schedule(NamedTuple):
    """`rows` in flight from a pivot; or the whole loop in registers, from an end (`machine.runs_in_registers`)."""

    pivot: int
    rows: int
    in_registers: bool


class Machine(NamedTuple):
    """Instruction set, the most columns of the register tile, and threads that share products."""

    level: int
    tile: int
    threads: int


# ---- binding ---------------------------------------------------------------------------------------------------------------


def sharers(problem: Problem, rows: int, threads: int) -> int:
    """How many threads share the products of a step: no more than the largest of those that BLAS or the tile makes repays."""
    found = [side for layer in problem.net.layers if structures.KINDS[layer.form.kind].products for side in structures.sides(layer)]
    if problem.X is not None and problem.X.ndim == 2:
        found.append(problem.X.shape)
    return min(threads, max(1, rows * max((a * b for a, b in found), default=0) // SHARE_WORTH))


def _observed(loss: Any) -> Entries | Sensing | None:
    """What a loss of some entries, or of some functionals, of the product was told."""
    if loss.kind == "entries":
        return Entries(loss.rows, loss.cols, loss.values)
    if loss.kind == "sensing":
        return Sensing(loss.matrices, loss.values)
    return None


def _called(loss: Any) -> Function | None:
    """A loss in Python, of the product `(k_d, k_0)`."""
    if loss.kind != "end_to_end":
        return None
    objective = loss.objective(None, 1.0)

    def function(product: Array) -> tuple[float, Array]:
        value, gradient = objective(product.T)
        return value, gradient.T

    return function


def bind(problem: Problem, descent: Descent, pivot: int, rows: int, threads: int = 1) -> Any:
    """A `Chain` over `problem`: `rows` rows in flight from `pivot`; all checked before by the planner.

    `threads`: that share products and convolutions; BLAS is held to one from outside.
    """
    net, loss, X = problem.net, problem.loss, problem.X
    cyclic = descent.update == "cyclic"
    in_registers = machine.runs_in_registers(problem, descent, pivot, rows)
    if X is not None and X.ndim == 1 and not in_registers and (pivot == 0 or cyclic):
        X = np.diag(X)
    return _chain.Chain(
        net.params,
        [structures.parts(layer, descent.metric, threads if rows * layer.work >= CONV_WORTH else 1, net.dtype) for layer in net.layers],
        Data(X, problem.T, machine.LOSSES[loss.kind], problem.factor, problem.floor, _observed(loss), _called(loss)),
        Rule(descent.lr, descent.weight_decay, descent.momentum, cyclic),
        Schedule(0 if cyclic else pivot, rows, in_registers),
        Machine(machine.LEVELS[machine.ISA], machine.TILE, sharers(problem, rows, threads)),
    )


def bind_modes(modes: Any, problem: Problem, descent: Descent) -> Any:
    """A `Modes` kernel over the scalars of `linalign.reduce.split.Modes`."""
    dtype = problem.net.dtype
    return _modes.Modes(
        modes.sigma.astype(dtype), modes.x, modes.y, modes.weight, factor=problem.factor, floor=0.0, lr=descent.lr,
        decay=descent.weight_decay, momentum=descent.momentum, cyclic=descent.update == "cyclic", level=machine.LEVELS[machine.ISA],
    )  # fmt: skip
