"""SciPy's sparse products. Samples are columns, (in, n), so that a product reads and writes whole rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import sparse

from ..workloads import Array, Case

BLOCKS = (500, 2000, 8000)


def variants(case: Case) -> dict[str, Callable[[], Loop]]:
    """By how the gradient of the nonzeros is found."""
    known: dict[str, Callable[[], Loop]] = {f"blocks of {b}": partial(Gathered, case, b) for b in BLOCKS}
    return {**known, "row by row": partial(Rows, case), "dense product": partial(Dense, case)}


class Loop:
    """`W` and `W^T` both by rows: the values are copied into the order of the other one each step."""

    def __init__(self, case: Case) -> None:
        self.X, self.Y, self.lr = np.ascontiguousarray(case.X.T), np.ascontiguousarray(case.Y.T), case.lr
        self.W, self.turned, self.order, self.rows = [], [], [], []
        for (_, (mask,)), theta in zip(case.layers, case.weights, strict=True):
            numbered = sparse.csr_array((np.arange(mask.nnz), mask.indices, mask.indptr), shape=mask.shape).T.tocsr()
            self.W.append(sparse.csr_array((theta.copy(), mask.indices, mask.indptr), shape=mask.shape))
            self.order.append(numbered.data)
            self.turned.append(sparse.csr_array((theta[numbered.data], numbered.indices, numbered.indptr), shape=numbered.shape))
            self.rows.append(np.repeat(np.arange(mask.shape[0]), np.diff(mask.indptr)))

    def gradient(self, i: int, D: Array, A: Array) -> Array:
        raise NotImplementedError

    def prepare(self, steps: int) -> None:
        pass

    def run(self, steps: int) -> None:
        W = self.W
        for _ in range(steps):
            A = [self.X]
            for w in W:
                A.append(w @ A[-1])
            D = A[-1]
            np.subtract(D, self.Y, D)
            np.multiply(D, self.lr, D)
            for i in range(len(W) - 1, -1, -1):
                G = self.gradient(i, D, A[i])
                if i:
                    np.take(W[i].data, self.order[i], out=self.turned[i].data)
                    D = self.turned[i] @ D
                W[i].data -= G

    def weights(self) -> list[Array]:
        return [w.data.copy() for w in self.W]


class Gathered(Loop):
    """The rows of both sides, gathered in blocks that stay in the cache."""

    def __init__(self, case: Case, block: int) -> None:
        super().__init__(case)
        self.room = np.empty((2, block, len(case.X)), self.X.dtype)
        self.found = [np.empty_like(w.data) for w in self.W]

    def gradient(self, i: int, D: Array, A: Array) -> Array:
        rows, cols, found, block = self.rows[i], self.W[i].indices, self.found[i], self.room.shape[1]
        for at in range(0, len(rows), block):
            own = slice(at, at + block)
            left, right = self.room[:, : len(rows[own])]
            np.take(D, rows[own], axis=0, out=left, mode="clip")
            np.take(A, cols[own], axis=0, out=right, mode="clip")
            np.vecdot(left, right, out=found[own])
        return found


class Rows(Loop):
    """A small product a row of the mask."""

    def gradient(self, i: int, D: Array, A: Array) -> Array:
        indptr, cols = self.W[i].indptr.tolist(), self.W[i].indices
        return np.concatenate([A[cols[a:b]] @ d for d, a, b in zip(D, indptr, indptr[1:], strict=False)])


class Dense(Loop):
    """The whole product, of which the nonzeros are taken."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.room = np.empty((max(w.shape[0] for w in self.W), max(w.shape[1] for w in self.W)), self.X.dtype)
        self.places = [rows * w.shape[1] + w.indices for rows, w in zip(self.rows, self.W, strict=True)]

    def gradient(self, i: int, D: Array, A: Array) -> Array:
        shape = self.W[i].shape
        whole = self.room.ravel()[: shape[0] * shape[1]].reshape(shape)
        return np.matmul(D, A.T, out=whole).ravel()[self.places[i]]
