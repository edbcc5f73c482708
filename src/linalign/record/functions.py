"""Functions: recorded quantities that a user brings, `fn(network)` or `fn(network, state)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..validate import Array
from .state import State


def takes_state(fn: Callable[..., Any]) -> bool:
    """Whether a function wants the state beside the network: two arguments without a default."""
    try:
        wanted = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # of C, without a signature
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(at.kind in positional and at.default is inspect.Parameter.empty for at in wanted) >= 2


class Recorded:
    """A function of the network, or of the network and the state, whose answers must be numbers of one shape."""

    def __init__(self, name: str, fn: Callable[..., Any]) -> None:
        self._name, self._fn, self._takes_state = name, fn, takes_state(fn)
        self._shape: tuple[int, ...] | None = None

    def __call__(self, state: State) -> Array:
        answer = self._fn(state.network(), state) if self._takes_state else self._fn(state.network())
        try:
            value = np.array(answer)
        except ValueError:  # ragged
            value = np.array(None)
        if value.dtype.kind not in "biufc":
            came = type(answer).__name__
            raise TypeError(f"the recorded function {self._name!r} returned {came}; a number or an array of numbers was wanted")
        if self._shape not in (None, value.shape):
            raise ValueError(f"the recorded function {self._name!r} returned shape {value.shape}, before {self._shape}; keep to one shape")
        self._shape = value.shape
        return value
