"""Observers: the cheapest that is exact, for each way in which a network is run."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..plan.planner import Work
from ..reduce.inputs import BiasedInputsLift, InputsLift
from ..reduce.split import Modes
from ..reduce.width import BiasedWidthLift, WidthLift
from ..scores.chain import noise
from ..validate import Array
from .convolution_interfaces import small_images
from .observer import Angles, Observer, Running
from .outside import floors
from .reduced_observer import ReducedObserver

# lifts from a smaller network whose scores tell those of the network as given
REDUCED = (InputsLift, BiasedInputsLift, WidthLift, BiasedWidthLift)


class AlignedObserver(Observer):
    """The quantities where scalar modes are all that moves, and the rest never meets: the network stays aligned (T3.2)."""

    def angles(self) -> Angles:
        return [(0.0, 1.0)] * (self._run.work.given.net.depth - 1)

    def constant_angles(self) -> Angles:
        return self.angles()


class GivenObserver(Observer):
    """The quantities where the network is run as it was given."""

    def constants(self) -> tuple[Array, Array | None] | None:
        matrices = self._run.work.given.net.matrices()
        return floors([W.shape[0] for W in matrices], [noise(W) for W in matrices]), None


def stays_aligned(work: Work) -> bool:
    """Whether the network as given is an orthogonal sum of modes and of constant layers that do not meet."""
    if work.split is None or any(not (isinstance(lift, InputsLift) and lift.V.shape[0] == lift.V.shape[1]) for lift in work.lifts):
        return False
    for part in work.split.parts:
        if part.content is None:
            for W, V in pairwise(part.start):
                if np.linalg.norm(V @ W) > 1e-13 * np.linalg.norm(V) * np.linalg.norm(W):
                    return False
        elif not isinstance(part.content, Modes):
            return False
    return True


def observer(run: Running, moving: bool, threads: int = 1) -> Observer:
    """The cheapest observer that is exact. `moving`: whether what is outside of what is run decays."""
    work = run.work
    if stays_aligned(work):
        return AlignedObserver(run, threads)
    if not moving and any(isinstance(lift, REDUCED) for lift in work.lifts):
        return ReducedObserver(run, threads)
    as_given = not work.lifts and work.split is None and work.problem.net.layers == work.given.net.layers
    return (GivenObserver if as_given else Observer)(run, threads, small_images(work.given.net.layers, run.params))
