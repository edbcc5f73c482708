"""Many small networks: seconds for all of them. NumPy's loop runs some of them, one after another, and is scaled up."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from . import worker
from .rows import Row
from .timing import Settings, Times, missing
from .worker import Worker
from .workloads import Array, Case, Sweep

SAMPLE = 8  # networks NumPy's loop runs in one measurement


def loss_after(case: Case, weights: list[Array]) -> float:
    """`1/2 ||X P^T - Y||^2`."""
    F = case.X
    for W in weights:
        F = F @ W.T
    return 0.5 * float(np.sum((F - case.Y) ** 2))


def by_numpy(sweep: Sweep, variant: str, nets: int) -> tuple[float, list[float]]:
    """In NumPy's process: seconds for the first `nets` networks, and the loss each ends with."""
    from .peers import numpy_loop

    case, starts = sweep.workload.case(), sweep.starts()
    cases = [dataclasses.replace(case, weights=tuple(stack[i] for stack in starts)) for i in range(nets)]
    began = time.perf_counter()
    runners = [numpy_loop.variants(c)[variant]() for c in cases]
    for runner in runners:
        runner.run(sweep.steps)
    return time.perf_counter() - began, [loss_after(case, runner.weights()) for runner in runners]


def by_linalign(sweep: Sweep, threads: int) -> tuple[float, list[float]]:
    """In linalign's process: seconds for all networks, and the loss each ends with."""
    import linalign

    case, starts = sweep.workload.case(), sweep.starts()

    def network(rng: int) -> Any:
        return linalign.Network.from_matrices([stack[rng] for stack in starts])

    options: dict[str, Any] = {"loss": case.loss, "lr": case.lr, "steps": sweep.steps, "threads": threads}
    began = time.perf_counter()
    table = linalign.sweep(network, case.X, case.Y, grid={"rng": range(sweep.nets)}, **options)
    took = time.perf_counter() - began
    return took, [float(value) for value in table["loss"]]


def measure_sweep(sweep: Sweep, rows: list[Row], settings: Settings) -> None:
    """The whole sweep. Raises: whatever went wrong."""
    (row,) = rows
    row.note = "seconds for all networks; NumPy's loop alone, as the issue asks"
    row.skipped = missing(sweep.needs)
    if settings.only_check and not row.skipped:
        row.skipped = "not timed"
    if row.skipped:
        return
    numpy, ours = Worker("numpy", settings.threads), Worker("linalign", settings.threads)
    try:
        variants = numpy.call(worker.build, "numpy", sweep.workload)
        variant = min(variants, key=lambda v: numpy.call(by_numpy, sweep, v, 1)[0])
        row.times = {"numpy": Times(variant, sweep.steps), "linalign": Times("sweep", sweep.steps)}
        for _ in range(settings.repeats):
            time.sleep(settings.settle)
            took, want = numpy.call(by_numpy, sweep, variant, SAMPLE)
            row.times["numpy"].per_step.append(took * sweep.nets / SAMPLE)
            time.sleep(settings.settle)
            took, losses = ours.call(by_linalign, sweep, settings.threads)
            row.times["linalign"].per_step.append(took)
            # rounding is damped by a loss that falls; what is left of it, K eps of the targets' squares a step
            case = sweep.workload.case()
            K = sweep.workload.n + sum(sweep.workload.widths)
            allowed = K * np.finfo(sweep.workload.dtype).eps * sweep.steps * float(np.sum(np.asarray(case.Y) ** 2))
            worst = float(np.max(np.abs(np.array(losses[:SAMPLE]) - want)))
            if len(losses) != sweep.nets or not worst <= allowed:
                raise ValueError(f"{len(losses)} losses came back and the worst is off by {worst:.1e}; the bound is {allowed:.1e}")
    finally:
        numpy.close()
        ours.close()
    row.seconds = {name: times.median for name, times in row.times.items()}
    row.ratio = row.seconds["numpy"] / row.seconds["linalign"]
