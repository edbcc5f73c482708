"""Loops of the user's: an Objective that is called, and `chain` in a loop of PyTorch."""

from .own_loops import ByObjective, InTorch, TorchLoop
from .rows import Step
from .test_loop import AUTHORS

SECTION = "your own loop: an Objective, or chain in PyTorch"

ROWS = (
    Step(
        SECTION, ByObjective("5-5-5-5, n=5, Objective", (5, 5, 5, 5), 5, 1e-2), aim=3, quick=True,
        shows="what a call costs where there is next to nothing to compute",
    ),
    Step(
        SECTION, ByObjective("784-1024-64-10, n=256, Objective", AUTHORS, 256, 1e-2), aim=2,
        shows="the network of the paper: what the pivot gains, less the copies of the parameters",
    ),
    Step(
        SECTION, ByObjective("1000-wide, 4 layers, n=1000, Objective", (1000,) * 5, 1000, 1e-3, check_steps=5), aim=1,
        shows="that copying the parameters is lost beside large products",
    ),
    TorchLoop(
        SECTION, InTorch("10-45-45-10, n=128, chain", (10, 45, 45, 10), 128, 1e-2, dtype="float32"), aim=3,
        shows="a small network in a loop of torch, of which most is torch's own time for graph, loss and optimiser",
    ),
    TorchLoop(
        SECTION, InTorch("784-1024-64-10, n=256, chain", AUTHORS, 256, 2e-2, dtype="float32", check_steps=2), aim=2,
        shows="the same where the products are what takes time: what going through the product of the weights gains",
    ),
    TorchLoop(
        SECTION, InTorch("1000-wide, 4 layers, n=1000, chain", (1000,) * 5, 1000, 1e-3, check_steps=5), aim=1,
        shows="that nothing is lost where nothing can be gained: torch's own products are used",
    ),
)  # fmt: skip


def test_own_loop(benchmark, row, library):
    row.time(benchmark, library)
