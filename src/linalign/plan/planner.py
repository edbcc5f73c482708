"""Planner: from the problem as given to the cheapest one with the same trajectory.

It knows no clock and no chance: the same call gives the same plan. Every reduction states its precondition and measures
how well it held; one that does not hold is left out, and the plan says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from .. import validate
from ..problem import metric
from ..problem.descent import Descent
from ..problem.problem import Problem
from ..reduce import biases
from ..reduce.order import ORDER
from ..reduce.reduction import Lift, Reduction, Refused
from ..reduce.split import Split
from ..validate import Array
from . import cost, machine
from .budget import RunBudget, split_cost
from .cost import Pivot
from .plan import Plan
from .plan import Reduction as Row

REDUCTIONS = tuple(reduction.name for reduction in ORDER)
# with numbers above this, norms may overflow: nothing is reduced
LARGEST = 1e100

Choice = tuple[Pivot, str, tuple[Pivot, ...]]


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


def check_reduce(reduce: Any) -> tuple[str | Reduction, ...]:
    """The reductions that may be used: names, and those from elsewhere. Raises: ValueError, TypeError."""
    if isinstance(reduce, str):
        if reduce in REDUCTIONS:
            raise ValueError(f"reduce is {reduce!r}; 'auto', 'none' or a list was wanted: pass reduce=[{reduce!r}]")
        return REDUCTIONS if validate.choice("reduce", reduce, ("auto", "none")) == "auto" else ()
    try:
        items = list(reduce)
    except TypeError:
        raise TypeError(f"reduce is {reduce!r}; 'auto', 'none' or a list of {', '.join(REDUCTIONS)} was wanted") from None
    for i, item in enumerate(items):
        if not isinstance(item, Reduction):
            validate.choice(f"reduce[{i}]", item, REDUCTIONS)
        elif item.name in REDUCTIONS or any(item.name == getattr(other, "name", None) for other in items[:i]):
            raise ValueError(f"reduce[{i}] is called {item.name!r}, as another reduction; give it a name of its own")
    return tuple(items)


def in_order(allowed: Iterable[str | Reduction]) -> tuple[tuple[Reduction, ...], frozenset[str]]:
    """What is tried, reductions from elsewhere first, as they were given; and the names of those that may be used."""
    given = [item for item in allowed if isinstance(item, Reduction)]
    return (*given, *ORDER), frozenset(item if isinstance(item, str) else item.name for item in allowed)


def follow(plan: Plan, problem: Problem, descent: Descent) -> tuple[Plan, Work]:
    """The work of a plan made before, for this problem.

    Raises: ValueError if the plan is for another problem, or a reduction that it uses does not hold here.
    """
    # dense layers have no metric to differ in
    same = plan.metric if not metric.differ(problem.net) else descent.metric
    fits = (plan.widths, plan.rows, plan.dtype, plan.loss, plan.update, plan.rule, plan.metric, plan.batch)
    here = (problem.net.widths, problem.rows, str(problem.net.dtype), problem.loss.kind, descent.update, descent.rule.describe(),
            same, problem.batch)  # fmt: skip
    for name, theirs, ours in zip(("widths", "rows", "dtype", "loss", "update", "rule", "metric", "batch"), fits, here, strict=True):
        if theirs != ours:
            raise ValueError(f"plan is for {name} {theirs} but the problem has {ours}; make a new one with linalign.explain")
    for i, (wanted_layer, layer) in enumerate(zip(plan.layers, map(repr, problem.net.layers), strict=True)):
        if wanted_layer != layer:
            raise ValueError(f"plan is for layer {i + 1} {wanted_layer} but the problem has {layer}; make a new one with linalign.explain")
    wanted = [r.name for r in plan.reductions if r.applied]
    wanted = [name for name in wanted if name != "biases"]
    if unknown := [name for name in wanted if name not in REDUCTIONS]:
        raise ValueError(f"plan uses the reduction {unknown[0]!r}, which is not one of this package; pass it in reduce= instead of plan")
    free = descent.update == "cyclic" or plan.implementation != "kernel"
    if problem.ragged and plan.pivot.at and not free:
        cost.choose(problem, descent, plan.pivot.at)  # which says that it cannot be
    # the pivot with its rows in flight, which may be those of the data or of the first layer
    chosen = None if free else (plan.pivot, plan.pivot_why, plan.rejected)
    made, work = make_plan(problem, descent, reduce=wanted, chosen=chosen, implementation=plan.implementation)
    for theirs_r, ours_r in zip(plan.reductions, made.reductions, strict=True):
        if (theirs_r.applied, theirs_r.what) != (ours_r.applied, ours_r.what):
            wants, has = (f"{r.name} {r.what or 'off'}" for r in (theirs_r, ours_r))
            raise ValueError(f"plan has {wants} but here it is {has} ({ours_r.why}); make a new one with linalign.explain")
    return made, work


def make_plan(
    problem: Problem, descent: Descent, *, reduce: Any = "auto", pivot: Any = "auto", implementation: str = "kernel",
    steps: int | None = None, chosen: Choice | None = None,
) -> tuple[Plan, Work]:  # fmt: skip
    """The plan and the work it describes. `steps`: how long the run will be, if that is known; `chosen`: the pivot of an earlier plan.

    Raises: ValueError, TypeError for unknown reductions or pivots.
    """
    order, allowed = in_order(check_reduce(reduce))
    at = check_pivot(pivot, problem.net.depth)
    asked = at if chosen is None else chosen[0]
    work = Work(problem, biases.homogeneous(problem))
    given, problem = problem, work.problem
    carried = _biases(given, problem)
    if implementation == "reference":
        plain = Pivot(0, problem.rows_a_step, cost.backpropagation(problem), 0.0)
        why = "the reference runs the problem as given, by backpropagation"
        return _plan(work, descent, implementation, carried, (plain, why, ()), ("NumPy", "implementation='reference'")), work
    order = tuple(reduction for reduction in order if reduction.relevant(problem))
    if _may_overflow(problem):
        why = f"there are numbers above {LARGEST:.0e}, whose norms may overflow"
        done = [_row(reduction, allowed, why) for reduction in order]
    else:
        # a search that may not pay is left out, unless reductions were asked for by name
        budget = RunBudget(descent, steps, isinstance(reduce, str), lambda: _before(problem), lambda: work.choose(descent)[0].nanoseconds)
        # what overflows all the same fails its check with nan
        with np.errstate(over="ignore", invalid="ignore"):
            done = _reduced(order, work, descent, allowed, budget)
    if chosen is None:
        chosen = work.choose(descent) if at == "auto" else cost.choose(work.problem, descent, at)
    if work.split is not None:
        chosen = chosen[0], "of the whole; each part has its own", ()

    def write() -> Plan:
        return _plan(work, descent, implementation, carried + done, chosen, _kernel(work, descent, chosen[0]))

    if any(row.applied and not reduction.of_data for reduction, row in zip(order, done, strict=True)):
        return write(), work
    return _once(problem, ("plan", *descent.key, asked, *done), write), work


def _once(problem: Problem, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """What follows from the data and the widths of dense layers alone: made once for all such networks on the same data."""
    if not problem.net.is_dense:
        return make()
    known = problem.facts.plans
    key = problem.net.widths, problem.net.dtype, *key
    if key not in known:
        known[key] = make()
    return known[key]


def _before(given: Problem) -> int:
    """Multiply-adds a step of the problem as given, by backpropagation."""
    found: int = _once(given, ("before",), lambda: cost.backpropagation(biases.homogeneous(given)))
    return found


# ------------------------------------------------------------------ reductions, in order
def _biases(given: Problem, problem: Problem) -> list[Row]:
    """What a plan says of a network with biases; it is no choice."""
    if problem is given:
        return []
    what = f"{'-'.join(map(str, given.net.widths))} -> {'-'.join(map(str, problem.net.widths))}"
    return [Row("biases", True, what, "T16.2: a bias is a column of its layer, beside a constant coordinate of every row")]


def _may_overflow(problem: Problem) -> bool:
    """Whether some number is above LARGEST."""
    data = [A for A in (problem.X, problem.T) if A is not None]
    facts = problem.facts
    if facts.large is None:
        facts.large = any(map(_large, data))
    return facts.large or any(map(_large, problem.net.params))


def _large(A: Array) -> bool:
    """Whether some entry is above LARGEST: a sum of squares tells at once that none is."""
    return not float(np.vdot(A, A)) < LARGEST**2 and max(float(A.max()), -float(A.min())) > LARGEST


def _row(reduction: Reduction, allowed: frozenset[str], why: str) -> Row:
    """That of a reduction that is not used."""
    return Row(reduction.name, False, "", why if reduction.name in allowed else "switched off")


def _reduced(order: tuple[Reduction, ...], work: Work, descent: Descent, allowed: frozenset[str], budget: RunBudget) -> list[Row]:
    """Reduce the work as far as it goes; what the plan says of each reduction."""
    # what was refused to every network of these widths, for as long as what was used before was the same for all
    refused: dict[str, Row] = _once(work.problem, ("refused", *descent.key, budget.steps, budget.thrifty, allowed), dict)
    done = []
    for reduction in order:
        row = refused.get(reduction.name)
        if row is None:
            row, of_sizes = _attempt(reduction, work, descent, allowed, budget)
            if of_sizes:
                refused[reduction.name] = row
            elif row.applied and not reduction.of_data:
                refused = {}
        done.append(row)
    return done


def _attempt(reduction: Reduction, work: Work, descent: Descent, allowed: frozenset[str], budget: RunBudget) -> tuple[Row, bool]:
    """Reduce the work, or leave it as it is; what the plan says of it, and whether it is so for all networks of these widths."""
    if reduction.name not in allowed:
        return _row(reduction, allowed, ""), True
    if no := reduction.forbidden(work.problem, descent):
        return _row(reduction, allowed, no), True
    try:
        found = reduction.seek(work.problem, descent, budget)
    except np.linalg.LinAlgError as error:  # numbers near overflow
        return _row(reduction, allowed, f"refused: {error}"), False
    if isinstance(found, Refused):
        return _row(reduction, allowed, found.why), found.of_sizes
    work.problem, work.split = found.problem, found.split
    if found.lift is not None:
        work.lifts.append(found.lift)
    return Row(reduction.name, True, found.what, found.why, found.residual), False


# ------------------------------------------------------------------ the rest of the plan
def _kernel(work: Work, descent: Descent, pivot: Pivot) -> tuple[str, str]:
    """Which products the step is made of."""
    if work.split is not None:
        named = [name for name, there in (("modes", work.split.modes), ("blocks", work.split.blocks)) if there]
        return " and ".join(named) or "none", "each part in its own loop"
    if machine.runs_one_row(work.problem, descent, pivot.at):
        return f"one row, {machine.ISA}", "dense and diagonal layers in the first cache: the loop over steps of one row is one function"
    constrained = sorted({layer.form.kind for layer in work.problem.net.layers} - {"dense"})
    if constrained:
        return f"constrained, {machine.ISA}", "products of their own for " + ", ".join(f"{kind} layers" for kind in constrained)
    if machine.runs_in_registers(work.problem, descent, pivot.at, pivot.rows):
        return f"registers, {machine.ISA}", "no row is longer than 64 bytes: the loop is one function, and keeps a transpose of each layer"
    pairs = list(pairwise(work.problem.net.widths))
    small = [machine.uses_tile(b, a) and machine.uses_tile(a, pivot.rows) for a, b in pairs]
    if all(small):
        return f"tile-{machine.ISA}", f"no product has more than {machine.TILE} columns, or sums of more terms"
    if pivot.rows == 1 and machine.LEVELS[machine.ISA]:
        return f"one pass, {machine.ISA}", "one row in flight: product and update share a pass over each layer"
    large = [machine.uses_panels(pivot.rows, a, b) for a, b in pairs]
    rest = f"panels-{machine.ISA}" if all(s or p for s, p in zip(small, large, strict=True)) else "BLAS"
    if any(small):
        return f"tile-{machine.ISA} and {rest}", f"{sum(small)} of {len(small)} layers are small enough for the tile"
    if any(large):
        way = rest if all(large) else f"panels-{machine.ISA} and {rest}"
        return way, f"{sum(large)} of {len(large)} layers have products of at least {machine.PANELS} rows, columns and terms"
    return "BLAS", "products too large for the register tile" if machine.LEVELS[machine.ISA] else "no register tile for this processor"


def _workspace(work: Work, descent: Descent, pivot: Pivot) -> int:
    """Bytes of the chains, the residual and the velocities; not of the network and the data."""
    problem = work.problem
    k, s, n = problem.net.widths, pivot.rows, problem.rows_a_step
    chains = s * sum(k) + 2 * s * max(k) + n * k[-1] + (2 * s * n if 0 < pivot.at < len(k) - 1 else 0)
    return problem.net.dtype.itemsize * (chains + problem.net.size * descent.rule.slots)


def _plan(
    work: Work, descent: Descent, implementation: str, reductions: list[Row], chosen: tuple[Pivot, str, tuple[Pivot, ...]],
    named: tuple[str, str],
) -> Plan:  # fmt: skip
    given, run = work.given, work.problem
    pivot, why, rejected = chosen
    return Plan(
        widths=given.net.widths, layers=tuple(map(repr, given.net.layers)), parameters=given.net.size, rows=given.rows,
        dtype=validate.name_of(given.net.dtype), loss=given.loss.kind, update=descent.update,
        implementation=implementation, reductions=tuple(reductions), widths_after=run.net.widths, rows_after=run.rows,
        pivot=pivot, pivot_why=why, rejected=rejected,
        macs=pivot.macs if work.split is None else split_cost(work.split, descent)[0], macs_before=_before(given),
        kernel=named[0], kernel_why=named[1], workspace=_workspace(work, descent, pivot), rule=descent.rule.describe(), batch=given.batch,
        noise=descent.noisy,
        metric=descent.metric, metric_why=metric.sentence(given.net, descent.metric),
    )  # fmt: skip
