"""NumPy on an ensemble: one network after the other, and all in one array, on data compressed by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from ..workloads import Array, Case, compressed
from . import Runner, shares
from .numpy_loop import Gemm


def variants(case: Case) -> dict[str, Callable[[], Runner]]:
    """Networks in the first axis are what `matmul` stacks; in the last one a product is vectors of networks for `einsum`."""
    case = compressed(case)
    known: dict[str, Callable[[Case], Runner]] = {"matmul, networks first": First, "einsum, networks last": Last}
    return {**shares.variants(known, case), "scipy gemm, one network after the other": partial(OneByOne, case)}


class OneByOne:
    def __init__(self, case: Case) -> None:
        self.runners = [Gemm(replace(case, weights=weights)) for weights in zip(*case.weights, strict=True)]

    def prepare(self, steps: int) -> None:
        pass

    def run(self, steps: int) -> None:
        for runner in self.runners:
            runner.run(steps)

    def weights(self) -> list[Array]:
        return [np.stack(layer) for layer in zip(*(runner.weights() for runner in self.runners), strict=True)]


class First:
    """Weights `(nets, k_i, k_{i-1})`, activations `(nets, n, k_i)`; the inputs are shared."""

    def __init__(self, case: Case) -> None:
        self.X, self.Y, self.lr = case.X, case.Y, case.lr
        self.W = [W.copy() for W in case.weights]
        nets, n = len(self.W[0]), len(case.X)
        self.A = [np.empty((nets, n, W.shape[1]), W.dtype) for W in self.W]
        self.D = [*(np.empty_like(A) for A in self.A[:-1]), self.A[-1]]
        self.G = [np.empty_like(W) for W in self.W]

    def prepare(self, steps: int) -> None:
        pass

    def run(self, steps: int) -> None:
        W, D, G, matmul, subtract = self.W, self.D, self.G, np.matmul, np.subtract
        A = [self.X, *self.A]
        up = [(A[i], W[i].transpose(0, 2, 1), A[i + 1]) for i in range(len(W))]
        down = [(D[i], W[i], D[i - 1], D[i].transpose(0, 2, 1), A[i], G[i]) for i in range(len(W) - 1, 0, -1)]
        F, D_1 = A[-1], D[0].transpose(0, 2, 1)
        for _ in range(steps):
            for a, wt, above in up:
                matmul(a, wt, out=above)
            subtract(F, self.Y, F)
            np.multiply(F, self.lr, F)
            for d, w, below, dt, a, g in down:
                matmul(d, w, out=below)
                matmul(dt, a, out=g)
                subtract(w, g, w)
            matmul(D_1, self.X, out=G[0])
            subtract(W[0], G[0], W[0])

    def weights(self) -> list[Array]:
        return [W.copy() for W in self.W]


class Last:
    """Weights `(k_i, k_{i-1}, nets)`, activations `(k_i, n, nets)`."""

    def __init__(self, case: Case) -> None:
        self.X, self.Y, self.lr = case.X.T.copy(), case.Y.T[:, :, None].copy(), case.lr
        self.W = [np.ascontiguousarray(W.transpose(1, 2, 0)) for W in case.weights]
        nets, n = self.W[0].shape[2], len(case.X)
        self.A = [np.empty((W.shape[0], n, nets), W.dtype) for W in self.W]
        self.D = [*(np.empty_like(A) for A in self.A[:-1]), self.A[-1]]
        self.G = [np.empty_like(W) for W in self.W]

    def prepare(self, steps: int) -> None:
        pass

    def run(self, steps: int) -> None:
        W, A, D, G, X, einsum, subtract = self.W, self.A, self.D, self.G, self.X, np.einsum, np.subtract
        for _ in range(steps):
            einsum("ijv,js->isv", W[0], X, out=A[0])
            for i in range(1, len(W)):
                einsum("ijv,jsv->isv", W[i], A[i - 1], out=A[i])
            subtract(A[-1], self.Y, A[-1])
            np.multiply(A[-1], self.lr, A[-1])
            for i in range(len(W) - 1, 0, -1):
                einsum("ijv,isv->jsv", W[i], D[i], out=D[i - 1])
                einsum("isv,jsv->ijv", D[i], A[i - 1], out=G[i])
                subtract(W[i], G[i], W[i])
            einsum("isv,js->ijv", D[0], X, out=G[0])
            subtract(W[0], G[0], W[0])

    def weights(self) -> list[Array]:
        return [np.ascontiguousarray(W.transpose(2, 0, 1)) for W in self.W]
