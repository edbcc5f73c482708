"""PyTorch through `torch.compile`: gradient and rule of a step in one function, where a step is small several in one call.

Compiling is done before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional

from ..descents import RULES, DescentCase
from .torch_compiled import SMALL, UNROLLED
from .torch_compiled import absent as absent
from .torch_descent import Descending

Tensor = torch.Tensor
State = tuple[list[Tensor], list[Tensor], list[Tensor], Tensor]


def variants(case: DescentCase) -> dict[str, Callable[[], Compiled]]:
    """Muon's time is in large products, which compiling does not change."""
    if case.rule == "muon":
        return {}
    known = {"compiled": lambda: Compiled(case, 1)}
    if sum(W.size for W in case.weights) * (case.batch or len(case.X)) < SMALL:
        known[f"compiled, {UNROLLED} steps a call"] = lambda: Compiled(case, UNROLLED)
    return known


def _loss(W: list[Tensor], X: Tensor, Y: Tensor) -> Tensor:
    A = X
    for w in W:
        A = functional.linear(A, w)
    return 0.5 * ((A - Y) ** 2).sum()


def _steps(rule: str, lr: float, count: int, state: State, X: Tensor, Y: Tensor, order: Tensor | None) -> State:
    W, m, v, powers = state
    gradient = torch.func.grad(_loss)
    for t in range(count):
        A, B = (X, Y) if order is None else (X[order[t]], Y[order[t]])
        G = gradient(W, A, B)
        if rule == "sgd":
            W = [w - lr * g for w, g in zip(W, G, strict=True)]
            continue
        b1, b2, eps = (RULES["adam"][name] for name in ("b1", "b2", "eps"))
        powers = powers * torch.tensor([b1, b2], dtype=powers.dtype)
        m = [b1 * a + (1 - b1) * g for a, g in zip(m, G, strict=True)]
        v = [b2 * a + (1 - b2) * g * g for a, g in zip(v, G, strict=True)]
        root = torch.sqrt(1 - powers[1])
        rate = lr * root / (1 - powers[0])
        W = [w - rate * a / (torch.sqrt(s) + eps * root) for w, a, s in zip(W, m, v, strict=True)]
    return W, m, v, powers


class Compiled(Descending):
    """Steps that are compiled for one step and for `unroll` of them."""

    def __init__(self, case: DescentCase, unroll: int) -> None:
        super().__init__(case)
        self.unroll = unroll
        W = [torch.tensor(w) for w in case.weights]
        kept = [] if case.rule == "sgd" else W
        m, v = ([torch.zeros_like(w) for w in kept] for _ in range(2))
        self.state: State = (W, m, v, torch.ones(2, dtype=self.X.dtype))
        counts = (1, unroll)
        self._one, self._many = (
            torch.compile(partial(_steps, case.rule, case.lr, count), fullgraph=True, dynamic=False) for count in counts
        )
        self._ready = False

    @property
    def W(self) -> list[Tensor]:  # type: ignore[override]
        return self.state[0]

    @torch.no_grad()
    def prepare(self, steps: int) -> None:
        """Call both, whatever the number of steps."""
        if steps not in self.orders:
            order = self.case.order(steps)
            many = steps // self.unroll * self.unroll if self.unroll > 1 else 0
            if order is None:
                self.orders[steps] = [None] * (many // self.unroll), [None] * (steps - many)
            else:
                rows = torch.from_numpy(order)
                self.orders[steps] = rows[:many].split(self.unroll) if many else (), rows[many:].split(1) if steps > many else ()
        if not self._ready:
            rows = None if self.case.batch is None else torch.zeros(self.unroll, self.case.batch, dtype=torch.int64)
            self._one(self.state, self.X, self.Y, None if rows is None else rows[:1])
            if self.unroll > 1:
                self._many(self.state, self.X, self.Y, rows)
            self._ready = True

    @torch.no_grad()
    def run(self, steps: int) -> None:
        self.prepare(steps)
        state, X, Y = self.state, self.X, self.Y
        many, single = self.orders[steps]
        for rows in many:
            state = self._many(state, X, Y, rows)
        for rows in single:
            state = self._one(state, X, Y, rows)
        self.state = state
