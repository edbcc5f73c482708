"""linalign, through its public interface alone. Each run starts anew, planning included; the run says what its loop took."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import linalign

from ..workloads import Array, Case


def variants(case: Case) -> dict[str, Callable[[], Train]]:
    return {"train": lambda: Train(case)}


class Train:
    def __init__(self, case: Case, **changed: Any) -> None:
        self.case, self.changed = case, changed
        layers = [getattr(linalign, name)(*arguments) for name, arguments in case.layers]
        self.net = linalign.Network(layers, case.weights) if layers else linalign.Network.from_matrices(case.weights)
        self.after = self.net
        self.operations = 0.0
        self.loop = 0.0
        self.threads = int(os.environ["OPENBLAS_NUM_THREADS"])

    def prepare(self, steps: int) -> None:
        pass

    def run(self, steps: int, **changed: Any) -> None:
        case = self.case
        options = {"loss": case.loss, "lr": case.lr, "threads": self.threads, **case.options, **self.changed, **changed}
        run = linalign.train(self.net, case.X, case.Y, steps=steps, **options)
        self.after = run.network
        self.loop = run.seconds
        self.operations = 2.0 * run.plan.macs

    def plan(self) -> float:
        """Seconds that planning takes."""
        case = self.case
        options = {name: value for name, value in {**case.options, **self.changed}.items() if name in ("reduce", "pivot", "update")}
        began = time.perf_counter()
        linalign.explain(self.net, case.X, case.Y, loss=case.loss, **options)
        return time.perf_counter() - began

    def weights(self) -> list[Array]:
        return [W.copy() for W in (self.after.params if self.case.layers else self.after.matrices())]
