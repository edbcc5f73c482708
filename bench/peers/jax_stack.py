"""JAX on an ensemble: `jit` of `vmap` of a `lax.scan` over the steps of one network, on data compressed by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..workloads import Array, Case, compressed
from . import Runner, shares
from .jax_scan import UNROLLED, Compiled


def variants(case: Case) -> dict[str, Callable[[], Runner]]:
    """`vmap` over the first axis, or over the last one, where XLA makes one loop of sums."""
    jax.config.update("jax_enable_x64", case.X.dtype == np.float64)
    known: dict[str, Callable[[Case], Runner]] = {
        "vmap of scan, networks first": partial(Vmap, axis=0, unroll=1),
        f"vmap of scan, networks first, unroll={UNROLLED}": partial(Vmap, axis=0, unroll=UNROLLED),
        "vmap of scan, networks last": partial(Vmap, axis=-1, unroll=1),
    }
    return shares.variants(known, compressed(case))


def _loss(W: list[jax.Array], X: jax.Array, Y: jax.Array, sums: bool) -> jax.Array:
    A = X
    for w in W:
        A = jnp.sum(A[:, :, None] * w[None, :, :], axis=1) if sums else A @ w
    return 0.5 * jnp.sum((A - Y) ** 2)


@partial(jax.jit, static_argnames=("axis", "lr", "steps", "unroll"), donate_argnames="W")
def _train(W: list[jax.Array], X: jax.Array, Y: jax.Array, *, axis: int, lr: float, steps: int, unroll: int) -> list[jax.Array]:
    def one(W: list[jax.Array]) -> list[jax.Array]:
        def step(W: list[jax.Array], _: None) -> tuple[list[jax.Array], None]:
            return [w - lr * g for w, g in zip(W, jax.grad(_loss)(W, X, Y, axis == -1), strict=True)], None

        return jax.lax.scan(step, W, None, length=steps, unroll=min(unroll, steps))[0]

    return jax.vmap(one, in_axes=(axis,), out_axes=axis)(W)


class Vmap(Compiled):
    """Weights `(in, out)` as JAX users store them, with the networks in front or behind."""

    train: Any = staticmethod(_train)

    def __init__(self, case: Case, axis: int, unroll: int) -> None:
        super().__init__()
        self.order = (0, 2, 1) if axis == 0 else (2, 1, 0)
        self.W = [jnp.array(W.transpose(self.order)) for W in case.weights]
        self.X, self.Y = jnp.array(case.X), jnp.array(case.Y)
        self.static = {"axis": axis, "lr": case.lr, "unroll": unroll}

    def weights(self) -> list[Array]:
        return [np.ascontiguousarray(np.asarray(w).transpose(np.argsort(self.order))) for w in self.W]
