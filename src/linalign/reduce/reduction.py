"""Reduction: an exact way from a problem to a smaller one with the same trajectory, and back. One protocol, one file each.

A reduction looks at a problem and either finds a smaller one or refuses, with a sentence that the plan prints. Its tolerance is
its own: it measures its precondition and refuses where that holds too badly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..layers import Dense
from ..layers.homogeneous import Homogeneous
from ..problem.descent import Descent
from ..problem.problem import Problem
from ..validate import Array
from .biases import within

if TYPE_CHECKING:
    from .split import Split

Lift = Callable[[list[Array], int], list[Array]]
"""From the parameters of the smaller problem after so many steps to those of the one before it."""


@dataclass(frozen=True, eq=False)
class Found:
    """A smaller problem: what it became, why that is exact, and the measured error of the precondition."""

    problem: Problem
    what: str
    why: str
    residual: float
    lift: Lift | None = None
    """None: the parameters are the same."""
    split: Split | None = None
    """Parts that run side by side in place of the problem, which is then unchanged."""


@dataclass(frozen=True)
class Refused:
    """Why the problem stays as it is."""

    why: str
    of_sizes: bool = False
    """Whether it is so for every network of these layers on these data, at this budget."""


TOO_SHORT = Refused("the run is too short to repay the search", of_sizes=True)


class Budget(Protocol):
    """What a search may cost, and what its end must save: the planner's model of the run."""

    def affordable(self, directions: int = 0) -> float:
        """Multiply-adds that a search may take, beside its own calls and those for `directions` grown one by one."""

    def repaid(self, macs: float) -> bool:
        """Whether so many multiply-adds take no longer than the run without them."""

    def too_little(self, before: Problem, after: Problem, slower: float = 1.0) -> str | None:
        """Why the smaller problem does not pay; None if it does. `slower`: times as long as its products would take by the model."""

    def too_little_apart(self, before: Problem, after: Split) -> str | None:
        """The same of parts that run side by side."""


class Reduction(ABC):
    """What the planner asks, in the order of its list; `name` is what `reduce` and the plan call it."""

    name: str
    of_data: bool = False
    """Whether it does the same to every network of the same widths on the same data."""
    needs_data: bool = False
    needs_quadratic: bool = False
    needs_dense: slice = slice(0)
    """The layers that must be dense."""
    takes_biases: bool = False
    """Whether they may have biases."""

    def relevant(self, problem: Problem) -> bool:
        """Whether a plan speaks of it."""
        return True

    def forbidden(self, problem: Problem, descent: Descent) -> str | None:
        """Why it cannot be used here, if one can tell at once."""
        if no := descent.forbids(self.name):
            return no
        if self.needs_data and problem.X is None:
            return "there are no samples: the loss is on the product"
        if self.needs_quadratic and problem.batch is not None:
            return "each batch has moments of its own (T12.2)"
        if self.needs_quadratic and not problem.loss.quadratic:
            return f"needs a quadratic loss, {problem.loss.kind} is not"
        layers = problem.net.layers
        for i in range(*self.needs_dense.indices(len(layers))):
            inner = within(layers[i])
            if not isinstance(inner, Dense):
                return f"layer {i + 1} is {type(getattr(inner, 'original', inner)).__name__}, not dense"
        if self.needs_dense != slice(0) and isinstance(layers[0], Homogeneous):
            if not self.takes_biases:
                return "it is proved for networks without biases (T8.3): the mean of the data ties the parts together"
            if descent.rule.commutes == "rotations":
                return f"{descent.rule.name} takes a layer with a bias for one vector: turning its sides does not turn its update (T16.3)"
        return None

    @abstractmethod
    def seek(self, problem: Problem, descent: Descent, budget: Budget) -> Found | Refused:
        """The smaller problem, or why there is none. Precondition: not `forbidden`. Raises: LinAlgError where a factorisation fails."""


def off(residual: float, tolerance: float, what: str = "its check is") -> Refused | None:
    """The refusal of a residual above the tolerance, nan among them; None of one that holds."""
    return None if residual <= tolerance else Refused(f"refused: {what} off by {residual:.0e}, more than {tolerance:.0e}")
