"""`torch.compile` on convolutions: PyTorch's own, and where there is one channel sums of moved images, which it makes loops of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional

from ..workloads import Case
from .images import given
from .torch_compiled import Compiled, absent
from .torch_conv import LARGE

__all__ = ["absent", "variants"]

Tensor = torch.Tensor


def variants(case: Case) -> dict[str, Callable[[], Compiled]]:
    known: dict[str, Callable[[], Compiled]] = {}
    if case.X.size <= LARGE:
        known["compiled"] = partial(_on, case, _own)
    if all(t.shape[:2] == (1, 1) for t in case.weights):
        known["compiled, moved images"] = partial(_on, case, _moved)
    return known


def _on(case: Case, loss: Callable[[int, list[Tensor], Tensor, Tensor], Tensor]) -> Compiled:
    X, Y, padding = given(case)
    return Compiled(partial(loss, int(padding == "same")), [torch.tensor(W) for W in case.weights], X, Y, case.lr, 1)


def _own(pad: int, W: list[Tensor], X: Tensor, Y: Tensor) -> Tensor:
    A = X
    for w in W:
        A = functional.conv2d(A, w, padding=pad)
    return 0.5 * ((A - Y) ** 2).sum()


def _moved(pad: int, W: list[Tensor], X: Tensor, Y: Tensor) -> Tensor:
    A = X
    for w in W:
        A = functional.pad(A, (pad,) * 4)
        h, width = A.shape[2] - 2, A.shape[3] - 2
        A = sum(w[0, 0, a, b] * A[:, :, a : a + h, b : b + width] for a in range(3) for b in range(3))
    return 0.5 * ((A - Y) ** 2).sum()
