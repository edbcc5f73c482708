"""This processor: its instruction set, and what fits its registers and the register tile."""

from __future__ import annotations

import os

from .. import validate
from ..layers import Layer
from ..problem.problem import Descent, Problem

try:
    from .._kernels import _chain
except ImportError as error:  # pragma: no cover - a broken build
    raise ImportError(f"the compiled kernels are missing ({error}); build them with: pip install -e . (needs a C compiler)") from error

LEVELS = {"base": 0, "avx2": 3, "avx512": 4}
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
