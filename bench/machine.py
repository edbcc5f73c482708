"""What a measurement was made on: it means nothing without. `python -m bench.machine` prints a name for a file of results."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path


def cpu() -> str:
    """The processor's name, as Linux or Python gives it."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pin(threads: int) -> None:
    """Keep this process and those it starts on as many processors as there are threads; XLA knows no other limit."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def file_name() -> str:
    """`<date>-<cpu>-<commit>`."""
    kind = re.sub(r"\(r\)|\(tm\)|cpu|processor|@.*", " ", cpu().lower())
    kind = re.sub(r"[^a-z0-9]+", "-", kind).strip("-")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return "-".join(part for part in (f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}", kind, commit.stdout.strip()) if part)


if __name__ == "__main__":
    print(file_name())
