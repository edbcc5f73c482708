"""Rules that divide by one number made of norms: normalised gradient descent and GroupRMSprop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import validate
from ..validate import Array
from .rates import Rates
from .rule import Compiled, Moment, Rule, Slots, decay, decoupled, rescaled

# below, and above its inverse, squares of gradients and rates over their norm may leave the precision
LEAST = 1e-40


class Normalised(Rule):
    """Gradients of all layers over one number; decay does not pass through them: `W <- (1 - lr weight_decay) W`."""

    commutes: ClassVar[str] = "norms"
    layerwise: ClassVar[bool] = False
    scale_free: ClassVar[bool] = False
    """Whether a step is the same whatever the length of the gradients."""

    def divisor(self, squared: float, slots: Slots, step: int) -> float:
        """What the gradients, `squared` the sum of their squared norms, are divided by."""
        raise NotImplementedError

    def step(self, params: list[Array], gradients: list[Array], slots: Slots, at: Moment) -> None:
        squared = at.squared(gradients)
        if self.scale_free and not LEAST < squared < 1 / LEAST:
            gradients = rescaled(gradients)[0]
            squared = at.squared(gradients)
        by = self.divisor(squared, slots, at.step)
        for theta, gradient, lr, shrink in zip(params, gradients, map(float, at.lr), map(float, at.weight_decay), strict=True):
            if shrink:
                theta *= 1 - lr * shrink
            if by:
                theta -= lr / by * gradient

    def complement(self, rates: Rates, weight_decay: Array, steps: int) -> Array:
        return decoupled(rates, weight_decay, steps)


@dataclass(frozen=True)
class NormalizedGD(Normalised):
    """`W_i <- W_i - lr g_i / ||g||`, the norm of the gradients of all layers: every step has length lr. Where g = 0 nothing moves.

    Raises: ValueError, TypeError naming the argument. Source: Nesterov, 2004, section 3.2.3.
    """

    weight_decay: Any = 0.0
    name: ClassVar[str] = "normalized_gd"
    scale_free: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight_decay", decay(self.weight_decay))

    def divisor(self, squared: float, slots: Slots, step: int) -> float:
        return float(np.sqrt(squared))

    def compiled(self) -> Compiled:
        return Compiled("normalised")


@dataclass(frozen=True)
class GroupRMSprop(Normalised):
    """One accumulator over all layers: `v <- a v + (1 - a) ||g||^2`, `W_i <- W_i - lr g_i / (sqrt(v / (1 - a^t)) + eps)`.

    Raises: ValueError, TypeError naming the argument. Source: T11.3.
    """

    alpha: float = 0.99
    eps: float = 1e-6
    weight_decay: Any = 0.0
    name: ClassVar[str] = "group_rmsprop"
    numbers: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", validate.real("alpha", self.alpha, least=0, below=1))
        object.__setattr__(self, "eps", validate.real("eps", self.eps, least=0))
        object.__setattr__(self, "weight_decay", decay(self.weight_decay))

    def divisor(self, squared: float, slots: Slots, step: int) -> float:
        slots.numbers[0] = self.alpha * slots.numbers[0] + (1 - self.alpha) * squared
        return float(np.sqrt(slots.numbers[0] / (1 - self.alpha**step))) + self.eps

    def compiled(self) -> Compiled:
        return Compiled("group_rmsprop", (self.alpha, self.eps))
