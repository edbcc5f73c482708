"""Animations of a run: its picture, drawn step after step. Needs matplotlib, and Pillow, which comes with it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import validate
from ..files import Name, named, replacing

if TYPE_CHECKING:
    from .run import Run

FORMATS = (".gif", ".webp", ".png")


def animate(run: Run, path: Name, *, frames: int = 60, seconds: float = 6.0) -> Path:
    """See `Run.animate`."""
    target = Path(named(path))
    if target.suffix.lower() not in FORMATS:
        raise ValueError(f"path is {named(path)}; an animation is a {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    count = validate.integer("frames", frames, least=2)
    duration = validate.real("seconds", seconds, above=0)
    from .plot import plot_run

    figure = plot_run(run)
    figure.set_dpi(80)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()  # limits and layout are those of the whole run
    figure.set_layout_engine("none")
    drawn: list[tuple[Any, Any, Any]] = []
    for ax in figure.axes:
        ax.set_xlim(*ax.get_xlim())
        ax.set_ylim(*ax.get_ylim())
        for line in ax.get_lines():
            x = np.asarray(line.get_xdata(), dtype=np.float64)
            if len(x) > 2 or (len(x) == 2 and x[1] > 1):  # a line across the panel stays
                drawn.append((line, x, np.asarray(line.get_ydata())))
    logarithmic = any(ax.get_xscale() != "linear" for ax in figure.axes)
    ends = np.geomspace(1, max(run.steps, 1), count) if logarithmic else np.linspace(0, run.steps, count)
    images = []
    for end in ends:
        for line, x, y in drawn:
            shown = int(np.searchsorted(x, end + 1e-9, side="right"))
            line.set_data(x[:shown], y[:shown])
        canvas.draw()
        images.append(Image.fromarray(np.array(canvas.buffer_rgba())).convert("RGB"))
    with replacing(target) as file:
        buffer = io.BytesIO()
        images[0].save(
            buffer, format=target.suffix[1:].upper(), save_all=True, append_images=images[1:], loop=0,
            duration=[max(20, round(1000 * duration / count))] * (count - 1) + [1500],
        )  # fmt: skip
        file.write(buffer.getvalue())
    return target
