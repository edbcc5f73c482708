"""PyTorch through `torch.compile`, which writes C++: a step of `torch.func.grad`, where a step is small several in one call.

Compiling is done before anything is timed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch.nn import functional

from ..workloads import Array, Case

Tensor = torch.Tensor
Loss = Callable[[list[Tensor], Tensor, Tensor], Tensor]

UNROLLED = 8
SMALL = 1e6


def absent(compiler: bool) -> str | None:
    """Why these variants cannot be had here, if so."""
    if not compiler:
        return "torch.compile: left out, as compilers are with --no-compiler"
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        return "torch.compile: there is no C++ compiler here"
    return None


def variants(case: Case) -> dict[str, Callable[[], Compiled]]:
    known = {"compiled": lambda: _on(case, 1)}
    if sum(W.size for W in case.weights) * len(case.X) < SMALL:
        known[f"compiled, {UNROLLED} steps a call"] = lambda: _on(case, UNROLLED)
    return known


def _on(case: Case, unroll: int) -> Compiled:
    return Compiled(partial(_loss, case.loss), [torch.tensor(W) for W in case.weights], case.X, case.Y, case.lr, unroll)


def _loss(kind: str, W: list[Tensor], X: Tensor, Y: Tensor) -> Tensor:
    A = X
    for w in W:
        A = functional.linear(A, w)
    if kind == "squared":
        return 0.5 * ((A - Y) ** 2).sum()
    if kind == "cross_entropy":
        return functional.cross_entropy(A, Y)
    raise ValueError(f"loss is {kind!r}; the peers know 'squared' and 'cross_entropy'")


class Compiled:
    """Steps of gradient descent on `loss(W, X, Y)`, compiled for one step and for `unroll` of them."""

    def __init__(self, loss: Loss, weights: Sequence[Tensor], X: Array, Y: Array, lr: float, unroll: int) -> None:
        self.W = list(weights)
        self.X, self.Y, self.unroll = torch.from_numpy(X), torch.from_numpy(Y), unroll
        gradient = torch.func.grad(loss)

        def steps(W: list[Tensor], X: Tensor, Y: Tensor, count: int) -> list[Tensor]:
            for _ in range(count):
                W = [w - lr * g for w, g in zip(W, gradient(W, X, Y), strict=True)]
            return W

        self._one, self._many = (torch.compile(partial(steps, count=count), fullgraph=True, dynamic=False) for count in (1, unroll))
        self._ready = False

    @torch.no_grad()
    def prepare(self, steps: int) -> None:
        """Call both, whatever the number of steps."""
        if not self._ready:
            for step in {self._one, self._many} if self.unroll > 1 else (self._one,):
                step(self.W, self.X, self.Y)
            self._ready = True

    @torch.no_grad()
    def run(self, steps: int) -> None:
        self.prepare(steps)
        W, X, Y = self.W, self.X, self.Y
        many, single = divmod(steps, self.unroll) if self.unroll > 1 else (0, steps)
        for _ in range(many):
            W = self._many(W, X, Y)
        for _ in range(single):
            W = self._one(W, X, Y)
        self.W = W

    def weights(self) -> list[Array]:
        return [W.numpy().copy() for W in self.W]
