"""What takes part in a row: one variant of one library in its process, and how a measurement of it is made."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from . import worker
from .worker import Worker

MOST_STEPS = 5_000_000
# a measurement of steps slower than SLOW_STEP seconds takes at least so many times the usual one: threads that share a step
# take some tenths of a second to settle on their cores
SLOW_STEP, LONGER = 5e-3, 15
# steps of a run of linalign at least: it ends with the loss after the last step, a third of a step more, which no peer computes
LEAST_STEPS = 10
# seconds of planning after which nothing is left to warm up
LONG_PLAN = 0.5


@dataclass(frozen=True)
class Pace:
    """How much time is taken: `least` seconds of one measurement, after a pause of `settle` in which the one before goes to sleep.

    A row has as many rounds as fit into `row_seconds`, between `least_rounds` and `most_rounds`.
    """

    least: float
    settle: float
    least_rounds: int
    row_seconds: float
    most_rounds: int = 9


class Sample(NamedTuple):
    """One measurement: `seconds` a unit of the row (a step, a run, a record), and seconds of the call besides, where there are."""

    seconds: float
    besides: float | None = None


class Entrant(ABC):
    """One variant of one library."""

    def __init__(self, process: Worker, variant: str) -> None:
        self.process, self.variant = process, variant
        self.how = f"{variant}, {process.threads} thread{'s' if process.threads > 1 else ''}"
        self.steps = 1

    @abstractmethod
    def calibrate(self, pace: Pace) -> float:
        """Find out how long a measurement has to be; the seconds of a unit, roughly."""

    @abstractmethod
    def sample(self) -> Sample:
        """Measure once."""

    @property
    @abstractmethod
    def lasts(self) -> float:
        """Seconds that a measurement takes, roughly, once calibrated."""


class Steps(Entrant):
    """Steps of a training. A unit is `unit` of them; the numbers of steps are multiples of `multiple`."""

    def __init__(self, process: Worker, variant: str, unit: int = 1, multiple: int = 1) -> None:
        super().__init__(process, variant)
        self.unit, self.multiple = unit, multiple
        # steps that warm up: as many as were tried before, so that a library that compiles for each number has them
        self.warm = 1
        self.took = 0.0

    def seconds(self, steps: int) -> float:
        self.took = float(self.process.call(worker.seconds, self.variant, steps, self.warm))
        return self.took

    def calibrate(self, pace: Pace) -> float:
        while True:
            self.steps = math.ceil(self.steps / self.multiple) * self.multiple
            took = self.seconds(self.steps)
            wanted = pace.least * (1 if took < SLOW_STEP * self.steps else LONGER)
            if took >= 0.8 * wanted or self.steps >= MOST_STEPS:
                return self.unit * took / self.steps
            # what the last time suggests, but 2 to 50 times as many
            guess = 1.2 * self.steps * wanted / max(took, 1e-9)
            self.warm, self.steps = self.steps, int(min(MOST_STEPS, max(2 * self.steps, min(guess, 50 * self.steps))))

    def sample(self) -> Sample:
        return Sample(self.unit * self.seconds(self.steps) / self.steps)

    @property
    def lasts(self) -> float:
        return 1.1 * self.took


class Loop(Steps):
    """Steps of a library whose runs begin with work of their own: a step's time is that of the loop, which the run reports."""

    loop = 0.0

    def calibrate(self, pace: Pace) -> float:
        self.steps = max(self.steps, math.ceil(LEAST_STEPS / self.multiple) * self.multiple)
        return super().calibrate(pace)

    def seconds(self, steps: int) -> float:
        # planning that takes long warms up by itself
        warm = 0 if self.took - self.loop > LONG_PLAN else self.warm
        self.took = float(self.process.call(worker.seconds, self.variant, steps, warm))
        self.loop = float(self.process.call(worker.loop_seconds, self.variant))
        return self.loop

    def sample(self) -> Sample:
        loop = self.seconds(self.steps)
        return Sample(self.unit * loop / self.steps, self.took - loop)


class Calls(Entrant):
    """A function of the worker's that says itself how many seconds a unit takes."""

    def __init__(self, process: Worker, variant: str, function: Callable[..., float], *arguments: Any) -> None:
        super().__init__(process, variant)
        self.function, self.arguments = function, arguments
        self.took = 0.0

    def calibrate(self, pace: Pace) -> float:
        self.took = self.sample().seconds
        return self.took

    def sample(self) -> Sample:
        return Sample(float(self.process.call(self.function, *self.arguments)))

    @property
    def lasts(self) -> float:
        return self.took
