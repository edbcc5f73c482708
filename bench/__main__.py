"""`python -m bench`: the speed tables of issues 2 to 5. Progress goes to stderr, one table to stdout, the data to a JSON file."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from . import machine, report
from .rows import Row, lines, measure, measure_pair
from .scores import SCORES, Scores, measure_scores
from .scores import lines as lines_of_scores
from .structured import STRUCTURED
from .sweep import measure_sweep
from .timing import Settings, say
from .workloads import FOUNDATION, PAIRS, SWEEPS, WORKLOADS, Pair, Sweep, Workload

PEERS = ("numpy", "torch", "jax", "pyfaust")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m bench", description="Time linalign against NumPy, PyTorch, JAX and pyfaust, each at its best."
    )
    parser.add_argument("--only", metavar="NAME", action="append", help="only rows whose name contains NAME; may be repeated")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated, of numpy, torch, jax, pyfaust (default: all)")
    parser.add_argument("--quick", action="store_true", help="few and short measurements: a look, not a result")
    parser.add_argument("--check", action="store_true", help="compare the results of all libraries and time nothing")
    parser.add_argument("--threads", type=int, default=2, help="the most threads any library may use (default: 2)")
    parser.add_argument(
        "--json", type=Path, metavar="PATH", help="where the data go; by default a whole run's to bench/results/<date>-<cpu>.json"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    options = parser.parse_args()
    options.peers = tuple(name for name in options.peers.split(",") if name)
    unknown = [name for name in options.peers if name not in PEERS]
    if unknown:
        parser.error(f"--peers names {unknown[0]!r}; {', '.join(PEERS)} are known")
    if options.threads < 1:
        parser.error(f"--threads is {options.threads}; at least 1 is needed")
    return options


def rows_of(entry: Workload | Pair | Sweep | Scores, settings: Settings) -> list[Row]:
    """Measure; an error becomes the verdict of all the entry's rows, so that the rest is still measured."""
    rows = lines_of_scores(entry) if isinstance(entry, Scores) else lines(entry)
    try:
        if isinstance(entry, Scores):
            measure_scores(entry, rows, settings)
        elif isinstance(entry, Workload):
            measure(entry, rows, settings)
        elif isinstance(entry, Pair):
            measure_pair(entry, rows, settings)
        else:
            measure_sweep(entry, rows, settings)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        for row in rows:
            row.failed, row.ratio = f"{type(error).__name__}: {reason}", None
    return rows


def main() -> int:
    options = arguments()
    everything: list[Workload | Pair | Sweep | Scores] = [*WORKLOADS, *PAIRS, *SWEEPS, *STRUCTURED, *SCORES]
    entries = sorted(everything, key=lambda entry: (entry.group != FOUNDATION, isinstance(entry, Scores)))
    if options.only:
        entries = [entry for entry in entries if any(part in entry.name for part in options.only)]
    if options.list or not entries:
        print("\n".join(entry.name for entry in entries) or f"no row's name contains {' or '.join(map(repr, options.only))}")
        return 0 if entries else 2
    machine.pin(options.threads)
    about = machine.describe((*options.peers, "linalign"), options.threads)
    peers = tuple(name for name in options.peers if about[name]["version"])
    short = options.quick or options.check
    settings = Settings(
        peers, options.threads, repeats=3 if short else 9, seconds=0.01 if short else 0.1, settle=0.05 if short else 0.25,
        only_check=options.check,
    )  # fmt: skip
    rows: list[Row] = []
    for i, entry in enumerate(entries):
        say(f"[{i + 1}/{len(entries)}] {entry.name}")
        for row in rows_of(entry, settings):
            say(f"    {report.verdict(row)}" + ("" if row.ratio is None else f", ratio {report.number(row.ratio)}"))
            rows.append(row)
    print(report.table(about, rows, (*options.peers, "linalign")))
    if options.json or not (short or options.only):
        say(f"data: {report.save(about, rows, dataclasses.asdict(settings), options.json)}")
    else:
        say("data: not saved, as this is not the whole of it; --json PATH saves it")
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
