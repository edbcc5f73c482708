"""Singular value decompositions: thin, by what the structure of a matrix gives, by a Gram matrix, or by LAPACK's.

What a matrix is, it is asked itself: that costs a look at each entry, and serves layers and plain matrices alike.

- circulant, `W_ij = c[(i - j) mod n]`: the real Fourier basis, and that turned by the phases of the transform of c (T6.6);
- anti-circulant, `W_ij = c[(i + j) mod n]`: a circulant of the inputs in the order 0, n - 1, ..., 1;
- symmetric, or symmetric once its rows are turned over (J W, J the reversal): square Toeplitz and Hankel matrices, and
  convolutions of one channel and stride 1 with outputs of the size of the inputs. Its eigenvalues are singular values with signs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from ..linear_algebra.leaving import singular_values, symmetric_eigen, thin_svd
from ..validate import Array

# below this many rows a singular value decomposition takes less time than to look
LARGE = 48
# a Gram matrix squares the spread of the singular values: what it loses is at most this factor's inverse
SPREAD = 3e-3


@dataclass(frozen=True, eq=False)
class Factors:
    """`W = U diag(s) V^T`: `U (m, r)`, `s (r,)` largest first, `V (n, r)`, r = min(m, n).

    `twins` is not empty where V is U up to signs and the order of rows, and says which order.
    """

    U: Array
    s: Array
    V: Array
    twins: str = ""


def factor(W: Array) -> Factors:
    """Thin singular vectors of a float64 matrix.

    Of what has a structure they are exact to rounding. Any other large matrix is factored by the Gram matrix of its small side
    where its singular values are of one size, which keeps all but two or three digits, else by LAPACK.
    Cost: `O(n^2)` if W is (anti-)circulant, else a symmetric eigenproblem of its small side or a singular value decomposition.
    """
    m, n = W.shape
    if min(m, n) < LARGE:
        return _plain(W)
    if m == n:
        inputs = circulant(W)
        if inputs is not None:
            U, s, V = _by_fourier(W[:, 0])
            return Factors(U, s, V[inputs])
        H, turned = symmetric(W)
        if H is not None:
            return _by_symmetry(H, turned)
    found = _by_gram(W) if m >= n else _by_gram(W.T)
    if found is None:
        return _plain(W)
    return found if m >= n else Factors(found.V, found.s, found.U)


def values(W: Array) -> Array:
    """Singular values of a float64 matrix, largest first."""
    # nan is equal to nothing, and inf would not come out of a transform
    if W.shape[0] == W.shape[1] >= LARGE and np.isfinite(W).all():
        if circulant(W) is not None:
            return np.sort(np.abs(np.fft.fft(W[:, 0])))[::-1]
        H, _ = symmetric(W)
        if H is not None:
            return np.sort(np.abs(eigh(H, eigvals_only=True, driver="evd", check_finite=False)))[::-1]
    return singular_values(W)


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


def _plain(W: Array) -> Factors:
    U, s, Vt = thin_svd(W)
    return Factors(U, s, Vt.T)


def _by_gram(W: Array) -> Factors | None:
    """W (m, n) with m >= n; None if its singular values are too different."""
    squares, V = symmetric_eigen(W.T @ W)
    if not squares[0] > SPREAD**2 * squares[-1]:
        return None
    s, V = np.sqrt(squares)[::-1], V[:, ::-1]
    return Factors((W @ V) / s, s, V)


def _by_symmetry(H: Array, turned: bool) -> Factors:
    signed, Z = symmetric_eigen(H)
    order = np.argsort(-np.abs(signed), kind="stable")
    signed, Z = signed[order], Z[:, order]
    U = Z * np.where(signed < 0, -1.0, 1.0)
    return Factors(U[::-1] if turned else U, np.abs(signed), Z, "flipped" if turned else "same")


def _is_circulant(W: Array) -> bool:
    # the first two rows tell most matrices apart
    if not np.array_equal(W[1:2, 1:], W[:1, :-1][: len(W) - 1]):
        return False
    return np.array_equal(W[1:, 1:], W[:-1, :-1]) and np.array_equal(W[1:, 0], W[0, :0:-1])


def _by_fourier(column: Array) -> tuple[Array, Array, Array]:
    """`C e_f = hat c(f) e_f`, `e_f(j) = exp(2 pi i f j / n)`: real and imaginary parts, turned by the phase of `hat c(f)`."""
    n = len(column)
    transform = np.fft.rfft(column)
    s = np.abs(transform)
    # by parts: the power alone would leave the finite numbers for subnormal entries
    down = -int(np.frexp(s.max())[1])
    near = np.ldexp(transform.real, down) + 1j * np.ldexp(transform.imag, down)
    # where hat c(f) is zero any phase will do
    phase = np.where(s > 0, near, 1.0)
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
