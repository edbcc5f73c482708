"""The contract of a layer: a linear subspace of matrices with three primitives, and what may stand beside it.

A layer holds no parameters. It is a value: two layers of the same structure and size are equal.
`W = sum_k theta_k A_k`, where the `A_k` are the layer's basis matrices and `theta` its parameters. An affine layer adds a fixed
matrix B to W (`offset`), a layer with a bias a vector to its outputs (`constant`); other layers have neither.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..calls import Called
from ..validate import Array


class ConvGeometry(NamedTuple):
    """The sizes of a convolution: output (y, x) meets input (y * stride_h - top + a, x * stride_w - left + b) at tap (a, b)."""

    c_in: int
    h_in: int
    w_in: int
    c_out: int
    h_out: int
    w_out: int
    kh: int
    kw: int
    stride_h: int
    stride_w: int
    top: int
    left: int
    circular: int


# the kinds of layers whose matrix is never made
OWN_PRODUCTS = ("diagonal", "blocks", "sparse", "conv")


class Border(NamedTuple):
    """What stands beside the matrix of a layer with products of its own; all zero where nothing does.

    `skip`: 1 adds the identity. `column`: 1 for the constant coordinate as the last input, `carried`: 1 if it is the last output too.
    `biases`: how many, the last parameters; each enters `places` outputs in turn.
    """

    skip: int = 0
    column: int = 0
    carried: int = 0
    biases: int = 0
    places: int = 1


@dataclass(frozen=True, eq=False)
class Form:
    """How the kernels see a layer: one of a few kinds, its whole numbers and its arrays.

    - `dense`: `theta` is the matrix.
    - `diagonal`: `theta (k,)`.
    - `blocks`: numbers are `(n_in, n_out)` of each block in turn; `theta` is the blocks, raveled one after another.
    - `tied`: `index (out, in)`, -1 for a zero, and `sign (out, in)` or None: `W_ij = sign_ij theta[index_ij]`.
    - `sparse`: the same by rows: `indptr (out + 1,)`, `cols (nnz,)`, `index (nnz,)`, `sign (nnz,)` or None.
    - `basis`: `basis (r, out, in)` and its dual `dual (r, out, in)`, `<A_k, dual_l> = 1 if k == l else 0`.
    - `conv`: numbers are a `ConvGeometry`.
    - `fixed`: `matrix (out, in)`; there are no parameters.

    `tied` and `basis` may have an `offset (out, in)`, which is added to the matrix; those of `OWN_PRODUCTS` may have a border.
    """

    kind: str
    numbers: tuple[int, ...] = ()
    arrays: dict[str, Any] = field(default_factory=dict)
    border: Border = field(default_factory=Border)


class Layer(metaclass=Called):
    """A linear subspace of the `out x in` matrices, or one shifted by a fixed matrix.

    The NumPy methods here are the specification; the kernels compute the same in C.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """`(out, in)`, the shape of the matrix."""

    @property
    @abstractmethod
    def param_shape(self) -> tuple[int, ...]:
        """The shape of `theta`."""

    @property
    @abstractmethod
    def multiplicity(self) -> Array:
        """`<A_k, A_k>`, shape `param_shape`: how often each parameter stands in the matrix (T5.1).

        Where the `A_k` are orthogonal and all these are equal, gradient descent on the parameters is projected gradient
        descent.
        """

    @property
    def orthonormal(self) -> bool:
        """Whether `<A_k, A_l>` is 1 for k = l and else 0: gradient descent is then the same in both metrics (T5.1)."""
        return bool(np.all(self.multiplicity == 1))

    @property
    @abstractmethod
    def work(self) -> int:
        """Multiply-adds of one row through the layer."""

    @property
    @abstractmethod
    def form(self) -> Form:
        """How the kernels see the layer."""

    @abstractmethod
    def matrix(self, theta: Array) -> Array:
        """`W = sum_k theta_k A_k`, shape `(out, in)`."""

    @abstractmethod
    def coordinates(self, matrix: Array) -> Array:
        """`<A_k, M>` for every k, shape `param_shape`."""

    def solve_gram(self, coordinates: Array) -> Array:
        """`theta` with `sum_l <A_k, A_l> theta_l = coordinates_k`; the Gram matrix is diagonal unless a layer says otherwise."""
        return np.asarray(coordinates / self.multiplicity.astype(coordinates.dtype))

    def project(self, matrix: Array) -> Array:
        """`theta` of the member of the subspace nearest to `matrix` in the Frobenius norm."""
        return self.solve_gram(self.coordinates(matrix))

    def apply(self, theta: Array, A: Array) -> Array:
        """`A @ W.T`: `(s, in)` to `(s, out)`."""
        return A @ self.matrix(theta).T

    def adjoint(self, theta: Array, D: Array) -> Array:
        """`D @ W`: `(s, out)` to `(s, in)`."""
        return D @ self.matrix(theta)

    def grad(self, D: Array, A: Array) -> Array:
        """`<A_k, D.T @ A>` for every k: `D (s, out)`, `A (s, in)` to `param_shape`."""
        return self.coordinates(D.T @ A)

    @property
    def has_bias(self) -> bool:
        """Whether the layer adds a `constant`."""
        return False

    def constant(self, theta: Array) -> Array | None:
        """b `(out,)`, which a layer with a bias adds to every row that leaves it; None without one."""
        return None

    def constant_coordinates(self, vector: Array) -> Array:
        """The gradient in the parameters of one in the constant, `vector (out,)`."""
        return np.zeros(self.param_shape, dtype=vector.dtype)

    @property
    def offset(self) -> Array | None:
        """B `(out, in)`, float64, of an affine layer; None where W is linear in the parameters."""
        return None

    @property
    def linear(self) -> Layer:
        """What is trained without offset and bias: the layer itself unless it has them."""
        return self

    @property
    def unbiased(self) -> Layer:
        """The layer without its bias: itself unless it has one."""
        return self

    def join(self, weight: Array, bias: Array | None = None) -> Array:
        """The parameters from those of `linear` and the biases, zero by default."""
        return weight

    @property
    def size(self) -> int:
        """The number of parameters."""
        return math.prod(self.param_shape)
