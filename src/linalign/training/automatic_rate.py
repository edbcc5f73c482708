"""Automatic rate: a learning rate from the curvature of the loss at the start and at balanced layers that fit the targets."""

from __future__ import annotations

import numpy as np

from ..layers.homogeneous import Homogeneous
from ..losses import Loss, resolve
from ..problem.network import Network
from ..validate import Array

# a bound of the loss's second derivative in one output, over its factor
CURVATURE = {"squared": 2.0, "cross_entropy": 0.5, "logistic": 0.25, "exponential": 1.0}
# how much larger than ||Y|| / ||X|| the end-to-end matrix may become
ROOM = 8


def automatic_rate(net: Network, X: Array, Y: Array, loss: str | Loss, *, n: int | None = None, momentum: float = 0.0) -> float:
    """`(1 - momentum) / (c L G)`, a learning rate of the matrices at which most runs do not diverge.

    L is the largest eigenvalue of `X^T X`, c a bound of the loss's second derivative in an output, G the larger of
    `sum_i ||W_d ... W_{i+1}||^2 ||W_{i-1} ... W_1||^2` at the start and `d q^(2 - 2/d)`, which is that sum for balanced layers with
    an end-to-end matrix of norm `q = 8 ||Y|| / ||X||`. With biases all of this is of `[X 1]` and `[W_i b_i; 0 1]` (T16.2). No
    certificate: `theory.certify` is one.

    Shapes: `X (n, k_0)`, `Y (n, k_d)`, or compressed rows of `n` samples. Cost: `X^T X`, and a norm a layer.
    """
    kind = resolve(loss)
    X, matrices = beside_ones(net, X)
    gram = (X.T @ X if len(X) >= X.shape[1] else X @ X.T).astype(np.float64)
    largest = float(np.linalg.eigvalsh(gram)[-1])
    below, above = [np.eye(X.shape[1])], [np.eye(net.widths[-1])]
    for W in matrices[:-1]:
        below.append(W @ below[-1])
    for W in matrices[:0:-1]:
        above.append(above[-1] @ W)
    at_start = sum(float(np.linalg.norm(A, 2) * np.linalg.norm(B, 2)) ** 2 for A, B in zip(above[::-1], below, strict=True))
    q = ROOM * float(np.linalg.norm(Y)) / max(float(np.linalg.norm(X)), np.finfo(np.float64).tiny)
    grown = net.depth * q ** (2 - 2 / net.depth)
    curvature = CURVATURE[kind.kind] * kind.factor(len(X) if n is None else n, Y.shape[1]) * largest * max(at_start, grown)
    slowing = 1 - momentum if 0 <= momentum < 1 else 1.0  # other momenta are refused by train
    return slowing / curvature if curvature > 0 else 1.0


def beside_ones(net: Network, X: Array) -> tuple[Array, list[Array]]:
    """The rows and the matrices of the chain that a network with biases is."""
    if not net.has_biases:
        return X, net.matrices()
    last = net.depth - 1
    rows = np.hstack([X, np.ones((len(X), 1), dtype=X.dtype)])
    return rows, [Homogeneous(layer, i == last).matrix(theta) for i, (layer, theta) in enumerate(zip(net.layers, net.params, strict=True))]


def for_metric(net: Network, lr: float, metric: str) -> float | list[float]:
    """The same step for every layer: one of parameters is one of the matrix, as many times as long as they are shared (T5.1)."""
    shared = [float(layer.multiplicity.max(initial=1.0)) for layer in net.layers]
    return lr if metric == "matrix" or max(shared) == 1 else [lr / m for m in shared]
