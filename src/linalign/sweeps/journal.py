"""Journal: the finished runs of a sweep on disk, one JSON line each, so that a sweep that was killed goes on where it stopped.

The last field of a line is the CRC-32 of the bytes before it, which no flipped bit keeps. Journals of format 1, which had none, are gone on
with; of their lines only the form is checked.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import os
import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..files import Damaged, Name, check_regular, damage, named
from ..files.npz import short
from ..files.typed import Fields
from ..problem.metric import UNSAID
from ..record.recorder import History
from ..training.described import describe
from ..training.options import DEFAULTS, MOST_STEPS, REQUIRED
from ..validate import Array

FORMAT = 2
# whose lines have no checksum
UNCHECKED = 1
NAME = "linalign sweep"


@dataclasses.dataclass(eq=False)
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
            self.kept = self.kept()
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
        first = line(header)
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
        first, *rest = kept.split(b"\n")[:-1] or [b""]
        try:
            with damage():
                old = Fields("the header", json.loads(first))
            version = old.any(NAME)
        except Damaged:
            raise ValueError(f"{self.path} holds no sweep; pass another path") from None
        if version not in (FORMAT, UNCHECKED) or isinstance(version, bool):
            raise ValueError(f"{self.path} has format {short(version)}; this version reads format {FORMAT} and {UNCHECKED}")
        checked = version == FORMAT
        try:
            begun = _parsed(first, checked)
            for name, kind in (("grid", dict), ("options", dict), ("data", list)):
                old.get(name, kind)
        except Damaged as error:
            raise ValueError(f"line 1 of {self.path} is damaged ({error}), which says what was swept; pass another path") from None
        # through JSON, so that what is compared is what was written
        different = _difference(begun, json.loads(line(header)))
        if different:
            raise ValueError(f"{self.path} holds a sweep with another {different}; pass another path, or what it was started with")
        points = math.prod(len(values) for values in header["grid"].values())
        for number, text in enumerate(rest, 2):
            try:
                with damage():
                    outcome = _decode(Fields("the run", _parsed(text, checked)), points)
            except Damaged as error:
                raise ValueError(f"line {number} of {self.path} is damaged ({error}); delete it to have its run made again") from None
            self.done.setdefault(outcome.index, outcome)

    def append(self, outcome: Outcome) -> None:
        """Write an outcome. Raises: OSError."""
        columns = {name: value for name, value in outcome.columns().items() if name != "status"}
        fields = {"index": outcome.index, **columns, "history": {k: _packed_history(h) for k, h in outcome.history.items()}}
        self._write(line({k: None if isinstance(v, float) and math.isnan(v) else v for k, v in fields.items()}))

    def _write(self, text: bytes) -> None:
        while text:
            text = text[os.write(self._file, text) :]

    def close(self) -> None:
        """Raises: OSError."""
        try:
            os.fsync(self._file)
        finally:
            os.close(self._file)


def line(fields: Mapping[str, Any]) -> bytes:
    """A line of a journal: the fields, and the checksum of all before it."""
    text = json.dumps(fields)[:-1].encode()
    return text + f', "check": "{zlib.crc32(text):08x}"}}\n'.encode()


CHECK = re.compile(rb', "check": "([0-9a-f]{8})"\}')


def _parsed(text: bytes, checked: bool) -> Any:
    """What a line holds. Raises: Damaged where its checksum is another, or there is none and `checked`."""
    found = CHECK.fullmatch(text, len(text) - 22) if len(text) > 22 else None
    if found is not None:
        if int(found[1], 16) != zlib.crc32(text[: found.start()]):
            raise Damaged("its checksum is another")
    elif checked:
        raise Damaged("it has no checksum")
    with damage():
        fields = json.loads(text)
        if isinstance(fields, dict):
            fields.pop("check", None)
        return fields


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


def _unpacked(name: str, packed: Any, kinds: str) -> Array:
    if not isinstance(packed, list) or len(packed) != 3 or not isinstance(packed[0], str) or not isinstance(packed[1], list):
        raise Damaged(f"{name} is {short(packed)}; a dtype, a shape and entries were wanted")
    kind, shape, text = packed
    if not KIND.fullmatch(kind) or np.dtype(kind).kind not in kinds:
        raise Damaged(f"{name} has dtype {short(kind)}")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise Damaged(f"{name} has shape {short(shape)}")
    dtype, content = np.dtype(kind), base64.b64decode(text, validate=True)
    if len(content) != dtype.itemsize * math.prod(shape):
        raise Damaged(f"{name} has {len(content)} bytes for shape {short(shape)} of {dtype}")
    return np.frombuffer(content, dtype=dtype).reshape(shape).copy() if content else np.zeros(shape, dtype=dtype)


KIND = re.compile(r"[<>=|]?[biufcSU]\d{1,6}", re.ASCII)


def _decode(fields: Fields, points: int) -> Outcome:
    """Raises: Damaged."""
    index, steps, error = fields.whole("index", most=points - 1), fields.whole("steps", most=MOST_STEPS), fields.any("error")
    if error is not None and not isinstance(error, str):
        raise Damaged(f"error of the run is {short(error)}; text was wanted")
    numbers = {
        name: math.nan if fields.any(name) is None else _number(name, fields.any(name)) for name in ("loss", "excess", "floor", "seconds")
    }
    history = {}
    for name, packed in fields.get("history", dict).items():
        if not isinstance(packed, list) or len(packed) != 2:
            raise Damaged(f"history of {short(name)} is no pair of arrays")
        at, values = _unpacked(f"steps of {short(name)}", packed[0], "i"), _unpacked(short(name), packed[1], "biufcSU")
        if at.ndim != 1 or values.shape[:1] != at.shape:
            raise Damaged(f"history of {short(name)} has {values.shape} values at {at.shape} steps")
        history[name] = History(at, values)
    return Outcome(index, steps, fields.get("converged", bool), **numbers, error=error, history=history)


def _number(name: str, value: Any) -> float:
    """Infinity is one, of a run that left the finite numbers."""
    if type(value) not in (int, float):
        raise Damaged(f"{name} of the run is {short(value)}; a number was wanted")
    return float(value)
