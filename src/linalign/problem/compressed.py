"""Compressed: data of any length as at most k_0 rows, for quadratic losses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..calls import called
from ..files import Damaged, Name, damage, named, replacing
from ..files.npz import Npz
from ..validate import Array

# what a file of such data holds, in a word
FORMAT = "linalign compressed 1"
FLOAT = np.dtype(np.float64)
# of the numbers beside the rows, by their names in a file
NUMBERS = ("constant", "n", "residual")


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

    def save(self, path: Name) -> Path:
        """Write it to `path` (npz, no pickle); an old file stays whole until the new one is on the disk.

        Raises: OSError if it cannot be written, or is a directory or a device.
        """
        arrays: dict[str, Any] = {name: np.array(getattr(self, name)) for name in NUMBERS}
        with replacing(path) as file:
            np.savez(file, format=np.array(FORMAT), X=self.X, Y=self.Y, **arrays)
        return Path(named(path))

    @staticmethod
    @called
    def load(path: Name) -> Compressed:
        """What `save` wrote. Raises: OSError if the file cannot be read, ValueError naming it if it holds no such data, or is damaged."""
        where = named(path)
        with open(path, "rb") as handle:
            zipped = handle.read(2) == b"PK"
            if not zipped:
                raise ValueError(f"{where} holds no compressed data, it is no .npz file; Compressed.save writes one")
            try:
                with Npz(handle) as file, damage():
                    return _read(file)
            except Damaged as error:
                raise ValueError(f"{where} holds no compressed data, or is damaged: {error}; compress the data again") from None

    def check(self, Y: Any, loss: str, quadratic: bool, k_0: int, k_d: int) -> None:
        """That the data fit a network and a loss. Raises: ValueError."""
        if Y is not None:
            raise ValueError("Y was given but X is Compressed, which holds the targets; pass Y=None")
        if not quadratic:
            raise ValueError(f"X is Compressed but the loss {loss!r} is not quadratic and needs the samples; pass the full X and Y")
        for what, have, want in (("inputs", self.X.shape[1], k_0), ("outputs", self.Y.shape[1], k_d)):
            if have != want:
                raise ValueError(f"X is compressed data with {have} {what} but the network has {want}; compress data that fit it")


def _read(file: Npz) -> Compressed:
    """Raises: Damaged where these are no compressed data."""
    for name in ("format", "X", "Y", *NUMBERS):
        if name not in file:
            raise Damaged(f"{name} is missing")
    kind = file.header("format")
    if kind.dtype.kind != "U" or kind.shape != () or str(file.read("format")) != FORMAT:
        raise Damaged(f"its format is not {FORMAT!r}")
    X, Y = (file.read(name) for name in ("X", "Y"))
    if X.dtype != FLOAT or Y.dtype != FLOAT or X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y) or not (X.size and Y.size):
        raise Damaged(f"X and Y have shapes {X.shape} and {Y.shape}")
    constant, n, residual = (file.read(name) for name in NUMBERS)
    if any(a.shape != () or a.dtype.kind not in "fi" for a in (constant, n, residual)) or n.dtype.kind != "i" or n < 1:
        raise Damaged("its numbers are none")
    if not all(np.isfinite(a).all() for a in (X, Y, constant)) or constant < 0:
        raise Damaged("its numbers are not finite, or the constant is negative")
    return Compressed(X, Y, float(constant), int(n), float(residual))
