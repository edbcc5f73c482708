"""Aligned starts in known bases, and how far a network has turned out of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

import linalign as la

from ..init.chains import haar
from ..theory.rows import off_diagonal
from ..validate import Array


def aligned_start(
    widths: Sequence[int], inputs: Array, outputs: Array, factors: Sequence[Array] | Array, seed: int = 0
) -> tuple[la.Network, list[Array]]:
    """`W_i = Q_i S_i Q_{i-1}^T` with `Q_0 = inputs (k_0, k_0)`, `Q_d = outputs (k_d, k_d)`, random ones between, and
    `factors[i]` on the diagonal of each; and these bases.
    """
    rng = np.random.default_rng(seed)
    bases = [inputs, *(haar(rng, k, k) for k in widths[1:-1]), outputs]
    layers = []
    for i, (low, high) in enumerate(pairwise(bases)):
        r = len(factors[i])
        layers.append((high[:, :r] * factors[i]) @ low[:, :r].T)
    return la.Network.from_matrices(layers), bases


def turned(bases: Sequence[Array]) -> Callable[[la.Network], float]:
    """A function of the network: the largest share of a layer's norm that is off the diagonal in these bases; 0 if nothing turned."""

    def turned(net: la.Network) -> float:
        parts = [(W, Q.T @ W @ P) for W, (P, Q) in zip(net.matrices(), pairwise(bases), strict=True)]
        return max(off_diagonal(E) / (float(np.linalg.norm(W)) or 1.0) for W, E in parts)

    return turned


def chain_sine(net: la.Network) -> float:
    """The largest sine of all pairs of words of the chain: 0 exactly if the network is aligned, in whatever bases (T1.2)."""
    return float(np.max(la.misalignment(net, chain=True), initial=0.0))
