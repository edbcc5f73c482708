from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

class Modes:
    sigma: Array
    velocity: Array | None
    def __init__(
        self,
        sigma: Array,
        x: Array,
        y: Array,
        weight: Array,
        *,
        factor: float,
        floor: float,
        lr: Array,
        decay: Array,
        momentum: float,
        cyclic: bool,
        level: int,
    ) -> None: ...
    def advance(self, steps: int, values: Array, tol: float) -> tuple[int, int]: ...
    def value(self, tol: float) -> tuple[int, float]: ...
