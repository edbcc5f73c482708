"""What a sweep recorded, as one table: `Sweep.to_pandas` with names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..validate import Array
from .journal import COLUMNS

if TYPE_CHECKING:
    from .result import Sweep


def to_pandas(sweep: Sweep, names: tuple[str, ...]) -> Any:
    """See `Sweep.to_pandas`."""
    try:
        import pandas
    except ImportError:
        raise ImportError("to_pandas needs pandas; install it with: pip install pandas (or use .rows, a list of dicts)") from None
    if not names:
        return pandas.DataFrame(sweep.rows)
    known = dict.fromkeys(name for outcome in sweep.outcomes for name in outcome.history)
    frames = []
    for name in names:
        if name not in known:
            raise KeyError(f"{name!r} was not recorded; there are {', '.join(known) or 'no records'}")
        kept = [(i, outcome.history[name]) for i, outcome in enumerate(sweep.outcomes) if len(outcome.history.get(name, ()))]
        runs = np.repeat([i for i, _ in kept], [len(history) for _, history in kept]).astype(np.int64)
        steps = np.concatenate([history.steps for _, history in kept]) if kept else np.empty(0, dtype=np.int64)
        flat = [history.values.reshape(len(history), -1) for _, history in kept]
        width = max((values.shape[1] for values in flat), default=0)
        # runs with fewer numbers a record have nan in the rest
        wide = [values if values.shape[1] == width else _filled(values, width) for values in flat]
        table = np.concatenate(wide) if wide else np.empty((0, width))
        single = all(history.values.ndim == 1 for _, history in kept)
        own = [name] if single else [f"{name}_{j}" for j in range(width)]
        frames.append(pandas.DataFrame(table, index=pandas.MultiIndex.from_arrays([runs, steps], names=["run", "step"]), columns=own))
    found = pandas.concat(frames, axis=1).sort_index().reset_index()
    for place, key in enumerate(sweep.grid):
        values = [row[f"grid_{key}" if key in COLUMNS else key] for row in sweep.rows]
        label = f"grid_{key}" if key in (*COLUMNS, "run", "step") or key in found else key
        found.insert(place, label, pandas.Series(values).take(found["run"]).to_numpy())
    return found


def _filled(values: Array, width: int) -> Array:
    return np.pad(values.astype(np.float64), ((0, 0), (0, width - values.shape[1])), constant_values=np.nan)
