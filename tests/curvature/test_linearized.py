"""Lazy dynamics in closed form: the linear model descended step by step, its flow integrated, and the network itself where it is lazy."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.linalg

import linalign as la

NETWORKS = {
    "dense": [la.Dense(4, 5), la.Dense(5, 2), la.Dense(2, 3)],
    "biases": [la.Dense(4, 5, bias=True), la.Dense(5, 3)],
    "convolution": [la.Conv1d(4, 3), la.Dense(4, 3)],
    "subspace": [la.Subspace(np.random.default_rng(5).standard_normal((3, 4, 4))), la.Dense(4, 3)],
}


def draw(network, n=7):
    rng = np.random.default_rng(0)
    net = la.Network(NETWORKS[network]).init("gaussian", rng=rng, scale=0.5)
    return net, rng.standard_normal((n, 4)), rng.standard_normal((n, 3)), rng.standard_normal((2, 4))


def jacobian(net, X):
    """By central differences, which are exact to their rounding and a term of the third order: `(n k_d, size)`."""
    h = 1e-4
    columns = []
    for i, theta in enumerate(net.params):
        for k in range(theta.size):
            moved = []
            for sign in (1, -1):
                params = [p.copy() for p in net.params]
                params[i].ravel()[k] += sign * h
                moved.append(net.with_params(params)(X).ravel())
            columns.append((moved[0] - moved[1]) / (2 * h))
    return np.array(columns).T


def grams(net):
    """The Gram matrices of all layers, one after the other."""
    blocks = []
    for layer in net.layers:
        ones = [row.reshape(layer.param_shape) for row in np.eye(layer.size)]
        blocks.append(np.array([layer.solve_gram(one).ravel() for one in ones]))
    return np.linalg.inv(scipy.linalg.block_diag(*blocks))


@pytest.mark.parametrize("metric", ["parameters", "matrix"])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("loss", ["squared", "mse"])
def test_it_is_the_linear_model_trained(loss, network, metric):
    net, X, Y, X2 = draw(network)
    J, J2 = jacobian(net, X), jacobian(net, X2)
    lazy = la.linearized(net, X, Y, loss=loss, metric=metric)
    factor = 1.0 if loss == "squared" else 2.0 / Y.size
    B = np.linalg.inv(grams(net)) if metric == "matrix" else np.eye(net.size)
    r0 = (net(X) - Y).ravel()
    lr, steps = 0.5 / lazy.eigenvalues[-1], 40
    theta = np.zeros(net.size)
    for _ in range(steps):
        theta = theta - lr * factor * B @ J.T @ (r0 + J @ theta)
    flat = np.concatenate([p.ravel() for p in net.params])
    t = lr * steps
    here = np.concatenate([p.ravel() for p in lazy.at(t, lr=lr).params]) - flat
    # differences of the third order, h^2 times a third derivative of size one, some hundred terms
    assert np.abs(here - theta).max() <= 1e-6 * np.abs(theta).max()
    assert np.abs(lazy.outputs(X2, t, lr=lr) - (net(X2).ravel() + J2 @ theta).reshape(2, 3)).max() <= 1e-6
    assert lazy.loss(t, lr=lr) == pytest.approx(factor / 2 * np.sum((r0 + J @ theta) ** 2), rel=1e-6)
    # the flow: the exponential of the same matrix
    r = scipy.linalg.expm(-t * factor * J @ B @ J.T) @ r0
    assert lazy.loss(t) == pytest.approx(factor / 2 * r @ r, rel=1e-6)
    times = np.array([[0.0, t], [2 * t, 3 * t]])
    assert lazy.outputs(X, times).shape == (2, 2, 7, 3)
    assert np.abs(lazy.outputs(X, times)[0, 1].ravel() - Y.ravel() - r).max() <= 1e-6
    assert np.abs(lazy.outputs(X, 0.0) - net(X)).max() <= 1e-12
    assert np.array_equal(np.concatenate([p.ravel() for p in lazy.at(0.0).params]), flat)


def test_rates_are_the_edge_of_its_descent():
    net, X, Y, _ = draw("dense")
    lazy = la.linearized(net, X, Y)
    assert lazy.eigenvalues[-1] == pytest.approx(np.linalg.eigvalsh(la.gauss_newton(net, X, Y).toarray())[-1], rel=1e-10)
    for share, grows in ((0.99, False), (1.01, True)):
        lr = share * 2 / lazy.eigenvalues[-1]
        assert (lazy.loss(5000 * lr, lr=lr) > lazy.loss(0.0)) == grows


def test_a_wide_network_is_lazy():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((6, 4)), rng.standard_normal((6, 2))
    off = []
    for width in (100, 10_000):
        net = la.Network([la.Dense(4, width), la.Dense(width, 2)])
        # the parametrisation in which a kernel does not grow with the width
        W = [rng.standard_normal((width, 4)) / 2, rng.standard_normal((2, width)) / np.sqrt(width)]
        net = net.with_params([W[0], W[1]])
        lazy = la.linearized(net, X, Y)
        lr = 1.0 / lazy.eigenvalues[-1]
        run = la.train(net, X, Y, lr=lr, steps=100, metric="parameters")
        off.append(abs(run.loss[-1] - lazy.loss(100 * lr, lr=lr)) / run.loss[0])
    assert off[1] < off[0] / 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "logistic"}, "loss is 'logistic', whose lazy dynamics have no closed form; pass 'squared', 'mse' or losses.Squared"),
        ({"metric": "L2"}, "metric is 'L2'; one of 'parameters', 'matrix' was wanted"),
    ],
)
def test_refusals(options, message):
    net, X, Y, _ = draw("dense")
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        la.linearized(net, X, np.sign(Y), **options)
    with pytest.raises(ValueError, match="^times holds -1; the dynamics begin at time 0"):
        la.linearized(net, X, Y).loss([0.0, -1.0])
