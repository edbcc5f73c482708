"""Choosing the engine that runs what was planned."""

from __future__ import annotations

from ..optim.batches import Batches
from ..optim.noise import Noise
from ..plan import cost
from ..plan.cost import Pivot
from ..plan.planner import Work
from ..problem.descent import Descent
from ..problem.stream import Stream
from . import bind as kernel
from .engine import Engine
from .engines import ChainEngine, DrivenEngine, simultaneous
from .feed import Feed
from .rules import ChainSource, ReferenceSource, RuleEngine
from .sums import SumEngine


def bind(
    work: Work, descent: Descent, implementation: str, pivot: Pivot, threads: int = 1, batches: Batches | None = None,
    noise: Noise | None = None, stream: Stream | None = None,
) -> Engine:  # fmt: skip
    """The engine that runs the work. `threads`: of convolutions."""
    shapes = [layer.shape for layer in work.given.net.layers]
    run, feed = work.problem, None
    if batches is not None or noise is not None or stream is not None:
        feed = Feed(run, batches, noise, stream)
    if implementation == "reference":
        return RuleEngine(run, descent, ReferenceSource(run), shapes, feed)
    if work.split is not None:
        return SumEngine(work.split, run, descent)
    if feed is not None and not kernel.compiled(run.loss):
        # a loss in Python would have to be asked of each batch
        return RuleEngine(run, descent, ReferenceSource(run), shapes, feed)
    if descent.fused and feed is None:
        return ChainEngine(run, descent, pivot, threads)
    in_c = descent.heavy_ball or descent.compiled(run.net)
    if descent.update == "simultaneous" and in_c and (noise is None or not noise.gradients):
        return DrivenEngine(run, descent, pivot, threads, shapes, feed)
    plain = simultaneous(run.net.depth)
    problem = run if batches is None else kernel.first_rows(run)
    if descent.update == "cyclic":
        pivot = cost.choose(problem, plain)[0]
    chain = kernel.bind(problem, plain, pivot.at, pivot.rows, threads, alone=feed is None, lent=True)
    if feed is not None:
        kernel.draw_from(chain, run, feed.drawn)
    return RuleEngine(run, descent, ChainSource(chain), shapes, feed)
