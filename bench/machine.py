"""What a measurement was made on: it means nothing without."""

from __future__ import annotations

import datetime
import os
import platform
import re
from pathlib import Path
from typing import Any

from . import worker
from .worker import Worker


def cpu() -> str:
    """The processor's name, as Linux or Python gives it."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def pin(threads: int) -> None:
    """Keep this process and those it starts on as many processors as there are threads; XLA knows no other limit."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def describe(libraries: tuple[str, ...], threads: int) -> dict[str, Any]:
    """The header of the table."""
    about: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "load before": os.getloadavg()[0],
    }
    for library in libraries:
        process = Worker(library, threads)
        try:
            process.call(worker.imported, library)
            about[library] = process.call(worker.environment, library)
        except ImportError as error:
            about[library] = {"version": "", "pools": [f"absent, {error}"]}
        finally:
            process.close()
    return about
