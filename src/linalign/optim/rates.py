"""Rates: the learning rate of every layer at every step, whatever it was given as."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import validate
from ..validate import Array

# steps whose rates are worked out at a time
BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Rates:
    """The learning rates of `depth` layers; 0 freezes a layer.

    Either `constant (d,)`, or `at(first, count)`: those of the steps first, ..., first + count - 1, counted from 0, `(count, d)`.
    """

    depth: int
    constant: Array | None
    function: Callable[[int, int], Array] | None = None

    def at(self, first: int, count: int) -> Array:
        """The rates of `count` steps from `first` on, `(count, d)`. Raises: ValueError where a schedule ends or gives no rate."""
        if self.constant is not None:
            return np.broadcast_to(self.constant, (count, self.depth))
        assert self.function is not None
        return self.function(first, count).reshape(count, self.depth)

    def since(self, origin: int) -> Rates:
        """Those from step `origin` on."""
        if self.constant is not None or not origin:
            return self
        return Rates(self.depth, None, lambda first, count: self.at(first + origin, count))

    def blocks(self, steps: int) -> Iterator[Array]:
        """The rates of `steps` steps, some thousand at a time."""
        for first in range(0, steps, BLOCK):
            yield self.at(first, min(BLOCK, steps - first))


def make(lr: Any, depth: int, steps: int | None) -> Rates:
    """The rates from a number, one a layer, an array `(steps,)` or `(steps, d)`, or a function of the step that returns either.

    A sequence of `depth` numbers is one a layer, unless it is a column `(steps, 1)`.

    Raises: ValueError, TypeError naming lr; what a function returns is checked when it is asked.
    """
    if callable(lr):
        return Rates(
            depth, None, lambda first, count: np.array([_row(lr(t), depth, t) for t in range(first, first + count)]).reshape(-1, depth)
        )
    if np.ndim(lr) == 2 or (np.ndim(lr) == 1 and len(lr) != depth and len(lr) == steps):
        return _table(lr, depth, steps)
    if np.ndim(lr) == 1 and len(lr) == depth:
        return Rates(depth, validate.per_layer("lr", lr, depth, least=0))
    return Rates(depth, validate.per_layer("lr", lr, depth, above=0))


def check(lr: Any, steps: int) -> None:
    """What can be said of `lr` before the depth is known. Raises: ValueError, TypeError."""
    if callable(lr) or np.ndim(lr) == 2:
        return
    make(lr, len(lr) if np.ndim(lr) == 1 else 1, steps)


def _row(value: Any, depth: int, t: int) -> Array:
    return validate.per_layer(f"lr({t})", value, depth, least=0)


def _table(lr: Any, depth: int, steps: int | None) -> Rates:
    table = validate.real_array("lr", lr).astype(np.float64)
    if table.ndim == 1:
        table = table[:, None]
    if table.shape[1] not in (1, depth):
        raise ValueError(f"lr has shape {table.shape} but the network has {depth} layers; pass (steps,) or (steps, {depth})")
    if steps is not None and len(table) < steps:
        raise ValueError(f"lr has the rates of {len(table)} steps but steps is {steps}; pass one row a step")
    validate.finite("lr", table)
    if table.min() < 0:
        t = int(np.argwhere(table < 0)[0][0])
        raise ValueError(f"lr[{t}] is {table[t].min():g}; a learning rate is at least 0")
    table = np.ascontiguousarray(np.broadcast_to(table, (len(table), depth)))

    def of(first: int, count: int) -> Array:
        if first + count > len(table):
            raise ValueError(f"lr has the rates of {len(table)} steps but step {first + count} was asked for; pass one row a step")
        return table[first : first + count]

    return Rates(depth, None, of)
