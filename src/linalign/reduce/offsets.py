"""Offsets: residual and affine layers over dense ones run as dense layers that start beside the offset (T16.4).

Precondition: no weight decay, which is of what is trained and not of the matrix, and a rule that combines gradients by numbers.
Map: `W_i = B_i + theta_i` in place of theta_i. Lift: `theta_i(t) = W_i(t) - B_i`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layers import Dense, Layer
from ..problem.descent import Descent
from ..problem.network import Network
from ..problem.problem import Problem
from ..validate import Array
from .biases import join, resized, separate, within
from .reduction import Budget, Found, Reduction, Refused

# rules that combine gradients, slots and weights by numbers, which the offset of a weight does not change
TRANSLATE = ("linear", "norms")


@dataclass(frozen=True, eq=False)
class OffsetLift:
    """`theta_i = W_i - B_i`; B_i of None for a layer as it was."""

    layers: tuple[Layer, ...]
    offsets: list[Array | None]
    dtype: np.dtype[Any]

    def __call__(self, params: list[Array], steps: int) -> list[Array]:
        return [
            theta if B is None else moved(layer, theta, -B).astype(self.dtype, copy=False)
            for layer, theta, B in zip(self.layers, params, self.offsets, strict=True)
        ]


def moved(layer: Layer, theta: Array, B: Array) -> Array:
    """The parameters of a dense layer with B added to its matrix, in float64."""
    (W,), (b,) = separate([layer], [theta])
    (found,) = join([W + B], [b])
    return found


def over_dense(layer: Layer) -> bool:
    """Whether a layer is a fixed matrix plus a dense layer, its bias apart."""
    inner = within(layer)
    return inner.offset is not None and isinstance(inner.linear, Dense)


class OffsetReduction(Reduction):
    """T16.4."""

    name = "offsets"

    def relevant(self, problem: Problem) -> bool:
        return any(map(over_dense, problem.net.layers))

    def forbidden(self, problem: Problem, descent: Descent) -> str | None:
        if descent.weight_decay.any():
            return "weight decay is of what is trained, not of the matrix (T16.4)"
        if descent.rule.commutes not in TRANSLATE:
            return f"{descent.rule.describe()} does not say that it reads gradients alone (T16.4)"
        return None

    def seek(self, problem: Problem, descent: Descent, budget: Budget) -> Found | Refused:
        net = problem.net
        offsets = [within(layer).offset if over_dense(layer) else None for layer in net.layers]
        layers, params, residual = list(net.layers), list(net.params), 0.0
        for i, (layer, theta, B) in enumerate(zip(net.layers, net.params, offsets, strict=True)):
            if B is None:
                continue
            (W,), (b,) = separate([layer], [theta])
            made = resized([layer], [W + B], [b], net.dtype)
            (layers[i],), (params[i],) = made.layers, made.params
            rounded = separate(made.layers, made.params)[0][0] - B - W
            residual = max(residual, float(np.linalg.norm(rounded)) / (float(np.linalg.norm(W + B)) or 1.0))
        smaller = problem.on(Network._adopt(tuple(layers), params))
        named = ", ".join(str(i + 1) for i, B in enumerate(offsets) if B is not None)
        lift = OffsetLift(tuple(layers), offsets, net.dtype)
        return Found(
            smaller, f"layers {named} -> dense", "T16.4: gradients see the sum alone, which is trained in its place", residual, lift
        )
