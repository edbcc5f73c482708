"""The constants of the cost model, and whether it chooses well: `python -m bench.calibrate [NAME ...]`.

First the fit: products of many shapes, one thread, by the tile and by BLAS; it prints the line of `MACHINES` in
`src/linalign/cost.py` for this processor, and how far off the model is. Then the choice: for the benchmark's workloads whose
name contains NAME (all that one core runs in a moment), every pivot of every set of reductions is timed, and the table says
how many times as long the plan that is chosen takes as the fastest. Nothing is written.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.optimize import nnls
from threadpoolctl import threadpool_limits

import linalign as la
from linalign import kernel

from .tiles import seconds
from .workloads import AUTO, WORKLOADS, Workload

TILED = [(n, n, n) for n in (2, 4, 8, 16, 24, 32, 48, 64, 100, 128)] + [(s, n, n) for s in (2, 4, 10, 300) for n in (16, 32, 64, 128)]
# the small ones say what a call costs
LARGE = [(s, n, n) for s in (2, 4, 10, 32, 100) for n in (200, 256)] + [(n, n, n) for n in (4, 8, 16, 200, 300)]
# workloads with larger layers take minutes
LARGEST_LAYER = 900_000
# seconds of one measurement, and how many of each plan
SECONDS, REPEATS = 0.02, 5

Plan = tuple[tuple[str, ...], int]
"""The reductions asked for and the pivot."""


def fit(shapes: list[tuple[int, int, int]], level: int) -> tuple[float, float, float, float]:
    """`call, rate, half` of `cost.Machine` by nonnegative least squares, and the median error of the model. Level 0: BLAS."""
    rows = []
    for m, n, k in shapes:
        for form in ("NN", "NT", "TN"):
            # the gradient of a layer has the rows in flight inside
            a, b, c = (n, k, m) if form == "TN" else (m, n, k)
            t = seconds(form, a, b, c, np.float64, level) * 1e9
            # relative errors count: divide each equation by its time
            rows.append(np.array([1.0, a * b * c, a * b]) / t)
    A = np.array(rows)
    (call, inverse, thin), _ = nnls(A, np.ones(len(A)))
    error = float(np.median(np.abs(A @ [call, inverse, thin] - 1)))
    return call, 1 / inverse, thin / inverse, error


def plans(workload: Workload, net: la.Network, X: np.ndarray, Y: np.ndarray) -> tuple[Plan, list[Plan]]:
    """The plan that is chosen, and every other one that runs another problem or pivot."""
    names = AUTO["reduce"]
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    for count in range(1, len(names) + 1):
        plan = la.explain(net, X, Y, loss=workload.loss, reduce=names[:count])
        used = tuple(r.name for r in plan.reductions if r.applied)
        found.setdefault(used, names[:count])
    chosen = (names[: names.index(used[-1]) + 1] if used else names[:1], plan.pivot.at)
    everything = [(wanted, p) for used, wanted in found.items() for p in ([plan.pivot.at] if "split" in used else range(net.depth + 1))]
    return chosen, everything


def choice(workload: Workload) -> tuple[Plan, Plan, float]:
    """The plan that is chosen, the fastest, and how many times as long the chosen one takes a step."""
    case = workload.case()
    net = la.Network.from_matrices(case.weights)
    chosen, tried = plans(workload, net, case.X, case.Y)
    options = {"loss": case.loss, "lr": case.lr / 100, "threads": 1}
    steps, times = {}, dict.fromkeys(tried, np.inf)
    for _ in range(REPEATS):
        for wanted in tried:
            reduce, pivot = wanted
            run = la.train(net, case.X, case.Y, steps=steps.get(wanted, 5), reduce=reduce, pivot=pivot, **options)
            if wanted not in steps:
                steps[wanted] = max(5, int(SECONDS * run.steps / run.seconds))
                run = la.train(net, case.X, case.Y, steps=steps[wanted], reduce=reduce, pivot=pivot, **options)
            times[wanted] = min(times[wanted], run.seconds / run.steps)
        # what takes three times as long is not looked at again
        least = min(times.values())
        tried = [plan for plan in tried if times[plan] < 3 * least or plan == chosen]
    best = min(times, key=lambda plan: times[plan])
    return chosen, best, times[chosen] / times[best]


def main(names: list[str]) -> None:
    """Print the constants and the choices."""
    with threadpool_limits(1, "blas"):
        for kind, shapes, level in (("tile", TILED, kernel.LEVELS[kernel.ISA]), ("BLAS", LARGE, 0)):
            call, rate, half, error = fit(shapes, level)
            print(
                f"{kernel.ISA}, {kind}: Machine({call:.0f}, {rate:.0f}, {half:.1f}, 20)   # half of the products within {error:.0%}",
                flush=True,
            )
    print(f"\n{'workload':<44} {'chosen':>24} {'fastest':>24}  chosen over fastest")
    for workload in WORKLOADS:
        if all(a * b <= LARGEST_LAYER for a, b in zip(workload.widths, workload.widths[1:], strict=False)) and (
            not names or any(name in workload.name for name in names)
        ):
            chosen, best, ratio = choice(workload)
            said = [f"{reduce[-1]}, pivot {pivot}" for reduce, pivot in (chosen, best)]
            print(f"{workload.name:<44} {said[0]:>24} {said[1]:>24}  {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
