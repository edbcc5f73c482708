"""What recording costs, on every workload of the comparison with the peers.

Where a step has been reduced to fewer multiply-adds than a hundredth of the score's own products, the share cannot be small.
"""

from . import test_constrained, test_loop, test_reductions
from .recording import Recording
from .rows import Step
from .workloads import Workload

QUICK = "32-32-32-32-32, n=1000"

ROWS = (
    Recording(
        Workload("784-1024-64-10, n=256", test_loop.AUTHORS, 256, 1e-2, options={}), "sharpness", aim=1.5,
        shows="a search from the last eigenvector every 100 steps is to cost at most half of them; powers in JAX are in test_curvature",
    ),
    *(
        Recording(row.workload, aim=1.1, quick=row.name == QUICK, shows="a record every 100 steps is to cost at most a tenth of them")
        for module in (test_loop, test_reductions, test_constrained)
        for row in module.ROWS
        if isinstance(row, Step)
    ),
)  # fmt: skip


def test_recording(benchmark, row, library):
    row.time(benchmark, library)
