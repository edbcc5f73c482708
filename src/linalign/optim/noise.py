"""Noise: on the labels, and on the gradients, of every step; drawn so that anybody can draw it again, from any step on.

`key = default_rng(rng).integers(2**63, size=2)`, and `draw(kind, j, shape)` is
`Generator(Philox(key=key, counter=[0, 0, kind, j])).standard_normal(shape)`. With b rows and m outputs, label noise of
`s = max(1, 4096 // (b m))` steps is drawn at a time: that of the steps `s j, ..., s j + s - 1` is `label_noise draw(0, j, (s, b, m))`.
Gradient noise of step t is `gradient_noise draw(1, t, size)`, layer after layer.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import validate
from ..layers.flat import split
from ..validate import Array

# numbers of label noise that are drawn at a time
DRAWN = 4096
LABELS, GRADIENTS = 0, 1

Key = tuple[int, int]


def key(rng: Any) -> Key:
    """What noise is drawn by. Raises: ValueError, TypeError."""
    first, second = copy.deepcopy(validate.generator(rng)).integers(2**63, size=2).tolist()
    return first, second


def _normal(key: Key, kind: int, number: int, shape: tuple[int, ...]) -> Array:
    found = np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64), counter=[0, 0, kind, number]))
    return found.standard_normal(shape)


@dataclass(frozen=True)
class Noise:
    """Standard deviations of labels and gradients, and what is drawn by."""

    labels: float
    gradients: float
    key: Key

    def on_labels(self, first: int, count: int, rows: int, outputs: int) -> Array | None:
        """The noise of `count` steps from `first` on, `(count, rows, outputs)`; None without."""
        if not self.labels or not count:
            return None
        together = max(1, DRAWN // (rows * outputs))
        blocks = range(first // together, (first + count - 1) // together + 1)
        drawn = np.concatenate([_normal(self.key, LABELS, j, (together, rows, outputs)) for j in blocks])
        begin = first - blocks[0] * together
        return np.ascontiguousarray(self.labels * drawn[begin : begin + count])

    def on_gradients(self, step: int, shapes: Sequence[tuple[int, ...]]) -> list[Array] | None:
        """The noise of the step, counted from 0, one array a layer; None without."""
        if not self.gradients:
            return None
        drawn = self.gradients * _normal(self.key, GRADIENTS, step, (sum(map(math.prod, shapes)),))
        return split(drawn, shapes)
