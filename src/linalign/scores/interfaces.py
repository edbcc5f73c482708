"""Scores of interfaces in plain NumPy: how far neighbouring layers commute, and how far they are balanced.

Every public function takes a `Network`, a sequence of matrices `[W_1, ..., W_d]` or a trajectory (see `chain`), of which it
returns an array with one entry a member, and computes in float64. Beside it stands a function of matrices that are known to fit
together, which checks nothing and is what the recorder calls.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..calls import called
from ..problem.network import Network
from .chain import Matrices, Vector, along, chain_matrices, noise, norm, safe, unit
from .interface import angle, frobenius, gram_norm, thin


@along
@called
def alignment(net: Network | Iterable[Any]) -> Vector:
    r"""One score in [0, 1] an interface; 1 is aligned: the two layers commute in the sense of T1.1.

    `||Z Z^T||_F / ||W_i Z^T W_{i+1}||_F` with `Z = W_{i+1} W_i`, and 1 where `Z = 0`. It is `|cos|` of the angle of Ji and
    Telgarsky where the layers have rank one, needs no singular vectors, and so means the same when singular values repeat.
    The score does not see the scale of a layer. It compares neighbours only: for more than two layers a score of 1
    everywhere is necessary but not sufficient, see `alignment_certificate`.

    `Z` counts as zero when it is no larger than the rounding error of its own computation, at the precision of the input.

    Returns: shape `(d - 1,)`. Cost: `2 k_{i-1} k_i k_{i+1} + k_i min(k_{i-1}, k_{i+1}) min(k_i, 4 min(k_{i-1}, k_{i+1}))`
    multiply-adds an interface, about.
    Raises: ValueError, TypeError if `net` is not a network with parameters, nor matrices that fit together.
    Source: docs/theory, section 1 (the cosine of c').
    """
    return aligned(chain_matrices(net))


@along
@called
def misalignment(net: Network | Iterable[Any], chain: bool = False) -> Vector:
    r"""The sine that belongs to `alignment`: accurate near 0, where the cosine is not; 0 is aligned.

    `||K - K^T||_F / (sqrt(2) ||K||_F)` with `K = W_i Z^T W_{i+1}`, `Z = W_{i+1} W_i`, and 0 where `Z = 0`.

    With `chain=True` entry `i` is the largest sine between `W_i` and any of the products `W_b ... W_{i+1}`, `b > i`. These
    are all the pairs of T1.2: they vanish together exactly when the chain is aligned.

    Returns: shape `(d - 1,)`. Cost: that of `alignment`; with `chain=True` that of d(d - 1)/2 interfaces.
    Raises: as `alignment`. Source: docs/theory, section 1 (c' and T1.2).
    """
    matrices = chain_matrices(net)
    return chain_misaligned(matrices) if chain else misaligned(matrices)


@along
@called
def balancedness(net: Network | Iterable[Any]) -> Vector:
    r"""`||W_{i+1}^T W_{i+1} - W_i W_i^T||_F` an interface: 0 is balanced, which implies aligned (not the other way).

    Returns: shape `(d - 1,)`. Cost: `k_i^2 (k_{i-1} + k_{i+1})` multiply-adds, or `2 k_i (k_{i-1} + k_{i+1})^2` where that is
    much less. Raises: as `alignment`. Source: docs/theory, section 1 (corollary of T1.3).
    """
    return balance(chain_matrices(net))


def angles(matrices: Matrices) -> list[tuple[float, float]]:
    """Sine and cosine of every interface."""
    scaled = [(thin(W), size) for W, size in map(safe, matrices)]
    out = []
    for i in range(len(matrices) - 1):
        (W, size), (V, above) = scaled[i], scaled[i + 1]
        # |fl(Z) - Z| <= k u |V| |W|, and the entries themselves are known to u
        rounding = W.shape[0] * max(noise(matrices[i]), noise(matrices[i + 1]))
        out.append(angle(W, V, rounding * size * above))
    return out


def aligned(matrices: Matrices) -> Vector:
    """`alignment` of matrices that are known to fit."""
    return np.array([cosine for _, cosine in angles(matrices)], dtype=np.float64)


def misaligned(matrices: Matrices) -> Vector:
    """`misalignment` of matrices that are known to fit."""
    return np.array([sine for sine, _ in angles(matrices)], dtype=np.float64)


def chain_misaligned(matrices: Matrices) -> Vector:
    """`misalignment` of the whole chain, of matrices that are known to fit."""
    units = [unit(np.asarray(W, dtype=np.float64))[0] for W in matrices]
    sizes = [norm(W) for W in units]
    # far below ||W||_F for a layer with many equal singular values, which would count as noise what is none
    spectral = [math.sqrt(gram_norm(W)) for W in units]
    rounding = [max(W.shape) * noise(W) for W in matrices]
    worst = np.zeros(len(units) - 1)
    for i in range(len(units) - 1):
        V, error = units[i + 1], rounding[i + 1] * sizes[i + 1]
        for b in range(i + 1, len(units)):
            if b > i + 1:
                error = spectral[b] * error + rounding[b] * sizes[b] * norm(V)
                V, exponent = unit(units[b] @ V)
                error = math.ldexp(error, -exponent)
            floor = spectral[i] * error + rounding[i] * sizes[i] * norm(V)
            worst[i] = max(worst[i], angle(units[i], V, floor)[0])
    return worst


def balance(matrices: Matrices) -> Vector:
    """`balancedness` of matrices that are known to fit."""
    out = np.empty(len(matrices) - 1)
    for i in range(len(out)):
        W, V = (np.asarray(M, dtype=np.float64) for M in matrices[i : i + 2])
        exponent = max(unit(W)[1], unit(V)[1])  # one power of two for both: the difference has a scale
        W, V = np.ldexp(W, -exponent), np.ldexp(V, -exponent)
        k, a, b = W.shape[0], W.shape[1], V.shape[0]
        if k >= 64 and k > 8 * (a + b):
            R = np.linalg.qr(np.hstack([W, V.T]))[1]
            W, V = R[:, :a], R[:, a:].T
        W, V = thin(W), thin(V)
        with np.errstate(over="ignore"):
            out[i] = np.ldexp(frobenius(V.T @ V - W @ W.T), 2 * exponent)
    return out
