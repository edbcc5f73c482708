"""Threads: how many BLAS may use, while something runs.

The number is one for the whole process, in every copy of BLAS that is loaded. So it is the least that anyone inside asked
for, and the last to leave puts back what was there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from itertools import pairwise
from typing import Any

from threadpoolctl import ThreadpoolController

from .planner import Work

# below this many multiply-adds in its largest product a step gains nothing from a second BLAS thread
THREAD_WORTH = 96**3


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


class _Limits:
    """The limits that are in force, and what was there before the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: list[int] = []
        self._before: Any = None

    @contextlib.contextmanager
    def __call__(self, threads: int) -> Iterator[None]:
        with self._lock:
            if not self._inside:
                self._before = _blas().limit(limits=threads, user_api="blas")
            elif threads < min(self._inside):
                _blas().limit(limits=threads, user_api="blas")
            self._inside.append(threads)
        try:
            yield
        finally:
            with self._lock:
                least = min(self._inside)
                self._inside.remove(threads)
                if not self._inside:
                    self._before.restore_original_limits()
                elif min(self._inside) > least:
                    _blas().limit(limits=min(self._inside), user_api="blas")


_LIMITS = _Limits()


def limit(threads: int | None) -> AbstractContextManager[Any]:
    """At most so many BLAS threads until the block ends; None changes nothing."""
    return contextlib.nullcontext() if threads is None else _LIMITS(threads)


def for_loop(wanted: int | None, work: Work, rows: int, implementation: str) -> AbstractContextManager[Any]:
    """BLAS threads during the loop: `wanted`, but one where the products are too small to gain from more."""
    return limit(1 if implementation == "kernel" and _largest_product(work, rows) < THREAD_WORTH else wanted)


def _largest_product(work: Work, rows: int) -> int:
    """Multiply-adds of the largest product of a step."""
    problem = work.problem
    sides = list(pairwise(problem.net.widths))
    if problem.X is not None and problem.X.ndim == 2:
        sides.append(problem.X.shape)
    return rows * max(a * b for a, b in sides)
