from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

def multiply(
    ta: bool,
    tb: bool,
    alpha: float,
    A: Array,
    B: Array,
    beta: float,
    C: Array,
    *,
    level: int,
    most: int,
    repeats: int = 1,
    threads: int = 1,
    wake: int = 150000,
    least: int = 0,
    cache: int = 400000,
) -> float: ...
