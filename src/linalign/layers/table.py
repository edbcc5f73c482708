"""Tables: a layer and what stands beside it as tied entries or a basis, which the kernels take with a fixed matrix added."""

from __future__ import annotations

import numpy as np

from ..validate import Array
from .base import Form, Layer


def entries(layer: Layer) -> tuple[Array, Array | None]:
    """The parameter of each entry, -1 for none, and its sign, None where all are 1; of a layer that is no span of a basis."""
    form = layer.form
    if form.kind == "tied":
        return np.asarray(form.arrays["index"]), form.arrays["sign"]
    # every entry is a parameter or minus one: named by their numbers, the matrix says which
    named = layer.matrix(np.arange(1.0, layer.size + 1).reshape(layer.param_shape))
    return np.abs(named).astype(np.int32) - 1, np.sign(named).astype(np.int8) if (named < 0).any() else None


def shifted(layer: Layer, offset: Array) -> Form:
    """The form of a linear layer plus a fixed matrix."""
    form = layer.form
    if form.kind == "fixed":
        return Form("fixed", arrays={"matrix": form.arrays["matrix"] + offset})
    if form.kind == "basis":
        return Form("basis", arrays={**form.arrays, "offset": offset})
    index, sign = entries(layer)
    return Form("tied", arrays={"index": index, "sign": sign, "offset": offset})


def bordered(layer: Layer, places: int, biases: int, rows: int, offset: Array) -> Form:
    """The form of `[W b; 0 1]`, or of its first `rows`; `offset` is all that is fixed in it, each bias stands `places` times."""
    form, (out, inputs) = layer.form, layer.shape
    column = layer.size + np.repeat(np.arange(biases), places)
    if form.kind == "basis":
        r = layer.size
        basis, dual = np.zeros((r + biases, rows, inputs + 1)), np.zeros((r + biases, rows, inputs + 1))
        basis[:r, :out, :inputs], dual[:r, :out, :inputs] = form.arrays["basis"], form.arrays["dual"]
        at = np.arange(len(column))
        basis[column, at, inputs], dual[column, at, inputs] = 1.0, 1.0 / places
        return Form("basis", arrays={"basis": basis, "dual": dual, "offset": offset})
    index = np.full((rows, inputs + 1), -1, dtype=np.int32)
    index[: len(column), inputs] = column
    if form.kind == "fixed":
        return Form("tied", arrays={"index": index, "sign": None, "offset": offset}) if biases else Form("fixed", arrays={"matrix": offset})
    index[:out, :inputs], signs = entries(layer)
    sign = None
    if signs is not None:
        sign = np.ones(index.shape, dtype=np.int8)
        sign[:out, :inputs] = signs
    return Form("tied", arrays={"index": index, "sign": sign, "offset": offset})
