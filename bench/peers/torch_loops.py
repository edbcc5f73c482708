"""PyTorch as in torch_eager, where autograd is to take part: the loops that `chain` is compared in."""

from __future__ import annotations

from collections.abc import Callable

from ..workloads import Case
from . import torch_eager


def variants(case: Case) -> dict[str, Callable[[], object]]:
    return {name: made for name, made in torch_eager.variants(case).items() if not name.startswith("by hand")}
