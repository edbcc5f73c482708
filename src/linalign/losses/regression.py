"""Losses of numbers: squared and Huber."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from .. import validate
from .base import Formula

_MEANS: dict[str, Callable[[int, int], float]] = {
    "sum": lambda n, k: 1.0,
    "samples": lambda n, k: 1.0 / n,
    "entries": lambda n, k: 1.0 / (n * k),
}


@dataclass(frozen=True)
class Squared(Formula):
    """`a * sum ||f(x) - y||^2`, with `a = 1/2` (or 1 if not `half`) over the size of the mean.

    `reduction`: "sum", "samples" (mean over samples) or "entries" (mean over samples and outputs, as torch's MSELoss).
    The name "squared" is `Squared()`, "mse" is `Squared(half=False, reduction="entries")`.
    """

    half: bool = True
    reduction: str = "sum"
    kind: ClassVar[str] = "squared"
    formula: ClassVar[str] = "squared"
    real_targets: ClassVar[bool] = True
    quadratic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        validate.choice("reduction", self.reduction, _MEANS)

    def factor(self, n: int, k_d: int) -> float:
        return (0.5 if self.half else 1.0) * _MEANS[self.reduction](n, k_d)


@dataclass(frozen=True)
class Huber(Formula):
    """`sum h(f(x) - y)`, `h(r) = r^2 / 2` up to `|r| = delta` and `delta (|r| - delta / 2)` beyond, as torch's HuberLoss.

    `reduction`: "mean" over samples and outputs, "samples" or "sum". Source: Huber, 1964. Raises: ValueError, TypeError.
    """

    delta: float = 1.0
    reduction: str = "mean"
    kind: ClassVar[str] = "huber"
    formula: ClassVar[str] = "huber"
    real_targets: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", validate.real("delta", self.delta, above=0))
        validate.choice("reduction", self.reduction, ("mean", "samples", "sum"))

    def factor(self, n: int, k_d: int) -> float:
        return _MEANS["entries" if self.reduction == "mean" else self.reduction](n, k_d)

    @property
    def numbers(self) -> tuple[float, ...]:
        return (self.delta,)
