"""Runs in processes and threads of every kind have the bits of the same run by itself: `python -m tests.faults.processes [COUNT]`."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np

import linalign as la


def digest(seed: int) -> str:
    """Of a run that depends on the seed alone."""
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((40, 8)), rng.standard_normal((40, 3))
    kind = ({}, {"optimizer": "adam", "batch": 8, "rng": 0}, {"momentum": 0.9, "reduce": "none"}, {"update": "cyclic"})[seed % 4]
    net = la.Network.dense([8, 12 + seed % 5, 3]).init("gaussian", rng=seed, scale=0.3)
    run = la.train(net, X, Y, lr=1e-3, steps=200, threads=1, record={"alignment": 20}, **kind)
    found = hashlib.sha256(b"".join(theta.tobytes() for theta in run.network.params))
    found.update(run.excess.tobytes() + run.history["alignment"].values.tobytes())
    return found.hexdigest()


def planned(seed: int) -> str:
    """Of a plan."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((60, 3)) @ rng.standard_normal((3, 9))
    net = la.Network.dense([9, 20, 20, 4]).init("gaussian", rng=seed)
    return str(la.explain(net, X, rng.standard_normal((60, 4))))


class Items:
    """What a DataLoader of PyTorch takes its items from: each is a run, made in a process of the loader."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, seed: int) -> str:
        return digest(seed)


def in_processes(method: str) -> Callable[[int], Iterable[str]]:
    def run(count: int) -> list[str]:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
            return list(pool.map(digest, range(count), chunksize=max(1, count // 8)))

    return run


def in_threads(workers: int) -> Callable[[int], Iterable[str]]:
    def run(count: int) -> list[str]:
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(digest, range(count)))

    return run


def beside_plans(count: int) -> list[str]:
    """Threads train while others plan; the plans are those that were made before."""
    wanted = [planned(seed) for seed in range(4)]
    stop, wrong = threading.Event(), []

    def plans() -> None:
        while not stop.is_set():
            wrong.extend(seed for seed in range(4) if planned(seed) != wanted[seed])

    planners = [threading.Thread(target=plans) for _ in range(2)]
    for thread in planners:
        thread.start()
    try:
        found = in_threads(4)(count)
    finally:
        stop.set()
        for thread in planners:
            thread.join()
    assert not wrong
    return list(found)


def by_joblib(backend: str) -> Callable[[int], Iterable[str]]:
    def run(count: int) -> list[str]:
        import joblib

        return list(joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(digest)(seed) for seed in range(count)))

    return run


def by_dask(scheduler: str) -> Callable[[int], Iterable[str]]:
    def run(count: int) -> list[str]:
        import dask

        return list(dask.compute(*[dask.delayed(digest)(seed) for seed in range(count)], scheduler=scheduler, num_workers=2))

    return run


def by_data_loader(count: int) -> list[str]:
    import torch

    loader = torch.utils.data.DataLoader(Items(count), batch_size=None, num_workers=2)
    return list(loader)


def signalled(count: int) -> list[str]:
    """Threads train while Ctrl-C comes again and again: the main thread has it, they go on."""
    caught, stop = [0], threading.Event()

    def count_it(number: int, frame: object) -> None:
        caught[0] += 1

    def press() -> None:
        while not stop.wait(0.005):
            os.kill(os.getpid(), signal.SIGINT)

    previous, presses = signal.signal(signal.SIGINT, count_it), threading.Thread(target=press)
    presses.start()
    try:
        # short runs may be over before a busy machine lets anything else happen
        while not caught[0]:
            time.sleep(0.005)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(digest, range(count)))
        assert signal.getsignal(signal.SIGINT) is count_it
        return found
    finally:
        stop.set()
        presses.join()
        signal.signal(signal.SIGINT, previous)


def nested(count: int) -> list[str]:
    """A sweep in threads, in each of the threads of a pool, in a process that was forked."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return list(pool.submit(_sweeps, count).result())


def _sweeps(count: int) -> list[str]:
    def work(seed: int) -> str:
        found = la.sweep(_network, np.eye(4), np.eye(4), grid={"rng": range(3)}, lr=1e-2, steps=20, threads=2)
        assert (found["status"] == "done").all()
        return digest(seed)

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(work, range(count)))


def _network(rng: int) -> la.Network:
    return la.Network.dense([4, 5, 4]).init("gaussian", rng=rng)


KINDS: dict[str, Callable[[int], Iterable[str]]] = {
    "fork": in_processes("fork"),
    "spawn": in_processes("spawn"),
    "forkserver": in_processes("forkserver"),
    "8 threads": in_threads(8),
    "32 threads": in_threads(32),
    "threads beside plans": beside_plans,
    "Ctrl-C while other threads train": signalled,
    "sweeps in threads in a fork": nested,
    "joblib, loky": by_joblib("loky"),
    "joblib, threading": by_joblib("threading"),
    "joblib, multiprocessing": by_joblib("multiprocessing"),
    "dask, threads": by_dask("threads"),
    "dask, processes": by_dask("processes"),
    "DataLoader of PyTorch, 2 workers": by_data_loader,
}
# of each sort one that begins fast
QUICK = ["fork", "32 threads", "threads beside plans", "Ctrl-C while other threads train", "sweeps in threads in a fork"]


def main(count: str = "200") -> None:
    wanted = [digest(seed) for seed in range(int(count))]
    print("| kind | runs | of other bits |\n|---|---|---|")
    for name, run in KINDS.items():
        found = list(run(int(count)))
        wrong = sum(a != b for a, b in zip(found, wanted, strict=True))
        print(f"| {name} | {len(found)} | {wrong} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
