"""The constants of the cost model, and whether it chooses well: `python -m bench.calibrate`.

First the fit: products of many shapes, one thread, by the tile and by BLAS; it prints the line of `MACHINES` in
`src/linalign/cost.py` for this processor. Then the choice: every pivot of the benchmark's workloads is timed, and the table
says how much slower the chosen one is than the best. Nothing is written.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls
from threadpoolctl import threadpool_limits

import linalign as la
from linalign import kernel

from .tiles import MOST, seconds

TILED = [(n, n, n) for n in (2, 4, 8, 16, 24, 32, 48, 64)] + [(s, n, n) for s in (2, 4, 10) for n in (16, 32, 64)]
LARGE = [(s, n, n) for s in (2, 4, 10, 32, 100) for n in (100, 256)] + [(n, n, n) for n in (80, 100, 200)]
# workloads of bench/workloads.py that one core runs in a moment; name, widths, rows
CASES = {
    "5-5-5-5": ((5, 5, 5, 5), 5),
    "32-32-32-32-32": ((32,) * 5, 1000),
    "100-wide, 10 layers": ((100,) * 11, 1000),
    "512-512-512-512-1": ((512, 512, 512, 512, 1), 1000),
    "784-1024-64-10": ((784, 1024, 64, 10), 256),
    "784-4-1": ((784, 4, 1), 8),
    "256-128-8-128-64": ((256, 128, 8, 128, 64), 200),
    "64-32-16-10": ((64, 32, 16, 10), 1797),
}


def fit(shapes: list[tuple[int, int, int]], volume: int) -> tuple[float, float, float]:
    """`call, rate, half` of `cost.Machine`: time = call + macs / rate + half * macs / (rate s), nonnegative least squares."""
    level = kernel.LEVELS[kernel.ISA]
    rows, times = [], []
    for m, n, k in shapes:
        for form in ("NN", "NT", "TN"):
            a, b, c = (n, k, m) if form == "TN" else (m, n, k)
            t = seconds(form, a, b, c, np.float64, level, volume) * 1e9
            macs = m * n * k
            # relative errors count: divide each equation by its time
            rows.append(np.array([1.0, macs, macs / min(m, n, k)]) / t)
            times.append(1.0)
    (call, inverse, thin), _ = nnls(np.array(rows), np.array(times))
    return call, 1 / inverse, thin / inverse


def choices() -> list[tuple[str, int, int, float]]:
    """Name, chosen pivot, best pivot, and how many times as long the chosen one takes."""
    found = []
    for name, (widths, n) in CASES.items():
        rng = np.random.default_rng(0)
        X, Y = rng.standard_normal((n, widths[0])) / n**0.5, rng.standard_normal((n, widths[-1])) / n**0.5
        net = la.Network.dense(widths).init("gaussian", rng=0)
        options = {"lr": 1e-4, "reduce": ("samples", "inputs"), "threads": 1}
        plan = la.explain(net, X, Y, reduce=options["reduce"])
        steps = max(20, int(5e7 / max(plan.pivot.nanoseconds, 100)))
        times: dict[int, float] = {}
        for _ in range(3):
            for p in range(len(widths)):
                run = la.train(net, X, Y, steps=steps if p == plan.pivot.at else max(10, steps // 10), pivot=p, **options)
                times[p] = min(times.get(p, np.inf), run.seconds / run.steps)
        best = min(times, key=lambda p: times[p])
        found.append((name, plan.pivot.at, best, times[plan.pivot.at] / times[best]))
    return found


def main() -> None:
    """Print the constants and the choices."""
    with threadpool_limits(1, "blas"):
        parts = []
        for shapes, volume in ((TILED, MOST**3), (LARGE, 0)):
            call, rate, half = fit(shapes, volume)
            parts.append(f"Machine({call:.0f}, {rate:.0f}, {half:.1f}, 20)")
        print(f'"{kernel.ISA}": ({", ".join(parts)}),   # tile, BLAS')
    print(f"\n{'workload':<22} {'chosen':>6} {'best':>5}  chosen over best")
    for name, chosen, best, ratio in choices():
        print(f"{name:<22} {chosen:>6} {best:>5}  {ratio:.2f}")


if __name__ == "__main__":
    main()
