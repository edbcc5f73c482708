"""pyfaust's palm4msa. A run starts anew, with checks and copies; what a sweep takes is the slope between two numbers of them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.linalg import toeplitz

from ..workloads import Array, Case

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of packages that it can do without
    from pyfaust import proj
    from pyfaust.fact import palm4msa
    from pyfaust.factparams import ParamsPalm4MSA, StoppingCriterion


def variants(case: Case) -> dict[str, Callable[[], Palm]]:
    known = {"backend 2020": partial(Palm, case)}
    for packing in (True, False):
        known[f"backend 2020, dense, packing_RL={packing}"] = partial(Palm, case, factor_format="dense", packing_RL=packing)
    return known


class Palm:
    """Its first factor is the leftmost, so it goes from the right; without scaling, and with one step size."""

    def __init__(self, case: Case, **options: Any) -> None:
        n = len(case.Y)
        self.target = np.asfortranarray(case.Y)
        start = [np.asfortranarray(toeplitz(t[n - 1 :: -1], t[n - 1 :])) for t in case.weights[::-1]]
        self.parameters = partial(
            ParamsPalm4MSA, [proj.toeplitz((n, n), normalized=False) for _ in start], init_facts=start, is_update_way_R2L=True,
            step_size=case.lr, constant_step_size=True, no_normalization=True, no_lambda=True, **options,
        )  # fmt: skip
        self.factors: list[Array] = []
        self.loop = 0.0

    def _sweeps(self, count: int) -> float:
        parameters = self.parameters(StoppingCriterion(num_its=count))
        start = time.perf_counter()
        found = palm4msa(self.target, parameters, backend=2020)
        took = time.perf_counter() - start
        factors = [found.factors(i) for i in range(found.numfactors())]
        self.factors = [np.asarray(F if isinstance(F, np.ndarray) else F.toarray()) for F in factors[::-1]]
        return took

    def prepare(self, steps: int) -> None:
        pass

    def run(self, steps: int) -> None:
        """`loop`: seconds of `steps` sweeps, as `2 steps` and `steps` of them differ."""
        more = self._sweeps(2 * steps)
        self.loop = more - self._sweeps(steps)

    def weights(self) -> list[Array]:
        return [np.concatenate([F[:0:-1, 0], F[0]]) for F in self.factors]
