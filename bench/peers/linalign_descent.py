"""linalign with a rule and batches, through its public interface alone. The rows are drawn before the loop, as the peers' are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..descents import DescentCase
from ..workloads import Array
from .linalign_train import Train


def variants(case: DescentCase) -> dict[str, Callable[[], Descend]]:
    return {"train": lambda: Descend(case)}


class Descend(Train):
    def __init__(self, case: DescentCase) -> None:
        self.descent = case
        # SGD by lr alone: no rule at all
        super().__init__(case, **({} if case.rule == "sgd" else {"optimizer": case.rule}))
        self.orders: dict[int, Array | None] = {}

    def prepare(self, steps: int) -> None:
        if steps not in self.orders:
            self.orders[steps] = self.descent.order(steps)

    def run(self, steps: int, **changed: Any) -> None:
        self.prepare(steps)
        rows = self.orders[steps]
        super().run(steps, **({} if rows is None else {"order": rows}), **changed)
