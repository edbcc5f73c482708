"""Products of large matrices while planning and lifting, through the copy of BLAS that the loop uses (see `linalign.threads`)."""

from __future__ import annotations

from scipy.linalg import blas

from ..validate import Array

# with fewer multiply-adds NumPy's call, which is shorter, is as good
LARGE = 64**3


def product(A: Array, B: Array) -> Array:
    """`A B` in float64, C-contiguous."""
    if A.shape[0] * B.size < LARGE:
        return A @ B
    # columns: (A B)^T = B^T A^T
    (b, tb), (a, ta) = _columns(B), _columns(A)
    return blas.dgemm(1.0, b, a, trans_a=not tb, trans_b=not ta).T  # type: ignore[no-any-return]


def add_product(C: Array, A: Array, B: Array) -> None:
    """`C += A B` in place; C is float64 and C-contiguous."""
    if A.shape[0] * B.size < LARGE:
        C += A @ B
        return
    (b, tb), (a, ta) = _columns(B), _columns(A)
    blas.dgemm(1.0, b, a, beta=1.0, c=C.T, trans_a=not tb, trans_b=not ta, overwrite_c=True)


def _columns(A: Array) -> tuple[Array, bool]:
    """A as columns in memory, and whether that is the transpose of A."""
    return (A, False) if A.flags.f_contiguous else (A.T, True)
