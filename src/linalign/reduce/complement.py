"""What a reduction leaves outside: it has no gradient, so it stands still, or decays by a number that the rule knows (T8.1, T11.2)."""

from __future__ import annotations

from ..problem.descent import Descent
from ..validate import Array


def factors(descent: Descent, steps: int) -> Array:
    """`f_i` with `E_i(t) = f_i(t) E_i(0)` after `t = steps` steps, one a layer; the planner has seen to it that they are known."""
    found = descent.factors(steps)
    assert found is not None
    return found
