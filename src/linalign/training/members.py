"""Members: arrays of a file that are read once their headers say that they are as wanted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..files.damage import Damaged, damage
from ..files.npz import Npz
from ..validate import Array

KINDS = {"f": "floating point", "i": "whole numbers", "b": "booleans", "u": "counts", "c": "complex numbers", "S": "bytes", "U": "text"}


def read_json(file: Npz, name: str) -> Any:
    """What an array of one text holds as JSON."""
    header = file.header(name)
    if header.shape != () or header.dtype.kind != "U":
        raise Damaged(f"{name} is an array {header.shape} of {header.dtype}; one text was wanted")
    with damage():
        return json.loads(str(file.read(name)))


def checked(file: Npz, name: str, shape: tuple[int, ...] | None, dtype: np.dtype[Any] | None = None, kinds: str = "f") -> Array:
    """An array, read once its header says that it is as wanted."""
    header = file.header(name)
    native = header.dtype.newbyteorder("=")
    if (shape is not None and header.shape != shape) or native.kind not in kinds or (dtype is not None and native != dtype):
        what = "" if shape is None else f"shape {shape} and "
        kind = " or ".join(KINDS[kind] for kind in kinds) if dtype is None else str(dtype)
        raise Damaged(f"{name} has shape {header.shape} and dtype {header.dtype}; {what}{kind} was wanted")
    return file.read(name).astype(native, copy=False)
