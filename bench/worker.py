"""A process of its own for each library and number of threads, so that none disturbs another's threads; this is what runs in it."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import io
import os
import pkgutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .peers import Runner
    from .workloads import Array, Workload

LIBRARIES = {"numpy": "numpy_loop", "torch": "torch_eager", "jax": "jax_scan", "pyfaust": "pyfaust_palm", "linalign": "linalign_train"}
PLAIN = 'reduce="none"'  # the variant of linalign that is in a line of its own
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

_makers: dict[str, Callable[[], Runner]] = {}
_runners: dict[str, Runner] = {}


class Worker:
    """The parent's end: `call(function, ...)` runs one of the functions below in the process and returns its answer."""

    def __init__(self, library: str, threads: int) -> None:
        self.library, self.threads = library, threads
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        # the process inherits these when the first call starts it; the libraries read them when they are imported
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false" if threads == 1 else ""
        self.call(os.getpid)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._pool.submit(function, *arguments).result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def missing(names: tuple[str, ...]) -> str | None:
    """The first of `module` or `module:name` that is not there."""
    for name in names:
        try:
            pkgutil.resolve_name(name)
        except (ModuleNotFoundError, AttributeError) as error:
            # a feature that is there but whose own imports fail is an error, not a feature to come
            if isinstance(error, ModuleNotFoundError) and error.name not in _parents(name):
                raise
            return name
    return None


def _parents(name: str) -> list[str]:
    parts = name.partition(":")[0].split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def build(library: str, workload: Workload) -> list[str]:
    """Draw the case; the names of the library's variants."""
    _runners.clear()
    _makers.clear()
    module = importlib.import_module(f"bench.peers.{workload.peers.get(library, LIBRARIES[library])}")
    _makers.update(module.variants(workload.case()))
    if library == "linalign" and workload.plain:
        _makers[PLAIN] = partial(module.Train, workload.case(), reduce="none")
    return list(_makers)


def trained(variant: str, steps: int) -> list[Array]:
    """The weights after so many steps from the start."""
    runner = _makers[variant]()
    runner.run(steps)
    return runner.weights()


def seconds(variant: str, steps: int, warm: int) -> float:
    """The time of `steps` steps, after `warm` that are not timed and with nothing left to compile."""
    if variant not in _runners:
        _runners[variant] = _makers[variant]()
    runner = _runners[variant]
    runner.prepare(steps)
    if warm:
        runner.prepare(warm)
    gc.collect()
    gc.disable()
    try:
        if warm:
            runner.run(warm)
        start = time.perf_counter()
        runner.run(steps)
        return time.perf_counter() - start
    finally:
        gc.enable()


def whole_seconds(variant: str, steps: int) -> float:
    """The time of a run of linalign as its users start one: it is to find what to reduce, and whether that pays."""
    start = time.perf_counter()
    _runners[variant].run(steps, reduce="auto")  # type: ignore[call-arg]
    return time.perf_counter() - start


def loop_seconds(variant: str) -> float:
    """The time of the steps alone as the runner found it, of the last run."""
    return float(_runners[variant].loop)  # type: ignore[attr-defined]


def operations(variant: str) -> float:
    """Multiplications and additions a step as linalign planned them, once it has been timed."""
    return float(_runners[variant].operations)  # type: ignore[attr-defined]


def product_rate(k: int) -> float:
    """Operations a second of `k x k` float64 products: the better of NumPy's and SciPy's BLAS, best of five."""
    import numpy as np
    from scipy.linalg import blas

    A, B = np.random.default_rng(0).standard_normal((2, k, k))
    C = np.empty((k, k))
    best = float("inf")
    for product in (lambda: np.matmul(A, B, out=C), lambda: blas.dgemm(1.0, B.T, A.T, 0.0, C.T, 0, 0, 1)):
        product()
        for _ in range(5):
            start = time.perf_counter()
            product()
            best = min(best, time.perf_counter() - start)
    return 2.0 * k**3 / best


def imported(library: str) -> None:
    """Import the library, and NumPy's and SciPy's BLAS as the peers do. Raises: ImportError."""
    importlib.import_module(f"bench.peers.{LIBRARIES[library]}")


def environment(library: str) -> dict[str, Any]:
    """Version, BLAS copies and their threads, as the process has them now."""
    from threadpoolctl import threadpool_info

    pools = [f"{pool['internal_api']} {pool['version']} x{pool['num_threads']}" for pool in threadpool_info()]
    about: dict[str, Any] = {"version": importlib.metadata.version(library) if library != "linalign" else "", "pools": pools}
    if library == "torch":
        about["threads"] = sys.modules["torch"].get_num_threads()
    if library == "linalign":
        package = sys.modules["linalign"]
        about["version"] = getattr(package, "__version__", "not installed")
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            package.show_config()
        about["config"] = text.getvalue().splitlines()
    return about
