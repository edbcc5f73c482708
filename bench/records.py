"""What recording costs: `python -m bench.records [NAME ...]`, for the workloads whose name contains NAME.

Runs with `alignment` recorded every 100 steps take turns with runs without. What short runs take more is mostly the set-up
of the record; what long ones take more than that, over their records, is a record. Issue 5 asks for at most 10 % of 100
steps. Workloads whose 100 steps take more than a few seconds are measured once.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from . import machine
from .structured import STRUCTURED
from .worker import Worker
from .workloads import WORKLOADS, Workload

THREADS = 2
EVERY = 100
# seconds of a long run without records, and its least and most records
SECONDS, LEAST, MOST = 1.0, 8, 2000
REPEATS = 7
# a workload is measured once if 100 steps take longer than this
LONG = 3.0


def by_linalign(workload: Workload) -> tuple[float, float, float]:
    """In linalign's process: seconds of 100 steps, of a record, and of the set-up of recording."""
    from .peers.linalign_train import Train

    train = Train(workload.case())

    def loop(records: int, **options: Any) -> float:
        # a start is recorded too
        train.run(records * EVERY - EVERY, **options)
        return train.loop

    loop(2)
    hundred = loop(2)
    few = 2
    many = LEAST if hundred > LONG else int(np.clip(SECONDS / hundred, LEAST, MOST))
    plain: dict[int, list[float]] = {few: [], many: []}
    more: dict[int, list[float]] = {few: [], many: []}
    for _ in range(1 if hundred > LONG else REPEATS):
        for records in (few, many):
            plain[records].append(loop(records))
            more[records].append(loop(records, record={"alignment": EVERY}) - plain[records][-1])
    extra = {records: float(np.median(found)) for records, found in more.items()}
    record = (extra[many] - extra[few]) / (many - few)
    return float(np.median(plain[many])) / (many - 1), record, extra[few] - few * record


def main(names: list[str]) -> None:
    """Print a line a workload."""
    machine.pin(THREADS)
    print(f"{'workload':<52} {'100 steps':>12} {'a record':>12} {'share':>8} {'set-up':>10}")
    for workload in (*WORKLOADS, *STRUCTURED):
        if names and not any(name in workload.name for name in names):
            continue
        process = Worker("linalign", THREADS)
        try:
            hundred, record, setup = process.call(by_linalign, workload)
        except Exception as error:
            print(f"{workload.name:<52} {type(error).__name__}: {(str(error).splitlines() or [''])[0]}", flush=True)
            continue
        finally:
            process.close()
        print(
            f"{workload.name:<52} {hundred * 1e6:9.1f} us {record * 1e6:9.1f} us {record / hundred:8.1%} {setup * 1e3:7.1f} ms", flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1:])
