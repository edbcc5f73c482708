"""Factorisations that several rooms need, each written once: they know matrices, and neither networks nor data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.linalg

Array = npt.NDArray[Any]


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
        stack = np.asarray(np.linalg.qr(stack, mode="r"))
    _, s, Vt = np.linalg.svd(stack)
    return s, Vt.T
