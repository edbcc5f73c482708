"""Cost: multiply-adds a step from every pivot, and the choice between them (theory note, section 10)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from .problem import Descent, Problem

# an interior pivot may lose a digit (theory note, section 10): take one only if it saves this share of the work
INTERIOR_GAIN = 0.9


@dataclass(frozen=True)
class Pivot:
    """A place where the identity can enter the chain: its rows in flight and multiply-adds a step."""

    at: int
    rows: int
    macs: int


def sizes(problem: Problem) -> list[int]:
    """Parameters of each layer."""
    return [a * b for a, b in pairwise(problem.net.widths)]


def backpropagation(problem: Problem) -> int:
    """Multiply-adds a step of backpropagation on the rows as they are."""
    m = sizes(problem)
    return problem.rows * (3 * sum(m) - m[0])


def pivots(problem: Problem) -> list[Pivot]:
    """Every pivot, counted as implemented: identities are never multiplied by."""
    k = problem.net.widths
    d, n, k_0, k_d = len(k) - 1, problem.rows, k[0], k[-1]
    m = sizes(problem)
    found = []
    for p in range(d + 1):
        if p == 0:
            # rows of data, or of the identity with the samples entering once
            identity = problem.X is None or n > k_0
            s = min(n, k_0)
            macs = s * (3 * sum(m) - m[0] - (2 * m[0] if identity else 0))
            if problem.X is not None and n > k_0:
                macs += 2 * n * k_0 * k_d
        else:
            s = k[p]
            macs = 3 * s * (sum(m) - m[p - 1] - (m[p] if p < d else 0))
            macs += {None: 0, 1: 2 * s * k_0, 2: 2 * s * n * k_0}[None if problem.X is None else problem.X.ndim]
            macs += 3 * s * n * k_d if p < d else 0
        found.append(Pivot(p, s, macs))
    return found


def cycle(problem: Problem) -> Pivot:
    """The one schedule of cyclic updates: rows of the data forward, rows of the outputs backward."""
    k = problem.net.widths
    d, n, k_0, k_d = len(k) - 1, problem.rows, k[0], k[-1]
    mixed = problem.X is not None and n > k_0
    s = min(n, k_0)
    m = sizes(problem)
    macs = 3 * s * sum(m) - s * m[-1] + k_d * sum(m[1:-1]) + 2 * s * k_d * sum(k[1:-1])
    return Pivot(0, s, macs + (2 * d * n * k_0 * k_d if mixed else 0))


def choose(problem: Problem, descent: Descent, pivot: str | int = "auto") -> tuple[Pivot, str, tuple[Pivot, ...]]:
    """The cheapest pivot, an end on a near tie, or the one asked for; why; and the others."""
    if descent.update == "cyclic":
        return cycle(problem), "cyclic updates have one schedule", ()
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
