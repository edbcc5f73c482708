"""Adam and AdamW: a mean of gradients over the root of a mean of their squares, as `torch.optim.Adam` and `AdamW`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import validate
from ..validate import Array
from .rule import Compiled, Rule, betas, decay


@dataclass(frozen=True)
class Adam(Rule):
    """`m <- b1 m + (1 - b1) g`, `v <- b2 v + (1 - b2) g^2`, `W <- W - lr m^ / (sqrt(v^) + eps)`, with `g` plus `weight_decay W`.

    `m^ = m / (1 - b1^t)`, `v^ = v / (1 - b2^t)`. Raises: ValueError, TypeError naming the argument.
    Source: Kingma and Ba, 2015, algorithm 1.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: Any = 0.0
    name: ClassVar[str] = "adam"
    slots: ClassVar[int] = 2
    metrics: ClassVar[tuple[str, ...]] = ("parameters",)
    coupled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", betas("betas", self.betas))
        object.__setattr__(self, "eps", validate.real("eps", self.eps, least=0))
        object.__setattr__(self, "weight_decay", decay(self.weight_decay))

    def update(self, theta: Array, gradient: Array, slots: list[Array], lr: float, weight_decay: float, step: int) -> None:
        b1, b2 = self.betas
        m, v = slots
        if weight_decay and self.coupled:
            gradient = gradient + weight_decay * theta
        elif weight_decay:
            theta *= 1 - lr * weight_decay
        m += (1 - b1) * (gradient - m)
        v[...] = b2 * v + (1 - b2) * gradient * gradient
        theta -= lr / (1 - b1**step) * (m / (np.sqrt(v) / np.sqrt(1 - b2**step) + self.eps))

    def compiled(self) -> Compiled | None:
        # short rows are padded with zeros, which only eps keeps from 0 / 0
        return Compiled("adam", (*self.betas, self.eps, float(self.coupled))) if self.eps else None


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam whose decay does not pass through the gradient: `W <- (1 - lr weight_decay) W` first.

    Source: Loshchilov and Hutter, 2019, algorithm 2.
    """

    weight_decay: Any = 1e-2
    name: ClassVar[str] = "adamw"
    coupled: ClassVar[bool] = False
