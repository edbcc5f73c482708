"""Hessian and Gauss-Newton products: torch.func's Hessians, entry by entry, off the minimum; by hand; and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.sparse.linalg

import linalign as la
from tests.required import oracle

torch = oracle("torch")
pytestmark = pytest.mark.oracle

# relative to the largest entry: some thousand roundings of sums of a few hundred terms
EXACT = 1e-12


def values(rng, n, k):
    return rng.standard_normal((n, k))


def signs(rng, n, k):
    return rng.choice([-1.0, 1.0], (n, k))


# ours, torch's from outputs and targets, targets
LOSSES = {
    "squared": ("squared", lambda F, Y: 0.5 * ((F - Y) ** 2).sum(), values),
    "mse": ("mse", torch.nn.functional.mse_loss, values),
    "huber": (la.losses.Huber(0.7), lambda F, Y: torch.nn.functional.huber_loss(F, Y, delta=0.7), values),
    "logistic": ("logistic", lambda F, Y: torch.nn.functional.softplus(-Y * F).sum() / len(F), signs),
    "exponential": ("exponential", lambda F, Y: torch.exp(-Y * F).sum() / len(F), signs),
    "hinge": ("hinge", lambda F, Y: torch.relu(1 - Y * F).sum() / len(F), signs),
    "squared hinge": ("squared_hinge", lambda F, Y: (torch.relu(1 - Y * F) ** 2).sum() / len(F), signs),
    "labels": ("cross_entropy", torch.nn.functional.cross_entropy, lambda rng, n, k: rng.integers(0, k, n)),
}

NETWORKS = {
    "dense": [la.Dense(4, 5), la.Dense(5, 2), la.Dense(2, 3)],
    "one layer": [la.Dense(4, 3)],
    "biases": [la.Dense(4, 3, bias=True), la.Dense(3, 3, bias=True)],
    "convolution": [la.Conv2d((2, 2), 2, out_channels=2), la.Dense(8, 3)],
    "convolution with a bias": [la.Conv1d(4, 3, bias=True), la.Dense(4, 3)],
    "tied": [la.Toeplitz(4, 5), la.Masked(np.arange(15).reshape(3, 5) % 3 > 0)],
    "residual": [la.Residual(la.Dense(4, 4)), la.Dense(4, 3)],
    "fixed": [la.Fixed(np.arange(20.0).reshape(5, 4) / 20), la.Dense(5, 3)],
    "subspace": [la.Subspace(np.random.default_rng(5).standard_normal((3, 4, 4))), la.Symmetric(4), la.Dense(4, 3)],
}


def draw(network, n=7, seed=0):
    rng = np.random.default_rng(seed)
    net = la.Network(NETWORKS[network]).init("gaussian", rng=rng, scale=0.5)
    if net.has_biases:
        net = net.with_params([theta + 0.1 * rng.standard_normal(theta.shape) for theta in net.params])
    return net, rng.standard_normal((n, net.widths[0])), rng


def by_autograd(net, X, Y, value, metric="parameters"):
    """The Hessian of the loss in the flat parameters, by torch.func; layers are their matrices as sums over a basis."""
    bases = []
    for layer in net.layers:
        zero = np.zeros(layer.param_shape)
        fixed, shift = layer.matrix(zero), layer.constant(zero)
        columns, biases = [], []
        for k in range(layer.size):
            one = np.zeros(layer.size)
            one[k] = 1
            one = one.reshape(layer.param_shape)
            columns.append(layer.matrix(one) - fixed)
            biases.append(np.zeros(layer.shape[0]) if shift is None else layer.constant(one))
        bases.append((torch.tensor(fixed), torch.tensor(np.array(columns)), torch.tensor(np.array(biases))))
    sizes = [layer.size for layer in net.layers]
    X, Y = torch.tensor(X), torch.tensor(Y)

    def loss(flat):
        F = X
        for (fixed, A, B), theta in zip(bases, torch.split(flat, sizes), strict=True):
            W = fixed if not len(theta) else fixed + torch.tensordot(theta, A, dims=1)
            F = F @ W.T
            if len(theta):
                F = F + theta @ B
        return value(F, Y)

    flat = torch.tensor(np.concatenate([theta.ravel() for theta in net.params]))
    return torch.func.jacrev(torch.func.grad(loss))(flat).numpy()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", LOSSES)
def test_the_hessian_is_torchs(name, network):
    loss, value, targets = LOSSES[name]
    for n in (7, 3):
        net, X, rng = draw(network, n)
        Y = targets(rng, n, 3)
        H = la.hessian(net, X, Y, loss=loss)
        want = by_autograd(net, X, Y, value)
        scale = np.abs(want).max()
        assert scale > 0 or name == "hinge"
        assert np.abs(H.toarray() - want).max() <= EXACT * max(scale, 1e-300)
        v = rng.standard_normal(net.size)
        assert np.abs(H @ v - want @ v).max() <= EXACT * scale * np.abs(v).sum()
        assert H.exact
        assert H.shape == (net.size, net.size)


@pytest.mark.parametrize("network", NETWORKS)
def test_gauss_newton_is_the_jacobian_twice(network):
    net, X, rng = draw(network)
    Y = rng.standard_normal((7, 3))
    G = la.gauss_newton(net, X, Y).toarray()
    # where the data are fitted the Hessian has no other part
    there = la.hessian(net, X, net(X)).toarray()
    assert np.abs(G - there).max() <= EXACT * np.abs(there).max()
    assert np.linalg.eigvalsh(G)[0] >= -EXACT * np.abs(G).max()
    # and off the minimum it has
    assert network in ("one layer", "fixed") or np.abs(G - la.hessian(net, X, Y).toarray()).max() > 1e-3 * np.abs(G).max()


OF_PRODUCT = {
    "factorisation": None,
    "entries": la.losses.Entries([0, 2, 1], [1, 0, 3], [1.0, -2.0, 0.5]),
    "sensing": la.losses.Sensing(np.random.default_rng(2).standard_normal((5, 3, 4)), np.arange(5.0)),
    "end to end": la.losses.EndToEnd(lambda P: (float(np.sum(P**4)), 4 * P**3)),
    "Bures-Wasserstein": la.losses.BuresWasserstein(np.diag([1.0, 2.0, 3.0])),
}


def of_product(name, target):
    """The same in torch."""
    loss = OF_PRODUCT[name]
    if name == "factorisation":
        return lambda P: 0.5 * ((P - target) ** 2).sum()
    if name == "entries":
        return lambda P: 0.5 * ((P[loss.rows, loss.cols] - torch.tensor(loss.values)) ** 2).sum()
    if name == "sensing":
        return lambda P: 0.5 * ((torch.einsum("jab,ab->j", torch.tensor(loss.matrices), P) - torch.tensor(loss.values)) ** 2).sum()
    if name == "end to end":
        return lambda P: (P**4).sum()
    root = torch.tensor(np.sqrt(loss.covariance))
    return lambda P: (P**2).sum() + 6 - 2 * torch.linalg.svdvals(root @ P).sum()


@pytest.mark.parametrize("name", OF_PRODUCT)
def test_losses_of_the_product(name):
    net, _, rng = draw("dense")
    net = net.with_params([theta * 2 for theta in net.params])
    target = rng.standard_normal((3, 4))
    loss = OF_PRODUCT[name]
    H = la.hessian(net, None, target) if loss is None else la.hessian(net, None, loss=loss)
    want = (
        by_autograd(net, np.eye(4), np.zeros(1), lambda F, Y: of_product(name, torch.tensor(target))(F.T))
        if name != "Bures-Wasserstein"
        else None
    )
    if want is None:
        # the rank of the product is that of its narrowest layer, where the nuclear norm has no second derivative
        net = la.Network([la.Dense(4, 3), la.Dense(3, 3)]).init("gaussian", rng=0, scale=2.0)
        H = la.hessian(net, None, loss=loss)
        want = by_autograd(net, np.eye(4), np.zeros(1), lambda F, Y: of_product(name, None)(F.T))
    # a difference of gradients keeps two thirds of the digits, beside the size of third derivatives
    assert H.exact == (name not in ("end to end", "Bures-Wasserstein"))
    assert H.exact != repr(H).endswith(", by differences of gradients>")
    assert np.abs(H.toarray() - want).max() <= (EXACT if H.exact else 1e-7) * np.abs(want).max()


@pytest.mark.parametrize("network", ["dense", "convolution", "tied", "subspace", "biases"])
def test_the_metric_of_matrices_is_an_orthonormal_basis(network):
    net, X, rng = draw(network)
    Y = rng.standard_normal((7, 3))
    H, own = la.hessian(net, X, Y).toarray(), la.hessian(net, X, Y, metric="matrix").toarray()
    gram = np.zeros_like(H)
    at = 0
    for layer in net.layers:
        zero = np.zeros(layer.param_shape)
        columns = []
        for k in range(layer.size):
            one = np.zeros(layer.size)
            one[k] = 1
            one = one.reshape(layer.param_shape)
            b = np.zeros(0) if layer.constant(one) is None else layer.constant(one)
            columns.append(np.concatenate([(layer.matrix(one) - layer.matrix(zero)).ravel(), b]))
        part = slice(at, at + layer.size)
        gram[part, part] = np.array(columns) @ np.array(columns).T
        at += layer.size
    # G^-1 H, what descent in the metric does, has the same eigenvalues
    want = np.sort(np.linalg.eigvals(np.linalg.solve(gram, H)).real)
    assert np.abs(np.linalg.eigvalsh(own) - want).max() <= 1e-11 * np.abs(want).max()


def test_descent_is_stable_up_to_two_over_the_sharpness_of_its_metric():
    net = la.Network([la.Conv1d(8, 3, padding="same"), la.Conv1d(8, 3, padding="same")]).init("gaussian", rng=1, scale=0.7)
    X = np.random.default_rng(0).standard_normal((40, 8))
    Y = net(X)
    rng = np.random.default_rng(1)
    for metric in ("parameters", "matrix"):
        top = la.sharpness(net, X, Y, metric=metric)
        near = net.with_params([theta + 1e-7 * rng.standard_normal(theta.shape) for theta in net.params])
        for share, grows in ((0.98, False), (1.02, True)):
            run = la.train(near, X, Y, lr=share * 2 / top, steps=400, metric=metric)
            assert (run.loss[-1] > 10 * run.loss[0]) == grows


def test_at_moves_the_point_and_not_the_data():
    net, X, rng = draw("dense")
    Y = rng.standard_normal((7, 3))
    other = net.with_params([theta + 0.1 for theta in net.params])
    first = la.hessian(net, X, Y)
    before = first.toarray()
    assert np.array_equal(first.at(other).toarray(), la.hessian(other, X, Y).toarray())
    assert np.array_equal(first.toarray(), before)
    assert first.at(other).network is other


def test_many_samples_cost_no_more_than_their_moments():
    net, X, rng = draw("dense", 500)
    H = la.hessian(net, X, rng.standard_normal((500, 3)))
    assert H._pivot.rows <= 4


def test_it_is_an_operator_of_scipys():
    net, X, rng = draw("dense")
    H = la.hessian(net, X, rng.standard_normal((7, 3)))
    full = H.toarray()
    b = rng.standard_normal(net.size)
    shifted = H + 50 * scipy.sparse.linalg.aslinearoperator(np.eye(net.size))
    x, failed = scipy.sparse.linalg.cg(shifted, b, rtol=1e-12)
    assert not failed
    assert np.allclose(x, np.linalg.solve(full + 50 * np.eye(net.size), b), rtol=1e-8)
    assert np.allclose(H.T @ b, full @ b)
    single = la.hessian(net.astype(np.float32), X.astype(np.float32), net.astype(np.float32)(X.astype(np.float32)))
    assert (single @ b.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "tukey"}, "loss is 'tukey'"),
        ({"metric": "euclid"}, "metric is 'euclid'; one of 'parameters', 'matrix' was wanted"),
        ({"X": np.zeros((3, 9))}, "X has shape (3, 9); 4 columns were wanted, not 9"),
    ],
)
def test_refusals(options, message):
    net, X, rng = draw("dense")
    given = {"X": X, "Y": rng.standard_normal((7, 3)), **options}
    for function in (la.hessian, la.gauss_newton, la.sharpness, la.spectral_density):
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            function(net, given.pop("X", X), given.pop("Y", None), **given)
        given = {"X": X, "Y": rng.standard_normal((7, 3)), **options}
