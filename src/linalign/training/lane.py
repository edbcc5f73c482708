"""Lane: the `Run` of a network that was trained beside others, made when it is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..engine.choose import bind
from ..plan.plan import Plan
from ..plan.planner import Work
from ..problem.descent import Descent
from ..record.lifted import lifted
from ..record.recorder import History
from ..validate import Array
from .execute import adopt
from .kept import Kept
from .options import Options
from .run import Run


@dataclass(frozen=True, eq=False)
class Lane:
    """What one network came to: of the problem that was run, `params` and what the rule remembers, `slots[k][i]`; the rest as in `Run`."""

    params: list[Array]
    slots: list[list[Array]]
    excess: Array
    history: dict[str, History]
    steps: int
    converged: bool
    seconds: float

    def run(self, plan: Plan, work: Work, descent: Descent, options: Options) -> Run:
        """The run, from which `resume` goes on. Cost: that of planning and binding a network."""
        net, steps = work.given.net, self.steps
        batches = options.batches(work.problem.rows)
        engine = bind(work, descent, plan.implementation, plan.pivot, batches=batches)
        memory = replace(engine.memory(steps), params=self.params, slots=self.slots)
        engine.remember(memory)

        def slots() -> list[list[Array]]:
            return lifted(work, descent, self.slots, steps)

        kept = Kept(
            options=options, start=net.params, origin=0, carried=False, memory=memory, value=engine.value(-math.inf)[1],
            find_slots=slots, find_place=lambda: None if batches is None else batches.place(steps),
        )  # fmt: skip
        params = work.lift([np.array(theta) for theta in self.params], steps) if steps else net.params
        return Run(
            network=adopt(net, params), excess=self.excess, floor=work.floor, history=self.history, steps=steps, converged=self.converged,
            interrupted=False, lr=last_rates(descent, steps), plan=plan, seconds=self.seconds, kept=kept,
        )  # fmt: skip


def last_rates(descent: Descent, steps: int) -> Array:
    """The rates of the last of so many steps, `(d,)`."""
    return descent.lr if descent.rates.constant is not None else descent.rates.at(max(steps - 1, 0), 1)[0]
