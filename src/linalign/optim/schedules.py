"""Schedules: learning rates that change with the step, as torch's schedulers; each is a function of the step, counted from 0.

`lr` is a number, or one a layer. Source: `torch.optim.lr_scheduler`.
"""

from __future__ import annotations

import bisect
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import validate


class Schedule(ABC):
    """A base rate times a factor of the step."""

    lr: Any

    @abstractmethod
    def factor(self, t: int) -> float:
        """What step `t` multiplies the base rate by."""

    def __call__(self, t: int) -> Any:
        """The rate of step `t`: a number, or one a layer."""
        return np.asarray(self.lr, dtype=np.float64) * self.factor(t) if np.ndim(self.lr) else float(self.lr) * self.factor(t)


def _base(schedule: Any) -> None:
    value = schedule.lr
    validate.per_layer("lr", value, len(value) if np.ndim(value) == 1 else 1, least=0)


@dataclass(frozen=True, eq=False)
class Step(Schedule):
    """`lr gamma^floor(t / step_size)`, as StepLR."""

    lr: Any
    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        _base(self)
        validate.integer("step_size", self.step_size, least=1)
        validate.real("gamma", self.gamma, least=0)

    def factor(self, t: int) -> float:
        return float(self.gamma ** (t // self.step_size))


@dataclass(frozen=True, eq=False)
class MultiStep(Schedule):
    """`lr gamma^m`, m the number of milestones up to t, as MultiStepLR."""

    lr: Any
    milestones: Sequence[int]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        _base(self)
        ordered = tuple(sorted(validate.integer(f"milestones[{i}]", m, least=0) for i, m in enumerate(self.milestones)))
        object.__setattr__(self, "milestones", ordered)
        validate.real("gamma", self.gamma, least=0)

    def factor(self, t: int) -> float:
        return float(self.gamma ** bisect.bisect_right(self.milestones, t))


@dataclass(frozen=True, eq=False)
class Exponential(Schedule):
    """`lr gamma^t`, as ExponentialLR."""

    lr: Any
    gamma: float

    def __post_init__(self) -> None:
        _base(self)
        validate.real("gamma", self.gamma, least=0)

    def factor(self, t: int) -> float:
        return float(self.gamma**t)


@dataclass(frozen=True, eq=False)
class Cosine(Schedule):
    """`least + (lr - least) (1 + cos(pi t / steps)) / 2`, as CosineAnnealingLR(T_max=steps, eta_min=least)."""

    lr: Any
    steps: int
    least: float = 0.0

    def __post_init__(self) -> None:
        _base(self)
        validate.integer("steps", self.steps, least=1)
        validate.real("least", self.least, least=0)

    def factor(self, t: int) -> float:
        return (1 + math.cos(math.pi * t / self.steps)) / 2

    def __call__(self, t: int) -> Any:
        share = self.factor(t)
        if np.ndim(self.lr):
            return self.least + (np.asarray(self.lr, dtype=np.float64) - self.least) * share
        return self.least + (float(self.lr) - self.least) * share


@dataclass(frozen=True, eq=False)
class Warmup(Schedule):
    """Linear from `start lr` to `end lr` over `steps` steps, then constant, as LinearLR."""

    lr: Any
    steps: int
    start: float = 1.0 / 3
    end: float = 1.0

    def __post_init__(self) -> None:
        _base(self)
        validate.integer("steps", self.steps, least=1)
        validate.real("start", self.start, above=0)
        validate.real("end", self.end, least=0)

    def factor(self, t: int) -> float:
        return self.start + (self.end - self.start) * min(t, self.steps) / self.steps


@dataclass(frozen=True, eq=False)
class Chained(Schedule):
    """The first schedule's rate times the factors of the others, as ChainedScheduler."""

    schedules: Sequence[Schedule]

    def __post_init__(self) -> None:
        if not self.schedules or not all(isinstance(s, Schedule) for s in self.schedules):
            raise TypeError(f"schedules is {self.schedules!r}; schedules such as [Warmup(lr, 10), Exponential(lr, 0.99)] were wanted")

    @property
    def lr(self) -> Any:
        return self.schedules[0].lr

    def factor(self, t: int) -> float:
        return math.prod(schedule.factor(t) for schedule in self.schedules)

    def __call__(self, t: int) -> Any:
        return self.schedules[0](t) * math.prod(schedule.factor(t) for schedule in self.schedules[1:])


@dataclass(frozen=True, eq=False)
class Sequential(Schedule):
    """One schedule after the other, each from its own step 0 at its milestone, as SequentialLR."""

    schedules: Sequence[Schedule]
    milestones: Sequence[int]

    def __post_init__(self) -> None:
        if not self.schedules or not all(isinstance(s, Schedule) for s in self.schedules):
            raise TypeError(f"schedules is {self.schedules!r}; a list of schedules such as [Warmup(lr, 10), Cosine(lr, 90)] was wanted")
        ordered = [validate.integer(f"milestones[{i}]", m, least=1) for i, m in enumerate(self.milestones)]
        if len(ordered) != len(self.schedules) - 1 or sorted(set(ordered)) != ordered:
            raise ValueError(f"milestones is {ordered}; {len(self.schedules) - 1} ascending steps were wanted, one less than schedules")

    @property
    def lr(self) -> Any:
        return self.schedules[0].lr

    def _now(self, t: int) -> tuple[Schedule, int]:
        at = bisect.bisect_right(self.milestones, t)
        return self.schedules[at], t - (self.milestones[at - 1] if at else 0)

    def factor(self, t: int) -> float:
        schedule, since = self._now(t)
        return schedule.factor(since)

    def __call__(self, t: int) -> Any:
        schedule, since = self._now(t)
        return schedule(since)
