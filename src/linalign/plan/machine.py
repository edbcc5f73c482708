"""This processor: its instruction set, what fits its registers and the register tile, and the numbers shared with the kernels."""

from __future__ import annotations

import os

from .. import validate
from ..layers.base import Border
from ..problem.descent import Descent
from ..problem.problem import Problem
from . import profiles

try:
    from .._kernels import _machine
except ImportError as error:  # pragma: no cover - a broken build
    raise ImportError(f"the compiled kernels are missing ({error}); build them with: pip install -e . (needs a C compiler)") from error

# numbers of instruction sets, kinds of layers, losses, answers of a run and update rules, as the kernels have them
LEVELS, KINDS, LOSSES, STATUSES = _machine.LEVELS, _machine.KINDS, _machine.LOSSES, _machine.STATUSES
RULES = _machine.RULES
# whether the kernel has threads of its own (OpenMP); without them products are left to those of BLAS
SHARES = _machine.shares()


CPU = _machine.processor()
# what products cost here, and where the kernels change over (kernels/README.md has measurements behind these numbers)
PROFILE = profiles.choose(CPU)
# the most columns of a result, and terms of its sums, that the register tile takes; matrices of fewer are padded to whole vectors;
# multiples of 16, the longest vector; the baseline has no tile
TILES = {LEVELS[name]: most for name, most in PROFILE.tiles.items() if name in LEVELS}


def isa() -> str:
    """The instruction set in use: the best one here, or the one that LINALIGN_ISA names.

    Raises: ValueError if LINALIGN_ISA is unknown or beyond this processor.
    """
    best = _machine.detect()
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
    return isa_name(_machine.detect())


def build_flags() -> list[str]:
    """How the extension was built."""
    found: list[str] = _machine.build()
    return found


# bytes of parameters that stay in the first cache beside a row
FIRST_CACHE = 32768
ISA = isa()
TILE = TILES[LEVELS[ISA]]
# the least rows, columns and terms of a product that goes by packed panels of the kernel's own; 0 for none
PANELS = PROFILE.panels[ISA]


def has_loops() -> bool:
    """Whether networks that fit in registers, and steps of one row, have loops of their own: vectors of NEON are too short for them."""
    return LEVELS[ISA] > LEVELS.get("neon", 0)


def uses_tile(columns: int, terms: int) -> bool:
    """Whether a product of so many columns, each entry a sum of so many terms, goes to the register tile; rows do not count."""
    return LEVELS[ISA] > 0 and max(columns, terms) <= TILE


def uses_panels(rows: int, columns: int, terms: int) -> bool:
    """Whether a product that the tile leaves goes by packed panels, and not to BLAS."""
    return 0 < PANELS <= min(rows, columns, terms)


def fits_registers(problem: Problem, descent: Descent) -> bool:
    """Whether the whole loop can run on matrices that fit in a few registers each: rows of at most 64 bytes, and as many of them."""
    return (
        has_loops() and problem.loss.kind == "squared" and problem.T is not None
        and descent.update == "simultaneous" and not descent.momentum and (descent.fused or _sees_all_first(problem, descent))
        and problem.batch is None and max(*problem.net.widths, problem.rows) * problem.net.dtype.itemsize <= _machine.LINE_BYTES
        and all(layer.form.kind == "dense" for layer in problem.net.layers)
    )  # fmt: skip


def _sees_all_first(problem: Problem, descent: Descent) -> bool:
    """Whether the rule is one of those that the kernels use after the gradients of all layers, all taken at one place."""
    found = None if descent.heavy_ball or descent.noisy else descent.compiled(problem.net)
    return found is not None and found.rho == 0


def fits_one_row(problem: Problem, descent: Descent) -> bool:
    """Whether steps of one row each may have a loop of their own: plain descent on the squared loss, by dense and diagonal layers that
    stay in the first cache."""
    net = problem.net
    return (
        problem.batch == 1 and has_loops() and problem.loss.kind == "squared"
        and descent.update == "simultaneous" and descent.heavy_ball and not descent.momentum and not descent.noisy
        and max(net.widths) <= TILE and net.size * net.dtype.itemsize <= FIRST_CACHE
        and all(layer.form.kind in ("dense", "diagonal") and layer.form.border == Border() for layer in net.layers)
    )  # fmt: skip


def runs_one_row(problem: Problem, descent: Descent, pivot: int) -> bool:
    """Whether that loop is taken: from the samples."""
    return pivot == 0 and fits_one_row(problem, descent)


def runs_in_registers(problem: Problem, descent: Descent, pivot: int, rows: int) -> bool:
    """Whether that loop is taken: from an end, with the rows of the data in flight, or from the outputs of diagonal data or none."""
    outputs = pivot == problem.net.depth and (problem.X is None or problem.X.ndim == 1)
    return (outputs or (pivot == 0 and rows == problem.rows)) and fits_registers(problem, descent)
