"""Compressed: data of any length as at most k_0 rows, for quadratic losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..validate import Array


@dataclass(frozen=True, eq=False)
class Compressed:
    """What `compress` returns; pass it in place of X, with `Y=None` and a quadratic loss.

    `||X P^T - Y||^2 = ||X' P^T - Y'||^2 + c` for every matrix P, so loss, gradients and the whole trajectory of full-batch
    descent are those of the full data.

    Attributes
    ----------
    X, Y : arrays (r, k_0), (r, k_d), float64
        X' and Y'; r = rank(X). They are rounded to the dtype of the network where they are used.
    constant : float
        c, the squares that no P changes.
    n : int
        Rows of the full data; the means of losses are over these.
    residual : float
        Relative difference of the two sides at a random P, measured over the full data: rounding, if all went well.

    Source: docs/theory, T7.1.
    """

    X: Array
    Y: Array
    constant: float
    n: int
    residual: float

    def __post_init__(self) -> None:
        for array in (self.X, self.Y):
            array.flags.writeable = False

    def __repr__(self) -> str:
        r, k_0 = self.X.shape
        return f"Compressed({self.n:,} rows -> {r}, {k_0} inputs, {self.Y.shape[1]} outputs)"

    def check(self, Y: Any, loss: str, quadratic: bool, k_0: int, k_d: int) -> None:
        """That the data fit a network and a loss. Raises: ValueError."""
        if Y is not None:
            raise ValueError("Y was given but X is Compressed, which holds the targets; pass Y=None")
        if not quadratic:
            raise ValueError(f"X is Compressed but the loss {loss!r} is not quadratic and needs the samples; pass the full X and Y")
        for what, have, want in (("inputs", self.X.shape[1], k_0), ("outputs", self.Y.shape[1], k_d)):
            if have != want:
                raise ValueError(f"X is compressed data with {have} {what} but the network has {want}; compress data that fit it")
