"""A network as a linear operator of SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from ..validate import Array

if TYPE_CHECKING:
    from .network import Network


class NetworkOperator(LinearOperator):  # type: ignore[misc]
    """`x -> W_d ... W_1 x` and its transpose, layer after layer: the product is never made."""

    def __init__(self, net: Network) -> None:
        self.net = net
        super().__init__(net.dtype, (net.widths[-1], net.widths[0]))

    def _matmat(self, columns: Array) -> Array:
        rows: Any = np.ascontiguousarray(columns.T)
        for layer, theta in zip(self.net.layers, self.net.params, strict=True):
            rows = layer.apply(theta, rows)
        return np.asarray(rows.T)

    def _rmatmat(self, columns: Array) -> Array:
        rows: Any = np.ascontiguousarray(columns.T)
        for layer, theta in zip(reversed(self.net.layers), reversed(self.net.params), strict=True):
            rows = layer.adjoint(theta, rows)
        return np.asarray(rows.T)

    def _matvec(self, column: Array) -> Array:
        return self._matmat(column.reshape(-1, 1)).ravel()

    def _rmatvec(self, column: Array) -> Array:
        return self._rmatmat(column.reshape(-1, 1)).ravel()
