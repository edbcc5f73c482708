"""Biases and affine layers: against torch, against the explicit matrices, and the kernel against the reference."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import linalign as la
from linalign.layers.homogeneous import Homogeneous
from linalign.layers.words import parse, spell
from linalign.problem.problem import make_problem
from linalign.reduce.biases import homogeneous
from tests.oracles.checks import ReferenceEngine, check_gradients, check_steps, compare, isas
from tests.oracles.extended import LD
from tests.oracles.layer_cases import LAYERS, Span, from_form
from tests.oracles.reductions import applied, assert_same, both
from tests.oracles.structured_cases import StructuredCase, curvature, descent_of, drift, spans_of, structured_engine


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


MASK = np.arange(20).reshape(4, 5) % 3 > 0
NETWORKS = {
    "dense": [la.Dense(5, 4, bias=True), la.Dense(4, 3, bias=True)],
    "some": [la.Dense(5, 4), la.Toeplitz(4, 6), la.layers.Biased(la.Dense(6, 2))],
    "conv": [la.Conv2d((3, 4), 3, 1, 2, bias=True), la.Dense(24, 3, bias=True)],
    "conv-valid": [la.Conv1d(7, 3, 2, 3, "valid", 2, bias=True), la.Conv1d(3, 2, 3, 2, "circular", bias=True)],
    "structures": [
        la.layers.Biased(la.Masked(MASK)), la.layers.Biased(la.Skew(4)), la.layers.Biased(la.Diagonal(4)),
        la.layers.Biased(la.BlockDiagonal([(2, 3), (2, 1)])), la.layers.Biased(la.Subspace(drawn(1, 3, 2, 4))),
        la.layers.Biased(la.Fixed(drawn(2, 3, 2))), la.Fixed(drawn(3, 2, 3)),
    ],
    "residual": [la.Residual(la.Dense(4, 4)), la.Residual(la.Circulant(4)), la.Dense(4, 2)],
    "affine": [
        la.Affine(la.Masked(MASK), 0.2 * drawn(4, 4, 5)), la.Affine(la.Fixed(0.3 * drawn(5, 4, 4)), 0.1 * np.ones((4, 4))),
        la.Affine(la.Subspace(drawn(6, 3, 4, 4)), 0.2 * np.tri(4)), la.Affine(la.Residual(la.Skew(4)), 0.1 * np.ones((4, 4))),
    ],
    "both": [
        la.Residual(la.Conv2d((2, 3), (1, 3), bias=True)), la.Affine(la.Dense(6, 5, bias=True), np.eye(5, 6)),
        la.Residual(la.layers.Biased(la.Subspace(drawn(7, 3, 5, 5)))), la.Dense(5, 2),
    ],
}  # fmt: skip


def network(name, dtype=np.float64):
    net = la.Network(NETWORKS[name])
    rng = np.random.default_rng(3)
    return net.with_params([0.4 * rng.standard_normal(layer.param_shape) for layer in net.layers]).astype(dtype)


def data(net, n=9):
    rng = np.random.default_rng(5)
    return rng.standard_normal((n, net.widths[0])).astype(net.dtype), rng.standard_normal((n, net.widths[-1])).astype(net.dtype)


def by_hand(net, X, of=np.asarray):
    """The outputs; with `of=np.abs` what bounds them."""
    rows = of(X)
    for W, b in zip(net.matrices(), net.biases(), strict=True):
        rows = rows @ of(W).T + (0 if b is None else of(b))
    return rows


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_its_matrices_and_biases(name):
    net = network(name)
    X, _ = data(net)
    # sums of k_i products a layer, in any order: each entry is off by as many roundings of what its absolute values add up to
    roundings = 2 * sum(k + 4 for k in net.widths) * np.finfo(float).eps
    size = by_hand(net, X, np.abs)
    for found in (net(X), X @ net.matrix().T + net.constant(), net.collapse()(X)):
        compare("outputs", found, by_hand(net, X), roundings * size)
    assert net.collapse().depth == 1


@pytest.mark.parametrize("inner", [*LAYERS, *NETWORKS["affine"], *NETWORKS["residual"]], ids=repr)
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_homogeneous_layers_are_their_matrices(inner, last, biased):
    h = Homogeneous(la.layers.Biased(inner) if biased else inner, last)
    span, rng = Span(h), np.random.default_rng(1)
    theta = rng.standard_normal(h.param_shape)
    A, D = rng.standard_normal((4, h.shape[1])), rng.standard_normal((4, h.shape[0]))
    assert h.matrix(theta).shape == h.shape
    compare("apply", h.apply(theta, A), *span.apply(theta, A))
    compare("adjoint", h.adjoint(theta, D), *span.adjoint(theta, D))
    compare("gradient", h.grad(D, A), *span.grad(D, A))
    M = rng.standard_normal(h.shape)
    compare("coordinates", h.coordinates(M), *span.coordinates(M))
    squares = np.array([np.sum(A_k**2) for A_k in span.basis], dtype=LD).reshape(h.param_shape)
    compare("multiplicity", h.multiplicity, squares, span.roundings(int(np.prod(h.shape))) * squares)


@pytest.mark.parametrize("inner", LAYERS, ids=repr)
def test_forms_of_biased_and_shifted_layers_say_their_matrix(inner):
    rng = np.random.default_rng(2)
    shifted = la.Affine(inner, rng.standard_normal(inner.shape))
    for layer in (
        shifted,
        Homogeneous(la.layers.Biased(inner), False),
        Homogeneous(la.layers.Biased(shifted), True),
        Homogeneous(inner, False),
    ):
        theta = rng.standard_normal(layer.param_shape)
        found = from_form(layer.form, theta, layer.shape) + layer.form.arrays.get("offset", 0)
        span = Span(layer)
        W, size = span.matrix(theta)
        compare("matrix", found, W, span.roundings(1) * size)


def neutral(case, steps):
    """What the roundings of two programs add up to where steps neither magnify nor damp them: a gradient's a step (`Case.gamma`)."""
    return 2 * steps * case.gamma * max(float(np.abs(theta).max(initial=0)) for theta in case.problem.net.params)


def case_of(name, loss="squared", dtype=np.float64, metric="parameters"):
    """The problem that the kernels are given, and its exact step with derived bounds."""
    net = network(name, dtype)
    X, Y = data(net)
    Y = np.sign(Y) if loss in ("logistic", "exponential") else np.argmax(Y, axis=1) if loss == "cross_entropy" else Y
    problem = homogeneous(make_problem(net, X, Y, loss))
    return StructuredCase(problem, metric, spans_of(problem.net.layers, dtype))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("metric", ["matrix", "parameters"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_step_is_the_exact_one_from_every_pivot(name, metric, dtype):
    case = case_of(name, "squared", dtype, metric)
    how = descent_of(case, 1e-3, 0.5, 0.1)
    for isa in isas():
        for pivot in range(case.depth + 1):
            check_steps(structured_engine(isa, pivot), case, how)
        check_steps(structured_engine(isa), case, descent_of(case, 1e-3, 0.5, 0.1, "cyclic"))
    if dtype is np.float64:
        check_steps(ReferenceEngine, case, how)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("metric", ["matrix", "parameters"])
def test_runs_of_kernel_and_reference_drift_by_rounding(name, metric):
    net, steps = network(name), 30
    X, Y = data(net)
    case = case_of(name, metric=metric)
    # steps that move, and magnify what is off by some tens of percent in all
    lr = 0.01 / curvature(case, net.params)
    off, loss_off = drift(case, descent_of(case, lr, 0.5, 0.1), steps)
    options = {"lr": lr, "steps": steps, "metric": metric, "momentum": 0.5, "weight_decay": 0.1}
    want = la.train(net, X, Y, implementation="reference", **options)
    moved = max(np.abs(a - b).max(initial=0) for a, b in zip(want.network.params, net.params, strict=True))
    assert off < 1e-2 * moved  # it says something
    for reduce, pivot in [("auto", "auto"), *(("none", pivot) for pivot in range(net.depth + 1))]:
        run = la.train(net, X, Y, reduce=reduce, pivot=pivot, **options)
        for a, b in zip(run.network.params, want.network.params, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=off)
        np.testing.assert_allclose(run.loss, want.loss, rtol=0, atol=loss_off)


@pytest.mark.parametrize("loss", ["mse", "logistic", "exponential", "cross_entropy"])
@pytest.mark.parametrize("name", ["dense", "conv", "both"])
def test_every_loss_of_the_outputs(loss, name):
    case = case_of(name, loss)
    for pivot in range(case.depth + 1):
        check_gradients(structured_engine("base", pivot), case)
    check_gradients(ReferenceEngine, case)
    net = network(name)
    T = np.argmax(case.problem.T, axis=1) if loss == "cross_entropy" else case.problem.T
    value, gradients = la.value_and_grad(net, data(net)[0], T, loss=loss)
    exact, dL, wanted, bounds = case.exact
    assert abs(value - exact) <= dL
    for i, found in enumerate(gradients):
        compare(f"gradient of layer {i + 1}", found, wanted[i], bounds[i])


@pytest.mark.parametrize("how", ["kernel", "reference"])
def test_a_thousand_steps_of_torch(how):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3, padding="same"), torch.nn.Flatten(), torch.nn.Linear(60, 3)).double()
    X, Y = torch.randn(12, 2, 4, 5, dtype=torch.float64), torch.randn(12, 3, dtype=torch.float64)
    layers = [la.Conv2d((4, 5), 3, 2, 3, bias=True), la.Dense(60, 3, bias=True)]
    parameters = [p.detach().numpy().copy() for p in module.parameters()]
    net = la.Network(layers, [layers[0].join(*parameters[:2]), layers[1].join(*parameters[2:])])
    rows = X.reshape(12, -1).numpy()
    compare(
        "outputs",
        net(rows),
        module(X).detach().numpy(),
        2 * sum(k + 4 for k in net.widths) * np.finfo(float).eps * by_hand(net, rows, np.abs),
    )
    optimizer, losses = torch.optim.SGD(module.parameters(), lr=1e-2, momentum=0.5), []
    for _ in range(1000):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(module(X), Y)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    run = la.train(net, rows, Y.numpy(), loss="mse", lr=1e-2, momentum=0.5, steps=1000, metric="parameters", implementation=how)
    # 1e-9 is what is asked for; rounding that steps neither magnify nor damp adds up to less
    problem = homogeneous(make_problem(net, rows, Y.numpy(), "mse"))
    assert neutral(StructuredCase(problem, "parameters", spans_of(problem.net.layers, np.float64)), 1000) < 1e-9
    np.testing.assert_allclose(run.loss[:-1], losses, rtol=1e-9)
    found = [part for layer, theta in zip(layers, run.network.params, strict=True) for part in layer.separate(theta)]
    for a, b in zip(found, module.parameters(), strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), atol=1e-9)


def test_fewer_rows_stand_for_the_samples():
    net = network("dense")
    X, Y = data(net, 200)
    full, less = both(net, X, Y, reduce=["samples"], lr=1e-4, steps=300, momentum=0.9, weight_decay=0.05)
    assert applied(less) == ("samples",)
    assert less.plan.rows_after == 6
    assert_same(full, less)
    assert "T16.2" in str(less.plan)


def test_a_residual_dense_layer_is_a_dense_one_started_beside_the_identity():
    rng = np.random.default_rng(4)
    W = [0.3 * rng.standard_normal((4, 4)), 0.5 * rng.standard_normal((2, 4))]
    X, Y = rng.standard_normal((7, 4)), rng.standard_normal((7, 2))
    net = la.Network([la.Residual(la.Dense(4, 4)), la.Dense(4, 2)], W)
    other = la.Network.dense([4, 4, 2], [np.eye(4) + W[0], W[1]])
    problem = make_problem(other, X, Y, "squared")
    off = neutral(StructuredCase(problem, "parameters", spans_of(other.layers, np.float64)), 100)
    for reduce in ("none", "auto"):
        residual, dense = (la.train(start, X, Y, lr=1e-2, steps=100, reduce=reduce) for start in (net, other))
        np.testing.assert_allclose(residual.loss, dense.loss, rtol=off, atol=off * dense.loss[0])
        np.testing.assert_allclose(residual.network.matrices()[0], dense.network.matrices()[0], rtol=0, atol=off)


@pytest.mark.parametrize("name", NETWORKS)
def test_saved_and_loaded_copied_and_pickled(name, tmp_path):
    net = network(name)
    X, Y = data(net)
    run = la.train(net, X, Y, lr=1e-3, steps=3, record={"alignment": 1, "gradient_norm": 1})
    again = la.load(run.save(tmp_path / "run.npz"))
    assert again.network.layers == net.layers
    for a, b in zip(again.network.params, run.network.params, strict=True):
        np.testing.assert_array_equal(a, b)
    assert str(again.plan) == str(run.plan)
    for layer in net.layers:
        for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert twin == layer
            assert repr(twin) == repr(layer)


def test_recorded_gradients_hold_those_of_the_biases():
    net = network("both")
    X, Y = data(net)
    kept = []
    la.train(net, X, Y, lr=1e-3, steps=1, record={"g": (1, lambda network, state: kept.append(state.gradients) or 0.0)})
    _, _, wanted, bounds = case_of("both").exact
    for i, found in enumerate(kept[0]):
        compare(f"gradient of layer {i + 1}", found, wanted[i], bounds[i])


def test_starts():
    layers = [la.Conv2d(4, 3, 1, 2, bias=True), la.Dense(32, 5, bias=True), la.Residual(la.Dense(5, 5))]
    plain = [la.Conv2d(4, 3, 1, 2), la.Dense(32, 5), la.Dense(5, 5)]
    net, want = la.Network(layers).init("gaussian", rng=0), la.Network(plain).init("gaussian", rng=0)
    for i in (0, 1):
        np.testing.assert_array_equal(net.matrices()[i], want.matrices()[i])
        assert not net.biases()[i].any()
    np.testing.assert_array_equal(net.matrices()[2], np.eye(5) + want.matrices()[2])
    drawn = la.Network(layers).init("gaussian", rng=0, bias="torch")
    for i, fan_in in ((0, 9), (1, 32)):
        np.testing.assert_array_equal(drawn.matrices()[i], net.matrices()[i])
        assert 0 < np.abs(drawn.biases()[i]).max() <= 1 / np.sqrt(fan_in)
    chain = la.Network([la.Residual(la.Dense(4, 4)), la.Dense(4, 3, bias=True)]).init("balanced", matrix=np.ones((3, 4)), rng=0)
    # two factors of a matrix of norm sqrt(12), each with a few dozen roundings
    np.testing.assert_allclose(chain.matrix(), np.ones((3, 4)), atol=100 * np.finfo(float).eps * np.sqrt(12))
    with pytest.raises(ValueError, match="bias is 'none'; one of 'zero', 'torch' was wanted"):
        la.Network(layers).init("zero", bias="none")


def test_words_and_repr():
    layers = parse("residual conv 3x3 bias, conv 3x3 2 channels bias, dense 10 bias", (4, 4), 10)
    assert layers == [la.Residual(la.Conv2d(4, 3, bias=True)), la.Conv2d(4, 3, 1, 2, bias=True), la.Dense(32, 10, bias=True)]
    assert parse(spell(layers), (4, 4), 10) == layers
    assert repr(la.Dense(3, 4, bias=True)) == "Dense(n_in=3, n_out=4, bias=True)"
    assert repr(la.Residual(la.Dense(3, 3))) == "Residual(Dense(n_in=3, n_out=3))"
    assert la.Dense(3, 4, bias=False) == la.Dense(3, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: la.Dense(3, 4, bias="yes"), "bias is 'yes'; True or False was wanted"),
        (lambda: la.Residual(la.Dense(3, 4)), "3 inputs and 4 outputs; a residual layer needs as many of both"),
        (lambda: la.Affine(la.Dense(3, 4), np.ones((3, 4))), r"offset has shape \(3, 4\); Dense\(n_in=3, n_out=4\) has matrices of shape \(4, 3\)"),
        (lambda: la.Affine(3, np.ones((3, 4))), "layer is int; a layer such as"),
        (lambda: la.layers.Biased(la.Dense(3, 4, bias=True)), "which has a bias already"),
        (lambda: parse("residual dense 3", (4,)), "a residual layer needs as many of both"),
        (lambda: la.train(network("dense"), None, np.ones((3, 5)), lr=0.1, steps=1), r"X is None, .* layers\[0\], .* has a bias"),
        (lambda: la.train(network("dense"), la.compress([data(network("dense"))]), lr=0.1, steps=1), r"X is Compressed but layers\[0\]"),
        (lambda: la.train(network("dense"), None, None, loss=la.losses.Entries([0], [0], [1.0]), lr=0.1, steps=1), "function of the product alone"),
        (lambda: la.theory.obstruction(la.Residual(la.Circulant(4))), "proved for linear layers, without offset or bias"),
        (lambda: la.theory.certify(network("dense"), *data(network("dense"))), "has a bias in layers"),
    ],
)  # fmt: skip
def test_refusals(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_scores_are_those_of_the_matrices():
    net = network("both")
    assert homogeneous(make_problem(net, *data(net), "squared")).net.widths == (7, 7, 6, 6, 2)
    np.testing.assert_array_equal(la.alignment(net), la.alignment(net.matrices()))
    np.testing.assert_array_equal(la.balancedness(net), la.balancedness(net.matrices()))


@pytest.mark.parametrize(
    "options", [{"optimizer": "adam"}, {"clip_norm": 0.5}, {"batch": 4, "rng": 0}, {"optimizer": "normalized_gd"}], ids=str
)
@pytest.mark.parametrize("name", ["conv", "affine", "both"])
@pytest.mark.parametrize("metric", ["matrix", "parameters"])
def test_other_rules_and_batches(name, options, metric):
    if metric == "matrix" and options.get("optimizer") == "adam":
        pytest.skip("a coordinatewise rule has no metric of matrices")
    net = network(name)
    X, Y = data(net)
    runs = [la.train(net, X, Y, lr=1e-3, steps=10, metric=metric, implementation=how, **options) for how in ("kernel", "reference")]
    # a step is no longer, entry by entry, than `lr` times the gradient or one, and off by the relative rounding of what the rule
    # divides by: entries of the gradient for Adam, its norm else; twice that for what is divided too, and once more for two programs
    case = case_of(name, metric=metric)
    _, _, gradients, bounds = case.exact
    trained = [(g.ravel().astype(float), bound.ravel().astype(float)) for g, bound in zip(gradients, bounds, strict=True) if g.size]
    if options.get("optimizer") == "adam":
        ratio = max(np.max(bound / np.abs(g)) for g, bound in trained)
    else:
        ratio = max(np.linalg.norm(bound) / np.linalg.norm(g) for g, bound in trained)
    path = 10 * 1e-3 * max(1.0, *(np.abs(g).max() for g, _ in trained))
    for a, b, theta in zip(runs[0].network.params, runs[1].network.params, net.params, strict=True):
        largest = np.abs(theta).max(initial=0)
        np.testing.assert_allclose(a, b, rtol=0, atol=4 * ratio * path + 20 * case.u * largest)


def test_muon_refuses_what_is_no_plain_matrix():
    net = network("dense")
    with pytest.raises(ValueError, match="layer 1 is .* but muon turns matrices of dense layers"):
        la.train(net, *data(net), lr=1e-3, steps=1, optimizer="muon", metric="parameters")
