from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engine.bind import Data, Machine, Rule, Schedule
from ..plan.structures import Structure

Array = npt.NDArray[Any]

class Chain:
    params: list[Array]
    velocities: list[Array]
    gradients: list[Array]
    slots: list[list[Array]]
    numbers: Array
    dtype: np.dtype[Any]
    error: BaseException | None
    engine: int
    def __init__(
        self,
        params: Sequence[Array],
        structures: Sequence[Structure | None],
        data: Data,
        rule: Rule,
        schedule: Schedule,
        machine: Machine,
    ) -> None: ...
    def refresh(self) -> None: ...
    def restore(self, kept: list[Array]) -> None: ...
    def use_one_thread(self) -> None: ...
    def ranks(self) -> tuple[list[int], list[int], list[int]]: ...
    def prepare_scores(self, noise: Array, constant: Array | None) -> bool: ...
    def batches(self, X: Array | None, targets: Array, factors: Any) -> None: ...
    def window(self, rows: Array | None, noise: Array | None = None) -> None: ...
    def optimise(
        self,
        kind: int,
        numbers: Any,
        slots: int,
        memory: int,
        *,
        matrix_metric: bool,
        clip: float = 0,
        rho: float = 0,
        average: float = -1,
        scales: Any = None,
    ) -> None: ...
    def schedule(self, first: int, rates: Array | None, rows: Array | None, counts: Array | None, noise: Array | None) -> None: ...
    def advance_scoring(self, steps: int, values: Array, tol: float, at: Array) -> tuple[int, int, Array]: ...
    def advance(self, steps: int, values: Array, tol: float) -> tuple[int, int]: ...
    def value(self, tol: float) -> tuple[int, float]: ...
    def differentiate(self) -> tuple[int, float]: ...
    def evaluate(self, params: Array | Sequence[Array], gradients: Array | Sequence[Array] | None) -> tuple[int, float]: ...
