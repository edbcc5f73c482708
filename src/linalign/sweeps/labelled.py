"""Sweeps as labelled arrays: `Sweep.to_xarray`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..validate import Array
from .journal import COLUMNS

if TYPE_CHECKING:
    from .result import Sweep

# what stands where a run was not made
NOTHING: dict[str, Any] = {"steps": -1, "converged": False, "error": "", "status": "interrupted"}


def to_xarray(sweep: Sweep) -> Any:
    """See `Sweep.to_xarray`."""
    try:
        import xarray
    except ImportError:
        raise ImportError("to_xarray needs xarray; install it with: pip install xarray (or use .rows and .histories)") from None
    keys = [f"grid_{key}" if key in COLUMNS else key for key in sweep.grid]
    coords = {key: _labels(values) for key, values in zip(keys, sweep.grid.values(), strict=True)}
    found: dict[str, Any] = {}
    for name in COLUMNS:
        values = [outcome.columns()[name] for outcome in sweep.outcomes]
        values = ["" if value is None else value for value in values]
        found[name] = (keys, _on_grid(sweep, values, NOTHING.get(name, np.nan)))
    for name, history in sweep.histories.items():
        recorded = history.values if history.values.dtype != object else _padded(history.values, history.steps.shape[1])
        label = name if name not in found and name not in coords else f"recorded_{name}"
        axes = [*keys, f"{label}_record", *(f"{label}_{i}" for i in range(recorded.ndim - 2))]
        found[label] = (axes, _history_on_grid(sweep, recorded, np.nan))
        found[f"{label}_steps"] = (axes[: len(keys) + 1], _history_on_grid(sweep, history.steps, -1))
    return xarray.Dataset(found, coords=coords)


def _padded(values: Array, records: int) -> Array:
    """Records of different shapes, filled with nan to the largest along every axis."""
    shapes = [each.shape[1:] for each in values if len(each)]
    axes = max(map(len, shapes))
    most = [max(shape[i] for shape in shapes if len(shape) > i) for i in range(axes)]
    found = np.full((len(values), records, *most), np.nan)
    for j, each in enumerate(values):
        if len(each):
            at: tuple[Any, ...] = (j, *map(slice, each.shape))
            found[at] = each
    return found


def _labels(values: Sequence[Any]) -> Array:
    """The values of a key, as text where they are neither numbers nor text."""
    if all(isinstance(value, (bool, int, float)) for value in values) or all(isinstance(value, str) for value in values):
        return np.array(values)
    return np.array([value if isinstance(value, str) else repr(value) for value in values])


def _on_grid(sweep: Sweep, values: Sequence[Any], nothing: Any) -> Array:
    kind = np.array([*values, nothing])
    found = np.full(sweep.shape, nothing, dtype=kind.dtype)
    for outcome, value in zip(sweep.outcomes, values, strict=True):
        found.flat[outcome.index] = value
    return found


def _history_on_grid(sweep: Sweep, values: Array, nothing: float) -> Array:
    full = len(values) == int(np.prod(sweep.shape))
    kind = values.dtype if full or isinstance(nothing, int) or values.dtype.kind in "fc" else np.dtype(np.float64)
    found = np.full((int(np.prod(sweep.shape)), *values.shape[1:]), nothing, dtype=kind) if not full else np.empty(values.shape, kind)
    for outcome, value in zip(sweep.outcomes, values, strict=True):
        found[outcome.index] = value
    return found.reshape(*sweep.shape, *values.shape[1:])
