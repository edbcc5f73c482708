"""linalign's sweep over the starts of an ensemble."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import linalign

from ..workloads import Array, Case


def variants(case: Case) -> dict[str, Callable[[], Sweep]]:
    return {"sweep": partial(Sweep, case)}


class Sweep:
    """Every run starts anew; the networks are built in it."""

    def __init__(self, case: Case) -> None:
        self.case, self.steps = case, 0
        self.where: dict[str, Any] = {"threads": int(os.environ["OPENBLAS_NUM_THREADS"])}

    def prepare(self, steps: int) -> None:
        pass

    def run(self, steps: int) -> None:
        self.steps = steps
        self._sweep(keep_runs=False)

    def _sweep(self, keep_runs: bool) -> linalign.Sweep:
        case, starts = self.case, self.case.weights

        def network(rng: int) -> linalign.Network:
            return linalign.Network.from_matrices([stack[rng] for stack in starts])

        options: dict[str, Any] = {"loss": case.loss, "lr": case.lr, "steps": self.steps, "keep_runs": keep_runs, **self.where}
        return linalign.sweep(network, case.X, case.Y, grid={"rng": range(len(starts[0]))}, **options)

    def weights(self) -> list[Array]:
        """Of the same sweep once more, with all its networks kept."""
        runs = self._sweep(keep_runs=True).runs
        return [np.stack(layer) for layer in zip(*(run.network.matrices() for run in runs), strict=True)]
