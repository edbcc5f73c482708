"""What this build is and what it runs on."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy
import scipy
from threadpoolctl import threadpool_info

from ..plan import machine, profiles


def config() -> dict[str, Any]:
    """Version, instruction set, profile of costs, BLAS copies and build flags."""
    try:
        own = version("linalign")
    except PackageNotFoundError:
        own = "not installed"
    blas = [f"{b['internal_api']} {b['version']} ({b.get('architecture', '?')}, {b['num_threads']} threads)" for b in threadpool_info()
            if b["user_api"] == "blas"]  # fmt: skip
    return {
        "linalign": own,
        "python": sys.version.split()[0],
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "instruction set": f"{machine.ISA} in use, {machine.available()} available",
        "profile": f"{machine.PROFILE.name}, {machine.PROFILE.origin}; this processor is {profiles.said(*machine.CPU)}",
        "register tile": f"results of at most {machine.TILE} columns, and sums of as many terms" if machine.LEVELS[machine.ISA] else "none",
        "build": ", ".join(machine.build_flags()),
        "blas": "; ".join(blas),
    }


def show_config() -> None:
    """Print version, instruction set, profile of costs, BLAS copies and build flags: for bug reports and benchmark files."""
    for name, value in config().items():
        print(f"{name:<16} {value}")
