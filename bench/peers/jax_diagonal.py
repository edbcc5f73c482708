"""JAX: a diagonal layer and one output, one row a step: the scan of `jax_descent` on vectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ..descents import DescentCase
from ..workloads import Array
from .jax_descent import Scan
from .jax_scan import UNROLLED


def variants(case: DescentCase) -> dict[str, Callable[[], Diagonals]]:
    jax.config.update("jax_enable_x64", case.X.dtype == np.float64)
    return {"scan" if unroll == 1 else f"scan, unroll={unroll}": partial(Diagonals, case, unroll) for unroll in (1, UNROLLED)}


def _loss(W: list[jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
    u, v = W
    return 0.5 * jnp.sum((jnp.sum(u * v * x) - y) ** 2)


class Diagonals(Scan):
    loss = staticmethod(_loss)

    def __init__(self, case: DescentCase, unroll: int) -> None:
        super().__init__(case, [jnp.array(W.ravel()) for W in case.weights], unroll, True)

    def weights(self) -> list[Array]:
        u, v = (np.array(w) for w in self.W)
        return [u, v[None]]
