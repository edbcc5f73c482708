"""Execution: a run that was planned, from binding it to lifting what it found."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from .. import validate
from ..engine.bind import compiled
from ..engine.choose import bind
from ..engine.engine import CALLBACK_FAILED, CONVERGED, DIVERGED, RUNNING
from ..plan.plan import Plan
from ..plan.planner import Work
from ..problem.descent import Descent
from ..problem.network import Network
from ..record.lifted import lifted
from ..record.quantities import CURVATURES
from ..record.recorder import Recorder
from ..record.state import State
from ..validate import Array
from .automatic_rate import hint
from .errors import DivergenceError
from .kept import Before, Kept
from .loop import SLICE_SECONDS, Loop
from .options import Options
from .run import Run


def first_slice(plan: Plan, work: Work, descent: Descent) -> int:
    """Steps that surely take less than a slice: by the cost model where it knows what a step does, with room for its error."""
    if not compiled(work.problem.loss) or not descent.fused or plan.pivot.nanoseconds <= 0:
        return 1
    return max(1, int(SLICE_SECONDS * 1e9 / (8 * plan.pivot.nanoseconds)))


def execute(
    plan: Plan, work: Work, descent: Descent, options: Options, *, progress: bool = False, stop: list[bool] | None = None,
    threads: int = 1, before: Before | None = None, checkpoint: Keeper | None = None, held: AbstractContextManager[Any] | None = None,
    lifting: AbstractContextManager[Any] | None = None,
) -> Run:  # fmt: skip
    """The run that was planned, or the rest of one. `stop[0]` ends it from outside, in place of Ctrl-C.

    `held` is what holds BLAS back while the loop runs, and `lifting` while what it found is lifted.
    Raises: DivergenceError, and what the loss or a recorded function raised, with the run up to there as its `run`.
    """
    with held or contextlib.nullcontext():
        execution = Execution(plan, work, descent, options, threads, before)
        loop = execution.loop(progress)
        if checkpoint is not None:
            loop.keep_every(checkpoint.every, lambda: checkpoint.write(execution.so_far()))
        try:
            loop.run(stop)
            if loop.status == CALLBACK_FAILED:
                assert execution.engine.error is not None
                raise execution.engine.error
        except Exception as error:
            execution.attach(error)
            raise
        if loop.status == DIVERGED:
            raise execution.divergence()
        seconds, kept = execution.seconds(), execution.kept()
    with lifting or contextlib.nullcontext():
        run = execution.run(seconds=seconds, kept=kept)
    if checkpoint is not None:
        checkpoint.write(run)
    return run


def recorded(plan: Plan, work: Work, recorder: Recorder) -> Plan:
    """The plan, with whose curvature is recorded, if any is."""
    if not any(name in recorder for name in CURVATURES):
        return plan
    from ..record.curvature import sentence

    return replace(plan, curvature=sentence(work))


class Keeper(Protocol):
    """Who keeps a run under way."""

    every: float
    """Seconds between two times."""

    def write(self, run: Run) -> float:
        """Keep it; how many seconds to wait before the next time."""


class Execution:
    """A run under way: its engine and its loop, and the `Run` of what was done so far."""

    def __init__(self, plan: Plan, work: Work, descent: Descent, options: Options, threads: int = 1, before: Before | None = None) -> None:
        """Raises: ValueError where `before` is of another problem."""
        self.work, self.descent, self.options, self.threads, self.before = work, descent, options, threads, before
        self.recorder = options.recorder()
        self.plan = recorded(plan, work, self.recorder)
        self.batches = options.batches(work.problem.rows, None if before is None else before.place)
        self.noise = options.noise(None if before is None else before.key)
        self.engine = bind(work, descent, plan.implementation, plan.pivot, threads, self.batches, self.noise, options.stream)
        if before is not None:
            self.engine.remember(before.memory)

    def loop(self, progress: bool = False) -> Loop:
        """The loop over the steps that are left."""
        options, before = self.options, self.before
        first = 0 if before is None else before.memory.step
        if before is not None:
            self.recorder.go_on(before.history, first, before.sums)
        state = State(self.work, self.engine, self.descent, self.threads, options.steps, options.validated(self.work.given.net))
        size = first_slice(self.plan, self.work, self.descent)
        self.engine.ready()
        self.began = time.perf_counter()
        self._loop = Loop(self.engine, state, self.recorder, options.steps, options.target, progress, size, first, options.stop)
        return self._loop

    def so_far(self) -> Run:
        """What was done before the step that is to be taken, in arrays of its own."""
        self.recorder.settle()
        self._loop.losses.rest(self._loop.done)[0] = self.engine.value(-math.inf)[1]
        return replace(self.run(np.array), interrupted=True)

    def seconds(self) -> float:
        """How long the loop has taken, in this call."""
        return time.perf_counter() - self.began

    def divergence(self) -> DivergenceError:
        """What is to be raised of a run that diverged, which holds the run up to the last finite loss."""
        loop, descent, at = self._loop, self.descent, self._loop.done
        if at > loop.first:
            loop.rewind(at - 1)
        run = self.run()
        seen = None if self.batches is None else self.batches.most
        fix = hint(self.work.given, descent.rule, descent.metric, descent.lr, seen, "stream" in descent.noisy)
        return DivergenceError(divergence(run.lr, run.steps, float(run.loss[-1]), fix, at_start=at == loop.first), run)

    def run(self, own: Callable[[Array], Array] = np.asarray, *, seconds: float | None = None, kept: Kept | None = None) -> Run:
        """What was done so far; `own` makes of an array of the engine one that the run may have."""
        loop, work, before, net = self._loop, self.work, self.before, self.work.given.net
        seconds = self.seconds() if seconds is None else seconds
        # nobody else holds what was lifted, and the engine ends here
        params = work.lift([own(theta) for theta in self.engine.params()], loop.done) if loop.done > self.descent.origin else net.params
        mean = self.engine.average()
        excess = loop.losses.first(loop.done - loop.first + 1)
        if before is not None:
            excess = np.concatenate([before.excess + (before.floor - work.floor), excess])
            seconds += before.seconds
        return Run(
            network=adopt(net, params),
            average=None if mean is None else adopt(net, work.lift([own(theta) for theta in mean], loop.done)),
            excess=excess,
            floor=work.floor,
            history=self.recorder.history(loop.done),
            steps=loop.done,
            converged=loop.status == CONVERGED,
            interrupted=loop.interrupted and loop.status == RUNNING,
            lr=self.descent.lr if self.descent.rates.constant is not None else self.descent.rates.at(max(loop.done - 1, 0), 1)[0],
            plan=self.plan,
            seconds=seconds,
            stopped=loop.stopped,
            kept=self.kept() if kept is None else kept,
        )

    def kept(self) -> Kept:
        """What the run goes on from."""
        loop, work, descent, engine, batches, step = self._loop, self.work, self.descent, self.engine, self.batches, self._loop.done
        memory = engine.memory(step)
        # the loss on the way is that of a batch, or of a loop in registers: what is compared is found as it will be
        value = engine.value(-math.inf)[1] if loop.status in (CONVERGED, DIVERGED) else float(loop.losses.rest(step)[0])

        # of an engine no more is held than what it remembers, but of parts that run side by side: these have no memory of the whole
        parts = None if work.split is None else engine

        def slots() -> list[list[Array]]:
            moving = None if parts is None else parts.velocities()
            own = memory.slots or [] if parts is None else [] if moving is None else [moving]
            return lifted(work, descent, own, step)

        return Kept(
            options=self.options, start=work.given.net.params, origin=descent.origin, carried=descent.carried, memory=memory, value=value,
            sums=self.recorder.sums(), key=None if self.noise is None else self.noise.key,
            find_slots=slots, find_place=lambda: None if batches is None else batches.place(step), find_given=lambda: work.given,
        )  # fmt: skip

    def attach(self, error: Exception) -> None:
        """Give an error the run up to it as `error.run`, where that can be told."""
        loop = self._loop
        with contextlib.suppress(Exception):
            loop.step_back()
            error.run = self.run()  # type: ignore[attr-defined]


def adopt(net: Network, params: Iterable[Array]) -> Network:
    """The network with parameters that nobody else holds. Raises: ValueError where they are not finite."""
    return Network._adopt(net.layers, [validate.finite(f"params[{i}]", theta) for i, theta in enumerate(params)])


def divergence(lr: Array, steps: int, loss: float, fix: str, *, at_start: bool = False) -> str:
    """What to say of a run that diverged after so many steps with this loss, and what to do."""
    rates = np.unique(lr)
    said = f"lr={rates[0]:g}" if len(rates) == 1 else f"lr between {rates[0]:g} and {rates[-1]:g}"
    if at_start:
        return "the loss of the start is not finite, before any step; scale the start or the data down"
    return (
        f"training diverged: the loss was {loss:.3g} before step {steps} and not finite after it, with {said}; "
        f"{fix} (error.run holds the {steps} steps before)"
    )
