"""Phase diagrams: a value of the runs of a sweep over one or two keys of its grid. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import validate
from ..files import Name
from ..training.plot import GREY, PALETTE, save
from ..validate import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .result import Sweep

# values of one sign that span this ratio are shown on a log scale
SPAN = 100.0
# columns that hold what was last finite of a run that diverged, which is no value of the run
LAST_FINITE = ("loss", "excess")
# ticks on an axis at most
TICKS = 12


def values_of(sweep: Sweep, value: str | Callable[[dict[str, Any]], float]) -> tuple[str, Array]:
    """The name of a value and the value in the shape of the grid; nan where there is none. Raises: KeyError, TypeError, ValueError."""
    if callable(value):
        name, column = getattr(value, "__name__", "value").replace("<lambda>", "value"), [value(row) for row in sweep.rows]
    elif value in sweep.histories and (not sweep.rows or value not in sweep.rows[0]):
        name, column = value, [_last(outcome.history.get(value)) for outcome in sweep.outcomes]
    elif (part := _part(sweep, value)) is not None:
        name, column = value, [_last(outcome.history.get(part[0]), part[1]) for outcome in sweep.outcomes]
    else:
        name, column = str(value), list(sweep[value])
        if name in LAST_FINITE:
            column = [np.nan if outcome.error else each for outcome, each in zip(sweep.outcomes, column, strict=True)]
    found = np.full(sweep.shape, np.nan)
    for outcome, each in zip(sweep.outcomes, column, strict=True):
        try:
            found.flat[outcome.index] = float(each)
        except (TypeError, ValueError):
            one = f"one of its numbers, such as '{name}_0'" if name in sweep.histories else "a recorded quantity with one number"
            fix = f"pass a column of numbers, {one}, or a function of a row"
            raise TypeError(f"value is {name!r}, which is {each!r} in a run; {fix}") from None
    return name, found


def _last(history: Any, place: int | None = None) -> Any:
    """What was recorded last: all of it, a number if it is one, or the number at a place; nan where there is none."""
    if history is None or not len(history):
        return np.nan
    last = np.ravel(history.values[-1])
    if place is not None:
        return last[place] if place < len(last) else np.nan
    return last[0] if len(last) == 1 else history.values[-1]


def _part(sweep: Sweep, value: Any) -> tuple[str, int] | None:
    """What `NAME_0` means: a recorded quantity and a place in it, where no column of the rows is called so."""
    name, _, place = str(value).rpartition("_")
    if name not in sweep.histories or not place.isdigit() or (sweep.rows and value in sweep.rows[0]):
        return None
    most = max(np.size(_last(outcome.history.get(name))) for outcome in sweep.outcomes)
    if int(place) >= most:
        raise KeyError(f"{value!r} was not recorded; a record of {name!r} has {most} numbers, the last {name}_{most - 1}")
    return name, int(place)


def plot(
    sweep: Sweep, x: str, y: str | None = None, value: str | Callable[[dict[str, Any]], float] = "loss",
    path: Name | None = None,
) -> Figure:  # fmt: skip
    """See `Sweep.plot`."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib, which is not installed; pip install 'linalign[plot]'") from None
    for name, key in (("x", x), ("y", y)):
        if key is not None:
            validate.choice(name, key, sweep.grid)
    if x == y:
        raise ValueError(f"x and y are both {x!r}; pass two keys of the grid, or x alone")
    name, found = values_of(sweep, value)
    keys = list(sweep.grid)
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    ax = figure.subplots()
    if y is None:
        _line(ax, sweep.grid[x], _spread(found, [keys.index(x)]), name)
    else:
        _plane(figure, ax, sweep.grid[x], sweep.grid[y], np.nanmedian(_spread(found, [keys.index(y), keys.index(x)]), axis=-1), name)
        _scale(ax.yaxis, sweep.grid[y])
        ax.set_ylabel(y)
    _scale(ax.xaxis, sweep.grid[x])
    ax.set_xlabel(x)
    others = [key for key in keys if key not in (x, y) and len(sweep.grid[key]) > 1]
    over = f", median over {', '.join(others)}" if others else ""
    ax.set_title(f"{name} of {len(sweep)} runs{over}", loc="left", fontsize=11)
    if path is not None:
        save(figure, path, dpi=150)
    return figure


def _spread(found: Array, axes: list[int]) -> Array:
    """The axes that are shown first, all others as one; where all of these are nan, so is what comes of them."""
    shown = np.moveaxis(found, axes, range(len(axes)))
    flat = shown.reshape(*shown.shape[: len(axes)], -1)
    # the median of nothing is nan, without a warning
    return np.where(np.isnan(flat).all(axis=-1, keepdims=True) & (np.arange(flat.shape[-1]) == 0), np.inf, flat)


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def _line(ax: Axes, axis: Sequence[Any], values: Array, name: str) -> None:
    at = _places(axis)
    with np.errstate(invalid="ignore"):  # between values that are not there
        low, middle, high = (_finite(np.nanquantile(values, q, axis=-1)) for q in (0.25, 0.5, 0.75))
    ax.plot(at, middle, color=PALETTE[0], marker="o", linewidth=2)
    if values.shape[-1] > 1:
        ax.fill_between(at, low, high, color=PALETTE[0], alpha=0.2, linewidth=0)
    if _spans(middle):
        ax.set_yscale("log")
    ax.set_ylabel(name)
    ax.grid(True, color="#e6e6e6", linewidth=0.8)


def _plane(figure: Figure, ax: Axes, xs: Sequence[Any], ys: Sequence[Any], values: Array, name: str) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Patch

    shown = _finite(values)
    norm = LogNorm() if _spans(shown) else None
    ax.set_facecolor("#d9d9d9")
    mesh = ax.pcolormesh(_edges(_places(xs), xs), _edges(_places(ys), ys), np.ma.masked_invalid(shown), norm=norm, cmap="viridis")
    if np.isfinite(shown).any():
        figure.colorbar(mesh, ax=ax, label=name)
    if np.isnan(shown).any():
        gone = Patch(facecolor="#d9d9d9", edgecolor=GREY, label="diverged or failed" if name in LAST_FINITE else f"no {name}")
        ax.legend(handles=[gone], loc="upper right", frameon=True, framealpha=0.9, edgecolor="none", fontsize=8)


def _spans(values: Array) -> bool:
    there = values[np.isfinite(values)]
    return bool(len(there) and there.min() > 0 and there.max() >= SPAN * there.min())


def _numbers(axis: Sequence[Any]) -> Array | None:
    """The values of a key where they are different numbers, in any order."""
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in axis):
        found = np.array(axis, dtype=np.float64)
        if np.isfinite(found).all() and len(np.unique(found)) == len(found) and (len(found) < 2 or np.all(np.diff(found) > 0)):
            return found
    return None


def _logarithmic(axis: Sequence[Any]) -> bool:
    """Whether ratios of neighbours are nearer to equal than differences."""
    found = _numbers(axis)
    if found is None or len(found) < 3 or found[0] <= 0:
        return False
    ratios, steps = np.diff(np.log(found)), np.diff(found)
    return bool(np.std(ratios) / np.mean(ratios) < np.std(steps) / np.mean(steps))


def _places(axis: Sequence[Any]) -> Array:
    """Where the values of a key stand: at themselves if they are ascending numbers, else one beside the other."""
    found = _numbers(axis)
    return np.arange(len(axis), dtype=np.float64) if found is None else found


def _edges(at: Array, axis: Sequence[Any]) -> Array:
    """Between the places, and half a step beyond them."""
    if len(at) == 1:
        return np.asarray(at[0] + np.array([-0.5, 0.5]))
    logarithmic = _logarithmic(axis)
    u = np.log(at) if logarithmic else at
    inner = (u[1:] + u[:-1]) / 2
    edges = np.concatenate([[2 * u[0] - inner[0]], inner, [2 * u[-1] - inner[-1]]])
    return np.asarray(np.exp(edges) if logarithmic else edges)


def _scale(axis: Any, values: Sequence[Any]) -> None:
    if _logarithmic(values):
        axis.axes.set_xscale("log") if axis.axis_name == "x" else axis.axes.set_yscale("log")
    elif _numbers(values) is None or len(values) <= TICKS:
        each = -(-len(values) // TICKS)
        shown = list(range(0, len(values), each))
        labels = [f"{value:g}" if isinstance(value, float) else str(value) for value in (values[i] for i in shown)]
        axis.set_ticks(_places(values)[shown], labels)
