"""Binding a problem to the compiled loop: what it takes, and how many threads share a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._kernels import _chain, _modes
from ..plan import machine
from ..problem.problem import Descent, Problem
from . import structures

LOSSES = {"squared": 0, "logistic": 1, "exponential": 2, "cross_entropy": 3, "entries": 4, "sensing": 5, "end_to_end": 6}


# multiply-adds of a convolution that repay waking a second thread, some microseconds
CONV_WORTH = 250_000
# multiply-adds of the largest product that repay each thread more
SHARE_WORTH = 75_000


def sharers(problem: Problem, rows: int, threads: int) -> int:
    """How many threads share the products of a step: no more than the largest of those that BLAS or the tile makes repays."""
    found = [side for layer in problem.net.layers if layer.form.kind not in structures.OWN for side in machine.sides(layer)]
    if problem.X is not None and problem.X.ndim == 2:
        found.append(problem.X.shape)
    return min(threads, max(1, rows * max((a * b for a, b in found), default=0) // SHARE_WORTH))


def bind(problem: Problem, descent: Descent, pivot: int, rows: int, threads: int = 1) -> Any:
    """A `Chain` over `problem`: `rows` rows in flight from `pivot`; all checked before by the planner.

    `threads`: that share products and convolutions; BLAS is held to one from outside.
    """
    loss = problem.loss
    observations: dict[str, Any] | None = None
    if loss.kind == "entries":
        observations = {"rows": loss.rows, "cols": loss.cols, "values": loss.values}  # type: ignore[attr-defined]
    elif loss.kind == "sensing":
        observations = {"matrices": loss.matrices, "values": loss.values}  # type: ignore[attr-defined]
    function = None
    if loss.kind == "end_to_end":
        objective = loss.objective(None, 1.0)

        def function(product: Any) -> tuple[float, Any]:
            value, gradient = objective(product.T)
            return value, gradient.T

    X = problem.X
    tiny = machine.runs_in_registers(problem, descent, pivot, rows)
    if X is not None and X.ndim == 1 and not tiny and (pivot == 0 or descent.update == "cyclic"):
        X = np.diag(X)
    return _chain.Chain(
        list(problem.net.params), X, problem.T, kind=LOSSES[loss.kind], factor=problem.factor, floor=problem.floor,
        pivot=0 if descent.update == "cyclic" else pivot, rows=rows, lr=descent.lr, momentum=descent.momentum,
        decay=descent.weight_decay, cyclic=descent.update == "cyclic", level=machine.LEVELS[machine.ISA], most=machine.TILE,
        threads=sharers(problem, rows, threads),
        structures=[structures.parts(layer, descent.metric, threads if rows * layer.work >= CONV_WORTH else 1)
                    for layer in problem.net.layers],
        observations=observations, function=function, tiny=tiny,
    )  # fmt: skip


def bind_modes(modes: Any, problem: Problem, descent: Descent) -> Any:
    """A `Modes` kernel over the scalars of `linalign.reduce.split.Modes`."""
    dtype = problem.net.dtype
    return _modes.Modes(
        modes.sigma.astype(dtype), modes.x, modes.y, modes.weight, factor=problem.factor, floor=0.0, lr=descent.lr,
        decay=descent.weight_decay, momentum=descent.momentum, cyclic=descent.update == "cyclic", level=machine.LEVELS[machine.ISA],
    )  # fmt: skip
