"""SGD: gradient descent with momentum, Nesterov's too, as `torch.optim.SGD`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import validate
from ..validate import Array
from .rates import Rates
from .rule import Compiled, Rule, decay


@dataclass(frozen=True)
class SGD(Rule):
    """`v <- momentum v + (1 - dampening) g`, `W <- W - lr v`, with `g` the gradient plus `weight_decay W`.

    The first step has no dampening. Nesterov: `W <- W - lr (g + momentum v)`. Raises: ValueError, TypeError naming the argument.
    """

    momentum: float = 0.0
    nesterov: bool = False
    dampening: float = 0.0
    weight_decay: Any = 0.0
    name: ClassVar[str] = "sgd"
    commutes: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "momentum", validate.real("momentum", self.momentum, least=0, below=1))
        object.__setattr__(self, "dampening", validate.real("dampening", self.dampening, least=0))
        object.__setattr__(self, "weight_decay", decay(self.weight_decay))
        if self.nesterov and (not self.momentum or self.dampening):
            raise ValueError(f"nesterov needs a momentum above 0 and no dampening, not {self.momentum:g} and {self.dampening:g}")

    @property
    def slots(self) -> int:  # type: ignore[override]
        return 1 if self.momentum else 0

    @property
    def heavy_ball(self) -> bool:
        """Whether the fused products of the kernels are this rule: no Nesterov, no dampening."""
        return not self.nesterov and not self.dampening

    def update(self, theta: Array, gradient: Array, slots: list[Array], lr: float, weight_decay: float, step: int) -> None:
        if not slots:
            theta -= lr * (gradient + weight_decay * theta)
            return
        v = slots[0]
        damped = 1.0 if step == 1 else 1.0 - self.dampening
        if damped == 1.0:
            v[...] = self.momentum * v + gradient + weight_decay * theta
        else:
            v[...] = self.momentum * v + damped * (gradient + weight_decay * theta)
        theta -= lr * (gradient + weight_decay * theta + self.momentum * v if self.nesterov else v)

    def _alone(self, rates: Rates, weight_decay: Array, steps: int) -> tuple[Array, Array]:
        if not self.heavy_ball or rates.constant is None:
            return super()._alone(rates, weight_decay, steps)
        found = powers(rates.constant, self.momentum, weight_decay, steps)
        return found[0], found[1:][: self.slots]

    def compiled(self) -> Compiled:
        return Compiled("sgd", (self.momentum, float(self.nesterov), self.dampening))

    def describe(self) -> str:
        return self.name + (", Nesterov" if self.nesterov else "")


def powers(lr: Array, momentum: float, weight_decay: Array, steps: int) -> Array:
    """`v <- momentum v + decay f, f <- f - lr v` from 1 and 0: f and v after so many steps, powers of a 2 x 2 matrix a layer, `(2, d)`."""
    found = np.array([np.ones(len(lr)), np.zeros(len(lr))])
    for i, (rate, shrink) in enumerate(zip(lr, weight_decay, strict=True)):
        if shrink:
            once = np.array([[1 - rate * shrink, -rate * momentum], [shrink, momentum]])
            found[:, i] = np.linalg.matrix_power(once, steps) @ [1.0, 0.0]
    return found
