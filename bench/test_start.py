"""What comes before the first step: no peer has it, and it is to stay small."""

from .start import Import, Start, first_seconds, plan_seconds
from .structured import Toeplitzes
from .test_loop import AUTHORS
from .workloads import AUTO, Workload

SMALL = Workload("5-5-5-5, n=5, all reductions", (5, 5, 5, 5), 5, 1e-2, options=AUTO)

ROWS = (
    Import(shows="what a script waits for"),
    Start(SMALL, plan_seconds, shows="planning where there is nothing to find"),
    Start(SMALL, first_seconds, quick=True, shows="what a sweep pays for each of its networks"),
    Start(
        Workload("784-1024-64-10, n=256, all reductions", AUTHORS, 256, 1e-2, options=AUTO), plan_seconds,
        shows="planning with singular values of the data and closed subspaces of the layers",
    ),
    Start(
        Toeplitzes("palm4msa sweep, 3 Toeplitz factors, 16 x 16", (16,) * 4, 16, 1e-2), first_seconds,
        shows="binding constrained layers",
    ),
)  # fmt: skip


def test_start(benchmark, row, library):
    row.time(benchmark, library)
