"""Functions: recorded quantities that a user brings, `fn(network)` or `fn(network, state)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import validate
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


def ask(fn: Callable[..., Any], with_network: bool, state: State) -> Any:
    """What a function says of the network and the state, or of the state alone."""
    return fn(state.network(), state) if with_network else fn(state)


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


class Sum:
    """The running sum of a function's answers: `record={Sum(fn): 100}` or `{"name": (100, Sum(fn))}`.

    What is recorded at a step is the sum over the steps 0, each, 2 each, ... up to it. `fn` takes the network, or the network and the
    state.
    Raises: TypeError, ValueError naming the argument.
    """

    def __init__(self, fn: Callable[..., Any], each: int = 1) -> None:
        if not callable(fn):
            raise TypeError(f"fn is {fn!r}; a function of the network, or of the network and the state, was wanted")
        self.fn, self.each = fn, validate.integer("each", each, least=1)
        self.name = f"sum of {getattr(fn, '__name__', repr(fn))}"


class Summed:
    """A running sum on its way: `total` is that of the steps before `next`."""

    def __init__(self, name: str, asked: Sum) -> None:
        self._value, self.each = Recorded(name, asked.fn), asked.each
        self.next = 0
        self.total: Array | None = None

    def after(self, step: int) -> int:
        """The next step to be added after this one."""
        return (step // self.each + 1) * self.each

    def add(self, state: State) -> None:
        """The answer at this step, if it is one of those that are added and has not been."""
        if state.step >= self.next and state.step % self.each == 0:
            value = self._value(state)
            self.total = value if self.total is None else self.total + value
            self.next = state.step + 1

    def __call__(self, state: State) -> Array:
        assert self.total is not None
        return self.total
