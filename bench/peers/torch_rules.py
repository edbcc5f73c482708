"""Update rules in PyTorch without autograd: functions that are called once the gradient is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..descents import QUINTIC, RULES

Tensor = torch.Tensor
Update = Callable[[], object]


def adam(theta: Tensor, g: Tensor, lr: float) -> Update:
    """The fused step of torch.optim on one vector of all weights."""
    theta.grad = g
    known = RULES["adam"]
    return torch.optim.Adam([theta], lr, (known["b1"], known["b2"]), known["eps"], fused=True).step


def muon(W: Sequence[Tensor], G: Sequence[Tensor], lr: float) -> Update:
    """As torch.optim.Muon in the weights' own precision: that one computes in bfloat16."""
    b, decay = RULES["muon"]["momentum"], RULES["muon"]["weight_decay"]
    means = [torch.zeros_like(w) for w in W]
    scales = [-lr * max(1.0, len(w) / w.shape[1]) ** 0.5 for w in W]

    def update() -> None:
        for w, g, mean, scale in zip(W, G, means, scales, strict=True):
            mean.lerp_(g, 1 - b)
            w.mul_(1 - lr * decay).add_(_orthogonal(g.lerp(mean, b)), alpha=scale)

    return update


def _orthogonal(M: Tensor) -> Tensor:
    a, b, c = QUINTIC
    tall = len(M) > M.shape[1]
    M = M.t() if tall else M
    M = M / max(float(torch.linalg.norm(M)), RULES["muon"]["eps"])
    for _ in range(int(RULES["muon"]["steps"])):
        gram = M @ M.t()
        M = torch.addmm(M, torch.addmm(gram, gram, gram, beta=b, alpha=c), M, beta=a)
    return M.t() if tall else M
