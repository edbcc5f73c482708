"""Correctness before speed: every variant's weights after some steps, against NumPy's from the same start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .workloads import Array, Workload

GROWTH = 10.0
BLOCK = 128


class WrongResult(Exception):
    """A library's weights are not those of gradient descent."""


def bounds(workload: Workload, start: Sequence[Array], once: Sequence[Array], steps: int) -> list[float]:
    """How far two correct programs may be apart in each layer, in the Frobenius norm.

    A step rounds the weights and computes the change with an error of `K eps` of its size, where K is the number of terms that
    pass through all sums, `workload.terms`. A BLAS that adds the gradient to the weights inside its product rounds them once
    a block of samples, of at least `BLOCK`. Both programs do so in each step, hence `2 steps`. The change is at its largest at
    first, as the loss falls. `GROWTH` is for the growth of an error over the few steps and of the norms on the way.
    """
    eps = float(np.finfo(workload.dtype).eps)
    K = workload.terms
    pairs = zip(start, once, strict=True)
    rounded = 1 + workload.n / BLOCK
    return [GROWTH * 2 * steps * eps * float(rounded * np.linalg.norm(a) + K * np.linalg.norm(b - a)) for a, b in pairs]


def compare(who: str, got: Sequence[Array], want: Sequence[Array], start: Sequence[Array], allowed: Sequence[float]) -> float:
    """The largest error over its bound. Raises: WrongResult above 1, or where the bound is too wide to tell a result from none."""
    worst = 0.0
    for i, (W, wanted, first, bound) in enumerate(zip(got, want, start, allowed, strict=True)):
        if W.shape != wanted.shape:
            raise WrongResult(f"{who}: layer {i + 1} has shape {W.shape}, not {wanted.shape}")
        moved = float(np.linalg.norm(wanted - first))
        if not moved >= 100 * bound:
            raise WrongResult(f"the check cannot tell: layer {i + 1} moves by {moved:.1e}, the bound is {bound:.1e}; take more steps")
        error = float(np.linalg.norm(W - wanted))
        if not error <= bound:
            raise WrongResult(f"{who}: layer {i + 1} is off by {error:.1e} after moving {moved:.1e}; the bound is {bound:.1e}")
        worst = max(worst, error / bound)
    return worst
