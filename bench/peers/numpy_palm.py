"""A sweep of palm4msa in NumPy for Toeplitz factors: each in turn, from the newest product."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import toeplitz

from ..workloads import Array, Case


def variants(case: Case) -> dict[str, Callable[[], Sweeps]]:
    return {"matmul, bincount": lambda: Sweeps(case)}


class Sweeps:
    """The products above a factor are known from the sweep's beginning, those below it grow along the way."""

    def __init__(self, case: Case) -> None:
        self.T, self.lr, n = case.Y, case.lr, len(case.Y)
        self.W = [toeplitz(t[n - 1 :: -1], t[n - 1 :]) for t in case.weights]
        self.index = (np.arange(n) - np.arange(n)[:, None] + n - 1).ravel()
        self.count = np.bincount(self.index)

    def prepare(self, steps: int) -> None:
        pass

    def run(self, steps: int) -> None:
        W, shape = self.W, self.T.shape
        for _ in range(steps):
            above: list[Array | None] = [None]
            for w in W[:0:-1]:
                above.insert(0, w if above[0] is None else above[0] @ w)
            below: Array | None = None
            for i, w in enumerate(W):
                up = above[i]
                F = w if below is None else w @ below
                G = (F if up is None else up @ F) - self.T
                G = G if up is None else up.T @ G
                G = G if below is None else G @ below.T
                # the projection of the gradient, as the factor itself is Toeplitz
                mean = np.bincount(self.index, G.ravel()) / self.count
                w -= self.lr * mean[self.index].reshape(shape)
                below = w if below is None else w @ below

    def weights(self) -> list[Array]:
        return [np.concatenate([w[:0:-1, 0], w[0]]) for w in self.W]
