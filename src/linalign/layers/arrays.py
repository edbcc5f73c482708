"""Layers that hold arrays: copied, read-only, and equal when the arrays are."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from ..validate import Array, finite, real_array
from .base import Layer


def frozen(array: Any, dtype: Any) -> Array:
    """A read-only copy in C order."""
    copy = np.array(array, dtype=dtype, order="C")
    copy.flags.writeable = False
    return copy


def real_frozen(name: str, value: Any, ndim: int, wanted: str) -> Array:
    """A read-only float64 copy of `ndim` dimensions, none of them empty.

    Raises: ValueError, TypeError if it is not one, saying that `wanted` was.
    """
    array = real_array(name, value)
    if array.ndim != ndim or not array.size:
        raise ValueError(f"{name} has shape {array.shape}; {wanted} was wanted")
    return frozen(finite(name, array), np.float64)


class ArrayLayer(Layer):
    """A dataclass layer some of whose fields are arrays."""

    def parts(self) -> dict[str, Any]:
        """The fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_parts(cls, **parts: Any) -> ArrayLayer:
        """The layer that `parts` came from."""
        return cls(**parts)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, theirs = self.parts(), other.parts()
        return self is other or all(np.array_equal(mine[name], theirs[name]) for name in mine)

    def __hash__(self) -> int:
        # equal layers have equal sizes; those that differ in their arrays alone are told apart by ==
        return hash((type(self), self.shape, self.param_shape))

    def __reduce__(self) -> tuple[Any, ...]:
        # copies come through the constructor too, so their arrays are read-only
        return (_again, (type(self), self.parts()))


def _again(kind: type[ArrayLayer], parts: dict[str, Any]) -> ArrayLayer:
    return kind.from_parts(**parts)
