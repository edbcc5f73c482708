"""Biases: layers that add a constant, `f(a) = W a + b`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..validate import Array
from .base import Form, Layer
from .convolution import Convolution
from .homogeneous import Homogeneous


@dataclass(frozen=True, repr=False)
class Biased(Layer):
    """`f(a) = W a + b` with W of another layer; `la.Dense(n_in, n_out, bias=True)` and convolutions with `bias=True` are these.

    b has one number an output, or one a channel of a convolution, as torch has it. In homogeneous coordinates the layer is the
    matrix `[W b; 0 1]` on `(a, 1)`, which is linear in the parameters but for the 1 (T16.2). `matrix`, `apply`, `adjoint` and
    `grad` are those of W; `constant` is b.
    Shapes: `theta (layer.size + biases,)`, the parameters of the layer raveled and then the biases; `separate` and `join`.
    Cost: that of the layer. Raises: TypeError, ValueError if the layer is none or has a bias already. Source: docs/theory, T16.2.
    """

    layer: Layer

    def __post_init__(self) -> None:
        if not isinstance(self.layer, Layer):
            raise TypeError(f"layer is {type(self.layer).__name__}; a layer such as linalign.Dense(64, 10) was wanted")
        if self.layer.has_bias:
            raise ValueError(f"layer is {self.layer!r}, which has a bias already")

    def __repr__(self) -> str:
        text = repr(self.layer)
        return f"{text[:-1]}, bias=True)" if isinstance(self.layer, Biasable) else f"Biased({text})"

    @property
    def has_bias(self) -> bool:
        return True

    @property
    def linear(self) -> Layer:
        return self.layer.linear

    @property
    def unbiased(self) -> Layer:
        return self.layer

    @property
    def offset(self) -> Array | None:
        return self.layer.offset

    @property
    def places(self) -> int:
        """How many outputs share a bias: those of one channel."""
        inner = self.linear
        return self.shape[0] // inner.out_channels if isinstance(inner, Convolution) else 1

    @property
    def fan_in(self) -> int:
        """The inputs that meet in one output, as torch counts them."""
        inner = self.linear
        return inner.size // inner.out_channels if isinstance(inner, Convolution) else self.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        return self.layer.shape

    @property
    def param_shape(self) -> tuple[int]:
        return (self.layer.size + self.shape[0] // self.places,)

    @property
    def multiplicity(self) -> Array:
        return self.join(self.layer.multiplicity, np.full(self.shape[0] // self.places, float(self.places)))

    @property
    def orthonormal(self) -> bool:
        return self.places == 1 and self.layer.orthonormal

    @property
    def work(self) -> int:
        return self.layer.work + self.shape[0]

    @property
    def form(self) -> Form:
        """That of `[W b]`, the last layer of a chain in homogeneous coordinates."""
        return Homogeneous(self, True).form

    def separate(self, theta: Array) -> tuple[Array, Array]:
        """The parameters of the layer, in its shape, and the biases: views of theta."""
        return theta[: self.layer.size].reshape(self.layer.param_shape), theta[self.layer.size :]

    def join(self, weight: Array, bias: Array | None = None) -> Array:
        """theta of the layer's parameters and the biases, zero by default."""
        if bias is None:
            bias = np.zeros(self.shape[0] // self.places, dtype=weight.dtype)
        return np.concatenate([np.ravel(weight), bias])

    def constant(self, theta: Array) -> Array:
        return np.repeat(theta[self.layer.size :], self.places)

    def constant_coordinates(self, vector: Array) -> Array:
        nothing = np.zeros(self.layer.size, dtype=vector.dtype)
        return np.concatenate([nothing, vector.reshape(-1, self.places).sum(axis=1)])

    def matrix(self, theta: Array) -> Array:
        return self.layer.matrix(self.separate(theta)[0])

    def coordinates(self, matrix: Array) -> Array:
        return self.join(self.layer.coordinates(matrix))

    def solve_gram(self, coordinates: Array) -> Array:
        weight, bias = self.separate(coordinates)
        return self.join(self.layer.solve_gram(weight), bias / bias.dtype.type(self.places))

    def project(self, matrix: Array) -> Array:
        return self.join(self.layer.project(matrix))

    def apply(self, theta: Array, A: Array) -> Array:
        return self.layer.apply(self.separate(theta)[0], A)

    def adjoint(self, theta: Array, D: Array) -> Array:
        return self.layer.adjoint(self.separate(theta)[0], D)

    def grad(self, D: Array, A: Array) -> Array:
        return self.join(self.layer.grad(D, A))


class Biasable(Layer):
    """A layer that may be made with `bias=True`: what is made is then `Biased`, and no instance of the class itself.

    Statements, reductions and files that know the class speak of linear layers, and so cannot take one with a bias for one.
    """

    def __new__(cls, *sizes: Any, bias: bool = False, **options: Any) -> Any:
        """Raises: TypeError if bias is neither True nor False."""
        if not isinstance(bias, (bool, np.bool_)):
            raise TypeError(f"bias is {bias!r}; True or False was wanted")
        made = super().__new__(cls)
        if not bias:
            return made
        made.__init__(*sizes, **options)  # type: ignore[misc]
        return Biased(made)
