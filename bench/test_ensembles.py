"""Many small networks on one data set. Against NumPy and PyTorch on arrays of all networks, and JAX's `vmap` of a `scan`."""

from .ensembles import Clustered, Ensemble, Spread, Sweep
from .workloads import Workload

SPREAD = Spread(Workload("100-100-100-100", (100,) * 4, 1000, 1e-2), 24)

ROWS = (
    Sweep(
        Ensemble(Workload("5-5-5", (5, 5, 5), 10, 1e-2), 1600), 4000, aim=12, quick=True,
        shows="networks side by side, one a lane of the vectors, whose state stays in the first cache",
        headline="1,600 networks 5-5-5 in a sweep, 4,000 steps each",
    ),
    Sweep(
        Ensemble(Workload("20-20-20", (20, 20, 20), 40, 1e-2), 400), 4000, aim=10,
        shows="the same where a network's products would fill vectors of their own, and the state of 8 fills the second cache",
        headline="400 networks 20-20-20 in a sweep, 4,000 steps each",
    ),
    Clustered(SPREAD, 500, 1, aim=2.5, shows="what the way to another process costs, beside two threads of this one"),
    Clustered(SPREAD, 500, 2, aim=1.25, shows="the same on both cores"),
)  # fmt: skip


def test_sweep(benchmark, row, library):
    row.time(benchmark, library)
