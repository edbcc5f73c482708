"""Feed: what each step sees: the rows of its batch, and noise on their labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..optim.batches import Batches
from ..optim.noise import Noise
from ..validate import Array

# numbers that are handed over at a time
MOST = 2**20


@dataclass(frozen=True, eq=False)
class Seen:
    """What some steps see: step t the rows `rows[t, :counts[t]]`, all if None, with `noise[t]` on their labels."""

    rows: Array | None
    counts: Array | None
    noise: Array | None

    def rows_of(self, t: int) -> Array | None:
        """Those of step t."""
        return None if self.rows is None or self.counts is None else self.rows[t, : self.counts[t]]

    def noise_of(self, t: int) -> Array | None:
        """That of step t, `(most, k_d)`."""
        return None if self.noise is None else np.ascontiguousarray(self.noise[t])


@dataclass(frozen=True, eq=False)
class Feed:
    """What the steps of a run see. `rows` and `outputs`: of the problem that is run, at a step."""

    batches: Batches | None
    noise: Noise | None
    rows: int
    outputs: int

    @property
    def labels(self) -> bool:
        """Whether there is noise on the labels."""
        return self.noise is not None and self.noise.labels > 0

    @property
    def longest(self) -> int:
        """How many steps to hand over at a time."""
        return max(1, MOST // (self.rows * self.outputs)) if self.labels else MOST

    def at(self, first: int, count: int) -> Seen:
        """What `count` steps from `first` on see."""
        drawn = None if self.batches is None or not count else self.batches.at(first, count)
        noise = None if self.noise is None else self.noise.on_labels(first, count, self.rows, self.outputs)
        return Seen(None if drawn is None else drawn.rows, None if drawn is None else drawn.counts, noise)
