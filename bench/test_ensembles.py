"""Many small networks on one data set. Against NumPy and PyTorch on arrays of all networks, and JAX's `vmap` of a `scan`."""

from .ensembles import Ensemble, Sweep
from .workloads import Workload

ROWS = (
    Sweep(
        Ensemble(Workload("5-5-5", (5, 5, 5), 10, 1e-2), 1600), 4000, aim=1, quick=True,
        shows="networks whose whole training fits in registers, one after the other on each core",
        headline="1,600 networks 5-5-5 in a sweep, 4,000 steps each",
    ),
    Sweep(
        Ensemble(Workload("20-20-20", (20, 20, 20), 40, 1e-2), 400), 4000, aim=1,
        shows="the same where a network's products fill vectors of their own",
        headline="400 networks 20-20-20 in a sweep, 4,000 steps each",
    ),
)  # fmt: skip


def test_sweep(benchmark, row, library):
    row.time(benchmark, library)
