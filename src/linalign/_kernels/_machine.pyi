from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

LEVELS: dict[str, int]
KINDS: dict[str, int]
LOSSES: dict[str, int]
STATUSES: dict[str, int]
RULES: dict[str, int]
LINE_BYTES: int

def detect() -> int: ...
def build() -> list[str]: ...
def shares() -> bool: ...
def padding(columns: int, itemsize: int, most: int) -> int: ...
def buffer(rows: int, columns: int, dtype: Any, most: int) -> Array: ...
