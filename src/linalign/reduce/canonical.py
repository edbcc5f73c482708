"""Canonical: coordinates of a block that depend on nothing but its maps, so that isometric blocks become equal arrays (T8.3).

Isometric means `W_i' = O_i W_i O_{i-1}^T`, `X' = X O_0^T` and `T' = T O_d^T` up to a rotation of the samples, with orthogonal
`O_i`. Vertex 0 takes the eigenvectors of a fixed random combination of closed words (products of the maps that lead from
vertex 0 back to it), with signs from a second one; every other vertex the orthonormal factor of a fixed random combination of
what reaches it. Nothing is taken on trust: the caller compares the arrays, so a basis that is not unique costs a merger, no more.
"""

from __future__ import annotations

import numpy as np

from ..linear_algebra import signed_qr
from ..linear_algebra.waited import interruptible
from ..validate import Array
from .blocks import NOISE


def rotations(weights: list[Array], s: Array, targets: Array, scales: list[float]) -> list[Array]:
    """Orthogonal `R_i (m_i, m_i)`, one a vertex: the canonical basis in the coordinates of the block.

    Shapes: weights `(m_i, m_{i-1})`, data `diag(s)` `(m_0,)`, targets `(m_0, m_d)`. `scales`: the norms of the layers, X and T
    of the whole problem, equal for all blocks, so that what is rounding beside the whole stays small.
    Cost: `O(d m^3)`.
    """
    layers = [W / scale for W, scale in zip(weights, scales, strict=False)]
    x = s / scales[-2]
    M = (targets.T * x) / scales[-1]
    rng = np.random.default_rng(0)
    words = _words(layers, x, M)
    V = interruptible(np.linalg.eigh, _symmetric(words, rng))[1]
    found = [V * _signs(V.T @ _symmetric(words, rng) @ V)]
    # what reaches each vertex, from below and from above: as many columns as the widest vertex has
    most = max(len(s), *(len(W) for W in layers))
    seen = [found[0] @ rng.standard_normal((len(s), most))]
    for W in layers:
        seen.append(W @ seen[-1])
    above = M @ seen[0]
    for i in reversed(range(1, len(seen))):
        seen[i] = _unit(seen[i]) + _unit(above) @ rng.standard_normal((most, most))
        above = layers[i - 1].T @ seen[i]
    for W, other in zip(layers, seen[1:], strict=True):
        reached = np.hstack([_unit(W @ found[-1]), _unit(other)])
        found.append(signed_qr(reached @ rng.standard_normal((reached.shape[1], len(W))))[0])
    return found


def form(weights: list[Array], s: Array, targets: Array, R: list[Array]) -> list[Array]:
    """The arrays of a block in these coordinates: layers, data and targets, equal for isometric blocks."""
    return [*(R[i + 1].T @ W @ R[i] for i, W in enumerate(weights)), (R[0].T * s) @ R[0], R[0].T @ targets @ R[-1]]


def _words(layers: list[Array], x: Array, M: Array) -> list[Array]:
    """Symmetric closed words at vertex 0: C, the Gram matrices of the products and of the targets, and how both go together."""
    words, product = [np.diag(x**2)], np.eye(len(x))
    for W in layers:
        product = W @ product
        words.append(product.T @ product)
    mixed = M.T @ product
    back = layers[-1].T @ M
    return [*words, M.T @ M, mixed + mixed.T, back.T @ back]


def _symmetric(words: list[Array], rng: np.random.Generator) -> Array:
    """A random combination of the words and of their products."""
    once, twice, thrice = (sum(c * word for c, word in zip(rng.uniform(0.5, 1.5, len(words)), words, strict=True)) for _ in range(3))
    product = np.asarray(twice) @ np.asarray(thrice)
    return np.asarray(once + product + product.T)


def _signs(A: Array) -> Array:
    """Signs that make the links of a maximum spanning tree of A positive; one overall sign stays, which changes no array."""
    signs = np.ones(len(A))
    inside = np.zeros(len(A), dtype=bool)
    inside[0] = True
    while not inside.all():
        links = np.where(inside[:, None] & ~inside, np.abs(A), -1.0)
        i, j = np.unravel_index(int(np.argmax(links)), links.shape)
        signs[j] = signs[i] * (-1.0 if A[i, j] < 0 else 1.0)
        inside[j] = True
    return signs


def _unit(A: Array) -> Array:
    """A with norm one, or zero where it is rounding."""
    norm = float(np.linalg.norm(A))
    return A / norm if norm > NOISE else np.zeros_like(A)
