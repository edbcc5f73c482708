"""Interface: the angle between two neighbouring layers, `W (k, a)` below and `V (b, k)` above.

With `A = W W^T`, `B = V^T V`, `K = A B` and `Z = V W` its sine is `||K - K^T|| / (sqrt(2) ||K||)` and its cosine `||Z Z^T|| / ||K||`, for
`tr K^2 = ||Z Z^T||^2`. Each is computed in the form that is accurate where it is small. Where the two layers are direct sums of parts
that do not meet, every norm is the root of a sum of squares over the parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # which imports scipy.sparse when it is first asked for

from ..validate import Array
from .chain import norm

# layers that meet in at least so many units are first scored by sums that take half the work; these are trusted while what
# rounding has grown by is at most so much, so that they agree with the careful ones to some twelve digits
WIDE, TRUST = 64, 1e4
# matrices of this many rows and columns, of which at most this share of the entries is not zero, are multiplied as sparse ones
SPARSE_SIDE, SPARSE_SHARE = 128, 0.03
# rows that are looked at first: with so many times that share there, nobody counts the others
PROBED, CLEARLY = 16, 4
# below this sine the cosine follows from it; beyond, the sine of a nearly orthogonal pair has lost its digits
SWITCH = 0.7


@dataclass(frozen=True)
class Part:
    """The norms of an interface, or of one part of a direct sum."""

    skew: float
    """`||K - K^T||`"""
    whole: float
    """`||K||`"""
    product: float
    """`||Z||`"""
    gram: Callable[[], float]
    """`||Z Z^T||`, asked for where the cosine needs it."""


def sine_cosine(parts: Sequence[Part], floor: float) -> tuple[float, float]:
    """The sine and cosine of an interface that is the direct sum of these parts; (0, 1), aligned, if `||Z|| <= floor`."""
    if math.hypot(*(part.product for part in parts)) <= floor:
        return 0.0, 1.0
    whole = math.hypot(*(part.whole for part in parts))
    sine = min(math.hypot(*(part.skew for part in parts)) / (math.sqrt(2.0) * whole), 1.0)
    if sine < SWITCH:
        return sine, math.sqrt(1.0 - sine * sine)
    return sine, min(math.hypot(*(part.gram() for part in parts)) / whole, 1.0)


def angle(W: Any, V: Any, floor: float) -> tuple[float, float]:
    """The sine and cosine of the interface between W and V; (0, 1) if `||V W|| <= floor`."""
    if W.shape[0] >= WIDE and not scipy.sparse.issparse(W) and not scipy.sparse.issparse(V):
        quick = clear(*sums(W, V), floor)
        if quick is not None:
            return quick
    Z = made(V @ W)
    product = frobenius(Z)
    if product <= floor:
        return 0.0, 1.0
    return sine_cosine([Part(*skew(W, V, Z), product, lambda: gram_norm(Z))], floor)


def skew(W: Any, V: Any, Z: Any) -> tuple[float, float]:
    """`||K - K^T||_F` and `||K||_F` of `K = A B`, `A = W W^T`, `B = V^T V`, from `Z = V W`; W (k, a), V (b, k), sparse or not."""
    k, a, b = W.shape[0], W.shape[1], V.shape[0]
    if k < 64 or k <= 4 * min(a, b):
        K = W @ made(Z.T @ V) if a <= b else made(W @ Z.T) @ V
        return frobenius(K - K.T), frobenius(K)
    W, V, Z = (M.toarray() if scipy.sparse.issparse(M) else M for M in (W, V, Z))
    if a < b:  # the roles of A and B can be exchanged: K becomes its transpose
        W, V, Z = V.T, W.T, Z.T
    # B lives in the few columns of Q: K = G Q^T, and only the part of G outside Q has no partner in K^T
    Q, R = np.linalg.qr(V.T)
    G = (W @ Z.T) @ R.T
    inside = Q.T @ G
    outside = G - Q @ inside
    return math.hypot(norm(inside - inside.T), math.sqrt(2.0) * norm(outside)), norm(G)


def sums(W: Array, V: Array, more: Array | None = None) -> tuple[float, float, float, float]:
    """`||K||^2`, `tr K^2`, `||Z||^2` of `K = A B`, with `more` in `A = W W^T + more`, and how many times rounding may have grown.

    `tr K^2 = ||Z Z^T||^2`, and `||K - K^T||^2 / 2 = ||K||^2 - tr K^2`: enough for an angle that is neither near 0 nor 90 degrees.
    """
    k, a, b = W.shape[0], W.shape[1], V.shape[0]
    if more is None and a < b:  # the roles of A and B can be exchanged
        W, V, a, b = V.T, W.T, b, a
    if 2 * a * b + (0 if more is None else k * b) + 2 * b * b < k * (a + b) / 2 + k * k:
        H = W @ (W.T @ V.T)
        size = norm(W) ** 2
        if more is not None:
            H += more @ V.T
            size += norm(more)
        M, G, N = V @ V.T, H.T @ H, V @ H
        whole = float(np.vdot(G, M))
        grown = max(size * norm(V) / (norm(H) or 1.0), norm(G) * norm(M) / (whole or 1.0))
        return whole, float(np.vdot(N, N)), float(np.trace(N)), grown
    A, B = W @ W.T, V.T @ V
    if more is not None:
        A += more
    K = A @ B
    whole = float(np.vdot(K, K))
    return whole, float(np.einsum("ij,ji->", K, K)), float(np.vdot(A, B)), norm(A) * norm(B) / (math.sqrt(whole) or 1.0)


def clear(whole: float, square: float, size: float, grown: float, floor: float) -> tuple[float, float] | None:
    """Sine and cosine from `sums`; None where they have lost too many digits, or `||Z||` is not far above `floor`."""
    cosine = square / whole if whole > 0 else 0.0
    if not (grown <= TRUST * min(cosine, 1 - cosine) and size > TRUST**2 * floor**2):  # nan too
        return None
    return math.sqrt(1 - cosine), math.sqrt(cosine)


def gram_norm(W: Any) -> float:
    """`||W W^T||_F`, by the smaller side; its root lies between the spectral and the Frobenius norm of W."""
    return frobenius(W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W)


def thin(A: Array) -> Any:
    """A as it is best multiplied: of scipy.sparse where few entries are not zero, as in masks and convolutions."""
    if min(A.shape) < SPARSE_SIDE:
        return A
    probe = A[:: len(A) // PROBED]
    if np.count_nonzero(probe) > CLEARLY * SPARSE_SHARE * probe.size or np.count_nonzero(A) > SPARSE_SHARE * A.size:
        return A
    return scipy.sparse.csr_array(A)


def made(A: Any) -> Any:
    """A product as it is best multiplied on: an array once it has filled in."""
    return A.toarray() if scipy.sparse.issparse(A) and A.nnz > SPARSE_SHARE * math.prod(A.shape) else A


def frobenius(A: Any) -> float:
    """The Frobenius norm of either kind."""
    return norm(A.data if scipy.sparse.issparse(A) else A)
