"""`lr="auto"`: what it is, that it does, where it is refused; and the rate that a divergence names."""

from __future__ import annotations

import re

import numpy as np
import pytest

import linalign as la

# a loss is a sum of at most 100 terms, and its limit is reached up to their rounding
ROUNDING = 1000 * 2.0**-53


def data(seed=0, n=30, k=(6, 3)):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, k[0])), rng.standard_normal((n, k[1]))


def signs(Y):
    return np.where(Y > 0, 1.0, -1.0)


LOSSES = {
    "squared": lambda Y: Y, "mse": lambda Y: Y, "cross_entropy": lambda Y: Y.argmax(axis=1), "logistic": signs, "exponential": signs,
}  # fmt: skip


def formula(net, X, Y, c, momentum=0.0):
    W = net.matrices()
    product = lambda Ws, k: np.linalg.multi_dot([*Ws[::-1], np.eye(k)]) if Ws else np.eye(k)  # noqa: E731
    start = sum(
        np.linalg.norm(product(W[i + 1 :], W[i].shape[0]), 2) ** 2 * np.linalg.norm(product(W[:i], net.widths[0]), 2) ** 2
        for i in range(net.depth)
    )
    q = 8 * np.linalg.norm(Y) / np.linalg.norm(X)
    return (1 - momentum) / (c * np.linalg.norm(X, 2) ** 2 * max(start, net.depth * q ** (2 - 2 / net.depth)))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("size", [1e-3, 3.0])
def test_the_formula(size, momentum):
    X, Y = data()
    net = la.Network.dense([6, 5, 4, 3]).init("gaussian", rng=0, scale=size)
    run = la.train(net, X, Y, lr="auto", steps=3, momentum=momentum)
    # eigenvalues of X^T X to n roundings
    np.testing.assert_allclose(run.lr, formula(net, X, Y, 1.0, momentum), rtol=1e-12)
    number = la.train(net, X, Y, lr=float(run.lr[0]), steps=3, momentum=momentum)
    np.testing.assert_array_equal(run.loss, number.loss)


def test_shared_parameters_take_smaller_steps():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((20, 9)), rng.standard_normal((20, 3))
    net = la.Network([la.Circulant(9), la.Conv1d(9, 3), la.Dense(9, 3)]).init("xavier", rng=rng)
    matrix = la.train(net, X, Y, lr="auto", steps=1, metric="matrix").lr
    assert len(np.unique(matrix)) == 1
    np.testing.assert_allclose(la.train(net, X, Y, lr="auto", steps=1).lr, matrix / [9, 9, 1], rtol=1e-15)


def test_biases_are_inputs_that_are_one():
    X, Y = data()
    net = la.Network([la.Dense(6, 4, bias=True), la.Dense(4, 3, bias=True)]).init("gaussian", rng=0, scale=0.1)
    wide = la.Network.from_matrices([
        np.block([[net.matrices()[0], net.biases()[0][:, None]], [np.zeros((1, 6)), np.ones((1, 1))]]),
        np.hstack([net.matrices()[1], net.biases()[1][:, None]]),
    ])  # fmt: skip
    want = formula(wide, np.hstack([X, np.ones((30, 1))]), Y, 1.0)
    np.testing.assert_allclose(la.train(net, X, Y, lr="auto", steps=1).lr, want, rtol=1e-12)


def test_compressed_data_have_the_rate_of_the_full_ones():
    X, Y = data()
    net = la.Network.dense([6, 5, 3]).init("gaussian", rng=0, scale=1e-2)
    full, less = la.train(net, X, Y, loss="mse", lr="auto", steps=1), la.train(net, la.compress([(X, Y)]), loss="mse", lr="auto", steps=1)
    np.testing.assert_allclose(less.lr, full.lr, rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_falls(loss, depth):
    for seed in range(5):
        X, Y = data(seed)
        net = la.Network.dense([6, *[5] * (depth - 1), 3]).init("xavier", rng=seed)
        run = la.train(net, X, LOSSES[loss](Y), loss=loss, lr="auto", steps=300)
        assert (np.diff(run.loss) <= ROUNDING * run.loss[:-1]).all()
        assert run.loss[-1] < run.loss[0]


@pytest.mark.parametrize("rank", [1, 20])
def test_factorisation(rank):
    """The norm of a matrix of rank one is more than that of its rows on average."""
    rng = np.random.default_rng(0)
    Y = 5 * rng.standard_normal((20, rank)) @ rng.standard_normal((rank, 100))
    for depth in (2, 3):
        net = la.Network.dense([100, *[10] * (depth - 1), 20]).init("gaussian", rng=0, scale=1e-2)
        run = la.train(net, None, Y, lr="auto", steps=2000)
        assert (np.diff(run.loss) <= ROUNDING * run.loss[:-1]).all()
        assert run.loss[-1] < run.loss[0]


@pytest.mark.parametrize("batch", [1, 3, 5])
@pytest.mark.parametrize("loss", ["squared", "mse"])
def test_no_batch_has_a_larger_curvature(loss, batch):
    X, Y = data()
    X[2] *= 5
    net = la.Network.dense([6, 5, 3]).init("gaussian", rng=0, scale=0.1)
    how = {"loss": loss, "lr": "auto", "batch": batch, "rng": 0}
    run = la.train(net, X, Y, steps=300, **how)
    assert run.loss[-1] < la.train(net, X, Y, loss=loss, lr=1.0, steps=0).loss[0]
    # the formula, with the largest squared norm of a row for the eigenvalue of each row of a batch
    c = 1.0 if loss == "squared" else 2.0 / (batch * 3)
    row = batch * (np.linalg.norm(X, axis=1) ** 2).max()
    np.testing.assert_allclose(run.lr, formula(net, X, Y, c * row / np.linalg.norm(X, 2) ** 2), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": {"lr": [1e-3, "auto"], "optimizer": ["sgd", "adam"]}}, "lr is 'auto' but the optimizer is adam"),
        ({"grid": {"rng": [0], "loss": ["squared", "hinge"]}, "lr": "auto"}, "lr is 'auto' but the curvature of the loss 'hinge' is not known"),
    ],
)  # fmt: skip
def test_a_sweep_refuses_before_any_run(options, message):
    X, Y = data()
    make = lambda rng=0: la.Network.dense([6, 5, 3]).init("gaussian", rng=rng)  # noqa: E731
    with pytest.raises(ValueError, match=message):
        la.sweep(make, X, signs(Y), steps=5, **options)


def test_a_sweep_finds_it_for_each_network():
    X, Y = data()
    make = lambda scale: la.Network.dense([6, 5, 3]).init("gaussian", rng=0, scale=scale)  # noqa: E731
    found = la.sweep(make, X, Y, grid={"scale": [1e-2, 50.0], "lr": ["auto", 1e-5]}, steps=20, keep_runs=True, threads=2)
    assert [row["lr"] for row in found.rows] == ["auto", 1e-5] * 2
    for run, row in zip(found.runs, found.rows, strict=True):
        np.testing.assert_allclose(run.loss, la.train(make(row["scale"]), X, Y, lr=row["lr"], steps=20).loss, rtol=1e-12)
    assert found.runs[0].lr[0] > 10 * found.runs[2].lr[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adam"}, "lr is 'auto' but the optimizer is adam; 'auto' is for gradient descent: pass a number"),
        ({"optimizer": "adam", "clip_norm": 1.0}, "lr is 'auto' but the optimizer is adam; 'auto' is for gradient descent: pass a number"),
        (
            {"loss": "hinge"},
            "lr is 'auto' but the curvature of the loss 'hinge' is not known, only of squared, cross_entropy, logistic, "
            "exponential, huber, squared_hinge; pass a number",
        ),
        ({"lr": "Auto"}, "lr is 'Auto'; one of 'auto', 'certified' was wanted: did you mean 'auto'?"),
    ],
)
def test_refusals(options, message):
    X, Y = data()
    net = la.Network.dense([6, 5, 3]).init("gaussian", rng=0)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        la.train(net, X, signs(Y) if "loss" in options else Y, **{"lr": "auto", "steps": 1, **options})


def test_losses_whose_curvature_is_not_known():
    net = la.Network.dense([6, 5, 3]).init("gaussian", rng=0)
    with pytest.raises(ValueError, match="the curvature of the loss 'end_to_end' is not known, only of squared, cross_entropy, logistic"):
        la.train(net, None, loss=la.losses.EndToEnd(lambda P: (0.0, P)), lr="auto", steps=1)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_divergence_names_a_rate_that_does(loss):
    X, Y = data()
    net = la.Network.dense([6, 5, 4, 3]).init("xavier", rng=0)
    Y = LOSSES[loss](Y)
    batch = {"batch": 7, "rng": 0} if loss in ("mse", "logistic") else {}
    with pytest.raises(la.DivergenceError) as caught:
        la.train(net, X, Y, loss=loss, lr=1e8, steps=500, **batch)
    named = re.search(r"; pass lr='auto', which is (\S+) here, or less \(error.run holds", str(caught.value))
    run = la.train(net, X, Y, loss=loss, lr=float(named[1]), steps=500)
    assert run.loss[-1] < run.loss[0]


def test_a_divergence_that_no_curvature_explains_says_lower():
    X, Y = data()
    net = la.Network.dense([6, 5, 3]).init("xavier", rng=0)
    with pytest.raises(la.DivergenceError, match=r"with lr=1e\+08; lower lr \(error.run"):
        la.train(net, lr=1e8, steps=500, stream=lambda t: (X, Y))


def test_a_run_goes_on_at_the_rate_it_had():
    X, Y = data()
    net = la.Network.dense([6, 5, 3]).init("gaussian", rng=0, scale=1e-2)
    run = la.train(net, X, Y, lr="auto", steps=30)
    whole = la.train(net, X, Y, lr="auto", steps=50)
    np.testing.assert_array_equal(la.resume(run, X, Y, steps=20).loss, whole.loss)
    np.testing.assert_array_equal(la.resume(run, X, Y, steps=20, lr="auto").lr, la.train(run.network, X, Y, lr="auto", steps=1).lr)
