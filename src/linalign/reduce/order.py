"""The reductions in the order in which they are tried: each works on what those before it have left."""

from __future__ import annotations

from .filters import FilterReduction
from .inputs import InputReduction
from .offsets import OffsetReduction
from .reduction import Reduction
from .samples import SampleReduction
from .split import SplitReduction
from .width import WidthReduction

ORDER: tuple[Reduction, ...] = (
    FilterReduction(), SampleReduction(), OffsetReduction(), InputReduction(), WidthReduction(), SplitReduction(),
)  # fmt: skip
