"""Binding a problem to the compiled loop: instruction set, tile thresholds, buffers."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from . import structures, validate
from .layers import Layer
from .problem.problem import Descent, Problem

try:
    from ._kernels import _chain, _modes
    from ._kernels._limits import Limits
except ImportError as error:  # pragma: no cover - a broken build
    raise ImportError(f"the compiled kernels are missing ({error}); build them with: pip install -e . (needs a C compiler)") from error

LEVELS = {"base": 0, "avx2": 3, "avx512": 4}
LOSSES = {"squared": 0, "logistic": 1, "exponential": 2, "cross_entropy": 3, "entries": 4, "sensing": 5, "end_to_end": 6}


# multiply-adds of a convolution that repay waking a second thread, some microseconds
CONV_WORTH = 250_000
# multiply-adds of the largest product that repay each thread more
SHARE_WORTH = 75_000
# whether the kernel has threads of its own (OpenMP); without them products are left to those of BLAS
SHARES = _chain.shares()


# the most columns of a result, and terms of its sums, that the register tile takes; matrices of fewer are padded to whole vectors;
# multiples of 16, the longest vector
# (kernels/README.md has the measurements behind these numbers; the baseline has no tile)
TILES = {0: 64, 3: 128, 4: 192}


def isa() -> str:
    """The instruction set in use: the best one here, or the one that LINALIGN_ISA names.

    Raises: ValueError if LINALIGN_ISA is unknown or beyond this processor.
    """
    best = _chain.detect()
    asked = os.environ.get("LINALIGN_ISA")
    if asked is None:
        return next(name for name, level in LEVELS.items() if level == best)
    validate.choice("LINALIGN_ISA", asked, LEVELS)
    if LEVELS[asked] > best:
        raise ValueError(f"LINALIGN_ISA is {asked!r} but this processor has at most {isa_name(best)!r}; unset it")
    return asked


def isa_name(level: int) -> str:
    """The name of a level."""
    return next(name for name, at in LEVELS.items() if at == level)


def available() -> str:
    """The best instruction set of this processor."""
    return isa_name(_chain.detect())


def build_flags() -> list[str]:
    """How the extension was built."""
    found: list[str] = _chain.build()
    return found


ISA = isa()
TILE = TILES[LEVELS[ISA]]


def uses_tile(columns: int, terms: int) -> bool:
    """Whether a product of so many columns, each entry a sum of so many terms, goes to the register tile; rows do not count."""
    return LEVELS[ISA] > 0 and max(columns, terms) <= TILE


def sides(layer: Layer) -> list[tuple[int, int]]:
    """Outputs and inputs of the dense products that take a row through the layer, or take as long."""
    form = layer.form
    if form.kind == "diagonal":
        return [(layer.shape[0], 1)]
    if form.kind == "blocks":
        return [(b, a) for a, b in zip(form.numbers[::2], form.numbers[1::2], strict=True)]
    if form.kind == "sparse":
        return [(layer.work, 1)]
    if form.kind == "conv":
        c_in, _, _, c_out, h, w, kh, kw = form.numbers[:8]
        return [(c_out * h * w, c_in * kh * kw)]
    return [layer.shape]


def sharers(problem: Problem, rows: int, threads: int) -> int:
    """How many threads share the products of a step: no more than the largest of those that BLAS or the tile makes repays."""
    found = [side for layer in problem.net.layers if layer.form.kind not in structures.OWN for side in sides(layer)]
    if problem.X is not None and problem.X.ndim == 2:
        found.append(problem.X.shape)
    return min(threads, max(1, rows * max((a * b for a, b in found), default=0) // SHARE_WORTH))


def fits_registers(problem: Problem, descent: Descent) -> bool:
    """Whether the whole loop can run on matrices that fit in a few registers each: rows of at most 64 bytes, and as many of them."""
    return (
        LEVELS[ISA] > 0 and problem.loss.kind == "squared" and problem.T is not None
        and descent.update == "simultaneous" and descent.momentum == 0
        and max(*problem.net.widths, problem.rows) * problem.net.dtype.itemsize <= 64
        and all(layer.form.kind == "dense" for layer in problem.net.layers)
    )  # fmt: skip


def runs_in_registers(problem: Problem, descent: Descent, pivot: int, rows: int) -> bool:
    """Whether that loop is taken: from an end, with the rows of the data in flight, or from the outputs of diagonal data or none."""
    outputs = pivot == problem.net.depth and (problem.X is None or problem.X.ndim == 1)
    return (outputs or (pivot == 0 and rows == problem.rows)) and fits_registers(problem, descent)


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
    tiny = runs_in_registers(problem, descent, pivot, rows)
    if X is not None and X.ndim == 1 and not tiny and (pivot == 0 or descent.update == "cyclic"):
        X = np.diag(X)
    return _chain.Chain(
        list(problem.net.params), X, problem.T, kind=LOSSES[loss.kind], factor=problem.factor, floor=problem.floor,
        pivot=0 if descent.update == "cyclic" else pivot, rows=rows, lr=descent.lr, momentum=descent.momentum,
        decay=descent.weight_decay, cyclic=descent.update == "cyclic", level=LEVELS[ISA], most=TILE,
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
        decay=descent.weight_decay, momentum=descent.momentum, cyclic=descent.update == "cyclic", level=LEVELS[ISA],
    )  # fmt: skip
