"""Metric: orthonormal coordinates of the layers' subspaces, in which the operators of `metric="matrix"` are symmetric."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg

from ..layers import Layer
from ..problem.metric import METRICS
from ..validate import Array

__all__ = ["METRICS", "Metric"]


class Metric:
    """`G^(-1/2)` of every layer, its Gram matrix `G_kl = <A_k, A_l>`; nothing to do for "parameters" and orthonormal layers (T13.4)."""

    def __init__(self, layers: Sequence[Layer], metric: str) -> None:
        self._roots = [_root(layer) if metric == "matrix" else None for layer in layers]
        self.plain = all(root is None for root in self._roots)
        """Whether there is nothing to do."""

    def inside(self, V: list[Array]) -> list[Array]:
        """Parameters from orthonormal coordinates."""
        return [self.inside_layer(i, v) for i, v in enumerate(V)]

    def inside_layer(self, i: int, v: Array) -> Array:
        """Those of one layer."""
        root = self._roots[i]
        return v if root is None else _times(root, v, transposed=True)

    def outside(self, H: list[Array]) -> Array:
        """Orthonormal coordinates of a gradient in the parameters, as one vector."""
        found = [h if root is None else _times(root, h, transposed=False) for root, h in zip(self._roots, H, strict=True)]
        return np.concatenate([h.ravel() for h in found])


def _root(layer: Layer) -> Array | None:
    """`G^(-1/2)` by entries where G is diagonal, else the inverse of its Cholesky factor; None for the identity."""
    if layer.orthonormal or not layer.size:
        return None
    if layer.form.kind != "basis":
        return np.asarray(1 / np.sqrt(layer.multiplicity))
    gram = np.empty((layer.size, layer.size))
    for k in range(layer.size):
        one = np.zeros(layer.size)
        one[k] = 1.0
        fixed = 0.0 if layer.offset is None else layer.offset
        gram[k] = layer.coordinates(layer.matrix(one.reshape(layer.param_shape)) - fixed).ravel()
    return np.asarray(scipy.linalg.solve_triangular(np.linalg.cholesky(gram), np.eye(layer.size), lower=True))


def _times(root: Array, v: Array, *, transposed: bool) -> Array:
    if root.shape == v.shape:
        return root.astype(v.dtype) * v
    whole = root.T if transposed else root
    return np.asarray(whole.astype(v.dtype) @ v.ravel()).reshape(v.shape)
