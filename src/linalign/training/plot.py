"""Pictures of a run. Needs matplotlib (`pip install 'linalign[plot]'`); draws on a figure of its own, never on global state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import Name, named, replacing
from ..layers.words import spell
from ..optim import RULES
from ..record.recorder import History
from ..validate import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .flow import Flow
    from .run import Run

# Okabe and Ito's palette without yellow: told apart with any colour vision, and on white
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
GREY = "#6e6e6e"
# a line on paper shows no more points than this
POINTS = 4000
# a floor below this share of the loss is its rounding
ROUNDING = 1e-15
# steps are on a log scale where less than this share of what happens comes after the first hundredth of them
EARLY = 0.1


def plot_run(run: Run, path: Name | None = None, *, data: str | None = None, theory: bool = False) -> Figure:
    """The loss of a run and, where recorded, the alignment of its layers, its singular values end to end, and its sharpness beside 2/lr.

    `path`: also save the figure there; the extension chooses the format (.png, .svg, .pdf). `data`: the name of the data, for
    the title. Returns: the matplotlib Figure.
    Raises: ImportError without matplotlib; ValueError for an unknown extension; OSError if it cannot be written.
    """
    figure_of = _figure()
    panels: list[tuple[Any, History | None]] = [(_loss, None)]
    for name, draw in (("alignment", _alignment), ("singular_values", _singular_values)):
        if name in run.history and run.history[name].values.size:
            panels.append((draw, run.history[name]))
    if "sharpness" in run.history and run.history["sharpness"].values.size:
        # 2/lr is the limit of gradient descent and of no other rule
        drawn = partial(_sharpness, run=run) if run.plan.rule == "sgd" else _sharpness_alone
        panels.append((drawn, run.history["sharpness"]))
    early = _early(run)
    figure = figure_of(len(panels))
    for ax, (draw, history) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        draw(ax, run) if history is None else draw(ax, history)
        ax.set_xlabel(f"step of {_rule(run)}")
        ax.set_xlim(0, max(run.steps, 1))
        if early:
            # step 0 has its place beside the powers of ten
            ax.set_xscale("symlog", linthresh=1, linscale=0.3)
        ax.xaxis.set_major_formatter(_step)
        if not early:
            ax.locator_params(axis="x", nbins=5)
        _plain(ax)
    if theory:
        _theory(figure, run, [draw for draw, _ in panels])
    figure.suptitle(title(run, data), fontsize=12)
    if path is not None:
        save(figure, path, dpi=150)
    return figure


def _rule(run: Run) -> str:
    """What took the steps, in words."""
    name = run.plan.rule.split(",")[0]
    if name == "sgd":
        return "gradient descent on batches" if run.plan.batch else "gradient descent"
    return RULES[name].__name__ if name in RULES else name


def _theory(figure: Figure, run: Run, drawn: list[Any]) -> None:
    """Gradient flow in closed form over the loss and the singular values, or a line that says why there is none."""
    from .beside_flow import closed_form, given

    problem, lr = given(run)
    found = closed_form(problem)
    if isinstance(found, str):
        figure.supxlabel(f"no closed form of the flow is known here: {found}", fontsize=9, color=GREY)
        return
    steps = np.unique(np.linspace(0, run.steps, min(run.steps, 300) + 1).round())
    for ax, draw in zip(figure.axes, drawn, strict=True):
        label = f"gradient flow in closed form ({found.statement})"
        if draw is _loss:
            ax.plot(steps, found.loss(lr * steps), color="black", linestyle=":", linewidth=1.6, label=label)
            ax.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none")
        elif draw is _singular_values:
            for j, line in enumerate(found.singular_values(lr * steps).T):
                ax.plot(steps, line, color="black", linestyle=":", linewidth=1.2, label=None if j else label)


def plot_flow(flow: Flow, path: Name | None = None, *, data: str | None = None) -> Figure:
    """The loss of a flow over time and, where they were recorded, alignment, singular values and sharpness; as `plot_run`."""
    figure_of = _figure()
    panels: list[tuple[Any, History | None]] = [(None, None)]
    for name, draw in (("alignment", _alignment), ("singular_values", _singular_values), ("sharpness", _sharpness_alone)):
        if name in flow.history and flow.history[name].values.size:
            # records stand at places in the times
            kept = flow.history[name]
            panels.append((draw, History(flow.times[kept.steps], kept.values)))
    figure = figure_of(len(panels))
    for ax, (draw, history) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        if draw is None:
            _loss_over(ax, flow.times, flow.loss, flow.excess, flow.floor)
        else:
            draw(ax, history)
        ax.set_xlabel("time")
        ax.set_xlim(0, float(flow.times[-1]) or 1.0)
        _plain(ax)
    widths = "-".join(map(str, flow.network.widths))
    figure.suptitle(f"gradient flow of a {widths} deep linear network" + (f" on {data}" if data else ""), fontsize=12)
    if path is not None:
        save(figure, path, dpi=150)
    return figure


def _figure() -> Callable[[int], Figure]:
    """Makes a figure with room for so many panels. Raises: ImportError without matplotlib."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise ImportError("plots need matplotlib, which is not installed; pip install 'linalign[plot]'") from None
    # padding: room for the last tick of each axis
    return lambda count: Figure(figsize=(1.2 + 4.4 * count, 4.3), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.06))


def _plain(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, color="#e6e6e6", linewidth=0.8)
    ax.set_axisbelow(True)


def save(figure: Figure, path: Name, dpi: int) -> None:
    """Write a figure in the format that the extension names, matplotlib's own without one.

    Raises: ValueError for an unknown extension; OSError if it cannot be written.
    """
    target = Path(named(path))
    kind = target.suffix[1:].lower()
    if not kind:
        kind = figure.canvas.get_default_filetype()
        target = target.with_name(f"{target.name}.{kind}")
    with replacing(target) as file:
        figure.savefig(file, dpi=dpi, format=kind)


def title(run: Run, data: str | None = None) -> str:
    """`64-32-16-10 deep linear network on digits, 20,000 steps, converged`."""
    layers = run.network.layers
    shown = "-".join(map(str, run.network.widths)) if run.network.is_dense else f"{run.network.widths[0]} inputs, {spell(layers)}:"
    words = f"{shown} deep linear network" + (f" on {data}" if data else "")
    end = ", converged" if run.converged else ", interrupted" if run.interrupted else ""
    return f"{words}, {run.steps:,} steps{end}"


def _step(value: float, position: int | None) -> str:
    """200k for 200000, 1.5M for 1500000."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def _thinned(values: Array) -> tuple[Array, Array]:
    """Steps and values, at most `POINTS` of them, first and last among them."""
    if len(values) <= POINTS:
        return np.arange(len(values)), values
    # half of them even, half of them close at the beginning, for either scale
    even, log = np.linspace(0, len(values) - 1, POINTS // 2), np.geomspace(1, len(values) - 1, POINTS // 2)
    at = np.unique(np.concatenate([even, log]).round().astype(np.int64))
    return at, values[at]


def _early(run: Run) -> bool:
    """Whether nearly all that happens to the loss, on the scale that it is drawn on, happens in the first hundredth of the steps."""
    if run.steps < 1000:
        return False
    shown = run.loss if run.floor > ROUNDING * float(np.nanmax(run.loss)) else run.excess
    if shown.min() <= 0 or shown.max() < 10 * shown.min():
        return bool(np.ptp(shown[run.steps // 100 :]) <= EARLY * np.ptp(shown))
    shown = np.log(np.maximum(shown, ROUNDING * shown.max()))
    return bool(np.ptp(shown[run.steps // 100 :]) <= EARLY * np.ptp(shown))


def _loss(ax: Axes, run: Run) -> None:
    at, loss = _thinned(run.loss)
    _loss_over(ax, at, loss, run.excess[at], run.floor)


def _loss_over(ax: Axes, at: Array, loss: Array, excess: Array, floor: float) -> None:
    """The loss at steps or times."""
    from matplotlib.ticker import AutoLocator, NullFormatter, ScalarFormatter

    ax.plot(at, loss, color=PALETTE[0], linewidth=2, label="loss", **_dot(at))
    if floor > ROUNDING * float(np.nanmax(loss)):
        ax.axhline(floor, color=GREY, linestyle="--", linewidth=1.2, label=f"least squares, {floor:.4g}")
        ax.plot(at, excess, color=PALETTE[1], linewidth=2, label="loss above least squares", **_dot(at))
    shown = np.concatenate([line.get_ydata() for line in ax.get_lines()])
    if np.nanmin(shown) > 0:
        ax.set_yscale("log")
        if np.nanmax(shown) < 10 * np.nanmin(shown):
            # less than a decade: plain numbers, not 2.4 x 10^0
            ax.yaxis.set_major_locator(AutoLocator())
            ax.yaxis.set_major_formatter(ScalarFormatter())
            ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_title("Loss", loc="left", fontweight="bold")
    ax.set_ylabel("loss")
    ax.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none")


def _alignment(ax: Axes, history: History) -> None:
    scores = history.values.reshape(len(history), -1)
    count = scores.shape[1]
    for i, (score, colour) in enumerate(zip(scores.T, _colours(count), strict=True)):
        # later lines are thinner, so that none hides another where they meet at 1
        width = 4.0 - 2.6 * i / max(count - 1, 1)
        ax.plot(history.steps, score, color=colour, linewidth=width, label=f"layers {i + 1} and {i + 2}", **_dot(history.steps))
    ax.axhline(1.0, color=GREY, linestyle="--", linewidth=1.2)
    ax.set_title("Alignment of neighbouring layers", loc="left", fontweight="bold")
    ax.set_ylabel("alignment (1: aligned)")
    lowest = float(np.nanmin(scores, initial=1.0))
    ax.set_ylim(max(0.0, lowest - 0.12 * (1 - lowest) - 0.005), 1 + 0.06 * (1 - lowest) + 0.002)
    _few_in_legend(ax, count, "lower right")


def _singular_values(ax: Axes, history: History) -> None:
    values = history.values.reshape(len(history), -1)
    for j, (value, colour) in enumerate(zip(values.T, _colours(values.shape[1]), strict=True)):
        ax.plot(history.steps, value, color=colour, linewidth=1.6, label=_rank(j + 1), **_dot(history.steps))
    ax.set_title("Singular values, end to end", loc="left", fontweight="bold")
    ax.set_ylabel("singular value of the product of all layers")
    ax.set_ylim(bottom=0)
    _few_in_legend(ax, values.shape[1], "best")


def _sharpness(ax: Axes, history: History, run: Run) -> None:
    """Beside 2/lr, above which gradient descent is not stable: `2 (1 + momentum) / lr` of the largest rate (T13.4)."""
    ax.plot(history.steps, history.values, color=PALETTE[0], linewidth=2, label="sharpness", **_dot(history.steps))
    edge = run.history.get("edge")
    if edge is not None and np.array_equal(edge.steps, history.steps):
        # what was recorded knows momentum and rates that change
        with np.errstate(divide="ignore", invalid="ignore"):
            limit = history.values / edge.values
        ax.plot(history.steps, limit, color=GREY, linestyle="--", linewidth=1.2, label="stable below")
    else:
        asked = {} if run.kept is None else run.kept.asked()
        momentum = getattr(asked.get("optimizer"), "momentum", asked.get("momentum", 0.0))
        momentum = momentum if isinstance(momentum, int | float) else 0.0
        limit = np.array([2 * (1 + momentum) / float(np.max(run.lr))])
        ax.axhline(
            limit[0], color=GREY, linestyle="--", linewidth=1.2, label=f"{'2(1 + momentum)' if momentum else '2'}/lr, {limit[0]:.4g}"
        )
    ax.set_title("Sharpness", loc="left", fontweight="bold")
    ax.set_ylabel("largest eigenvalue of the Hessian")
    ax.set_ylim(0, 1.1 * float(np.nanmax([np.nanmax(history.values), min(np.nanmax(limit), 3 * np.nanmax(history.values))])))
    ax.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none")


def _sharpness_alone(ax: Axes, history: History) -> None:
    ax.plot(history.steps, history.values, color=PALETTE[0], linewidth=2, **_dot(history.steps))
    ax.set_title("Sharpness", loc="left", fontweight="bold")
    ax.set_ylabel("largest eigenvalue of the Hessian")
    ax.set_ylim(bottom=0)


def _rank(n: int) -> str:
    """largest, 2nd largest, 3rd largest, ..."""
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return "largest" if n == 1 else f"{n}{suffix} largest"


def _dot(steps: Array) -> dict[str, Any]:
    """A single point has no line and needs a marker."""
    return {"marker": "o"} if len(steps) == 1 else {}


def _colours(count: int) -> list[Any]:
    """A palette for a few lines, a scale from dark to light for many; both for any colour vision."""
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    from matplotlib import colormaps

    return list(colormaps["viridis"](np.linspace(0.0, 0.9, count)))


def _few_in_legend(ax: Axes, count: int, place: Any) -> None:
    """All lines if they are few; the first, the middle and the last of many, whose colours are a scale."""
    handles, labels = ax.get_legend_handles_labels()
    shown = range(count) if count <= len(PALETTE) else [0, count // 2, count - 1]
    ax.legend([handles[i] for i in shown], [labels[i] for i in shown], loc=place, frameon=True, framealpha=0.9, edgecolor="none")
