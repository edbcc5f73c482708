from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

Place = npt.NDArray[Any] | int

BY_ROWS: int

class Fused:
    pivot: int
    tape: int
    by_blas: bool
    def __init__(
        self,
        widths: Sequence[int],
        rows: int,
        single: bool,
        pivot: int,
        *,
        level: int,
        most: int,
        threads: int = 1,
        wake: int = 150000,
        least: int = 0,
        cache: int = 400000,
    ) -> None: ...
    def forward(self, weights: Sequence[Place], X: Place, out: Place, tape: Place | None) -> None: ...
    def backward(
        self,
        weights: Sequence[Place],
        X: Place,
        D: Place,
        gradients: Sequence[Place | None],
        inputs: Place | None,
        tape: Place | None,
    ) -> None: ...
