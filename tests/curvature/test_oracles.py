"""Programs that nobody here wrote: curvlinops and torch.func on torch modules, JAX's Jacobian contracted with itself; and an exact mean."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import linalign as la
from tests.required import oracle

torch = oracle("torch")
curvlinops = oracle("curvlinops")
# curvlinops scripts functions in a way that torch deprecates
pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")]

# both programs round sums of some hundred terms in chains of a few products; eigenvalues are compared to the largest
EXACT = 1e-10


def values(rng, n, k):
    return rng.standard_normal((n, k))


# ours, torch's as a module that means or sums over rows, targets
LOSSES = {
    "mse": ("mse", torch.nn.MSELoss(), values),
    "huber": (la.losses.Huber(0.7), torch.nn.HuberLoss(delta=0.7), values),
    "cross-entropy": ("cross_entropy", torch.nn.CrossEntropyLoss(), lambda rng, n, k: rng.integers(0, k, n)),
}


class Images(torch.nn.Module):
    """Flat rows as images of one channel, a circular convolution, and flat rows again: linalign's `Conv2d`."""

    def __init__(self, height, width, side, channels):
        super().__init__()
        self.shape, self.side = (height, width), side
        self.kernel = torch.nn.Parameter(torch.empty(channels, 1, side, side, dtype=torch.float64))

    def forward(self, x):
        before = (self.side - 1) // 2
        after = self.side - 1 - before
        padded = torch.nn.functional.pad(x.reshape(len(x), 1, *self.shape), (before, after, before, after), mode="circular")
        return torch.nn.functional.conv2d(padded, self.kernel).reshape(len(x), -1)


def dense():
    widths = (6, 5, 4, 3)
    net = la.Network.dense(widths)
    return net, torch.nn.Sequential(*(torch.nn.Linear(a, b, bias=False, dtype=torch.float64) for a, b in itertools.pairwise(widths)))


def convolutional():
    layer = la.Conv2d((4, 3), 3, out_channels=2, padding="circular")
    return la.Network([layer, la.Dense(24, 3)]), torch.nn.Sequential(Images(4, 3, 3, 2), torch.nn.Linear(24, 3, bias=False).double())


def pair(make, seed=0):
    """The same network in both, off the minimum, and inputs."""
    rng = np.random.default_rng(seed)
    net, module = make()
    net = net.init("gaussian", rng=rng, scale=0.6)
    with torch.no_grad():
        for theta, parameter in zip(net.params, module.parameters(), strict=True):
            parameter.copy_(torch.tensor(theta).reshape(parameter.shape))
    X = rng.standard_normal((9, net.widths[0]))
    assert np.abs(module(torch.tensor(X)).detach().numpy() - net(X)).max() <= 1e-13
    return net, module, X, rng


@pytest.mark.parametrize("make", [dense, convolutional])
@pytest.mark.parametrize("name", LOSSES)
def test_products_and_spectra_are_those_of_curvlinops(name, make):
    ours, theirs, targets = LOSSES[name]
    net, module, X, rng = pair(make)
    Y = targets(rng, 9, 3)
    batch = [(torch.tensor(X), torch.tensor(Y))]
    params = list(module.parameters())
    for kind, operator in (("HessianLinearOperator", la.hessian), ("GGNLinearOperator", la.gauss_newton)):
        theirs_now = getattr(curvlinops, kind)(module, theirs, params, batch, check_deterministic=False)
        # every product of theirs is traced anew: all columns at once
        want = (theirs_now @ torch.eye(net.size, dtype=torch.float64)).detach().numpy()
        found = operator(net, X, Y, loss=ours)
        v = rng.standard_normal(net.size)
        assert np.abs(found @ v - want @ v).max() <= EXACT * np.abs(want @ v).max()
        values, ours_now = np.linalg.eigvalsh(want), np.linalg.eigvalsh(found.toarray())
        assert np.abs(ours_now - values).max() <= EXACT * values.max()


@pytest.mark.parametrize("make", [dense, convolutional])
@pytest.mark.parametrize("name", LOSSES)
def test_products_are_the_gradient_of_the_gradient_in_torch(name, make):
    ours, theirs, targets = LOSSES[name]
    net, module, X, rng = pair(make)
    Y = targets(rng, 9, 3)
    params = {key: value.detach() for key, value in module.named_parameters()}

    def loss(params):
        return theirs(torch.func.functional_call(module, params, torch.tensor(X)), torch.tensor(Y))

    flat = rng.standard_normal(net.size)
    at, V = 0, {}
    for key, value in params.items():
        V[key] = torch.tensor(flat[at : at + value.numel()]).reshape(value.shape)
        at += value.numel()
    # the Hessian is symmetric: back through the gradient is along it
    (product,) = torch.func.vjp(torch.func.grad(loss), params)[1](V)
    want = np.concatenate([h.numpy().ravel() for h in product.values()])
    assert np.abs(la.hessian(net, X, Y, loss=ours) @ flat - want).max() <= EXACT * np.abs(want).max()


def test_the_kernel_is_jaxs_jacobian_contracted():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        rng = np.random.default_rng(0)
        net = la.Network.dense([5, 6, 2, 3]).init("gaussian", rng=rng)
        X, X2 = rng.standard_normal((7, 5)), rng.standard_normal((4, 5))

        def outputs(params, rows):
            for W in params:
                rows = rows @ W.T
            return rows

        ours, theirs = (jax.jacobian(outputs)([jax.numpy.asarray(W) for W in net.params], jax.numpy.asarray(rows)) for rows in (X, X2))
        want = sum(np.einsum("aixy,bjxy->abij", np.asarray(J), np.asarray(M)) for J, M in zip(ours, theirs, strict=True))
    finally:
        jax.config.update("jax_enable_x64", before)
    assert np.abs(la.ntk(net, X, X2) - want).max() <= 1e-11 * np.abs(want).max()


def test_the_mean_kernel_at_width_three_is_that_at_every_width():
    """Entries of deviation `s / sqrt(k_{i-1})`: `E Theta(x, x') = sum_i (k_{i-1} / k_0) prod_{j != i} s_j^2 x.x' I` (T14.2)."""
    rng = np.random.default_rng(1)
    widths, scale, count = (4, 3, 3, 2), 0.8, 10_000
    x = rng.standard_normal((1, 4))
    found = np.empty(count)
    for t in range(count):
        Ws = [scale * rng.standard_normal((b, a)) / np.sqrt(a) for a, b in itertools.pairwise(widths)]
        found[t] = la.ntk_trace(la.Network.from_matrices(Ws), x)
    want = sum(k / widths[0] for k in widths[:-1]) * scale ** (2 * 2) * float(np.sum(x**2)) * widths[-1]
    assert abs(found.mean() - want) <= 3 * found.std() / np.sqrt(count)
