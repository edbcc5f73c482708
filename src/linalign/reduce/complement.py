"""What a reduction leaves outside: it has no gradient, so it stands still, or decays by a known scalar (T8.1)."""

from __future__ import annotations

import numpy as np

from ..problem.problem import Descent
from ..validate import Array


def factors(descent: Descent, steps: int) -> Array:
    """`f_i` with `E_i(t) = f_i(t) E_i(0)` after `t = steps` steps, one a layer.

    `v <- momentum v + decay f, f <- f - lr v`: the `steps`-th power of a 2 x 2 matrix.
    """
    found = np.ones(len(descent.lr))
    for i, (lr, decay) in enumerate(zip(descent.lr, descent.weight_decay, strict=True)):
        if decay:
            m = descent.momentum
            once = np.array([[1 - lr * decay, -lr * m], [decay, m]])
            found[i] = (np.linalg.matrix_power(once, steps) @ [1.0, 0.0])[0]
    return found
