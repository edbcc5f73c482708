"""linalign inside a loop of PyTorch: the same losses and optimisers, the product of the weights by `chain`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from linalign.interop.torch import chain

from ..workloads import Array, Case
from . import torch_eager


def variants(case: Case) -> dict[str, Callable[[], Any]]:
    return {
        "SGD, foreach": lambda: _Modules(case, foreach=True),
        "SGD, fused": lambda: _Modules(case, fused=True),
        "autograd.grad": lambda: _Functional(case),
    }


class _Loop:
    """The loss and the weights are those of torch's own loop."""

    def __init__(self, case: Case) -> None:
        plain = torch_eager.variants(case)["autograd.grad"]()
        self.X, self.loss, self.lr = plain.X, plain.loss, plain.lr
        self.W = [torch.nn.Parameter(W.detach()) for W in plain.W]
        self.loop = 0.0

    def prepare(self, steps: int) -> None:
        pass

    def run(self, steps: int) -> None:
        began = time.perf_counter()
        self.take(steps)
        self.loop = time.perf_counter() - began

    def take(self, steps: int) -> None:
        raise NotImplementedError

    def weights(self) -> list[Array]:
        return [W.detach().numpy().copy() for W in self.W]


class _Modules(_Loop):
    def __init__(self, case: Case, **options: bool) -> None:
        super().__init__(case)
        self.optimiser = torch.optim.SGD(self.W, lr=self.lr, **options)

    def take(self, steps: int) -> None:
        X, W, loss, optimiser = self.X, self.W, self.loss, self.optimiser
        for _ in range(steps):
            optimiser.zero_grad(set_to_none=True)
            loss(chain(X, *W)).backward()
            optimiser.step()


class _Functional(_Loop):
    def take(self, steps: int) -> None:
        for _ in range(steps):
            gradients = torch.autograd.grad(self.loss(chain(self.X, *self.W)), self.W)
            with torch.no_grad():
                torch._foreach_add_(self.W, gradients, alpha=-self.lr)
