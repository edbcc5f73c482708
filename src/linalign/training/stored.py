"""Stored: a run as the arrays of a file, and back; all is compared with the description before anything is built of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import layers as _layers
from .. import validate
from ..files.damage import Damaged, damage
from ..files.npz import Npz, short
from ..files.typed import Fields, built
from ..layers import Layer
from ..plan.plan import Plan
from ..problem.metric import UNSAID
from ..problem.network import Network
from ..record.recorder import History
from ..validate import Array
from .members import checked, read_json
from .options import MOST_STEPS
from .stored_kept import read_kept

if TYPE_CHECKING:
    from .run import Run

FORMAT = 1


class OtherFormat(Damaged):
    """The file is of another version."""


# what is recorded under another name has a number in the names of its arrays
PLAIN = re.compile(r"[A-Za-z_][\w .-]{0,99}", re.ASCII)
# names of arrays that are not the caller's
OURS = re.compile(r"run|excess|lr|kept|(param|average|layer|steps|values|kept)_.*", re.DOTALL)


# ---- to arrays -------------------------------------------------------------------------------------------------------------


def to_arrays(run: Run, beside: Mapping[str, Any]) -> dict[str, Any]:
    """A run by name of array. Raises: ValueError, TypeError for arrays beside it that have no place there."""
    layers = [_layers.describe(layer) for layer in run.network.layers]
    # what a layer holds as arrays stands beside the description, under the layer's number
    held = [dict(_take_arrays(layer)) for layer in layers]
    described = {
        "format": FORMAT,
        "layers": layers,
        "held": [list(arrays) for arrays in held],
        "plan": run.plan.to_dict(),
        "history": list(run.history),
        "floor": run.floor,
        "steps": run.steps,
        "converged": run.converged,
        "interrupted": run.interrupted,
        "stopped": run.stopped,
        "seconds": run.seconds,
        "certificate": None if run.certificate is None else run.certificate.to_dict(),
        "average": run.average is not None,
        "kept": run.kept is not None,
    }
    arrays: dict[str, Any] = {"run": np.array(json.dumps(described)), "excess": run.excess, "lr": run.lr}
    arrays |= {f"layer_{i}_{key}": array for i, own in enumerate(held) for key, array in own.items()}
    arrays |= {f"param_{i}": theta for i, theta in enumerate(run.network.params)}
    if run.average is not None:
        arrays |= {f"average_{i}": theta for i, theta in enumerate(run.average.params)}
    for i, (name, kept) in enumerate(run.history.items()):
        arrays |= {f"steps_{_member(i, name)}": kept.steps, f"values_{_member(i, name)}": kept.values}
    if run.kept is not None:
        arrays["kept"] = np.array(run.kept.describe(arrays))
    return arrays | {name: _beside(name, value) for name, value in beside.items()}


def _beside(name: str, value: Any) -> Array:
    if OURS.fullmatch(name) or name == "file" or not name or len(name) > 1000 or "\0" in name:
        raise ValueError(f"{short(name)} is no name for an array beside a run; it has names of its own: pass another")
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise TypeError(f"{name} is an array of objects, which would be pickled; pass numbers or text")
    return array


def _member(number: int, name: str) -> str:
    """What the arrays of a quantity are called."""
    return name if PLAIN.fullmatch(name) else f"#{number}"


def _take_arrays(layer: dict[str, Any]) -> list[tuple[str, Array]]:
    """The arrays of a description, taken out of it; those of a layer in it come after its name and a point."""
    found = []
    for key, value in list(layer.items()):
        if isinstance(value, dict):
            found += [(f"{key}.{inner}", array) for inner, array in _take_arrays(value)]
        elif isinstance(value, np.ndarray):
            found.append((key, layer.pop(key)))
    return found


# ---- from a file -----------------------------------------------------------------------------------------------------------


def from_file(file: Npz) -> dict[str, Any]:
    """The fields of a `Run` by name. Raises: Damaged, KeyError where the file holds none of this format."""
    run = Fields("the run", read_json(file, "run"))
    if run.any("format") != FORMAT:
        raise OtherFormat(short(run.any("format")))
    steps = run.whole("steps", most=MOST_STEPS)
    layers = _read_layers(file, run)
    with damage():
        network = Network(layers)
    params = _read_params(file, "param", layers, None)
    dtype = params[0].dtype
    history = {name: _read_history(file, _stored_member(file, i, name), steps) for i, name in enumerate(run.items("history", str))}
    averaged = run.get("average", bool) if "average" in run else "average_0" in file
    fields = {
        "network": Network._adopt(network.layers, params),
        "excess": checked(file, "excess", (steps + 1,)),
        "floor": run.get("floor", float),
        "history": history,
        "steps": steps,
        "converged": run.get("converged", bool),
        "interrupted": run.get("interrupted", bool),
        "stopped": "stopped" in run and run.get("stopped", bool),
        "lr": checked(file, "lr", (len(layers),)),
        "plan": _read_plan(run.get("plan", dict), len(layers)),
        "seconds": run.get("seconds", float),
        "average": Network._adopt(network.layers, _read_params(file, "average", layers, dtype)) if averaged else None,
        "kept": None,
        "certificate": _read_promise(run.any("certificate") if "certificate" in run else None),
    }
    if run.get("kept", bool) if "kept" in run else "kept" in file:
        shapes = [layer.param_shape for layer in layers]
        fields["kept"] = read_kept(file, shapes, dtype, steps)
    return fields


def _read_layers(file: Npz, run: Fields) -> list[Layer]:
    described = run.items("layers", dict)
    if not described:
        raise Damaged("the run has no layers")
    held = run.get("held", list) if "held" in run else [_prefixed(file, f"layer_{i}_") for i in range(len(described))]
    if len(held) != len(described) or not all(isinstance(own, list) and all(isinstance(key, str) for key in own) for own in held):
        raise Damaged("held of the run is not one list of names a layer")
    found = []
    for i, (layer, own) in enumerate(zip(described, held, strict=True)):
        for key in own:
            _put_array(layer, key, checked(file, f"layer_{i}_{key}", None, kinds="fiub"))
        with damage():
            found.append(_layers.from_description(layer))
    return found


def _prefixed(file: Npz, prefix: str) -> list[str]:
    return [name.removeprefix(prefix) for name in file if name.startswith(prefix)]


def _put_array(layer: Any, key: str, array: Array) -> None:
    outer, point, inner = key.partition(".")
    if not isinstance(layer, dict) or (point and outer not in layer):
        raise Damaged(f"there is an array {short(key)} of a layer that is not there")
    if point:
        _put_array(layer[outer], inner, array)
    else:
        layer[key] = array


def _read_params(file: Npz, name: str, layers: Sequence[Layer], dtype: np.dtype[Any] | None) -> list[Array]:
    found = []
    for i, layer in enumerate(layers):
        header = file.header(f"{name}_{i}")
        if header.dtype.newbyteorder("=") not in validate.DTYPES:
            raise Damaged(f"{name}_{i} is {header.dtype}; float64 or float32 was wanted")
        theta = checked(file, f"{name}_{i}", tuple(layer.param_shape), dtype)
        with damage():
            found.append(validate.finite(f"{name}_{i}", np.ascontiguousarray(theta)))
        dtype = found[0].dtype
    return found


def _stored_member(file: Npz, number: int, name: str) -> str:
    """Of a file of before there were numbers, the name."""
    member = _member(number, name)
    return member if f"steps_{member}" in file else name


def _read_history(file: Npz, member: str, steps: int) -> History:
    at = checked(file, f"steps_{member}", None, kinds="i")
    if at.ndim != 1 or (len(at) and (at[0] < 0 or at[-1] > steps or (np.diff(at) <= 0).any())):
        raise Damaged(f"steps_{short(member)} are no increasing steps from 0 to {steps}")
    header = file.header(f"values_{member}")
    if header.shape[:1] != at.shape:
        raise Damaged(f"values_{short(member)} has shape {header.shape} for {len(at)} steps")
    return History(at, checked(file, f"values_{member}", None, kinds="fiubcSU"))


def _read_plan(described: dict[str, Any], depth: int) -> Plan:
    plan: Plan = built(Plan, {"metric": UNSAID, **described}, "the plan")
    pivot = plan.pivot
    if not 0 <= pivot.at <= depth or not 0 < pivot.rows <= validate.MOST_ROWS:
        raise Damaged(f"the plan has the pivot {pivot.at} with {pivot.rows} rows in flight; 0 to {depth} was wanted")
    return plan


def _read_promise(described: Any) -> Any:
    if described is None:
        return None
    from .certified_run import Promise

    return built(Promise, described, "the certificate")
