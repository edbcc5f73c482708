"""Affine layers: a fixed matrix plus what is trained."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..cached import cached_property
from ..validate import Array
from .around import Around
from .arrays import ArrayLayer, real_frozen
from .base import OWN_PRODUCTS, Border, Form, Layer
from .biased import Biased
from .table import shifted


class AffineLayer(Around, ArrayLayer):
    """`W = B + sum_k theta_k A_k`: gradients are those of the layer that is trained, at W (T16.1)."""

    layer: Layer

    def __new__(cls, layer: Any, *offset: Any, **named: Any) -> Any:
        """A bias goes outside: the layer with it is `Biased`, of an affine layer without one."""
        if not isinstance(layer, Layer):
            raise TypeError(f"layer is {type(layer).__name__}; a layer such as linalign.Dense(64, 64) was wanted")
        made = super().__new__(cls)
        if not isinstance(layer, Biased):
            return made
        made.__init__(layer.layer, *offset, **named)  # type: ignore[misc]
        return Biased(made)

    @property
    @abstractmethod
    def added(self) -> Array:
        """B (out, in), float64."""

    @cached_property
    def offset(self) -> Array:
        inner = self.layer.offset
        return self.added if inner is None else self.added + inner

    @property
    def shape(self) -> tuple[int, int]:
        return self.layer.shape

    @property
    def work(self) -> int:
        return self.layer.work + int(np.count_nonzero(self.added))

    @property
    def form(self) -> Form:
        return shifted(self.linear, self.offset)

    def matrix(self, theta: Array) -> Array:
        return np.asarray(self.layer.matrix(theta) + self.added.astype(theta.dtype))

    def coordinates(self, matrix: Array) -> Array:
        return self.layer.coordinates(matrix)

    def project(self, matrix: Array) -> Array:
        return self.layer.project(matrix - self.added.astype(matrix.dtype))

    def apply(self, theta: Array, A: Array) -> Array:
        return np.asarray(self.layer.apply(theta, A) + A @ self.added.astype(A.dtype).T)

    def adjoint(self, theta: Array, D: Array) -> Array:
        return np.asarray(self.layer.adjoint(theta, D) + D @ self.added.astype(D.dtype))

    def grad(self, D: Array, A: Array) -> Array:
        return self.layer.grad(D, A)


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Affine(AffineLayer):
    """`W = B + sum_k theta_k A_k`: another layer plus a fixed matrix B.

    Shapes: `offset (n_out, n_in)`, B, kept in float64; `theta` as that of the layer. With a biased layer the bias stays.
    Cost: that of the layer and, in `apply` and `adjoint`, of a product with B.
    Raises: TypeError, ValueError if layer is none, or offset no finite matrix of its shape. Source: docs/theory, T16.1.
    """

    layer: Layer
    fixed: Array

    def __init__(self, layer: Layer, offset: Any) -> None:
        B = real_frozen("offset", offset, 2, "a matrix (out, in)")
        if B.shape != layer.shape:
            raise ValueError(f"offset has shape {B.shape}; {layer!r} has matrices of shape {layer.shape}")
        object.__setattr__(self, "layer", layer)
        object.__setattr__(self, "fixed", B)

    def __repr__(self) -> str:
        return f"Affine({self.layer!r}, offset {self.shape[1]} to {self.shape[0]})"

    @property
    def added(self) -> Array:
        return self.fixed

    def parts(self) -> dict[str, Any]:
        return {"layer": self.layer, "offset": self.fixed}


@dataclass(frozen=True, eq=False, repr=False)
class Residual(AffineLayer):
    """`W = I + sum_k theta_k A_k`: a layer beside a skip connection, `f(a) = a + layer(a)`.

    Shapes: `theta` as that of the layer, which has as many outputs as inputs. With a biased layer the bias stays.
    Cost: that of the layer. Raises: TypeError, ValueError if layer is none, or not square. Source: docs/theory, T16.1, T16.4.
    """

    layer: Layer

    def __post_init__(self) -> None:
        out, inputs = self.layer.shape
        if out != inputs:
            raise ValueError(f"layer is {self.layer!r} with {inputs} inputs and {out} outputs; a residual layer needs as many of both")

    def __repr__(self) -> str:
        return f"Residual({self.layer!r})"

    @cached_property
    def added(self) -> Array:
        eye = np.eye(self.shape[0])
        eye.flags.writeable = False
        return eye

    @property
    def form(self) -> Form:
        form = self.layer.form
        return replace(form, border=Border(skip=1)) if form.kind in OWN_PRODUCTS and not form.border.skip else super().form

    def apply(self, theta: Array, A: Array) -> Array:
        return self.layer.apply(theta, A) + A

    def adjoint(self, theta: Array, D: Array) -> Array:
        return self.layer.adjoint(theta, D) + D
