"""The nearest member of a layer's subspace to any matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..calls import called
from ..validate import Array, finite, real_array
from .base import Layer


@called
def project(M: Any, layer: Layer) -> Array:
    """The parameters of the layer's matrix nearest to M in the Frobenius norm, `argmin_theta ||M - W(theta)||_F`.

    Parameters
    ----------
    M : array (out, in), or a stack (..., out, in)
    layer : Layer

    Returns
    -------
    array of `layer.param_shape`, or a stack (..., *param_shape); `layer.matrix` gives the matrix of each.

    Raises
    ------
    TypeError, ValueError
        `layer` is none, M is not of finite real numbers, or its matrices are not of `layer.shape`.

    Cost: one pass over M; `r * out * in` multiply-adds a matrix for a `Subspace`. Source: docs/theory, T5.1.
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"layer is {type(layer).__name__}; a layer such as linalign.Toeplitz(64, 10) was wanted")
    given = finite("M", real_array("M", M))
    if given.shape[-2:] != layer.shape:
        raise ValueError(f"M has shape {given.shape}; {layer!r} projects matrices of shape {layer.shape}, or a stack of them")
    stack = given.reshape(-1, *layer.shape)
    found = np.empty((len(stack), *layer.param_shape), dtype=given.dtype)
    for k, matrix in enumerate(stack):
        found[k] = layer.project(matrix)
    return found.reshape(*given.shape[:-2], *layer.param_shape)
