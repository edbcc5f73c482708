"""The rows of the table: what is compared in each, and what is made of the times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from . import check, worker
from .timing import Contestant, Ours, Settings, Times, enter, fastest, missing, take_turns
from .worker import Worker
from .workloads import Pair, Sweep, Workload

SMALL = 2e8  # operations a step below which one thread may beat two


@dataclass
class Row:
    """One line of the table. `ratio` is judged against `wanted`: at least it, or at most if `at_most`."""

    name: str
    group: str
    wanted: float
    at_most: bool = False
    ratio: float | None = None
    times: dict[str, Times] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # what the table shows, by library
    skipped: str | None = None
    failed: str | None = None
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        if self.ratio is None:
            return None
        return self.ratio <= self.wanted if self.at_most else self.ratio >= self.wanted


def lines(entry: Workload | Pair | Sweep) -> list[Row]:
    """The lines of an entry, to be filled."""
    if isinstance(entry, Pair):
        return [Row(entry.name, entry.group, entry.at_most, at_most=True)]
    rows = [Row(entry.name, entry.group, entry.target)]
    if isinstance(entry, Sweep):
        return rows
    if entry.plain:
        rows.append(Row(f"  {worker.PLAIN}", entry.group, entry.plain))
    if entry.whole_run:
        rows.append(Row(f"  a whole run of {entry.whole_run[0]:,} steps", entry.group, entry.whole_run[1]))
    if entry.dgemm:
        rows.append(Row("  as a fraction of this machine's dgemm rate", entry.group, entry.dgemm))
    return rows


def checked(workload: Workload, contestants: list[Contestant]) -> dict[str, float]:
    """Each contestant's error over its bound. Raises: WrongResult. The first contestant is the one to agree with."""
    steps, start = workload.check_steps, workload.case().weights
    first = contestants[0]
    once, want = (first.process.call(worker.trained, first.variant, k) for k in (1, steps))
    allowed = check.bounds(workload, start, once, steps)
    errors = {}
    for who in contestants:
        name = f"{who.library}: {who.how}"
        errors[name] = check.compare(name, who.process.call(worker.trained, who.variant, steps), want, start, allowed)
    return errors


def measure(workload: Workload, rows: list[Row], settings: Settings) -> None:
    """A step, and where asked for a whole run and the fraction of the product rate. Raises: whatever went wrong."""
    reason = missing(workload.needs)
    if reason and not settings.only_check:
        for row in rows:
            row.skipped = reason
        return
    counts = [settings.threads] + ([1] if settings.threads > 1 and workload.products <= SMALL else [])
    processes: list[Worker] = []
    try:
        # NumPy's weights are what the others are compared with, so it takes part in the check whether it is timed or not
        libraries = [library for library in dict.fromkeys(("numpy", *settings.peers)) if library in workload.peers]
        entered = [c for library in libraries for count in counts for c in enter(library, count, workload, processes)]
        if not reason:
            entered += enter("linalign", settings.threads, workload, processes)
        rows[0].details["error over bound"] = checked(workload, entered)
        if settings.only_check:
            for row in rows:
                row.skipped = "not timed"
            who = f"the peers agree ({reason})" if reason else "all agree"
            rows[0].skipped = f"not timed; {who}, to {max(rows[0].details['error over bound'].values()):.1g} of the bound"
            return
        timed = [c for c in entered if c.library in (*settings.peers, "linalign")]
        chosen = fastest([c for c in timed if c.variant != worker.PLAIN], settings)
        for who in timed:
            if who.variant == worker.PLAIN:
                who.calibrate(settings.seconds)
                chosen[worker.PLAIN] = who
        extra: dict[str, Callable[[], float]] = {}
        if workload.dgemm:
            extra["dgemm rate"] = lambda: float(entered[0].process.call(worker.product_rate, workload.widths[0]))
        if workload.whole_run:
            ours_whole = chosen["linalign"]
            assert isinstance(ours_whole, Ours)
            extra["whole run"] = partial(ours_whole.whole_run, workload.whole_run[0])
        times, samples = take_turns(chosen, settings, extra)
        ours = chosen["linalign"]
        samples["operations"] = [ours.process.call(worker.operations, ours.variant)]
    finally:
        for process in processes:
            process.close()
    _fill(rows, workload, times, samples)


def _fill(rows: list[Row], workload: Workload, times: dict[str, Times], samples: dict[str, list[float]]) -> None:
    plain = times.pop(worker.PLAIN, None)
    rows[0].times = times
    rows[0].seconds = {name: t.median for name, t in times.items()}
    best = min((t.median for name, t in times.items() if name in (workload.against or workload.peers)), default=None)
    ours = times["linalign"]
    rows[0].ratio = None if best is None else best / ours.median
    if workload.against:
        rows[0].note = f"ratio to {' and '.join(workload.against)}, as the issue asks"
    rest = rows[1:]
    if plain:
        row = rest.pop(0)
        row.times, row.seconds = {"linalign": plain}, {"linalign": plain.median}
        row.ratio = None if best is None else best / plain.median
    if workload.whole_run:
        row, steps = rest.pop(0), workload.whole_run[0]
        # the peers have nothing to plan; their step's time does not depend on the number of steps
        row.seconds = {name: steps * t.median for name, t in times.items()}
        row.seconds["linalign"] = float(np.median(samples["whole run"]))
        row.details["whole run"] = samples["whole run"]
        row.ratio = None if best is None else steps * best / row.seconds["linalign"]
        row.note = 'linalign: reduce="auto", planning and lifting included; peers: not run whole, a step\'s time by the number of steps'
    if workload.dgemm:
        row = rest.pop(0)
        rate = max(samples["dgemm rate"])
        # a plan with fewer operations than backpropagation is credited with those it does
        speed = min(workload.products, *samples["operations"]) / ours.median
        row.ratio = speed / rate
        row.note = f"{speed / 1e9:.1f} of {rate / 1e9:.1f} GFLOP/s, the best of a plain product in the same repeats"
        row.details["dgemm rate"] = samples["dgemm rate"]


def measure_pair(pair: Pair, rows: list[Row], settings: Settings) -> None:
    """linalign against itself. Raises: whatever went wrong."""
    (row,) = rows
    row.skipped = missing(())
    if settings.only_check and not row.skipped:
        row.skipped = "not timed"
    if row.skipped:
        return
    processes: list[Worker] = []
    try:
        sides: dict[str, Contestant] = {}
        for side, workload in (("left", pair.left), ("right", pair.right)):
            (sides[side],) = enter("linalign", settings.threads, workload, processes)
            sides[side].multiple = pair.multiple
            sides[side].calibrate(settings.seconds)
        row.times, _ = take_turns(sides, settings, {})
    finally:
        for process in processes:
            process.close()
    left, right = row.times["left"], row.times["right"]
    # of neighbours in time, so that a drift of the machine falls out
    row.ratio = float(np.median(np.divide(left.per_step, right.per_step)))
    row.seconds = {"linalign": left.median}
    row.note = f"{left.median * 1e6:.4g} us over {right.median * 1e6:.4g} us"
