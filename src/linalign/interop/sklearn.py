"""scikit-learn: deep linear networks as estimators, on both sides of a pipeline.

from linalign.interop.sklearn import DeepLinearRegressor
DeepLinearRegressor(hidden=(64,)).fit(X, y).score(X, y)
"""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    from sklearn.base import (
        ClassifierMixin,
        ClassNamePrefixFeaturesOutMixin,
        MultiOutputMixin,
        RegressorMixin,
        TransformerMixin,
    )
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError:
    raise ImportError(
        "linalign.interop.sklearn needs scikit-learn 1.6 or newer; install it with: pip install 'linalign[sklearn]'"
    ) from None

from .. import losses
from ..layers.homogeneous import beside_ones
from ..losses import CrossEntropy, Loss
from ..problem.network import Network
from ..validate import Array
from .estimator import DeepLinear, Quadratic

__all__ = ["DeepLinearAutoencoder", "DeepLinearClassifier", "DeepLinearRegressor"]


class DeepLinearRegressor(RegressorMixin, MultiOutputMixin, Quadratic):
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
    loss : str or Loss, optional
        Another one than the mean of squares, as in `linalign.train`: "huber" for instance. It needs dense rows of equal weight.
    optimizer, batch : as in `linalign.train`
        Another rule than gradient descent, which needs an `lr`; rows a step, dense and of equal weight, drawn by `random_state`.

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
        P, constant = self.network_.matrix(), self.network_.constant()
        if P.shape[1] > X.shape[1]:
            P, constant = P[:, :-1], constant + P[:, -1]
        intercept = y_mean - P @ x_mean + constant
        flat = np.ndim(y) == 1
        self.coef_ = P[0] if flat else P
        self.intercept_ = (float(intercept[0]) if flat else intercept) if self.fit_intercept or self.network_.has_biases else 0.0
        return self

    def predict(self, X: Any) -> Array:
        """`X coef_^T + intercept_`, `(n,)` or `(n, n_targets)`."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        return np.asarray(X @ self.coef_.T + self.intercept_)


class DeepLinearClassifier(ClassifierMixin, DeepLinear):
    """Softmax regression by gradient descent on a deep linear network.

    The scores of the classes are `f(x) = W_d ... W_1 x + c`: the inputs are centred, and with `fit_intercept` gain a constant,
    so that the first layer has a bias. The loss is cross-entropy, mean over samples, or `loss`: "logistic", "hinge" and the others whose
    targets are signs take each class against the rest, and have no `predict_proba`. For squares, or weighted samples, use
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
        loss = self._loss()
        targets = np.eye(len(self.classes_), dtype=X.dtype)[labels]
        self._train(rows, targets if loss.kind == "cross_entropy" else 2 * targets - 1, loss, X.dtype)
        P = self.network_.matrix()
        coef = P[:, : X.shape[1]]
        intercept = self.network_.constant() + (P[:, -1] - coef @ mean if self.fit_intercept else 0.0)
        if len(self.classes_) == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        self.coef_, self.intercept_ = coef, intercept
        return self

    def _loss(self) -> Loss:
        loss = CrossEntropy() if self.loss is None else losses.resolve(self.loss)
        if loss.kind != "cross_entropy" and not isinstance(loss, losses.Signs):
            raise ValueError(
                f"loss is {self.loss!r}; cross-entropy or one whose targets are signs was wanted, such as 'logistic' or 'hinge'"
            )
        return loss

    def _has_probabilities(self) -> bool:
        if self._loss().kind != "cross_entropy":
            raise AttributeError(f"predict_proba is of cross-entropy but the loss is {self.loss!r}; use decision_function")
        return True

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

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of `predict_proba`."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        shifted = scores - scores.max(axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> Array:
        """The softmax of the scores, `(n, n_classes)`."""
        return np.asarray(np.exp(self.predict_log_proba(X)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags


class DeepLinearAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Quadratic):
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
        if self.loss is not None and not losses.resolve(self.loss).quadratic:
            raise ValueError(f"loss is {self.loss!r}; an autoencoder is fitted by squares: leave it at None")
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
