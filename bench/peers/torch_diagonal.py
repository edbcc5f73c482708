"""PyTorch: a diagonal layer and one output, one row a step by SGD: as its users train, and by hand in place."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..descents import DescentCase
from ..workloads import Array
from .torch_descent import Descending


def variants(case: DescentCase) -> dict[str, Callable[[], Diagonals]]:
    return {"SGD, fused": lambda: Autograd(case), "by hand, in place": lambda: Manual(case)}


class Diagonals(Descending):
    def __init__(self, case: DescentCase) -> None:
        super().__init__(case)
        self.W = [torch.tensor(W).flatten() for W in case.weights]
        self.xs, self.ys = self.X.unbind(), self.Y[:, 0]

    def weights(self) -> list[Array]:
        u, v = super().weights()
        return [u, v[None]]

    def prepare(self, steps: int) -> None:
        if steps not in self.orders:
            order = self.case.order(steps)
            assert order is not None
            self.orders[steps] = order[:, 0].tolist()


class Autograd(Diagonals):
    def __init__(self, case: DescentCase) -> None:
        super().__init__(case)
        for W in self.W:
            W.requires_grad_()
        self.optimiser = torch.optim.SGD(self.W, lr=case.lr, fused=True)

    def run(self, steps: int) -> None:
        self.prepare(steps)
        (u, v), xs, ys = self.W, self.xs, self.ys.unbind()
        for i in self.orders[steps]:
            self.optimiser.zero_grad(set_to_none=True)
            (0.5 * (torch.dot(u * v, xs[i]) - ys[i]) ** 2).backward()
            self.optimiser.step()


class Manual(Diagonals):
    @torch.inference_mode()
    def run(self, steps: int) -> None:
        self.prepare(steps)
        (u, v), xs, ys, rate = self.W, self.xs, self.ys.tolist(), self.case.lr
        product, change = torch.empty_like(u), torch.empty_like(u)
        for i in self.orders[steps]:
            x = xs[i]
            torch.mul(u, v, out=product)
            torch.mul(x, rate * (float(torch.dot(product, x)) - ys[i]), out=change)
            torch.mul(change, v, out=product)
            v.addcmul_(change, u, value=-1)
            u.sub_(product)
