"""Clusters: what dask's executors do beside those of `concurrent.futures`. Nothing here imports dask."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from typing import Any

from .job import Job


def slots(executor: Executor) -> int:
    """How many runs an executor makes at a time."""
    client = client_of(executor)
    if client is not None:
        return max(int(sum(client.nthreads().values())), 1)
    return getattr(executor, "_max_workers", None) or os.cpu_count() or 1


def shared(executor: Executor, job: Job) -> Any:
    """The job as it is handed to each batch of runs.

    On a cluster it is the result of a task: sent once, passed on from worker to worker, and made again where a worker that had it is lost.
    Data that are scattered would be lost with it.
    """
    client = client_of(executor)
    return job if client is None else client.submit(_same, job, pure=False)


def client_of(executor: Executor) -> Any:
    """The client of `distributed` behind `client.get_executor()`; None for other executors."""
    client = getattr(executor, "_client", None)
    return client if hasattr(client, "nthreads") and hasattr(client, "submit") else None


def _same(job: Job) -> Job:
    return job
