"""Reductions of networks with biases and of affine layers: the reduced run is the full one, and refusals are in a user's words.

The bound is that of `tests/oracles/reductions.py`: both runs take the same steps in exact arithmetic, and rounding adds up step by step.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linalign as la
from linalign.plan.planner import REDUCTIONS
from linalign.reduce.biases import homogeneous, join, separate
from linalign.reduce.width import RESIDUAL_TOLERANCE
from tests.examples import examples
from tests.oracles.reductions import EVERYTHING, STARTS, TOLERANCE, applied, assert_same, haar, problem, row
from tests.oracles.reductions import both as runs

pytestmark = pytest.mark.usefixtures("whatever_holds")

LOSSES = ("squared", "mse", "logistic", "cross_entropy")


def both(net, X, Y, reduce=REDUCTIONS, **options):
    """Rates that are stable beside a column of ones: `||[X 1]||^2 <= 25`, and layers of norms up to 2."""
    return runs(net, X, Y, lr=0.002, reduce=reduce, **options)


def biased(weights, biases):
    """The network of dense layers; None for no bias."""
    layers = [la.Dense(W.shape[1], W.shape[0], bias=b is not None) for W, b in zip(weights, biases, strict=True)]
    return la.Network(layers, join(weights, biases))


def affine_target(rng, k, n, rank, loss):
    """Data of this rank, which do not hold the vector of ones; the rates of the tests are for their norm."""
    X, Y, loss = problem(loss, rng, k, n, rank)
    return 0.5 * X, Y, loss


@pytest.mark.parametrize("options", [{}, {"momentum": 0.8, "weight_decay": 0.01}, {"update": "cyclic"}], ids=str)
@pytest.mark.parametrize("loss", LOSSES)
def test_inputs(loss, options):
    rng = np.random.default_rng(1)
    k = (11, 6, 7, 4)
    for biases in ((1, 1, 1), (0, 1, 0), (1, 0, 0), (0, 0, 1)):
        net = biased(
            STARTS["gaussian"](rng, k), [0.3 * rng.standard_normal(m) if there else None for m, there in zip(k[1:], biases, strict=True)]
        )
        X, Y, kind = affine_target(rng, k, 9, 5, loss)
        full, less = both(net, X, Y, loss=kind, reduce=["inputs"], record=EVERYTHING, steps=500, **options)
        assert applied(less) == ("inputs",)
        # rank(X) columns and the constant coordinate
        assert less.plan.widths_after == (6, 7, 8, 4)
        assert_same(full, less)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("size", "widths"), [(0.0, (5, 8, 8, 3)), (0.3, (5, 10, 10, 3))])
def test_width_holds_the_biases(size, widths, loss):
    # T16.3: zero biases cost nothing, generic ones a dimension each and their images: 20-30-30-3 to 4-7-7-3 and to 4-9-9-3
    rng = np.random.default_rng(2)
    k = (20, 30, 30, 3)
    W = STARTS["gaussian"](rng, k)
    W[1] = haar(rng, 30)
    net = biased(W, [size * rng.standard_normal(m) for m in k[1:]])
    X, Y, kind = affine_target(rng, k, 25, 4, loss)
    # without decay all that is recorded is taken of the small network
    full, less = both(net, X, Y, loss=kind, steps=100, momentum=0.5, record=EVERYTHING)
    assert_same(full, less)
    full, less = both(net, X, Y, loss=kind, steps=500, momentum=0.5, weight_decay=0.02)
    assert less.plan.widths_after == widths
    assert applied(less) == (("samples",) if kind in ("squared", "mse") else ()) + ("inputs", "width")
    assert row(less, "width").residual <= RESIDUAL_TOLERANCE
    assert row(less, "width").why.startswith("T8.1, T16.3: ")
    assert_same(full, less)


def test_a_closure_without_the_biases_is_no_reduction(monkeypatch):
    # the test above would see it
    from linalign.reduce import width

    rng = np.random.default_rng(2)
    k = (4, 30, 3)
    net = biased(STARTS["gaussian"](rng, k), [rng.standard_normal(m) for m in k[1:]])
    X, Y, _ = affine_target(rng, k, 8, 4, "squared")
    true = width.closure
    monkeypatch.setattr(width, "closure", lambda *args: true(*args[:-1]))
    report = row(la.explain(net, X, Y, reduce=["width"]), "width")
    assert not report.applied
    assert report.why.startswith("refused: nearly closed subspaces")


def test_outputs_shrink_where_targets_and_ones_reach_no_further():
    rng = np.random.default_rng(3)
    W = [rng.standard_normal((12, 3)) / 2, np.zeros((9, 12))]
    W[1][:2] = rng.standard_normal((2, 12)) / 4
    X, Y = rng.standard_normal((20, 3)) / 5, np.zeros((20, 9))
    Y[:, :2] = rng.standard_normal((20, 2)) / 5
    for column in (1, 4):
        # targets whose mean is in the closed subspace of the outputs, and such where it is not: Y^T 1 counts (T16.3)
        b = np.zeros(9)
        shifted = Y.copy()
        shifted[:, column] += 0.5
        net = biased(W, [np.zeros(12), b])
        full, less = both(net, X, shifted, reduce=["width"], steps=500)
        assert less.plan.widths_after == (4, 6, 2 + (column == 4))
        assert "T8.2, T16.3" in row(less, "width").why
        assert_same(full, less)


@examples(40)
@given(
    st.lists(st.integers(1, 7), min_size=2, max_size=5), st.integers(1, 6), st.sampled_from(LOSSES), st.integers(0, 2**5 - 1),
    st.sampled_from(["zero", "gaussian", "mixed"]), st.integers(0, 99),
)  # fmt: skip
def test_any_shape(k, n, loss, there, start, seed):
    rng = np.random.default_rng(seed)
    made = [0.3 * rng.standard_normal(m) * (start == "gaussian" or (start == "mixed" and i % 2)) for i, m in enumerate(k[1:])]
    net = biased(STARTS["gaussian"](rng, k), [b if there >> i & 1 else None for i, b in enumerate(made)])
    X, Y, kind = affine_target(rng, k, n, min(n, k[0]), loss)
    full, less = both(net, X, Y, loss=kind, steps=100, momentum=0.5, weight_decay=0.05)
    assert_same(full, less)


@pytest.mark.parametrize(
    "rule", [la.optim.SGD(momentum=0.9, nesterov=True), la.optim.NormalizedGD(), "clipped", "averaged", "batches", "sam"], ids=str
)
@pytest.mark.parametrize("kind", ["biases", "residual"])
def test_rules(rule, kind):
    rng = np.random.default_rng(4)
    k = (6, 6, 6, 3)
    W = [0.3 * w for w in STARTS["gaussian"](rng, k)]
    if kind == "biases":
        net = biased(W, [rng.standard_normal(m) / 5 for m in k[1:]])
    else:
        net = la.Network([la.Residual(la.Dense(6, 6)), la.Affine(la.Dense(6, 6), 0.5 * haar(rng, 6)), la.Dense(6, 3)], W)
    X, Y, _ = affine_target(rng, k, 5, 2, "squared")
    named = {"clipped": {"clip_norm": 0.01}, "averaged": {"average": 0.9}, "batches": {"batch": 3, "rng": 0}}
    options = named.get(rule, {"optimizer": rule})
    full, less = both(net, X, Y, steps=300, **options)
    assert "inputs" in applied(less)
    assert ("offsets" in applied(less)) == (kind == "residual")
    assert_same(full, less)
    if rule == "averaged":
        for a, b in zip(full.average.params, less.average.params, strict=True):
            np.testing.assert_allclose(a, b, atol=TOLERANCE)


def residual_network(rng, bias):
    B = haar(rng, 8)
    layers = [
        la.Residual(la.Dense(8, 8, bias=bias)),
        la.Affine(la.Dense(8, 8), B),
        la.Residual(la.Affine(la.Dense(8, 8, bias=bias), B)),
        la.Dense(8, 3),
    ]
    return la.Network(layers, [0.2 * rng.standard_normal(layer.param_shape) / 3 for layer in layers])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("bias", [False, True])
def test_affine_layers_over_dense_ones_are_dense_ones(bias, loss):
    rng = np.random.default_rng(5)
    net = residual_network(rng, bias)
    X, Y, kind = affine_target(rng, net.widths, 12, 3, loss)
    full, less = both(net, X, Y, loss=kind, record=EVERYTHING, steps=500)
    assert row(less, "offsets").what == "layers 1, 2, 3 -> dense"
    assert {"offsets", "inputs"} <= set(applied(less))
    assert_same(full, less)
    if not bias:
        assert less.plan.kernel_why.count("layers") == 0 or "tied" not in less.plan.kernel_why


def test_where_offsets_stay():
    rng = np.random.default_rng(6)
    net = residual_network(rng, False)
    X, Y, _ = affine_target(rng, net.widths, 12, 3, "squared")
    full, less = both(net, X, Y, steps=100, weight_decay=0.1)
    assert row(less, "offsets").why == "weight decay is of what is trained, not of the matrix (T16.4)"
    assert row(less, "inputs").why == "layer 1 is Residual, not dense"
    assert_same(full, less)
    plan = la.explain(net, X, Y, optimizer="adam", metric="parameters")
    assert row(plan, "offsets").why == "adam does not say that it reads gradients alone (T16.4)"
    with pytest.raises(StopIteration):
        row(la.explain(la.Network.dense([3, 2]).init("gaussian", rng=0), X[:, :3], Y[:, :2]), "offsets")


def test_refusals_are_in_a_users_words():
    rng = np.random.default_rng(7)
    net = la.Network([la.Conv2d((3, 2), 2, bias=True), la.Dense(6, 3, bias=True)]).init("gaussian", rng=0)
    X, Y, _ = affine_target(rng, net.widths, 12, 3, "squared")
    plan = la.explain(net, X, Y)
    assert "Homogeneous" not in str(plan)
    assert row(plan, "filters").why == "with biases the outputs are no sum of moves of the image alone"
    assert row(plan, "width").why == row(plan, "inputs").why == row(plan, "split").why == "layer 1 is Conv2d, not dense"
    net = biased(STARTS["gaussian"](rng, (6, 5, 3)), [np.ones(5), None])
    why = "it is proved for networks without biases (T8.3): the mean of the data ties the parts together"
    assert row(la.explain(net, X, Y), "split").why == why
    wide = rng.standard_normal((40, 6))
    assert row(la.explain(net, wide, rng.standard_normal((40, 3))), "inputs").why == "X has full rank 6"
    why = row(la.explain(net, wide, rng.standard_normal((40, 3))), "samples").why
    assert why == "T16.2: rank([X 1]) rows have the same loss up to a constant"


def test_plans_are_followed_and_saved(tmp_path):
    rng = np.random.default_rng(8)
    net = residual_network(rng, True)
    X, Y, _ = affine_target(rng, net.widths, 12, 3, "squared")
    run = la.train(net, X, Y, lr=1e-3, steps=200)
    again = la.train(net, X, Y, lr=1e-3, steps=200, plan=la.load(run.save(tmp_path / "run.npz")).plan)
    for a, b in zip(run.network.params, again.network.params, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_sweep_over_networks_with_and_without():
    """They share the data, and what is found in them: rows of X are not those of [X 1]."""
    rng = np.random.default_rng(10)
    X, Y = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 9)) / 20, rng.standard_normal((40, 2)) / 4

    def network(bias):
        return la.Network([la.Dense(9, 6, bias=bias), la.Dense(6, 2, bias=bias)]).init("gaussian", rng=0)

    swept = la.sweep(network, X, Y, grid={"bias": [False, True, False]}, lr=1e-3, steps=50, reduce=REDUCTIONS, keep_runs=True)
    for bias, run in zip([False, True, False], swept.runs, strict=True):
        full, less = runs(network(bias), X, Y, lr=1e-3, steps=50)
        assert run.plan.widths_after == less.plan.widths_after
        assert_same(full, run)


def test_weights_and_biases_come_apart_and_together():
    rng = np.random.default_rng(9)
    net = biased(STARTS["gaussian"](rng, (5, 4, 3)), [rng.standard_normal(4), None])
    X, Y, kind = affine_target(rng, net.widths, 7, 3, "squared")
    from linalign.problem.problem import make_problem

    chain = homogeneous(make_problem(net, X, Y, kind)).net
    weights, biases = separate(chain.layers, chain.params)
    for W, (a, b) in zip(weights, pairwise((5, 4, 3)), strict=True):
        assert W.shape == (b, a)
    assert biases[1] is None
    for theta, other in zip(join(weights, biases), net.params, strict=True):
        np.testing.assert_array_equal(theta, other)
