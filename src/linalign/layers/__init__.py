"""The structures a layer can have, one small file each."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from .affine import Affine, Residual
from .arrays import ArrayLayer
from .base import Form, Layer
from .biased import Biased
from .blocks import BlockDiagonal
from .circulant import AntiCirculant, Circulant
from .compose import compose
from .conv import Conv1d, Conv2d
from .dense import Dense
from .diagonal import Diagonal
from .fixed import Fixed, Scaled
from .hankel import Hankel
from .masked import Masked
from .nearest import project
from .subspace import Subspace
from .symmetric import Skew, Symmetric
from .tied import Tied
from .toeplitz import Toeplitz

__all__ = [
    "STRUCTURES",
    "Affine",
    "AntiCirculant",
    "Biased",
    "BlockDiagonal",
    "Circulant",
    "Conv1d",
    "Conv2d",
    "Dense",
    "Diagonal",
    "Fixed",
    "Form",
    "Hankel",
    "Layer",
    "Masked",
    "Residual",
    "Scaled",
    "Skew",
    "Subspace",
    "Symmetric",
    "Tied",
    "Toeplitz",
    "compose",
    "describe",
    "from_description",
    "project",
]

STRUCTURES: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (
        Dense, Toeplitz, Hankel, Circulant, AntiCirculant, Diagonal, BlockDiagonal, Symmetric, Skew, Masked, Tied, Subspace,
        Conv1d, Conv2d, Fixed, Scaled, Biased, Affine, Residual,
    )
}  # fmt: skip


def describe(layer: Layer) -> dict[str, Any]:
    """The layer as plain numbers, strings and arrays, for files; a layer in it as it is described itself."""
    found = layer.parts() if isinstance(layer, ArrayLayer) else {f.name: getattr(layer, f.name) for f in fields(layer)}  # type: ignore[arg-type]
    inner = {key: describe(value) if isinstance(value, Layer) else value for key, value in found.items()}
    return {"structure": type(layer).__name__, **inner}


def from_description(description: dict[str, Any]) -> Layer:
    """The layer that `describe` described; lists may stand for tuples. Raises: ValueError for an unknown structure."""
    options = {key: from_description(value) if isinstance(value, dict) else value for key, value in description.items()}
    name = options.pop("structure")
    if name not in STRUCTURES:
        raise ValueError(f"structure is {name!r}; this version knows {', '.join(STRUCTURES)}")
    kind = STRUCTURES[name]
    return kind.from_parts(**options) if issubclass(kind, ArrayLayer) else kind(**options)
