"""The neural tangent kernel: torch.func's Jacobian contracted with itself, its mean over Gaussian starts, and its action."""

from __future__ import annotations

import re

import numpy as np
import pytest

import linalign as la
from tests.required import oracle

torch = oracle("torch")
pytestmark = pytest.mark.oracle

NETWORKS = {
    "dense": [la.Dense(4, 5), la.Dense(5, 2), la.Dense(2, 3)],
    "biases": [la.Dense(4, 5, bias=True), la.Dense(5, 3)],
    "convolution": [la.Conv1d(4, 3), la.Dense(4, 3)],
    "convolution with a bias": [la.Conv1d(4, 3, bias=True), la.Dense(4, 3, bias=True)],
    "residual": [la.Residual(la.Dense(4, 4)), la.Dense(4, 3)],
    "tied": [la.Toeplitz(4, 5), la.Masked(np.arange(15).reshape(3, 5) % 3 > 0)],
    "fixed": [la.Fixed(np.arange(20.0).reshape(5, 4) / 20), la.Dense(5, 3)],
}


def draw(network, seed=0):
    rng = np.random.default_rng(seed)
    net = la.Network(NETWORKS[network]).init("gaussian", rng=rng, scale=0.5)
    return net, rng.standard_normal((6, 4)), rng.standard_normal((3, 4))


def jacobian(net, X):
    """`(n, k_d, size)`, by torch.func on layers as sums over a basis."""
    tables = []
    for layer in net.layers:
        zero = np.zeros(layer.param_shape)
        fixed, shift = layer.matrix(zero), layer.constant(zero)
        ones = [row.reshape(layer.param_shape) for row in np.eye(layer.size)]
        A = np.array([layer.matrix(one) - fixed for one in ones]).reshape(layer.size, *layer.shape)
        B = np.array([np.zeros(layer.shape[0]) if shift is None else layer.constant(one) for one in ones]).reshape(
            layer.size, layer.shape[0]
        )
        tables.append(tuple(map(torch.tensor, (fixed, A, B))))
    sizes = [layer.size for layer in net.layers]

    def outputs(flat):
        F = torch.tensor(X)
        for (fixed, A, B), theta in zip(tables, torch.split(flat, sizes), strict=True):
            F = F @ (fixed + torch.tensordot(theta, A, dims=1)).T + theta @ B
        return F

    return torch.func.jacrev(outputs)(torch.tensor(np.concatenate([theta.ravel() for theta in net.params]))).numpy()


@pytest.mark.parametrize("network", NETWORKS)
def test_the_kernel_is_torchs_jacobian_contracted(network):
    net, X, X2 = draw(network)
    J, M = jacobian(net, X), jacobian(net, X2)
    want = np.einsum("aik,bjk->abij", J, M)
    assert np.abs(la.ntk(net, X, X2) - want).max() <= 1e-11 * np.abs(want).max()
    whole = np.einsum("aik,bjk->abij", J, J)
    assert np.abs(la.ntk(net, X) - whole).max() <= 1e-11 * np.abs(whole).max()
    assert la.ntk_trace(net, X) == pytest.approx(np.sum(J**2), rel=1e-12)
    R = np.random.default_rng(1).standard_normal((6, 3))
    applied = la.ntk_operator(net, X) @ R.ravel()
    assert np.abs(applied - np.einsum("abij,bj->ai", whole, R).ravel()).max() <= 1e-11 * np.abs(whole).max() * np.abs(R).sum()


@pytest.mark.parametrize("network", NETWORKS)
def test_the_distance_of_two_kernels(network):
    (net, X, _), (start, _, _) = draw(network), draw(network, 1)
    a, b = la.ntk(net, X), la.ntk(start, X)
    want = 1 - np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))
    assert la.kernel_distance(net, start, X) == pytest.approx(want, abs=1e-11)
    assert la.kernel_distance(net, net, X) == pytest.approx(0, abs=1e-14)


def test_the_metric_of_matrices():
    net, X, _ = draw("convolution")
    J = jacobian(net, X)
    scale = np.concatenate([np.sqrt(layer.multiplicity).ravel() for layer in net.layers])
    want = np.einsum("aik,bjk->abij", J / scale, J / scale)
    assert np.abs(la.ntk(net, X, metric="matrix") - want).max() <= 1e-11 * np.abs(want).max()


def test_the_mean_over_gaussian_starts():
    """Two layers of iid N(0, s^2 / k) entries, width 3: `E Theta(x, x') = (s_2^2 k_1 / k_1 + s_1^2 k_1 / k_0) x.x' I`, by independence."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2, 3))
    count = 10_000
    found = np.empty((count, 2, 2, 3, 3))
    for t in range(count):
        net = la.Network.from_matrices([rng.standard_normal((3, 3)) / np.sqrt(3) for _ in range(2)])
        found[t] = la.ntk(net, X)
    # K_1 = W_2 W_2' has mean I, and x' W_1' W_1 x' has mean x.x'
    want = 2 * np.einsum("ab,ij->abij", X @ X.T, np.eye(3))
    error = found.std(axis=0) / np.sqrt(count)
    assert (np.abs(found.mean(axis=0) - want) <= 4 * error).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, X: la.ntk(net, X[:, :2]), "X has shape (6, 2); 4 columns were wanted, not 2"),
        (lambda net, X: la.ntk(net, X, X[:, :2]), "X2 has shape (6, 2); 4 columns were wanted, not 2"),
        (lambda net, X: la.ntk_trace(net, X, metric="L2"), "metric is 'L2'"),
        (
            lambda net, X: la.kernel_distance(net, la.Network.dense([4, 3]).init("gaussian", rng=0), X),
            "start is Network(4-3, float64) but net is",
        ),
    ],
)
def test_refusals(call, message):
    net, X, _ = draw("dense")
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        call(net, X)
