"""Threads: how many a run may use, and how many it leaves to BLAS.

The kernel shares its products out itself, and keeps BLAS to one thread: the workers of a copy of BLAS spin for some 0.1 s
after their last product, and take a core from whatever follows. The number of BLAS threads is one for the whole process, in
every copy that is loaded. So it is the least that anyone inside asked for, and the last to leave puts back what was there
(`kernels/_limits.pyx`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from contextlib import AbstractContextManager
from itertools import product
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from .._kernels._limits import Limits
from ..plan import machine
from ..problem.problem import Problem
from ..validate import Array

# multiply-adds that take one thread some 0.3 s: halving that saves more than the workers of BLAS then take from the loop
PLAN_WORTH = 8e9
# those of a lift, whose few products are large, and after which nothing follows that the workers would slow down
LIFT_WORTH = 2e9
# passes over each layer with a basis of a subspace, in a search for closed ones
SEARCHES = 4

# what reads and what sets the threads of a copy of BLAS, and whether every thread has a number of its own. threadpoolctl, which finds
# the copies, sets the number of OpenBLAS from one thread of Python only, and does nothing in all others.
CALLS = {
    "openblas": ("openblas_get_num_threads", "openblas_set_num_threads", False),
    "openblas on openmp": ("omp_get_max_threads", "omp_set_num_threads", True),
    "mkl": ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads_Local", True),
    "blis": ("bli_thread_get_num_threads", "bli_thread_set_num_threads", False),
    "flexiblas": ("flexiblas_get_num_threads", "flexiblas_set_num_threads", False),
}
# what builds of OpenBLAS write before and after their names
AFFIXES = list(product(("", "scipy_"), ("", "64_", "_64")))


def _address(library: Any, name: str) -> int:
    """Where the function is; 0 if the library has none of this name, with any affixes."""
    for before, after in AFFIXES:
        if hasattr(library, before + name + after):
            return ctypes.cast(getattr(library, before + name + after), ctypes.c_void_p).value or 0
    return 0


def _copies() -> list[tuple[int, int, bool]]:
    """For each copy of BLAS that is loaded, what reads and what sets its threads, and whether every thread has a number of its own."""
    found = []
    for info in threadpool_info():
        kind = info["internal_api"]
        names = CALLS.get(f"{kind} on openmp" if info.get("threading_layer") == "openmp" and kind == "openblas" else kind)
        if info["user_api"] == "blas" and names is not None:
            library = ctypes.CDLL(info["filepath"])
            reads, sets = (_address(library, name) for name in names[:2])
            if reads and sets:
                found.append((reads, sets, names[2]))
    return found


# found once, by the import: NumPy and SciPy have loaded theirs, and no thread of a run has to wait for another that looks
_LIMITS = Limits(_copies())
if hasattr(os, "register_at_fork"):
    # those of the threads that a fork has lost would never be left
    os.register_at_fork(after_in_child=_LIMITS.forget)


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
    return limit(wanted if not machine.SHARES or _effort(problem) >= PLAN_WORTH else 1)


def for_lift(wanted: int | None, problem: Problem) -> AbstractContextManager[Any]:
    """BLAS threads while what a loop found is lifted: `wanted` where that repays waking them, else one."""
    rank = min(problem.rows, problem.net.widths[0])
    return limit(wanted if not machine.SHARES or problem.net.size * rank >= LIFT_WORTH else 1)


def for_loop(wanted: int | None, implementation: str) -> AbstractContextManager[Any]:
    """BLAS threads during the loop: one where the kernel shares the products out itself, else `wanted`."""
    return limit(1 if implementation == "kernel" and machine.SHARES else wanted)


def _effort(problem: Problem) -> float:
    """Multiply-adds of a plan, to within a few times: the data are factorised, and the layers taken through small subspaces."""
    net = problem.net
    rank = min(problem.rows, net.widths[0])
    searched = sum(theta.size for theta in net.params if not _may_be_diagonal(theta))
    return problem.rows * net.widths[0] * rank + SEARCHES * searched * (rank + net.widths[-1])


def _may_be_diagonal(theta: Array) -> bool:
    """Whether a search may pass through parameters without a product, such as those of an identity: by a look at two rows."""
    return theta.ndim == 2 and min(theta.shape) > 1 and all(np.count_nonzero(theta[i]) <= 1 for i in (0, -1))
