"""Resume: a run goes on, as if it had never been cut, or with something changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import numpy as np

from .. import optim, validate
from ..calls import called, meant
from ..engine.memory import Memory
from ..engine.threads import count, for_lift, for_loop, for_plan
from ..optim import Rule
from ..optim.batches import Place
from ..optim.wrapped import Averaged, innermost
from ..plan.plan import Plan
from ..plan.planner import Work, make_plan
from ..problem.descent import Descent
from ..problem.network import Network
from ..problem.problem import Problem, make_problem
from ..problem.stream import streamed
from ..record.quantities import QUANTITIES
from ..reduce.reduction import Reduction
from ..validate import Array
from .described import same
from .execute import Execution, execute
from .kept import Before, Kept
from .options import DEFAULTS, Options
from .run import Run

# options that say how long a run is and what is looked at, not where it goes
WATCHING = frozenset({"steps", "tol", "record", "validation", "stop"})
# options of the rule: reductions hold for any that commutes with them, as long as nothing decays
RULE = frozenset({"lr", "momentum", "weight_decay", "optimizer", "clip_norm", "average"})
# options whose arrays have one line a step, and what stands for the steps that were taken
STEPPED = {"lr": 0.0, "batch": 1, "order": 0}
# what a run goes on without: it stands in the place of drawing, or follows from the run
UNNEEDED = frozenset({"rng", "plan"})


@called
def resume(
    run: Run, X: Any = None, Y: Any = None, *, steps: int, threads: int | None = None, progress: bool = False, **changed: Any
) -> Run:
    """Go on from a run: its network, what its update rule remembers, its step count and where drawing of batches stands.

    Parameters
    ----------
    run : Run
        From `train`, `resume` or `load`; not changed.
    X, Y : as for `train`
        The same data, or others.
    steps : int
        Steps to take beyond `run.steps`.
    threads, progress : as for `train`
    **changed
        Options of `train` that are new; all others stay. Functions of the step go on with the step count of the whole run; arrays
        with one line a step are of the steps to come, or of the whole run. Options that `run` had and a file cannot hold, functions
        for instance, are wanted again where it comes from a file.

    Returns
    -------
    Run
        The whole of it: losses, history and steps from the beginning. Where the data are new, `excess` is above the new floor.

    With nothing changed, or only what is watched (steps, tol, record, validation, stop), it is bit-identical to a run of all steps with
    this plan, on the same machine. A new rate or rule keeps the reductions of the plan where it may, which is where nothing decays.
    Otherwise the rest is planned anew, from the network as given; a rule that remembers gradients then runs without reductions of the
    network.

    Raises: ValueError, TypeError for bad input, before any work; DivergenceError.
    """
    kept = _kept(run)
    first, total = run.steps, run.steps + validate.integer("steps", steps, least=0)
    workers = None if threads is None else validate.integer("threads", threads, least=1)
    asked, moved = _asked(kept, changed, first, total, run.history)
    if asked.get("stream") is not None:
        asked["stream"], X, Y = streamed(asked["stream"], X, Y, first)
    options = Options(**asked)
    options.check_rows(X)
    if options.lr_is_auto:
        options = options.on(make_problem(run.network, X, Y, options.loss))
    start = run.network.with_params(kept.start)
    options = options.on(make_problem(run.network, X, Y, options.loss))
    problem = make_problem(start, X, Y, options.loss)
    with for_plan(workers, problem):
        found = _as_before(run, kept, start, X, Y, options, moved, count(workers))
        made, work, descent, before = found or _anew(run, kept, X, Y, options, asked)
    held, lifting = for_loop(workers, made.implementation), for_lift(workers, problem)
    return execute(made, work, descent, options, progress=progress, threads=count(workers), before=before, held=held, lifting=lifting)


def onward(run: Run, start: Network, X: Any, Y: Any, options: Options, threads: int) -> tuple[Plan, Work, Descent, Before]:
    """What is left of a run of these options from this start. Raises: ValueError, TypeError as `train`."""
    kept = _kept(run)
    return _as_before(run, kept, start, X, Y, options, frozenset(), threads) or _anew(run, kept, X, Y, options, {})


def _kept(run: Any) -> Kept:
    if not isinstance(run, Run):
        fix = f": pass linalign.load({str(run)!r})" if isinstance(run, (str, PurePath)) else ""
        raise TypeError(f"run is {type(run).__name__}; a linalign.Run was wanted, from train, resume or load{fix}")
    if run.kept is None:
        raise ValueError("run holds nothing to go on from: its file is of an earlier version; train from run.network instead")
    return run.kept


def _asked(
    kept: Kept, changed: Mapping[str, Any], first: int, total: int, recorded: Iterable[str]
) -> tuple[dict[str, Any], frozenset[str]]:
    """The options of the whole run, and the names of those that are new. Raises: ValueError, TypeError."""
    asked = dict(kept.asked())
    for name in changed:
        if name not in DEFAULTS:
            raise TypeError(meant(name, DEFAULTS, "train"))
    for name in kept.missing:
        if name not in changed and name not in UNNEEDED:
            own = ", ".join(repr(each) for each in recorded if each not in QUANTITIES) if name == "record" else ""
            which = f" ({own} of yours)" if own else ""
            raise ValueError(f"{name} of the run is of a kind that its file does not hold{which}; pass {name}= again")
    new = {name: _whole(name, value, first, total) for name, value in changed.items()}
    moved = frozenset(name for name, value in new.items() if name not in kept.missing and not _same(name, asked.get(name), value, first))
    asked = {**asked, "plan": None, **new, "steps": total}
    if (kept.place is not None or kept.key is not None) and asked.get("rng") is None:
        asked["rng"] = 0  # not drawn with: drawing goes on from its place, and noise by its key
    return asked, moved - WATCHING


def _whole(name: str, value: Any, first: int, total: int) -> Any:
    """An array with one line for each step to come, with lines before them for those that were taken."""
    if name not in STEPPED or isinstance(value, str) or callable(value) or not np.ndim(value) or len(value) != total - first or not first:
        return value
    if name == "lr" and np.ndim(value) == 1 and len(value) == total:
        return value
    given = np.asarray(value)
    return np.concatenate([np.full((first, *given.shape[1:]), STEPPED[name], dtype=given.dtype), given])


def _same(name: str, old: Any, new: Any, first: int) -> bool:
    """Whether an option is what it was; of an array with one line a step, as far as the steps taken went."""
    if name in STEPPED and np.ndim(old) and np.ndim(old) == np.ndim(new) and not isinstance(new, str) and len(old) != len(new):
        return bool(len(old) >= first) and same(np.asarray(old)[:first], np.asarray(new)[:first])
    return same(old, new)


def _as_before(
    run: Run, kept: Kept, start: Network, X: Any, Y: Any, options: Options, moved: frozenset[str], threads: int
) -> tuple[Plan, Work, Descent, Before] | None:
    """The problem that the run ran, where it stood; None if that has changed, which its loss tells."""
    if moved - RULE:
        return None
    descent = replace(options.descent(start), origin=kept.origin, carried=kept.carried)
    memory = kept.memory
    if moved:
        old = _rule(kept)
        if descent.weight_decay.any() or np.any(old.weight_decay):
            return None
        memory = _carried(old, descent.rule, memory, memory.slots or [], memory.params or [])
    problem = options.seen(make_problem(start, X, Y, options.loss))
    names = {item.name: item for item in options.reduce if isinstance(item, Reduction)} if not isinstance(options.reduce, str) else {}
    wanted = [names.get(row.name, row.name) for row in run.plan.reductions if row.applied and row.name != "biases"]
    free = descent.update == "cyclic" or run.plan.implementation != "kernel"
    chosen = None if free else (run.plan.pivot, run.plan.pivot_why, run.plan.rejected)
    try:
        made, work = make_plan(problem, descent, reduce=wanted, chosen=chosen, implementation=run.plan.implementation)
        rows = [[(row.name, row.what) for row in plan.reductions if row.applied] for plan in (made, run.plan)]
        before = _before(run, memory, kept)
        if rows[0] != rows[1] or work.floor != run.floor:
            return None
        here = Execution(made, work, descent, options, threads, before).engine.value(-np.inf)[1]
    except ValueError:
        return None
    if here != kept.value and not np.isnan(kept.value):
        return None
    return made if moved else run.plan, work, descent, before


def _anew(run: Run, kept: Kept, X: Any, Y: Any, options: Options, asked: Mapping[str, Any]) -> tuple[Plan, Work, Descent, Before]:
    """The problem from where the run stands."""
    net, new = run.network, options.descent(run.network)
    memory = Memory(run.steps, kept.memory.began, None, None, kept.memory.numbers)
    memory = _carried(_rule(kept), new.rule, memory, kept.slots, net.params)
    descent = replace(new, origin=run.steps, carried=bool(memory.slots))
    problem: Problem = make_problem(net, X, Y, options.loss)
    made, work = options.planned(problem, descent)
    before = _before(run, memory, kept)
    if "rng" in asked and asked["rng"] is not None and not same(kept.asked().get("rng"), asked["rng"]):
        before = replace(before, key=None, place=Place(run.steps, validate.generator(asked["rng"]), np.empty(0, dtype=np.int64)))
    return made, work, descent, before


def _before(run: Run, memory: Memory, kept: Kept) -> Before:
    return Before(memory, kept.place, run.excess[:-1], run.floor, run.history, kept.sums, run.seconds, kept.key)


def _rule(kept: Kept) -> Rule:
    """The rule of the run; where its file does not hold it, what a rule of that kind has in common with no other."""
    asked = kept.asked()
    given = {name: asked.get(name, DEFAULTS[name]) for name in ("optimizer", "momentum", "weight_decay", "clip_norm", "average")}
    return optim.chosen(**given)


def _carried(old: Rule, new: Rule, memory: Memory, slots: Sequence[Sequence[Array]], params: Sequence[Array]) -> Memory:
    """What a rule remembers of another: all that rules of one kind share, and nothing of another kind."""
    before, after = innermost(old), innermost(new)
    own = [list(slot) for slot in slots]
    mean = own.pop() if isinstance(old, Averaged) else None
    numbers = np.asarray(memory.numbers)
    if type(before) is not type(after) or (before.slots, before.numbers) != (after.slots, after.numbers):
        return Memory(memory.step, memory.step, memory.params, None, numbers)
    if isinstance(new, Averaged):
        own.append(mean or [np.array(theta) for theta in params])
    return replace(memory, slots=own)
