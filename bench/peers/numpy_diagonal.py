"""NumPy: a diagonal layer and one output, one row a step by SGD: products of vectors into buffers made once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..descents import DescentCase
from ..workloads import Array
from .numpy_descent import RowByRow


def variants(case: DescentCase) -> dict[str, Callable[[], Diagonals]]:
    return {"in place": lambda: Diagonals(case)}


class Diagonals(RowByRow):
    def __init__(self, case: DescentCase) -> None:
        super().__init__(case)
        self.u, self.v = (W.flatten() for W in case.weights)
        # lr x beside x: one product less
        self.rows = list(zip(case.X, case.X * case.lr, case.Y[:, 0].tolist(), strict=True))
        self.product, self.change = np.empty_like(self.u), np.empty_like(self.u)

    def run(self, steps: int) -> None:
        self.prepare(steps)
        u, v, product, change, rows = self.u, self.v, self.product, self.change, self.rows
        multiply, subtract = np.multiply, np.subtract
        for i in self.kept[steps]:
            x, scaled, y = rows[i]
            multiply(u, v, product)
            # lr (f - y) x
            multiply(scaled, product.dot(x) - y, change)
            multiply(change, v, product)
            multiply(change, u, change)
            subtract(u, product, u)
            subtract(v, change, v)

    def weights(self) -> list[Array]:
        return [self.u.copy(), self.v[None].copy()]
