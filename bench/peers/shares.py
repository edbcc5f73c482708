"""An ensemble in shares, one a thread: what a user with two cores can do with any library that lets go of the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from ..workloads import Array, Case
from . import Runner


def threads() -> int:
    """Of this process, as its worker has set it."""
    return int(os.environ["OPENBLAS_NUM_THREADS"])


def variants(
    known: dict[str, Callable[[Case], Runner]], case: Case, alone: Callable[[], object] | None = None
) -> dict[str, Callable[[], Runner]]:
    """Each of them on all networks, and in as many shares as there are threads; `alone` tells a thread to start no others."""
    found: dict[str, Callable[[], Runner]] = {}
    for name, make in known.items():
        found[name] = lambda make=make: make(case)
        if threads() > 1:
            found[f"{name}, a share each thread"] = lambda make=make: Shares(case, make, threads(), alone)
    return found


class Shares:
    def __init__(self, case: Case, make: Callable[[Case], Runner], count: int, alone: Callable[[], object] | None) -> None:
        parts = zip(*(np.array_split(stack, count) for stack in case.weights), strict=True)
        self.runners = [make(replace(case, weights=tuple(np.ascontiguousarray(W) for W in part))) for part in parts]
        self.pool = ThreadPoolExecutor(count, initializer=alone)

    def prepare(self, steps: int) -> None:
        for runner in self.runners:
            runner.prepare(steps)

    def run(self, steps: int) -> None:
        list(self.pool.map(lambda runner: runner.run(steps), self.runners))

    def weights(self) -> list[Array]:
        return [np.concatenate(stacks) for stacks in zip(*(runner.weights() for runner in self.runners), strict=True)]
