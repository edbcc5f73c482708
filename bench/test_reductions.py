"""Every exact reduction. Against NumPy, PyTorch and JAX."""

from .rows import Step, WholeRun
from .test_loop import AUTHORS
from .workloads import AUTO, Workload

SECTION = "every exact reduction"

WIDE = Workload(
    "500-5030-5030-3, identity middle, n=100", (500, 5030, 5030, 3), 100, 1e-2, start="identity_middle", check_steps=3, options=AUTO
)

ROWS = (
    Step(
        SECTION, Workload("784-1024-64-10, n=256, all reductions", AUTHORS, 256, 1e-2, options=AUTO), aim=60,
        shows="the network of the paper: inputs and widths are reduced",
        headline="784-1024-64-10, 256 samples, squared loss",
    ),
    Step(
        SECTION, Workload("784-1024-64-10, n=256, cross-entropy", AUTHORS, 256, 1e-1, loss="cross_entropy", options=AUTO), aim=15,
        shows="the same with a loss whose samples cannot be compressed",
        headline="the same, cross-entropy",
    ),
    Step(
        SECTION, Workload("784-4-1, n=8", (784, 4, 1), 8, 1e-2, options=AUTO), aim=70, quick=True,
        shows="few samples of many inputs: the reduced problem fits in registers",
        headline="784-4-1, 8 samples",
    ),
    Step(
        SECTION, Workload("5-5-5-5, n=5, all reductions", (5, 5, 5, 5), 5, 1e-2, options=AUTO), aim=12,
        shows="what a step costs where there is next to nothing to compute",
        headline="5-5-5-5, 5 samples",
    ),
    Step(
        SECTION, WIDE, aim=2000,
        shows="wide layers that move in few directions only: a step of the reduced problem",
        headline="500-5030-5030-3 from an identity middle, 100 samples: a step",
    ),
    WholeRun(
        SECTION, WIDE, 1100, aim=200,
        shows="the same with the time that finding the reduction and lifting the result take",
        headline="the same: a run of 1,100 steps with planning and lifting",
    ),
    Step(
        SECTION,
        Workload("aligned start, 100-wide, 4 layers, n=1000", (100,) * 5, 1000, 1e-2, start="aligned", autoencoding=True, options=AUTO),
        aim=3000,
        shows="an aligned network falls apart into scalars",
        headline="100-wide, 4 layers, aligned start, 1,000 samples",
    ),
)  # fmt: skip


def test_step(benchmark, row, library):
    row.time(benchmark, library)
