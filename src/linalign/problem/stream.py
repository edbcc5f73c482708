"""Stream: data of its own for every step, from a function of the step or from a generator."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import validate
from ..layers.homogeneous import Homogeneous
from ..validate import Array
from .problem import Problem

Pair = tuple[Any, Any]
# numbers that are kept of a generator's data, so that a run can go back to an earlier step
KEPT = 2**24


class Gone(LookupError):
    """Data of a generator that are no longer kept."""


class Stream:
    """`(X, Y)` of every step, all of one shape: from a function of the step, or from a generator, whose first pair is of step `begin`."""

    def __init__(self, source: Any, begin: int = 0) -> None:
        """Raises: TypeError."""
        self._function: Callable[[int], Any] | None = source if callable(source) else None
        self._iterator: Iterator[Any] | None = None
        if self._function is None:
            if not isinstance(source, Iterator):
                what = "a function of the step, or a generator, that returns (X, Y) was wanted"
                raise TypeError(f"stream is {type(source).__name__}; {what}")
            self._iterator = source
        self.source = source
        # pairs of a generator, the first of them that of step `_oldest`
        self._pairs: deque[Pair] = deque()
        self._oldest = begin
        self._numbers = 0

    def onward(self, begin: int) -> Stream:
        """The rest of it."""
        found = Stream(self.source, begin)
        if self._iterator is not None:
            ahead = begin - self._oldest
            if not 0 <= ahead <= len(self._pairs):
                raise ValueError(f"stream has gone past step {begin}; pass a generator whose first pair is of that step")
            found._pairs = deque(list(self._pairs)[ahead:])
        return found

    def pair(self, step: int) -> Pair:
        """`(X, Y)` of a step, as they come. Raises: TypeError, ValueError where a generator ends or none is returned; Gone."""
        if self._function is not None:
            return self._checked(self._function(step), step)
        assert self._iterator is not None
        if step < self._oldest:
            raise Gone(f"the data of step {step} are no longer kept")
        while step >= self._oldest + len(self._pairs):
            at = self._oldest + len(self._pairs)
            try:
                found = self._checked(next(self._iterator), at)
            except StopIteration:
                raise ValueError(f"stream ended before step {at}; a pair (X, Y) for each step was wanted") from None
            self._pairs.append(found)
            self._numbers += sum(int(np.size(array)) for array in found)
            while self._numbers > KEPT and self._oldest < step:
                self._numbers -= sum(int(np.size(array)) for array in self._pairs.popleft())
                self._oldest += 1
        return self._pairs[step - self._oldest]

    @staticmethod
    def _checked(found: Any, step: int) -> Pair:
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise TypeError(f"stream returned {type(found).__name__} for step {step}; a pair (X, Y) was wanted")
        return found[0], found[1]

    def rows(self, given: Problem, first: int, count: int) -> tuple[Array, Array, int]:
        """Data and targets of `count` steps from `first` on, one step's rows after the other's, and of how many steps they are: fewer where
        a generator ends. `given` is the problem of one step, with constant coordinates where its network has biases.

        Raises: ValueError, TypeError naming the step; what the function or the generator raises.
        """
        X, T = [], []
        for step in range(first, first + count):
            try:
                data, targets = self.pair(step)
            except ValueError:
                if step == first or self._iterator is None:
                    raise
                break
            try:
                made = self._made(given, data, targets)
            except (ValueError, TypeError) as error:
                raise type(error)(f"stream, step {step}: {error}") from None
            X.append(made[0])
            T.append(made[1])
        return np.concatenate(X), np.concatenate(T), len(X)

    def _made(self, given: Problem, data: Any, targets: Any) -> tuple[Array, Array]:
        assert given.X is not None
        net, n = given.net, given.rows
        constant = isinstance(net.layers[0], Homogeneous)
        columns = given.X.shape[1] - constant
        X = validate.matrix("X", data, net.dtype, rows=n, columns=columns)
        T = given.loss.targets(targets, n, net.widths[-1], net.dtype)
        return (np.hstack([X, np.ones((n, 1), dtype=X.dtype)]) if constant else X), T


def streamed(stream: Any, X: Any, Y: Any, begin: int = 0) -> tuple[Stream, Any, Any]:
    """The stream, and the data of the step that it begins with. Raises: ValueError, TypeError."""
    if X is not None or Y is not None:
        raise ValueError("X or Y is given but stream has the data of every step; pass one of the two")
    found = stream.onward(begin) if isinstance(stream, Stream) else Stream(stream, begin)
    return found, *found.pair(begin)
