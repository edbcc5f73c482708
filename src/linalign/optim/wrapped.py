"""Wrapped rules: another rule with something done before or after its step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..validate import Array
from .rates import Rates
from .rule import CLASSES, Compiled, Moment, Rule, Slots


class Wrapped(Rule):
    """A rule around `base`, whose slots, decay, metrics and claims it has."""

    base: Rule
    least: ClassVar[str] = "linear"
    """What the wrapping itself commutes with."""

    @property
    def commutes(self) -> str:  # type: ignore[override]
        return max(self.base.commutes, self.least, key=CLASSES.index)

    @property
    def slots(self) -> int:  # type: ignore[override]
        return self.base.slots

    @property
    def numbers(self) -> int:  # type: ignore[override]
        return self.base.numbers

    @property
    def metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.base.metrics

    @property
    def weight_decay(self) -> Any:
        return self.base.weight_decay

    def check(self, layers: Sequence[Any], update: str, metric: str) -> None:
        super().check(layers, update, metric)
        self.base.check(layers, update, metric)

    def start(self, params: Sequence[Array]) -> Slots:
        return self.base.start(params)

    def complement(self, rates: Rates, weight_decay: Array, steps: int) -> Array | None:
        return self.base.complement(rates, weight_decay, steps)

    def remembered(self, rates: Rates, weight_decay: Array, steps: int) -> Array:
        return self.base.remembered(rates, weight_decay, steps)

    def describe(self) -> str:
        return f"{self.name} {self.base.describe()}"


def innermost(rule: Rule) -> Rule:
    """The rule within all that is wrapped around it."""
    while isinstance(rule, Wrapped):
        rule = rule.base
    return rule


@dataclass(frozen=True)
class Clipped(Wrapped):
    """`base` with `g min(1, norm / (||g|| + 1e-6))`, g the gradients of all layers, as `torch.nn.utils.clip_grad_norm_`.

    `train(..., clip_norm=norm)` makes it.
    """

    base: Rule
    norm: float
    name: ClassVar[str] = "clipped"
    least: ClassVar[str] = "norms"
    layerwise: ClassVar[bool] = False

    def step(self, params: list[Array], gradients: list[Array], slots: Slots, at: Moment) -> None:
        share = self.norm / (at.norm(gradients) + 1e-6)
        if share < 1:
            gradients = [share * gradient for gradient in gradients]
        self.base.step(params, gradients, slots, at)

    def compiled(self) -> Compiled | None:
        found = self.base.compiled()
        return found._replace(clip=self.norm) if found is not None and found[2:] == Compiled("")[2:] else None


@dataclass(frozen=True)
class Averaged(Wrapped):
    """`base`, and the mean of the weights after its steps: `A <- W` after the first, `A <- decay A + (1 - decay) W` after the others.

    `train(..., average=decay)` makes it; the mean is in the last slot. Source: `torch.optim.swa_utils.get_ema_multi_avg_fn`.
    """

    base: Rule
    decay: float
    name: ClassVar[str] = "averaged"

    @property
    def slots(self) -> int:  # type: ignore[override]
        return self.base.slots + 1

    @property
    def layerwise(self) -> bool:  # type: ignore[override]
        return self.base.layerwise

    def start(self, params: Sequence[Array]) -> Slots:
        found = self.base.start(params)
        return Slots([*found.arrays, [theta.copy() for theta in params]], found.numbers)

    def update(self, theta: Array, gradient: Array, slots: list[Array], lr: float, weight_decay: float, step: int) -> None:
        self.base.update(theta, gradient, slots[:-1], lr, weight_decay, step)
        self._mean(slots[-1], theta, step)

    def step(self, params: list[Array], gradients: list[Array], slots: Slots, at: Moment) -> None:
        self.base.step(params, gradients, Slots(slots.arrays[:-1], slots.numbers), at)
        for mean, theta in zip(slots.arrays[-1], params, strict=True):
            self._mean(mean, theta, at.step)

    def _mean(self, mean: Array, theta: Array, step: int) -> None:
        mean[...] = theta if step == 1 else self.decay * mean + (1 - self.decay) * theta

    def complement(self, rates: Rates, weight_decay: Array, steps: int) -> Array | None:
        # the mean of what decays is another number than what it has decayed to
        return None if weight_decay.any() else super().complement(rates, weight_decay, steps)

    def remembered(self, rates: Rates, weight_decay: Array, steps: int) -> Array:
        # without decay, which this wants, the mean of what stands still is what it was
        return np.vstack([super().remembered(rates, weight_decay, steps), np.ones(len(weight_decay))])

    def compiled(self) -> Compiled | None:
        found = self.base.compiled()
        return found._replace(average=self.decay) if found is not None and found.average < 0 else None
