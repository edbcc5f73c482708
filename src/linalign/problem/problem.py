"""Problem: what is minimised."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import losses, validate
from ..losses import Loss
from ..validate import Array
from .compressed import Compressed
from .facts import DataFacts
from .network import Network, network


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
    facts: DataFacts = field(default_factory=DataFacts, repr=False)
    """What reductions found in the data alone: problems that differ in the network share it."""
    batch: int | None = None
    """The most rows that a step sees; None for all."""
    ragged: bool = False
    """Whether some steps see fewer."""

    @property
    def rows(self) -> int:
        """n: how many rows the residual has."""
        return self.net.widths[0] if self.X is None else len(self.X)

    @property
    def rows_a_step(self) -> int:
        """How many rows a step sees."""
        return self.rows if self.batch is None else self.batch

    @property
    def quadratic(self) -> bool:
        """Whether all that a step needs of the data are their second moments: a quadratic loss of all rows."""
        return self.loss.quadratic and self.batch is None

    def with_data(self, X: Array | None, T: Array | None, floor: float) -> Problem:
        """The same loss on other data, `floor` added."""
        return replace(self, X=X, T=T, floor=self.floor + floor, facts=DataFacts())

    def on(self, net: Network) -> Problem:
        """The same loss and data for another network of the same inputs, outputs and dtype."""
        # dataclasses.replace takes five times as long
        return Problem(net, self.X, self.T, self.loss, self.factor, self.floor, self.facts, self.batch, self.ragged)


def batched(problem: Problem, batch: int, ragged: bool) -> Problem:
    """The problem whose steps see `batch` rows, some fewer if `ragged`. Raises: ValueError where there are no rows to draw."""
    if problem.X is None or problem.X.ndim != 2:
        raise ValueError("X is None but batch is given; batches are drawn from rows of data: pass X, or leave batch out")
    return replace(problem, batch=batch, ragged=ragged, facts=problem.facts.batches.setdefault((batch, ragged), DataFacts()))


def whole(problem: Problem) -> Problem:
    """The same problem, of all rows at every step."""
    return problem if problem.batch is None else replace(problem, batch=None, ragged=False, facts=DataFacts())


def _completed(Y: Any, dtype: Any, widths: tuple[int, ...]) -> Array:
    """The matrix to be factorised. Raises: ValueError, which names the loss of observed entries where there are holes."""
    Y = validate.plain("Y", Y)
    if (
        isinstance(Y, np.ndarray)
        and Y.dtype.kind == "f"
        and Y.shape == (widths[-1], widths[0])
        and np.isnan(Y).any()
        and not np.isnan(Y).all()
    ):
        where = ", ".join(map(str, np.argwhere(np.isnan(Y))[0]))
        fix = "rows, cols = np.nonzero(~np.isnan(Y)) and loss=linalign.losses.Entries(rows, cols, Y[rows, cols]), Y=None"
        raise ValueError(f"Y[{where}] is nan; every entry must be finite: to fit the others alone pass {fix}")
    return validate.matrix("Y", Y, dtype, rows=widths[-1], columns=widths[0])


def make_problem(net: Any, X: Any, Y: Any, loss: str | Loss) -> Problem:
    """Check the data against the network and the loss.

    Raises: ValueError, TypeError naming the argument.
    """
    network("net", net)
    kind = losses.resolve(loss)
    dtype, widths = net.dtype, net.widths
    product = (widths[-1], widths[0])
    biased = next((f"layers[{i}], {layer!r}," for i, layer in enumerate(net.layers) if layer.has_bias), None)
    if kind.of_product:
        if biased:
            raise ValueError(f"the loss {kind.kind!r} is a function of the product alone but {biased} has a bias; use layers without")
        for name, value in (("X", X), ("Y", Y)):
            if value is not None:
                raise ValueError(f"{name} was given but the loss {kind.kind!r} is a function of the product alone; pass X=None, Y=None")
        kind.check(widths[-1], widths[0])  # type: ignore[attr-defined]
        return Problem(net, None, None, kind, kind.factor(widths[0], widths[-1]))
    if isinstance(X, Compressed):
        if biased:
            raise ValueError(f"X is Compressed but {biased} has a bias, which needs the samples; pass the full X and Y")
        X.check(Y, kind.kind, kind.quadratic, widths[0], widths[-1])
        factor = kind.factor(X.n, widths[-1])
        return Problem(net, X.X.astype(dtype), X.Y.astype(dtype), kind, factor, factor * X.constant)
    if X is None:
        if biased:
            raise ValueError(f"X is None, so that Y is the target of the product, but {biased} has a bias; pass X=np.eye({widths[0]}), Y.T")
        # matrix factorisation: the samples are the identity, so the targets are the rows of Y^T
        if Y is None:
            raise ValueError(f"Y is None but the loss {kind.kind!r} needs targets; pass X, or Y of the shape of the product, {product}")
        target = Y if validate.is_vector(Y) else _completed(Y, dtype, widths).T
        T = kind.targets(target, widths[0], widths[-1], dtype)
        return Problem(net, None, T, kind, kind.factor(widths[0], widths[-1]))
    rows = validate.matrix("X", X, dtype, columns=widths[0])
    T = kind.targets(Y, len(rows), widths[-1], dtype)
    return Problem(net, rows, T, kind, kind.factor(len(rows), widths[-1]))
