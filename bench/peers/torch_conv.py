"""PyTorch's convolutions, eager: modules and SGD, functional autograd, and by hand; images as (n, c, h, w), or channels last."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from ..workloads import Array, Case
from .images import given, images, padding
from .torch_eager import Tensor, _Autograd, _WithModules

ORDERS = {"": torch.contiguous_format, ", channels last": torch.channels_last}
LARGE = 1e6


def variants(case: Case) -> dict[str, Callable[[], _Autograd]]:
    """Channels last matter to float32 alone; at a second a step autograd adds nothing but time."""
    if case.X.size > LARGE:
        return {"by hand": partial(_Manual, case, torch.contiguous_format)}
    known: dict[str, Callable[[], _Autograd]] = {}
    for name, order in ORDERS.items() if case.X.dtype == np.float32 else [("", torch.contiguous_format)]:
        known[f"SGD{name}"] = partial(_Modules, case, order)
        known[f"autograd.grad{name}"] = partial(_Functional, case, order)
        known[f"by hand{name}"] = partial(_Manual, case, order)
    return known


class _Images(_Autograd):
    """A circular chain is a valid one, of images that are wrapped once."""

    def __init__(self, case: Case, order: torch.memory_format) -> None:
        X, Y, self.padding = given(case)
        self.X, self.Y = (torch.from_numpy(A).contiguous(memory_format=order) for A in (X, Y))
        self.lr = case.lr
        self.W = [torch.tensor(W).contiguous(memory_format=order).requires_grad_() for W in case.weights]

    def loss(self, F: Tensor) -> Tensor:
        return 0.5 * functional.mse_loss(F, self.Y, reduction="sum")

    def weights(self) -> list[Array]:
        return [W.detach().contiguous().numpy().copy() for W in self.W]


class _Modules(_Images, _WithModules):
    def __init__(self, case: Case, order: torch.memory_format) -> None:
        super().__init__(case, order)
        mode = padding(case)
        kind = {"padding": 0 if mode == "valid" else 1, "padding_mode": "circular" if mode == "circular" else "zeros"}
        if mode == "circular":
            self.X = torch.from_numpy(images(case.X)).contiguous(memory_format=order)
        self.build([torch.nn.Conv2d(W.shape[1], W.shape[0], 3, bias=False, dtype=W.dtype, **kind) for W in self.W], foreach=True)


class _Functional(_Images):
    def run(self, steps: int) -> None:
        pad = int(self.padding == "same")
        for _ in range(steps):
            A = self.X
            for W in self.W:
                A = functional.conv2d(A, W, padding=pad)
            gradients = torch.autograd.grad(self.loss(A), self.W)
            with torch.no_grad():
                torch._foreach_add_(self.W, gradients, alpha=-self.lr)


class _Manual(_Images):
    @torch.inference_mode()
    def run(self, steps: int) -> None:
        back, pad = torch.ops.aten.convolution_backward, [int(self.padding == "same")] * 2
        W = [w.detach() for w in self.W]
        for _ in range(steps):
            A = [self.X]
            for w in W:
                A.append(functional.conv2d(A[-1], w, padding=pad))
            D = A[-1].sub_(self.Y)
            gradients = []
            for i in range(len(W) - 1, -1, -1):
                D, G, _ = back(D, A[i], W[i], None, [1, 1], pad, [1, 1], False, [0, 0], 1, [i > 0, True, False])
                gradients.append(G)
            torch._foreach_add_(W, gradients[::-1], alpha=-self.lr)
