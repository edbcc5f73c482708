"""How time is taken: libraries take turns, each in its own process, after a pause in which the one before settles."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from . import worker
from .worker import Worker
from .workloads import Workload

MOST_STEPS = 5_000_000
# a measurement of steps slower than this takes at least this long, seconds
SLOW_STEP, LONG = 5e-3, 1.5
# seconds of planning after which nothing is left to warm up
LONG_PLAN = 0.5
# where a repeat takes long there are fewer of them: none begins this many seconds after the first, beyond the least
LEAST_REPEATS, ROW_SECONDS = 3, 30.0
# a step so slow is timed once to choose between variants, seconds
ONCE = 0.2
# a variant whose first time is this many times the best one's is not measured again
HOPELESS = 1.3


@dataclass(frozen=True)
class Settings:
    """`seconds`: the least time of one measurement; `settle`: the pause before it."""

    peers: tuple[str, ...]
    threads: int
    repeats: int
    seconds: float
    settle: float
    only_check: bool = False


@dataclass
class Times:
    """Seconds a step, one a repeat, of a library's fastest variant. `fixed`: seconds a run besides the steps."""

    how: str
    steps: int
    per_step: list[float] = field(default_factory=list)
    fixed: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return float(np.median(self.per_step))

    @property
    def spread(self) -> float:
        """The interquartile range over the median."""
        low, high = np.percentile(self.per_step, (25, 75))
        return float((high - low) / self.median)

    @property
    def overhead(self) -> float:
        """The median of `fixed`."""
        return float(np.median(self.fixed))


def say(text: str) -> None:
    """Progress; stdout is for the table."""
    print(text, file=sys.stderr, flush=True)


class Contestant:
    """One variant of one library in its process. Step counts are multiples of `multiple`."""

    multiple = 1

    def __init__(self, process: Worker, variant: str) -> None:
        self.process, self.variant = process, variant
        self.library = process.library
        self.how = f"{variant}, {process.threads} threads" if process.threads > 1 else f"{variant}, 1 thread"
        self.steps = self.multiple

    def seconds(self, steps: int) -> float:
        warm = max(1, steps // 10)
        return float(self.process.call(worker.seconds, self.variant, steps, warm))

    def calibrate(self, least: float) -> float:
        """Find the number of steps that takes at least `least` seconds; the time of one step, roughly."""
        while True:
            self.steps = math.ceil(self.steps / self.multiple) * self.multiple
            took = self.seconds(self.steps)
            # threads that share a step take some tenths of a second to settle on their cores
            wanted = least if took < SLOW_STEP * self.steps else max(least, LONG)
            if took >= 0.8 * wanted or self.steps >= MOST_STEPS:
                return took / self.steps
            self.steps = _more(self.steps, took, wanted)

    def repeat(self, times: Times) -> None:
        times.per_step.append(self.seconds(self.steps) / self.steps)


class Ours(Contestant):
    """A run of linalign plans first: a step's time is that of its loop, which the run reports; what is left is `fixed`.

    So it is with pyfaust, whose runs begin with checks and copies.
    """

    whole = loop = 0.0

    def seconds(self, steps: int) -> float:
        # planning that takes long warms up by itself
        warm = 0 if self.whole - self.loop > LONG_PLAN else max(1, steps // 10)
        self.whole = float(self.process.call(worker.seconds, self.variant, steps, warm))
        self.loop = float(self.process.call(worker.loop_seconds, self.variant))
        return self.loop

    def whole_run(self, steps: int) -> float:
        """The time of a whole run, planning and lifting included."""
        return float(self.process.call(worker.whole_seconds, self.variant, steps))

    def repeat(self, times: Times) -> None:
        loop = self.seconds(self.steps)
        times.per_step.append(loop / self.steps)
        times.fixed.append(self.whole - loop)


def _more(steps: int, took: float, wanted: float) -> int:
    """A larger number of steps: what the last time suggests, but 2 to 50 times as many."""
    guess = 1.2 * steps * wanted / max(took, 1e-9)
    return int(min(MOST_STEPS, max(2 * steps, min(guess, 50 * steps))))


def missing(needs: tuple[str, ...]) -> str | None:
    """Why a row that needs these features of linalign cannot run yet."""
    probe = Worker("linalign", 1)
    try:
        absent = probe.call(worker.missing, ("linalign:train", *needs))
    finally:
        probe.close()
    return None if absent is None else f"{absent.replace(':', '.')} is not there yet"


def enter(library: str, threads: int, workload: Workload, open_workers: list[Worker]) -> list[Contestant]:
    """Start a process; the library's variants in it."""
    process = Worker(library, threads)
    open_workers.append(process)
    kind = Ours if library in ("linalign", "pyfaust") else Contestant
    return [kind(process, variant) for variant in process.call(worker.build, library, workload)]


def fastest(contestants: list[Contestant], settings: Settings) -> dict[str, Contestant]:
    """Each library's fastest variant, by the best of three short runs."""
    best: dict[str, tuple[float, Contestant]] = {}
    many = Counter(who.library for who in contestants)
    for who in contestants:
        time.sleep(settings.settle)
        rough = who.calibrate(settings.seconds)
        close = who.library not in best or rough < HOPELESS * best[who.library][0]
        if close and rough < ONCE and many[who.library] > 1:
            rough = min([rough, *(who.seconds(who.steps) / who.steps for _ in range(2))])
        if who.library not in best or rough < best[who.library][0]:
            best[who.library] = (rough, who)
    return {library: who for library, (_, who) in best.items()}


def take_turns(
    contestants: dict[str, Contestant], settings: Settings, extra: dict[str, Callable[[], float]]
) -> tuple[dict[str, Times], dict[str, list[float]]]:
    """The interleaved repeats, beginning with another contestant each time; `extra` is measured once a repeat too."""
    times = {name: Times(who.how, who.steps) for name, who in contestants.items()}
    samples: dict[str, list[float]] = {name: [] for name in extra}
    order, began = list(contestants), time.perf_counter()
    for repeat in range(settings.repeats):
        if repeat >= LEAST_REPEATS and time.perf_counter() - began > ROW_SECONDS:
            break
        first = repeat % len(order)
        for name in order[first:] + order[:first]:
            time.sleep(settings.settle)
            contestants[name].repeat(times[name])
        for name, sample in extra.items():
            time.sleep(settings.settle)
            samples[name].append(sample())
    return times, samples
