"""The orthogonal projection of a layer, for a loop that takes it at every step."""

from __future__ import annotations

from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np

from .. import validate
from .._kernels import _projection
from ..layers import Layer
from ..layers.table import entries
from ..validate import Array

# by layer; None for those that NumPy projects
_KNOWN: WeakKeyDictionary[Layer, Any] = WeakKeyDictionary()
_UNKNOWN = object()
_UNFIT = (TypeError, ValueError, BufferError, AttributeError)


def project(layer: Layer, M: Array, *, out: Array | None = None) -> Array:
    """The parameters of the matrix of a layer nearest to M, `theta_k = <A_k, M - B> / <A_k, A_k>`; biases are zero.

    Parameters
    ----------
    layer : Layer
        Its tables are made at the first call and kept while the layer lives.
    M : array (out, in)
        float64 or float32. Not looked through for nan and inf; `linalign.project` does that, and takes stacks.
    out : array of `layer.param_shape`, optional
        Of the dtype of M; written and returned.

    Raises: TypeError, ValueError for arrays that do not fit. Cost: one pass over the entries that are parameters; `r out in`
    multiply-adds for a `Subspace`. Source: docs/theory, T5.1.
    """
    try:
        found = _known(layer)
        theta = np.empty(layer.param_shape, M.dtype) if out is None else out
        if found is not None:
            found(M, theta)
            return theta
    except _UNFIT:
        if not isinstance(layer, Layer):
            raise TypeError(f"layer is {type(layer).__name__}; a layer such as linalign.Toeplitz(64, 10) was wanted") from None
    own = validate.real_array("M", M)
    if own.shape != layer.shape:
        raise ValueError(f"M has shape {own.shape}; {layer!r} projects matrices of shape {layer.shape}")
    theta = np.empty(layer.param_shape, own.dtype) if out is None else out
    room, found = validate.writable("out", theta, layer.param_shape, own.dtype), _known(layer)
    if found is None:
        room[...] = layer.project(own)
    else:
        found(own, room)
    return theta


def _known(layer: Layer) -> _projection.Gather | None:
    if layer.__hash__ is None:
        # a layer from outside that says when it is equal, and not by what it can be found
        return None
    found = _KNOWN.get(layer, _UNKNOWN)
    if found is _UNKNOWN:
        found = _KNOWN[layer] = _gather_of(layer)
    return cast("_projection.Gather | None", found)


def _gather_of(layer: Layer) -> _projection.Gather | None:
    """The compiled projection where every entry is a parameter or none; None where it is a product or nothing."""
    form = layer.form
    if layer.has_bias or layer.offset is not None or form.kind in ("dense", "fixed", "basis"):
        return None
    weights = 1.0 / np.ascontiguousarray(layer.multiplicity, dtype=np.float64).ravel()
    if form.kind == "sparse":
        counts = np.diff(form.arrays["indptr"])
        places = np.repeat(np.arange(len(counts)), counts) * layer.shape[1] + form.arrays["cols"]
        index, sign = form.arrays["index"], form.arrays["sign"]
    else:
        table, signs = entries(layer)
        places = np.flatnonzero(table.ravel() >= 0)
        index, sign = table.ravel()[places], None if signs is None else signs.ravel()[places]
    return _projection.Gather(
        layer.shape, layer.param_shape, np.ascontiguousarray(places, dtype=np.intp), np.ascontiguousarray(index, dtype=np.intc),
        None if sign is None else np.ascontiguousarray(sign, dtype=np.int8), weights,
    )  # fmt: skip
