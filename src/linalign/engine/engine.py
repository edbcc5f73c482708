"""Engine: what the training loop drives: a run that can be advanced, looked at, and put back to an earlier state."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np

from ..plan import machine
from ..validate import Array
from .memory import Memory

RUNNING, CONVERGED, DIVERGED, CALLBACK_FAILED = (machine.STATUSES[name] for name in ("running", "converged", "diverged", "callback failed"))
# losses of steps that are taken again are kept for so many at a time
REPLAYED = 4096


class Engine(ABC):
    """A run that can be advanced, looked at, and put back to an earlier state."""

    error: BaseException | None = None
    longest: int = 2**20
    """How many steps to take at a time."""
    streams: bool = False
    """Whether every step has data of its own."""
    torn: bool = False
    """Whether what raised left a step half done."""
    at_loss: bool = True
    """Whether it was the loss."""

    @abstractmethod
    def advance(self, steps: int, values: Array, tol: float) -> tuple[int, int]:
        """Take up to `steps` steps, `values[t]` the loss before step t without the floor; `(status, steps taken)`."""

    @abstractmethod
    def value(self, tol: float) -> tuple[int, float]:
        """`(status, loss)` where it stands."""

    @abstractmethod
    def params(self) -> list[Array]:
        """The parameters of the problem that is run; they may be views that move with it."""

    def average(self) -> list[Array] | None:
        """The mean of the parameters, if the rule keeps one."""
        return None

    @abstractmethod
    def state(self) -> list[Array]:
        """The arrays that make up the state, in place."""

    @abstractmethod
    def memory(self, step: int) -> Memory:
        """What the run, which has taken `step` steps, can go on from; its arrays are those of the engine, and move with it."""

    def remember(self, memory: Memory) -> None:
        """Go on from there, in place of the start. Raises: ValueError where it is of another problem."""
        if not memory.fits(self.memory(memory.step)):
            raise ValueError("what the run remembers is of other arrays than those that are run here")
        self._resume(memory)

    @abstractmethod
    def _resume(self, memory: Memory) -> None:
        """`remember`, of arrays that fit."""

    @abstractmethod
    def gradient_norm(self) -> float:
        """`sqrt(sum_i ||dL/dtheta_i||^2)` where it stands."""

    def streamed_gradients(self) -> list[Array]:
        """The gradients on the data of the last step, of an engine that `streams`."""
        raise NotImplementedError

    def velocities(self) -> list[Array] | None:
        """The velocities of the parameters that are run; None without momentum. They may be views that move with it."""
        return None

    def prepare_scores(self, noise: Array, constant: Array | None) -> bool:
        """Whether `advance_scoring` can record the alignment of a network with these constants on its way."""
        return False

    def advance_scoring(self, steps: int, values: Array, tol: float, at: Array) -> tuple[int, int, Array]:
        """`advance`, and sine and cosine of every interface before the steps in `at`; needs `prepare_scores`."""
        raise NotImplementedError

    def scores(self) -> Array:
        """Sine and cosine of every interface where it stands, as on its way; needs `prepare_scores`."""
        raise NotImplementedError

    def ready(self) -> None:  # noqa: B027 - most have nothing left to do
        """Do before the first step what belongs to none: it is no time of the loop."""

    def use_one_thread(self) -> None:  # noqa: B027 - an engine that shares nothing has nothing to do
        """The other threads are taken from now on: those of one product wait for each other, and would wait for long."""

    def first(self) -> list[Array]:
        """A snapshot before the first step; what somebody else keeps, and zeros, are not copied, and none of it is to be written to."""
        return self.snapshot()

    @property
    def tells(self) -> bool:
        """Whether `value` takes no longer than a step, and asks nobody."""
        return False

    def snapshot(self, into: list[Array] | None = None) -> list[Array]:
        """A copy of the state, in the arrays of an earlier one if they are given: fresh memory takes longer to touch than to copy."""
        if into is None or not all(array.flags.writeable for array in into):
            return [array.copy() for array in self.state()]
        for old, array in zip(into, self.state(), strict=True):
            old[...] = array
        return into

    def restore(self, kept: list[Array]) -> None:
        """Back to a snapshot."""
        for array, old in zip(self.state(), kept, strict=True):
            array[...] = old

    def replay(self, kept: list[Array], steps: int) -> int:
        """From a snapshot, steps that were taken before; how many there were.

        They are the same steps, unless other threads took part in them and rounding has carried some of them out of the finite
        numbers: it then ends before the first of these. Raises: what the loss raised.
        """
        scratch = np.empty(min(steps, REPLAYED))
        while True:
            self.restore(kept)
            status, done = RUNNING, 0
            while done < steps and status == RUNNING:
                status, taken = self.advance(min(steps - done, REPLAYED), scratch, -math.inf)
                done += taken
            if status == CALLBACK_FAILED:
                assert self.error is not None
                raise self.error
            if done == steps:
                return done
            steps = max(done - 1, 0)


def norm(gradients: list[Array]) -> float:
    """`sqrt(sum_i ||g_i||^2)`."""
    return math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients))
