"""Singular: singular values and vectors of matrices whose structure gives them, without a singular value decomposition.

What a matrix is, it is asked itself: that costs a look at each entry, and serves layers and plain matrices alike.

- circulant, `W_ij = c[(i - j) mod n]`: the real Fourier basis, and that turned by the phases of the transform of c (T6.6);
- anti-circulant, `W_ij = c[(i + j) mod n]`: a circulant of the inputs in the order 0, n - 1, ..., 1;
- symmetric, or symmetric once its rows are turned over (J W, J the reversal): square Toeplitz and Hankel matrices, and
  convolutions of one channel and stride 1 with outputs of the size of the inputs. Its eigenvalues are singular values with signs.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from ..validate import Array

# below this many rows a singular value decomposition takes less time than to look
LARGE = 48

Factors = tuple[Array, Array, Array]
"""`U (m, r)`, `s (r,)` largest first, `V (n, r)`: `W = U diag(s) V^T`, r = min(m, n)."""


def factors(W: Array) -> Factors:
    """Thin singular vectors of a float64 matrix. Cost: `O(n^2)` if it is (anti-)circulant, a symmetric eigenproblem, or an SVD."""
    if _may_have_structure(W):
        inputs = circulant(W)
        if inputs is not None:
            U, s, V = _by_fourier(W[:, 0])
            return U, s, V[inputs]
        H, turned = symmetric(W)
        if H is not None:
            values, Z = eigh(H, driver="evd", check_finite=False)
            order = np.argsort(-np.abs(values), kind="stable")
            return of_symmetric(values[order], Z[:, order], turned)
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    return U, s, Vt.T


def values(W: Array) -> Array:
    """Singular values of a float64 matrix, largest first."""
    if _may_have_structure(W):
        if circulant(W) is not None:
            return np.sort(np.abs(np.fft.fft(W[:, 0])))[::-1]
        H, _ = symmetric(W)
        if H is not None:
            return np.sort(np.abs(eigh(H, eigvals_only=True, driver="evd", check_finite=False)))[::-1]
    return np.linalg.svd(W, compute_uv=False)


def _may_have_structure(W: Array) -> bool:
    # nan is equal to nothing, and inf would not come out of a transform
    return W.shape[0] == W.shape[1] >= LARGE and bool(np.isfinite(W).all())


def circulant(W: Array) -> Array | None:
    """The order of the inputs in which a square W is a circulant, as they stand or backward; None if it is in neither."""
    forward = np.arange(len(W))
    if _is_circulant(W):
        return forward
    backward = -forward % len(W)
    return backward if _is_circulant(W[:, backward]) else None


def symmetric(W: Array) -> tuple[Array | None, bool]:
    """A square W or, turned over, its rows from the last to the first, whichever is symmetric; None if neither is."""
    for H, turned in ((W, False), (W[::-1], True)):
        if np.array_equal(H, H.T):
            return H, turned
    return None, False


def of_symmetric(values: Array, Z: Array, turned: bool) -> Factors:
    """Thin singular vectors of W from the eigenvalues and eigenvectors of its symmetric form, in the order they have."""
    U = Z * np.where(values < 0, -1.0, 1.0)
    return (U[::-1] if turned else U), np.abs(values), Z


def _is_circulant(W: Array) -> bool:
    return np.array_equal(W[1:, 1:], W[:-1, :-1]) and np.array_equal(W[1:, 0], W[0, :0:-1])


def _by_fourier(column: Array) -> Factors:
    """`C e_f = hat c(f) e_f`, `e_f(j) = exp(2 pi i f j / n)`: real and imaginary parts, turned by the phase of `hat c(f)`."""
    n = len(column)
    transform = np.fft.rfft(column)
    scale = np.ldexp(1.0, int(np.frexp(np.abs(transform).max())[1]))
    s = np.abs(transform)
    # where hat c(f) is zero any phase will do
    phase = np.where(s > 0, transform / scale, 1.0)
    phase = phase / np.abs(phase)
    # products f j are reduced before the cosine is taken
    table = np.exp(2j * np.pi * np.arange(n) / n)
    waves = table[np.outer(np.arange(n), np.arange(len(s))) % n] * np.sqrt(2.0 / n)
    turned = waves * phase
    # frequency zero, and n / 2 of an even n, have a cosine alone
    single = [0, len(s) - 1] if n % 2 == 0 else [0]
    waves[:, single] /= np.sqrt(2.0)
    turned[:, single] /= np.sqrt(2.0)
    pairs = np.setdiff1d(np.arange(len(s)), single)
    V = np.hstack([waves.real, waves.imag[:, pairs]])
    U = np.hstack([turned.real, turned.imag[:, pairs]])
    s = np.concatenate([s, s[pairs]])
    order = np.argsort(-s, kind="stable")
    return U[:, order], s[order], V[:, order]
