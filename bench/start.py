"""What comes before the first step: importing, planning, and binding a problem to the loop."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from .check import WrongResult
from .entrants import Calls, Entrant, Steps
from .rows import Entered, LeaveOut, Row, compare, enter
from .worker import Stage
from .workloads import Workload

if TYPE_CHECKING:
    from .contest import Workers

SECTION = "before the first step"
IMPORT = """
import sys, time
sys.path[:] = {path!r}
began = time.perf_counter()
import linalign
from linalign import Network, train
took = time.perf_counter() - began
print(took, linalign.__file__)
"""


def imported(stage: Stage) -> tuple[float, str]:
    """Seconds of importing what a first run needs in a new interpreter, NumPy and SciPy included, and the file that it came from."""
    done = subprocess.run([sys.executable, "-c", IMPORT.format(path=sys.path)], capture_output=True, text=True, check=True)
    took, _, file = done.stdout.strip().partition(" ")
    return float(took), file


def import_seconds(stage: Stage) -> float:
    """Of `imported`."""
    return imported(stage)[0]


def plan_seconds(stage: Stage, variant: str) -> float:
    """Seconds of `linalign.explain`: what to reduce and from which pivot to run."""
    return stage.runner(variant).plan()  # type: ignore[attr-defined, no-any-return]


def first_seconds(stage: Stage, variant: str) -> float:
    """Seconds of a run of one step besides its loop: planning, binding, lifting."""
    runner = stage.runner(variant)
    began = time.perf_counter()
    runner.run(1)
    return time.perf_counter() - began - runner.loop  # type: ignore[attr-defined, no-any-return]


@dataclass(frozen=True)
class Import(Row):
    """Importing `Network` and `train` in a new interpreter: the bare package waits with all that it has until it is asked for."""

    section: ClassVar[str] = SECTION
    unit: ClassVar[str] = "an import"

    name: ClassVar[str] = "from linalign import Network, train"  # type: ignore[misc]
    libraries: ClassVar[tuple[str, ...]] = ("linalign",)  # type: ignore[misc]

    def tiny(self) -> Import:
        return self

    def enter(self, library: str, workers: Workers) -> tuple[list[Entrant], dict[str, str]]:
        return [Calls(workers.get(library), "a new interpreter", import_seconds)], {}

    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        """Versions are to come from different files."""
        files = {library: who.process.call(imported)[1] for library, (who,) in entered.items()}
        if len(set(files.values())) < len(files):
            raise WrongResult(f"both versions are {files['linalign']}")
        return {f"{library}: {entered[library][0].how}": 0.0 for library in files}


@dataclass(frozen=True)
class Start(Row):
    """Planning alone (`plan_seconds`), or all of a run of one step but its loop (`first_seconds`)."""

    workload: Workload
    what: Callable[[Stage, str], float]

    section: ClassVar[str] = SECTION
    unit: ClassVar[str] = "a call"
    reference: ClassVar[tuple[str, ...]] = ("numpy",)

    @property
    def name(self) -> str:
        return f"{self.workload.name}: {'explain' if self.what is plan_seconds else 'a run of one step besides its loop'}"

    @property
    def libraries(self) -> tuple[str, ...]:
        return ("linalign",)

    def tiny(self) -> Start:
        return replace(self, workload=self.workload.tiny())

    def enter(self, library: str, workers: Workers) -> tuple[list[Entrant], dict[str, str]]:
        entrants, absent = enter(library, self.workload, workers, (workers.threads,), Steps)
        if library == "numpy":
            return entrants, absent
        return [Calls(who.process, who.variant, self.what, who.variant) for who in entrants], absent

    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        return compare(entered, leave_out, self.workload.check_steps, self.workload.case().weights, self.workload)
