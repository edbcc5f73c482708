"""The contract of a loss, and means over samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import reference, validate
from ..calls import Called
from ..validate import Array


class Loss(metaclass=Called):
    """What all losses share."""

    kind: ClassVar[str]
    of_product: ClassVar[bool] = False
    quadratic: ClassVar[bool] = False
    real_targets: ClassVar[bool] = False
    """Whether targets are any numbers, and no labels."""

    def targets(self, Y: Any, n: int, k_d: int, dtype: np.dtype[Any]) -> Array:
        """`Y` checked, as an `(n, k_d)` array of `dtype`."""
        if Y is None:
            raise ValueError(f"Y is None but the loss {self.kind!r} needs targets; pass Y of shape ({n}, {k_d})")
        values = validate.real_array("Y", Y, dtype)
        if values.ndim == 1 and k_d == 1:
            values = values.reshape(-1, 1)
        if values.size == n and n > 1 and k_d > 1 and values.ndim <= 2 and bool((values == np.round(values)).all()):
            fix = f"if these are classes 0 to {k_d - 1}, pass {self.of_classes(k_d)}, or loss='cross_entropy'"
            raise ValueError(f"Y has shape {values.shape}; ({n}, {k_d}) was wanted: {fix}")
        return validate.matrix("Y", values, dtype, rows=n, columns=k_d)

    @staticmethod
    def of_classes(k_d: int) -> str:
        """What makes targets of numbers of classes, as one writes it."""
        return f"np.eye({k_d})[np.ravel(Y).astype(int)]"

    @abstractmethod
    def factor(self, n: int, k_d: int) -> float:
        """What multiplies the sum, for `n` samples and `k_d` outputs."""

    @abstractmethod
    def objective(self, T: Array | None, factor: float) -> reference.Objective:
        """The function of the outputs `F (n, k_d)` that returns the loss and its gradient in `F`.

        For a loss of the product the samples are the identity: `F = P^T`.
        """

    def second(self, T: Array | None, factor: float) -> reference.Second:
        """The function of `F` and a direction `V` that returns the derivative of the gradient along V (T13.1).

        Here: central differences of the gradient, good to some ten digits in float64. Losses that know better say so.
        """
        objective = self.objective(T, factor)
        return lambda F, V: reference.difference(objective, F, V)

    @property
    def twice_differentiable(self) -> bool:
        """Whether `second` is exact: a formula and no difference."""
        return type(self).second is not Loss.second


class Formula(Loss):
    """A loss of the outputs whose value, gradient and second derivative are functions of `reference.py`."""

    formula: ClassVar[str]
    """What they are called there; a class that is made of this one may be of another kind."""

    @property
    def numbers(self) -> tuple[float, ...]:
        """What they take besides outputs, targets and factor."""
        return ()

    def objective(self, T: Array | None, factor: float) -> reference.Objective:
        formula: Callable[..., tuple[float, Array]] = getattr(reference, self.formula)
        return lambda F: formula(F, T, factor, *self.numbers)

    def second(self, T: Array | None, factor: float) -> reference.Second:
        formula: Callable[..., Array] = getattr(reference, f"{self.formula}_second")
        return lambda F, V: formula(F, V, T, factor, *self.numbers)


@dataclass(frozen=True)
class Mean(Formula):
    """A sum over outputs, and the mean or the sum over samples."""

    reduction: str = "mean"

    def __post_init__(self) -> None:
        validate.choice("reduction", self.reduction, ("mean", "sum"))

    def factor(self, n: int, k_d: int) -> float:
        return 1.0 / n if self.reduction == "mean" else 1.0
