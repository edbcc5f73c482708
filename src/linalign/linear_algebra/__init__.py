"""Factorisations that several rooms need, each written once: they know matrices, and neither networks nor data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.linalg

from .waited import interruptible

Array = npt.NDArray[Any]

# spaces of fewer dimensions are not worth a frame, nor are those that one makes smaller by less than this
WIDE, GAIN = 256, 2.0


@dataclass(frozen=True, eq=False)
class Basis:
    """An orthonormal basis of R^n of which some vectors matter, `columns (n, r)`, and the others may be any.

    `order`: where each column of the whole basis is taken from, the columns that matter first; None: as they are.
    """

    columns: Array
    order: Array | None = None

    def __len__(self) -> int:
        return len(self.columns)

    def whole(self, name: str) -> Array:
        """All of it, `(n, n)`. Raises: MemoryError if this machine has no room for it."""
        n, r = self.columns.shape
        if r < n:
            room(f"{name} as a whole, an orthogonal matrix of {n:,} x {n:,},", 24.0 * n * n, "the vectors that matter are kept beside it")
        found = self.columns if r == n else np.hstack([self.columns, complement(self.columns)])
        return found if self.order is None else found[:, self.order]


def room(what: str, size: float, fix: str) -> None:
    """Raises: MemoryError where `what` takes more bytes than this machine has."""
    try:
        most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # pragma: no cover - no such thing on Windows
        return
    if size > most:
        raise MemoryError(f"{what} takes {size / 2**30:.3g} GiB but this machine has {most / 2**30:.3g}; {fix}")


def frame(blocks: Sequence[Array], width: int) -> Array | None:
    """An orthonormal basis `Z (width, s)` of a space that holds the rows of all blocks `(m, width)`, and one direction more.

    That one stands for all that no block reaches. None where s is not far below the width: then the coordinates gain nothing.
    Cost: a QR factorisation of the blocks, transposed.
    """
    s = sum(map(len, blocks)) + 1
    if width < WIDE or GAIN * s > width:
        return None
    other = np.random.default_rng(0).standard_normal((width, 1))
    return np.asarray(np.linalg.qr(np.hstack([*(B.T for B in blocks), other]))[0])


def signed_qr(A: Array, mode: Literal["reduced", "complete"] = "reduced") -> tuple[Array, Array]:
    """`Q` and `|diag R|` of the QR factorisation in which the diagonal of R is not negative: unique where A has full rank.

    Shapes: A (m, n); Q (m, min(m, n)), or (m, m) if `complete`; the lengths (min(m, n),).
    """
    Q, R = np.linalg.qr(A, mode=mode)
    diagonal = np.diagonal(R)
    Q[:, : len(diagonal)] *= np.where(diagonal < 0, -1.0, 1.0)
    return np.asarray(Q), np.abs(diagonal)


def complement(Q: Array) -> Array:
    """An orthonormal basis `(m, m - n)` of what is orthogonal to the n orthonormal columns of Q, `(m, n)`."""
    if not Q.shape[1]:
        return np.eye(len(Q))
    return np.asarray(scipy.linalg.qr(Q, check_finite=False)[0][:, Q.shape[1] :])


def joint_eigenbasis(blocks: Sequence[Array], sizes: Sequence[float], rng: np.random.Generator, tall: float = 2.0) -> tuple[Array, Array]:
    """Singular values and right singular vectors `V (n, n)` of a random stack of the blocks B `(m, n)`, each over its size.

    Where the Gram matrices `B^T B` commute, V diagonalises all of them, unless two directions happen to have close values in the
    stack. Nothing is squared, so small singular values keep their vectors. A stack with more than `tall` times as many rows as
    columns is replaced by its triangular factor, for the left vectors are not wanted.
    """
    stack = np.vstack([B * (rng.uniform(1.0, 2.0) / size) for B, size in zip(blocks, sizes, strict=True)])
    if len(stack) > tall * stack.shape[1]:
        stack = np.asarray(interruptible(np.linalg.qr, stack, mode="r"))
    _, s, Vt = interruptible(np.linalg.svd, stack)
    return s, Vt.T
