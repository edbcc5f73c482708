"""The authors' scores as they define them, by PyTorch's singular value decomposition: it shares no code with the package."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tests.required import oracle

torch = oracle("torch")


def decomposed(Ws):
    """Thin: U, and V with its vectors as columns."""
    found = [torch.linalg.svd(torch.from_numpy(np.array(W, dtype=np.float64)), full_matrices=False) for W in Ws]
    return [(U, Vh.T) for U, _, Vh in found]


def largest_products(these, those):
    """For every column of `these`, the largest absolute product with a column of `those`."""
    return [float(max(abs(torch.dot(a, b)) for b in those.T)) for a in these.T]


def alignment(Ws):
    """Every vector of the upper layers, its best partner below; the sum over their number."""
    layers = decomposed(Ws)
    scores = [score for (U, _), (_, V) in pairwise(layers) for score in largest_products(V, U)]
    return sum(scores) / len(scores)


def invariance(start, Ws):
    """Every vector of the start, of U but in the last layer and of V but in the first, its best partner now."""
    first, now = decomposed(start), decomposed(Ws)
    scores = []
    for i, ((U0, V0), (U, V)) in enumerate(zip(first, now, strict=True)):
        if i < len(Ws) - 1:
            scores += largest_products(U0, U)
        if i > 0:
            scores += largest_products(V0, V)
    return sum(scores) / len(scores)


def top_invariance(start, Ws):
    """The mean over 2 d terms; the two vectors of a pair change their signs together, so that their sum is not negative."""
    total = 0.0
    for (U0, V0), (U, V) in zip(decomposed(start), decomposed(Ws), strict=True):
        total += abs(float(U0[:, 0] @ U[:, 0]) + float(V0[:, 0] @ V[:, 0]))
    return total / (2 * len(Ws))
