"""A process for one library, with that library's threads; this is what runs in it."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .peers import Runner
    from .workloads import Array

FIRST = {"numpy": "numpy_loop", "torch": "torch_eager", "jax": "jax_scan", "pyfaust": "pyfaust_palm", "linalign": "linalign_train"}
PLAIN = 'reduce="none"'  # the variant of linalign that has a line of its own
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Problem(Protocol):
    """What a worker is sent: a Workload or an Ensemble."""

    peers: Any

    def case(self) -> Any: ...


class Stage:
    """What a process keeps: how to build the variants of the case that was drawn, trainings under way, and what else a row needs."""

    def __init__(self) -> None:
        self.makers: dict[str, Callable[[], Runner]] = {}
        self.runners: dict[str, Runner] = {}
        self.kept: dict[str, Any] = {}

    def runner(self, variant: str) -> Runner:
        """The training that is timed, built when it is first asked for."""
        if variant not in self.runners:
            self.runners[variant] = self.makers[variant]()
        return self.runners[variant]


# ---- the parent's end ------------------------------------------------------------------------------------------------------


class Worker:
    """A process: `call(function, ...)` runs `function(stage, ...)`, one of those below, in it and returns its answer."""

    def __init__(self, library: str, threads: int, path: str | None = None) -> None:
        """`path`: a folder that is looked into for modules before all others, such as another version of the library."""
        self.library, self.threads = library, threads
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        # the process inherits these when the first call starts it; the libraries read them when they are imported
        changed = {
            **dict.fromkeys(THREAD_VARIABLES, str(threads)),
            "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false" if threads == 1 else "",
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
        }
        with _environment(changed):
            self.call(begin, path)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._pool.submit(_on_stage, function, arguments).result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class Here(Worker):
    """The same in this process: for products of a few nanoseconds' overhead, and for tests."""

    def __init__(self, library: str, threads: int, path: str | None = None) -> None:
        self.library, self.threads, self._stage = library, threads, Stage()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        with _environment(dict.fromkeys(THREAD_VARIABLES, str(self.threads))):
            return function(self._stage, *arguments)

    def close(self) -> None:
        self._stage = Stage()


@contextlib.contextmanager
def _environment(changed: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_STAGE = Stage()


def _on_stage(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return function(_STAGE, *arguments)


# ---- in the process --------------------------------------------------------------------------------------------------------


def begin(stage: Stage, path: str | None) -> int:
    """Look into `path` for modules first; the number of the process."""
    if path is not None:
        sys.path.insert(0, path)
    return os.getpid()


def build(stage: Stage, problem: Problem, library: str, compiler: bool, plain: bool = False) -> tuple[list[str], dict[str, str]]:
    """Draw the case; the names of the library's variants, and of files of variants that cannot be had here, with the reason.

    Raises: ImportError where the library itself is not there.
    """
    stage.runners.clear()
    stage.makers.clear()
    case, absent = problem.case(), {}
    for name in problem.peers[library]:
        module = importlib.import_module(f"bench.peers.{name}")
        reason = getattr(module, "absent", lambda _: None)(compiler)
        if reason:
            absent[name] = reason
        else:
            stage.makers.update(module.variants(case))
    if plain:
        module = importlib.import_module("bench.peers.linalign_train")
        stage.makers[PLAIN] = partial(module.Train, case, reduce="none")
    return list(stage.makers), absent


def trained(stage: Stage, variant: str, steps: int) -> list[Array]:
    """The weights after so many steps from the start."""
    runner = stage.makers[variant]()
    runner.run(steps)
    return runner.weights()


def seconds(stage: Stage, variant: str, steps: int, warm: int) -> float:
    """The time of `steps` steps, after `warm` that are not timed and with nothing left to compile."""
    runner = stage.runner(variant)
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


def whole_seconds(stage: Stage, variant: str, steps: int) -> float:
    """The time of a run of linalign as its users start one: it is to find what to reduce, and whether that pays."""
    runner = stage.runner(variant)
    start = time.perf_counter()
    runner.run(steps, reduce="auto")  # type: ignore[call-arg]
    return time.perf_counter() - start


def loop_seconds(stage: Stage, variant: str) -> float:
    """The time of the steps alone as the runner found it, of the last run."""
    return float(stage.runners[variant].loop)  # type: ignore[attr-defined]


def operations(stage: Stage, variant: str) -> float:
    """Multiplications and additions a step as linalign planned them, once it has been timed."""
    return float(stage.runners[variant].operations)  # type: ignore[attr-defined]


def product_rate(stage: Stage, k: int) -> float:
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


def environment(stage: Stage, library: str) -> dict[str, Any]:
    """Version, BLAS copies and their threads, as the process has them with the library imported. Raises: ImportError."""
    importlib.import_module(f"bench.peers.{FIRST[library]}")
    from threadpoolctl import threadpool_info

    pools = sorted(f"{pool['internal_api']} {pool['version']} x{pool['num_threads']}" for pool in threadpool_info())
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
