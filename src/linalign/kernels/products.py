"""Products of a stack of weights, and their gradients, by way of the cheapest pivot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import validate
from ..engine.threads import limit
from ..validate import Array
from .stacks import stack_of

# what the compiled door says of arrays in a layout that it does not take
_UNFIT = (TypeError, ValueError, BufferError, AttributeError)


def forward(weights: Sequence[Array], X: Array, *, out: Array | None = None, tape: Array | None = None) -> Array:
    """The outputs of a stack of weights, `F = X W_1^T ... W_d^T`.

    Parameters
    ----------
    weights : sequence of arrays (k_i, k_{i-1}), W_1 first
    X : array (n, k_0)
        Rows are samples; of the dtype of the weights, float64 or float32.
    out : array (n, k_d), optional
        Written and returned.
    tape : array, optional
        Of `linalign.kernels.tape`: written, for a `backward` with the same weights and X.

    The rows go from layer to layer, or through the product of the weights where that is less work: `n sum k_i k_{i-1}` multiply-adds
    against `k_p (sum k_i k_{i-1} + n k_0 + n k_d)` from the narrowest width. C-contiguous arrays are taken without a check or a copy.
    Raises: ValueError, TypeError for arrays that do not fit. Source: docs/theory, section 10.
    """
    try:
        stack = stack_of(weights, X)
        if out is None:
            out = np.empty((X.shape[0], weights[-1].shape[0]), X.dtype)
        if stack.by_blas:
            with limit(1):
                stack.forward(weights, X, out, tape)
        else:
            stack.forward(weights, X, out, tape)
    except _UNFIT:
        weights, X = _arrays(weights, X)
        stack = stack_of(weights, X)
        own = validate.writable(
            "out", np.empty((len(X), len(weights[-1])), X.dtype) if out is None else out, (len(X), len(weights[-1])), X.dtype
        )
        with limit(1):
            stack.forward(weights, X, own, None if tape is None else validate.writable("tape", tape, (stack.tape,), X.dtype))
        out = own if out is None else out
    return out


def backward(
    weights: Sequence[Array], X: Array, D: Array, *, out: Sequence[Array | None] | None = None, inputs: Array | None = None,
    tape: Array | None = None,
) -> Any:  # fmt: skip
    """The gradients of `<D, F>` in the weights, `G_i = (D W_d ... W_{i+1})^T (X W_1^T ... W_{i-1}^T)`: one array a weight.

    Parameters
    ----------
    weights, X : as in `forward`
    D : array (n, k_d)
        The gradient of a loss in the outputs.
    out : sequence of arrays shaped as the weights, optional
        Written and returned; one that is None is left out.
    inputs : array (n, k_0), optional
        The gradient in X, `D W_d ... W_1`, is written there.
    tape : array, optional
        What `forward` wrote; without it a third of the work is done again.

    Raises: ValueError, TypeError for arrays that do not fit. Cost: twice that of `forward`. Source: docs/theory, section 10.
    """
    try:
        stack = stack_of(weights, X)
        if out is None:
            out = [np.empty(W.shape, W.dtype) for W in weights]
        if stack.by_blas:
            with limit(1):
                stack.backward(weights, X, D, out, inputs, tape)
        else:
            stack.backward(weights, X, D, out, inputs, tape)
    except _UNFIT:
        weights, X = _arrays(weights, X)
        stack = stack_of(weights, X)
        given = [np.empty(W.shape, W.dtype) for W in weights] if out is None else list(out)
        if len(given) != len(weights):
            raise ValueError(
                f"out has {len(given)} arrays but there are {len(weights)} weights; pass one a weight, or None for it"
            ) from None
        own = [
            None if G is None else validate.writable(f"out[{i}]", G, W.shape, X.dtype)
            for i, (G, W) in enumerate(zip(given, weights, strict=True))
        ]
        D = validate.matrix("D", D, X.dtype, rows=len(X), columns=len(weights[-1]))
        inputs = None if inputs is None else validate.writable("inputs", inputs, X.shape, X.dtype)
        tape = None if tape is None else validate.writable("tape", tape, (stack.tape,), X.dtype)
        with limit(1):
            stack.backward(weights, X, D, own, inputs, tape)
        out = own if out is None else out
    return out


def tape(weights: Sequence[Array], X: Array) -> Array:
    """Room for what `backward` takes over from `forward`, for weights and rows of these shapes: the activations, or partial products."""
    weights, X = _arrays(weights, X)
    return np.empty(stack_of(weights, X).tape, X.dtype)


def _arrays(weights: Any, X: Any) -> tuple[list[Array], Array]:
    """Checked, C-contiguous and of one dtype. Raises: ValueError, TypeError naming what does not fit."""
    rows = validate.real_array("X", X)
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"X has shape {rows.shape}; a matrix (n, k_0) was wanted")
    own = [validate.real_array(f"weights[{i}]", W) for i, W in enumerate(weights)]
    if not own:
        raise ValueError("weights is empty; at least one matrix (k_1, k_0) was wanted")
    inputs = rows.shape[1]
    for i, W in enumerate(own):
        if W.ndim != 2 or not W.size or W.shape[1] != inputs:
            raise ValueError(
                f"weights[{i}] has shape {W.shape}; a matrix with {inputs} columns was wanted, the outputs of what comes before"
            )
        if W.dtype != rows.dtype:
            raise TypeError(f"weights[{i}] is {W.dtype} but X is {rows.dtype}; use one dtype for all")
        inputs = W.shape[0]
    return own, rows
