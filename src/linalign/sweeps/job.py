"""Job: what the runs of a sweep share, and how one of them is made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import losses
from ..plan.planner import check_reduce
from ..problem.network import Network
from ..problem.problem import Problem, make_problem
from ..reduce import samples
from ..reduce.biases import homogeneous
from ..training.checkpoint import Checkpoint
from ..training.errors import DivergenceError
from ..training.execute import execute
from ..training.options import Options
from ..training.run import Run
from .abreast import outcomes as abreast
from .choice import Choice
from .group import Group, Setup
from .journal import Outcome
from .lanes import ONE, Lanes

# options of points that are kept at a time
MOST_CHOICES = 4096


@dataclass(eq=False)
class Job:
    """What all runs share, and how one is made. Used by several threads at once; pickles without what it has found out."""

    make_network: Callable[..., Any]
    of_network: frozenset[str]
    X: Any
    Y: Any
    options: Mapping[str, Any]
    keep_runs: bool
    checkpoint: str | None = None
    checkpoint_every: float = 60.0
    problems: dict[Any, Problem] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.Lock)
    lanes: Lanes = ONE
    """How many networks run side by side."""
    choices: dict[Any, Choice] = field(default_factory=dict)
    """The options of points that differ in the network alone."""
    setups: dict[Any, Setup] = field(default_factory=dict)
    """What networks side by side have in common."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "problems": {}, "lock": None, "choices": {}, "setups": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, lock=threading.Lock())

    def network(self, point: Mapping[str, Any]) -> Any:
        """What make_network makes of a point."""
        return self.make_network(**{key: point[key] for key in self.of_network})

    def settings(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """The options of `train` at a point."""
        return {**self.options, **{key: value for key, value in point.items() if key not in self.of_network}}

    def problem(self, net: Any, loss: Any, reduce: Any, batched: bool = False) -> Problem:
        """The problem for this network; the data are checked and reduced once for all that they fit in the same way.

        Raises: ValueError, TypeError as `train`.
        """
        if not isinstance(net, Network):
            raise TypeError(f"make_network returned {type(net).__name__}; a linalign.Network was wanted")
        kind = losses.resolve(loss)
        key = kind, net.dtype, net.widths[0], net.widths[-1]
        with self.lock:
            if key not in self.problems:
                problem = make_problem(net, self.X, self.Y, kind)
                if problem.X is not None and kind.quadratic and not batched and "samples" in check_reduce(reduce):
                    samples.reduce(homogeneous(problem))  # into the facts, while the others wait for it
                self.problems[key] = problem
            return self.problems[key].on(net)

    def checkpoint_of(self, index: int) -> str | None:
        """Where the run of that number is kept while it is under way."""
        return None if self.checkpoint is None else f"{self.checkpoint}.{index}"

    def run(self, point: Mapping[str, Any], stop: list[bool] | None, index: int = 0) -> Run:
        """Raises: whatever goes wrong."""
        net = self.network(point)
        choice = self.choice(point)
        options = choice.options
        problem = self.problem(net, options.loss, options.reduce, options.batched)
        options = options.on(problem)
        # dense networks of the same depth share it, unless its rate is of each
        descent = choice.descent(net) if options is choice.options and net.is_dense else options.descent(net)
        path = self.checkpoint_of(index)
        if path is None:
            return execute(*options.planned(problem, descent), descent, options, stop=stop)
        mark = Checkpoint(path, self.checkpoint_every, net, self.X, self.Y, options)
        plan, work, descent, before = mark.begin(problem, self.X, self.Y, descent)
        return execute(plan, work, descent, options, stop=stop, before=before, checkpoint=mark)

    def choice(self, point: Mapping[str, Any]) -> Choice:
        """The options at a point; made once for all points that differ in the network alone. Raises: ValueError, TypeError."""
        key = () if self.of_network.issuperset(point) else tuple([(type(v), v) for name, v in point.items() if name not in self.of_network])
        try:
            found = self.choices.get(key)
        except TypeError:  # of lists and functions
            return Choice(Options(**self.settings(point)))
        if found is None:
            if len(self.choices) >= MOST_CHOICES:
                self.choices.clear()
            found = self.choices[key] = Choice(Options(**self.settings(point)))
        return found

    def setup(self, key: Any, group: Group) -> Setup:
        """What the networks of a group have in common with others of this key. Raises: ValueError, TypeError where the data do not fit."""
        if key not in self.setups:
            options, net = group.choice.options, group.nets[0]
            given = self.problem(net, options.loss, options.reduce, options.batched)
            self.setups[key] = Setup.of(given, group.choice.descent(net), options)
        return self.setups[key]

    def outcomes(self, tasks: Sequence[tuple[int, Mapping[str, Any]]], stop: list[bool] | None) -> Iterator[Outcome]:
        """What the runs at these points came to, as they end; once `stop[0]` is set, of those that have ended."""
        if self.lanes.width > 1:
            yield from abreast(self, tasks, stop)
            return
        for index, point in tasks:
            outcome = None if stop is not None and stop[0] else self.outcome(index, point, stop)
            if outcome is None:
                return
            yield outcome

    def outcome(self, index: int, point: Mapping[str, Any], stop: list[bool] | None) -> Outcome | None:
        """The run at a point, or how it failed; None if it was interrupted."""
        began = time.perf_counter()
        nan = float("nan")
        try:
            run = self.run(point, stop, index)
        except DivergenceError as error:
            return self._outcome(index, error.run, f"DivergenceError: {error}")
        except Exception as error:
            seconds, done = time.perf_counter() - began, getattr(error, "run", None)
            what = f"{type(error).__name__}: {error}"
            return self._outcome(index, done, what) if isinstance(done, Run) else Outcome(index, 0, False, nan, nan, nan, seconds, what)
        if run.interrupted:
            return None
        return self._outcome(index, run, None)

    def _outcome(self, index: int, run: Run, error: str | None) -> Outcome:
        excess = float(run.excess[-1])
        return Outcome(index, run.steps, run.converged, excess + run.floor, excess, run.floor, run.seconds, error, run.history,
                       run if self.keep_runs else None)  # fmt: skip
