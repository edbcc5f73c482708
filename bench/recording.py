"""What recording costs: a hundred steps with a record of one quantity, over a hundred steps without."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from . import worker
from .entrants import Entrant, Pace, Sample, Steps
from .rows import Entered, LeaveOut, Row, compare, enter
from .worker import Worker
from .workloads import Workload

if TYPE_CHECKING:
    from .contest import Workers

EVERY = 100
# records of a short run, and the least and most of a long one, which takes so many times as long as other measurements
FEW, LEAST, MOST, LONG = 2, 8, 2000, 10


class Slope(Entrant):
    """A hundred steps and their record, from a long run and a short one; what both take besides is the set-up."""

    many = LEAST
    took = 0.0

    def loop(self, records: int) -> float:
        # a start is recorded too
        steps = records * EVERY - EVERY
        self.process.call(worker.seconds, self.variant, steps, 0)
        return float(self.process.call(worker.loop_seconds, self.variant))

    def calibrate(self, pace: Pace) -> float:
        self.loop(FEW)
        hundred = self.loop(FEW)
        self.many = int(min(MOST, max(LEAST, LONG * pace.least / hundred)))
        self.steps, self.took = self.many * EVERY, (self.many + FEW) * hundred
        return hundred

    def sample(self) -> Sample:
        few, many = self.loop(FEW), self.loop(self.many)
        hundred = (many - few) / (self.many - FEW)
        return Sample(hundred, max(0.0, few - FEW * hundred))

    @property
    def lasts(self) -> float:
        return self.took


@dataclass(frozen=True)
class Recording(Row):
    """A workload with one quantity recorded every hundred steps, and without."""

    workload: Workload
    quantity: str = "alignment"

    section: ClassVar[str] = "what recording costs"
    unit: ClassVar[str] = "100 steps"
    at_most: ClassVar[bool] = True
    reference: ClassVar[tuple[str, ...]] = ("numpy",)

    @property
    def name(self) -> str:
        return f"{self.workload.name}: {self.quantity}"

    @property
    def libraries(self) -> tuple[str, ...]:
        return ("recorded", "not recorded")

    def tiny(self) -> Recording:
        return replace(self, workload=self.workload.tiny())

    def role(self, library: str) -> str:
        return "ours" if library == "recorded" else "base"

    def enter(self, library: str, workers: Workers) -> tuple[list[Entrant], dict[str, str]]:
        if library == "numpy":
            return enter(library, self.workload, workers, (workers.threads,), Steps)
        record: dict[str, Any] = {"record": {self.quantity: EVERY}} if library == "recorded" else {}
        workload = replace(self.workload, options={**self.workload.options, **record})
        process: Worker = workers.get(library)
        variants, absent = process.call(worker.build, workload, "linalign", False)
        return [Slope(process, variant) for variant in variants], absent

    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        return compare(entered, leave_out, self.workload.check_steps, self.workload.case().weights, self.workload)
