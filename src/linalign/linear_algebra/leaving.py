"""Factorisations of matrices that may have left the finite numbers.

LAPACK answers those with lines on the terminal; here every number that was asked for is nan.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def thin_svd(A: Array) -> tuple[Array, Array, Array]:
    """`U (m, r)`, `s (r,)` largest first and `V^T (r, n)`, r = min(m, n), of A (m, n); nan where A is not finite."""
    if not np.isfinite(A).all():
        r = min(A.shape)
        return np.full((len(A), r), np.nan), np.full(r, np.nan), np.full((r, A.shape[1]), np.nan)
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    return U, s, Vt


def singular_values(A: Array) -> Array:
    """The singular values of A, largest first; nan where A is not finite."""
    return np.linalg.svd(A, compute_uv=False) if np.isfinite(A).all() else np.full(min(A.shape), np.nan)


def symmetric_eigen(H: Array) -> tuple[Array, Array]:
    """Eigenvalues, increasing, and eigenvectors of a symmetric H, by divide and conquer; nan where H is not finite."""
    if not np.isfinite(H).all():
        return np.full(len(H), np.nan), np.full(H.shape, np.nan)
    found, vectors = np.linalg.eigh(H)
    return found, vectors
