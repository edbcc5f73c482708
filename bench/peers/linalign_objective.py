"""linalign in a loop of the user's: an Objective bound once, the parameters one vector that a line of NumPy updates."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np

import linalign

from ..workloads import Array, Case


def variants(case: Case) -> dict[str, Callable[[], Loop]]:
    return {"Objective": lambda: Loop(case)}


class Loop:
    def __init__(self, case: Case) -> None:
        net = linalign.Network.from_matrices(case.weights)
        threads = int(os.environ["OPENBLAS_NUM_THREADS"])
        self.objective = linalign.Objective(net, case.X, case.Y, loss=case.loss, threads=threads)
        self.theta, self.lr = self.objective.flat, self.objective.dtype.type(case.lr)
        self.gradient = np.empty_like(self.theta)
        self.loop = 0.0

    def prepare(self, steps: int) -> None:
        pass

    def run(self, steps: int) -> None:
        objective, theta, gradient, lr = self.objective, self.theta, self.gradient, self.lr
        began = time.perf_counter()
        for _ in range(steps):
            objective.value_and_grad(theta, out=gradient)
            np.multiply(gradient, lr, gradient)
            np.subtract(theta, gradient, theta)
        self.loop = time.perf_counter() - began

    def weights(self) -> list[Array]:
        return list(self.objective.with_params(self.theta).params)
