"""Planner: from the problem as given to the cheapest one with the same trajectory.

It knows no clock and no chance: the same call gives the same plan. Every reduction states its precondition and measures
how well it held; one that does not hold is left out, and the plan says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from .. import validate
from ..layers import Dense
from ..problem.descent import Descent
from ..problem.network import Network
from ..problem.problem import Problem
from ..reduce import blocks, filters, inputs, samples, split, width
from ..reduce.split import Modes, Split
from ..validate import Array
from . import cost, machine
from .cost import Pivot
from .plan import Plan, Reduction

REDUCTIONS = ("filters", "samples", "inputs", "width", "split")
# those that do the same to every network of the same widths on the same data
OF_DATA = ("samples", "inputs")
# a reduction whose check is off by more than this is refused
RESIDUAL_TOLERANCE = 1e-10
# a reduction must save this share of the multiply-adds
GAIN = 0.95
# nanoseconds of a step of scalar modes: of the call, and of each scalar
MODES_CALL, MODES_EACH = 30.0, 0.5
# with numbers above this, norms may overflow: nothing is reduced
LARGEST = 1e100
# seeking a reduction must cost less than this many steps of the problem as given, and this share of the run without it
SEARCH_STEPS, SEARCH_SHARE = 50, 0.125
# nanoseconds of Python: of a search, and for each direction that blocks are grown from one by one
SEARCH_CALL, SEARCH_DIRECTION = 1e6, 1e5
# a factorisation does this many times the multiply-adds of a convolution in the same time
SEARCH_RATE = 3
TOO_SHORT = "the run is too short to repay the search"

Choice = tuple[Pivot, str, tuple[Pivot, ...]]
Lift = Callable[[list[Array], int], list[Array]]


@dataclass(eq=False)
class Work:
    """What is run instead of the problem as given, and the way back."""

    given: Problem
    problem: Problem
    lifts: list[Lift] = field(default_factory=list)
    split: Split | None = None

    def choose(self, descent: Descent) -> Choice:
        """The pivot of the problem as it is now."""
        found: Choice = _once(self.problem, ("pivot", *descent.key), lambda: cost.choose(self.problem, descent))
        return found

    def lift(self, params: list[Array], steps: int) -> list[Array]:
        """The parameters of the network as given, after `steps` steps."""
        for back in reversed(self.lifts):
            params = back(params, steps)
        return params

    @property
    def floor(self) -> float:
        """The part of the loss that no step changes."""
        return self.problem.floor if self.split is None else self.split.floor


def check_pivot(pivot: Any, depth: int) -> str | int:
    """'auto' or a whole number in 0..depth. Raises: ValueError, TypeError."""
    if isinstance(pivot, str):
        return validate.choice("pivot", pivot, ("auto",))
    at = validate.integer("pivot", pivot, least=0)
    if at > depth:
        raise ValueError(f"pivot is {at} but the network has {depth} layers; a pivot is 'auto' or a whole number from 0 to {depth}")
    return at


def check_reduce(reduce: Any) -> tuple[str, ...]:
    """The reductions that may be used. Raises: ValueError, TypeError."""
    if isinstance(reduce, str):
        return REDUCTIONS if validate.choice("reduce", reduce, ("auto", "none")) == "auto" else ()
    try:
        names = list(reduce)
    except TypeError:
        raise TypeError(f"reduce is {reduce!r}; 'auto', 'none' or a list of {', '.join(REDUCTIONS)} was wanted") from None
    return tuple(validate.choice(f"reduce[{i}]", name, REDUCTIONS) for i, name in enumerate(names))


def follow(plan: Plan, problem: Problem, descent: Descent) -> tuple[Plan, Work]:
    """The work of a plan made before, for this problem.

    Raises: ValueError if the plan is for another problem, or a reduction that it uses does not hold here.
    """
    fits = (plan.widths, plan.rows, plan.dtype, plan.loss, plan.update, plan.rule, plan.batch)
    here = (problem.net.widths, problem.rows, str(problem.net.dtype), problem.loss.kind, descent.update, descent.rule.describe(),
            problem.batch)  # fmt: skip
    for name, theirs, ours in zip(("widths", "rows", "dtype", "loss", "update", "rule", "batch"), fits, here, strict=True):
        if theirs != ours:
            raise ValueError(f"plan is for {name} {theirs} but the problem has {ours}; make a new one with linalign.explain")
    for i, (wanted_layer, layer) in enumerate(zip(plan.layers, map(repr, problem.net.layers), strict=True)):
        if wanted_layer != layer:
            raise ValueError(f"plan is for layer {i + 1} {wanted_layer} but the problem has {layer}; make a new one with linalign.explain")
    wanted = [r.name for r in plan.reductions if r.applied]
    pivot = plan.pivot.at if descent.update == "simultaneous" and plan.implementation == "kernel" else "auto"
    made, work = make_plan(problem, descent, reduce=wanted, pivot=pivot, implementation=plan.implementation)
    for theirs_r, ours_r in zip(plan.reductions, made.reductions, strict=True):
        if (theirs_r.applied, theirs_r.what) != (ours_r.applied, ours_r.what):
            wants, has = (f"{r.name} {r.what or 'off'}" for r in (theirs_r, ours_r))
            raise ValueError(f"plan has {wants} but here it is {has} ({ours_r.why}); make a new one with linalign.explain")
    return made, work


def make_plan(
    problem: Problem, descent: Descent, *, reduce: Any = "auto", pivot: Any = "auto", implementation: str = "kernel",
    steps: int | None = None,
) -> tuple[Plan, Work]:  # fmt: skip
    """The plan and the work it describes. `steps`: how long the run will be, if that is known.

    Raises: ValueError, TypeError for unknown reductions or pivots.
    """
    allowed, at = check_reduce(reduce), check_pivot(pivot, problem.net.depth)
    # a search that may not pay is left out, unless reductions were asked for by name
    thrifty = isinstance(reduce, str)
    work = Work(problem, problem)
    if implementation == "reference":
        plain = Pivot(0, problem.rows_a_step, cost.backpropagation(problem), 0.0)
        why = "the reference runs the problem as given, by backpropagation"
        return _plan(work, descent, implementation, [], (plain, why, ()), ("NumPy", "implementation='reference'")), work
    done = []
    if _may_overflow(problem):
        why = f"there are numbers above {LARGEST:.0e}, whose norms may overflow"
        done = [Reduction(name, False, "", why) for name in _relevant(problem)]
    # what overflows all the same fails its check with nan
    with np.errstate(over="ignore", invalid="ignore"):
        done = done or [
            *([_attempt("filters", lambda: _filters(work, descent, allowed, steps, thrifty))] if "filters" in _relevant(problem) else []),
            _attempt("samples", lambda: _samples(work, descent, allowed)),
            _attempt("inputs", lambda: _inputs(work, descent, allowed)),
            _attempt("width", lambda: _width(work, descent, allowed, steps, thrifty)),
            _attempt("split", lambda: _split(work, descent, allowed, steps, thrifty)),
        ]
    chosen = work.choose(descent) if at == "auto" else cost.choose(work.problem, descent, at)
    if work.split is not None:
        chosen = chosen[0], "of the whole; each part has its own", ()

    def write() -> Plan:
        return _plan(work, descent, implementation, done, chosen, _kernel(work, descent, chosen[0]))

    if any(r.applied for r in done if r.name not in OF_DATA):
        return write(), work
    return _once(problem, ("plan", *descent.key, descent.rule.describe(), at, *done), write), work


def _once(problem: Problem, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """What follows from the data and the widths of dense layers alone: made once for all such networks on the same data."""
    if not problem.net.is_dense:
        return make()
    known = problem.memo.setdefault("once", {})
    key = problem.net.widths, problem.net.dtype, *key
    if key not in known:
        known[key] = make()
    return known[key]


def _before(given: Problem) -> int:
    """Multiply-adds a step of the problem as given, by backpropagation."""
    found: int = _once(given, ("before",), lambda: cost.backpropagation(given))
    return found


# ------------------------------------------------------------------ reductions, in order
def _may_overflow(problem: Problem) -> bool:
    """Whether some number is above LARGEST."""
    data = [A for A in (problem.X, problem.T) if A is not None]
    if "large" not in problem.memo:
        problem.memo["large"] = any(map(_large, data))
    return problem.memo["large"] or any(map(_large, problem.net.params))


def _large(A: Array) -> bool:
    """Whether some entry is above LARGEST: a sum of squares tells at once that none is."""
    return not float(np.vdot(A, A)) < LARGEST**2 and max(float(A.max()), -float(A.min())) > LARGEST


def _attempt(name: str, seek: Callable[[], Reduction]) -> Reduction:
    """A reduction whose factorisations fail (numbers near overflow) is left out."""
    try:
        return seek()
    except np.linalg.LinAlgError as error:
        return Reduction(name, False, "", f"refused: {error}")


def _refusal(
    name: str, allowed: tuple[str, ...], problem: Problem, descent: Descent, *, quadratic: bool, data: bool,
) -> str | None:  # fmt: skip
    """Why a reduction cannot be used, if one can tell at once."""
    if name not in allowed:
        return "switched off"
    if no := descent.forbids(name):
        return no
    if data and problem.X is None:
        return "there are no samples: the loss is on the product"
    if quadratic and problem.batch is not None:
        return "each batch has moments of its own (T12.2)"
    if quadratic and not problem.loss.quadratic:
        return f"needs a quadratic loss, {problem.loss.kind} is not"
    return None


def _not_dense(problem: Problem, layers: slice) -> str | None:
    for layer in problem.net.layers[layers]:
        if not isinstance(layer, Dense):
            given = layer.original if isinstance(layer, filters.Taps) else layer
            return f"layer {problem.net.layers.index(layer) + 1} is {type(given).__name__}, not dense"
    return None


def _relevant(problem: Problem) -> tuple[str, ...]:
    """The reductions that a plan speaks of: filters only where some layer is constrained."""
    return REDUCTIONS[1:] if problem.net.is_dense else REDUCTIONS


def _filters(work: Work, descent: Descent, allowed: tuple[str, ...], steps: int | None, thrifty: bool) -> Reduction:
    problem = work.problem
    no = _refusal("filters", allowed, problem, descent, quadratic=True, data=True)
    chain = filters.composition(problem) if no is None else no
    if isinstance(chain, str):
        return Reduction("filters", False, "", chain)
    inputs_after = chain.layers[0].shape[1]
    probe = Problem(
        Network(chain.layers, problem.net.params), np.zeros((min(inputs_after, problem.rows * chain.pixels), inputs_after)), None,
        problem.loss, problem.factor,
    )  # fmt: skip
    before, after = (cost.choose(p, descent)[0] for p in (problem, probe))
    if after.nanoseconds > GAIN * before.nanoseconds:
        return Reduction("filters", False, "", f"saves too little: {after.macs:,} multiply-adds instead of {before.macs:,}")
    search = problem.rows * chain.search
    if thrifty and search > SEARCH_RATE * _affordable(work, descent, steps):
        return Reduction("filters", False, "", TOO_SHORT)
    smaller, done = filters.reduce(problem, chain)
    if not done.residual <= RESIDUAL_TOLERANCE:  # nan is refused too
        return Reduction("filters", False, "", f"refused: its check is off by {done.residual:.0e}, more than {RESIDUAL_TOLERANCE:.0e}")
    work.problem = smaller
    what = f"{done.rows_before} images -> {done.rows_after} rows of {done.moves} moves"
    return Reduction("filters", True, what, "T9.1: the taps of all layers compose to few moves of the image", done.residual)


def _samples(work: Work, descent: Descent, allowed: tuple[str, ...]) -> Reduction:
    problem = work.problem
    no = _refusal("samples", allowed, problem, descent, quadratic=True, data=True)
    if no:
        return Reduction("samples", False, "", no)
    smaller, done = samples.reduce(problem)
    if smaller is problem:
        return Reduction("samples", False, "", f"the {done.rows_before} rows are independent")
    if not done.residual <= RESIDUAL_TOLERANCE:  # nan is refused too
        return Reduction("samples", False, "", f"refused: its check is off by {done.residual:.0e}, more than {RESIDUAL_TOLERANCE:.0e}")
    work.problem = smaller
    what = f"{done.rows_before} rows -> {done.rows_after}"
    return Reduction("samples", True, what, "T7.1: rank(X) rows have the same loss up to a constant", done.residual)


def _inputs(work: Work, descent: Descent, allowed: tuple[str, ...]) -> Reduction:
    problem = work.problem
    no = _refusal("inputs", allowed, problem, descent, quadratic=False, data=True) or _not_dense(problem, slice(0, 1))
    if no:
        return Reduction("inputs", False, "", no)
    smaller, lift, done = inputs.reduce(problem, descent)
    if not done.residual <= RESIDUAL_TOLERANCE:  # nan is refused too
        return Reduction("inputs", False, "", f"refused: its check is off by {done.residual:.0e}, more than {RESIDUAL_TOLERANCE:.0e}")
    if not problem.quadratic and done.columns_after == done.columns_before:
        return Reduction("inputs", False, "", f"X has full rank {done.columns_before}")
    work.problem = smaller
    work.lifts.append(lift)
    what = f"{done.columns_before} inputs -> {done.columns_after}"
    why = "T8.1: the first layer moves in the range of X only"
    if problem.quadratic:
        why += ", where the data are diagonal"
    return Reduction("inputs", True, what, why, done.residual)


def _affordable(work: Work, descent: Descent, steps: int | None, directions: int = 0) -> float:
    """Multiply-adds that a search may take, besides the calls that it is made of; `directions` as in `SEARCH_DIRECTION`."""
    limit = float(SEARCH_STEPS * _before(work.given))
    if steps is not None:
        run = steps * work.choose(descent)[0].nanoseconds
        calls = SEARCH_CALL + SEARCH_DIRECTION * directions
        limit = min(limit, (SEARCH_SHARE * run - calls) * cost.MACHINES[machine.ISA][1].rate)
    return limit


def _width(work: Work, descent: Descent, allowed: tuple[str, ...], steps: int | None, thrifty: bool) -> Reduction:
    problem = work.problem
    no = _refusal("width", allowed, problem, descent, quadratic=False, data=False) or _not_dense(problem, slice(None))
    if not no and "width" in allowed and problem.net.depth == 1 and not problem.quadratic:
        no = "there is no hidden layer"
    most = math.inf
    if not no and thrifty:
        k, most = problem.net.widths, _affordable(work, descent, steps)
        # subspaces that pay are about as large as what they must hold: the inputs and the outputs
        if width.search_cost(k, [min(size, 2 * (k[0] + k[-1])) for size in k]) > most:
            no = TOO_SHORT
    if no:
        return Reduction("width", False, "", no)
    smaller, lift, done = width.reduce(problem, descent, most)
    if lift is None:
        why = "no smaller subspaces are closed under the layers"
        if done.grown_to:
            reached = "-".join(map(str, done.grown_to))
            why = f"the search was given up: subspaces had grown to {reached}, and more than the run repays"
        if done.residual:
            why = f"refused: nearly closed subspaces, off by {done.residual:.0e}, more than {width.RESIDUAL_TOLERANCE:.0e}"
        return Reduction("width", False, "", why)
    before, after = (cost.choose(p, descent)[0] for p in (problem, smaller))
    if after.nanoseconds > GAIN * before.nanoseconds:
        return Reduction("width", False, "", f"saves too little: {after.macs:,} multiply-adds instead of {before.macs:,}")
    work.problem = smaller
    work.lifts.append(lift)
    what = f"{'-'.join(map(str, done.widths_before))} -> {'-'.join(map(str, done.widths_after))}"
    statement = "T8.2" if done.targets_too else "T8.1"
    return Reduction("width", True, what, f"{statement}: these subspaces are closed, the rest never moves", done.residual)


def _split(work: Work, descent: Descent, allowed: tuple[str, ...], steps: int | None, thrifty: bool) -> Reduction:
    problem = work.problem
    no = _refusal("split", allowed, problem, descent, quadratic=True, data=False) or _not_dense(problem, slice(None))
    if not no and problem.X is not None and problem.X.ndim != 1:
        no = "needs the data diagonal (inputs)"
    if not no and thrifty and blocks.search_cost(problem.net.widths) > _affordable(work, descent, steps, sum(problem.net.widths)):
        no = TOO_SHORT
    if no:
        return Reduction("split", False, "", no)
    parts, residual = blocks.find(problem)
    if not parts:
        return Reduction("split", False, "", "the network and the data are one block")
    found = split.split(problem, parts, residual)
    if not found.residual <= width.RESIDUAL_TOLERANCE:
        why = f"refused: nearly independent blocks, off by {found.residual:.0e}, more than {width.RESIDUAL_TOLERANCE:.0e}"
        return Reduction("split", False, "", why)
    before, (macs, time) = cost.choose(problem, descent)[0], _split_cost(found, descent)
    if time > GAIN * before.nanoseconds:
        return Reduction("split", False, "", f"saves too little: {macs:,} multiply-adds instead of {before.macs:,}, in more calls")
    work.split = found
    return Reduction("split", True, _describe(found), "T8.3: independent parts, equal ones run once", found.residual)


def _describe(found: Split) -> str:
    named = []
    for part in found.parts:
        if isinstance(part.content, Problem):
            copies = f"{len(part.places)} x " if len(part.places) > 1 else ""
            named.append(copies + "-".join(map(str, part.content.net.widths)))
    modes = sum(len(p.index) for p in found.parts if p.index is not None)
    if modes:
        distinct = f" ({found.modes} distinct)" if found.modes != modes else ""
        named.append(f"{modes} scalar modes{distinct}")
    return ", ".join(named) or "nothing moves"


def _split_cost(found: Split, descent: Descent) -> tuple[int, float]:
    """Multiply-adds and nanoseconds a step of all parts that run."""
    macs, time = 0, 0.0
    for part in found.parts:
        if isinstance(part.content, Modes):
            macs += 4 * part.content.sigma.size
            time += MODES_CALL + MODES_EACH * part.content.sigma.size
        elif part.content is not None:
            pivot = cost.choose(part.content, descent)[0]
            macs, time = macs + pivot.macs, time + pivot.nanoseconds
    return macs, time


# ------------------------------------------------------------------ the rest of the plan
def _kernel(work: Work, descent: Descent, pivot: Pivot) -> tuple[str, str]:
    """Which products the step is made of."""
    if work.split is not None:
        named = [name for name, there in (("modes", work.split.modes), ("blocks", work.split.blocks)) if there]
        return " and ".join(named) or "none", "each part in its own loop"
    constrained = sorted({layer.form.kind for layer in work.problem.net.layers} - {"dense"})
    if constrained:
        return f"constrained, {machine.ISA}", "products of their own for " + ", ".join(f"{kind} layers" for kind in constrained)
    if machine.runs_in_registers(work.problem, descent, pivot.at, pivot.rows):
        return f"registers, {machine.ISA}", "no row is longer than 64 bytes: the loop is one function, and keeps a transpose of each layer"
    widths = work.problem.net.widths
    small = [machine.uses_tile(b, a) and machine.uses_tile(a, pivot.rows) for a, b in pairwise(widths)]
    if all(small):
        return f"tile-{machine.ISA}", f"no product has more than {machine.TILE} columns, or sums of more terms"
    if pivot.rows == 1 and machine.LEVELS[machine.ISA]:
        return f"one pass, {machine.ISA}", "one row in flight: product and update share a pass over each layer"
    if any(small):
        return f"tile-{machine.ISA} and BLAS", f"{sum(small)} of {len(small)} layers are small enough for the tile"
    return "BLAS", "products too large for the register tile" if machine.LEVELS[machine.ISA] else "no register tile for this processor"


def _workspace(work: Work, descent: Descent, pivot: Pivot) -> int:
    """Bytes of the chains, the residual and the velocities; not of the network and the data."""
    problem = work.problem
    k, s, n = problem.net.widths, pivot.rows, problem.rows_a_step
    chains = s * sum(k) + 2 * s * max(k) + n * k[-1] + (2 * s * n if 0 < pivot.at < len(k) - 1 else 0)
    return problem.net.dtype.itemsize * (chains + problem.net.size * descent.rule.slots)


def _plan(
    work: Work, descent: Descent, implementation: str, reductions: list[Reduction], chosen: tuple[Pivot, str, tuple[Pivot, ...]],
    named: tuple[str, str],
) -> Plan:  # fmt: skip
    given, run = work.given, work.problem
    pivot, why, rejected = chosen
    return Plan(
        widths=given.net.widths, layers=tuple(map(repr, given.net.layers)), parameters=given.net.size, rows=given.rows,
        dtype=validate.name_of(given.net.dtype), loss=given.loss.kind, update=descent.update,
        implementation=implementation, reductions=tuple(reductions), widths_after=run.net.widths, rows_after=run.rows,
        pivot=pivot, pivot_why=why, rejected=rejected,
        macs=pivot.macs if work.split is None else _split_cost(work.split, descent)[0], macs_before=_before(given),
        kernel=named[0], kernel_why=named[1], workspace=_workspace(work, descent, pivot), rule=descent.rule.describe(), batch=given.batch,
    )  # fmt: skip
