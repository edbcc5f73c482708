"""PyTorch on an ensemble: products of stacks by hand, on data compressed by hand."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..workloads import Array, Case, compressed
from . import Runner, shares


def variants(case: Case) -> dict[str, Callable[[], Runner]]:
    return shares.variants({"baddbmm_, by hand": Stack}, compressed(case), lambda: torch.set_num_threads(1))


class Stack:
    """Weights `(nets, k_i, k_{i-1})`; the gradient is added to the weights inside its product."""

    def __init__(self, case: Case) -> None:
        self.W = [torch.tensor(W) for W in case.weights]
        nets, n = len(self.W[0]), len(case.X)
        self.X, self.Y, self.lr = torch.from_numpy(case.X).expand(nets, -1, -1), torch.from_numpy(case.Y), case.lr
        self.A = [self.X, *(torch.empty(nets, n, W.shape[1], dtype=W.dtype) for W in self.W)]
        self.D = [*(torch.empty_like(A) for A in self.A[1:-1]), self.A[-1]]

    def prepare(self, steps: int) -> None:
        pass

    @torch.inference_mode()
    def run(self, steps: int) -> None:
        W, A, D, bmm, rate = self.W, self.A, self.D, torch.bmm, -self.lr
        up = [(A[i], W[i].mT, A[i + 1]) for i in range(len(W))]
        down = [(D[i], W[i], D[i - 1], D[i].mT, A[i]) for i in range(len(W) - 1, 0, -1)]
        F, DT_1, X, W_1, Y = A[-1], D[0].mT, self.X, W[0], self.Y
        for _ in range(steps):
            for a, wt, above in up:
                bmm(a, wt, out=above)
            F.sub_(Y)
            for d, w, below, dt, a in down:
                bmm(d, w, out=below)
                w.baddbmm_(dt, a, alpha=rate)
            W_1.baddbmm_(DT_1, X, alpha=rate)

    def weights(self) -> list[Array]:
        return [W.numpy().copy() for W in self.W]
