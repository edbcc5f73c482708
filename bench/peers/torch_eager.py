"""PyTorch, eager: as its users train (modules and SGD), with functional autograd, and with the gradient by hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from ..workloads import Array, Case

Tensor = torch.Tensor


def variants(case: Case) -> dict[str, Callable[[], _Autograd | _Manual]]:
    return {
        "SGD, foreach": lambda: _Modules(case, foreach=True),
        "SGD, fused": lambda: _Modules(case, fused=True),
        "autograd.grad": lambda: _Functional(case),
        "by hand, addmm_": lambda: _Manual(case),
    }


def _loss(case: Case) -> Callable[[Tensor], Tensor]:
    Y = torch.from_numpy(case.Y)
    if case.loss == "squared":
        return lambda F: 0.5 * functional.mse_loss(F, Y, reduction="sum")
    if case.loss == "cross_entropy":
        return lambda F: functional.cross_entropy(F, Y)
    raise ValueError(f"loss is {case.loss!r}; the peers know 'squared' and 'cross_entropy'")


class _Autograd:
    def __init__(self, case: Case) -> None:
        self.X, self.loss, self.lr = torch.from_numpy(case.X), _loss(case), case.lr
        self.W = [torch.tensor(W, requires_grad=True) for W in case.weights]

    def prepare(self, steps: int) -> None:
        pass

    def weights(self) -> list[Array]:
        return [W.detach().numpy().copy() for W in self.W]


class _WithModules(_Autograd):
    """As most users train: modules, a loss, backward, an optimiser."""

    def build(self, layers: list[torch.nn.Module], **options: bool) -> None:
        """Modules with a `weight` each, which take the weights, and their optimiser."""
        for layer, W in zip(layers, self.W, strict=True):
            layer.weight = torch.nn.Parameter(W.detach())
        self.net = torch.nn.Sequential(*layers)
        self.W = list(self.net.parameters())
        self.optimiser = torch.optim.SGD(self.W, lr=self.lr, **options)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.optimiser.zero_grad(set_to_none=True)
            self.loss(self.net(self.X)).backward()
            self.optimiser.step()


class _Modules(_WithModules):
    def __init__(self, case: Case, **options: bool) -> None:
        super().__init__(case)
        self.build([torch.nn.Linear(W.shape[1], W.shape[0], bias=False, dtype=W.dtype) for W in self.W], **options)


class _Functional(_Autograd):
    def run(self, steps: int) -> None:
        for _ in range(steps):
            A = self.X
            for W in self.W:
                A = functional.linear(A, W)
            gradients = torch.autograd.grad(self.loss(A), self.W)
            with torch.no_grad():
                torch._foreach_add_(self.W, gradients, alpha=-self.lr)


class _Manual:
    """Products into buffers made once; the gradient is added to the weights inside its product."""

    def __init__(self, case: Case) -> None:
        self.W = [torch.tensor(W) for W in case.weights]
        self.A = [torch.from_numpy(case.X), *(torch.empty(len(case.X), len(W), dtype=W.dtype) for W in self.W)]
        self.D = [*(torch.empty_like(A) for A in self.A[1:-1]), self.A[-1]]
        self.residual = _residual(case, self.A[-1])
        self.lr = case.lr

    def prepare(self, steps: int) -> None:
        pass

    def weights(self) -> list[Array]:
        return [W.numpy().copy() for W in self.W]

    @torch.inference_mode()
    def run(self, steps: int) -> None:
        W, A, D, mm, rate = self.W, self.A, self.D, torch.mm, -self.lr
        up = [(A[i], W[i].t(), A[i + 1]) for i in range(len(W))]
        down = [(D[i], W[i], D[i - 1], D[i].t(), A[i]) for i in range(len(W) - 1, 0, -1)]
        DT_1, X, W_1, residual = D[0].t(), A[0], W[0], self.residual
        for _ in range(steps):
            for a, wt, above in up:
                mm(a, wt, out=above)
            residual()
            for d, w, below, dt, a in down:
                mm(d, w, out=below)
                w.addmm_(dt, a, alpha=rate)
            W_1.addmm_(DT_1, X, alpha=rate)


def _residual(case: Case, F: Tensor) -> Callable[[], object]:
    """A function that turns the outputs in `F` into the gradient of the loss in them, in place."""
    Y = torch.from_numpy(case.Y)
    if case.loss == "squared":
        return lambda: F.sub_(Y)
    if case.loss != "cross_entropy":
        raise ValueError(f"loss is {case.loss!r}; the peers know 'squared' and 'cross_entropy'")
    hot = functional.one_hot(Y, F.shape[1]).to(F.dtype)
    return lambda: torch.softmax(F, 1, out=F).sub_(hot).div_(len(F))
