"""Update rules in NumPy, in place and into buffers made once: each a function without arguments, called after the gradient is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..descents import QUINTIC, RULES
from ..workloads import Array

Update = Callable[[], None]


def make(rule: str, lr: float, theta: Array, g: Array, W: Sequence[Array], G: Sequence[Array]) -> Update:
    """`theta` and `g` are all weights and gradients in one vector, `W` and `G` the same by layer. SGD's gradient comes times `lr`."""
    if rule == "sgd":
        return lambda: _subtract(theta, g)
    if rule == "adam":
        return _adam(lr, theta, g)
    if rule == "group_rmsprop":
        return _group_rmsprop(lr, theta, g)
    if rule == "muon":
        return _muon(lr, W, G)
    raise ValueError(f"rule is {rule!r}; the peers know {', '.join(RULES)}")


def _subtract(theta: Array, g: Array) -> None:
    np.subtract(theta, g, theta)


def _adam(lr: float, theta: Array, g: Array) -> Update:
    b1, b2, eps = (RULES["adam"][name] for name in ("b1", "b2", "eps"))
    m, v, by = np.zeros_like(g), np.zeros_like(g), np.empty_like(g)
    p1 = p2 = 1.0
    add, multiply, divide, sqrt, subtract = np.add, np.multiply, np.divide, np.sqrt, np.subtract

    def update() -> None:
        nonlocal p1, p2
        p1, p2 = p1 * b1, p2 * b2
        multiply(v, b2, v)
        multiply(g, g, by)
        multiply(by, 1 - b2, by)
        add(v, by, v)
        multiply(m, b1, m)
        multiply(g, 1 - b1, g)
        add(m, g, m)
        # lr (m / (1 - p1)) / (sqrt(v / (1 - p2)) + eps), with the factors of the root taken out of the quotient
        root = (1 - p2) ** 0.5
        sqrt(v, by)
        add(by, eps * root, by)
        divide(m, by, by)
        multiply(by, lr * root / (1 - p1), by)
        subtract(theta, by, theta)

    return update


def _group_rmsprop(lr: float, theta: Array, g: Array) -> Update:
    a, eps = RULES["group_rmsprop"]["alpha"], RULES["group_rmsprop"]["eps"]
    v, power = 0.0, 1.0

    def update() -> None:
        nonlocal v, power
        power *= a
        v = a * v + (1 - a) * float(g.dot(g))
        np.multiply(g, lr / ((v / (1 - power)) ** 0.5 + eps), g)
        np.subtract(theta, g, theta)

    return update


def _muon(lr: float, W: Sequence[Array], G: Sequence[Array]) -> Update:
    b, decay, steps, eps = (RULES["muon"][name] for name in ("momentum", "weight_decay", "steps", "eps"))
    turns = [_Orthogonal(w.shape, w.dtype, int(steps), eps) for w in W]
    means = [np.zeros_like(w) for w in W]

    def update() -> None:
        for w, g, mean, turn in zip(W, G, means, turns, strict=True):
            # mean <- b mean + (1 - b) g, then Nesterov's (1 - b) g + b mean into g
            np.multiply(mean, b, mean)
            np.multiply(g, 1 - b, g)
            np.add(mean, g, mean)
            np.multiply(mean, b, turn.given)
            np.add(g, turn.given, turn.given)
            M = turn()
            np.multiply(w, 1 - lr * decay, w)
            np.multiply(M, lr * max(1.0, w.shape[0] / w.shape[1]) ** 0.5, M)
            np.subtract(w, M, w)

    return update


class _Orthogonal:
    """Newton-Schulz on the shorter side; the matrix is written to `given`."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, steps: int, eps: float) -> None:
        self.given, self.other = np.empty(shape, dtype), np.empty(shape, dtype)
        k = min(shape)
        self.gram, self.square = np.empty((k, k), dtype), np.empty((k, k), dtype)
        self.steps, self.eps, self.tall = steps, eps, shape[0] > shape[1]

    def __call__(self) -> Array:
        a, b, c = QUINTIC
        M, N, gram, square = self.given, self.other, self.gram, self.square
        np.divide(M, max(float(np.linalg.norm(M)), self.eps), M)
        for _ in range(self.steps):
            # NumPy takes the symmetric product where a matrix meets its own transpose
            np.dot(M.T, M, gram) if self.tall else np.dot(M, M.T, gram)
            np.dot(gram, gram, square)
            np.multiply(square, c, square)
            np.multiply(gram, b, gram)
            np.add(square, gram, square)
            np.dot(M, square, N) if self.tall else np.dot(square, M, N)
            np.multiply(M, a, M)
            np.add(N, M, N)
            M, N = N, M
        return M
