"""PyTorch's sparse products, by hand: CSR matrices of both orders, and `sampled_addmm`, which adds the gradient of the nonzeros."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import torch
from scipy import sparse

from ..workloads import Array, Case

Tensor = torch.Tensor


def variants(case: Case) -> dict[str, Callable[[], Loop]]:
    return {"sampled_addmm": partial(Loop, case, False), "gather": partial(Loop, case, True)}


def _csr(data: Tensor, pattern: sparse.csr_array) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CSR is in beta
        return torch.sparse_csr_tensor(torch.from_numpy(pattern.indptr), torch.from_numpy(pattern.indices), data, pattern.shape)


class Loop:
    def __init__(self, case: Case, gather: bool) -> None:
        self.X, self.Y = (torch.from_numpy(A.T.copy()) for A in (case.X, case.Y))
        self.lr, self.gather = case.lr, gather
        self.values = [torch.tensor(theta) for theta in case.weights]
        self.W, self.turned, self.order, self.rows, self.cols = [], [], [], [], []
        for (_, (mask,)), theta in zip(case.layers, self.values, strict=True):
            numbered = sparse.csr_array((range(mask.nnz), mask.indices, mask.indptr), shape=mask.shape)
            places, other = numbered.tocoo(), numbered.T.tocsr()
            self.W.append(_csr(theta, mask))
            self.order.append(torch.from_numpy(other.data))
            self.turned.append(_csr(theta[self.order[-1]], other))
            self.rows.append(torch.from_numpy(places.row.copy()))
            self.cols.append(torch.from_numpy(places.col.copy()))

    def prepare(self, steps: int) -> None:
        pass

    @torch.inference_mode()
    def run(self, steps: int) -> None:
        W = self.W
        for _ in range(steps):
            A = [self.X]
            for w in W:
                A.append(w @ A[-1])
            D = A[-1].sub_(self.Y)
            for i in range(len(W) - 1, -1, -1):
                below = D
                if i:
                    torch.index_select(W[i].values(), 0, self.order[i], out=self.turned[i].values())
                    below = self.turned[i] @ D
                if self.gather:
                    G = (D[self.rows[i]] * A[i][self.cols[i]]).sum(1)
                    W[i].values().sub_(G, alpha=self.lr)
                else:
                    torch.sparse.sampled_addmm(W[i], D, A[i].t(), alpha=-self.lr, out=W[i])
                D = below

    def weights(self) -> list[Array]:
        return [w.values().numpy().copy() for w in self.W]
