"""Whether the cost model chooses well, on the dense workloads whose plans can all be tried in a moment."""

from . import test_loop, test_reductions
from .choice import Choice
from .rows import Step

# multiply-adds of a layer, above which all plans of a workload take minutes
LARGEST_LAYER = 900_000
QUICK = "5-5-5-5, n=5"

ROWS = tuple(
    Choice(row.workload, aim=1.1, quick=row.name == QUICK, shows="the plan that is chosen is to be within a tenth of the fastest")
    for module in (test_loop, test_reductions)
    for row in module.ROWS
    if isinstance(row, Step) and max(row.workload.sizes) <= LARGEST_LAYER
)


def test_plan(benchmark, row, library):
    row.time(benchmark, library)
