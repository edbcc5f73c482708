"""Whole problems, drawn anew: `python -m tests.search.problems [--cases N] [--seconds S]`; what came of them, counted.

Each runs by the plan that is chosen, without reductions, and in the reference, and all must be the same run (tests/oracles/drawn.py). What
fails is made small, printed with the code that draws it again, and kept in `.hypothesis`, from where it is tried first the next time.
"""

from __future__ import annotations

import argparse
import faulthandler
import signal
import sys
import time
from collections import Counter

from hypothesis import HealthCheck, Phase, given, settings

from tests.examples import PROFILES
from tests.oracles.drawn import check, problems

# a hundred cases take a second or two of the processor; if they take so many, or on the clock twelve times as many, one hangs
HANGS = 300


def search(cases: int, seconds: float) -> Counter[str]:
    """What came of so many cases, or as many as there was time for. Raises: AssertionError with the smallest that fails."""
    counts: Counter[str] = Counter()
    began = time.monotonic()

    @settings(PROFILES["explore"], suppress_health_check=list(HealthCheck), phases=set(Phase) - {Phase.explain})
    @given(problem=problems())
    def one(problem):
        counts[check(problem)] += 1
        if sum(counts.values()) % 100 == 0:
            signal.setitimer(signal.ITIMER_PROF, HANGS)
            faulthandler.dump_traceback_later(12 * HANGS, exit=True)

    # then the process ends with where it stood
    faulthandler.register(signal.SIGPROF, chain=True)
    while sum(counts.values()) < cases and time.monotonic() - began < seconds:
        one()
        print(f"{sum(counts.values())} cases in {time.monotonic() - began:.0f} s: {dict(counts)}", flush=True)
    signal.setitimer(signal.ITIMER_PROF, 0)
    faulthandler.cancel_dump_traceback_later()
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given_ = parser.parse_args()
    search(given_.cases, given_.seconds)
    sys.exit(0)
