"""scikit-learn: deep linear networks as estimators, on both sides of a pipeline.

from linalign.interop.sklearn import DeepLinearRegressor
DeepLinearRegressor(hidden=(64,)).fit(X, y).score(X, y)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse

try:
    from sklearn.base import (
        BaseEstimator,
        ClassifierMixin,
        ClassNamePrefixFeaturesOutMixin,
        MultiOutputMixin,
        RegressorMixin,
        TransformerMixin,
    )
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, check_random_state, validate_data
except ImportError:
    raise ImportError(
        "linalign.interop.sklearn needs scikit-learn 1.6 or newer; install it with: pip install 'linalign[sklearn]'"
    ) from None

from ..layers import Dense, Layer
from ..layers.homogeneous import beside_ones
from ..losses import CrossEntropy, Loss, Squared
from ..problem.compressed import Compressed
from ..problem.network import Network
from ..training.automatic_rate import automatic_rate, for_metric
from ..training.run import Run
from ..training.train import train
from ..validate import Array
from .centred import compressed

__all__ = ["DeepLinearAutoencoder", "DeepLinearClassifier", "DeepLinearRegressor"]


class _DeepLinear(BaseEstimator):
    """What the three estimators share: their parameters, and training."""

    def __init__(
        self, hidden: int | Sequence[int] = (32,), *, layers: Sequence[Layer] | None = None, lr: Any = "auto", steps: int = 2000,
        tol: float | None = None, momentum: float = 0.0, weight_decay: float = 0.0, start: str = "xavier", scale: float | None = None,
        metric: str = "parameters", fit_intercept: bool = True, warm_start: bool = False, record: Any = None, random_state: Any = None,
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
            lr = for_metric(net, automatic_rate(net, rows, targets, loss, n=n, momentum=self.momentum), self.metric)
        self.run_ = train(
            net, X, Y, loss=loss, lr=lr, steps=self.steps, tol=self.tol, metric=self.metric, momentum=self.momentum,
            weight_decay=self.weight_decay, record=self.record,
        )  # fmt: skip
        self.network_, self.n_iter_ = self.run_.network, self.run_.steps
        return self.run_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class _Quadratic(_DeepLinear):
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
        biased = [layer for layer in self.layers or () if layer.has_bias]
        if biased and (np.any(w != w[0]) or scipy.sparse.issparse(X)):  # scaled rows would need a constant that is scaled too
            raise ValueError(f"layers has {biased[0]!r}, whose bias needs dense rows of equal weight; pass layers without")
        if biased:
            self._train((X - x_mean).astype(dtype), (Y - y_mean).astype(dtype), Squared(half=False, reduction="entries"), dtype)
            return x_mean, y_mean
        loss = Squared(half=False, reduction="sum")
        root = np.sqrt(w / Y.shape[1])[:, None]
        if scipy.sparse.issparse(X) or len(Y) > X.shape[1]:
            self._train(compressed(X, Y, x_mean, y_mean, root), None, loss, dtype)
        else:
            self._train(((X - x_mean) * root).astype(dtype), ((Y - y_mean) * root).astype(dtype), loss, dtype)
        return x_mean, y_mean


class DeepLinearRegressor(RegressorMixin, MultiOutputMixin, _Quadratic):
    """Linear regression by gradient descent on a deep linear network, `f(x) = W_d ... W_1 (x - m) + c`.

    The loss is the weighted mean of squares over rows and outputs. It trains on the rank(X) rows that the data amount to (T7.1), so
    that a step's cost does not depend on the number of samples; a search over options meets the same compressed data again.

    Parameters
    ----------
    hidden : int or sequence of int
        Hidden widths; `()` is plain gradient descent on one matrix.
    layers : sequence of Layer, optional
        All layers, in place of `hidden`: their structures are kept.
    lr : "auto", number, or one a layer
        "auto" is `(1 - momentum) / (c L G)` as in `linalign train --help`.
    steps, tol, momentum, weight_decay, metric, record
        As in `linalign.train`; the loss that `tol` is compared with is the mean of squares.
    start, scale : how the layers begin, as in `Network.init`.
    fit_intercept : bool
        Centre the data with their weighted means; the intercept is then the best for every map, not one that descends too.
    warm_start : bool
        Begin from the network of the last fit, if its layers are the same.
    random_state : int, RandomState or None

    Attributes
    ----------
    coef_ (n_targets, n_features) or (n_features,), intercept_ : the affine map.
    network_ : Network after the last step. run_ : Run. n_iter_ : steps taken. n_features_in_, feature_names_in_.

    Raises: ValueError, TypeError for bad input; linalign.DivergenceError where lr is too large.

    Examples
    --------
    >>> import numpy as np
    >>> from linalign.interop.sklearn import DeepLinearRegressor
    >>> X = np.random.default_rng(0).standard_normal((50, 4))
    >>> model = DeepLinearRegressor(hidden=(8,), random_state=0).fit(X, X @ [1.0, -2.0, 0.0, 3.0] + 5.0)
    >>> model.score(X, X @ [1.0, -2.0, 0.0, 3.0] + 5.0) > 0.999
    True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DeepLinearRegressor:
        """Fit to `X (n, n_features)`, dense or sparse, and `y (n,)` or `(n, n_targets)`."""
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=[np.float64, np.float32], multi_output=True, y_numeric=True, order="C")
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        Y = np.asarray(y, dtype=X.dtype).reshape(len(y), -1)
        x_mean, y_mean = self._fit_squares(X, Y, weight)
        P = self.network_.matrix()
        intercept = y_mean - P @ x_mean + self.network_.constant()
        flat = np.ndim(y) == 1
        self.coef_ = P[0] if flat else P
        self.intercept_ = (float(intercept[0]) if flat else intercept) if self.fit_intercept or self.network_.has_biases else 0.0
        return self

    def predict(self, X: Any) -> Array:
        """`X coef_^T + intercept_`, `(n,)` or `(n, n_targets)`."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        return np.asarray(X @ self.coef_.T + self.intercept_)


class DeepLinearClassifier(ClassifierMixin, _DeepLinear):
    """Softmax regression by gradient descent on a deep linear network.

    The scores of the classes are `f(x) = W_d ... W_1 x + c`: the inputs are centred, and with `fit_intercept` gain a constant,
    so that the first layer has a bias. The loss is cross-entropy, mean over samples. For squares, or weighted samples, use
    DeepLinearRegressor on one-hot targets.

    Parameters, and the attributes besides those here: as DeepLinearRegressor.

    Attributes
    ----------
    classes_ : the labels, sorted.
    coef_ (n_classes, n_features), intercept_ (n_classes,) : of the scores; for two classes their difference, `(1, n_features)`, `(1,)`.

    Raises: ValueError, TypeError for bad input, one class among them; linalign.DivergenceError where lr is too large.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from linalign.interop.sklearn import DeepLinearClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> DeepLinearClassifier(hidden=(8,), random_state=0).fit(X, y).score(X, y) > 0.9
    True
    """

    def fit(self, X: Any, y: Any) -> DeepLinearClassifier:
        """Fit to `X (n, n_features)` and labels `y (n,)`."""
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], order="C")
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds 1 class, {self.classes_[0]!r}; at least 2 classes were wanted")
        mean = X.mean(axis=0, dtype=np.float64) if self.fit_intercept else np.zeros(X.shape[1])
        rows = (X - mean).astype(X.dtype)
        if self.fit_intercept:
            rows = beside_ones(rows)
        self._train(rows, np.eye(len(self.classes_), dtype=X.dtype)[labels], CrossEntropy(), X.dtype)
        P = self.network_.matrix()
        coef = P[:, : X.shape[1]]
        intercept = self.network_.constant() + (P[:, -1] - coef @ mean if self.fit_intercept else 0.0)
        if len(self.classes_) == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        self.coef_, self.intercept_ = coef, intercept
        return self

    def decision_function(self, X: Any) -> Array:
        """Scores `(n, n_classes)`; for two classes the second's over the first's, `(n,)`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        scores = np.asarray(X @ self.coef_.T + self.intercept_)
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> Array:
        """The class with the largest score, `(n,)`."""
        scores = self.decision_function(X)
        return np.asarray(self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)])

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of `predict_proba`."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        shifted = scores - scores.max(axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))

    def predict_proba(self, X: Any) -> Array:
        """The softmax of the scores, `(n, n_classes)`."""
        return np.asarray(np.exp(self.predict_log_proba(X)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags


class DeepLinearAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _Quadratic):
    """Autoencoder without nonlinearities: the network learns `f(x) = x`, its code is at the narrowest layer.

    With `weight_decay` the code turns to the principal axes; without, it spans their space. Parameters and attributes: as
    DeepLinearRegressor, `hidden` or `layers` with a narrow place.

    Attributes
    ----------
    mean_ (n_features,) : what is taken off the inputs.
    encoder_ (n_components, n_features), decoder_ (n_features, n_components) : the products of the layers below and above the code.
    reconstruction_error_ : mean square of what the code misses.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from linalign.interop.sklearn import DeepLinearAutoencoder
    >>> X, _ = load_iris(return_X_y=True)
    >>> DeepLinearAutoencoder(hidden=(2,), random_state=0).fit_transform(X).shape
    (150, 2)
    """

    def fit(self, X: Any, y: Any = None) -> DeepLinearAutoencoder:
        """Fit to `X (n, n_features)`; y is not looked at."""
        X = validate_data(self, X, dtype=[np.float64, np.float32], order="C")
        self.mean_, _ = self._fit_squares(X, X, None)
        narrow = 1 + int(np.argmin(self.network_.widths[1:-1])) if self.network_.depth > 1 else 1
        matrices = self.network_.matrices()
        self.encoder_ = Network.from_matrices(matrices[:narrow]).matrix()
        rest = matrices[narrow:]
        self.decoder_ = Network.from_matrices(rest).matrix() if rest else np.eye(len(self.encoder_), dtype=X.dtype)
        self.reconstruction_error_ = float(self.run_.loss[-1])
        self._n_features_out = len(self.encoder_)
        return self

    def transform(self, X: Any) -> Array:
        """The code, `(X - mean_) encoder_^T`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return np.asarray((X - self.mean_.astype(X.dtype)) @ self.encoder_.T)

    def inverse_transform(self, X: Any) -> Array:
        """From codes back to inputs, `X decoder_^T + mean_` and what biases add up to."""
        check_is_fitted(self)
        return np.asarray(np.asarray(X) @ self.decoder_.T + self.mean_ + self.network_.constant())

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the mean square of what the code of `X` misses: larger is better."""
        return -float(np.mean(np.square(self.inverse_transform(self.transform(X)) - np.asarray(X))))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
