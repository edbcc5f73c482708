"""Lanes: whether a generalised diagonal chain can be ordered into a rectangular diagonal one (T1.3).

Where a nonzero entry (r, c) of S_i links basis vector c of space i-1 to vector r of space i, the linked vectors form intervals
`[a, b]` of spaces. Making every S_i rectangular diagonal means giving each interval a lane, the common index of its vectors,
that exists in all of its spaces (at most their smallest width) and that no other interval uses there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ..validate import Array

Interval = tuple[int, tuple[int, ...]]  # the first space, and the index of the interval's vector in each of its spaces


def pack(links: Sequence[Array]) -> list[Array] | None:
    """Orders of the basis vectors that make every link diagonal, or None if there are none.

    Parameters
    ----------
    links : one boolean `(k_i, k_{i-1})` a layer, at most one True a row and a column

    Returns: one permutation a space, `order[lane] = index`. Cost: one small integer program, whose size depends on the depth alone.
    Source: docs/theory, T1.3; T1.1 for two layers.
    """
    widths = [links[0].shape[1], *(link.shape[0] for link in links)]
    intervals = _intervals(links)
    levels = sorted(set(widths))
    chosen = _levels(intervals, widths, levels)
    if chosen is None:
        return None
    orders = [np.full(k, -1) for k in widths]
    for low, high, members in zip([0, *levels[:-1]], levels, chosen, strict=True):
        _colour(members, range(low, high), orders)
    for order in orders:
        rest = np.setdiff1d(np.arange(len(order)), order)
        order[order < 0] = rest
    return orders


def assign(links: Sequence[Array], widths: Sequence[int]) -> list[Array]:
    """A lane in `0..max(widths) - 1` for every basis vector, `lanes[i][index]`, the same for linked vectors. Always possible."""
    lanes = [np.arange(widths[0])]
    for link in links:
        rows, columns = np.nonzero(link)
        lane = np.full(link.shape[0], -1)
        lane[rows] = lanes[-1][columns]
        lane[lane < 0] = np.setdiff1d(np.arange(max(widths)), lane)[: np.count_nonzero(lane < 0)]
        lanes.append(lane)
    return lanes


def _intervals(links: Sequence[Array]) -> list[Interval]:
    """The maximal runs of links; vectors without a link are left out, they fit anywhere."""
    out: list[Interval] = []
    alive: dict[int, list[int]] = {}
    first: dict[int, int] = {}
    for i, link in enumerate(links):
        rows, columns = np.nonzero(link)
        following: dict[int, list[int]] = {}
        starts: dict[int, int] = {}
        for r, c in zip(rows.tolist(), columns.tolist(), strict=True):
            following[r] = [*alive.pop(c, [c]), r]
            starts[r] = first.get(c, i)
        out += [(first[c], tuple(run)) for c, run in alive.items()]
        alive, first = following, starts
    return out + [(first[c], tuple(run)) for c, run in alive.items()]


def _levels(intervals: list[Interval], widths: list[int], levels: list[int]) -> list[list[Interval]] | None:
    """Which intervals take the lanes between two successive widths; None if they do not all fit.

    The lanes between two widths exist in the same spaces, so only their number counts. Interval graphs are perfect: intervals
    that nowhere overlap more than that number can be given lanes. What remains is how many of each kind go to each level.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp  # slow to import, and rarely needed

    kinds: dict[tuple[int, int], list[Interval]] = defaultdict(list)
    for start, run in intervals:
        kinds[start, start + len(run) - 1].append((start, run))
    names = sorted(kinds)
    places = [(n, g) for n, (a, b) in enumerate(names) for g, level in enumerate(levels) if level <= min(widths[a : b + 1])]
    if not places:
        return [[] for _ in levels]
    placed = np.zeros((len(names), len(places)))
    cover = np.zeros((len(levels) * len(widths), len(places)))
    for p, (n, g) in enumerate(places):
        placed[n, p] = 1
        a, b = names[n]
        cover[g * len(widths) + np.arange(a, b + 1), p] = 1
    counts = np.array([len(kinds[name]) for name in names])
    room = np.repeat(np.diff([0, *levels]), len(widths))
    solution = milp(
        np.zeros(len(places)),
        constraints=[LinearConstraint(placed, counts, counts), LinearConstraint(cover, -np.inf, room)],
        integrality=np.ones(len(places)),
        bounds=Bounds(0, np.inf),
    )
    if solution.x is None:
        return None
    chosen: list[list[Interval]] = [[] for _ in levels]
    for (n, g), number in zip(places, np.rint(solution.x).astype(int).tolist(), strict=True):
        for _ in range(number):
            chosen[g].append(kinds[names[n]].pop())
    return chosen


def _colour(intervals: list[Interval], lanes: range, orders: list[Array]) -> None:
    """Lanes for intervals that overlap at most `len(lanes)` times: from left to right, any lane that is free."""
    free_from = dict.fromkeys(lanes, 0)
    for start, run in sorted(intervals):
        lane = next(lane for lane, space in free_from.items() if space <= start)
        free_from[lane] = start + len(run)
        for space, index in enumerate(run, start):
            orders[space][lane] = index
