"""The loop: samples are compressed, no other reduction is used. Against NumPy, PyTorch and JAX."""

from .rows import Step
from .workloads import Workload

SECTION = "the loop, samples compressed, no other reduction"
AUTHORS = (784, 1024, 64, 10)

ROWS = (
    Step(
        SECTION, Workload("5-5-5-5, n=5", (5, 5, 5, 5), 5, 1e-2), aim=8, quick=True,
        shows="what a step costs where there is next to nothing to compute",
    ),
    Step(
        SECTION, Workload("32-32-32-32-32, n=1000", (32,) * 5, 1000, 1e-2), aim=12,
        shows="small layers, many samples: compression and the register tile together",
    ),
    Step(
        SECTION, Workload("100-wide, 10 layers, n=10,000", (100,) * 11, 10_000, 1e-4, check_steps=5), aim=60,
        shows="what compressing many samples gains in a deep chain",
        headline="100-wide, 10 layers, 10,000 samples: samples compressed, no other reduction",
    ),
    Step(
        SECTION, Workload("512-512-512-512-1, n=1000", (512, 512, 512, 512, 1), 1000, 1e-3), aim=40,
        shows="one output: the pivot at the outputs has one row in flight",
    ),
    Step(
        SECTION, Workload("784-1024-64-10, n=256", AUTHORS, 256, 1e-2), aim=4,
        shows="the network of the paper with nothing to compress: what the pivot gains",
    ),
    Step(
        SECTION, Workload("1000-wide, 4 layers, n=1000", (1000,) * 5, 1000, 1e-3, check_steps=5), aim=1, dgemm=0.85,
        shows="nothing to reduce, all time is in large products: that little is lost where nothing can be won",
        headline="1000-wide, 4 layers, 1,000 samples: nothing to reduce, all time is in large products",
    ),
)  # fmt: skip


def test_step(benchmark, row, library):
    row.time(benchmark, library)
