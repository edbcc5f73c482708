"""DataFacts: what has been found in the data alone, worked out once for all networks that are trained on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..layers import Layer
from ..validate import Array

if TYPE_CHECKING:
    from ..reduce.filters import Filters
    from ..reduce.inputs import Inputs
    from ..reduce.moves import Composition
    from ..reduce.samples import Samples
    from .problem import Problem


@dataclass(eq=False)
class DataFacts:
    """Facts of one `(X, T)`, a loss and a dtype; None, or empty, until somebody asks. Whoever shares the data shares them.

    Two threads that ask at once may both work a fact out; they find the same.
    """

    large: bool | None = None
    """Whether some number is so large that norms may overflow."""
    homogeneous: tuple[Array, DataFacts] | None = None
    """`[X 1]` and its facts, for networks with biases (T16.2)."""
    singular: tuple[Array, Array, Array] | None = None
    """Thin `U, s, V^T` of X in float64."""
    independent: bool | None = None
    """Whether the columns of X were seen to be independent, at no cost; False where that takes a search."""
    compressed: tuple[Array, Array, float] | None = None
    """rank(X) rows in float64, and the constant they leave out (T7.1)."""
    samples: tuple[Problem | None, Samples] | None = None
    """The problem on these rows, None where they are no fewer."""
    inputs: tuple[Problem, Array, Inputs] | None = None
    """The problem in the coordinates of the data, and these (T8.1)."""
    moves: dict[tuple[Layer, ...], Composition | str] = field(default_factory=dict)
    """What the taps of these layers compose to, or why to nothing (T9.1)."""
    filters: dict[tuple[Layer, ...], tuple[tuple[Array, Array, float], Filters]] = field(default_factory=dict)
    """The rows of moves of these layers."""
    sizes: tuple[float, float, float] | None = None
    """The largest eigenvalue of `X^T X`, and the norms of X and of the targets."""
    plans: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    """What the planner found for dense layers of these widths: pivots, counts, plans."""
    batches: dict[tuple[int, bool], DataFacts] = field(default_factory=dict)
    """Those of the same data seen so many rows at a time."""
