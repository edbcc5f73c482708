"""Threads: how many BLAS may use, while something runs.

The number is one for the whole process, in every copy of BLAS that is loaded. So it is the least that anyone inside asked
for, and the last to leave puts back what was there.
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
from .planner import Work


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


class _Limits:
    """The limits in force. Every copy of BLAS has the least of those that concern it, and in the end what it had before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: list[tuple[int, bool]] = []
        self._before: list[tuple[Any, int]] = []

    @contextlib.contextmanager
    def __call__(self, threads: int, numpy_only: bool = False) -> Iterator[None]:
        with self._lock:
            if not self._inside:
                self._before = [(lib, lib.num_threads) for lib in _blas().lib_controllers]
            self._inside.append((threads, numpy_only))
            self._set()
        try:
            yield
        finally:
            with self._lock:
                self._inside.remove((threads, numpy_only))
                self._set()

    def _set(self) -> None:
        for lib, before in self._before:
            wanted = min((n for n, numpy_only in self._inside if not numpy_only or _is_numpys(lib)), default=before)
            if lib.num_threads != wanted:
                lib.set_num_threads(wanted)


def _is_numpys(lib: Any) -> bool:
    """Whether NumPy alone uses this copy."""
    return "numpy" in lib.filepath and len(_blas().lib_controllers) > 1


_LIMITS = _Limits()


def count(wanted: int | None) -> int:
    """How many threads a convolution may use: `wanted`, or as many as this process has processors."""
    if wanted is not None:
        return wanted
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit(threads: int | None) -> AbstractContextManager[Any]:
    """At most so many BLAS threads until the block ends; None changes nothing."""
    return contextlib.nullcontext() if threads is None else _LIMITS(threads)


def for_plan(wanted: int | None) -> AbstractContextManager[Any]:
    """BLAS threads while planning: `wanted`, and one for NumPy's own copy of BLAS if the loop has another.

    The workers of a copy spin for some 0.2 s after their last product: NumPy's would take a core from the loop that follows.
    Planning does its heavy work through SciPy, whose copy the loop uses too.
    """
    stack = contextlib.ExitStack()
    stack.enter_context(limit(wanted))
    stack.enter_context(_LIMITS(1, numpy_only=True))
    return stack


def for_loop(wanted: int | None, work: Work, rows: int, implementation: str) -> AbstractContextManager[Any]:
    """BLAS threads during the loop: `wanted`, but one where the products are too small to gain from more.

    The kernel then shares them out itself, which takes less to start.

    NumPy's own copy, which the recorder uses between slices, gets one: see `for_plan`.
    """
    if implementation != "kernel":
        return limit(wanted)
    return for_plan(wanted if kernel.wants_blas_threads(work.problem, rows) else 1)
