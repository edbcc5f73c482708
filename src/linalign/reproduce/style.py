"""What the figures of the report have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..training.plot import GREY, PALETTE, _step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# what rounding leaves is drawn no lower than this on logarithmic axes
FLOOR = 1e-17


def panels(figure: Figure, count: int) -> list[Axes]:
    """Axes in a row, each with room of its own."""
    figure.set_size_inches(0.6 + 5.0 * count, 3.9)
    axes = figure.subplots(1, count, squeeze=False)[0]
    for ax in axes:
        plain(ax)
    return list(axes)


def plain(ax: Axes) -> None:
    """No frame, a light grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, color="#e6e6e6", linewidth=0.8)
    ax.set_axisbelow(True)


def label(ax: Axes, title: str, x: str, y: str) -> None:
    """Title and axes."""
    ax.set_title(title, loc="left", fontweight="bold", fontsize=11)
    ax.set_xlabel(x)
    ax.set_ylabel(y)


def steps(ax: Axes) -> None:
    """The x axis counts steps."""
    ax.xaxis.set_major_formatter(lambda value, position: _step(value, None))
    ax.locator_params(axis="x", nbins=6)


def log_steps(ax: Axes) -> None:
    """The x axis counts steps, from 0 on, by powers of ten."""
    ax.set_xscale("symlog", linthresh=1.0, linscale=0.3)
    ax.set_xlim(left=0)


def bound(ax: Axes, value: float, text: str, **options: Any) -> None:
    """A line that a verdict goes by."""
    ax.axhline(value, color=GREY, linestyle="--", linewidth=1.2, label=text, **options)


def legend(ax: Axes, **options: Any) -> None:
    """A legend that lines do not run through."""
    ax.legend(**{"loc": "best", "frameon": True, "framealpha": 0.92, "edgecolor": "none", "fontsize": 9, **options})


__all__ = ["FLOOR", "GREY", "PALETTE", "bound", "label", "legend", "log_steps", "panels", "plain", "steps"]
