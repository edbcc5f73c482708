"""Many small networks on one data set: seconds until all of them have been trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from . import worker
from .entrants import Calls, Entrant, Steps
from .rows import Entered, LeaveOut, Row, compare, enter
from .workloads import Case, Workload

if TYPE_CHECKING:
    from .contest import Workers


@dataclass(frozen=True)
class Ensemble:
    """`nets` networks of the widths of `workload` on its data. Weights are stacks `(nets, k_i, k_{i-1})`, one a layer."""

    workload: Workload
    nets: int

    peers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "numpy": ("numpy_stack",), "torch": ("torch_stack", "torch_stack_compiled"), "jax": ("jax_stack",), "linalign": ("linalign_sweep",),
    }  # fmt: skip

    def case(self) -> Case:
        """The workload's data, and gaussian starts with variance `1 / k_{i-1}`."""
        rng = np.random.default_rng(0)
        starts = tuple(rng.standard_normal((self.nets, b, a)) / np.sqrt(a) for a, b in pairwise(self.workload.widths))
        return replace(self.workload.case(), weights=starts)


@dataclass(frozen=True)
class Sweep(Row):
    """`linalign.sweep` over the starts, planning included; the peers: a step of all networks by the number of steps.

    The peers' users may compress the data by hand, keep all networks in one array, or give each thread its share of them; the
    fastest counts.
    """

    ensemble: Ensemble
    steps: int

    section: ClassVar[str] = "many small networks"
    unit: ClassVar[str] = "all networks"
    reference: ClassVar[tuple[str, ...]] = ("numpy",)

    @property
    def name(self) -> str:
        workload = self.ensemble.workload
        return f"{self.ensemble.nets:,} nets {workload.name}, n={workload.n}, {self.steps:,} steps each"

    @property
    def libraries(self) -> tuple[str, ...]:
        return tuple(self.ensemble.peers)

    def tiny(self) -> Sweep:
        return replace(self, ensemble=replace(self.ensemble, workload=self.ensemble.workload.tiny(), nets=7), steps=20)

    def enter(self, library: str, workers: Workers) -> tuple[list[Entrant], dict[str, str]]:
        if self.role(library) == "peer":
            counts = (workers.threads, 1) if workers.threads > 1 else (1,)
            return enter(library, self.ensemble, workers, counts, Steps, unit=self.steps)
        entrants, absent = enter(library, self.ensemble, workers, (workers.threads,), Steps)
        return [Calls(who.process, who.variant, worker.seconds, who.variant, self.steps, 0) for who in entrants], absent

    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        workload = self.ensemble.workload
        return compare(entered, leave_out, workload.check_steps, self.ensemble.case().weights, workload)

    def details(self, library: str, chosen: Mapping[str, Entrant]) -> dict[str, Any]:
        return {"note": "a step's time by the number of steps"} if self.role(library) == "peer" else {}


@dataclass(frozen=True)
class Spread(Ensemble):
    """The same on worker processes of dask, and in threads of one process."""

    peers: ClassVar[Mapping[str, tuple[str, ...]]] = {"numpy": ("numpy_stack",), "linalign": ("linalign_sweep", "linalign_dask")}


@dataclass(frozen=True)
class Clustered(Row):
    """A sweep on so many worker processes of dask, of one thread each on this machine, and the same in threads of one process."""

    ensemble: Spread
    steps: int
    processes: int

    section: ClassVar[str] = "many small networks"
    unit: ClassVar[str] = "all networks"
    at_most: ClassVar[bool] = True
    reference: ClassVar[tuple[str, ...]] = ("numpy",)

    @property
    def name(self) -> str:
        workload = self.ensemble.workload
        return f"{self.ensemble.nets:,} nets {workload.name}, n={workload.n}, {self.steps:,} steps each, on {self.processes} of dask"

    @property
    def libraries(self) -> tuple[str, ...]:
        return ("on dask", "in threads")

    def tiny(self) -> Clustered:
        return replace(self, ensemble=replace(self.ensemble, workload=self.ensemble.workload.tiny(), nets=7), steps=20)

    def role(self, library: str) -> str:
        return "ours" if library == "on dask" else "base"

    def enter(self, library: str, workers: Workers) -> tuple[list[Entrant], dict[str, str]]:
        if library == "numpy":
            return enter(library, self.ensemble, workers, (workers.threads,), Steps)
        process = workers.get(library)
        variants, absent = process.call(worker.build, self.ensemble, "linalign", workers.compiler)
        wanted = f"{self.processes} of dask" if library == "on dask" else "sweep"
        return [Calls(process, name, worker.seconds, name, self.steps, 0) for name in variants if name == wanted], absent

    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        workload = self.ensemble.workload
        return compare(entered, leave_out, workload.check_steps, self.ensemble.case().weights, workload)
