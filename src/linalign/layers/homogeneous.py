"""Homogeneous coordinates: a layer with a bias as a linear one on rows `(a, o)`, where o is 1 for a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..cached import cached_property
from ..validate import Array
from .around import Around
from .base import OWN_PRODUCTS, Border, Form, Layer
from .table import bordered


@dataclass(frozen=True)
class Homogeneous(Around, Layer):
    """`[W b; 0 1]` of a layer with or without a bias, or `[W b]` for the last layer of a network; the parameters are the same.

    Rows that stand for many samples have other numbers than 1 as their last coordinate, so that a bias enters as `o b^T` and its
    gradient is `D^T o`. Source: docs/theory, T16.2.
    """

    layer: Layer
    last: bool

    @property
    def shape(self) -> tuple[int, int]:
        out, inputs = self.layer.shape
        return (out if self.last else out + 1, inputs + 1)

    @property
    def work(self) -> int:
        return self.layer.work + 1

    @cached_property
    def offset(self) -> Array:
        out, inputs = self.layer.shape
        fixed = np.zeros(self.shape)
        fixed[:out, :inputs] = 0.0 if self.layer.offset is None else self.layer.offset
        fixed[:out, :inputs] += self.linear.form.arrays["matrix"] if self.linear.form.kind == "fixed" else 0.0
        if not self.last:
            fixed[out, inputs] = 1.0
        fixed.flags.writeable = False
        return fixed

    @cached_property
    def form(self) -> Form:
        biases = self.layer.size - self.linear.size
        form = self.layer.unbiased.form
        if form.kind in OWN_PRODUCTS:
            return replace(form, border=self._border(form.border.skip))
        return bordered(self.linear, self.layer.shape[0] // max(biases, 1), biases, self.shape[0], self.offset)

    def _border(self, skip: int = 0) -> Border:
        biases = self.layer.size - self.linear.size
        return Border(skip, 1, int(not self.last), biases, self.layer.shape[0] // max(biases, 1))

    @property
    def beside(self) -> Form | None:
        """The form of a dense layer as one block that the constant coordinate stands beside, for the same parameters; None of others."""
        if self.layer.unbiased.form.kind != "dense":
            return None
        return Form("blocks", self.layer.shape[::-1], border=self._border())

    def matrix(self, theta: Array) -> Array:
        out, inputs = self.layer.shape
        W, b = np.zeros(self.shape, dtype=theta.dtype), self.layer.constant(theta)
        W[:out, :inputs] = self.layer.matrix(theta)
        if b is not None:
            W[:out, inputs] = b
        if not self.last:
            W[out, inputs] = 1.0
        return W

    def coordinates(self, matrix: Array) -> Array:
        out, inputs = self.layer.shape
        return self.layer.coordinates(matrix[:out, :inputs]) + self.layer.constant_coordinates(matrix[:out, inputs])

    def apply(self, theta: Array, A: Array) -> Array:
        a, o = A[:, :-1], A[:, -1:]
        out, b = self.layer.apply(theta, a), self.layer.constant(theta)
        if b is not None:
            out = out + o * b
        return out if self.last else np.hstack([out, o])

    def adjoint(self, theta: Array, D: Array) -> Array:
        d = D[:, : self.layer.shape[0]]
        b, last = self.layer.constant(theta), np.zeros(len(D), dtype=D.dtype)
        if b is not None:
            last = d @ b
        if not self.last:
            last = last + D[:, -1]
        return np.hstack([self.layer.adjoint(theta, d), last[:, None]])

    def grad(self, D: Array, A: Array) -> Array:
        d = D[:, : self.layer.shape[0]]
        return self.layer.grad(d, A[:, :-1]) + self.layer.constant_coordinates(d.T @ A[:, -1])


def chain_of(layers: Sequence[Layer]) -> list[Homogeneous]:
    """Layers, of which some have biases, as a linear chain on rows beside a constant coordinate."""
    return [Homogeneous(layer, i == len(layers) - 1) for i, layer in enumerate(layers)]


def beside_ones(rows: Array) -> Array:
    """`[X 1]`: the rows that such a chain takes."""
    return np.hstack([rows, np.ones((len(rows), 1), dtype=rows.dtype)])
