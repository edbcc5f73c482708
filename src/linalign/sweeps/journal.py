"""Journal: the finished runs of a sweep on disk, one JSON line each, so that a sweep that was killed goes on where it stopped."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..files import Name, check_regular, named
from ..problem.metric import UNSAID
from ..record.recorder import History
from ..training.described import describe
from ..training.options import DEFAULTS, REQUIRED
from ..validate import Array

FORMAT = 1
NAME = "linalign sweep"


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What a run of a sweep came to. One that diverged or failed has its error, and what was found up to there; nan where nothing was."""

    index: int
    steps: int
    converged: bool
    loss: float
    excess: float
    floor: float
    seconds: float
    error: str | None
    history: dict[str, History] = dataclasses.field(default_factory=dict)
    kept: Any = None
    """The run, or what makes it when it is asked for."""

    @property
    def run(self) -> Any:
        """The run, where runs are kept."""
        if callable(self.kept):
            object.__setattr__(self, "kept", self.kept())
        return self.kept

    def made(self) -> Outcome:
        """The same, once its run is made."""
        self.run  # noqa: B018 - which keeps it
        return self

    @property
    def status(self) -> str:
        """How it ended: one of `STATUSES`."""
        if self.error is None:
            return "converged" if self.converged else "done"
        return "diverged" if self.error.startswith("DivergenceError: ") else "failed"

    def columns(self) -> dict[str, Any]:
        """The numbers, by name."""
        return {name: getattr(self, name) for name in COLUMNS}


STATUSES = ("done", "converged", "diverged", "failed", "interrupted")
"""Of a run that was made, and, the last, of one that was not."""
COLUMNS = ("steps", "converged", "loss", "excess", "floor", "seconds", "error", "status")


class Journal:
    """A file that holds what is being swept and the outcomes so far.

    A line is written at once and in one piece. What a kill left of a last line is dropped; the run is made again.
    """

    def __init__(self, path: Name, described: Mapping[str, Any]) -> None:
        """Raises: OSError if the file cannot be read or written or is a device, ValueError if it holds something else or another sweep."""
        self.path = named(path)
        check_regular(self.path)
        self.done: dict[int, Outcome] = {}
        header = {NAME: FORMAT, **described}
        first = _line(header)
        try:
            with open(self.path, "rb") as file:
                kept = file.read()
        except FileNotFoundError:
            kept = b""
        if first.startswith(kept) and kept != first:
            kept = b""
        else:
            kept = kept[: kept.rfind(b"\n") + 1]
            self._read(kept, header)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.ftruncate(self._file, len(kept))
            if not kept:
                self._write(first)
        except BaseException:
            os.close(self._file)
            raise

    def _read(self, kept: bytes, header: Mapping[str, Any]) -> None:
        lines = kept.splitlines()
        try:
            old = json.loads(lines[0])
            version = old[NAME]
        except (IndexError, KeyError, TypeError, ValueError):
            raise ValueError(f"{self.path} holds no sweep; pass another path") from None
        if version != FORMAT:
            raise ValueError(f"{self.path} has format {version}; this version reads format {FORMAT}")
        # through JSON, so that what is compared is what was written
        different = _difference(old, json.loads(_line(header)))
        if different:
            raise ValueError(f"{self.path} holds a sweep with another {different}; pass another path, or what it was started with")
        for number, line in enumerate(lines[1:], 2):
            try:
                outcome = _decode(json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"line {number} of {self.path} is damaged ({error}); delete it to have its run made again") from None
            self.done.setdefault(outcome.index, outcome)

    def append(self, outcome: Outcome) -> None:
        """Write an outcome. Raises: OSError."""
        columns = {name: value for name, value in outcome.columns().items() if name != "status"}
        fields = {"index": outcome.index, **columns, "history": {k: _packed_history(h) for k, h in outcome.history.items()}}
        self._write(_line({k: None if isinstance(v, float) and math.isnan(v) else v for k, v in fields.items()}))

    def _write(self, line: bytes) -> None:
        while line:
            line = line[os.write(self._file, line) :]

    def close(self) -> None:
        """Raises: OSError."""
        try:
            os.fsync(self._file)
        finally:
            os.close(self._file)


def _line(fields: Any) -> bytes:
    return (json.dumps(fields) + "\n").encode()


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first thing that differs, as the caller would name it."""
    for name in [*new["grid"], *old["grid"]]:
        if name not in old["grid"] or name not in new["grid"] or old["grid"][name] != new["grid"][name]:
            return f"grid[{name!r}]"
    # an option that was not there when the file was begun had its default
    plain: dict[str, Any] = {name: describe(name, value) for name, value in DEFAULTS.items() if value is not REQUIRED}
    before, now = plain | old["options"], plain | new["options"]
    if "metric" not in old["options"] and "metric" not in old["grid"]:
        before["metric"] = UNSAID
    for name in [*now, *before]:
        if name not in before or name not in now or before[name] != now[name]:
            return str(name)
    if list(old["grid"]) != list(new["grid"]):
        return "order of the grid"
    return "" if old["data"] == new["data"] else "X or Y"


# ------------------------------------------------------------------ outcomes as JSON
def _packed_history(history: History) -> Any:
    return [_packed(history.steps), _packed(history.values)]


def _packed(array: Array) -> Any:
    return [array.dtype.str, array.shape, base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()]


def _unpacked(packed: Any) -> Array:
    kind, shape, text = packed
    dtype = np.dtype(kind)
    if dtype.kind not in "biuf":
        raise ValueError(f"dtype {kind}")
    return np.frombuffer(base64.b64decode(text), dtype=dtype).reshape(shape).copy()


def _decode(fields: Any) -> Outcome:
    numbers = {name: math.nan if fields[name] is None else float(fields[name]) for name in ("loss", "excess", "floor", "seconds")}
    history = {name: History(*map(_unpacked, packed)) for name, packed in fields["history"].items()}
    return Outcome(int(fields["index"]), int(fields["steps"]), bool(fields["converged"]), **numbers, error=fields["error"], history=history)
