from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

def detect() -> int: ...
def build() -> list[str]: ...
def shares() -> bool: ...
def padding(columns: int, itemsize: int, most: int) -> int: ...
def buffer(rows: int, columns: int, dtype: Any, most: int) -> Array: ...
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
) -> None: ...

class Chain:
    params: list[Array]
    velocities: list[Array]
    gradients: list[Array]
    dtype: np.dtype[Any]
    error: BaseException | None
    workspace: list[Array]
    def __init__(
        self,
        weights: list[Array],
        X: Array | None,
        targets: Array | None,
        *,
        kind: int,
        factor: float,
        floor: float,
        pivot: int,
        rows: int,
        lr: Array,
        momentum: float,
        decay: Array,
        cyclic: bool,
        level: int,
        most: int,
        threads: int = 1,
        structures: list[dict[str, Any] | None] | None = None,
        observations: dict[str, Any] | None = None,
        function: Any = None,
        tiny: bool = False,
    ) -> None: ...
    def refresh(self) -> None: ...
    def restore(self, kept: list[Array]) -> None: ...
    def ranks(self) -> tuple[list[int], list[int], list[int]]: ...
    def alone(self) -> None: ...
    def watch(self, noise: Array, beside: Array | None) -> bool: ...
    def advance_scoring(self, steps: int, values: Array, tol: float, at: Array) -> tuple[int, int, Array]: ...
    def advance(self, steps: int, values: Array, tol: float) -> tuple[int, int]: ...
    def value(self, tol: float) -> tuple[int, float]: ...
    def differentiate(self) -> tuple[int, float]: ...
