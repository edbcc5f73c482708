"""The structures a layer can have, one small file each."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from .base import Form, Layer
from .dense import Dense

__all__ = ["Dense", "Form", "Layer", "describe", "from_description"]

STRUCTURES: dict[str, type[Layer]] = {"Dense": Dense}


def describe(layer: Layer) -> dict[str, Any]:
    """The layer as plain numbers and strings, for files."""
    return {"structure": type(layer).__name__, **{f.name: getattr(layer, f.name) for f in fields(layer)}}  # type: ignore[arg-type]


def from_description(description: dict[str, Any]) -> Layer:
    """The layer that `describe` described. Raises: ValueError for an unknown structure."""
    options = dict(description)
    name = options.pop("structure")
    if name not in STRUCTURES:
        raise ValueError(f"structure is {name!r}; this version knows {', '.join(STRUCTURES)}")
    return STRUCTURES[name](**options)
