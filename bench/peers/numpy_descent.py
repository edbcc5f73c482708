"""NumPy with a rule and batches: all weights in one vector, products and rows into buffers made once, one row a step by vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.linalg import blas

from ..descents import DescentCase
from ..workloads import Array
from .numpy_loop import Gemm
from .numpy_rules import make

Product = Callable[[Array, Array, Array], Array]


def variants(case: DescentCase) -> dict[str, Callable[[], Batched | OneRow | GemmBatches]]:
    known: dict[str, Callable[[], Batched | OneRow | GemmBatches]] = {"dot": lambda: Batched(case, np.dot)}
    if case.rule == "sgd" and case.batch == 1:
        known["one row, ger"] = lambda: OneRow(case)
    elif case.rule == "sgd":
        known["scipy gemm"] = lambda: GemmBatches(case)
    else:
        known["matmul"] = lambda: Batched(case, np.matmul)
    return known


def flat(weights: Sequence[Array]) -> tuple[Array, list[Array]]:
    """A vector and views of it in these shapes, with these entries."""
    theta = np.concatenate([W.ravel() for W in weights])
    ends = np.cumsum([0, *(W.size for W in weights)])
    return theta, [theta[a:b].reshape(W.shape) for a, b, W in zip(ends[:-1], ends[1:], weights, strict=True)]


class _Ordered:
    """What knows the rows of its steps."""

    case: DescentCase
    W: Sequence[Array]

    def __init__(self) -> None:
        self.orders: dict[int, Sequence[Array] | None] = {}

    def prepare(self, steps: int) -> None:
        if steps not in self.orders:
            order = self.case.order(steps)
            self.orders[steps] = None if order is None else list(order)

    def weights(self) -> list[Array]:
        return [W.copy() for W in self.W]


class Batched(_Ordered):
    """Backpropagation on the rows of a step, then the rule."""

    def __init__(self, case: DescentCase, product: Product) -> None:
        super().__init__()
        self.case, self.product = case, product
        rows = case.batch or len(case.X)
        self.theta, W = flat(case.weights)
        self.W = W
        g, G = flat([np.zeros_like(w) for w in W])
        inputs = case.X if case.batch is None else np.empty((rows, case.X.shape[1]), case.X.dtype)
        self.Y = case.Y if case.batch is None else np.empty((rows, case.Y.shape[1]), case.X.dtype)
        A = [inputs, *(np.empty((rows, len(w)), inputs.dtype) for w in W)]
        D = [*(np.empty_like(a) for a in A[1:-1]), A[-1]]
        self.up = [(A[i], W[i].T, A[i + 1]) for i in range(len(W))]
        self.down = [(D[i], W[i], D[i - 1], D[i].T, A[i], G[i]) for i in range(len(W) - 1, 0, -1)]
        self.first = (D[0].T, A[0], G[0])
        self.A, self.D = A, D
        self.update = make(case.rule, case.lr, self.theta, g, W, G)

    def run(self, steps: int) -> None:
        self.prepare(steps)
        order, product, subtract, multiply, update = self.orders[steps], self.product, np.subtract, np.multiply, self.update
        up, down, (DT_1, X, G_1), F, Y = self.up, self.down, self.first, self.A[-1], self.Y
        # the gradient of SGD comes times its rate: that is smaller where the errors are
        rate = self.case.lr if self.case.rule == "sgd" else None
        for t in range(steps):
            if order is not None:
                self.case.X.take(order[t], 0, X, "clip")
                self.case.Y.take(order[t], 0, Y, "clip")
            for A, WT, above in up:
                product(A, WT, above)
            subtract(F, Y, F)
            if rate is not None:
                multiply(F, rate, F)
            for D, W, below, DT, A, G in down:
                product(D, W, below)
                product(DT, A, G)
            product(DT_1, X, G_1)
            update()


class GemmBatches(Gemm, _Ordered):
    """SciPy's products that add the gradient to the weights, as in `numpy_loop`, a step at a time on rows that are copied."""

    def __init__(self, case: DescentCase) -> None:
        _Ordered.__init__(self)
        self.case = case
        rows = slice(case.batch)
        self.X, self.Y = case.X[rows].copy(), case.Y[rows].copy()
        Gemm.__init__(self, replace(case, X=self.X, Y=self.Y))

    prepare = _Ordered.prepare

    def run(self, steps: int) -> None:
        self.prepare(steps)
        order, X, Y = self.orders[steps], self.case.X, self.case.Y
        if order is None:
            super().run(steps)
            return
        once = super().run
        for rows in order:
            X.take(rows, 0, self.X, "clip")
            Y.take(rows, 0, self.Y, "clip")
            once(1)


class RowByRow:
    """What sees one row a step: their numbers, worked out before the clock runs."""

    def __init__(self, case: DescentCase) -> None:
        self.case = case
        self.kept: dict[int, list[int]] = {}

    def prepare(self, steps: int) -> None:
        if steps not in self.kept:
            order = self.case.order(steps)
            assert order is not None
            self.kept[steps] = order[:, 0].tolist()


class OneRow(RowByRow):
    """SGD on one row: matrices meet vectors, and an outer product is added to each layer in place."""

    def __init__(self, case: DescentCase) -> None:
        super().__init__(case)
        self.W = [W.copy() for W in case.weights]
        self.A = [np.empty(len(W), W.dtype) for W in self.W]
        self.D = [np.empty_like(A) for A in self.A]
        self.xs, self.ys = list(case.X), list(case.Y)

    def run(self, steps: int) -> None:
        self.prepare(steps)
        W, A, D, dot = self.W, self.A, self.D, np.dot
        ger = blas.dger if W[0].dtype == np.float64 else blas.sger
        last, rate, xs, ys = len(W) - 1, self.case.lr, self.xs, self.ys
        subtract, multiply = np.subtract, np.multiply
        # to BLAS a row-major layer is its transpose: W^T -= a d^T
        up = [(W[i], A[i - 1], A[i]) for i in range(1, len(W))]
        down = [(D[i], W[i], D[i - 1], A[i - 1], W[i].T) for i in range(last, 0, -1)]
        W_1, A_1, D_1, WT_1, last_A, last_D = W[0], A[0], D[0], W[0].T, A[last], D[last]
        for i in self.kept[steps]:
            x = xs[i]
            dot(W_1, x, A_1)
            for w, a, above in up:
                dot(w, a, above)
            subtract(last_A, ys[i], last_D)
            multiply(last_D, rate, last_D)
            for d, w, below, a, wt in down:
                dot(d, w, below)
                ger(-1.0, a, d, 1, 1, wt, 1, 1, 1)
            ger(-1.0, x, D_1, 1, 1, WT_1, 1, 1, 1)

    def weights(self) -> list[Array]:
        return [W.copy() for W in self.W]
