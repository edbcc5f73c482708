"""The contract of a layer: a linear subspace of matrices with three primitives.

A layer holds no parameters. It is a value: two layers of the same structure and size are equal.
`W = sum_k theta_k A_k`, where the `A_k` are the layer's basis matrices and `theta` its parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from ..validate import Array


class Layer(ABC):
    """A linear subspace of the `out x in` matrices.

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

        Where all are equal, gradient descent on the parameters is projected gradient descent.
        """

    @abstractmethod
    def matrix(self, theta: Array) -> Array:
        """`W = sum_k theta_k A_k`, shape `(out, in)`."""

    @abstractmethod
    def project(self, matrix: Array) -> Array:
        """`theta` of the member of the subspace nearest to `matrix` in the Frobenius norm."""

    @abstractmethod
    def grad(self, D: Array, A: Array) -> Array:
        """`<A_k, D.T @ A>` for every k: `D (s, out)`, `A (s, in)` to `param_shape`."""

    def apply(self, theta: Array, A: Array) -> Array:
        """`A @ W.T`: `(s, in)` to `(s, out)`."""
        return A @ self.matrix(theta).T

    def adjoint(self, theta: Array, D: Array) -> Array:
        """`D @ W`: `(s, out)` to `(s, in)`."""
        return D @ self.matrix(theta)

    @property
    def size(self) -> int:
        """The number of parameters."""
        return int(np.prod(self.param_shape))
