"""linalign's sweep over the starts of an ensemble, on worker processes of dask on this machine."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from functools import cache, partial
from multiprocessing.util import Finalize
from typing import Any

from ..workloads import Case
from .linalign_sweep import Sweep


def absent(compiler: bool) -> str:
    return "" if importlib.util.find_spec("distributed") else "distributed is not installed"


def variants(case: Case) -> dict[str, Callable[[], Sweep]]:
    return {f"{count} of dask": partial(OnDask, case, count) for count in (1, 2)}


@cache
def executor(processes: int) -> Any:
    """That of a cluster of so many processes of one thread; a cluster lasts as long as this process."""
    from distributed import Client, LocalCluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ports that others use
        cluster = LocalCluster(n_workers=processes, threads_per_worker=1, processes=True, dashboard_address=None)
        client = Client(cluster)
    # of the processes of a pool, multiprocessing runs what it is told, and Python's own exit nothing
    Finalize(None, cluster.close, exitpriority=10)
    Finalize(None, client.close, exitpriority=20)
    return client.get_executor()


class OnDask(Sweep):
    """The cluster is there before the time is taken; the data are sent in each sweep."""

    def __init__(self, case: Case, processes: int) -> None:
        super().__init__(case)
        self.where = {"executor": executor(processes)}
