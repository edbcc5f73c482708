from typing import Any

import numpy.typing as npt

from ._chain import Chain

Array = npt.NDArray[Any]

class Stepper:
    t: float
    span: float
    length: float
    evaluations: int
    chain: Chain
    y: Array
    slopes: Array
    before: Array
    def __init__(
        self,
        chain: Chain,
        A: Array,
        errors: Array,
        stages: int,
        extra: int,
        order: float,
        start: Array,
        last: float,
        rtol: float,
        atol: float,
        outside: Array,
        decay: Array,
        weights: Array | None,
    ) -> None: ...
    def flat(self, state: Array) -> Array: ...
    def advance(self, until: float, end: float, most: int, steady: float) -> tuple[int, int]: ...
    def dense(self) -> bool: ...
