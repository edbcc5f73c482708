from typing import Any

import numpy.typing as npt

from ._chain import Chain

Array = npt.NDArray[Any]

class Curvature:
    size: int
    chain: Chain
    def __init__(self, chain: Chain, part: bool) -> None: ...
    def stand(self) -> tuple[int, float]: ...
    def product(self, vectors: Array, out: Array, count: int = 1) -> None: ...
