"""JAX's convolutions: `jit` of a `lax.scan` over steps of `lax.conv_general_dilated`, or of sums of moved images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ..workloads import Array, Case
from .images import given
from .jax_scan import Compiled

LARGE = 1e6
ORDERS = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 2, 3, 1)}


def variants(case: Case) -> dict[str, Callable[[], Scan]]:
    """XLA makes one loop of the moved images' sum, which pays where there are few channels; NCHW falls behind as n grows."""
    jax.config.update("jax_enable_x64", case.X.dtype == np.float64)
    known = {f"scan, {order}": partial(Scan, case, order) for order in ORDERS if order == "NHWC" or case.X.size <= LARGE}
    if all(t.shape[:2] == (1, 1) for t in case.weights):
        known["scan, moved images"] = partial(Scan, case, "moved")
    return known


def _convolve(A: jax.Array, W: jax.Array, order: str, padding: str) -> jax.Array:
    if order != "moved":
        kernel = "OIHW" if order == "NCHW" else "HWIO"
        return jax.lax.conv_general_dilated(A, W, (1, 1), padding.upper(), dimension_numbers=(order, kernel, order))
    if padding == "same":
        A = jnp.pad(A, ((0, 0), (0, 0), (1, 1), (1, 1)))
    h, w = A.shape[2] - 2, A.shape[3] - 2
    return sum(W[0, 0, a, b] * A[:, :, a : a + h, b : b + w] for a in range(3) for b in range(3))


def _loss(W: list[jax.Array], X: jax.Array, Y: jax.Array, order: str, padding: str) -> jax.Array:
    A = X
    for w in W:
        A = _convolve(A, w, order, padding)
    return 0.5 * jnp.sum((A - Y) ** 2)


@partial(jax.jit, static_argnames=("order", "padding", "lr", "steps"), donate_argnames="W")
def _train(W: list[jax.Array], X: jax.Array, Y: jax.Array, *, order: str, padding: str, lr: float, steps: int) -> list[jax.Array]:
    def step(W: list[jax.Array], _: None) -> tuple[list[jax.Array], None]:
        return [w - lr * g for w, g in zip(W, jax.grad(_loss)(W, X, Y, order, padding), strict=True)], None

    return jax.lax.scan(step, W, None, length=steps)[0]


class Scan(Compiled):
    """A circular chain is a valid one, of images that are wrapped once."""

    train = staticmethod(_train)

    def __init__(self, case: Case, order: str) -> None:
        super().__init__()
        X, Y, padding = given(case)
        axes = ORDERS.get(order, ORDERS["NCHW"])
        self.X, self.Y = (jnp.array(A.transpose(axes)) for A in (X, Y))
        self.taps = (2, 3, 1, 0) if order == "NHWC" else (0, 1, 2, 3)
        self.W = [jnp.array(t.transpose(self.taps)) for t in case.weights]
        self.static = {"order": order, "padding": padding, "lr": case.lr}

    def weights(self) -> list[Array]:
        return [np.ascontiguousarray(np.asarray(w).transpose(np.argsort(self.taps))) for w in self.W]
