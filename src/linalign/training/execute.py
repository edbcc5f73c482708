"""Execution: a run that was planned, from binding it to lifting what it found."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from .. import validate
from ..engine.bind import compiled
from ..engine.engine import CALLBACK_FAILED, CONVERGED, DIVERGED, RUNNING
from ..engine.engines import bind
from ..plan.plan import Plan
from ..plan.planner import Work
from ..problem.descent import Descent
from ..problem.network import Network
from ..record.state import State
from ..validate import Array
from .errors import DivergenceError
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
    threads: int = 1,
) -> Run:  # fmt: skip
    """The run that was planned. `stop[0]` ends it from outside, in place of Ctrl-C. Raises: DivergenceError."""
    net, recorder = work.given.net, options.recorder()
    engine = bind(work, descent, plan.implementation, plan.pivot, threads, options.batches(work.problem.rows))
    size = first_slice(plan, work, descent)
    loop = Loop(engine, State(work, engine, descent, threads), recorder, options.steps, options.target, progress, size)
    began = time.perf_counter()
    loop.run(stop)
    if loop.status == CALLBACK_FAILED:
        assert engine.error is not None
        raise engine.error
    diverged_at = loop.done if loop.status == DIVERGED else None
    if diverged_at:
        loop.rewind(diverged_at - 1)
    seconds = time.perf_counter() - began
    # nobody else holds what was lifted, and the engine ends here
    params = work.lift(engine.params(), loop.done) if loop.done else net.params
    mean = engine.average()
    run = Run(
        network=adopt(net, params),
        average=None if mean is None else adopt(net, work.lift(mean, loop.done)),
        excess=loop.losses.first(loop.done + 1),
        floor=work.floor,
        history=recorder.history(loop.done),
        steps=loop.done,
        converged=loop.status == CONVERGED,
        interrupted=loop.interrupted and loop.status == RUNNING,
        lr=descent.lr,
        plan=plan,
        seconds=seconds,
    )
    if diverged_at is not None:
        raise DivergenceError(divergence(run, diverged_at == 0), run)
    return run


def adopt(net: Network, params: Iterable[Array]) -> Network:
    """The network with parameters that nobody else holds. Raises: ValueError where they are not finite."""
    return Network._adopt(net.layers, [validate.finite(f"params[{i}]", theta) for i, theta in enumerate(params)])


def divergence(run: Run, at_start: bool) -> str:
    """What to say of a run that diverged, and what to do."""
    rates = np.unique(run.lr)
    lr = f"lr={rates[0]:g}" if len(rates) == 1 else f"lr between {rates[0]:g} and {rates[-1]:g}"
    if at_start:
        return "the loss of the start is not finite, before any step; scale the start or the data down"
    return (
        f"training diverged: the loss was {run.loss[-1]:.3g} before step {run.steps} and not finite after it, with {lr}; "
        f"lower lr (error.run holds the {run.steps} steps before)"
    )
