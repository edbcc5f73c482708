"""Waited: factorisations that Ctrl-C does not have to wait for.

A call of LAPACK cannot be interrupted, and Python tells of Ctrl-C only after it. So one that may take long is given to a thread, while the
main thread waits where it can be told. What is interrupted ends by itself, some seconds later, and its result is dropped.
"""

from __future__ import annotations

import contextvars
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

Array = npt.NDArray[Any]

# sums of products of a square factor, from which on an SVD, the dearest factorisation, takes some 0.1 s
LONG = 1e8
# seconds of a wait that Ctrl-C does not end, as on Windows
WAIT = 0.05
# seconds that a fork waits at most
FORK = 60.0

_left: list[threading.Event] = []
"""The ends of those whose results nobody wants any more."""


def interruptible(factorise: Callable[..., Any], A: Array, **options: Any) -> Any:
    """`factorise(A, ...)`, which Ctrl-C interrupts at once where it is large: NumPy's, since many of SciPy's keep the GIL.

    It has the same bits and the same `np.errstate` in a thread as without one. None is used outside the main thread, nor where Ctrl-C
    calls a handler of the caller's. Raises: KeyboardInterrupt, and what `factorise` raises.
    """
    if not _long(A) or not _told():
        return factorise(A, **options)
    found: list[Any] = []
    failed: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            found.append(factorise(A, **options))
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="linalign-factorisation")
    try:
        thread.start()
        # not by join: interrupted in it, Python takes a thread that runs for one that has ended, and ends without it (bpo-45274)
        while not done.wait(WAIT):
            pass
        thread.join()
    except BaseException:
        _left[:] = [other for other in _left if not other.is_set()] + [done]
        raise
    if failed:
        raise failed[0]
    return found[0]


def _long(A: Array) -> bool:
    """Whether a factorisation may take so long that somebody would not wait for it."""
    return bool(A.size * min(A.shape, default=0) >= LONG)


def _told() -> bool:
    """Whether Ctrl-C raises KeyboardInterrupt here."""
    return threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def wait() -> None:
    """Wait for what was interrupted."""
    while _left:
        _left.pop().wait(FORK)


# a child would have half of such a factorisation, and BLAS ends its threads before a fork
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=wait)


def svd(A: Array) -> tuple[Array, Array, Array]:
    """Thin `U, s, V^T`: by SciPy where it is soon done, else by NumPy, which can be interrupted. The size alone decides which."""
    if _long(A):
        U, s, Vt = interruptible(np.linalg.svd, A, full_matrices=False)
    else:
        U, s, Vt = scipy.linalg.svd(A, full_matrices=False)
    return U, s, Vt
