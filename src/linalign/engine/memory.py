"""Memory: what a run goes on from: parameters, what its rule remembers, and how many steps both have taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..validate import Array


@dataclass(frozen=True, eq=False)
class Memory:
    """Where an engine stands.

    step : steps taken, of the whole run.
    began : the step at which the rule began to remember: it counts its own steps from there.
    params : of the problem that is run; None for those that it was bound with.
    slots : `slots[k][i]`, what the rule remembers of layer i; None for what it begins with.
    numbers : what it remembers of the network.
    """

    step: int
    began: int
    params: list[Array] | None
    slots: list[list[Array]] | None
    numbers: Array

    def fits(self, other: Memory) -> bool:
        """Whether both are of the same arrays."""
        return all(
            mine is None or theirs is None or [a.shape for a in mine] == [b.shape for b in theirs]
            for mine, theirs in ((self.params, other.params), (self.flat, other.flat))
        )

    @property
    def flat(self) -> list[Array] | None:
        """All that the rule remembers."""
        return None if self.slots is None else [np.asarray(self.numbers), *(array for slot in self.slots for array in slot)]
