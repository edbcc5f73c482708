"""Plan: which problem is run instead of the one given, from which pivot, and why.

A plan is made from the problem alone, without a clock and without chance: the same call gives the same plan.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from . import kernel, validate
from .problem import Descent, Problem
from .reduce import samples

REDUCTIONS = ("samples",)
# an interior pivot may lose a digit (theory note, section 10): take one only if it saves this share of the work
INTERIOR_GAIN = 0.9
# a reduction whose check is off by more than this is refused
RESIDUAL_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Reduction:
    """One exact reduction, applied or not, and why."""

    name: str
    applied: bool
    before: str
    after: str
    residual: float | None
    why: str


@dataclass(frozen=True)
class Pivot:
    """A place where the identity can enter the chain: its rows in flight and multiply-adds a step."""

    at: int
    rows: int
    macs: int


@dataclass(frozen=True)
class Plan:
    """What will run, how much it costs, and why; `str(plan)` is the table.

    `macs` are multiply-adds a step, of the plan and of backpropagation on the problem as given.
    """

    widths: tuple[int, ...]
    rows: int
    dtype: str
    loss: str
    update: str
    implementation: str
    reductions: tuple[Reduction, ...]
    pivot: Pivot
    pivot_why: str
    rejected: tuple[Pivot, ...]
    macs_before: int
    kernel: str
    kernel_why: str
    workspace: int

    @property
    def macs(self) -> int:
        return self.pivot.macs

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain numbers and strings."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Plan:
        """The plan that `to_dict` wrote."""
        return cls(**{
            **fields,
            "widths": tuple(fields["widths"]),
            "reductions": tuple(Reduction(**r) for r in fields["reductions"]),
            "pivot": Pivot(**fields["pivot"]),
            "rejected": tuple(Pivot(**p) for p in fields["rejected"]),
        })  # fmt: skip

    def __repr__(self) -> str:
        return f"Plan({'-'.join(map(str, self.widths))}, {self.rows} rows, pivot {self.pivot.at}, {self.macs:,} multiply-adds a step)"

    def __str__(self) -> str:
        gain = self.macs_before / max(self.macs, 1)
        lines = [
            f"plan for {'-'.join(map(str, self.widths))}, {self.rows} rows, {self.loss} loss, {self.update} updates [{self.dtype}]",
            f"  multiply-adds a step   {self.macs:,} planned, {self.macs_before:,} by backpropagation as given ({gain:.1f} times fewer)",
            f"  workspace              {self.workspace:,} bytes",
            "  step      what                          why",
        ]
        for r in self.reductions:
            what = f"{r.before} -> {r.after}" if r.applied else "not used"
            check = f"; check {r.residual:.0e}" if r.applied and r.residual is not None else ""
            lines.append(f"  {r.name:<9} {what:<29} {r.why}{check}")
        p = self.pivot
        lines.append(f"  {'pivot':<9} {f'{p.at}, {p.rows} rows in flight':<29} {self.pivot_why}")
        lines.append(f"  {'kernel':<9} {self.kernel:<29} {self.kernel_why}")
        if self.rejected:
            lines.append("  not used: " + ", ".join(f"pivot {q.at} ({q.rows} rows, {q.macs:,})" for q in self.rejected))
        return "\n".join(lines)


def pivots(problem: Problem) -> list[Pivot]:
    """Every pivot with its rows in flight and multiply-adds a step (theory note, section 10, counted as implemented)."""
    k = problem.net.widths
    d, n, k_0, k_d = len(k) - 1, problem.rows, k[0], k[-1]
    m = [k[i] * k[i + 1] for i in range(d)]
    found = []
    for p in range(d + 1):
        if p == 0:
            # rows of data, or of the identity with the samples entering once
            identity = problem.X is None or n > k_0
            s = min(n, k_0)
            # applied, adjoint (not below the first layer) and gradient; the identity is never multiplied by
            macs = s * (3 * sum(m) - m[0] - (2 * m[0] if identity else 0))
            if problem.X is not None and n > k_0:
                macs += 2 * n * k_0 * k_d
        else:
            s = k[p]
            macs = 3 * s * (sum(m) - m[p - 1] - (m[p] if p < d else 0))
            macs += 2 * s * n * k_0 if problem.X is not None else 0
            macs += 3 * s * n * k_d if p < d else 0
        found.append(Pivot(p, s, macs))
    return found


def cyclic_cost(problem: Problem) -> Pivot:
    """The one schedule of cyclic updates: rows of the data forward, rows of the outputs backward."""
    k = problem.net.widths
    d, n, k_0, k_d = len(k) - 1, problem.rows, k[0], k[-1]
    mixed = problem.X is not None and n > k_0
    s = min(n, k_0)
    m = [k[i] * k[i + 1] for i in range(d)]
    macs = sum(3 * s * mi for mi in m) - s * m[-1] + k_d * sum(m[1:-1]) + 2 * s * k_d * sum(k[1:-1])
    return Pivot(0, s, macs + (2 * d * n * k_0 * k_d if mixed else 0))


def choose_pivot(problem: Problem, descent: Descent, pivot: str | int) -> tuple[Pivot, str, tuple[Pivot, ...]]:
    """The cheapest pivot, an end on a near tie; or the one asked for."""
    if descent.update == "cyclic":
        return cyclic_cost(problem), "cyclic updates have one schedule", ()
    found = pivots(problem)
    if pivot != "auto":
        chosen = found[int(pivot)]
        return chosen, "asked for", tuple(p for p in found if p is not chosen)
    d = len(found) - 1
    end = min((found[d], found[0]), key=lambda p: p.macs)
    inner = min(found[1:d], key=lambda p: p.macs, default=end)
    if inner.macs < INTERIOR_GAIN * end.macs:
        return inner, "a bottleneck: fewest multiply-adds", tuple(p for p in found if p is not inner)
    why = "fewest multiply-adds" if end.macs <= inner.macs else "an end is more accurate, and nearly the cheapest"
    if end.at == 0 and problem.X is not None and problem.rows <= problem.net.widths[0]:
        why += "; this is backpropagation"
    return end, why, tuple(p for p in found if p is not end)


def check_pivot(pivot: Any, depth: int) -> str | int:
    """ "auto" or a whole number in 0..depth. Raises: ValueError, TypeError."""
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


def reduce_samples(problem: Problem, allowed: tuple[str, ...]) -> tuple[Problem, Reduction]:
    """The samples reduction, or the reason against it."""

    def no(why: str) -> tuple[Problem, Reduction]:
        return problem, Reduction("samples", False, f"{problem.rows} rows", f"{problem.rows} rows", None, why)

    if problem.X is None:
        return no("there are no samples: the loss is on the product")
    if not problem.loss.quadratic:
        return no(f"T7.1 needs a quadratic loss, {problem.loss.kind} is not")
    if "samples" not in allowed:
        return no("switched off")
    smaller, done = samples.reduce(problem)
    if smaller is problem:
        return no(f"the {done.rows_before} rows are independent")
    if done.residual > RESIDUAL_TOLERANCE:
        return no(f"refused: its check is off by {done.residual:.0e}, more than {RESIDUAL_TOLERANCE:.0e}")
    why = "T7.1: rank(X) rows have the same loss up to a constant"
    return smaller, Reduction("samples", True, f"{done.rows_before} rows", f"{done.rows_after} rows", done.residual, why)


def describe_kernel(problem: Problem, pivot: Pivot) -> tuple[str, str]:
    """Which products the step is made of."""
    sides = [(pivot.rows, a, b) for a, b in zip(problem.net.widths[:-1], problem.net.widths[1:], strict=True)]
    small = [kernel.uses_tile(*side) for side in sides]
    if all(small):
        return f"tile-{kernel.ISA}", f"every side is at most {kernel.TILE.most}, {kernel.TILE.volume:,} multiply-adds a product"
    if pivot.rows == 1 and kernel.LEVELS[kernel.ISA]:
        return f"one-pass-{kernel.ISA}", "one row in flight: product and update share a pass over each layer"
    if any(small):
        return f"tile-{kernel.ISA} and BLAS", f"{sum(small)} of {len(small)} layers are small enough for the tile"
    return "BLAS", "products too large for the register tile" if kernel.LEVELS[kernel.ISA] else "no register tile for this processor"


def workspace_bytes(problem: Problem, descent: Descent, pivot: Pivot) -> int:
    """What the loop allocates besides the arrays that hold the network and the data, to the nearest row."""
    k, s, n = problem.net.widths, pivot.rows, problem.rows
    chains = s * sum(k) + 2 * s * max(k) + n * k[-1] + (2 * s * n if 0 < pivot.at < len(k) - 1 else 0)
    return problem.net.dtype.itemsize * (chains + (problem.net.size if descent.momentum else 0))


def make_plan(
    problem: Problem, descent: Descent, *, reduce: Any = "auto", pivot: Any = "auto", implementation: str = "kernel"
) -> tuple[Plan, Problem]:
    """The plan and the problem that it runs.

    Raises: ValueError, TypeError for unknown reductions or pivots.
    """
    allowed, at = check_reduce(reduce), check_pivot(pivot, problem.net.depth)
    backpropagation = pivots(problem)[0].macs if problem.X is None else _backpropagation(problem)
    given = problem
    if implementation == "reference":
        why = "the reference runs the problem as given, by backpropagation"
        off = Reduction("samples", False, f"{problem.rows} rows", f"{problem.rows} rows", None, why)
        plain = Pivot(0, problem.rows, backpropagation)
        plan = _plan(given, descent, implementation, (off,), plain, why, (), backpropagation, ("NumPy", "implementation='reference'"), 0)
        return plan, problem
    problem, done = reduce_samples(problem, allowed)
    chosen, why, rejected = choose_pivot(problem, descent, at)
    named = describe_kernel(problem, chosen)
    size = workspace_bytes(problem, descent, chosen)
    return _plan(given, descent, implementation, (done,), chosen, why, rejected, backpropagation, named, size), problem


def _backpropagation(problem: Problem) -> int:
    k = problem.net.widths
    m = [a * b for a, b in zip(k[:-1], k[1:], strict=True)]
    return problem.rows * (3 * sum(m) - m[0])


def _plan(
    given: Problem, descent: Descent, implementation: str, reductions: tuple[Reduction, ...], pivot: Pivot, why: str,
    rejected: tuple[Pivot, ...], before: int, named: tuple[str, str], workspace: int,
) -> Plan:  # fmt: skip
    return Plan(
        widths=given.net.widths, rows=given.rows, dtype=str(given.net.dtype), loss=given.loss.kind, update=descent.update,
        implementation=implementation, reductions=reductions, pivot=pivot, pivot_why=why, rejected=rejected,
        macs_before=before, kernel=named[0], kernel_why=named[1], workspace=workspace,
    )  # fmt: skip
