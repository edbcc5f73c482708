"""What a run goes on from, out of a file: compared with the run's own description before it is believed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..files.damage import Damaged, damage
from ..files.npz import Npz, short
from ..files.typed import Fields
from ..validate import Array
from .described import arrays_of
from .kept import Kept, from_description
from .members import checked, read_json
from .options import DEFAULTS

GROUP = re.compile(r"start|params|numbers|sums|(own|slot)_\d{1,3}", re.ASCII)


def read_kept(file: Npz, shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any], steps: int) -> Kept:
    """Of a run of these parameters after so many steps. Raises: Damaged; KeyError for an array that is not there."""
    described = read_json(file, "kept")
    kept = Fields("what the run goes on from", described)
    if kept.whole("step", most=steps) != steps or kept.whole("began", most=steps) < 0 or kept.whole("origin", most=steps) < 0:
        raise Damaged(f"what the run goes on from is of step {kept.any('step')}, not of {steps}")
    options = kept.get("options", dict)
    for name in (*options, *kept.items("missing", str)):
        if name not in DEFAULTS:
            raise Damaged(f"{short(name)} is no option of train")
    kept.get("carried", bool)
    kept.get("value", str)
    sums, key = kept.get("sums", dict), kept.any("key") if "key" in kept else None
    if not all(type(step) is int and 0 <= step <= steps + 1 for step in sums.values()):
        raise Damaged("sums of what the run goes on from are of no steps")
    if key is not None and not (isinstance(key, list) and len(key) == 2 and all(type(half) is int and 0 <= half < 2**63 for half in key)):
        raise Damaged(f"the key of the noise is {short(key)}; two whole numbers were wanted")
    place = kept.any("place")
    if place is not None and Fields("where drawing stands", place).whole("step") != steps:
        raise Damaged(f"drawing stands at step {place['step']}, not at {steps}")
    arrays = _groups(file, kept.get("groups", dict), shapes, dtype, len(sums))
    for name in arrays_of(options):
        if not isinstance(name, str) or not name.startswith("kept_option_"):
            raise Damaged(f"{short(name)} is no array of an option")
        arrays[name] = checked(file, name, None, kinds="biuf")
    with damage():
        return from_description(described, arrays)


def _groups(
    file: Npz, groups: dict[str, Any], shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any], sums: int
) -> dict[str, Array]:  # fmt: skip
    found: dict[str, Array] = {}
    wanted = {"start": len(shapes), "numbers": 1, "sums": sums}
    for name, count in {**dict.fromkeys(["start", "params", "numbers", "sums"]), **groups}.items():
        if not GROUP.fullmatch(name) or type(count) is not int or count < 0 or count != wanted.get(name, count):
            raise Damaged(f"what the run goes on from has {short(count)} arrays of {short(name)}")
        for i in range(count):
            shape = shapes[i] if name == "start" else None
            kinds = "fiubc" if name == "sums" else "f"
            found[f"kept_{name}_{i}"] = checked(file, f"kept_{name}_{i}", shape, dtype if name == "start" else None, kinds)
    for name in ("own", "slot"):
        numbers = sorted(int(group.removeprefix(f"{name}_")) for group in groups if group.startswith(f"{name}_"))
        if numbers != list(range(len(numbers))):
            raise Damaged(f"what the run goes on from has {name} {numbers}")
    return found
