"""Layers that their sides describe: a number of inputs and one of outputs, or one number for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..validate import integer
from .base import Layer


@dataclass(frozen=True)
class Rectangular(Layer):
    """A layer of any two widths."""

    n_in: int
    n_out: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_in", integer("n_in", self.n_in, least=1))
        object.__setattr__(self, "n_out", integer("n_out", self.n_out, least=1))

    @property
    def shape(self) -> tuple[int, int]:
        return (self.n_out, self.n_in)


@dataclass(frozen=True)
class Square(Layer):
    """A layer with as many outputs as inputs."""

    LEAST: ClassVar[int] = 1

    n: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", integer("n", self.n, least=self.LEAST))

    @property
    def shape(self) -> tuple[int, int]:
        return (self.n, self.n)
