"""Frame: data and the ends of a chain in coordinates of what they reach, where inputs or outputs are many times as many.

`C = X^T X`, `M = Y^T X` and all products of layers live in the range of `[X; W_1]` at the inputs and of `[Y; W_d^T]` at the outputs. In an
orthonormal basis of these, and of one direction more that stands for the rest, every condition and every residual is what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import linear_algebra
from ..linear_algebra import Basis
from ..validate import Array
from .rows import Rows


@dataclass(frozen=True, eq=False)
class Frame:
    """Data and matrices in the coordinates of `inputs (k_0, s)` and `outputs (k_d, s)`; None for the coordinates that were given."""

    rows: Rows
    matrices: list[Array] | None
    inputs: Array | None
    outputs: Array | None
    widths: tuple[int, int]
    """`k_0` and `k_d` as they were given."""

    @property
    def beyond(self) -> tuple[int, int]:
        """Dimensions of inputs and outputs that the coordinates leave out."""
        inside = self.rows.C.shape[0], self.rows.Y.shape[1]
        return self.widths[0] - inside[0], self.widths[1] - inside[1]

    def lift(self, V: Array, U: Array) -> tuple[Array, Array]:
        """Vectors of inputs and of outputs, as columns, in the coordinates that were given."""
        return V if self.inputs is None else self.inputs @ V, U if self.outputs is None else self.outputs @ U

    def bases(self, V: Array, U: Array) -> tuple[Basis, Basis]:
        """The same of orthonormal bases."""
        V, U = self.lift(V, U)
        return Basis(V), Basis(U)


def framed(rows: Rows, matrices: Sequence[Array] = ()) -> Frame:
    """The smallest frame that is worth its while; without one, the data and the matrices as they are."""
    X, Y = rows.data, rows.Y
    k_0, k_d = len(Y) if X is None else X.shape[1], Y.shape[1]
    below = [Y.T if X is None else X, *matrices[:1]]
    above = [Y, *(W.T for W in matrices[-1:])]
    inputs, outputs = linear_algebra.frame(below, k_0), linear_algebra.frame(above, k_d)
    own = list(matrices)
    if inputs is not None:
        X, Y = (None, inputs.T @ Y) if X is None else (X @ inputs, Y)
    if outputs is not None:
        Y = Y @ outputs
    # in the precision that they had: it is what is known of their noise
    if own and inputs is not None:
        own[0] = (own[0] @ inputs).astype(own[0].dtype, copy=False)
    if own and outputs is not None:
        own[-1] = (outputs.T @ own[-1]).astype(own[-1].dtype, copy=False)
    return Frame(Rows(X, Y, rows.count, rows.precision), own or None, inputs, outputs, (k_0, k_d))
