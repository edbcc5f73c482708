"""The authors' two scores: what a record costs, and their whole experiment, against PyTorch done their way.

Their way: every layer as a dense matrix, a thin singular value decomposition of each for the alignment, and again for the
invariance. linalign's cost of a record is what a run with records takes more than one without, over their number; the scores
must agree. A whole experiment of PyTorch is its step's time and its record's time by their numbers in linalign's run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from . import worker
from .rows import Row
from .timing import Settings, Times, fastest, missing
from .timing import enter as enter_library
from .worker import Worker
from .workloads import AUTHORS, Array, Workload

GROUP = "issue 5: the scores of the authors, both every 100 steps"
EVERY = 100
# nothing that two ways of finding singular vectors may differ by: their errors are rounding over gaps of some 1e-5
AGREE = 1e-7


@dataclass(frozen=True)
class Scores:
    """`target`: the least ratio to PyTorch of a record; `whole`: that of training to a loss of `tol` with both scores, if asked for.

    `workload`: its data, start and learning rate; None for three zero-padded convolutions of 28 x 28 with one image.
    """

    name: str
    group: str
    target: float
    steps: int
    workload: Workload | None = None
    whole: float | None = None
    tol: float = 1e-4


SCORES = (
    Scores(
        "784-1024-64-10, n=256, default start: a record", GROUP, 4, 3000,
        Workload("784-1024-64-10 scores", GROUP, AUTHORS, 256, 4, 1.0, options={"loss": "mse"}), whole=20,
    ),
    Scores(
        "784-1024-64-10, n=256, aligned start: a record", GROUP, 4, 3000,
        Workload("784-1024-64-10 aligned scores", GROUP, AUTHORS, 256, 4, 1.0, start="aligned_svd", options={"loss": "mse"}), whole=20,
    ),
    Scores("three 3x3 convolutions, 28x28, n=1: a record", GROUP, 4, 1500),
)  # fmt: skip


# ---- in linalign's process -------------------------------------------------------------------------------------------------


def _problem(entry: Scores) -> tuple[Any, Array, Array, float]:
    import linalign as la

    if entry.workload is not None:
        case = entry.workload.case()
        # a mean over entries that is a sum over the entries as drawn; the rate is the authors' 1e-3
        scale = np.sqrt(case.Y.size)
        return la.Network.from_matrices(case.weights), scale * case.X, scale * case.Y, 1e-3
    rng = np.random.default_rng(0)
    net = la.Network([la.Conv2d(28, 3)] * 3).init("gaussian", rng=0)
    return net, rng.standard_normal((1, 784)), rng.standard_normal((1, 784)), 0.05


def by_linalign(entry: Scores, threads: int, whole: bool, recorded: bool) -> dict[str, Any]:
    """A run; seconds of its loop and of the whole call, and what it found."""
    import linalign as la

    net, X, Y, lr = _problem(entry)
    record = {"alignment_svd": EVERY, "invariance": EVERY} if recorded else None
    began = time.perf_counter()
    tol = entry.tol if whole else None
    run = la.train(net, X, Y, loss="mse", lr=lr, steps=200_000 if whole else entry.steps, tol=tol, record=record, threads=threads)
    took = time.perf_counter() - began
    found: dict[str, Any] = {"loop": run.seconds, "took": took, "steps": run.steps, "loss": run.loss[-1], "converged": run.converged}
    if recorded:
        kept = run.history["alignment_svd"], run.history["invariance"]
        found |= {"scores": [h.values[-1] for h in kept], "records": len(kept[0])}
    return found | {"end": run.network.matrices(), "start": net.matrices()}


# ---- in PyTorch's process --------------------------------------------------------------------------------------------------


def by_torch(start: list[Array], end: list[Array]) -> tuple[float, list[float]]:
    """Seconds of one record and its two scores; the start's factors are made once and not counted."""
    import torch

    def factors(weights: list[Any]) -> list[Any]:
        return [torch.linalg.svd(W, full_matrices=False) for W in weights]

    def match(left: Any, right: Any) -> float:
        return float((right @ left).abs().max(dim=0).values.mean())

    first = factors([torch.from_numpy(W) for W in start])
    weights = [torch.from_numpy(W) for W in end]
    began = time.perf_counter()
    now = factors(weights)
    alignment = float(np.mean([match(low[0], high[2]) for low, high in pairwise(now)]))
    now = factors(weights)
    kept = [match(a[0], b[0].T) for a, b in zip(now[:-1], first[:-1], strict=True)]
    kept += [match(a[2].T, b[2]) for a, b in zip(now[1:], first[1:], strict=True)]
    return time.perf_counter() - began, [alignment, float(np.mean(kept))]


# ---- rows ------------------------------------------------------------------------------------------------------------------


def lines(entry: Scores) -> list[Row]:
    """The lines of an entry, to be filled."""
    rows = [Row(entry.name, entry.group, entry.target)]
    if entry.whole is not None:
        rows.append(Row(f"  the whole experiment, to a loss of {entry.tol:g}", entry.group, entry.whole))
    return rows


def measure_scores(entry: Scores, rows: list[Row], settings: Settings) -> None:
    """A record, and the whole experiment. Raises: whatever went wrong."""
    reason = missing(("linalign.vectors",)) or ("torch is not asked for" if "torch" not in settings.peers else None)
    if reason:
        for row in rows:
            row.skipped = reason
        return
    ours, theirs = Worker("linalign", settings.threads), Worker("torch", settings.threads)
    processes = [ours, theirs]
    try:
        theirs.call(worker.imported, "torch")
        found = ours.call(by_linalign, entry, settings.threads, False, True)
        _, want = theirs.call(by_torch, found["start"], found["end"])
        worst = float(np.max(np.abs(np.array(found["scores"]) - want)))
        if not worst <= AGREE:
            raise ValueError(f"the scores differ by {worst:.1e}; {AGREE:.0e} is allowed")
        rows[0].details["difference of the scores"] = worst
        if settings.only_check:
            for row in rows:
                row.skipped = f"not timed; the scores agree to {worst:.0e}"
            return
        times = {"torch": Times("SVD of every layer, twice", 1), "linalign": Times("train", entry.steps)}
        loops: list[list[float]] = []
        for _ in range(settings.repeats):
            time.sleep(settings.settle)
            times["torch"].per_step.append(min(theirs.call(by_torch, found["start"], found["end"])[0] for _ in range(2)))
            time.sleep(settings.settle)
            loops.append([ours.call(by_linalign, entry, settings.threads, False, on)["loop"] for on in (True, False)])
        plain = float(np.median([without for _, without in loops]))
        times["linalign"].per_step = [max(on - plain, 1e-9) / found["records"] for on, _ in loops]
        rows[0].times = times
        rows[0].seconds = {name: t.median for name, t in times.items()}
        rows[0].ratio = times["torch"].median / times["linalign"].median
        rows[0].note = "a record of both scores"
        if entry.whole is not None and entry.workload is not None:
            _whole(entry, entry.workload, rows[1], settings, processes, times["torch"].median)
    finally:
        for process in processes:
            process.close()


def _whole(entry: Scores, workload: Workload, row: Row, settings: Settings, processes: list[Worker], record: float) -> None:
    ours = processes[0]
    runs = [ours.call(by_linalign, entry, settings.threads, True, True) for _ in range(min(settings.repeats, 3))]
    if not all(run["converged"] for run in runs):
        raise ValueError(f"the loss is {runs[0]['loss']:.3g} after {runs[0]['steps']:,} steps; {entry.tol:g} was wanted")
    step = fastest(enter_library("torch", settings.threads, workload, processes), settings)["torch"]
    time.sleep(settings.settle)
    seconds = step.seconds(step.steps) / step.steps
    steps, records = runs[0]["steps"], runs[0]["records"]
    row.seconds = {"torch": steps * seconds + records * record, "linalign": float(np.median([run["took"] for run in runs]))}
    row.ratio = row.seconds["torch"] / row.seconds["linalign"]
    row.note = f"{steps:,} steps and {records:,} records; torch: a step's time and a record's by their numbers, {step.how}"
