"""Problem: what is minimised. Descent: how."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from .. import losses, validate
from ..losses import Loss
from ..validate import Array
from .compressed import Compressed
from .network import Network

UPDATES = ("simultaneous", "cyclic")
METRICS = ("matrix", "parameters")


@dataclass(frozen=True, eq=False)
class Problem:
    """A loss of a network on data.

    `X (n, k_0)` is None for the identity, or a vector `x (k_0,)` for `diag(x)`; `T (n, k_d)` is None for a loss of the
    product. The loss is `factor` times its sum over the rows of X and T, plus `floor`, a constant that reductions took out.
    """

    net: Network
    X: Array | None
    T: Array | None
    loss: Loss
    factor: float
    floor: float = 0.0
    memo: dict[str, Any] = field(default_factory=dict, repr=False)
    """What reductions found in the data alone: problems that differ in the network share it."""

    @property
    def rows(self) -> int:
        """n: how many rows the residual has."""
        return self.net.widths[0] if self.X is None else len(self.X)

    def with_data(self, X: Array | None, T: Array | None, floor: float) -> Problem:
        """The same loss on other data, `floor` added."""
        return replace(self, X=X, T=T, floor=self.floor + floor, memo={})

    def on(self, net: Network) -> Problem:
        """The same loss and data for another network of the same inputs, outputs and dtype."""
        # dataclasses.replace takes five times as long
        return Problem(net, self.X, self.T, self.loss, self.factor, self.floor, self.memo)


@dataclass(frozen=True, eq=False)
class Descent:
    """Gradient descent: one learning rate and weight decay a layer, heavy-ball momentum in torch's convention."""

    lr: Array
    momentum: float
    weight_decay: Array
    update: str
    metric: str


def make_problem(net: Any, X: Any, Y: Any, loss: str | Loss) -> Problem:
    """Check the data against the network and the loss.

    Raises: ValueError, TypeError naming the argument.
    """
    if not isinstance(net, Network):
        raise TypeError(f"net is {type(net).__name__}; a linalign.Network was wanted, such as linalign.Network.dense([64, 10])")
    kind = losses.resolve(loss)
    dtype, widths = net.dtype, net.widths
    product = (widths[-1], widths[0])
    if kind.of_product:
        for name, value in (("X", X), ("Y", Y)):
            if value is not None:
                raise ValueError(f"{name} was given but the loss {kind.kind!r} is a function of the product alone; pass X=None, Y=None")
        kind.check(widths[-1], widths[0])  # type: ignore[attr-defined]
        return Problem(net, None, None, kind, kind.factor(widths[0], widths[-1]))
    if isinstance(X, Compressed):
        X.check(Y, kind.kind, kind.quadratic, widths[0], widths[-1])
        factor = kind.factor(X.n, widths[-1])
        return Problem(net, X.X.astype(dtype), X.Y.astype(dtype), kind, factor, factor * X.constant)
    if X is None:
        # matrix factorisation: the samples are the identity, so the targets are the rows of Y^T
        if Y is None:
            raise ValueError(f"Y is None but the loss {kind.kind!r} needs targets; pass X, or Y of the shape of the product, {product}")
        target = Y if validate.is_vector(Y) else validate.matrix("Y", Y, dtype, rows=widths[-1], columns=widths[0]).T
        T = kind.targets(target, widths[0], widths[-1], dtype)
        return Problem(net, None, T, kind, kind.factor(widths[0], widths[-1]))
    rows = validate.matrix("X", X, dtype, columns=widths[0])
    T = kind.targets(Y, len(rows), widths[-1], dtype)
    return Problem(net, rows, T, kind, kind.factor(len(rows), widths[-1]))


def make_descent(depth: int, lr: Any, momentum: Any, weight_decay: Any, update: Any, metric: Any) -> Descent:
    """Check the options of gradient descent. Raises: ValueError, TypeError naming the option."""
    return Descent(
        validate.per_layer("lr", lr, depth, above=0),
        validate.real("momentum", momentum, least=0, below=1),
        validate.per_layer("weight_decay", weight_decay, depth, least=0),
        validate.choice("update", update, UPDATES),
        validate.choice("metric", metric, METRICS),
    )
