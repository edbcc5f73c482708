"""Checkpoint: a file from which a run that was killed goes on: the same call finds it."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import layers, validate
from ..files import Name, check_regular, named
from ..plan.plan import Plan
from ..plan.planner import Work
from ..problem.compressed import Compressed
from ..problem.descent import Descent
from ..problem.network import Network
from ..problem.problem import Problem
from ..problem.stream import streamed
from .described import describe, digest
from .kept import Before
from .options import DEFAULTS, Options
from .resume import onward
from .run import Run, read

# what is written after the run, and read back: what the run was asked for
KEY = "checkpoint"
# how a run goes on may be told anew, not where to
FREE = frozenset({"steps", "plan"})


class Checkpoint:
    """A run file that is replaced every so many seconds, whole or not at all; `la.load` reads it as any other.

    `key` says what the run is of: a file of anything else is refused, and left as it is. A file that cannot be written, for want of room
    for instance, is reported by a warning, and the run goes on with the old one.
    """

    def __init__(self, path: Name, every: Any, net: Network, X: Any, Y: Any, options: Options) -> None:
        """Raises: OSError if the file cannot be read, or is a directory or a device; ValueError, TypeError if it holds something else."""
        self.path = named(path)
        self.every = validate.real("checkpoint_every", every, least=0)
        self._key = {
            "layers": [describe("net", layers.describe(layer)) for layer in net.layers],
            "start": [digest(theta) for theta in net.params],
            "data": [None if array is None else digest(array) for array in _arrays(X, Y)],
            "options": {name: describe(name, getattr(options, name)) for name in DEFAULTS if name not in FREE},
        }
        self._options, self._net = options, net
        check_regular(self.path)
        folder = Path(os.path.realpath(self.path)).parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise OSError(f"checkpoint is {self.path} but {folder} is no directory that can be written to; pass another path")
        self.run = self._found()

    def _found(self) -> Run | None:
        """The run that the file holds, if there is one."""
        if not os.path.exists(self.path):
            return None
        run, more = read(self.path, KEY)
        if KEY not in more or run.kept is None:
            raise ValueError(f"checkpoint {self.path} holds a run that was no checkpoint; pass another path")
        other = _difference(json.loads(str(more[KEY])), json.loads(json.dumps(self._key)))
        if other:
            raise ValueError(f"checkpoint {self.path} is of a run with another {other}; pass another path, or what it was begun with")
        if run.steps > self._options.steps:
            least = f"pass steps={run.steps} or more, or another path"
            raise ValueError(f"steps is {self._options.steps} but checkpoint {self.path} has taken {run.steps}; {least}")
        return replace(run, kept=replace(run.kept, options=self._options, missing=()))

    def begin(self, problem: Problem, X: Any, Y: Any, descent: Descent, threads: int = 1) -> tuple[Plan, Work, Descent, Before | None]:
        """What to execute: the whole, or what is left. Raises: ValueError, TypeError as `train`."""
        if self.run is None:
            return (*self._options.planned(problem, descent), descent, None)
        if self._options.stream is not None:
            stream, X, Y = streamed(self._options.stream, None, None, self.run.steps)
            self._options = replace(self._options, stream=stream)
        return onward(self.run, self._net, X, Y, self._options, threads)

    def write(self, run: Run) -> float:
        """Replace the file; how many seconds to wait before the next time."""
        began = time.perf_counter()
        try:
            run.save(self.path, **{KEY: json.dumps(self._key)})
        except OSError as error:
            what = f"checkpoint {self.path} was not written after {run.steps} steps ({error.strerror or error})"
            warnings.warn(f"{what}; an older one is kept, and the run goes on", RuntimeWarning, stacklevel=2)
        return max(self.every, time.perf_counter() - began)


def _arrays(X: Any, Y: Any) -> list[Any]:
    return [X.X, X.Y, [X.constant, X.n]] if isinstance(X, Compressed) else [X, Y]


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first thing that differs, as the caller would name it."""
    if (old["layers"], old["start"]) != (new["layers"], new["start"]):
        return "net"
    if old["data"] != new["data"]:
        return "X or Y"
    # an option that was not there when the file was begun had its default
    before = {**{name: describe(name, DEFAULTS[name]) for name in new["options"] if name not in old["options"]}, **old["options"]}
    return next((name for name, value in new["options"].items() if before[name] != value), "")
