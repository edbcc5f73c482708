"""Workers: the runs of a sweep, handed out to threads or to an executor."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, ThreadPoolExecutor, wait
from queue import Empty, SimpleQueue
from typing import Any

from ..engine.threads import limit
from .cluster import shared, slots
from .job import Job
from .journal import Outcome

# an executor's workers get this many batches each, so that they end at about the same time
BATCHES_A_WORKER = 8
# an executor is asked this often whether to go on
LOOK_SECONDS = 0.2
# a thread hands on what it has this often: whoever waits for it takes turns with it (the GIL)
HAND_ON_SECONDS = 0.01

Task = tuple[int, Mapping[str, Any]]


def in_threads(job: Job, tasks: Sequence[Task], workers: int, stop: list[bool]) -> Generator[Outcome, None, None]:
    """Outcomes as they come. `stop[0]` ends those under way, and no more are begun."""
    waiting: SimpleQueue[Sequence[Task]] = SimpleQueue()
    size = job.lanes.chunk(len(tasks), workers)
    chunks = range(0, len(tasks), size)
    for i in chunks:
        waiting.put(tasks[i : i + size])
    results: SimpleQueue[list[Outcome] | BaseException | None] = SimpleQueue()

    def work() -> None:
        found: list[Outcome] = []
        due = time.perf_counter() + HAND_ON_SECONDS
        try:
            with limit(1):  # some builds of BLAS have a number for every thread
                while not stop[0]:
                    for outcome in job.outcomes(waiting.get_nowait(), stop):
                        found.append(outcome)
                        if time.perf_counter() > due:
                            results.put(found)
                            found, due = [], time.perf_counter() + HAND_ON_SECONDS
        except Empty:
            pass
        except BaseException as error:  # such as SystemExit: not a failed run, so the sweep ends with it
            results.put(found)
            results.put(error)
            found = []
        finally:
            results.put(found)
            results.put(None)

    alive = min(workers, len(chunks))
    with ThreadPoolExecutor(max(alive, 1), thread_name_prefix="linalign-sweep") as pool:
        try:
            for _ in range(alive):
                pool.submit(work)
            while alive:
                result = results.get()
                if result is None:
                    alive -= 1
                elif isinstance(result, BaseException):
                    raise result
                else:
                    yield from result
        finally:
            stop[0] = stop[0] or alive > 0


def in_executor(job: Job, tasks: Sequence[Task], executor: Executor, stop: list[bool]) -> Generator[Outcome, None, None]:
    """Outcomes as they come, in batches. After `stop[0]`, batches that have not begun are cancelled, the others end."""
    size = max(1, len(tasks) // (BATCHES_A_WORKER * slots(executor)))
    whole = shared(executor, job)
    pending = {executor.submit(_batch, whole, tasks[i : i + size], stop, os.getpid()) for i in range(0, len(tasks), size)}
    try:
        while pending:
            done, pending = wait(pending, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    yield from future.result()
                except BrokenExecutor:
                    # Ctrl-C in a terminal reaches idle processes too, and they die of it
                    if not stop[0]:
                        raise
            if stop[0]:
                pending = {future for future in pending if not future.cancel()}
    finally:
        stop[0] = stop[0] or bool(pending)
        for future in pending:
            future.cancel()


def _batch(job: Job, tasks: Sequence[Task], stop: list[bool], home: int) -> list[Outcome]:
    """Some runs, in an executor. `home` is the process of the sweep, the only one in which `stop` is its list."""
    found: list[Outcome] = []
    with limit(1), contextlib.suppress(KeyboardInterrupt):
        here = os.getpid() == home
        for outcome in () if stop[0] else job.outcomes(tasks, stop if here else None):
            # what goes to another process is made first
            found.append(outcome if here else outcome.made())
    return found
