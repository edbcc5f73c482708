"""PyTorch with a rule and batches: modules and torch.optim, and the gradient by hand with the fused step or one written out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from ..descents import RULES, DescentCase
from ..workloads import Array
from . import torch_rules

Tensor = torch.Tensor


def variants(case: DescentCase) -> dict[str, Callable[[], Descending]]:
    if case.rule == "muon":
        return {"by hand": lambda: Manual(case), "torch.optim.Muon": _bfloat16}
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[case.rule]
    known: dict[str, Callable[[], Descending]] = {
        f"{kind.__name__}, {how}": partial(Modules, case, kind, **{how: True}) for how in ("foreach", "fused")
    }
    if case.rule == "sgd" and case.batch == 1:
        known["by hand, addr_"] = lambda: OneRow(case)
    known["by hand, addmm_" if case.rule == "sgd" else "by hand, fused"] = lambda: Manual(case)
    return known


def _bfloat16() -> Descending:
    raise ValueError("it iterates in bfloat16: of a gradient of low rank it enlarges the rounding, to a third of the step here")


class Descending:
    """What knows the rows of its steps."""

    case: DescentCase
    W: list[Tensor]

    def __init__(self, case: DescentCase) -> None:
        self.case = case
        self.X, self.Y = torch.from_numpy(case.X), torch.from_numpy(case.Y)
        self.orders: dict[int, Any] = {}

    def prepare(self, steps: int) -> None:
        if steps not in self.orders:
            order = self.case.order(steps)
            self.orders[steps] = [None] * steps if order is None else torch.from_numpy(order).unbind()

    def weights(self) -> list[Array]:
        return [W.detach().numpy().copy() for W in self.W]


class Modules(Descending):
    """As most users train: modules, a loss, backward, an optimiser."""

    def __init__(self, case: DescentCase, kind: type[torch.optim.Optimizer], **options: bool) -> None:
        super().__init__(case)
        layers = [torch.nn.Linear(W.shape[1], W.shape[0], bias=False, dtype=self.X.dtype) for W in case.weights]
        for layer, W in zip(layers, case.weights, strict=True):
            layer.weight = torch.nn.Parameter(torch.tensor(W))
        self.net = torch.nn.Sequential(*layers)
        self.W = list(self.net.parameters())
        more = {"eps": RULES["adam"]["eps"]} if case.rule == "adam" else {}
        self.optimiser = kind(self.W, lr=case.lr, **more, **options)  # type: ignore[call-arg]

    def run(self, steps: int) -> None:
        self.prepare(steps)
        X, Y, loss = self.X, self.Y, torch.nn.functional.mse_loss
        for rows in self.orders[steps]:
            A, B = (X, Y) if rows is None else (X.index_select(0, rows), Y.index_select(0, rows))
            self.optimiser.zero_grad(set_to_none=True)
            (0.5 * loss(self.net(A), B, reduction="sum")).backward()
            self.optimiser.step()


class Manual(Descending):
    """Products into buffers made once. SGD adds the gradient to the weights inside its product; other rules have all in one vector."""

    def __init__(self, case: DescentCase) -> None:
        super().__init__(case)
        rows = case.batch or len(case.X)
        self.theta = torch.cat([torch.tensor(W).flatten() for W in case.weights])
        g = torch.zeros_like(self.theta)
        sizes = [W.size for W in case.weights]
        self.W, self.G = (
            [part.view(W.shape) for part, W in zip(vector.split(sizes), case.weights, strict=True)] for vector in (self.theta, g)
        )
        if case.batch is not None:
            self.inputs, self.targets = (torch.empty(rows, M.shape[1], dtype=M.dtype) for M in (self.X, self.Y))
        else:
            self.inputs, self.targets = self.X, self.Y
        self.A = [self.inputs, *(torch.empty(rows, len(W), dtype=W.dtype) for W in self.W)]
        self.D = [*(torch.empty_like(A) for A in self.A[1:-1]), self.A[-1]]
        self.update: torch_rules.Update | None = None
        if case.rule == "adam":
            self.update = torch_rules.adam(self.theta, g, case.lr)
        elif case.rule == "muon":
            self.update = torch_rules.muon(self.W, self.G, case.lr)

    @torch.no_grad()
    def run(self, steps: int) -> None:
        self.prepare(steps)
        W, A, D, G, mm, rate, update = self.W, self.A, self.D, self.G, torch.mm, -self.case.lr, self.update
        up = [(A[i], W[i].t(), A[i + 1]) for i in range(len(W))]
        down = [(D[i], W[i], D[i - 1], D[i].t(), A[i], G[i]) for i in range(len(W) - 1, 0, -1)]
        DT_1, X, W_1, G_1, F, Y = D[0].t(), A[0], W[0], G[0], A[-1], self.targets
        for rows in self.orders[steps]:
            if rows is not None:
                torch.index_select(self.X, 0, rows, out=X)
                torch.index_select(self.Y, 0, rows, out=Y)
            for a, wt, above in up:
                mm(a, wt, out=above)
            F.sub_(Y)
            for d, w, below, dt, a, g in down:
                mm(d, w, out=below)
                if update is None:
                    w.addmm_(dt, a, alpha=rate)
                else:
                    mm(dt, a, out=g)
            if update is None:
                W_1.addmm_(DT_1, X, alpha=rate)
            else:
                mm(DT_1, X, out=G_1)
                update()


class OneRow(Descending):
    """SGD on one row: matrices meet vectors, and an outer product is added to each layer in place."""

    def __init__(self, case: DescentCase) -> None:
        super().__init__(case)
        self.W = [torch.tensor(W) for W in case.weights]
        self.xs, self.ys = self.X.unbind(), self.Y.unbind()

    def prepare(self, steps: int) -> None:
        if steps not in self.orders:
            order = self.case.order(steps)
            assert order is not None
            self.orders[steps] = order[:, 0].tolist()

    @torch.inference_mode()
    def run(self, steps: int) -> None:
        self.prepare(steps)
        W, rate, mv, xs, ys = self.W, -self.case.lr, torch.mv, self.xs, self.ys
        A = [torch.empty(len(w), dtype=w.dtype) for w in W]
        D = [*(torch.empty_like(a) for a in A[:-1]), A[-1]]
        up = [(W[i], A[i - 1], A[i]) for i in range(1, len(W))]
        down = [(W[i].t(), W[i], D[i], A[i - 1], D[i - 1]) for i in range(len(W) - 1, 0, -1)]
        W_1, A_1, D_1, F = W[0], A[0], D[0], A[-1]
        for i in self.orders[steps]:
            x = xs[i]
            mv(W_1, x, out=A_1)
            for w, a, above in up:
                mv(w, a, out=above)
            F.sub_(ys[i])
            for wt, w, d, a, below in down:
                mv(wt, d, out=below)
                w.addr_(d, a, alpha=rate)
            W_1.addr_(D_1, x, alpha=rate)
