"""Flat: the parameters of all layers as one vector, layer 1 first, each raveled."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..validate import Array


def split(vector: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """Views of a vector, one of each shape, one after another."""
    found, at = [], 0
    for shape in shapes:
        end = at + math.prod(shape)
        found.append(vector[at:end].reshape(shape))
        at = end
    return found
