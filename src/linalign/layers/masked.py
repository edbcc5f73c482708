"""Masked layers: free entries where a mask is true, zeros elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # which imports scipy.sparse when it is first asked for

from ..cached import cached_property
from ..validate import Array, integer, plain
from .arrays import ArrayLayer, frozen
from .base import Form

# of places, as the kernels count them
MOST = int(np.iinfo(np.int32).max)


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Masked(ArrayLayer):
    """`W_ij` is a parameter where `mask_ij` is true, and zero elsewhere.

    `mask`: bool `(n_out, n_in)`, or a matrix of scipy.sparse, of which the places of the nonzeros count. No matrix of the size
    of the mask is made of it.
    Shapes: `theta (nnz,)`, row by row; `theta = W[mask]`.
    Cost: `apply`, `adjoint` and `grad` take `s * nnz` multiply-adds on `s` rows.
    Raises: TypeError, ValueError if the mask is no such matrix or is false everywhere. Source: docs/theory, T5.1.
    """

    indptr: Array
    cols: Array
    n_in: int

    def __init__(self, mask: Any) -> None:
        if not scipy.sparse.issparse(mask):
            mask = np.asarray(plain("mask", mask))
            if mask.dtype != bool:
                raise TypeError(f"mask has dtype {mask.dtype}; bool was wanted, True for a parameter: pass mask != 0")
        if mask.ndim != 2 or 0 in mask.shape:
            raise ValueError(f"mask has shape {mask.shape}; a matrix (out, in) was wanted")
        # a sum of duplicates may be zero, and a stored zero is no parameter
        places = scipy.sparse.csr_array(mask, copy=True)
        places.sum_duplicates()
        places.eliminate_zeros()
        if not places.nnz:
            raise ValueError("mask is False everywhere, so the layer has no parameters; at least one entry must be True")
        if places.nnz > MOST:
            raise ValueError(f"mask has {places.nnz} entries; at most 2147483647 can be")
        self._keep(places.indptr, places.indices, places.shape[1])

    def _keep(self, indptr: Array, cols: Array, n_in: int) -> None:
        object.__setattr__(self, "indptr", frozen(indptr, np.int32))
        object.__setattr__(self, "cols", frozen(cols, np.int32))
        object.__setattr__(self, "n_in", int(n_in))

    @classmethod
    def from_parts(cls, *, indptr: Any, cols: Any, n_in: Any) -> Masked:  # type: ignore[override]
        """Raises: TypeError, ValueError for places that are in no matrix: the kernels go where these lead."""
        starts, places, width = np.asarray(indptr), np.asarray(cols), integer("n_in", n_in, least=1, most=MOST)
        whole = all(array.dtype.kind in "iu" and array.ndim == 1 and len(array) <= MOST for array in (starts, places))
        if not whole or len(starts) < 2 or starts[0] != 0 or starts[-1] != len(places) or (starts[1:] < starts[:-1]).any():
            raise ValueError("indptr and cols are no places of a sparse matrix by rows; make the layer of a mask")
        if not len(places) or places.min() < 0 or places.max() >= width:
            raise ValueError(f"cols are no columns of a matrix with {width}; make the layer of a mask")
        # in a row no place stands twice, and they go up
        begins = np.isin(np.arange(1, len(places)), starts)
        if (places[1:] <= places[:-1])[~begins].any():
            raise ValueError("cols do not go up in each row; make the layer of a mask")
        layer = cls.__new__(cls)
        layer._keep(starts, places, width)
        return layer

    def __repr__(self) -> str:
        return f"Masked({self.n_in} to {self.shape[0]}, {self.work} of {self.shape[0] * self.n_in} entries)"

    @property
    def shape(self) -> tuple[int, int]:
        return (len(self.indptr) - 1, self.n_in)

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (len(self.cols),)

    @property
    def multiplicity(self) -> Array:
        return np.ones(self.param_shape)

    @property
    def orthonormal(self) -> bool:
        return True

    @property
    def work(self) -> int:
        return len(self.cols)

    @cached_property
    def rows(self) -> Array:
        """The row of each entry, int32 `(nnz,)`; read-only."""
        return frozen(np.repeat(np.arange(self.shape[0]), np.diff(self.indptr)), np.int32)

    @cached_property
    def _form(self) -> Form:
        index = frozen(np.arange(self.work), np.int32)
        return Form("sparse", arrays={"indptr": self.indptr, "cols": self.cols, "index": index, "sign": None})

    @property
    def form(self) -> Form:
        return self._form

    def sparse(self, theta: Array) -> Any:
        """W as a matrix of scipy.sparse, by rows."""
        return scipy.sparse.csr_array((theta, self.cols, self.indptr), shape=self.shape)

    def matrix(self, theta: Array) -> Array:
        W = np.zeros(self.shape, dtype=theta.dtype)
        W[self.rows, self.cols] = theta
        return W

    def coordinates(self, matrix: Array) -> Array:
        return matrix[self.rows, self.cols]

    def apply(self, theta: Array, A: Array) -> Array:
        return np.ascontiguousarray((self.sparse(theta) @ A.T).T)

    def adjoint(self, theta: Array, D: Array) -> Array:
        return np.ascontiguousarray((self.sparse(theta).T @ D.T).T)

    def grad(self, D: Array, A: Array) -> Array:
        found = np.empty(self.param_shape, dtype=D.dtype)
        for i in range(self.shape[0]):
            own = slice(self.indptr[i], self.indptr[i + 1])
            found[own] = D[:, i] @ A[:, self.cols[own]]
        return found
