"""Lifted: what a rule remembers, brought from the problem that is run to the network as given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..optim.wrapped import Averaged
from ..plan.planner import Work
from ..problem.descent import Descent
from ..validate import Array


def lifted(work: Work, descent: Descent, slots: Sequence[Sequence[Array]], step: int) -> list[list[Array]]:
    """`slots[k][i]` for the parameters of the network as given, after `step` steps; the caller's own.

    Lifting is affine. What a reduction left outside, `E_i(t)`, has met no gradient: slot k of it is `s_k,i E_i(0)` (T11.2).
    Cost: two lifts a slot.
    """
    if not work.lifts:
        return [[np.array(array) for array in slot] for slot in slots]
    means = len(slots) - 1 if isinstance(descent.rule, Averaged) else len(slots)
    found = []
    for k, slot in enumerate(slots):
        own = list(slot)
        if k == means:
            found.append(work.lift(own, step))
            continue
        nothing = [np.zeros_like(array) for array in own]
        moved = [np.array(v - E) for v, E in zip(work.lift(own, step), work.lift(nothing, step), strict=True)]
        if descent.weight_decay.any():
            share, outside = descent.remembered(step)[k], work.lift(nothing, descent.origin)
            moved = [np.asarray(v + s * E, dtype=v.dtype) for v, s, E in zip(moved, share, outside, strict=True)]
        found.append(moved)
    return found
