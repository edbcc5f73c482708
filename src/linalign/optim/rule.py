"""Rule: what a gradient does to the parameters; the contract that every optimiser fulfils, one of the user's too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .. import validate
from ..calls import Called
from ..validate import Array
from .rates import Rates

# what a rule combines weights, slots and gradients by, from the tamest to the wildest (T11.2 to T11.5)
# beyond, squares of entries may overflow
MOST_SQUARED = 1e300
CLASSES = ("linear", "norms", "rotations", "entries")


class Compiled(NamedTuple):
    """A rule as `kernels/optimiser.pxd` knows it: its kind there, its numbers, and what is done around it."""

    kind: str
    numbers: tuple[float, ...] = ()
    clip: float = 0.0
    rho: float = 0.0
    average: float = -1.0


@dataclass(eq=False)
class Slots:
    """What a rule remembers: `arrays[k][i]`, shaped as the parameters of layer i, and `numbers` (float64); zero at the start."""

    arrays: list[list[Array]]
    numbers: Array

    def of(self, i: int) -> list[Array]:
        """Those of layer i."""
        return [slot[i] for slot in self.arrays]

    def all(self) -> list[Array]:
        """Every array, in place."""
        return [self.numbers, *(array for slot in self.arrays for array in slot)]


@dataclass(frozen=True, eq=False)
class Moment:
    """Where a step stands.

    step : which step it is; the first is 1.
    lr, weight_decay : one a layer.
    layers : of the network that is run, for their products and norms.
    shapes : `(out, in)` of every layer of the network as given: a reduction may have made it smaller.
    metric : "parameters", or "matrix": gradients are then those of the projected gradient, `Gram^-1 <A_k, G>`.
    gradients : a function of parameters: the loss and its gradients there, in the same metric.
    """

    step: int
    lr: Array
    weight_decay: Array
    layers: Sequence[Any]
    shapes: Sequence[tuple[int, int]]
    metric: str
    gradients: Callable[[list[Array]], tuple[float, list[Array]]] = field(repr=False)

    def squared_norm(self, i: int, gradient: Array) -> float:
        """`||g_i||^2` in the metric: of the coordinates, or of the matrix that they are the coordinates of."""
        layer = self.layers[i]
        if self.metric == "matrix" and layer.form.kind != "dense":
            # the part that is fixed in an affine layer is no part of a direction
            gradient = layer.matrix(gradient) - layer.matrix(np.zeros_like(gradient))
        return float(np.sum(np.square(gradient, dtype=np.float64)))

    def norm(self, gradients: Sequence[Array]) -> float:
        """`sqrt(sum_i ||g_i||^2)` of the gradients of all layers."""
        squared = self.squared(gradients)
        if squared <= MOST_SQUARED:
            return math.sqrt(squared)
        scaled, exponent = rescaled(gradients)
        return float(np.ldexp(math.sqrt(self.squared(scaled)), exponent))

    def squared(self, gradients: Sequence[Array]) -> float:
        """Its square; infinite from norms of 1e154 on, and 0 below 1e-162."""
        return sum(self.squared_norm(i, g) for i, g in enumerate(gradients))


def rescaled(gradients: Sequence[Array]) -> tuple[list[Array], int]:
    """Gradients times a power of two, the largest entry about one; and the exponent back. 0, and what is not finite, stays."""
    largest = max((float(np.abs(g).max(initial=0.0)) for g in gradients), default=0.0)
    if not 0 < largest < math.inf:
        return list(gradients), 0
    exponent = math.frexp(largest)[1]
    return [np.ldexp(g, -exponent) for g in gradients], exponent


class Rule(metaclass=Called):
    """What a gradient does to the parameters.

    A rule of your own overrides `update`, for a layer at a time, or `step`, for all; arrays are changed in place. The kernel
    gives it the gradients. It says what it commutes with, and the planner uses the reductions that this permits:

    - "linear": weights, slots and gradients are combined by numbers that depend on step and layer alone: all reductions;
    - "norms": by numbers that may depend on norms of gradients and slots too: all but `split`, whose parts know nothing of each other;
    - "rotations": turning a layer's two sides turns its update: the same;
    - "entries" (the default): anything else, entry by entry for instance: `samples` and `filters`, which leave parameters alone.

    A claim that does not hold gives another run than the one without reductions.
    """

    name: ClassVar[str]
    commutes: ClassVar[str] = "entries"
    slots: ClassVar[int] = 0
    """How many arrays of the shape of its parameters each layer has."""
    numbers: ClassVar[int] = 0
    """How many float64 numbers the whole network has."""
    layerwise: ClassVar[bool] = True
    """Whether the update of a layer needs no other: cyclic updates want this."""
    metrics: ClassVar[tuple[str, ...]] = ("parameters", "matrix")
    weight_decay: Any = 0.0
    """A number, or one a layer."""

    def update(self, theta: Array, gradient: Array, slots: list[Array], lr: float, weight_decay: float, step: int) -> None:
        """One step of one layer, in place; `step` counts from 1."""
        raise NotImplementedError(f"{type(self).__name__} has neither update nor step; define one of them")

    def step(self, params: list[Array], gradients: list[Array], slots: Slots, at: Moment) -> None:
        """One step of all layers, in place."""
        for i, (theta, gradient) in enumerate(zip(params, gradients, strict=True)):
            self.update(theta, gradient, slots.of(i), float(at.lr[i]), float(at.weight_decay[i]), at.step)

    def start(self, params: Sequence[Array]) -> Slots:
        """Slots before the first step."""
        return Slots([[np.zeros_like(theta) for theta in params] for _ in range(self.slots)], np.zeros(self.numbers))

    def complement(self, rates: Rates, weight_decay: Array, steps: int) -> Array | None:
        """What `steps` steps make of parts that meet no gradient: the `f_i` of `E_i(t) = f_i E_i(0)`, `(d,)`; None if that is no number.

        By default the rule itself on `f` with gradient 0, for a "linear" one (T11.2).
        """
        if not weight_decay.any():
            return np.ones(len(weight_decay))
        return None if self.commutes != "linear" else self._alone(rates, weight_decay, steps)[0]

    def remembered(self, rates: Rates, weight_decay: Array, steps: int) -> Array:
        """What is remembered of such parts after `steps` steps: `s_k,i E_i(0)` in slot k of layer i, `(slots, d)`."""
        if not weight_decay.any() or self.commutes != "linear":
            # where decay does not pass through the gradient, nothing is
            return np.zeros((self.slots, len(weight_decay)))
        return self._alone(rates, weight_decay, steps)[1]

    def _alone(self, rates: Rates, weight_decay: Array, steps: int) -> tuple[Array, Array]:
        """The rule on the number 1 in place of each layer, with gradient 0: the numbers `(d,)` and its slots `(slots, d)`."""
        params = list(np.ones((len(weight_decay), 1)))
        still = [np.zeros(1) for _ in params]
        slots, t = self.start(params), 0
        for block in rates.blocks(steps):
            for lr in block:
                t += 1
                self.step(params, still, slots, Moment(t, lr, weight_decay, (), (), "parameters", _nowhere))
        return np.array(params)[:, 0], np.array(slots.arrays).reshape(self.slots, -1)

    def check(self, layers: Sequence[Any], update: str, metric: str) -> None:
        """Whether the rule means something for these layers. Raises: ValueError."""
        if update == "cyclic" and not self.layerwise:
            raise ValueError(f"update is 'cyclic' but {self.name} needs the gradients of all layers at once; use update='simultaneous'")
        if metric not in self.metrics and any(layer.form.kind not in ("dense", "fixed") for layer in layers):
            known = " or ".join(map(repr, self.metrics))
            raise ValueError(f"metric is {metric!r} but {self.name} means something for {known} alone; pass metric={self.metrics[0]!r}")

    def compiled(self) -> Compiled | None:
        """The rule in the loop of the kernels; None if it is in NumPy alone."""
        return None

    def describe(self) -> str:
        """The rule in a plan: its name, and what differs from its defaults."""
        return self.name


def _nowhere(params: list[Array]) -> tuple[float, list[Array]]:
    return 0.0, [np.zeros_like(theta) for theta in params]


def decoupled(rates: Rates, weight_decay: Array, steps: int) -> Array:
    """`f <- (1 - lr_t weight_decay) f`, of rules whose decay does not pass through the gradient (T11.2)."""
    if rates.constant is not None:
        return np.asarray((1.0 - rates.constant * weight_decay) ** steps)
    f = np.ones(len(weight_decay))
    for block in rates.blocks(steps):
        f *= np.prod(1.0 - block * weight_decay, axis=0)
    return f


def betas(name: str, value: Any) -> tuple[float, float]:
    """A pair of numbers in [0, 1). Raises: ValueError, TypeError."""
    try:
        first, second = value
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {validate.brief(value)}; a pair such as (0.9, 0.999) was wanted") from None
    return validate.real(f"{name}[0]", first, least=0, below=1), validate.real(f"{name}[1]", second, least=0, below=1)


def decay(value: Any) -> Any:
    """A number of at least 0, or a sequence of them, one a layer. Raises: ValueError, TypeError."""
    count = len(value) if np.ndim(value) == 1 and not isinstance(value, str) else 1
    checked = validate.per_layer("weight_decay", value, count, least=0)
    return tuple(map(float, checked)) if np.ndim(value) else float(checked[0])
