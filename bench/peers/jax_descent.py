"""JAX with a rule and batches: `jit` of a `lax.scan` over the rows of the steps, which are gathered inside; compiled before timing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..descents import DescentCase
from ..workloads import Array
from . import jax_rules
from .jax_scan import UNROLLED

Loss = Callable[[Any, jax.Array, jax.Array], jax.Array]


def variants(case: DescentCase) -> dict[str, Callable[[], Scan]]:
    """One row as a vector and as a matrix of one row; unrolled where a step takes microseconds."""
    jax.config.update("jax_enable_x64", case.X.dtype == np.float64)
    known = {"scan": lambda: Chain(case, 1, False)}
    if case.batch == 1:
        known["scan, vectors"] = lambda: Chain(case, 1, True)
    if sum(W.size for W in case.weights) * (case.batch or len(case.X)) < 1e6:
        known[f"scan, unroll={UNROLLED}"] = lambda: Chain(case, UNROLLED, False)
        if case.batch == 1:
            known[f"scan, vectors, unroll={UNROLLED}"] = lambda: Chain(case, UNROLLED, True)
    return known


def _chain_loss(W: list[jax.Array], X: jax.Array, Y: jax.Array) -> jax.Array:
    A = X
    for w in W:
        A = A @ w
    return 0.5 * jnp.sum((A - Y) ** 2)


@partial(jax.jit, static_argnames=("loss", "rule", "lr", "steps", "unroll"), donate_argnames=("W", "state"))
def _train(
    W: list[jax.Array], state: Any, X: jax.Array, Y: jax.Array, order: jax.Array | None, *, loss: Loss, rule: str, lr: float, steps: int,
    unroll: int,
) -> tuple[list[jax.Array], Any]:  # fmt: skip
    gradient, update = jax.grad(loss), jax_rules.update(rule, lr)

    def step(carried: tuple[list[jax.Array], Any], rows: jax.Array | None) -> tuple[tuple[list[jax.Array], Any], None]:
        W, state = carried
        # the rows are in range: no clipping
        A, B = (X, Y) if rows is None else (M.at[rows].get(mode="promise_in_bounds") for M in (X, Y))
        return update(W, gradient(W, A, B), state), None

    return jax.lax.scan(step, (W, state), order, length=steps, unroll=min(unroll, steps))[0]


class Scan:
    """Steps that are compiled once for each number of them, with the rows that they see."""

    loss: Loss

    def __init__(self, case: DescentCase, W: list[jax.Array], unroll: int, vectors: bool) -> None:
        self.case, self.W, self.vectors = case, W, vectors
        self.state = jax_rules.start(case.rule, W)
        self.X, self.Y = jnp.array(case.X), jnp.array(case.Y)
        self.static = {"rule": case.rule, "lr": case.lr, "unroll": unroll}
        self.compiled: dict[int, tuple[Any, jax.Array | None]] = {}

    def prepare(self, steps: int) -> None:
        if steps in self.compiled:
            return
        drawn = self.case.order(steps)
        order = None if drawn is None else jnp.array((drawn[:, 0] if self.vectors else drawn).astype(np.int32))
        lowered = _train.lower(self.W, self.state, self.X, self.Y, order, loss=type(self).loss, steps=steps, **self.static)
        self.compiled[steps] = lowered.compile(), order

    def run(self, steps: int) -> None:
        self.prepare(steps)
        function, order = self.compiled[steps]
        self.W, self.state = jax.block_until_ready(function(self.W, self.state, self.X, self.Y, order))


class Chain(Scan):
    """Dense layers, stored `(in, out)` as JAX users do."""

    loss = staticmethod(_chain_loss)

    def __init__(self, case: DescentCase, unroll: int, vectors: bool) -> None:
        super().__init__(case, [jnp.array(W.T) for W in case.weights], unroll, vectors)

    def weights(self) -> list[Array]:
        return [np.ascontiguousarray(np.asarray(w).T) for w in self.W]
