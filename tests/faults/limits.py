"""What a run takes at the limits: `python -m tests.faults.limits [memory|shapes|values|calls|sweep MINUTES|interrupt|all]` prints a table each.

Every line of the memory table is a process of its own, one at a time; "peak" is the memory that `train` needed beyond what Python and the
libraries took before there were data; "over given" is that over the bytes of data and parameters, "over given and result" over these and
the parameters that come back, which no run that leaves its network alone can do without.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time

import numpy as np

import linalign as la

STEPS = 3


def resident() -> int:
    """Bytes of memory that this process holds."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def reset_peak() -> None:
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def peak() -> int:
    """The most that it held since `reset_peak`."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


# ---- memory ----------------------------------------------------------------------------------------------------------------

# widths, rows, options
MEMORY = [
    ([1, 1], 1, {}),
    ([100, 100, 10], 1000, {}),
    ([1000, 1000, 10], 1000, {}),
    ([5000, 32, 5000], 1000, {}),
    ([20_000, 32, 10], 500, {}),
    ([20_000, 32, 10], 500, {"reduce": "none"}),
    ([5000, 5000], 100, {"reduce": "none"}),
    ([5000, 5000], 100, {}),
    ([10] * 11, 100, {}),
    ([10] * 101, 100, {}),
    ([10] * 1001, 100, {}),
    ([100] * 201, 100, {"reduce": "none"}),
    ([20, 10, 3], 100_000, {}),
    ([20, 10, 3], 1_000_000, {}),
    ([20, 10, 3], 1_000_000, {"reduce": "none"}),
    ([5, 4, 1], 10_000_000, {}),
    ([5, 4, 1], 10_000_000, {"reduce": "none"}),
    ([3072, 64, 10], 60_000, {}),
    ([3072, 64, 10], 60_000, {"reduce": "none"}),
    ([3072, 64, 10], 60_000, {"batch": 100, "rng": 0}),
]


def data(widths: list[int], rows: int) -> tuple[la.Network, np.ndarray, np.ndarray]:
    """Filled a piece at a time, so that making them takes no more than they are."""
    rng, X, Y = np.random.default_rng(0), np.empty((rows, widths[0])), np.empty((rows, widths[-1]))
    for array in (X, Y):
        for begin in range(0, rows, 10_000):
            array[begin : begin + 10_000] = rng.standard_normal(array[begin : begin + 10_000].shape)
    return la.Network.dense(widths).init("gaussian", rng=0, scale=0.01), X, Y


def measure(at: int, queue: multiprocessing.Queue) -> None:
    widths, rows, options = MEMORY[at]
    net, X, Y = data([4, 3, 2], 30)
    la.train(net, X, Y, lr=1e-6, steps=STEPS)  # what is imported when it is first wanted
    before = resident()
    net, X, Y = data(widths, rows)
    parameters = sum(theta.nbytes for theta in net.params)
    own = X.nbytes + Y.nbytes + parameters
    gc.collect()
    reset_peak()
    run = la.train(net, X, Y, lr=1e-12, steps=STEPS, **options)
    queue.put((own, own + parameters, peak() - before, run.plan.widths_after, run.plan.rows_after))


def apart(work, *arguments):
    """What `work` puts into a queue, in a process that ends."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=work, args=(*arguments, queue))
    process.start()
    while process.is_alive() and queue.empty():
        time.sleep(0.01)
    found = queue.get() if not queue.empty() else None
    process.join()
    return found


def shown(widths) -> str:
    return f"{widths[0]}, ... ({len(widths) - 1} layers)" if len(widths) > 5 else "-".join(map(str, widths))


def memory() -> None:
    print("| widths | rows | options | data and parameters, MB | peak, MB | over given | over given and result | ran as |")
    print("|---|---|---|---|---|---|---|---|")
    for at, (widths, rows, options) in enumerate(MEMORY):
        found = apart(measure, at)
        told = ", ".join(f"{name}={value!r}" for name, value in options.items())
        if found is None:
            print(f"| {shown(widths)} | {rows:,} | {told} | | | out of memory | | |", flush=True)
            continue
        own, kept, most, after, ran = found
        ratios = " | ".join(f"{most / size:.2f}" if own > 2**20 else "-" for size in (own, kept))
        print(
            f"| {shown(widths)} | {rows:,} | {told} | {own / 1e6:.1f} | {most / 1e6:.1f} | {ratios} | {shown(after)}, {ran:,} rows |",
            flush=True,
        )


# ---- shapes ----------------------------------------------------------------------------------------------------------------

# widths, rows
SHAPES = [
    ([1, 1], 1),
    ([1] * 1001, 3),
    ([10] * 101, 100),
    ([10] * 1001, 20),
    ([1, 20_000, 1], 10),
    ([20_000, 1, 20_000], 10),
    ([20_000, 32, 10], 500),
    ([5000, 5000], 100),
    ([20, 10, 3], 1),
    ([20, 10, 3], 1_000_000),
    ([5, 4, 1], 10_000_000),
]


def compare(at: int, queue: multiprocessing.Queue) -> None:
    """The largest difference of losses and products from those of the reference, over the largest of each."""
    widths, rows = SHAPES[at]
    net, X, Y = data(widths, rows)
    net = net.init("orthogonal", rng=0)
    runs = [
        la.train(net, X, Y, loss="mse", lr=1e-6, steps=STEPS, **how)
        for how in ({}, {"reduce": "none"}, {"reduce": "none", "implementation": "reference"})
    ]
    off = 0.0
    for run in runs[:2]:
        pairs = [(run.loss, runs[2].loss), *zip(run.network.params, runs[2].network.params, strict=True)]
        off = max([off, *(float(np.abs(a - b).max() / (np.abs(b).max() or 1.0)) for a, b in pairs)])
    queue.put((off, runs[0].loss[0], runs[0].loss[-1], runs[0].plan.widths_after, runs[0].plan.rows_after))


def shapes() -> None:
    print("| widths | rows | loss before and after | off the reference | ran as |\n|---|---|---|---|---|")
    for at, (widths, rows) in enumerate(SHAPES):
        off, before, after, ran, kept = apart(compare, at) or (np.nan, np.nan, np.nan, (), 0)
        print(f"| {shown(widths)} | {rows:,} | {before:.9g}, {after:.9g} | {off:.1e} | {shown(ran)}, {kept:,} rows |", flush=True)


# ---- values ----------------------------------------------------------------------------------------------------------------


# sizes of the data, and of the start
VALUES = {
    "float64": ((5e-324, 1e-310, 1e-300, 1e-160, 1e-8, 1.0, 1e8, 1e150, 1e160, 1e300), (5e-324, 1e-300, 1e-8, 1.0, 1e100, 1e300)),
    "float32": ((1e-45, 1e-40, 1e-30, 1e-20, 1e-8, 1.0, 1e8, 1e15, 1e19, 1e37), (1e-45, 1e-38, 1e-8, 1.0, 1e12, 1e37)),
}


def values() -> None:
    """Data and start of any size, recorded or not: a run, or a sentence; never a nan."""
    print("| precision | data of size | start of size | what came |\n|---|---|---|---|")
    X, Y = (np.random.default_rng(0).standard_normal((20, k)) for k in (6, 3))
    start = la.Network.dense([6, 5, 3]).init("gaussian", rng=0)
    for dtype, (sizes, scales) in VALUES.items():
        for size, scale in itertools.product(sizes, scales):
            net = la.Network(start.layers, [(theta * scale).astype(dtype) for theta in start.params])
            came = []
            for options in ({}, {"reduce": "none"}, {"record": {"alignment": 5, "gradient_norm": 5, "singular_values": 5}}):
                try:
                    run = la.train(net, (X * size).astype(dtype), (Y * size).astype(dtype), lr=1e-3, steps=20, **options)
                    numbers = [run.loss, *run.network.params, *(kept.values for kept in run.history.values())]
                    came.append("finite" if all(np.isfinite(array).all() for array in numbers) else "NOT FINITE")
                except (la.DivergenceError, ValueError) as error:
                    came.append(type(error).__name__ + ": " + str(error)[:60])
            print(f"| {dtype} | {size:g} | {scale:g} | {' / '.join(dict.fromkeys(came))} |")


# ---- growth ----------------------------------------------------------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def calls(count: int = 10_000) -> tuple[int, int, int]:
    """Bytes, descriptors and threads that are more after so many calls than after the first tenth of them, or 250."""
    net, X, Y = data([20, 30, 5], 40)
    kinds = [{}, {"optimizer": "adam", "batch": 8, "rng": 0}, {"record": {"alignment": 2, "loss": 1}}, {"momentum": 0.9, "reduce": "none"},
             {"update": "cyclic"}, {"lr": 1e9}]  # fmt: skip
    before = (0, 0, 0)
    for i in range(count):
        with contextlib.suppress(la.DivergenceError):
            la.train(net, X, Y, **{"lr": 1e-3, "steps": 10, **kinds[i % len(kinds)]})
        if i == max(count // 10, 250):
            gc.collect()
            before = (resident(), descriptors(), threading.active_count())
    gc.collect()
    now = (resident(), descriptors(), threading.active_count())
    return now[0] - before[0], now[1] - before[1], now[2] - before[2]


def network(rng: int, k: int) -> la.Network:
    return la.Network.dense([20, k, 5]).init("gaussian", rng=rng, scale=0.3)


def sweep(minutes: float) -> None:
    """Sweeps one after the other, with journals and records, for so long: what the process holds every minute."""
    _, X, Y = data([20, 3, 5], 100)
    path = f"/tmp/linalign-limits-{os.getpid()}"
    began, told, runs, spent = time.monotonic(), -1, 0, 0.0
    print("| minutes | runs | resident, MB | descriptors | threads |\n|---|---|---|---|---|")
    while spent < minutes:
        la.sweep(
            network, X, Y, grid={"rng": range(20), "k": [5, 30, 80], "lr": [1e-3, 1e5]}, steps=100, record={"alignment": 10}, path=path
        )
        runs += 120
        os.unlink(path)
        spent = (time.monotonic() - began) / 60
        if int(spent) > told or spent >= minutes:
            told = int(spent)
            gc.collect()
            print(f"| {spent:.1f} | {runs} | {resident() / 1e6:.1f} | {descriptors()} | {threading.active_count()} |", flush=True)


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------------


def interrupted(widths: list[int], rows: int, queue: multiprocessing.Queue) -> None:
    """When Ctrl-C was met while a run is planned; it comes from outside, for a call of LAPACK keeps all threads of a process waiting."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    net, X, Y = data(widths, rows)
    try:
        queue.put(0.0)
        la.explain(net, X, Y)
        queue.put(None)
    except KeyboardInterrupt:
        queue.put(time.monotonic())


def interrupt() -> None:
    print("| widths | rows | Ctrl-C after, s | seconds to its exception |\n|---|---|---|---|")
    for widths, rows in (([500, 50, 10], 100_000), ([2000, 64, 10], 20_000), ([2000, 64, 2000], 2000), ([800, 800, 800, 800], 2000)):
        for after in (0.05, 0.3, 1.0, 2.0, 4.0):
            context = multiprocessing.get_context("spawn")
            queue = context.Queue()
            process = context.Process(target=interrupted, args=(widths, rows, queue))
            process.start()
            queue.get()
            time.sleep(after)
            pressed = time.monotonic()
            os.kill(process.pid or 0, signal.SIGINT)
            met = queue.get()
            process.join()
            told = "ended before" if met is None else f"{met - pressed:.3f}"
            print(f"| {shown(widths)} | {rows:,} | {after} | {told} |", flush=True)


def main(kind: str = "all", minutes: str = "60") -> None:
    if kind in ("shapes", "all"):
        shapes()
    if kind in ("values", "all"):
        values()
    if kind in ("calls", "all"):
        more = calls()
        print(f"10,000 calls of train: {more[0] / 1e6:+.2f} MB, {more[1]:+d} descriptors, {more[2]:+d} threads after the first 1,000")
    if kind in ("interrupt", "all"):
        interrupt()
    if kind in ("memory", "all"):
        memory()
    if kind in ("sweep", "all"):
        sweep(float(minutes))


if __name__ == "__main__":
    main(*sys.argv[1:])
