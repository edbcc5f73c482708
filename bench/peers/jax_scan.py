"""JAX: `jit` of a `lax.scan` over the steps, weights donated, stored `(in, out)` as JAX users do; compiled before timing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..workloads import Array, Case

UNROLLED = 8


def variants(case: Case) -> dict[str, Callable[[], Scan]]:
    """Unrolling helps where a step takes microseconds; elsewhere it only costs time to compile."""
    jax.config.update("jax_enable_x64", case.X.dtype == np.float64)
    known = {"scan": lambda: Scan(case, 1)}
    if sum(W.size for W in case.weights) * len(case.X) < 1e6:
        known[f"scan, unroll={UNROLLED}"] = lambda: Scan(case, UNROLLED)
    return known


def _loss(kind: str, W: list[jax.Array], X: jax.Array, Y: jax.Array) -> jax.Array:
    A = X
    for w in W:
        A = A @ w
    if kind == "squared":
        return 0.5 * jnp.sum((A - Y) ** 2)
    if kind == "cross_entropy":
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(A, axis=1), Y[:, None], axis=1))
    raise ValueError(f"loss is {kind!r}; the peers know 'squared' and 'cross_entropy'")


@partial(jax.jit, static_argnames=("kind", "lr", "steps", "unroll"), donate_argnames="W")
def _train(W: list[jax.Array], X: jax.Array, Y: jax.Array, *, kind: str, lr: float, steps: int, unroll: int) -> list[jax.Array]:
    gradient = jax.grad(partial(_loss, kind))

    def step(W: list[jax.Array], _: None) -> tuple[list[jax.Array], None]:
        return [w - lr * g for w, g in zip(W, gradient(W, X, Y), strict=True)], None

    return jax.lax.scan(step, W, None, length=steps, unroll=min(unroll, steps))[0]


class Compiled:
    """Steps that are compiled once for each number of them: `train(W, X, Y, steps=, **static)` from what a subclass keeps."""

    train: Any
    W: list[jax.Array]
    X: jax.Array
    Y: jax.Array
    static: dict[str, Any]

    def __init__(self) -> None:
        self.compiled: dict[int, Any] = {}

    def prepare(self, steps: int) -> None:
        if steps not in self.compiled:
            self.compiled[steps] = self.train.lower(self.W, self.X, self.Y, steps=steps, **self.static).compile()

    def run(self, steps: int) -> None:
        self.prepare(steps)
        self.W = jax.block_until_ready(self.compiled[steps](self.W, self.X, self.Y))


class Scan(Compiled):
    train = staticmethod(_train)

    def __init__(self, case: Case, unroll: int) -> None:
        super().__init__()
        self.W = [jnp.array(W.T) for W in case.weights]
        self.X, self.Y = jnp.array(case.X), jnp.array(case.Y)
        self.static = {"kind": case.loss, "lr": case.lr, "unroll": unroll}

    def weights(self) -> list[Array]:
        return [np.ascontiguousarray(np.asarray(w).T) for w in self.W]
