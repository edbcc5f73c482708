"""Block diagonal layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..validate import Array, integer
from .base import Form, Layer


@dataclass(frozen=True)
class BlockDiagonal(Layer):
    """`W = diag(B_1, B_2, ...)` with full blocks; block b maps its own `n_in` inputs to its own `n_out` outputs.

    `blocks`: `(n_in, n_out)` of each block in turn, from the upper left corner.
    Shapes: `theta (sum n_in n_out,)`, the blocks `(n_out, n_in)` raveled one after another.
    Cost: `apply`, `adjoint` and `grad` take `s * sum n_in n_out` multiply-adds on `s` rows.
    Raises: TypeError, ValueError if there is no block or a width is not a whole number of at least 1. Source: docs/theory, T5.1.
    """

    blocks: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(_block(f"blocks[{b}]", block) for b, block in enumerate(_listed(self.blocks))))

    @property
    def shape(self) -> tuple[int, int]:
        return (sum(n_out for _, n_out in self.blocks), sum(n_in for n_in, _ in self.blocks))

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (self.work,)

    @property
    def multiplicity(self) -> Array:
        return np.ones(self.param_shape)

    @property
    def work(self) -> int:
        return sum(n_in * n_out for n_in, n_out in self.blocks)

    @property
    def form(self) -> Form:
        return Form("blocks", tuple(n for block in self.blocks for n in block))

    def places(self) -> Iterator[tuple[slice, slice, slice]]:
        """The outputs, the inputs and the parameters of each block."""
        i = j = k = 0
        for n_in, n_out in self.blocks:
            yield slice(i, i + n_out), slice(j, j + n_in), slice(k, k + n_in * n_out)
            i, j, k = i + n_out, j + n_in, k + n_in * n_out

    def split(self, theta: Array) -> list[Array]:
        """The blocks, each `(n_out, n_in)`."""
        return [theta[own].reshape(n_out, n_in) for (n_in, n_out), (_, _, own) in zip(self.blocks, self.places(), strict=True)]

    def matrix(self, theta: Array) -> Array:
        W = np.zeros(self.shape, dtype=theta.dtype)
        for block, (out, into, _) in zip(self.split(theta), self.places(), strict=True):
            W[out, into] = block
        return W

    def coordinates(self, matrix: Array) -> Array:
        return np.concatenate([matrix[out, into].ravel() for out, into, _ in self.places()])

    def apply(self, theta: Array, A: Array) -> Array:
        return np.hstack([A[:, into] @ block.T for block, (_, into, _) in zip(self.split(theta), self.places(), strict=True)])

    def adjoint(self, theta: Array, D: Array) -> Array:
        return np.hstack([D[:, out] @ block for block, (out, _, _) in zip(self.split(theta), self.places(), strict=True)])

    def grad(self, D: Array, A: Array) -> Array:
        return np.concatenate([(D[:, out].T @ A[:, into]).ravel() for out, into, _ in self.places()])


def _listed(blocks: Any) -> list[Any]:
    try:
        found = list(blocks)
    except TypeError:
        raise TypeError(f"blocks is {blocks!r}; a list of pairs (n_in, n_out) was wanted, such as [(4, 2), (3, 3)]") from None
    if not found:
        raise ValueError("blocks is empty; at least one pair (n_in, n_out) was wanted, such as [(4, 2), (3, 3)]")
    return found


def _block(name: str, block: Any) -> tuple[int, int]:
    try:
        n_in, n_out = block
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {block!r}; a pair (n_in, n_out) was wanted") from None
    return integer(f"{name}[0]", n_in, least=1), integer(f"{name}[1]", n_out, least=1)
