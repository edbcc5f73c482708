"""What is recorded along a run, and when. Recording reads the network and never changes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import validate
from ..scores.deferred import Later
from ..validate import Array
from .functions import Recorded, Sum, Summed
from .quantities import QUANTITIES
from .schedule import Schedule, schedule
from .state import State

# scores that may be waited for at a time: each keeps a copy of the small network
MOST_WAITING = 8
# steps that `repr` of a history names
SHOWN = 4
# no steps
NOTHING = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class History:
    """One recorded quantity: `values[j]` was taken before step `steps[j]` (the last one after the last step)."""

    steps: Array
    values: Array

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        """What it holds, on one line: where all are shown, nobody looks at any."""
        if self.steps.ndim > 1:
            return f"History(values {self.values.shape}, steps {self.steps.shape})"
        steps = self.steps
        shown = ", ".join(map(str, steps if len(steps) <= SHOWN else [*steps[:2], "...", steps[-1]]))
        ends = ""
        if self.values.ndim == 1 and self.values.dtype.kind in "fiu" and len(self.values):
            ends = f", {self.values[0]:.6g} -> {self.values[-1]:.6g}"
        return f"History(values {self.values.shape} at steps {shown}{ends})"


# what the loop can record by itself, and where it stands among its scores
SCORED = {"misalignment": 0, "alignment": 1}


def _entry(key: Any, asked: Any) -> tuple[str, Any, Callable[[State], Any]]:
    """Name, schedule and quantity of an entry of `record`: `{name: every}`, `{function: every}` or `{name: (every, function)}`.

    Raises: ValueError for an unknown name, or a function under the name of what is built in.
    """
    if isinstance(key, Sum):
        return key.name, asked, Summed(key.name, key)
    if callable(key):
        name = getattr(key, "__name__", repr(key))
        return name, asked, Recorded(name, key)
    if isinstance(asked, tuple) and len(asked) == 2 and (callable(asked[1]) or isinstance(asked[1], Sum)):
        if not isinstance(key, str) or not key:
            raise TypeError(f"record has a function under {key!r}; a name was wanted, such as {{'size': (100, function)}}")
        if key in QUANTITIES:
            raise ValueError(f"record has a function under {key!r}, which is recorded by that name anyway; give it another name")
        return key, asked[0], Summed(key, asked[1]) if isinstance(asked[1], Sum) else Recorded(key, asked[1])
    if isinstance(key, str) and key not in QUANTITIES and callable(asked):
        raise TypeError(f"record[{key!r}] is a function; how often was wanted too: record={{{key!r}: (100, function)}}")
    name = validate.choice("record", key, QUANTITIES)
    return name, asked, QUANTITIES[name]


class Recorder:
    """The quantities of one run, each with its schedule."""

    def __init__(self, record: Any, steps: int) -> None:
        """Raises: ValueError, TypeError for unknown names or schedules."""
        if record is None:
            record = {}
        if not isinstance(record, Mapping):
            raise TypeError(f'record is {type(record).__name__}; a dict of names and intervals was wanted, such as {{"alignment": 100}}')
        self._take: dict[str, Callable[[State], Any]] = {}
        self._at: dict[str, Schedule] = {}
        for key, asked in record.items():
            name, every, take = _entry(key, asked)
            if name in self._take:
                raise ValueError(f'record has two entries named {name!r}; name the functions: record={{"NAME": (every, function)}}')
            self._take[name] = take
            self._at[name] = schedule(name, every, steps)
        self._sums = {name: take for name, take in self._take.items() if isinstance(take, Summed)}
        # all before this step was recorded, or was not due
        self._next = dict.fromkeys(self._at, 0)
        # pieces, one a record or one a slice of the loop
        self._values: dict[str, list[Array | Later]] = {name: [] for name in self._at}
        self._ended: dict[str, History] = {}
        self._waiting: deque[Later] = deque()
        self._steps: dict[str, list[Array]] = {name: [] for name in self._at}

    def sums(self) -> dict[str, tuple[int, Array]]:
        """Where running sums stand: the step that was not yet added, and the sum before it."""
        return {name: (summed.next, summed.total) for name, summed in self._sums.items() if summed.total is not None}

    def go_on(self, history: Mapping[str, History], step: int, sums: Mapping[str, tuple[int, Array]]) -> None:
        """After what was recorded before `step`; what is no longer recorded stays as it was."""
        for name, (following, total) in sums.items():
            if name in self._sums:
                self._sums[name].next, self._sums[name].total = following, total
        for name, kept in history.items():
            if name not in self._at:
                self._ended[name] = kept
                continue
            # the last one was recorded for being the last
            earlier = kept.steps < step
            if earlier.any():
                self._steps[name].append(kept.steps[earlier])
                self._values[name].append(kept.values[earlier])
        self._next = dict.fromkeys(self._at, step)

    def __bool__(self) -> bool:
        return bool(self._at)

    def __contains__(self, name: str) -> bool:
        return name in self._at

    def scored(self) -> tuple[str, ...]:
        """What the loop may be able to record by itself."""
        return tuple(name for name in SCORED if name in self._at)

    def due(self, names: tuple[str, ...], first: int, last: int) -> Array:
        """The steps in first..last - 1 at which one of these is due and not yet taken."""
        if not names:
            return NOTHING
        found = [self._at[name].within(max(first, self._next[name]), last) for name in names]
        return found[0] if len(found) == 1 else np.unique(np.concatenate(found))

    def put(self, names: tuple[str, ...], at: Array, scores: Array) -> None:
        """Keep what the loop recorded before the steps in `at`: sine and cosine of every interface."""
        for name in names:
            mine: Any = slice(None)
            if len(names) > 1 and len(at):
                mine = np.isin(at, self._at[name].within(int(at[0]), int(at[-1]) + 1), assume_unique=True)
            steps = at[mine]
            if len(steps):
                self._steps[name].append(steps)
                self._values[name].append(scores[mine, :, SCORED[name]])
                self._next[name] = int(steps[-1]) + 1

    def put_last(self, names: tuple[str, ...], step: int, scores: Array) -> None:
        """`put` where the run ends, whether or not it is due."""
        for name in names:
            if self._next[name] <= step:
                self.put((name,), np.array([step]), scores[None])

    def next_after(self, step: int, last: int, others: tuple[str, ...] = ()) -> int:
        """The first step after `step` at which something is due, at most `last`; `others` are not looked at."""
        first = min((at.after(step) for name, at in self._at.items() if name not in others), default=last)
        return min(first, *(summed.after(step) for summed in self._sums.values())) if self._sums else first

    def take(self, step: int, state: State, *, last: bool = False, but: tuple[str, ...] = ()) -> bool:
        """Record what is due at `step`, all of it if this is the last, and nothing that is in `but`; whether something was."""
        due = []
        for name, at in self._at.items():
            if name in but:
                continue
            if (step >= self._next[name] and step in at) or (last and (not self._steps[name] or self._steps[name][-1][-1] < step)):
                due.append(name)
            self._next[name] = step + 1
        # what is found together is found for all that is due
        state.stands(step, due)
        for summed in self._sums.values():
            summed.add(state)
        for name in due:
            value = self._value(name, state)
            self._steps[name].append(np.array([step]))
            if isinstance(value, Later):
                self._values[name].append(value)
                self._waiting.append(value)
                self.settle(MOST_WAITING)
            else:
                self._values[name].append(np.array(value)[None])
        return bool(due)

    def _value(self, name: str, state: State) -> Any:
        """A quantity; nan of one that finds no value where the loss has grown beyond its fourth root: the run is to say that it diverged.

        Squares of squares overflow there, in the curvature for instance, before the loss itself does.
        """
        try:
            return self._take[name](state)
        except (ArithmeticError, np.linalg.LinAlgError, RuntimeError):
            if QUANTITIES.get(name) is not self._take[name] or abs(state.loss) < float(np.finfo(state.work.given.net.dtype).max) ** 0.25:
                raise
            before = self._values[name][-1] if self._values[name] else None
            return np.full(before.shape[1:], np.nan) if isinstance(before, np.ndarray) else np.nan

    def settle(self, most: int = 0) -> None:
        """Wait until at most so many are still being found."""
        while len(self._waiting) > most:
            self._waiting.popleft().wait()

    def history(self, until: int) -> dict[str, History]:
        """What was recorded, up to a step. Raises: what a score that is found beside the run raised."""
        found = dict(self._ended)
        for name in self._steps:
            # a network that is leaving the finite numbers may have no scores
            pieces = [(at, value) for at, value in zip(self._steps[name], self._values[name], strict=True) if at[0] <= until]
            steps = np.concatenate([NOTHING, *[at for at, _ in pieces]])
            values = [np.array([value.result()]) if isinstance(value, Later) else value for _, value in pieces]
            together = np.concatenate(values) if values else np.empty(0)
            found[name] = History(steps[steps <= until], together[steps <= until])
        return found
