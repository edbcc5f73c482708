"""The estimators: scikit-learn's own checks, the map they learn, and what a search over options costs."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

pytest.importorskip("sklearn")
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import linalign as la
from linalign.interop import centred
from linalign.interop.sklearn import DeepLinearAutoencoder, DeepLinearClassifier, DeepLinearRegressor


@parametrize_with_checks([DeepLinearRegressor(), DeepLinearClassifier(), DeepLinearAutoencoder(hidden=(2,))])
def test_the_checks_of_sklearn(estimator, check):
    check(estimator)


@parametrize_with_checks([DeepLinearRegressor(batch=8, lr=1e-3, optimizer="adam", random_state=0, steps=200)])
def test_the_checks_of_sklearn_with_another_rule(estimator, check):
    if "weight" not in check.func.__name__ and "sparse" not in check.func.__name__:  # batches are of dense rows of equal weight
        check(estimator)


def test_another_rule_and_batches_are_those_of_train():
    X, Y = data()
    model = DeepLinearRegressor((8,), lr=1e-2, steps=300, optimizer="adam", batch=16, random_state=0).fit(X, Y)
    assert model.run_.plan.rule == "adam"
    assert model.run_.plan.batch == 16
    again = DeepLinearRegressor((8,), lr=1e-2, steps=300, optimizer="adam", batch=16, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(model.coef_, again.coef_)
    start = la.Network.dense([5, 8, 3]).init("xavier", rng=np.random.RandomState(0).randint(2**31 - 1))
    rows, targets = X - np.full(60, 1 / 60) @ X, Y - np.full(60, 1 / 60) @ Y
    rng = np.random.RandomState(0).randint(2**31 - 1)
    run = la.train(start, rows, targets, loss="mse", lr=1e-2, steps=300, optimizer="adam", batch=16, rng=rng)
    np.testing.assert_array_equal(model.coef_, run.network.matrix())
    assert DeepLinearRegressor((8,), steps=5, batch=1000, random_state=0).fit(X, Y).run_.plan.batch in (None, 60)
    with pytest.raises(ValueError, match="^lr is 'auto' but the optimizer is adam; 'auto' is for gradient descent: pass a number$"):
        DeepLinearRegressor(optimizer="adam").fit(X, Y)
    with pytest.raises(ValueError, match="^batch is 4, which needs dense rows of equal weight; leave it at None$"):
        DeepLinearRegressor(batch=4).fit(X, Y, sample_weight=np.arange(60.0))


def test_other_losses():
    X, Y = data()
    Y[0] += 1000.0  # an outlier that squares follow
    rest = slice(1, None)
    robust = DeepLinearRegressor((8,), loss="huber", steps=60_000, random_state=0).fit(X, Y)
    plain = LinearRegression().fit(X[rest], Y[rest])
    # the gradient of the outlier is at most 1 of 60 rows
    assert np.abs(robust.predict(X[rest]) - plain.predict(X[rest])).max() < 1.0
    assert np.abs(LinearRegression().fit(X, Y).predict(X[rest]) - plain.predict(X[rest])).max() > 10.0
    I, y = load_iris(return_X_y=True)
    for loss in ("logistic", "squared_hinge"):
        model = DeepLinearClassifier((8,), loss=loss, random_state=0).fit(I, y)
        assert model.score(I, y) > 0.8
        assert not hasattr(model, "predict_proba")
        assert hasattr(model.set_params(loss=None), "predict_proba")
    with pytest.raises(ValueError, match="^loss is 'mse'; cross-entropy or one whose targets are signs was wanted"):
        DeepLinearClassifier(loss="mse").fit(I, y)
    with pytest.raises(ValueError, match="^loss is 'huber'; an autoencoder is fitted by squares: leave it at None$"):
        DeepLinearAutoencoder((2,), loss="huber").fit(I)


def data(n=60, k=5, m=3, rng=0):
    r = np.random.default_rng(rng)
    X = r.standard_normal((n, k)) + 2.0
    return X, X @ r.standard_normal((k, m)) + r.standard_normal(m) + 0.1 * r.standard_normal((n, m))


@pytest.mark.parametrize("n", [4, 60])
@pytest.mark.parametrize("hidden", [(), (8,), (7, 9)])
def test_a_long_fit_is_least_squares(hidden, n):
    X, Y = data(n)
    model = DeepLinearRegressor(hidden, steps=200_000, random_state=0).fit(X, Y)
    want = LinearRegression().fit(X, Y)
    assert np.allclose(model.predict(X), want.predict(X), atol=1e-6)
    assert np.allclose(model.intercept_, Y.mean(axis=0) - model.coef_ @ X.mean(axis=0), atol=1e-12)
    if n > 5:
        assert np.allclose(model.coef_, want.coef_, atol=1e-6)


def test_weights_are_repetitions_and_sparse_is_dense():
    X, Y = data()
    weight = np.random.default_rng(1).integers(0, 4, len(X))
    weighted = DeepLinearRegressor(random_state=0).fit(X, Y, sample_weight=weight)
    repeated = DeepLinearRegressor(random_state=0).fit(np.repeat(X, weight, axis=0), np.repeat(Y, weight, axis=0))
    sparse = DeepLinearRegressor(random_state=0).fit(scipy.sparse.csr_array(X), Y, sample_weight=weight)
    # the same trajectory but for the rounding of the data's factorisation, which two thousand contracting steps do not enlarge
    assert np.allclose(weighted.coef_, repeated.coef_, rtol=0, atol=1e-10)
    assert np.allclose(weighted.coef_, sparse.coef_, rtol=0, atol=1e-10)


def test_the_loss_is_the_mean_of_squares():
    X, Y = data()
    model = DeepLinearRegressor(random_state=0, steps=50).fit(X, Y)
    assert model.run_.loss[-1] == pytest.approx(np.mean((model.predict(X) - Y) ** 2), rel=1e-12)
    assert (model.n_iter_, model.run_.steps) == (50, 50)


def test_the_classifier_is_near_logistic_regression():
    X, y = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), DeepLinearClassifier((8,), steps=20_000, random_state=0)).fit(X, y)
    want = make_pipeline(StandardScaler(), LogisticRegression(C=1e4, max_iter=10_000)).fit(X, y)
    assert np.mean(model.predict(X) == want.predict(X)) > 0.97
    assert np.allclose(model.predict_proba(X).sum(axis=1), 1)


def test_two_classes_have_one_score():
    X, y = load_iris(return_X_y=True)
    X, y = X[y > 0], np.array(["a", "b"])[y[y > 0] - 1]
    model = DeepLinearClassifier(steps=500, random_state=0).fit(X, y)
    assert model.coef_.shape == (1, 4)
    scores = model.decision_function(X)
    assert np.array_equal(model.predict(X), np.where(scores > 0, "b", "a"))
    assert np.allclose(model.predict_proba(X)[:, 1], 1 / (1 + np.exp(-scores)))


def test_the_autoencoder_spans_the_principal_axes():
    X, _ = load_iris(return_X_y=True)
    model = DeepLinearAutoencoder((2,), steps=200_000, random_state=0).fit(X)
    best = PCA(2).fit(X)
    missed = np.mean((best.inverse_transform(best.transform(X)) - X) ** 2)
    assert -model.score(X) == pytest.approx(missed, rel=1e-6)
    assert model.reconstruction_error_ == pytest.approx(missed, rel=1e-6)
    Q = np.linalg.qr(model.encoder_.T)[0]
    assert np.linalg.svd(best.components_ @ Q, compute_uv=False) == pytest.approx([1, 1], abs=1e-6)
    frame = model.set_output(transform="pandas").transform(X)
    assert list(frame.columns) == ["deeplinearautoencoder0", "deeplinearautoencoder1"]


def test_a_search_over_options_compresses_each_fold_once(monkeypatch):
    X, y = load_digits(return_X_y=True)
    calls = []
    monkeypatch.setattr(centred, "_KNOWN", type(centred._KNOWN)())
    monkeypatch.setattr(centred, "compress", lambda chunks, real=centred.compress: calls.append(1) or real(chunks))
    model = DeepLinearRegressor(steps=20, random_state=0)
    search = GridSearchCV(model, {"lr": list(np.logspace(-5, -3, 20))}, cv=3, refit=False).fit(X, np.eye(10)[y])
    assert len(calls) == 3
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_warm_start_goes_on():
    X, Y = data()
    whole = DeepLinearRegressor(steps=100, random_state=0, lr=0.01).fit(X, Y)
    half = DeepLinearRegressor(steps=50, random_state=0, lr=0.01, warm_start=True).fit(X, Y).fit(X, Y)
    assert np.allclose(whole.coef_, half.coef_, rtol=0, atol=1e-13)


def test_layers_keep_their_structure():
    X = np.random.default_rng(0).standard_normal((40, 6))
    layers = [la.Circulant(6), la.Circulant(6)]
    model = DeepLinearRegressor(layers=layers, random_state=0).fit(X, X @ la.Circulant(6).matrix(np.arange(6.0)).T)
    assert model.network_.layers == tuple(layers)
    with pytest.raises(ValueError, match="layers take 6 inputs to 6 outputs but the data have 6 and 1"):
        DeepLinearRegressor(layers=layers).fit(X, X[:, 0])


def test_one_hidden_layer_may_be_a_number():
    X = np.sin(np.arange(40.0)).reshape(10, 4)
    one, several = (DeepLinearRegressor(hidden=hidden, steps=3, random_state=0).fit(X, X[:, 0]) for hidden in (np.int64(8), (8,)))
    assert one.network_.widths == (4, 8, 1)
    assert np.array_equal(one.coef_, several.coef_)


def test_a_rate_that_is_too_large_is_said():
    X, Y = data()
    with pytest.raises(la.DivergenceError, match="pass lr='auto'"):
        DeepLinearRegressor(lr=1e3, random_state=0).fit(X, Y)


def test_layers_with_biases():
    X, Y = data()
    layers = [la.Dense(5, 6, bias=True), la.Dense(6, 3, bias=True)]
    for intercept in (True, False):
        model = DeepLinearRegressor(layers=layers, fit_intercept=intercept, steps=300, random_state=0).fit(X, Y)
        mean = X.mean(axis=0) if intercept else 0.0
        want = model.network_(X - mean) + (Y.mean(axis=0) if intercept else 0.0)
        # sums of some ten terms of a few units each
        assert np.allclose(model.predict(X), want, rtol=0, atol=1e-13 * np.abs(want).max() * 10)
        assert model.run_.loss[-1] == pytest.approx(np.mean((model.predict(X) - Y) ** 2), rel=1e-12)
    with pytest.raises(ValueError, match="whose bias needs dense rows of equal weight; pass layers without$"):
        model.fit(X, Y, sample_weight=np.arange(len(X)))
    with pytest.raises(ValueError, match="whose bias needs dense rows of equal weight"):
        model.fit(scipy.sparse.csr_array(X), Y)
    labels = np.argmax(Y, axis=1)
    classifier = DeepLinearClassifier(layers=layers, fit_intercept=False, steps=300, random_state=0).fit(X, labels)
    assert np.any(classifier.network_.constant())
    scores = classifier.decision_function(X)
    assert np.allclose(scores, classifier.network_(X), rtol=0, atol=1e-12 * np.abs(scores).max())
    code = DeepLinearAutoencoder(layers=[la.Dense(5, 2, bias=True), la.Dense(2, 5, bias=True)], steps=300, random_state=0).fit(X)
    rebuilt = code.inverse_transform(code.transform(X))
    assert np.allclose(rebuilt, code.network_(X - code.mean_) + code.mean_, rtol=0, atol=1e-12 * np.abs(rebuilt).max())
    assert code.reconstruction_error_ == pytest.approx(-code.score(X), rel=1e-12)
