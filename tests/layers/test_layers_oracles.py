"""The layers against other people's code: torch's convolutions, scipy's matrices, pyfaust's projections; and T5.1."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.linalg

import linalign as la
from linalign import reference
from tests.oracles import pyfaust_child
from tests.oracles.layer_cases import GROUPED, SHARED, Span
from tests.required import oracle

pytestmark = pytest.mark.oracle
EPS = np.finfo(np.float64).eps

# ---- scipy -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (5, 5), (3, 6), (6, 2), (1, 4), (4, 1)])
def test_matrices_are_those_of_scipy(n_in, n_out):
    theta = np.random.default_rng(0).standard_normal(n_in + n_out - 1)
    want = scipy.linalg.toeplitz(theta[:n_out][::-1], theta[n_out - 1 :])
    assert np.array_equal(la.Toeplitz(n_in, n_out).matrix(theta), want)
    want = scipy.linalg.hankel(theta[:n_out], theta[n_out - 1 :])
    assert np.array_equal(la.Hankel(n_in, n_out).matrix(theta), want)
    assert np.array_equal(la.Circulant(len(theta)).matrix(theta), scipy.linalg.circulant(theta))
    # anti-circulant: a circulant whose columns are in the other order, after the first
    mirrored = scipy.linalg.circulant(theta)[:, (-np.arange(len(theta))) % len(theta)]
    assert np.array_equal(la.AntiCirculant(len(theta)).matrix(theta), mirrored)
    blocks = [np.random.default_rng(1).standard_normal(shape) for shape in ((n_out, n_in), (2, 3), (n_in, n_out))]
    layer = la.BlockDiagonal([(B.shape[1], B.shape[0]) for B in blocks])
    assert np.array_equal(layer.matrix(np.concatenate([B.ravel() for B in blocks])), scipy.linalg.block_diag(*blocks))


# ---- torch -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    """With one thread: products this small wait longer for a second one than they take."""
    module = oracle("torch")
    before = module.get_num_threads()
    module.set_num_threads(1)
    yield module
    module.set_num_threads(before)


def torch_conv(layer, image, theta):
    """The convolution in torch's own words; where it has none for a padding, with the image padded first."""
    import torch.nn.functional as F

    sizes, strides = layer.kernel_size, layer.stride
    axes = 1 if isinstance(layer, la.Conv1d) else 2
    sizes, strides = ((sizes,), (strides,)) if axes == 1 else (sizes, strides)
    conv = (F.conv1d, F.conv2d)[axes - 1]
    if layer.padding == "valid":
        return conv(image, theta, stride=strides)
    if layer.padding == "same" and set(strides) == {1}:
        return conv(image, theta, padding="same")
    ends = [n for k in reversed(sizes) for n in ((k - 1) // 2, k - 1 - (k - 1) // 2)]
    mode = {"mode": "circular"} if layer.padding == "circular" else {}
    return conv(F.pad(image, ends, **mode), theta, stride=strides)


def convolutions():
    for padding, size, kernel, stride in itertools.product(("same", "valid", "circular"), (4, 7), (1, 2, 3, 4), (1, 2, 3)):
        for channels in ((1, 1), (3, 2)):
            yield la.Conv1d(size, kernel, *channels, padding, stride)
    shapes = [
        ((5, 6), (3, 3), (1, 1)),
        ((6, 5), (2, 3), (1, 1)),
        ((5, 5), (4, 1), (1, 2)),
        ((7, 6), (3, 4), (2, 3)),
        ((3, 4), (3, 4), (1, 1)),
    ]
    for padding, (image, kernel, stride), channels in itertools.product(("same", "valid", "circular"), shapes, ((1, 1), (2, 3))):
        yield la.Conv2d(image, kernel, *channels, padding, stride)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("layer", list(convolutions()), ids=repr)
def test_convolutions_and_their_gradients_are_those_of_torch(torch, layer):
    rng = np.random.default_rng(0)
    image = (layer.length,) if isinstance(layer, la.Conv1d) else layer.image
    x, theta = rng.standard_normal((3, layer.in_channels, *image)), rng.standard_normal(layer.param_shape)
    tx, ttheta = (torch.tensor(v, requires_grad=True) for v in (x, theta))
    out = torch_conv(layer, tx, ttheta)
    D = rng.standard_normal(tuple(out.shape))
    (out * torch.tensor(D)).sum().backward()
    rows, above = x.reshape(3, -1), D.reshape(3, -1)
    assert layer.shape == (above.shape[1], rows.shape[1])
    for mine, theirs in (
        (layer.apply(theta, rows), out.detach().numpy().reshape(3, -1)),
        (layer.adjoint(theta, above), tx.grad.numpy().reshape(3, -1)),
        (layer.grad(above, rows), ttheta.grad.numpy()),
        (rows @ layer.matrix(theta).T, out.detach().numpy().reshape(3, -1)),
    ):
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs).max() <= 1e-12 * max(1.0, np.abs(theirs).max())


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("implementation", ["kernel", "reference"])
def test_gradient_descent_on_the_parameters_is_torch_sgd(torch, implementation):
    net = la.Network(
        [
            la.Conv2d((6, 5), 3, 1, 2),
            la.Conv2d((6, 5), (2, 3), 2, 2, "circular"),
            la.Conv2d((6, 5), 3, 2, 1, "valid", (1, 2)),
            la.Dense(8, 3),
        ]
    ).init("xavier", rng=0)
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((9, 30)), rng.standard_normal((9, 3))
    run = la.train(net, X, Y, lr=0.01, steps=1000, metric="parameters", momentum=0.5, loss="mse", implementation=implementation)
    model = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 6, 5)),
        torch.nn.Conv2d(1, 2, 3, padding="same", bias=False),
        torch.nn.Conv2d(2, 2, (2, 3), padding="same", padding_mode="circular", bias=False),
        torch.nn.Conv2d(2, 1, 3, stride=(1, 2), bias=False),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 3, bias=False),
    ).double()
    weights = list(model.parameters())
    with torch.no_grad():
        for theirs, mine in zip(weights, net.params, strict=True):
            theirs.copy_(torch.tensor(mine))
    sgd, losses = torch.optim.SGD(weights, lr=0.01, momentum=0.5), []
    inputs, targets = torch.tensor(X), torch.tensor(Y)
    for _ in range(1000):
        sgd.zero_grad()
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        losses.append(loss.item())
        sgd.step()
    assert losses[-1] < 0.5 * losses[0]
    assert np.abs(run.loss[:-1] - losses).max() <= 1e-9 * losses[0]
    for theirs, mine in zip(weights, run.network.params, strict=True):
        assert np.abs(theirs.detach().numpy() - mine).max() <= 1e-9 * np.abs(mine).max()


# ---- pyfaust ---------------------------------------------------------------------------------------------------------------

PYFAUST = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from pyfaust import proj
given = dict(np.load(sys.argv[1]))
found = {}
for name in ("square", "wide", "tall"):
    M = np.asfortranarray(given[name])
    mask = np.asfortranarray(given["mask_" + name])
    made = {
        "toeplitz": proj.toeplitz(M.shape, normalized=False),
        "hankel": proj.hankel(M.shape, normalized=False),
        "masked": proj.supp(mask, normalized=False),
        "blocks": proj.blockdiag(M.shape, [(2, 3), (M.shape[0] - 2, M.shape[1] - 3)], normalized=False),
    }
    if name == "square":
        made["circulant"] = proj.circ(M.shape, normalized=False)
        made["anticirculant"] = proj.anticirc(M.shape, normalized=False)
        made["diagonal"] = proj.supp(np.asfortranarray(np.eye(len(M))), normalized=False)
    found |= {name + "_" + key: np.array(p(M)) for key, p in made.items()}
np.savez(sys.argv[2], **found)
"""


@pytest.fixture(scope="module")
def pyfaust_projections(tmp_path_factory):
    """Matrices and what pyfaust makes of them. In a child: it may abort the interpreter."""
    rng = np.random.default_rng(0)
    given = {name: rng.standard_normal(shape) for name, shape in {"square": (6, 6), "wide": (4, 7), "tall": (8, 5)}.items()}
    given |= {f"mask_{name}": (rng.random(M.shape) < 0.4).astype(float) for name, M in given.items()}
    return given, pyfaust_child.ask(PYFAUST, given, tmp_path_factory.mktemp("pyfaust"))


@pytest.mark.parametrize("name", ["square", "wide", "tall"])
def test_projections_are_those_of_pyfaust(pyfaust_projections, name):
    given, found = pyfaust_projections
    M = given[name]
    n_out, n_in = M.shape
    layers = {
        "toeplitz": la.Toeplitz(n_in, n_out),
        "hankel": la.Hankel(n_in, n_out),
        "masked": la.Masked(given[f"mask_{name}"] != 0),
        "blocks": la.BlockDiagonal([(3, 2), (n_in - 3, n_out - 2)]),
    }
    if name == "square":
        layers |= {"circulant": la.Circulant(6), "anticirculant": la.AntiCirculant(6), "diagonal": la.Diagonal(6)}
    assert {f"{name}_{key}" for key in layers} == {key for key in found if key.startswith(name)}
    for key, layer in layers.items():
        mine = layer.matrix(la.project(M, layer))
        assert np.abs(mine - found[f"{name}_{key}"]).max() <= 2 * max(M.shape) * EPS * np.abs(M).max()


# ---- T5.1: gradient descent on the parameters against projected gradient descent --------------------------------------------

EQUAL = {
    "dense": la.Dense(6, 6),
    "circulant": la.Circulant(6),
    "anticirculant": la.AntiCirculant(6),
    "diagonal": la.Diagonal(6),
    "blocks": la.BlockDiagonal([(2, 4), (4, 2)]),
    "masked": la.Masked(np.tri(6, dtype=bool)),
    "skew": la.Skew(6),
    "grouped": la.Tied(GROUPED),
    "circular": la.Conv1d(6, 4, padding="circular"),
    "circular strided": la.Conv2d((4, 4), (3, 2), 1, 2, "circular", (2, 3)),
    "valid": la.Conv2d((5, 4), (2, 3), 2, 2, "valid"),
    "valid strided": la.Conv1d(9, 3, 2, 2, "valid", 2),
    "scaled": la.Scaled(np.arange(6.0).reshape(2, 3)),
}
UNEQUAL = {
    "toeplitz": la.Toeplitz(5, 3),
    "hankel": la.Hankel(3, 4),
    "symmetric": la.Symmetric(4),
    "padded": la.Conv1d(6, 3),
    "padded, 2 axes": la.Conv2d((4, 5), (3, 2), 2, 1),
    "padded, strided": la.Conv2d((4, 5), 3, 1, 2, "same", 2),
    "tied": la.Tied(SHARED),
    "subspace": la.Subspace(np.random.default_rng(0).standard_normal((4, 3, 3)) + 1),
}


def problem(layer):
    """The layer between two dense ones, with data and a squared loss."""
    n_out, n_in = layer.shape
    net = la.Network([la.Dense(3, n_in), layer, la.Dense(n_out, 2)]).init("gaussian", rng=0)
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    return net, X, Y


def trained(net, X, Y, steps, lr, metric, momentum=0.0, decay=(0.0, 0.0, 0.0)):
    """The reference's matrices and losses."""
    objective = lambda F: reference.squared(F, Y, 0.5)  # noqa: E731
    lr, decay = np.array(lr), np.array(decay)
    params, loss = reference.train(net.layers, list(net.params), X, objective, steps, lr, momentum, decay, "simultaneous", metric)
    return net.with_params(params).matrices(), loss


def by_hand(net, X, Y, steps, lr, operator):
    """`W_i <- W_i - lr operator_i(dL/dW_i)` with plain matrices."""
    W1, W2, W3 = net.matrices()
    for _ in range(steps):
        G = (X @ (W3 @ W2 @ W1).T - Y).T @ X
        gradients = ((W3 @ W2).T @ G, W3.T @ G @ W1.T, G @ (W2 @ W1).T)
        W1, W2, W3 = (W - lr * f(g) for W, f, g in zip((W1, W2, W3), operator, gradients, strict=True))
    return [W1, W2, W3]


def same(G):
    return G


def gap(mine, theirs):
    return max(np.abs(a - b).max() for a, b in zip(mine, theirs, strict=True))


def small_rate(net, X):
    """A rate that is stable for the largest multiplicity; any other would do."""
    return 0.02 / max(float(np.max(layer.multiplicity)) for layer in net.layers) / np.linalg.norm(X, 2)


@pytest.mark.parametrize("layer", [*EQUAL.values(), *UNEQUAL.values()], ids=[*EQUAL, *UNEQUAL])
def test_the_two_metrics_are_what_the_theorem_says(layer):
    """`W' = W - lr A A^T grad` for the parameters, `W' = W - lr Pi grad` for the matrix."""
    net, X, Y = problem(layer)
    lr = small_rate(net, X)
    vectors = Span(layer).basis.reshape(layer.size, -1).astype(float).T
    Q = np.linalg.qr(vectors)[0]
    for metric, P in (("parameters", vectors @ vectors.T), ("matrix", Q @ Q.T)):
        matrices, loss = trained(net, X, Y, 60, [lr] * 3, metric)
        want = by_hand(net, X, Y, 60, lr, (same, lambda G, P=P: (P @ G.ravel()).reshape(layer.shape), same))
        assert loss[-1] < loss[0]
        # sixty steps of a few products of sums of at most 60 terms
        assert gap(matrices, want) <= 60 * 100 * EPS * max(np.abs(W).max() for W in want)


@pytest.mark.parametrize("layer", EQUAL.values(), ids=EQUAL)
def test_the_metrics_agree_where_the_multiplicities_are_equal(layer):
    net, X, Y = problem(layer)
    c = layer.multiplicity.ravel()[0]
    assert np.all(layer.multiplicity == c)
    lr = small_rate(net, X)
    # projected gradient descent takes c times the rate, and the same decay each step
    parameters, loss = trained(net, X, Y, 200, [lr] * 3, "parameters", 0.5, [0.01, 0.01, 0.01])
    matrix, same_loss = trained(net, X, Y, 200, [lr, c * lr, lr], "matrix", 0.5, [0.01, 0.01 / c, 0.01])
    assert gap(parameters, matrix) <= 200 * 100 * EPS * max(np.abs(W).max() for W in matrix)
    assert np.abs(loss - same_loss).max() <= 200 * 100 * EPS * loss[0]


@pytest.mark.parametrize("layer", UNEQUAL.values(), ids=UNEQUAL)
def test_the_metrics_differ_by_the_preconditioner_where_they_are_not(layer):
    net, X, Y = problem(layer)
    lr = small_rate(net, X)
    span = Span(layer)
    vectors = span.basis.reshape(layer.size, -1).astype(float).T
    eigenvalues = np.linalg.eigvalsh(span.gram.astype(float))
    assert eigenvalues[0] < 0.99 * eigenvalues[-1]
    W3, W1 = net.params[2], net.params[0]
    gradient = (W3.T @ ((X @ net.matrix().T - Y).T @ X) @ W1.T).ravel()
    projection = np.linalg.qr(vectors)[0]
    # whatever rate projected gradient descent takes, one step of it is not one step on the parameters
    start = net.params[1]
    for c in (eigenvalues[0], np.mean(eigenvalues), eigenvalues[-1]):
        on_parameters = trained(net, X, Y, 1, [lr] * 3, "parameters")[0][1]
        on_matrix = trained(net, X, Y, 1, [lr, c * lr, lr], "matrix")[0][1]
        predicted = -lr * (vectors @ (vectors.T @ gradient) - c * (projection @ (projection.T @ gradient))).reshape(layer.shape)
        assert np.abs(on_parameters - on_matrix - predicted).max() <= 100 * EPS * np.abs(on_matrix).max()
        assert np.abs(predicted).max() > 1e-3 * np.abs(on_matrix - layer.matrix(start)).max()
    # with its own rate for each parameter, gradient descent on them is projected gradient descent again
    if np.count_nonzero(span.gram) == layer.size:
        params = list(net.params)
        for _ in range(50):
            grads = reference.gradients(net.layers, params, X, lambda F: reference.squared(F, Y, 0.5))[1]
            rates = [lr, lr / layer.multiplicity, lr]
            params = [theta - rate * g for theta, rate, g in zip(params, rates, grads, strict=True)]
        want = trained(net, X, Y, 50, [lr] * 3, "matrix")[0]
        assert gap(net.with_params(params).matrices(), want) <= 50 * 100 * EPS * max(np.abs(W).max() for W in want)
