"""Kinds of rows: what is compared in each, who takes part, and how it is checked. The rows themselves are in the test files."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from . import check, worker
from .entrants import Calls, Entrant, Loop, Pace, Sample, Steps
from .worker import Worker
from .workloads import Workload, compressed

if TYPE_CHECKING:
    from .contest import Workers

SMALL = 2e8  # operations a step below which one thread may beat two
PLAIN = "linalign-plain"

Entered = dict[str, list[Entrant]]
LeaveOut = Callable[[str, Entrant, Exception], None]
"""What a check does with a variant that raised: library, variant, error."""


@dataclass(frozen=True)
class Row(ABC):
    """A row of the table, a group of pytest-benchmark's.

    `shows` says what the row is for. `aim` is the ratio that it is to keep: to the fastest peer at least, or where linalign is
    compared with itself (`at_most`) at most; what misses it is marked. `headline` is its line in the table of docs/benchmarks.md, if any.
    """

    aim: float | None = field(default=None, kw_only=True)
    shows: str = field(default="", kw_only=True)
    headline: str = field(default="", kw_only=True)
    quick: bool = field(default=False, kw_only=True)

    section: ClassVar[str]
    unit: ClassVar[str] = "a step"
    at_most: ClassVar[bool] = False
    kernels: ClassVar[bool] = False
    """Whether it belongs to what the cost model rests on, and not to the comparison: it has the mark of this name."""
    in_process: ClassVar[bool] = False
    """Whether it is measured in this process: products of some nanoseconds each, of one library."""
    reference: ClassVar[tuple[str, ...]] = ()
    """Libraries that take part in the check whether they are timed or not."""
    needs: ClassVar[tuple[str, ...]] = ()
    """What linalign itself cannot do without here."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What is compared; unique in its section."""

    @property
    @abstractmethod
    def libraries(self) -> tuple[str, ...]:
        """The values of the parameter `library`."""

    @abstractmethod
    def tiny(self) -> Row:
        """The same, so small that its check takes no time."""

    @abstractmethod
    def enter(self, library: str, workers: Workers) -> tuple[list[Entrant], dict[str, str]]:
        """The library's variants, and those that cannot be had here with the reason. Raises: ImportError without the library."""

    @abstractmethod
    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        """Each variant's error over its bound. Raises: WrongResult. A variant that raises anything else is left out."""

    @property
    def id(self) -> str:
        """The name without what `-k` does not take."""
        return re.sub(r"[^\w.+-]+", "-", self.name).strip("-")

    def has_before(self) -> bool:
        """Whether another version of linalign can take part."""
        return "linalign" in self.libraries

    def pace(self, pace: Pace) -> Pace:
        """How much time is taken here, where it is not as elsewhere."""
        return pace

    def role(self, library: str) -> str:
        """What the table does with the time: `ours`, `peer`, `base` (linalign again), `before` (another version) or `yardstick`."""
        if library == "before":
            return "before"
        return "ours" if library.startswith("linalign") else "peer"

    def about(self) -> dict[str, Any]:
        """What the table says of the row."""
        return {
            "section": self.section, "row": self.name, "unit": self.unit, "aim": self.aim, "at_most": self.at_most,
            "shows": self.shows, "headline": self.headline,
        }  # fmt: skip

    def details(self, library: str, chosen: Mapping[str, Entrant]) -> dict[str, Any]:
        """More of what was found, for the table."""
        return {}


def enter(
    library: str, problem: worker.Problem, workers: Workers, counts: tuple[int, ...], kind: type[Steps], **options: Any
) -> tuple[list[Entrant], dict[str, str]]:
    """A library's variants of a problem, in a process for each count of threads."""
    entrants: list[Entrant] = []
    absent: dict[str, str] = {}
    whose = "linalign" if library == "before" else library
    for count in counts:
        process = workers.get(library, count)
        variants, left = process.call(worker.build, problem, whose, workers.compiler)
        entrants += [kind(process, variant, **options) for variant in variants]
        absent.update(left)
    return entrants, absent


def compare(
    entered: Entered, leave_out: LeaveOut, steps: int, start: Any, workload: Workload, bounds: Callable[..., list[float]] = check.bounds
) -> dict[str, float]:
    """Every variant's weights against those of the first of NumPy's, within `bounds`."""
    first = entered["numpy"][0]
    once, want = (first.process.call(worker.trained, first.variant, k) for k in (1, steps))
    allowed = bounds(workload, start, once, steps)
    errors = {}
    for library, entrants in entered.items():
        for who in list(entrants):
            if isinstance(who, Yardstick):
                continue
            name = f"{library}: {who.how}"
            try:
                got = who.process.call(worker.trained, who.variant, steps)
            except Exception as error:
                leave_out(library, who, error)
            else:
                errors[name] = check.compare(name, got, want, start, allowed)
    return errors


class Yardstick(Calls):
    """What the matrix products of a step take at the best rate of this machine's BLAS."""

    def __init__(self, process: Worker, workload: Workload) -> None:
        super().__init__(process, "dgemm", worker.product_rate, workload.widths[0])
        self.operations = workload.products

    def sample(self) -> Sample:
        return Sample(self.operations / super().sample().seconds)


@dataclass(frozen=True)
class Step(Row):
    """A step of gradient descent on a workload, by linalign and by every library that can.

    `plain`: by `reduce="none"` too, the kernels alone. `dgemm`: the share of this machine's rate of matrix products that the
    step is to reach, which is measured beside it.
    """

    section: str  # type: ignore[misc]
    workload: Workload
    plain: bool = False
    dgemm: float | None = None

    reference: ClassVar[tuple[str, ...]] = ("numpy",)

    @property
    def name(self) -> str:
        return self.workload.name

    @property
    def libraries(self) -> tuple[str, ...]:
        return (*self.workload.peers, *((PLAIN,) if self.plain else ()), *(("dgemm",) if self.dgemm else ()))

    def tiny(self) -> Step:
        return replace(self, workload=self.workload.tiny())

    def role(self, library: str) -> str:
        return "yardstick" if library == "dgemm" else super().role(library)

    def enter(self, library: str, workers: Workers) -> tuple[list[Entrant], dict[str, str]]:
        if library == "dgemm":
            return [Yardstick(workers.get("numpy"), self.workload)], {}
        if library == PLAIN:
            # a process of its own, as a process holds the variants of one case
            process = workers.get(PLAIN)
            process.call(worker.build, self.workload, "linalign", workers.compiler, True)
            return [Loop(process, worker.PLAIN)], {}
        few = (1,) if workers.threads > 1 and self.workload.products <= SMALL and self.role(library) == "peer" else ()
        kind = Loop if library in ("linalign", "before", "pyfaust") else Steps
        return enter(library, self.workload, workers, (workers.threads, *few), kind)

    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        return compare(entered, leave_out, self.workload.check_steps, self.workload.case().weights, self.workload)

    def details(self, library: str, chosen: Mapping[str, Entrant]) -> dict[str, Any]:
        if library == "dgemm":
            return {"operations": self.workload.products, "aim": self.dgemm}
        if self.dgemm and self.role(library) == "ours":
            # a plan with fewer operations than backpropagation is credited with those it does
            planned = float(chosen[library].process.call(worker.operations, chosen[library].variant))
            return {"operations": min(planned, self.workload.products)}
        return {}


class Whole(Calls):
    """A whole run of linalign: planning and lifting are in it."""

    def __init__(self, process: Worker, variant: str, steps: int) -> None:
        super().__init__(process, variant, worker.whole_seconds, variant, steps)


@dataclass(frozen=True)
class WholeRun(Row):
    """A run of so many steps, planning and lifting included; the peers have nothing to plan, so theirs is as many of their steps."""

    section: str  # type: ignore[misc]
    workload: Workload
    steps: int

    unit: ClassVar[str] = "a run"
    reference: ClassVar[tuple[str, ...]] = ("numpy",)

    @property
    def name(self) -> str:
        return f"{self.workload.name}: a whole run of {self.steps:,} steps"

    @property
    def libraries(self) -> tuple[str, ...]:
        return tuple(self.workload.peers)

    def tiny(self) -> WholeRun:
        return replace(self, workload=self.workload.tiny(), steps=10)

    def enter(self, library: str, workers: Workers) -> tuple[list[Entrant], dict[str, str]]:
        counts = (workers.threads,)
        if self.role(library) == "peer":
            return enter(library, self.workload, workers, counts, Steps, unit=self.steps)
        entrants, absent = enter(library, self.workload, workers, counts, Steps)
        return [Whole(who.process, who.variant, self.steps) for who in entrants], absent

    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        return compare(entered, leave_out, self.workload.check_steps, self.workload.case().weights, self.workload)

    def details(self, library: str, chosen: Mapping[str, Entrant]) -> dict[str, Any]:
        return {"note": "a step's time by the number of steps"} if self.role(library) == "peer" else {}


@dataclass(frozen=True)
class Itself(Row):
    """linalign against itself: how many times as long a step takes as another one, each in a process of its own.

    `sides`: a label and a workload each; the first is `ours`, the second the base. `multiple`: step counts are multiples of it,
    so that what happens every so many steps is in the figure in full.
    """

    section: str  # type: ignore[misc]
    title: str
    sides: tuple[tuple[str, Workload], tuple[str, Workload]]
    multiple: int = 1

    at_most: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return self.title

    @property
    def libraries(self) -> tuple[str, ...]:
        return tuple(label for label, _ in self.sides)

    def tiny(self) -> Itself:
        (a, first), (b, second) = self.sides
        return replace(self, sides=((a, first.tiny()), (b, second.tiny())))

    def role(self, library: str) -> str:
        return "ours" if library == self.sides[0][0] else "base"

    def enter(self, library: str, workers: Workers) -> tuple[list[Entrant], dict[str, str]]:
        process = workers.get(library)
        variants, absent = process.call(worker.build, dict(self.sides)[library], "linalign", workers.compiler)
        return [Loop(process, variant, multiple=self.multiple) for variant in variants], absent

    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        """Each side against NumPy on the same rows."""
        errors = {}
        for label, workload in self.sides:
            if label not in entered:
                continue
            start, wanted, allowed = self.by_hand(workload)
            for who in list(entered[label]):
                name = f"{label}: {who.how}"
                try:
                    got = who.process.call(worker.trained, who.variant, workload.check_steps)
                except Exception as error:
                    leave_out(label, who, error)
                else:
                    errors[name] = check.compare(name, got, wanted, start, allowed)
        return errors

    def by_hand(self, workload: Workload) -> tuple[Any, Any, list[float]]:
        """Weights at the start and after the steps that are checked, and what these may be off by; data of many rows are compressed."""
        from .peers import numpy_loop

        case = compressed(workload.case())
        first, last = trained(lambda: numpy_loop.Loop(case, lambda A, B, out: A.dot(B, out)), workload.check_steps)
        return case.weights, last, check.bounds(workload, case.weights, first, workload.check_steps)


def trained(make: Callable[[], Any], steps: int) -> tuple[Any, Any]:
    """The weights of a program after one step, and after so many, from the start each time."""
    found = []
    for count in (1, steps):
        runner = make()
        runner.run(count)
        found.append(runner.weights())
    return found[0], found[1]
