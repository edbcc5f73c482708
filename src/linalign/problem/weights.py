"""Weights in files: one array a name, as `.npz` of NumPy or as `.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..files import Damaged, Name, check_regular, named, replacing
from ..files.damage import line
from ..files.npy import MOST_DIMENSIONS
from ..files.npz import Npz, short
from ..layers import Layer
from ..layers.biased import Biased
from ..validate import Array

# of safetensors, what linalign computes in
KINDS: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
# bytes of a header: 8 say its length, which may be at most this
MOST = 100_000_000
ENDINGS = (".npz", ".safetensors")


def names_of(layers: Sequence[Layer], names: Iterable[str] | None) -> list[str]:
    """The name of each layer: its number unless given. Raises: ValueError if there is another number of them, or one stands twice."""
    found = [str(i) for i in range(len(layers))] if names is None else list(names)
    if len(found) != len(layers):
        raise ValueError(f"names has {len(found)} entries but the network has {len(layers)} layers; pass one name a layer")
    if len(set(found)) < len(found):
        raise ValueError(f"names holds {next(name for name in found if found.count(name) > 1)!r} twice; each layer needs its own")
    return found


def to_arrays(layers: Sequence[Layer], params: Sequence[Array], names: Iterable[str] | None) -> dict[str, Array]:
    """`name.weight` of each layer, and `name.bias` where it has one."""
    found = {}
    for name, layer, theta in zip(names_of(layers, names), layers, params, strict=True):
        if isinstance(layer, Biased):
            theta, found[f"{name}.bias"] = layer.separate(theta)
        found[f"{name}.weight"] = theta
    return dict(sorted(found.items()))


def from_arrays(layers: Sequence[Layer], arrays: dict[str, Array], names: Iterable[str] | None, where: str) -> list[Array]:
    """The parameters of each layer. Without `names` every array is to belong to one. Raises: ValueError, TypeError naming the array."""
    left, params = dict(arrays), []

    def take(name: str, shape: tuple[int, ...]) -> Array:
        if name not in left:
            raise ValueError(f"{where} has no {name!r}, only {', '.join(map(repr, arrays)) or 'nothing'}; pass names=, one a layer")
        array = left.pop(name)
        if array.shape != shape:
            raise ValueError(f"{name!r} of {where} has shape {array.shape}; {shape} was wanted")
        if array.dtype.newbyteorder("=") not in (np.float32, np.float64):
            raise TypeError(f"{name!r} of {where} is {array.dtype}; float64 or float32 was wanted")
        return array

    for name, layer in zip(names_of(layers, names), layers, strict=True):
        if isinstance(layer, Biased):
            weight = take(f"{name}.weight", layer.layer.param_shape)
            bias = take(f"{name}.bias", (layer.size - layer.layer.size,))
            if bias.dtype != weight.dtype:
                raise TypeError(f"'{name}.bias' of {where} is {bias.dtype} but '{name}.weight' is {weight.dtype}; use one dtype for all")
            params.append(layer.join(weight, bias))
        else:
            params.append(take(f"{name}.weight", layer.param_shape))
    if left and names is None:
        raise ValueError(f"{where} has {next(iter(left))!r} too, which no layer wants; pass names= to take some of the arrays")
    return params


def write(path: Name, arrays: dict[str, Array]) -> Path:
    """Write arrays by name, whole or not at all. Raises: ValueError for another ending; OSError if it cannot be written."""
    ending = _ending(path)
    with replacing(path) as file:
        if ending == ".npz":
            np.savez(file, **arrays)  # type: ignore[arg-type]
        else:
            _write_safetensors(file, arrays)
    return Path(named(path))


def read(path: Name) -> dict[str, Array]:
    """The arrays of a file by name. Raises: ValueError for another ending or a broken file; OSError if it cannot be read."""
    ending, where = _ending(path), named(path)
    status = check_regular(path)
    with open(path, "rb") as file:
        try:
            if ending == ".safetensors":
                return _read_safetensors(file, where, 0 if status is None else status.st_size)
            with Npz(file) as found:
                return {name: found.read(name) for name in found}
        except Damaged as error:
            raise ValueError(f"{where} is no .npz file of arrays ({error})") from None


def _ending(path: Name) -> str:
    ending = Path(named(path)).suffix
    if ending not in ENDINGS:
        raise ValueError(f"path is {named(path)!r}; a name that ends with .npz or .safetensors was wanted")
    return ending


def _write_safetensors(file: IO[bytes], arrays: dict[str, Array]) -> None:
    """Eight bytes with the length of the header, the header in JSON, and the arrays one after the other."""
    header: dict[str, Any] = {}
    at = 0
    for name, array in arrays.items():
        kind = next(kind for kind, dtype in KINDS.items() if dtype.itemsize == array.itemsize)
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    # spaces behind it, so that the arrays begin at a multiple of eight bytes
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for array in arrays.values():
        file.write(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())


def _read_safetensors(file: IO[bytes], where: str, size: int) -> dict[str, Array]:
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(MOST, size - 8):
        raise ValueError(f"{where} is no .safetensors file: {size} bytes cannot hold a header of {length}")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is no .safetensors file: its header cannot be read ({line(error)})") from None
    if not isinstance(header, dict):
        raise ValueError(f"{where} is no .safetensors file: its header cannot be read (it is no object)")
    entries = {name: _entry(where, name, entry) for name, entry in header.items() if name != "__metadata__"}
    found, begins, there = {}, 8 + length, size - 8 - length
    for name, (kind, shape, begin, end) in entries.items():
        if end > there or end - begin != prod(shape) * kind.itemsize:
            raise ValueError(f"{where} is broken: {short(name)} of shape {shape} cannot be its bytes {begin} to {end} of {there}")
        file.seek(begins + begin)
        array = np.fromfile(file, kind, prod(shape))
        found[name] = array.reshape(shape).astype(kind.newbyteorder("="), copy=False)
    return found


def _entry(where: str, name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    """What a header says of an array. Raises: ValueError for what cannot be; TypeError for numbers that linalign does not compute in."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
        raise ValueError(f"{where} is no .safetensors file: its header cannot be read ({short(name)} is {short(entry)})")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2 or len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"{where} is broken: {short(name)} of shape {short(shape)} at {short(offsets)}")
    if not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, *offsets)):
        raise ValueError(f"{where} is broken: {short(name)} of shape {short(shape)} cannot be at {short(offsets)}")
    if not isinstance(kind, str) or kind not in KINDS:
        raise TypeError(f"{short(name)} of {where} is {short(kind).strip(chr(39))}; F64 or F32 was wanted")
    return KINDS[kind], tuple(shape), offsets[0], offsets[1]
