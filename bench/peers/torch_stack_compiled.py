"""`torch.compile` on an ensemble, on data compressed by hand: networks first, and networks last, where it makes loops of the sums."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..workloads import Array, Case, compressed
from .torch_compiled import Compiled, absent

__all__ = ["absent", "variants"]

Tensor = torch.Tensor


def variants(case: Case) -> dict[str, Callable[[], Compiled]]:
    case = compressed(case)
    return {"compiled, networks first": lambda: First(case), "compiled, networks last": lambda: Last(case)}


def _first(W: list[Tensor], X: Tensor, Y: Tensor) -> Tensor:
    A = X
    for w in W:
        A = A @ w.mT
    return 0.5 * ((A - Y) ** 2).sum()


def _last(W: list[Tensor], X: Tensor, Y: Tensor) -> Tensor:
    A = X[:, :, None]
    for w in W:
        A = (A[:, None] * w).sum(2)
    return 0.5 * ((A - Y[:, :, None]) ** 2).sum()


class First(Compiled):
    """Weights `(nets, k_i, k_{i-1})`."""

    def __init__(self, case: Case) -> None:
        super().__init__(_first, [torch.tensor(W) for W in case.weights], case.X, case.Y, case.lr, 1)


class Last(Compiled):
    """Weights `(k_i, k_{i-1}, nets)`."""

    def __init__(self, case: Case) -> None:
        stacks = [torch.from_numpy(W.transpose(1, 2, 0).copy()) for W in case.weights]
        super().__init__(_last, stacks, case.X, case.Y, case.lr, 1)

    def weights(self) -> list[Array]:
        return [np.ascontiguousarray(W.transpose(2, 0, 1)) for W in super().weights()]
