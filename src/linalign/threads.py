"""Threads: how many a run may use, and how many it leaves to BLAS.

The kernel shares its products out itself, and keeps BLAS to one thread: the workers of a copy of BLAS spin for some 0.1 s
after their last product, and take a core from whatever follows. The number of BLAS threads is one for the whole process, in
every copy that is loaded. So it is the least that anyone inside asked for, and the last to leave puts back what was there.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from . import kernel
from .problem import Problem

# multiply-adds that take one thread some 0.3 s: halving that saves more than the workers of BLAS then take from the loop
PLAN_WORTH = 8e9
# passes over each layer with a basis of a subspace, in a search for closed ones
SEARCHES = 4


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


class _Limits:
    """The limits in force. Every copy of BLAS has the least of them, and in the end what it had before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: list[int] = []
        self._before: list[tuple[Any, int]] = []

    @contextlib.contextmanager
    def __call__(self, threads: int) -> Iterator[None]:
        with self._lock:
            if not self._inside:
                self._before = [(lib, lib.num_threads) for lib in _blas().lib_controllers]
            self._inside.append(threads)
            self._set()
        try:
            yield
        finally:
            with self._lock:
                self._inside.remove(threads)
                self._set()

    def available(self) -> int:
        """The most threads of any copy, without the limits in force; 0 if there is no BLAS that one can ask."""
        with self._lock:
            found = [n for _, n in self._before] if self._inside else [lib.num_threads for lib in _blas().lib_controllers]
        return max(found, default=0)

    def _set(self) -> None:
        for lib, before in self._before:
            wanted = min(self._inside, default=before)
            if lib.num_threads != wanted:
                lib.set_num_threads(wanted)


_LIMITS = _Limits()


def count(wanted: int | None) -> int:
    """How many threads a run may use: `wanted`, or as many as BLAS is set up for."""
    if wanted is not None:
        return wanted
    return _LIMITS.available() or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def limit(threads: int | None) -> AbstractContextManager[Any]:
    """At most so many BLAS threads until the block ends; None changes nothing."""
    return contextlib.nullcontext() if threads is None else _LIMITS(threads)


def for_plan(wanted: int | None, problem: Problem) -> AbstractContextManager[Any]:
    """BLAS threads while planning: `wanted` where that saves more than their spinning takes from the loop that follows, else one."""
    return limit(wanted if not kernel.SHARES or _effort(problem) >= PLAN_WORTH else 1)


def for_loop(wanted: int | None, implementation: str) -> AbstractContextManager[Any]:
    """BLAS threads during the loop: one where the kernel shares the products out itself, else `wanted`."""
    return limit(1 if implementation == "kernel" and kernel.SHARES else wanted)


def _effort(problem: Problem) -> float:
    """Multiply-adds of a plan, to within a few times: the data are factorised, and the layers taken through small subspaces."""
    net = problem.net
    rank = min(problem.rows, net.widths[0])
    return problem.rows * net.widths[0] * rank + SEARCHES * net.size * (rank + net.widths[-1])
