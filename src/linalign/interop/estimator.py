"""What the estimators for scikit-learn share: their parameters, and training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_random_state

from .. import losses
from ..layers import Dense, Layer
from ..layers.homogeneous import beside_ones
from ..losses import Loss, Squared
from ..optim import SGD, resolve
from ..problem.compressed import Compressed
from ..problem.network import Network
from ..training.automatic_rate import automatic_rate, check, for_metric
from ..training.run import Run
from ..training.train import train
from ..validate import Array
from .centred import compressed


class DeepLinear(BaseEstimator):
    """A network that is made and trained by the parameters of an estimator."""

    def __init__(
        self, hidden: int | Sequence[int] = (32,), *, layers: Sequence[Layer] | None = None, lr: Any = "auto", steps: int = 2000,
        tol: float | None = None, momentum: float = 0.0, weight_decay: float = 0.0, start: str = "xavier", scale: float | None = None,
        metric: str = "parameters", fit_intercept: bool = True, warm_start: bool = False, record: Any = None, random_state: Any = None,
        loss: Any = None, optimizer: Any = None, batch: int | None = None,
    ) -> None:  # fmt: skip
        self.hidden = hidden
        self.layers = layers
        self.lr = lr
        self.steps = steps
        self.tol = tol
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.start = start
        self.scale = scale
        self.metric = metric
        self.fit_intercept = fit_intercept
        self.warm_start = warm_start
        self.record = record
        self.random_state = random_state
        self.loss = loss
        self.optimizer = optimizer
        self.batch = batch

    def _network(self, k_0: int, k_d: int, dtype: Any) -> Network:
        """The start: the network of the last fit with `warm_start`, else fresh parameters."""
        widths = [k_0, *np.atleast_1d(self.hidden).tolist(), k_d]
        layers = self.layers if self.layers is not None else [Dense(a, b) for a, b in pairwise(widths)]
        net = Network(layers)
        if (net.widths[0], net.widths[-1]) != (k_0, k_d):
            raise ValueError(f"layers take {net.widths[0]} inputs to {net.widths[-1]} outputs but the data have {k_0} and {k_d}")
        before = getattr(self, "network_", None)
        if self.warm_start and before is not None and before.layers == net.layers:
            kept: Network = before.astype(dtype)
            return kept
        options = {} if self.scale is None else {"scale": self.scale}
        return net.init(self.start, rng=check_random_state(self.random_state).randint(2**31 - 1), dtype=dtype, **options)

    def _train(self, X: Any, Y: Any, loss: Loss, dtype: Any) -> Run:
        """Train on rows, or on Compressed data with Y None."""
        rows, targets, n = (X.X, X.Y, X.n) if isinstance(X, Compressed) else (X, Y, len(X))
        net = self._network(rows.shape[1], targets.shape[1], dtype)
        lr: Any = self.lr
        if isinstance(lr, str) and lr == "auto":
            check(resolve(self.optimizer) if self.optimizer is not None else SGD(self.momentum))
            momentum = self.momentum if self.optimizer is None else getattr(resolve(self.optimizer), "momentum", 0.0)
            batch = None if self.batch is None else min(self.batch, n)
            lr = for_metric(net, automatic_rate(net, rows, targets, loss, n=n, momentum=momentum, batch=batch), self.metric)
        drawn: dict[str, Any] = {}
        if self.batch is not None:
            drawn = {"batch": min(self.batch, n), "rng": check_random_state(self.random_state).randint(2**31 - 1)}
        self.run_ = train(
            net, X, Y, loss=loss, lr=lr, steps=self.steps, tol=self.tol, metric=self.metric, momentum=self.momentum,
            weight_decay=self.weight_decay, optimizer=self.optimizer, record=self.record, **drawn,
        )  # fmt: skip
        self.network_, self.n_iter_ = self.run_.network, self.run_.steps
        return self.run_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class Quadratic(DeepLinear):
    """A fit to targets by squares: data are weighted, centred, and compressed where there are more rows than columns."""

    def _fit_squares(self, X: Any, Y: Array, weight: Array | None) -> tuple[Array, Array]:
        """Train on centred data; their means in X and Y."""
        dtype = X.dtype
        w = np.ones(len(Y)) if weight is None else np.asarray(weight, dtype=np.float64)
        if not w.sum() > 0:
            raise ValueError("sample_weight sums to 0; at least one row must count")
        keep = w > 0
        X, Y, w = X[keep], Y[keep], w[keep] / w.sum()
        if self.fit_intercept:
            x_mean, y_mean = np.asarray(w @ X, dtype=np.float64).ravel(), w @ Y
        else:
            x_mean, y_mean = np.zeros(X.shape[1]), np.zeros(Y.shape[1])
        squares = Squared(half=False, reduction="entries")
        loss = squares if self.loss is None else losses.resolve(self.loss)
        biased = [layer for layer in self.layers or () if layer.has_bias]
        uneven = bool(np.any(w != w[0])) or scipy.sparse.issparse(X)
        if biased and uneven:  # scaled rows would need a constant that is scaled too
            raise ValueError(f"layers has {biased[0]!r}, whose bias needs dense rows of equal weight; pass layers without")
        apart = "batch" if self.batch is not None else "loss" if loss != squares else ""
        if apart and uneven:
            raise ValueError(f"{apart} is {getattr(self, apart)!r}, which needs dense rows of equal weight; leave it at None")
        if biased or apart:
            rows = (X - x_mean).astype(dtype)
            if self.fit_intercept and not loss.quadratic:
                rows = beside_ones(rows)  # means are best for squares alone
            self._train(rows, (Y - y_mean).astype(dtype), loss, dtype)
            return x_mean, y_mean
        whole = Squared(half=False, reduction="sum")
        root = np.sqrt(w / Y.shape[1])[:, None]
        if scipy.sparse.issparse(X) or len(Y) > X.shape[1]:
            self._train(compressed(X, Y, x_mean, y_mean, root), None, whole, dtype)
        else:
            self._train(((X - x_mean) * root).astype(dtype), ((Y - y_mean) * root).astype(dtype), whole, dtype)
        return x_mean, y_mean
