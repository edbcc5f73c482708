"""Adagrad, as `torch.optim.Adagrad`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import validate
from ..validate import Array
from .rule import Compiled, Rule, Slots, decay


@dataclass(frozen=True)
class Adagrad(Rule):
    """`s <- s + g^2`, `W <- W - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)`, with `g` plus `weight_decay W`; `s = start` at first.

    Raises: ValueError, TypeError naming the argument. Source: Duchi, Hazan and Singer, 2011.
    """

    lr_decay: float = 0.0
    eps: float = 1e-10
    weight_decay: Any = 0.0
    initial: float = 0.0
    name: ClassVar[str] = "adagrad"
    slots: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("parameters",)

    def __post_init__(self) -> None:
        for name in ("lr_decay", "eps", "initial"):
            object.__setattr__(self, name, validate.real(name, getattr(self, name), least=0))
        object.__setattr__(self, "weight_decay", decay(self.weight_decay))

    def start(self, params: Sequence[Array]) -> Slots:
        found = super().start(params)
        for array in found.arrays[0]:
            array.fill(self.initial)
        return found

    def update(self, theta: Array, gradient: Array, slots: list[Array], lr: float, weight_decay: float, step: int) -> None:
        if weight_decay:
            gradient = gradient + weight_decay * theta
        s = slots[0]
        s += gradient * gradient
        theta -= lr / (1 + (step - 1) * self.lr_decay) * (gradient / (np.sqrt(s) + self.eps))

    def compiled(self) -> Compiled | None:
        # short rows are padded with zeros, which only eps keeps from 0 / 0
        return Compiled("adagrad", (self.lr_decay, self.eps)) if self.eps else None
