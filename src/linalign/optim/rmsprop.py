"""RMSprop, centred too, as `torch.optim.RMSprop`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import validate
from ..validate import Array
from .rule import Compiled, Rule, decay


@dataclass(frozen=True)
class RMSprop(Rule):
    """`v <- a v + (1 - a) g^2`, `W <- W - lr g / (sqrt(v) + eps)`, with `g` plus `weight_decay W`.

    Centred: `v - m^2` in place of v, `m <- a m + (1 - a) g`. With momentum `b <- momentum b + g / (...)`, `W <- W - lr b`.
    Raises: ValueError, TypeError naming the argument. Source: Hinton's lecture 6e; Graves, 2013, for the centred form.
    """

    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: Any = 0.0
    momentum: float = 0.0
    centered: bool = False
    name: ClassVar[str] = "rmsprop"
    metrics: ClassVar[tuple[str, ...]] = ("parameters",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", validate.real("alpha", self.alpha, least=0, below=1))
        object.__setattr__(self, "eps", validate.real("eps", self.eps, least=0))
        object.__setattr__(self, "momentum", validate.real("momentum", self.momentum, least=0, below=1))
        object.__setattr__(self, "weight_decay", decay(self.weight_decay))

    @property
    def slots(self) -> int:  # type: ignore[override]
        return 1 + bool(self.centered) + bool(self.momentum)

    def update(self, theta: Array, gradient: Array, slots: list[Array], lr: float, weight_decay: float, step: int) -> None:
        if weight_decay:
            gradient = gradient + weight_decay * theta
        v = slots[0]
        v[...] = self.alpha * v + (1 - self.alpha) * gradient * gradient
        if self.centered:
            m = slots[1]
            m += (1 - self.alpha) * (gradient - m)
            root = np.sqrt(v - m * m) + self.eps
        else:
            root = np.sqrt(v) + self.eps
        if self.momentum:
            b = slots[-1]
            b[...] = self.momentum * b + gradient / root
            theta -= lr * b
        else:
            theta -= lr * (gradient / root)

    def compiled(self) -> Compiled | None:
        # short rows are padded with zeros, which only eps keeps from 0 / 0
        return Compiled("rmsprop", (self.alpha, self.eps, self.momentum, float(self.centered))) if self.eps else None

    def describe(self) -> str:
        return self.name + (", centred" if self.centered else "") + (", momentum" if self.momentum else "")
