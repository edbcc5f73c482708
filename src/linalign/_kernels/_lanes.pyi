from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

PLACES: dict[str, int]
LAWS: dict[str, int]
MOST_DEPTH: int
UNFINISHED: int

class Lanes:
    def __init__(
        self,
        widths: Sequence[int],
        *,
        rows: int,
        samples: int,
        place: int,
        turned: bool,
        carried: bool,
        loss: int,
        law: int,
        X: Array | None,
        Y: Array,
        factors: Array | None,
        factor: float,
        floor: float,
        numbers: tuple[float, ...],
        slots: int,
        initial: float,
        single: bool,
        level: int,
    ) -> None: ...
    def take(
        self,
        params: Array,
        *,
        lr: Array,
        schedule: Array | None,
        table: Array | None,
        order: Array | None,
        counts: Array | None,
        drawn: Array | None,
        decay: Array,
        momentum: Array,
        tol: Array,
        limit: Array,
        at: Array,
        kept: Array | None,
        kept_value: Array | None,
        taken: Array,
        losses: Array | None,
        slots: Sequence[Array],
        value: Array,
        before: Array,
        steps: Array,
        status: Array,
    ) -> None: ...
    def advance(self, budget: int) -> bool: ...
