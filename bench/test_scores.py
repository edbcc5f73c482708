"""The two scores of the paper's authors, against NumPy and PyTorch: a record of both, and whole experiments."""

from .scores import Experiment, Record, WholeExperiment
from .test_loop import AUTHORS
from .workloads import Workload

DEFAULT = Experiment(
    "784-1024-64-10, n=256, default start", 3000, Workload("784-1024-64-10 scores", AUTHORS, 256, 1.0, options={"loss": "mse"})
)
ALIGNED = Experiment(
    "784-1024-64-10, n=256, aligned start",
    3000,
    Workload("784-1024-64-10 aligned scores", AUTHORS, 256, 1.0, start="aligned_svd", options={"loss": "mse"}),
)
CONVOLUTIONS = Experiment("three 3x3 convolutions, 28x28, n=1", 1500)

ROWS = (
    Record(DEFAULT, aim=4, shows="scores of the reduced network, lifted instead of its layers"),
    WholeExperiment(
        DEFAULT, aim=20, shows="what somebody who repeats the paper's experiment waits for",
        headline="784-1024-64-10 trained to a loss of 1e-4 with both scores every 100 steps",
    ),
    Record(ALIGNED, aim=4, quick=True, shows="the same from an aligned start"),
    WholeExperiment(ALIGNED, aim=20, shows="the same from an aligned start, which takes more steps"),
    Record(CONVOLUTIONS, aim=4, shows="layers that are never dense here and are for the peers"),
)  # fmt: skip


def test_scores(benchmark, row, library):
    row.time(benchmark, library)
