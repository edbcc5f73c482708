"""The two scores of the paper's authors: what a record of both costs, and a whole experiment of theirs.

Their way: every layer as a dense matrix, a thin singular value decomposition of each for the alignment, and again for the
invariance; the peers may keep the decompositions for both. linalign's cost of a record is what a run with records takes more
than one without, over their number. The scores must agree.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .check import WrongResult
from .entrants import Calls, Entrant, Pace, Sample, Steps
from .rows import Entered, LeaveOut, Row, enter
from .worker import Stage, Worker
from .workloads import Array, Workload

if TYPE_CHECKING:
    from .contest import Workers

EVERY = 100
MOST_STEPS = 200_000
# nothing that two ways of finding singular vectors may differ by: their errors are rounding over gaps of some 1e-5
AGREE = 1e-7
SVD = "SVD of every layer"


@dataclass(frozen=True)
class Experiment:
    """A training with both scores every hundred steps, for `steps` of them or to a loss of `tol`.

    `workload`: its data, start and learning rate; None for three zero-padded convolutions of images of `image` x `image`, with one of them.
    """

    name: str
    steps: int
    workload: Workload | None = None
    tol: float = 1e-4
    image: int = 28

    def tiny(self) -> Experiment:
        return replace(self, workload=self.workload.tiny() if self.workload else None, steps=200, image=6)

    def problem(self) -> tuple[Any, Array, Array, float]:
        """Network, inputs, targets, learning rate; in linalign's process."""
        import linalign as la

        if self.workload is not None:
            case = self.workload.case()
            # a mean over entries that is a sum over the entries as drawn; the rate is the authors' 1e-3
            scale = np.sqrt(case.Y.size)
            return la.Network.from_matrices(case.weights), scale * case.X, scale * case.Y, 1e-3
        rng, pixels = np.random.default_rng(0), self.image**2
        net = la.Network([la.Conv2d(self.image, 3)] * 3).init("gaussian", rng=0)
        return net, rng.standard_normal((1, pixels)), rng.standard_normal((1, pixels)), 0.05


# ---- in the processes ------------------------------------------------------------------------------------------------------


def trained(stage: Stage, experiment: Experiment, threads: int, whole: bool, recorded: bool) -> dict[str, Any]:
    """A run of linalign; seconds of its loop and of the whole call, and what it found."""
    import linalign as la

    net, X, Y, lr = experiment.problem()
    record = {"alignment_svd": EVERY, "invariance": EVERY} if recorded else None
    began = time.perf_counter()
    tol, steps = (experiment.tol, MOST_STEPS) if whole else (None, experiment.steps)
    run = la.train(net, X, Y, loss="mse", lr=lr, steps=steps, tol=tol, record=record, threads=threads)
    took = time.perf_counter() - began
    found: dict[str, Any] = {"loop": run.seconds, "took": took, "steps": run.steps, "loss": run.loss[-1], "converged": run.converged}
    if recorded:
        kept = run.history["alignment_svd"], run.history["invariance"]
        found |= {"scores": [float(h.values[-1]) for h in kept], "records": len(kept[0])}
    return found | {"end": run.network.matrices(), "start": net.matrices()}


def seconds(stage: Stage, *arguments: Any) -> tuple[float, float]:
    """Of `trained`: its loop and the whole call."""
    found = trained(stage, *arguments)
    return found["loop"], found["took"]


def factors(library: str, variant: str) -> tuple[Callable[[Array], Any], Callable[[Any], tuple[Any, Any]]]:
    """How the library takes in a matrix, and finds its left singular vectors (columns) and right ones (rows). Raises: ImportError."""
    if library == "torch":
        import torch

        def by_torch(W: Any) -> tuple[Any, Any]:
            U, _, Vt = torch.linalg.svd(W, full_matrices=False)
            return U, Vt

        return torch.tensor, by_torch
    from scipy import linalg

    def by_numpy(W: Array) -> tuple[Array, Array]:
        U, _, Vt = linalg.svd(W, full_matrices=False, check_finite=False) if "SciPy" in variant else np.linalg.svd(W, full_matrices=False)
        return U, Vt

    return np.asarray, by_numpy


def keep(stage: Stage, library: str, variant: str, start: list[Array], end: list[Array]) -> None:
    """Keep the weights and the start's factors, which are made once and not counted."""
    take, find = factors(library, variant)
    stage.kept[variant] = find, [find(take(W)) for W in start], [take(W) for W in end]


def record(stage: Stage, variant: str) -> tuple[float, list[float]]:
    """Seconds of one record and its two scores."""
    find, first, weights = stage.kept[variant]

    def match(left: Any, right: Any) -> Array:
        # of every row of `right` the largest product with a column of `left`, for arrays of NumPy and of PyTorch
        return np.asarray(abs(right @ left).max(1)[0] if hasattr(left, "numpy") else np.abs(right @ left).max(axis=1))

    began = time.perf_counter()
    now = [find(W) for W in weights]
    alignment = float(np.concatenate([match(low[0], high[1]) for low, high in pairwise(now)]).mean())
    if "twice" in variant:
        now = [find(W) for W in weights]
    kept = [match(a[0], b[0].T) for a, b in zip(now[:-1], first[:-1], strict=True)]
    kept += [match(a[1].T, b[1]) for a, b in zip(now[1:], first[1:], strict=True)]
    return time.perf_counter() - began, [alignment, float(np.concatenate(kept).mean())]


def record_seconds(stage: Stage, variant: str) -> float:
    """Of `record`."""
    return record(stage, variant)[0]


VARIANTS = {"numpy": (SVD, f"{SVD}, SciPy's"), "torch": (SVD, f"{SVD}, twice")}


# ---- rows ------------------------------------------------------------------------------------------------------------------


class OurRecord(Entrant):
    """What a run with records takes more than one without, over their number."""

    def __init__(self, process: Worker, experiment: Experiment) -> None:
        super().__init__(process, "train")
        self.experiment, self.steps, self.records, self.took = experiment, experiment.steps, 1, 0.0

    def loop(self, recorded: bool) -> float:
        loop, took = self.process.call(seconds, self.experiment, self.process.threads, False, recorded)
        self.took += took
        return float(loop)

    def calibrate(self, pace: Pace) -> float:
        return self.sample().seconds

    def sample(self) -> Sample:
        self.took = 0.0
        return Sample((self.loop(True) - self.loop(False)) / self.records)

    @property
    def lasts(self) -> float:
        return self.took


@dataclass(frozen=True)
class Record(Row):
    """A record of both scores."""

    experiment: Experiment

    section: ClassVar[str] = f"the scores of the authors, both every {EVERY} steps"
    unit: ClassVar[str] = "a record"
    reference: ClassVar[tuple[str, ...]] = ("linalign",)

    @property
    def name(self) -> str:
        return f"{self.experiment.name}: a record"

    @property
    def libraries(self) -> tuple[str, ...]:
        return ("numpy", "torch", "linalign")

    def has_before(self) -> bool:
        return False

    def tiny(self) -> Record:
        return replace(self, experiment=self.experiment.tiny())

    def enter(self, library: str, workers: Workers) -> tuple[list[Entrant], dict[str, str]]:
        process = workers.get(library)
        if library == "linalign":
            return [OurRecord(process, self.experiment)], {}
        process.call(imported, library)
        return [Calls(process, variant, record_seconds, variant) for variant in VARIANTS[library]], {}

    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        return agreement(self.experiment, entered, leave_out)[1]


def imported(stage: Stage, library: str) -> None:
    """Raises: ImportError."""
    factors(library, "")


def agreement(experiment: Experiment, entered: Entered, leave_out: LeaveOut) -> tuple[dict[str, Any], dict[str, float]]:
    """linalign's run, and how far each way of finding its last scores is from them, over what is allowed. Raises: WrongResult."""
    ours = entered["linalign"][0]
    found = ours.process.call(trained, experiment, ours.process.threads, False, True)
    if isinstance(ours, OurRecord):
        ours.records = found["records"]
    errors = {}
    for library in set(entered) & set(VARIANTS):
        process = entered[library][0].process
        for variant in VARIANTS[library]:
            process.call(keep, library, variant, found["start"], found["end"])
            _, scores = process.call(record, variant)
            worst = float(np.max(np.abs(np.array(found["scores"]) - scores)))
            if not worst <= AGREE:
                raise WrongResult(f"{library}, {variant}: the scores differ by {worst:.1e}; {AGREE:.0e} is allowed")
            errors[f"{library}: {variant}"] = worst / AGREE
    return found, errors


class Theirs(Steps):
    """A peer's whole experiment: a step's time and a record's, each by their number in linalign's run."""

    total, records = 0, 0
    recorded = 0.0

    def record(self) -> float:
        self.recorded = float(self.process.call(record_seconds, SVD))
        return self.recorded

    def calibrate(self, pace: Pace) -> float:
        return self.total * super().calibrate(pace) + self.records * self.record()

    def sample(self) -> Sample:
        return Sample(self.total * super().sample().seconds + self.records * self.record())

    @property
    def lasts(self) -> float:
        return super().lasts + self.recorded


@dataclass(frozen=True)
class WholeExperiment(Row):
    """Training to a loss, with both scores all the way."""

    experiment: Experiment

    section: ClassVar[str] = Record.section
    unit: ClassVar[str] = "an experiment"
    reference: ClassVar[tuple[str, ...]] = ("linalign",)

    @property
    def name(self) -> str:
        return f"{self.experiment.name}: to a loss of {self.experiment.tol:g}"

    @property
    def libraries(self) -> tuple[str, ...]:
        return ("numpy", "torch", "linalign")

    def has_before(self) -> bool:
        return False

    def tiny(self) -> WholeExperiment:
        return replace(self, experiment=replace(self.experiment.tiny(), tol=1e9))

    def enter(self, library: str, workers: Workers) -> tuple[list[Entrant], dict[str, str]]:
        if library == "linalign":
            process = workers.get(library)
            return [Calls(process, "train", whole_seconds, self.experiment, process.threads)], {}
        assert self.experiment.workload is not None
        workload = replace(self.experiment.workload, options={})
        return enter(library, workload, workers, (workers.threads,), Theirs)

    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        _, errors = agreement(self.experiment, entered, leave_out)
        ours = entered["linalign"][0]
        run = ours.process.call(trained, self.experiment, ours.process.threads, True, True)
        if not run["converged"]:
            raise WrongResult(f"the loss is {run['loss']:.3g} after {run['steps']:,} steps; {self.experiment.tol:g} is to be reached")
        ours.steps = run["steps"]
        for entrants in entered.values():
            for who in entrants:
                if isinstance(who, Theirs):
                    who.total, who.records = run["steps"], run["records"]
        return errors

    def details(self, library: str, chosen: Mapping[str, Entrant]) -> dict[str, Any]:
        who = chosen[library]
        if not isinstance(who, Theirs):
            return {}
        return {"note": f"a step's time and a record's by their numbers, {who.total:,} steps and {who.records:,} records"}


def whole_seconds(stage: Stage, experiment: Experiment, threads: int) -> float:
    """Of the whole call of linalign's whole experiment."""
    return seconds(stage, experiment, threads, True, True)[1]
