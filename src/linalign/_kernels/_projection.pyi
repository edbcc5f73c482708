from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

class Gather:
    def __init__(
        self, shape: tuple[int, ...], param_shape: tuple[int, ...], places: Array, index: Array, sign: Array | None, weights: Array
    ) -> None: ...
    def __call__(self, M: Array, out: Array) -> None: ...
