"""Runs as data frames: `Run.to_pandas`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .run import Run


def to_pandas(run: Run, names: tuple[str, ...]) -> Any:
    """See `Run.to_pandas`."""
    try:
        import pandas
    except ImportError:
        raise ImportError("to_pandas needs pandas; install it with: pip install pandas (or use .loss and .history)") from None
    for name in names:
        if name not in run.history:
            raise KeyError(f"{name!r} was not recorded; there are {', '.join(run.history) or 'no records'}")
    steps = pandas.Index(np.arange(len(run.excess)), name="step")
    frames = [pandas.DataFrame({"loss": run.loss, "excess": run.excess}, index=steps)]
    for name, history in run.history.items():
        if names and name not in names:
            continue
        values = history.values.reshape(len(history), -1)
        own = [name] if history.values.ndim == 1 else [f"{name}_{i}" for i in range(values.shape[1])]
        own = [f"recorded_{each}" if each in ("loss", "excess") else each for each in own]
        frames.append(pandas.DataFrame(values, index=history.steps, columns=own).reindex(steps))
    return pandas.concat(frames, axis=1)
