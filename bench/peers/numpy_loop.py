"""NumPy: products into buffers made once, gradients subtracted in place, nothing computed that is not needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import blas

from ..workloads import Array, Case


def variants(case: Case) -> dict[str, Callable[[], Loop | Gemm]]:
    """`np.dot` has the least overhead; SciPy's gemm adds the gradient to the weights in one call."""
    return {"dot": lambda: Loop(case, np.dot), "matmul": lambda: Loop(case, np.matmul), "scipy gemm": lambda: Gemm(case)}


def residual(case: Case, F: Array) -> Callable[[], None]:
    """A function that turns the outputs in `F (n, k_d)` into `lr` times the gradient in them, in place."""
    scale = F.dtype.type(case.lr if case.loss == "squared" else case.lr / len(F))
    Y = case.Y
    if case.loss == "squared":

        def squared() -> None:
            np.subtract(F, Y, F)
            np.multiply(F, scale, F)

        return squared
    if case.loss != "cross_entropy":
        raise ValueError(f"loss is {case.loss!r}; the peers know 'squared' and 'cross_entropy'")
    rows, largest = np.arange(len(F)), np.empty((len(F), 1), F.dtype)

    def cross_entropy() -> None:
        np.max(F, axis=1, keepdims=True, out=largest)
        np.subtract(F, largest, F)
        np.exp(F, F)
        np.sum(F, axis=1, keepdims=True, out=largest)
        np.divide(F, largest, F)
        F[rows, Y] -= 1
        np.multiply(F, scale, F)

    return cross_entropy


class _Buffers:
    """Weights, activations `A_0..A_d` and the gradients in them `D_1..D_d`; the outputs' buffer becomes `lr * D_d`."""

    def __init__(self, case: Case) -> None:
        self.W = [W.copy() for W in case.weights]
        self.A = [case.X, *(np.empty((len(case.X), len(W)), case.X.dtype) for W in self.W)]
        self.D = [*(np.empty_like(A) for A in self.A[1:-1]), self.A[-1]]
        self.residual = residual(case, self.A[-1])

    def prepare(self, steps: int) -> None:
        pass

    def weights(self) -> list[Array]:
        return [W.copy() for W in self.W]


class Loop(_Buffers):
    def __init__(self, case: Case, product: Callable[[Array, Array, Array], Array]) -> None:
        super().__init__(case)
        self.product = product
        W, A, D = self.W, self.A, self.D
        G = [np.empty_like(w) for w in W]
        self.up = [(A[i], W[i].T, A[i + 1]) for i in range(len(W))]
        self.down = [(D[i], W[i], D[i - 1], D[i].T, A[i], G[i]) for i in range(len(W) - 1, 0, -1)]
        self.first = (D[0].T, A[0], G[0])

    def run(self, steps: int) -> None:
        product, subtract, residual = self.product, np.subtract, self.residual
        up, down, (DT_1, X, G_1), W_1 = self.up, self.down, self.first, self.W[0]
        for _ in range(steps):
            for A, WT, above in up:
                product(A, WT, above)
            residual()
            for D, W, below, DT, A, G in down:
                product(D, W, below)
                product(DT, A, G)
                subtract(W, G, W)
            product(DT_1, X, G_1)
            subtract(W_1, G_1, W_1)


class Gemm(_Buffers):
    """SciPy's BLAS works on columns, so every product is written transposed: `C^T = B^T A^T`."""

    def run(self, steps: int) -> None:
        gemm = blas.dgemm if self.A[0].dtype == np.float64 else blas.sgemm
        W, A, D = ([M.T for M in group] for group in (self.W, self.A, self.D))
        for _ in range(steps):
            for i, w in enumerate(W):
                gemm(1.0, w, A[i], 0.0, A[i + 1], 1, 0, 1)  # A_{i+1}^T = W A_i^T
            self.residual()
            for i in range(len(W) - 1, 0, -1):
                gemm(1.0, W[i], D[i], 0.0, D[i - 1], 0, 0, 1)  # D_{i-1}^T = W^T D_i^T
                gemm(-1.0, A[i], D[i], 1.0, W[i], 0, 1, 1)  # W^T -= A_i^T D_i
            gemm(-1.0, A[0], D[0], 1.0, W[0], 0, 1, 1)
