"""Validation: the loss on other data than those that are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cached import cached_property
from ..engine.whole import Whole
from ..losses import Loss
from ..problem.compressed import Compressed
from ..problem.network import Network
from ..problem.problem import Problem, make_problem
from ..reduce.biases import homogeneous
from ..validate import Array

Key = tuple[Loss, np.dtype[Any], int, int, bool]


@dataclass(frozen=True, eq=False)
class Validation:
    """Rows `X` and targets `Y` as for `train`, which runs may share. Of a quadratic loss rank(X) rows are left (T7.1)."""

    X: Any
    Y: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", {})

    def __getstate__(self) -> dict[str, Any]:
        return {"X": self.X, "Y": self.Y, "_known": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def of(self, net: Network, loss: Loss) -> Validated:
        """The loss of networks like this one. Raises: ValueError, TypeError where the data do not fit."""
        known: dict[Key, Problem] = self.__dict__["_known"]
        key = loss, net.dtype, net.widths[0], net.widths[-1], net.has_biases
        if loss.of_product:
            raise ValueError(f"validation was given but the loss {loss.kind!r} is a function of the product alone; leave it out")
        if self.X is None:
            raise ValueError("validation[0] is None; rows of data were wanted, as validation=(X, Y)")
        if key not in known:
            try:
                known[key] = make_problem(net, self.X, self.Y, loss)
            except (ValueError, TypeError) as error:
                raise type(error)(f"validation: {error}") from None
        return Validated(known[key].on(net))


class Validated:
    """The loss of networks with these layers on validation data."""

    def __init__(self, problem: Problem) -> None:
        self._given = problem

    @cached_property
    def _whole(self) -> Whole:
        return Whole(homogeneous(self._given))

    def __call__(self, params: Sequence[Array]) -> float:
        """The loss. Cost: for a quadratic loss, once `4 n k^2`, and then independent of n."""
        return self._whole.loss(params)


def validation(value: Any) -> Validation | None:
    """What was passed as `validation`. Raises: TypeError."""
    if value is None or isinstance(value, Validation):
        return value
    if isinstance(value, Compressed):
        return Validation(value, None)
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"validation is {type(value).__name__}; a pair (X, Y), or compressed data, was wanted")
    return Validation(*value)
