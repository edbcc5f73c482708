"""Descent: how the loss is minimised: a rule, its learning rates, the order of the layers, and the metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import validate
from ..cached import cached_property
from ..optim import SGD, Rule
from ..optim.rates import Rates, make
from ..optim.rule import Compiled
from ..validate import Array
from .metric import METRICS
from .network import Network

NOISY = ("label_noise", "gradient_noise", "stream")
UPDATES = ("simultaneous", "cyclic")


@dataclass(frozen=True, eq=False)
class Descent:
    """An update rule with one learning rate and weight decay a layer; SGD is gradient descent with heavy-ball momentum."""

    rates: Rates
    rule: Rule
    weight_decay: Array
    update: str
    metric: str
    origin: int = 0
    """The step at which the parameters were those that the reductions see."""
    carried: bool = False
    """Whether the rule begins with what it remembers of steps before."""
    noisy: tuple[str, ...] = ()
    """What changes from step to step beside the parameters, of `NOISY`."""

    @cached_property
    def lr(self) -> Array:
        """The learning rate of every layer, `(d,)`: at the first step, if it changes."""
        return self.rates.at(0, 1)[0] if self.rates.constant is None else self.rates.constant

    @cached_property
    def momentum(self) -> float:
        """Of SGD with a heavy ball; 0 for other rules."""
        return self.rule.momentum if isinstance(self.rule, SGD) and self.rule.heavy_ball else 0.0

    @cached_property
    def fused(self) -> bool:
        """Whether nothing but the products that compute the gradient is needed: heavy-ball SGD with constant rates."""
        return self.heavy_ball and self.rates.constant is not None and not self.noisy

    def compiled(self, net: Network) -> Compiled | None:
        """The rule in the loop of the kernels, beside the fused one; None if the rule, or this descent by it, is in NumPy alone."""
        if self.update == "cyclic" or (self.metric == "matrix" and any(layer.form.kind == "basis" for layer in net.layers)):
            return None
        return self.rule.compiled()

    @cached_property
    def heavy_ball(self) -> bool:
        """Whether the update is alpha and beta of the products that compute the gradient."""
        return isinstance(self.rule, SGD) and self.rule.heavy_ball

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """What the plan of a problem depends on."""
        return self.update, self.metric, self.carried, self.noisy, self.fused, self.rule.slots, self.rule.describe()

    def forbids(self, reduction: str) -> str | None:
        """Why a reduction would not give the trajectory of this rule, or None (the table after T11.7)."""
        name = self.rule.name
        if "stream" in self.noisy:
            return "every step has data of its own"
        if "label_noise" in self.noisy and reduction not in ("samples", "inputs"):
            return "the labels have noise of their own at every step, in every direction"
        if reduction in ("samples", "filters"):
            return None
        if "gradient_noise" in self.noisy:
            return "noise on the gradients moves what would be left outside"
        if self.carried:
            return f"the run goes on with what {name} remembers, which may lie outside of a smaller network"
        if self.rule.commutes == "entries":
            return f"{name} treats entries one by one: it does not commute with rotations of a layer's sides (T11.5)"
        if not self.says_decay:
            return f"{name} does not say what its weight decay makes of a part that meets no gradient"
        if reduction == "split" and not self.fused:
            return f"parts run apart by momentum at a constant rate alone, not by {self.rule.describe()}"
        return None

    @cached_property
    def says_decay(self) -> bool:
        """Whether `factors` are known."""
        return self.factors(self.origin + 1) is not None

    def factors(self, steps: int) -> Array | None:
        """`f_i` with `E_i(t) = f_i(t) E_i(0)` after `t = steps` steps of a part that meets no gradient (T11.2); None if unknown.

        Where a run goes on, `steps` are those of all of it, and `E_i(0)` is where it went on.
        """
        return self.rule.complement(self.rates.since(self.origin), self.weight_decay, steps - self.origin)

    def remembered(self, steps: int) -> Array:
        """`s_k,i`: slot k of such a part of layer i is `s_k,i E_i(0)`, `(slots, d)`."""
        return self.rule.remembered(self.rates.since(self.origin), self.weight_decay, steps - self.origin)


def make_descent(depth: int, lr: Any, rule: Rule, update: Any, metric: Any, steps: int | None = None) -> Descent:
    """Check what depends on the number of layers, and the names. Raises: ValueError, TypeError naming the option."""
    return Descent(
        make(lr, depth, steps), rule, validate.per_layer("weight_decay", rule.weight_decay, depth, least=0),
        validate.choice("update", update, UPDATES), validate.choice("metric", metric, METRICS),
    )  # fmt: skip
