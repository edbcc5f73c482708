"""Sign: steps along the sign of the gradient, or of a mean of gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import validate
from ..validate import Array
from .rule import Compiled, Rule, decay


@dataclass(frozen=True)
class Sign(Rule):
    """`m <- momentum m + (1 - momentum) g`, `W <- (1 - lr weight_decay) W - lr sign(m)`.

    Raises: ValueError, TypeError naming the argument. Source: Bernstein et al., 2018 (signSGD; Signum with momentum).
    """

    momentum: float = 0.0
    weight_decay: Any = 0.0
    name: ClassVar[str] = "sign"
    metrics: ClassVar[tuple[str, ...]] = ("parameters",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "momentum", validate.real("momentum", self.momentum, least=0, below=1))
        object.__setattr__(self, "weight_decay", decay(self.weight_decay))

    @property
    def slots(self) -> int:  # type: ignore[override]
        return 1 if self.momentum else 0

    def update(self, theta: Array, gradient: Array, slots: list[Array], lr: float, weight_decay: float, step: int) -> None:
        if slots:
            slots[0] += (1 - self.momentum) * (gradient - slots[0])
            gradient = slots[0]
        if weight_decay:
            theta *= 1 - lr * weight_decay
        theta -= lr * np.sign(gradient)

    def compiled(self) -> Compiled:
        return Compiled("sign", (self.momentum,))
