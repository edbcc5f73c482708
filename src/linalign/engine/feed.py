"""Feed: what each step sees: the rows of its batch, data of its own, and noise on the labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..optim.batches import Batches
from ..optim.noise import Noise
from ..problem.facts import DataFacts
from ..problem.problem import Problem
from ..problem.stream import Stream
from ..validate import Array

# numbers that are handed over at a time
MOST = 2**20


@dataclass(frozen=True, eq=False)
class Seen:
    """What `steps` steps see: step t the rows `rows[t, :counts[t]]`, all if None, with `noise[t]` on their labels.

    `data`: the problem whose rows these are, where it is not that of the run.
    """

    steps: int
    rows: Array | None
    counts: Array | None
    noise: Array | None
    data: Problem | None = None

    def rows_of(self, t: int) -> Array | None:
        """Those of step t."""
        return None if self.rows is None or self.counts is None else self.rows[t, : self.counts[t]]

    def noise_of(self, t: int) -> Array | None:
        """That of step t, `(most, k_d)`."""
        return None if self.noise is None else np.ascontiguousarray(self.noise[t])


@dataclass(frozen=True, eq=False)
class Feed:
    """What the steps of a run see; `problem` is what is run."""

    problem: Problem
    batches: Batches | None
    noise: Noise | None
    stream: Stream | None = None

    @property
    def rows(self) -> int:
        """Those of a step, at most."""
        return self.problem.rows_a_step

    @property
    def outputs(self) -> int:
        """Those of the network."""
        return self.problem.net.widths[-1]

    @property
    def drawn(self) -> bool:
        """Whether steps see other rows than those that a chain is bound with."""
        return self.batches is not None or self.stream is not None

    @property
    def labels(self) -> bool:
        """Whether there is noise on the labels."""
        return self.noise is not None and self.noise.labels > 0

    @property
    def longest(self) -> int:
        """How many steps to hand over at a time."""
        each = self.rows * self.outputs if self.labels else 1
        return max(1, MOST // (each if self.stream is None else self.rows * sum(self.problem.net.widths[:: self.problem.net.depth])))

    def at(self, first: int, count: int) -> Seen:
        """What `count` steps from `first` on see, or fewer where a stream ends. Raises: what the stream raises."""
        data, rows, counts = None, None, None
        if self.stream is not None and count:
            X, T, count = self.stream.rows(self.problem, first, count)
            data = replace(self.problem, X=X, T=T, facts=DataFacts())
            rows, counts = np.arange(len(X)).reshape(count, -1), np.full(count, len(X) // count)
        elif self.batches is not None and count:
            drawn = self.batches.at(first, count)
            rows, counts = drawn.rows, drawn.counts
        noise = None if self.noise is None else self.noise.on_labels(first, count, self.rows, self.outputs)
        return Seen(count, rows, counts, noise, data)
