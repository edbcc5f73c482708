"""Whether the cost model chooses well: the plan that is chosen, over the fastest of all plans."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from .entrants import Entrant, Loop, Pace, Steps
from .rows import Entered, LeaveOut, Row, compare, enter
from .worker import Stage
from .workloads import AUTO, Workload

if TYPE_CHECKING:
    from .contest import Workers


def plans(stage: Stage, workload: Workload) -> tuple[list[str], str]:
    """In linalign's process: every pivot of every set of reductions that runs another problem, and the plan that is chosen."""
    import linalign as la

    from .peers.linalign_train import Train

    case = workload.case()
    net = la.Network.from_matrices(case.weights)
    names, given = AUTO["reduce"], (net, case.X, case.Y)
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    for count in range(1, len(names) + 1):
        plan = la.explain(*given, loss=workload.loss, reduce=names[:count])
        used = tuple(r.name for r in plan.reductions if r.applied)
        found.setdefault(used, names[:count])
    # the last plan is that with all reductions
    chosen = found[used], plan.pivot.at
    stage.runners.clear()
    stage.makers.clear()
    for used, reduce in found.items():
        # blocks have pivots of their own
        for pivot in [plan.pivot.at] if "split" in used else range(net.depth + 1):
            stage.makers[_said(reduce, pivot)] = partial(Train, case, reduce=reduce, pivot=pivot)
    return list(stage.makers), _said(*chosen)


def _said(reduce: tuple[str, ...], pivot: int) -> str:
    return f"up to {reduce[-1]}, pivot {pivot}"


@dataclass(frozen=True)
class Choice(Row):
    """The plan that is chosen for a workload, by one thread, and the fastest."""

    workload: Workload

    section: ClassVar[str] = "the choice of plan"
    kernels: ClassVar[bool] = True
    at_most: ClassVar[bool] = True
    reference: ClassVar[tuple[str, ...]] = ("numpy",)

    @property
    def name(self) -> str:
        return self.workload.name

    @property
    def libraries(self) -> tuple[str, ...]:
        return ("chosen", "fastest")

    def tiny(self) -> Choice:
        return replace(self, workload=self.workload.tiny())

    def pace(self, pace: Pace) -> Pace:
        """There are many plans to try."""
        return replace(pace, least=pace.least / 5, settle=pace.settle / 5)

    def role(self, library: str) -> str:
        return "ours" if library == "chosen" else "base"

    @property
    def slower(self) -> Workload:
        """Long runs are to stay finite."""
        return replace(self.workload, lr=self.workload.lr / 100)

    def enter(self, library: str, workers: Workers) -> tuple[list[Entrant], dict[str, str]]:
        if library == "numpy":
            return enter(library, self.slower, workers, (1,), Steps)
        process = workers.get(library, 1)
        everything, chosen = process.call(plans, self.slower)
        return [Loop(process, variant) for variant in ([chosen] if library == "chosen" else everything)], {}

    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        return compare(entered, leave_out, self.workload.check_steps, self.workload.case().weights, self.workload)

    def details(self, library: str, chosen: Any) -> dict[str, Any]:
        return {"note": chosen[library].variant}
