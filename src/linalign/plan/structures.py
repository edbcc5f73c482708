"""Structures: the kinds of layers that the kernels know, in one table, and what they are told of a layer, made of its `Form`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np

from ..layers import Layer
from ..layers.base import Border, ConvGeometry, Form
from ..layers.homogeneous import Homogeneous
from ..validate import Array
from . import machine

# multiply-adds of a layer with products of its own that repay waking a second thread, some microseconds
SHARES_WORTH = 250_000
# entries of the matrix of tied parameters that repay sharing out its lines
SPREAD_WORTH = 4096
# smaller side of a Toeplitz matrix whose products repay the way along their diagonals (kernels/stripes.pxd)
STRIPES_WORTH = 32
# parameters of a dense layer beside a constant coordinate that repay a product of its own, and up to how many rows threads do not
BESIDE_WORTH = 1024
BESIDE_ROWS = 64
# bytes of the terms of a sum that repay each rank of such a product
STRIPES_BYTES = 64


# ---- what the kernels are told; whole numbers as C has them (`np.intc`), contiguous -----------------------------------------


class Tied(NamedTuple):
    """Stretches of a row whose parameters are consecutive, up (step 1) or down (-1), and of one sign; zeros are left out.

    `offset`: what is added to the matrix `(out, in)`.
    `toeplitz`: the bytes of the terms of a sum that repay each rank of a product along diagonals, 0 where there is no such way.
    """

    row: Array
    column: Array
    length: Array
    parameter: Array
    step: Array
    sign: Array
    toeplitz: int = 0
    offset: Array | None = None


class Basis(NamedTuple):
    """The matrices `A_k (r, out, in)`, those that the gradient is measured with, and what is added to their sum."""

    basis: Array
    dual: Array
    offset: Array | None = None


class Fixed(NamedTuple):
    """The matrix `(out, in)`."""

    matrix: Array


class Blocks(NamedTuple):
    """Inputs and outputs of each block in turn."""

    sides: Array


class Sparse(NamedTuple):
    """The nonzeros by rows and by columns; `parameter` and `sign` of each, None where they are k and 1."""

    row_ptr: Array
    row_col: Array
    col_ptr: Array
    col_row: Array
    col_at: Array
    parameter: Array | None
    sign: Array | None


Parts = Tied | Basis | Fixed | Blocks | Sparse | ConvGeometry | None


class Structure(NamedTuple):
    """A layer that is not dense. `inverse_gram`: `<A_k, A_k>^-1`, None where the gradient is not divided by it."""

    kind: int
    shape: tuple[int, int]
    threads: int
    inverse_gram: Array | None
    parts: Parts
    border: Border = Border()


def _whole(numbers: Any) -> Array:
    return np.ascontiguousarray(numbers, dtype=np.intc)


def runs(index: Array, sign: Array | None) -> Tied:
    """The runs of a table of tied entries. A Toeplitz matrix has one a row: it is then copied from the parameters by whole rows."""
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
    length = np.diff(np.append(begin, len(param)))
    return Tied(_whole(row[begin]), _whole(col[begin]), _whole(length), _whole(param[begin]), _whole(steps), _whole(sgn[begin]))


def _is_toeplitz(layer: Layer, arrays: dict[str, Any]) -> bool:
    """Whether tied entries are constant along diagonals, and of a matrix large enough."""
    if arrays["sign"] is not None or min(layer.shape) < STRIPES_WORTH:
        return False
    return "offset" not in arrays and np.array_equal(arrays["index"][1:, 1:], arrays["index"][:-1, :-1])


def _offset(arrays: dict[str, Any], dtype: np.dtype[Any]) -> Array | None:
    return np.ascontiguousarray(arrays["offset"], dtype) if "offset" in arrays else None


def _tied(layer: Layer, form: Form, metric: str, dtype: np.dtype[Any]) -> Tied:
    arrays = form.arrays
    found = runs(arrays["index"], arrays["sign"])._replace(offset=_offset(arrays, dtype))
    return found._replace(toeplitz=STRIPES_BYTES) if _is_toeplitz(layer, arrays) else found


def _basis(layer: Layer, form: Form, metric: str, dtype: np.dtype[Any]) -> Basis:
    arrays = form.arrays
    dual = arrays["dual" if metric == "matrix" else "basis"]
    return Basis(np.ascontiguousarray(arrays["basis"], dtype), np.ascontiguousarray(dual, dtype), _offset(arrays, dtype))


def _fixed(layer: Layer, form: Form, metric: str, dtype: np.dtype[Any]) -> Fixed:
    return Fixed(np.ascontiguousarray(form.arrays["matrix"], dtype))


def _blocks(layer: Layer, form: Form, metric: str, dtype: np.dtype[Any]) -> Blocks:
    return Blocks(_whole(form.numbers))


def _sparse(layer: Layer, form: Form, metric: str, dtype: np.dtype[Any]) -> Sparse:
    arrays = form.arrays
    indptr, cols, index, sign = (arrays[name] for name in ("indptr", "cols", "index", "sign"))
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    order = np.lexsort((rows, cols))
    plain = sign is None and len(index) == layer.linear.size and np.array_equal(index, np.arange(len(index)))
    return Sparse(
        _whole(indptr), _whole(cols), _whole(np.searchsorted(cols[order], np.arange(layer.shape[1] + 1))), _whole(rows[order]),
        _whole(order), None if plain else _whole(index), None if sign is None else _whole(sign),
    )  # fmt: skip


def _nothing(layer: Layer, form: Form, metric: str, dtype: np.dtype[Any]) -> None:
    return None


def _geometry(form: Form) -> ConvGeometry:
    return cast(ConvGeometry, form.numbers)


# ---- the table -------------------------------------------------------------------------------------------------------------


Sides = list[tuple[int, int]]


def _small(layer: Layer) -> bool:
    return layer.shape[0] * layer.shape[1] < SPREAD_WORTH


@dataclass(frozen=True)
class Kind:
    """A kind of layer.

    - `sides`: outputs and inputs of the dense products that take a row through a layer, or take as long
    - `parts`: what the kernels hold of it besides its parameters
    - `products`: whether BLAS or the tile makes its products; else they are loops of the kernel's own
    - `shares`: whether threads share what the kernel does for a layer besides such products
    - `divides`: whether the metric of the matrix divides its gradient by multiplicities; else its `parts` see to that
    """

    sides: Callable[[Layer, Form], Sides]
    parts: Callable[[Layer, Form, str, np.dtype[Any]], Parts]
    products: bool = True
    shares: Callable[[Layer], bool] = lambda layer: False
    divides: bool = True


def _matrix(layer: Layer, form: Form) -> Sides:
    return [layer.shape]


def _each_block(layer: Layer, form: Form) -> Sides:
    return [(b, a) for a, b in zip(form.numbers[::2], form.numbers[1::2], strict=True)]


def _images(layer: Layer, form: Form) -> Sides:
    g = _geometry(form)
    return [(g.c_out * g.h_out * g.w_out, g.c_in * g.kh * g.kw)]


# by the names of `Form.kind`; their numbers are those of the kernels, `machine.KINDS`
KINDS: dict[str, Kind] = {
    "dense": Kind(_matrix, _nothing),
    "tied": Kind(_matrix, _tied, shares=lambda layer: not _small(layer)),
    "basis": Kind(_matrix, _basis, divides=False),
    "fixed": Kind(_matrix, _fixed, divides=False),
    "diagonal": Kind(lambda layer, form: [(layer.work, 1)], _nothing, products=False),
    "blocks": Kind(_each_block, _blocks),
    "sparse": Kind(lambda layer, form: [(layer.work, 1)], _sparse, products=False, shares=lambda layer: True),
    "conv": Kind(_images, lambda layer, form, metric, dtype: _geometry(form), products=False, shares=lambda layer: True),
}


def sides(layer: Layer) -> Sides:
    """Outputs and inputs of the dense products that take a row through the layer, or take as long."""
    form = layer.form
    return KINDS[form.kind].sides(layer, form)


def products(layer: Layer) -> Sides:
    """Those of them that BLAS or the tile makes."""
    form = layer.form
    kind = KINDS[form.kind]
    return kind.sides(layer, form) if kind.products else []


def parts(layer: Layer, metric: str, dtype: np.dtype[Any], rows: int, threads: int, given: bool = False) -> Structure | None:
    """What `_chain.Chain` binds for the layer, None for a dense one.

    `metric`: "matrix" divides the gradient by the Gram matrix of the basis (T5.1), "parameters" does not. `dtype`: of the parameters.
    `rows`: in flight, which as many as `threads` may share. `given`: they are rows of data, and no identity meets the layer.
    """
    form = layer.form
    # the matrix [W b; 0 1] is written at each step, which many rows repay, and threads that share a product
    if given and isinstance(layer, Homogeneous) and layer.layer.size >= BESIDE_WORTH and (threads == 1 or rows <= BESIDE_ROWS):
        form = layer.beside or form
    if form.kind == "dense":
        return None
    kind = KINDS[form.kind]
    inverse_gram = None
    if metric == "matrix" and kind.divides and not np.all(layer.multiplicity == 1):
        inverse_gram = 1.0 / np.asarray(layer.multiplicity, dtype=np.float64).ravel()
    shared = kind.shares(layer) and rows * layer.work >= SHARES_WORTH
    found = kind.parts(layer, form, metric, dtype)
    return Structure(machine.KINDS[form.kind], layer.shape, threads if shared else 1, inverse_gram, found, form.border)
