"""Layers whose entries share parameters."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cached import cached_property
from ..validate import Array, plain
from .arrays import ArrayLayer, frozen
from .base import Form, Layer

# with a smaller share of entries that are not zero, the kernels take them by rows
SPARSE = 0.25


class TiedLayer(Layer):
    """`W_ij = sign_ij theta[index_ij]`, zero where the index is -1.

    Every entry holds at most one parameter, so the `A_k` are orthogonal and the projection is a mean over the entries of each.
    Cost: `apply`, `adjoint` and `grad` take `s * n_in * n_out` multiply-adds on `s` rows.
    """

    @abstractmethod
    def _place(self) -> Array:
        """The parameter of each entry, whole numbers `(out, in)`."""

    @cached_property
    def entries(self) -> Array:
        """The parameter of each entry, int32 `(out, in)`, -1 for a zero; read-only."""
        return frozen(self._place(), np.int32)

    @cached_property
    def sign(self) -> Array | None:
        """1 or -1 for each entry, int8 `(out, in)`; None if there is no -1."""
        return None

    @property
    def multiplicity(self) -> Array:
        index = self.entries.ravel()
        return np.bincount(index[index >= 0], minlength=self.size).astype(np.float64)

    @property
    def work(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def form(self) -> Form:
        return Form("tied", arrays={"index": self.entries, "sign": self.sign})

    def matrix(self, theta: Array) -> Array:
        W = np.append(theta, np.zeros(1, dtype=theta.dtype))[self.entries]
        return W if self.sign is None else W * self.sign.astype(theta.dtype)

    def coordinates(self, matrix: Array) -> Array:
        M = matrix if self.sign is None else matrix * self.sign
        sums = np.bincount(self.entries.ravel() + 1, weights=M.ravel(), minlength=self.size + 1)
        return sums[1:].astype(matrix.dtype)


@dataclass(frozen=True, eq=False, repr=False)
class Tied(TiedLayer, ArrayLayer):
    """Entries with equal index share a parameter: `W_ij = theta[index_ij]`, and `W_ij = 0` where `index_ij = -1`.

    Shapes: `index (n_out, n_in)`, whole numbers; with r the largest plus one, all of 0..r-1 are used; `theta (r,)`.
    Cost: as `TiedLayer`; with less than a quarter of the entries used, the kernels work on those alone.
    Raises: TypeError, ValueError if the index is no such matrix. Source: docs/theory, T5.1 (group convolution is `I_b (x) B`).
    """

    index: Array

    def __post_init__(self) -> None:
        given = np.asarray(plain("index", self.index))
        if given.dtype.kind not in "iu":
            raise TypeError(f"index has dtype {given.dtype}; whole numbers were wanted, one a parameter and -1 for a zero")
        if given.ndim != 2 or not given.size:
            raise ValueError(f"index has shape {given.shape}; a matrix (out, in) was wanted")
        if given.min() < -1:
            raise ValueError(f"index has the entry {given.min()}; -1, a structural zero, is the least")
        if given.max() < 0:
            raise ValueError("index is -1 everywhere, so the layer has no parameters; use linalign.Fixed for a matrix that is not trained")
        used = np.unique(given)
        missing = np.setdiff1d(np.arange(min(int(used[-1]), len(used))), used)
        if missing.size:
            raise ValueError(f"index goes up to {used[-1]} but {missing[0]} is not used; number the parameters 0, 1, 2, ... without gaps")
        object.__setattr__(self, "index", frozen(given, np.int32))

    def __repr__(self) -> str:
        return f"Tied({self.shape[1]} to {self.shape[0]}, {self.size} parameters in {np.count_nonzero(self.index >= 0)} entries)"

    def _place(self) -> Array:
        return self.index

    @property
    def shape(self) -> tuple[int, int]:
        return (self.index.shape[0], self.index.shape[1])

    @cached_property
    def param_shape(self) -> tuple[int, ...]:
        return (int(self.index.max()) + 1,)

    @cached_property
    def _rows(self) -> dict[str, Any] | None:
        """The entries by rows, if there are few."""
        rows, cols = np.nonzero(self.index >= 0)
        if len(rows) >= SPARSE * self.index.size:
            return None
        starts = np.searchsorted(rows, np.arange(self.shape[0] + 1))
        arrays = {"indptr": starts, "cols": cols, "index": self.index[rows, cols]}
        return {name: frozen(array, np.int32) for name, array in arrays.items()} | {"sign": None}

    @property
    def work(self) -> int:
        return self.index.size if self._rows is None else len(self._rows["cols"])

    @property
    def form(self) -> Form:
        return super().form if self._rows is None else Form("sparse", arrays=self._rows)
