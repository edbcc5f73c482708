"""Stacks: what the compiled products need for weights and rows of given shapes, kept from call to call."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from .._kernels import _stack
from ..engine.bind import SHARE_WORTH
from ..engine.threads import count
from ..plan import machine

BY_ROWS = _stack.BY_ROWS
# stacks that a thread keeps, with the room that they compute in
KEPT = 16
# the share of the work that another pivot has to save: each of its products has an overhead, and rounds anew
WORTH = 0.9


class _Kept(threading.local):
    """Of each thread its own: a stack computes in room of its own."""

    def __init__(self) -> None:
        self.stacks: dict[Any, _stack.Fused] = {}


_KEPT = _Kept()


def work(widths: Sequence[int], rows: int, pivot: int) -> int:
    """Multiply-adds of `forward` and `backward`, the gradient in X included; `pivot` as in `_stack.Fused`."""
    sizes = [a * b for a, b in pairwise(widths)]
    if pivot == BY_ROWS:
        return 3 * rows * sum(sizes)
    k, last = widths[pivot], len(sizes)
    # the weights beside the pivot are themselves partial products
    beside = [size for i, size in enumerate(sizes) if i not in (pivot - 1, pivot)]
    return 3 * k * (sum(beside) + rows * ((widths[0] if pivot else 0) + (widths[-1] if pivot < last else 0)))


def choose(widths: Sequence[int], rows: int) -> int:
    """The pivot with the least work, where that is enough less than by rows."""
    best = min(range(len(widths)), key=lambda pivot: work(widths, rows, pivot))
    return best if work(widths, rows, best) < WORTH * work(widths, rows, BY_ROWS) else BY_ROWS


def largest(widths: Sequence[int], rows: int, pivot: int) -> int:
    """Multiply-adds of the largest product of them."""
    sizes = [a * b for a, b in pairwise(widths)]
    if pivot == BY_ROWS:
        return rows * max(sizes)
    return widths[pivot] * max(*sizes, rows * max(widths[0], widths[-1]))


def stack_of(weights: Sequence[Any], X: Any, threads: int | None = None) -> _stack.Fused:
    """The stack for weights and rows of these shapes and dtype, which must fit if it is met for the first time.

    `threads` share its products, by default as many as BLAS is set up for. Raises: ValueError, TypeError where shapes do not fit.
    """
    key = (threads, X.dtype, X.shape, *[W.shape for W in weights])
    found = _KEPT.stacks.get(key)
    return make(key) if found is None else found


def make(key: Any) -> _stack.Fused:
    """The stack of `(threads, dtype, shape of X, shapes of the weights)`, kept."""
    threads, dtype, (rows, inputs), *shapes = key
    widths = [inputs, *(outputs for outputs, _ in shapes)]
    if [(b, a) for a, b in pairwise(widths)] != [tuple(shape) for shape in shapes] or min(rows, *widths) < 1 or not shapes:
        raise ValueError(f"shapes {key[2:]} do not fit")
    single = {"float32": True, "float64": False}.get(str(dtype).removeprefix("torch."))
    if single is None:
        raise TypeError(f"dtype {dtype} is neither float32 nor float64")
    pivot = choose(widths, rows)
    sharing = max(1, min(count(threads), largest(widths, rows, pivot) // SHARE_WORTH)) if machine.SHARES else 1
    made = _stack.Fused(widths, rows, single, pivot, level=machine.LEVELS[machine.ISA], most=machine.TILE, threads=sharing,
                         wake=machine.PROFILE.wake, least=machine.PANELS, cache=machine.PROFILE.cache)  # fmt: skip
    while len(_KEPT.stacks) >= KEPT:
        del _KEPT.stacks[next(iter(_KEPT.stacks))]
    _KEPT.stacks[key] = made
    return made
