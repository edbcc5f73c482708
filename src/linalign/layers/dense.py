"""A layer without a constraint."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field

import numpy as np

from ..validate import Array
from .base import Form
from .biased import Biasable
from .sides import Rectangular

# of every dense layer: a plan asks for it often
DENSE = Form("dense")


@dataclass(frozen=True)
class Dense(Rectangular, Biasable):
    """Every `n_out x n_in` matrix. The parameters are the matrix: `theta = W`, as in `torch.nn.Linear`.

    `bias=True`: `f(a) = W a + b`, with one number an output; what is made is `linalign.layers.Biased`.
    Shapes: `theta (n_out, n_in)`.
    Cost: `apply`, `adjoint` and `grad` take `s * n_in * n_out` multiply-adds on `s` rows.
    Raises: TypeError, ValueError if a width is not a whole number of at least 1, or bias neither True nor False.
    """

    bias: InitVar[bool] = field(default=False, kw_only=True)

    def __post_init__(self, bias: bool) -> None:
        super().__post_init__()

    @property
    def param_shape(self) -> tuple[int, int]:
        return (self.n_out, self.n_in)

    @property
    def multiplicity(self) -> Array:
        return np.ones(self.param_shape)

    @property
    def orthonormal(self) -> bool:
        return True

    @property
    def work(self) -> int:
        return self.n_in * self.n_out

    @property
    def form(self) -> Form:
        return DENSE

    def matrix(self, theta: Array) -> Array:
        return theta

    def coordinates(self, matrix: Array) -> Array:
        return matrix

    def solve_gram(self, coordinates: Array) -> Array:
        return coordinates
