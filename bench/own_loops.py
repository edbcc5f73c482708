"""linalign in a loop of the user's: the same workloads, stepped by an Objective or inside PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from .rows import Step
from .workloads import Workload


class ByObjective(Workload):
    """A step is one call of `Objective.value_and_grad` and an update in NumPy; the peers' are as elsewhere."""

    peers: ClassVar[Mapping[str, tuple[str, ...]]] = {**Workload.peers, "linalign": ("linalign_objective",)}


class InTorch(Workload):
    """A loop of PyTorch whose model is `chain`, against the same loop with torch's own products."""

    peers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "numpy": ("numpy_loop",), "torch": ("torch_loops",), "linalign": ("linalign_chain",),
    }  # fmt: skip


class TorchLoop(Step):
    """A step of a loop that stays in PyTorch: NumPy is there for the check alone."""

    needs: ClassVar[tuple[str, ...]] = ("torch",)

    @property
    def libraries(self) -> tuple[str, ...]:
        return ("torch", "linalign")
