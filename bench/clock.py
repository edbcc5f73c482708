"""The clock of pytest-benchmark here: it stands still while a worker is waited for, and moves on by what the worker measured.

A library works in a process of its own, and what is compared is the time of its steps: not the calls between processes, nor
linalign's planning. The worker takes that time where the work is done. pytest-benchmark reads this clock before and after
`advance(seconds)`, and so has exactly the worker's figure as that of a round.
"""

from __future__ import annotations

_now = 0.0


def worker_seconds() -> float:
    """The reading, in seconds: what `benchmark(timer=...)` is given, and the name under `options` in the JSON."""
    return _now


def reset() -> None:
    """Back to zero, so that nothing is rounded when the clock moves on."""
    global _now
    _now = 0.0


def advance(seconds: float) -> None:
    """Move on: what pytest-benchmark times."""
    global _now
    _now += seconds
