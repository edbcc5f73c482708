"""Products of large matrices while planning and lifting, through the copy of BLAS that the loop uses (see `linalign.engine.threads`)."""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas

from ..validate import Array

# with fewer multiply-adds NumPy's call, which is shorter, is as good
LARGE = 64**3
# entries that are looked at together
BLOCK = 2**16


def product(A: Array, B: Array) -> Array:
    """`A B` in float64, C-contiguous."""
    if A.shape[0] * B.size < LARGE:
        return A @ B
    # columns: (A B)^T = B^T A^T
    (b, tb), (a, ta) = _columns(B), _columns(A)
    # its own result would be filled with zeros first, by one thread
    C = np.empty((A.shape[0], B.shape[1]))
    blas.dgemm(1.0, b, a, beta=0.0, c=C.T, trans_a=not tb, trans_b=not ta, overwrite_c=True)
    return C


def add_product(C: Array, A: Array, B: Array) -> None:
    """`C += A B` in place; C is float64 and C-contiguous."""
    if A.shape[0] * B.size < LARGE:
        C += A @ B
        return
    (b, tb), (a, ta) = _columns(B), _columns(A)
    blas.dgemm(1.0, b, a, beta=1.0, c=C.T, trans_a=not tb, trans_b=not ta, overwrite_c=True)


def diagonal(A: Array) -> Array | None:
    """The main diagonal of A where everything beside it is zero, such as the identity; None elsewhere."""
    found = np.diagonal(A)
    if np.count_nonzero(A[0]) > 1 or np.count_nonzero(A[-1]) > 1:
        return None
    left = np.count_nonzero(found)
    # of truth values, in the cache, many are counted at once
    step = max(1, BLOCK // A.shape[1])
    for i in range(0, len(A), step):
        left -= np.count_nonzero(A[i : i + step] != 0)
        if left < 0:
            return None
    return found


def scaled_rows(s: Array, B: Array, rows: int) -> Array:
    """`S B` for the matrix S of so many rows with `s` on its main diagonal and zeros beside it."""
    found = np.zeros((rows, B.shape[1]))
    found[: len(s)] = s[:, None] * B[: len(s)]
    return found


def _columns(A: Array) -> tuple[Array, bool]:
    """A as columns in memory, and whether that is the transpose of A."""
    return (A, False) if A.flags.f_contiguous else (A.T, True)
