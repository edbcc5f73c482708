"""Structures: constrained layers as the kernels take them, made of a layer's `Form`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..layers import Layer
from ..validate import Array

KINDS = {"dense": 0, "tied": 1, "basis": 2, "fixed": 3, "diagonal": 4, "blocks": 5, "sparse": 6, "conv": 7}
# their products are loops of the kernel's own, without BLAS; those of the first two are shared out among threads
OWN = ("conv", "sparse", "diagonal")
SHARED = OWN[:2]
# entries of the matrix of tied parameters that repay sharing out its lines
SPREAD_WORTH = 4096
# smaller side of a Toeplitz matrix whose products repay the way along their diagonals (kernels/stripes.pxd)
STRIPES_WORTH = 32
# bytes of the terms of a sum that repay each rank of such a product
STRIPES_BYTES = 64


def parts(layer: Layer, metric: str, threads: int) -> dict[str, Any] | None:
    """What `_chain.Chain` binds for the layer, None for a dense one.

    `metric`: "matrix" divides the gradient by the Gram matrix of the basis (T5.1), "parameters" does not.
    """
    form = layer.form
    if form.kind == "dense":
        return None
    shares = form.kind in SHARED or (form.kind == "tied" and layer.shape[0] * layer.shape[1] >= SPREAD_WORTH)
    found: dict[str, Any] = {"kind": KINDS[form.kind], "shape": layer.shape, "threads": threads if shares else 1}
    found["scale"] = None
    if metric == "matrix" and form.kind not in ("basis", "fixed") and not np.all(layer.multiplicity == 1):
        found["scale"] = 1.0 / np.asarray(layer.multiplicity, dtype=np.float64).ravel()
    arrays = form.arrays
    if form.kind == "tied":
        found |= runs(arrays["index"], arrays["sign"]) | {"toeplitz": STRIPES_BYTES if _is_toeplitz(layer, arrays) else 0}
    elif form.kind == "basis":
        found |= {"basis": arrays["basis"], "dual": arrays["dual" if metric == "matrix" else "basis"]}
    elif form.kind == "fixed":
        found["matrix"] = arrays["matrix"]
    elif form.kind == "blocks":
        found["sides"] = form.numbers
    elif form.kind == "sparse":
        found |= _sparse(layer, arrays["indptr"], arrays["cols"], arrays["index"], arrays["sign"])
    elif form.kind == "conv":
        found["geometry"] = form.numbers
    return found


def _is_toeplitz(layer: Layer, arrays: dict[str, Any]) -> bool:
    """Whether tied entries are constant along diagonals, and of a matrix large enough."""
    if arrays["sign"] is not None or min(layer.shape) < STRIPES_WORTH:
        return False
    return np.array_equal(arrays["index"][1:, 1:], arrays["index"][:-1, :-1])


def runs(index: Array, sign: Array | None) -> dict[str, Array]:
    """Stretches of a row whose parameters are consecutive, upward or downward, and of one sign; zeros are left out.

    A Toeplitz matrix has one a row: then the matrix is copied from the parameters by whole rows.
    """
    table = np.asarray(index)
    signs = np.ones(table.shape, dtype=np.int8) if sign is None else np.asarray(sign)
    row, col = np.nonzero(table >= 0)
    param, sgn = table[row, col], signs[row, col]
    gap = np.diff(param)
    near = (np.diff(row) == 0) & (np.diff(col) == 1) & (np.diff(sgn) == 0) & (np.abs(gap) == 1)
    # a run goes on while its step is that of its first two entries
    starts, steps, i = [], [], 0
    gaps = np.where(near, gap, 0)
    turns = np.flatnonzero(np.diff(gaps) != 0) + 1
    while i < len(param):
        step = int(gaps[i]) if i < len(gaps) else 0
        starts.append(i)
        steps.append(step or 1)
        if step == 0:
            i += 1
            continue
        following = np.searchsorted(turns, i, side="right")
        i = (int(turns[following]) if following < len(turns) else len(gaps)) + 1
    begin = np.array(starts, dtype=np.intc)
    return {
        "row": row[begin], "col": col[begin], "param": param[begin], "sign": sgn[begin], "step": np.array(steps, dtype=np.intc),
        "length": np.diff(np.append(begin, len(param))),
    }  # fmt: skip


def _sparse(layer: Layer, indptr: Array, cols: Array, index: Array, sign: Array | None) -> dict[str, Any]:
    """The nonzeros by rows and by columns."""
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    order = np.lexsort((rows, cols))
    plain = sign is None and len(index) == layer.size and np.array_equal(index, np.arange(len(index)))
    return {
        "row_ptr": indptr, "row_col": cols, "col_ptr": np.searchsorted(cols[order], np.arange(layer.shape[1] + 1)),
        "col_row": rows[order], "col_at": order, "index": None if plain else index, "sign": sign,
    }  # fmt: skip
