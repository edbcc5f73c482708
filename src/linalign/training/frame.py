"""Runs and flows as data frames: `Run.to_pandas`, `Flow.to_pandas`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..record.recorder import History
from ..validate import Array

if TYPE_CHECKING:
    from .flow import Flow
    from .run import Run


def of_run(run: Run, names: tuple[str, ...]) -> Any:
    """See `Run.to_pandas`."""
    return _frame("step", np.arange(len(run.excess)), {"loss": run.loss, "excess": run.excess}, run.history, names)


def of_flow(flow: Flow, names: tuple[str, ...]) -> Any:
    """See `Flow.to_pandas`."""
    # records stand at places in the times
    recorded = {name: History(flow.times[history.steps], history.values) for name, history in flow.history.items()}
    return _frame("time", flow.times, {"loss": flow.loss, "excess": flow.excess}, recorded, names)


def _frame(index: str, at: Array, columns: dict[str, Array], recorded: Mapping[str, History], names: tuple[str, ...]) -> Any:
    """These columns and what was recorded, by `at`. Raises: ImportError, KeyError."""
    try:
        import pandas
    except ImportError:
        raise ImportError("to_pandas needs pandas; install it with: pip install pandas (or use .loss and .history)") from None
    for name in names:
        if name not in recorded:
            raise KeyError(f"{name!r} was not recorded; there are {', '.join(recorded) or 'no records'}")
    rows = pandas.Index(at, name=index)
    frames = [pandas.DataFrame(columns, index=rows)]
    for name, history in recorded.items():
        if names and name not in names:
            continue
        values = history.values.reshape(len(history), -1)
        own = [name] if history.values.ndim == 1 else [f"{name}_{i}" for i in range(values.shape[1])]
        own = [f"recorded_{each}" if each in columns else each for each in own]
        frames.append(pandas.DataFrame(values, index=history.steps, columns=own).reindex(rows))
    return pandas.concat(frames, axis=1)
