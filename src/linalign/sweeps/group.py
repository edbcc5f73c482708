"""Group: networks of a sweep that run side by side, and what they have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..engine.whole import Whole
from ..plan.lanes import Layout
from ..plan.planner import Work
from ..problem.descent import Descent
from ..problem.network import Network
from ..problem.problem import Problem
from ..record.schedule import Schedule, schedule
from ..reduce.inputs import BiasedInputsLift, InputsLift
from ..training.options import Options
from ..validate import Array
from .choice import Choice
from .lanes import shared


@dataclass(eq=False)
class Setup:
    """What networks of the same widths, data and rule have in common."""

    given: Problem
    work: Work
    layout: Layout
    inputs: Array | None
    """The coordinates of the first layer, if the data have some."""
    whole: Whole | None
    """The loss of all rows, where steps see batches."""

    @classmethod
    def of(cls, given: Problem, descent: Descent, options: Options) -> Setup:
        # of no network in particular: what is shared does not depend on who comes first
        net = given.net
        nothing = given.on(Network._adopt(net.layers, [np.zeros_like(theta) for theta in net.params]))
        work, layout = shared(nothing, descent, options)
        lifts = [lift.weights if isinstance(lift, BiasedInputsLift) else lift for lift in work.lifts]
        inputs = next((lift.V for lift in lifts if isinstance(lift, InputsLift)), None)
        whole = None if work.problem.batch is None else Whole(work.problem)
        return cls(given, work, layout, inputs, whole)

    @property
    def overflows(self) -> bool:
        """Whether the data are so large that they are not reduced."""
        return bool(self.given.facts.large)


@dataclass(eq=False)
class Group:
    """Networks that share vectors, and the points of the grid that they are of."""

    choice: Choice
    tasks: list[tuple[int, Any]] = field(default_factory=list)
    nets: list[Network] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)

    def add(self, task: tuple[int, Any], net: Network, choice: Choice) -> None:
        """One more, with the point that it is of."""
        self.tasks.append(task)
        self.nets.append(net)
        self.choices.append(choice)


def due(options: Options) -> tuple[Array, dict[str, Schedule]]:
    """The steps before the last at which something is recorded, and the schedule of each quantity."""
    plans = {name: schedule(name, asked, options.steps) for name, asked in (options.record or {}).items()}
    found = [one.within(0, options.steps) for one in plans.values()]
    return (np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)), plans
