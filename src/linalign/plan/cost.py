"""Cost: the products of a step from every pivot, how long they should take, and the choice between them.

The counts are those of docs/theory, section 10, as implemented: identities are never multiplied by. Times come from a
small model of this kind of processor (`profiles.py`), whose constants `python -m bench.calibrate` finds anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from ..problem.descent import Descent
from ..problem.problem import Problem
from . import machine
from .structures import sides

# an interior pivot may lose a digit (docs/theory, section 10): take one only if it saves this share of the time
INTERIOR_GAIN = 0.9

# nanoseconds of an entry of a matrix that is gone through by itself, and the bytes of those that the first cache spares it
PASS, FIRST_CACHE = 0.75, 2**16

# nanoseconds of a chain that fits in registers: a step, a product, and a row of it by a number
TINY_STEP, TINY_PRODUCT, TINY_ROW = 12.0, 4.5, 0.28

Product = tuple[int, int, int]
"""Rows, columns and inner size of a product."""


# for the tile, BLAS and panels, of each instruction set
MACHINES = machine.PROFILE.rates


@dataclass(frozen=True)
class Pivot:
    """A place where the identity can enter the chain: rows in flight, multiply-adds and estimated nanoseconds a step."""

    at: int
    rows: int
    macs: int
    nanoseconds: float


class Sizes(NamedTuple):
    """All that the products of a step depend on.

    `data` are the dimensions of X, 0 for none; `of[i]` the sides of the products that layer i + 1 is made of.
    """

    k: tuple[int, ...]
    n: int
    data: int
    of: tuple[tuple[tuple[int, int], ...], ...]
    itemsize: int


def sizes(problem: Problem) -> Sizes:
    """Those of a problem."""
    X, net = problem.X, problem.net
    return Sizes(net.widths, problem.rows_a_step, 0 if X is None else X.ndim, tuple([tuple(sides(layer)) for layer in net.layers]),
                 net.dtype.itemsize)  # fmt: skip


def backpropagation(problem: Problem) -> int:
    """Multiply-adds a step of backpropagation on the rows as they are."""
    m = [sum(out * into for out, into in sides(layer)) for layer in problem.net.layers]
    return problem.rows_a_step * (3 * sum(m) - m[0])


def products(sizes: Sizes, p: int) -> list[Product]:
    """The products of a step from pivot p."""
    k, n, data, of, _ = sizes
    d, k_0, k_d = len(k) - 1, k[0], k[-1]
    found: list[Product] = []

    def layer(i: int, s: int, *, applied: bool = True, adjoint: bool = True) -> None:
        """Layer i with s rows in flight: apply, adjoint and gradient."""
        for out, into in of[i - 1]:
            if applied:
                found.extend([(s, out, into), (out, into, s)])
            if adjoint:
                found.append((s, into, out))

    if p == 0:
        # rows of data, or of the identity with the samples entering once
        s, identity = min(n, k_0), not data or n > k_0
        for i in range(1, d + 1):
            layer(i, s, applied=i > 1 or not identity, adjoint=i > 1)
        if data and n > k_0:
            found.extend([(n, k_d, k_0), (k_0, k_d, n)])
        return found
    s = k[p]
    for i in [*range(1, p), *range(p + 2, d + 1)]:
        layer(i, s)
    if data:
        found.extend([(s, n, k_0), (s, k_0, n)] if data == 2 else [(s, k_0, 1)] * 2)
    if p < d:
        found.extend([(k_d, n, s), (s, n, k_d), (s, k_d, n)])
    return found


def passes(sizes: Sizes, p: int) -> int:
    """Entries of the matrices that a step from pivot p goes through beside its products.

    The layers next to the identity, whose gradients are no products of their own; and, where the data are diagonal, the rows that meet
    them, forth and back.
    """
    k, n, data, of, itemsize = sizes
    layers = [sum(out * into for out, into in sides) for sides in of]
    found = []
    if p == 0:
        found += layers[:1] if not data or n > k[0] else []
    else:
        # the gradient of the first layer is at once a product with data that are not diagonal
        found += layers[p - 1 : p + 1] if p > 1 or data != 2 else layers[1:2]
    if p and data == 1:
        found += [k[p] * k[0]] * 2
    return sum(entries for entries in found if entries * itemsize > FIRST_CACHE)


def cycle(sizes: Sizes) -> list[Product]:
    """The products of a sweep of cyclic updates: rows of the data forward, rows of the outputs backward."""
    k, n, data, of, _ = sizes
    d, k_0, k_d = len(k) - 1, k[0], k[-1]
    s = min(n, k_0)
    found: list[Product] = []
    for i in range(1, d + 1):
        for out, into in of[i - 1]:
            found.extend([(s, out, into), (out, into, s)])
            if i < d:
                found.append((s, out, into))
            if 1 < i < d:
                found.append((k_d, into, out))
        if i < d:
            found.extend([(s, k_d, k[i]), (s, k[i], k_d)])
        if data and n > k_0:
            found.extend([(n, k_d, k_0), (k_0, k_d, n)])
    return found


def nanoseconds(found: list[Product], itemsize: int) -> float:
    """How long these products should take, one after the other on one core."""
    tile, blas, panels = MACHINES[machine.ISA]
    total = 0.0
    for m, n, k in found:
        rates = tile if machine.uses_tile(n, k) else panels if machine.uses_panels(m, n, k) else blas
        total += rates.call + m * n * (k + rates.half) / rates.rate * itemsize / 8
        moved = (m * n + n * k + m * k) * itemsize
        if moved > rates.cache:
            total += moved / rates.bandwidth
    return total


def _pivot(at: int, rows: int, found: list[Product], itemsize: int, passed: int = 0) -> Pivot:
    time = nanoseconds(found, itemsize) + PASS * passed * itemsize / 8
    return Pivot(at, rows, sum(m * n * k for m, n, k in found), round(time, 1))


def pivots(problem: Problem) -> tuple[Pivot, ...]:
    """Every pivot."""
    return _pivots(sizes(problem), machine.ISA, machine.TILE, machine.PANELS)


@lru_cache(maxsize=256)
def _pivots(sizes: Sizes, *machine: Any) -> tuple[Pivot, ...]:
    """Kept for the sizes that were asked for last: whoever trains a step at a time asks again. `machine` is there to be compared."""
    rows = [min(sizes.n, sizes.k[0]), *sizes.k[1:]]
    return tuple([_pivot(p, rows[p], products(sizes, p), sizes.itemsize, passes(sizes, p)) for p in range(len(rows))])


def in_registers(problem: Problem) -> Pivot:
    """The faster end where the whole chain fits in registers: no product waits for a transposed factor, or for its caller.

    The outputs are an end only where the data are diagonal or the identity.
    """
    k, X = problem.net.widths, problem.X
    diagonal = X is not None and X.ndim == 1
    found = [_registers(0, problem.rows_a_step, k, dense=X is not None and not diagonal, scaled=problem.rows * k[1] if diagonal else 0)]
    if X is None or diagonal:
        found.append(_registers(problem.net.depth, k[-1], k[::-1], dense=False, scaled=k[-1] * k[0] if diagonal else 0))
    return min(found, key=lambda pivot: pivot.nanoseconds)


def _registers(at: int, s: int, k: tuple[int, ...], *, dense: bool, scaled: int) -> Pivot:
    """The chain of widths k on s rows; `scaled` entries are multiplied by the data, forth and back."""
    found: list[Product] = [(s, k[1], k[0])] * 2 if dense else []
    for a, b in pairwise(k[1:]):
        found += [(s, b, a), (s, a, b), (b, a, s)]
    macs = sum(m * n * i for m, n, i in found) + 2 * scaled
    # the transposed copies, which products make too, are no part of the mathematics
    found += [(a, b, s) for a, b in pairwise(k[1:])]
    return Pivot(at, s, macs, round(TINY_STEP + sum(TINY_PRODUCT + TINY_ROW * m * i for m, _, i in found), 1))


def choose(problem: Problem, descent: Descent, pivot: str | int = "auto") -> tuple[Pivot, str, tuple[Pivot, ...]]:
    """The fastest pivot, an end on a near tie, or the one asked for; why; and the others."""
    if descent.update == "cyclic":
        only = _pivot(0, min(problem.rows_a_step, problem.net.widths[0]), cycle(sizes(problem)), problem.net.dtype.itemsize)
        return only, "cyclic updates have one schedule", ()
    found = pivots(problem)
    if problem.ragged:
        if pivot not in ("auto", 0):
            raise ValueError(f"pivot is {pivot} but some batches have fewer rows than others; from the samples they may: pass pivot=0")
        return found[0], "batches of different sizes go from the samples", found[1:]
    if pivot == "auto" and machine.fits_registers(problem, descent):
        chosen = in_registers(problem)
        return chosen, "every matrix fits in a few registers", tuple(p for p in found if p.at != chosen.at)

    if pivot == "auto" and machine.fits_one_row(problem, descent):
        return found[0], "one row a step has a loop of its own", found[1:]

    def others(chosen: Pivot) -> tuple[Pivot, ...]:
        return tuple(p for p in found if p is not chosen)

    if pivot != "auto":
        return found[int(pivot)], "asked for", others(found[int(pivot)])
    d = len(found) - 1
    end = min((found[d], found[0]), key=lambda p: p.nanoseconds)
    inner = min(found[1:d], key=lambda p: p.nanoseconds, default=end)
    least = min(p.macs for p in found)
    if inner.nanoseconds < INTERIOR_GAIN * end.nanoseconds:
        why = "a bottleneck: fewest multiply-adds" if inner.macs == least else "fastest by the cost model"
        return inner, why, others(inner)
    if end.macs == least:
        why = "fewest multiply-adds"
    elif end.nanoseconds <= inner.nanoseconds:
        why = "fastest by the cost model"
    else:
        why = "an end is more accurate, and nearly the fastest"
    if end.at == 0 and problem.X is not None and problem.rows_a_step <= problem.net.widths[0]:
        why += "; this is backpropagation"
    return end, why, others(end)
