"""What recording costs, on every workload of the comparison with the peers.

Where a step has been reduced to fewer multiply-adds than a hundredth of the score's own products, the share cannot be small.
"""

from . import test_constrained, test_loop, test_reductions
from .recording import Recording
from .rows import Step

QUICK = "32-32-32-32-32, n=1000"

ROWS = tuple(
    Recording(row.workload, aim=1.1, quick=row.name == QUICK, shows="a record every 100 steps is to cost at most a tenth of them")
    for module in (test_loop, test_reductions, test_constrained)
    for row in module.ROWS
    if isinstance(row, Step)
)


def test_recording(benchmark, row, library):
    row.time(benchmark, library)
