"""Around: what a layer that stands around another has of it, as their parameters are the same."""

from __future__ import annotations

from ..validate import Array
from .base import Layer


class Around:
    """The parameters of `layer`, and their metric."""

    layer: Layer

    @property
    def param_shape(self) -> tuple[int, ...]:
        return self.layer.param_shape

    @property
    def multiplicity(self) -> Array:
        return self.layer.multiplicity

    @property
    def orthonormal(self) -> bool:
        return self.layer.orthonormal

    @property
    def linear(self) -> Layer:
        return self.layer.linear

    def solve_gram(self, coordinates: Array) -> Array:
        return self.layer.solve_gram(coordinates)
