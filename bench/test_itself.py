"""linalign against itself: what must cost nothing, or next to it."""

from typing import Any

from .rows import Itself
from .test_loop import AUTHORS
from .workloads import SAMPLES, Workload

SECTION = "linalign against itself"


def _authors(record: Any) -> Workload:
    return Workload("784-1024-64-10, n=256", AUTHORS, 256, 1e-2, options={**SAMPLES, "record": record})


def _of_n(n: int) -> Workload:
    return Workload("32-32-32-32-32", (32,) * 5, n, 1e-2)


ROWS = (
    Itself(
        SECTION, "32-32-32-32-32: a step at n=1,000,000 over n=1000", (("n=1,000,000", _of_n(1_000_000)), ("n=1000", _of_n(1000))),
        aim=1.05, shows="once compressed, the number of samples does not matter",
    ),
    Itself(
        SECTION, "784-1024-64-10: alignment every 100 steps",
        (("recorded", _authors({"alignment": 100})), ("not recorded", _authors(None))),
        multiple=1000, aim=1.1, shows="alignment can be recorded as a matter of course",
    ),
    # two equal runs differ by noise alone, of about 2 %
    Itself(
        SECTION, "784-1024-64-10: recording nothing", (("empty record", _authors({})), ("no record", _authors(None))),
        aim=1.02, quick=True, shows="a recorder that has nothing to do costs nothing: the noise of this comparison",
    ),
)  # fmt: skip


def test_step(benchmark, row, library):
    row.time(benchmark, library)
