"""Kept: what a run holds so that `resume` can go on from it, in memory and in the arrays of a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from ..engine.memory import Memory
from ..optim.batches import Place
from ..optim.noise import Key
from ..record.recorder import History
from ..validate import Array
from .described import Unwritable, decode, encode
from .options import Options

Slots = list[list[Array]]


@dataclass(frozen=True, eq=False)
class Before:
    """What an execution goes on from: where it stood, and what was found on the way there."""

    memory: Memory
    place: Place | None
    excess: Array
    floor: float
    history: Mapping[str, History]
    sums: Mapping[str, tuple[int, Array]]
    seconds: float
    key: Key | None = None


@dataclass(eq=False)
class Kept:
    """Where a run stands, as its engine saw it.

    options : what the run was asked for; from a file, without those in `missing`, which no file holds, such as functions.
    start : the parameters that its reductions were found at, `origin` steps after the beginning; `carried`: the rule remembered steps
        before these.
    memory : of the problem that was run.
    sums : running sums that were recorded, and the steps from which on they are to be added to.
    key : what noise is drawn by.
    value : the loss there, without the floor.
    """

    options: Options | Mapping[str, Any]
    start: Sequence[Array]
    origin: int
    carried: bool
    memory: Memory
    value: float
    find_slots: Callable[[], Slots] = field(repr=False)
    find_place: Callable[[], Place | None] = field(repr=False)
    missing: tuple[str, ...] = ()
    sums: Mapping[str, tuple[int, Array]] = field(default_factory=dict)
    key: Key | None = None
    find_given: Callable[[], Any] | None = field(default=None, repr=False)
    """The problem as given; None from a file, which has no data."""

    @property
    def slots(self) -> Slots:
        """What the rule remembers, of the parameters of the network as given."""
        return self.find_slots()

    @property
    def place(self) -> Place | None:
        """Where drawing of batches stands."""
        return self.find_place()

    def asked(self) -> Mapping[str, Any]:
        """The options by name."""
        if isinstance(self.options, Options):
            return {item.name: getattr(self.options, item.name) for item in fields(Options)}
        return self.options

    def __getstate__(self) -> dict[str, Any]:
        """Without the problem that was run, which does not pickle: as a file holds it."""
        arrays: dict[str, Any] = {}
        return {"described": self.describe(arrays), "arrays": arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(from_description(json.loads(state["described"]), state["arrays"]).__dict__)

    def describe(self, arrays: dict[str, Any]) -> str:
        """All of it as JSON and, in `arrays`, as arrays whose names begin with `kept_`."""
        written: dict[str, Any] = {}
        missing = list(self.missing)
        for name, value in self.asked().items():
            try:
                written[name] = encode(value, f"kept_option_{name}", arrays)
            except Unwritable:
                missing.append(name)
        memory, slots, place = self.memory, self.slots, self.place
        groups = {"start": list(self.start), "params": memory.params or [], "numbers": [memory.numbers]}
        groups["sums"] = [total for _, total in self.sums.values()]
        groups |= {f"own_{k}": slot for k, slot in enumerate(memory.slots or [])}
        # of a network that runs as it is given, the two are one
        if not _equal(slots, memory.slots or []):
            groups |= {f"slot_{k}": slot for k, slot in enumerate(slots)}
        for name, group in groups.items():
            arrays |= {f"kept_{name}_{i}": array for i, array in enumerate(group)}
        return json.dumps({
            "options": written, "missing": missing, "origin": self.origin, "carried": self.carried, "value": self.value.hex(),
            "step": memory.step, "began": memory.began, "place": None if place is None else place.to_dict(),
            "sums": {name: following for name, (following, _) in self.sums.items()},
            "key": self.key, "groups": {name: len(group) for name, group in groups.items()},
        })  # fmt: skip


def from_description(described: Mapping[str, Any], arrays: Mapping[str, Array]) -> Kept:
    """What `Kept.describe` wrote, out of JSON. Raises: KeyError, TypeError, ValueError if it did not."""
    groups = {name: [arrays[f"kept_{name}_{i}"] for i in range(count)] for name, count in described["groups"].items()}

    def numbered(name: str) -> Slots:
        return [groups[f"{name}_{k}"] for k in range(sum(group.startswith(f"{name}_") for group in groups))]

    slots = numbered("slot") or numbered("own")
    place = None if described["place"] is None else Place.from_dict(described["place"])
    return Kept(
        options={name: decode(value, arrays) for name, value in described["options"].items()},
        start=groups["start"],
        origin=described["origin"],
        carried=described["carried"],
        memory=Memory(described["step"], described["began"], groups["params"], numbered("own"), np.asarray(groups["numbers"][0])),
        value=float.fromhex(described["value"]),
        find_slots=lambda: slots,
        find_place=lambda: None if place is None else place.copy(),
        missing=tuple(described["missing"]),
        key=None if described.get("key") is None else (described["key"][0], described["key"][1]),
        sums={name: (following, total) for (name, following), total in zip(described["sums"].items(), groups["sums"], strict=True)},
    )


def _equal(some: Slots, others: Slots) -> bool:
    """Whether both are the same numbers."""
    return [len(slot) for slot in some] == [len(slot) for slot in others] and all(
        np.array_equal(a, b) for mine, theirs in zip(some, others, strict=True) for a, b in zip(mine, theirs, strict=True)
    )
