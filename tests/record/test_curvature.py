"""Curvature along a run, under every kind of plan, is that of the networks that stand there."""

from __future__ import annotations

import numpy as np
import pytest

import linalign as la
from linalign.record.curvature import TOLERANCE

NAMES = ("sharpness", "edge", "hessian_eigenvalues", "gauss_newton_top", "ntk_trace", "kernel_distance")
PLANS = {
    "as given": ([la.Dense(6, 5), la.Dense(5, 3)], {"reduce": "none"}, 20),
    "all reductions": ([la.Dense(40, 30), la.Dense(30, 3)], {"reduce": ["samples", "inputs", "width"]}, 8),
    "batches": ([la.Dense(6, 5), la.Dense(5, 3)], {"batch": 4, "rng": 0}, 20),
    "momentum": ([la.Dense(6, 5), la.Dense(5, 3)], {"momentum": 0.5}, 20),
    "convolution": ([la.Conv1d(6, 3), la.Dense(6, 3)], {"metric": "matrix"}, 20),
    "biases": ([la.Dense(6, 5, bias=True), la.Dense(5, 3, bias=True)], {}, 20),
    "reference": ([la.Dense(6, 5), la.Dense(5, 3)], {"implementation": "reference"}, 20),
}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_records_are_those_of_the_network_there(loss, plan):
    layers, options, n = PLANS[plan]
    rng = np.random.default_rng(0)
    net = la.Network(layers).init("gaussian", rng=rng, scale=0.3)
    X = rng.standard_normal((n, net.widths[0]))
    Y = rng.choice([-1.0, 1.0], (n, 3)) if loss == "logistic" else rng.standard_normal((n, 3))
    steps = [0, 3, 10]
    run = la.train(net, X, Y, loss=loss, lr=1e-3, steps=10, record={**dict.fromkeys(NAMES, steps), "params": steps}, **options)
    metric = options.get("metric", "parameters")
    shown = str(run.plan)
    assert ("curvature  of what is run" in shown) == (plan == "all reductions")
    assert ("curvature  of the network as given" in shown) == (plan != "all reductions")
    ends = np.cumsum([layer.size for layer in layers])[:-1]
    for j, flat in enumerate(run.history["params"].values):
        parts = np.split(flat, ends)
        here = net.with_params([part.reshape(layer.param_shape) for part, layer in zip(parts, layers, strict=True)])
        spectrum = np.linalg.eigvalsh(la.hessian(here, X, Y, loss=loss, metric=metric).toarray())
        part = np.linalg.eigvalsh(la.gauss_newton(here, X, Y, loss=loss, metric=metric).toarray())
        off = 2 * TOLERANCE * np.abs(spectrum).max()
        seen = {name: run.history[name].values[j] for name in NAMES}
        assert abs(seen["sharpness"] - spectrum[-1]) <= off
        assert seen["edge"] == pytest.approx(1e-3 * seen["sharpness"] / (2 * (1 + options.get("momentum", 0))), rel=1e-12)
        assert np.abs(seen["hessian_eigenvalues"] - spectrum[[0, 1, 2, -3, -2, -1]]).max() <= off
        assert abs(seen["gauss_newton_top"] - part[-1]) <= off
        assert seen["ntk_trace"] == pytest.approx(la.ntk_trace(here, X, metric=metric), rel=1e-9)
        assert seen["kernel_distance"] == pytest.approx(la.kernel_distance(here, net, X, metric=metric), abs=1e-9)


def test_the_edge_is_where_descent_stops_being_stable():
    net = la.Network.from_matrices([np.array([[np.sqrt(3.0)]])] * 2)
    # at the minimum of (a b - 3)^2 / 2 the sharpness is 6
    for lr, edge in ((0.3, 0.9), (0.35, 1.05)):
        run = la.train(net, [[1.0]], [[3.0]], lr=lr, steps=1, record={"edge": 1})
        assert run.history["edge"].values[0] == pytest.approx(edge, rel=1e-9)


def test_a_kernel_that_is_zero_has_not_turned_and_ends_no_run():
    net = la.Network.from_matrices([np.zeros((5, 6)), np.zeros((3, 5))])
    run = la.train(net, np.eye(6), np.ones((6, 3)), lr=0.1, steps=2, record={"kernel_distance": 1, "ntk_trace": 1})
    assert np.isnan(run.history["kernel_distance"].values).all()
    assert not run.history["ntk_trace"].values.any()


def test_a_plan_without_curvature_says_nothing_of_it():
    run = la.train(la.Network.dense([3, 2]).init("gaussian", rng=0), np.eye(3), np.ones((3, 2)), lr=0.1, steps=2, record={"loss": 1})
    assert "curvature" not in str(run.plan)
    plan = la.explain(la.Network.dense([3, 2]).init("gaussian", rng=0), np.eye(3), np.ones((3, 2)), record={"edge": 1, "loss": 1})
    assert plan.curvature == "of the network as given: its Hessian on all rows, by products in the kernel, each at most 72 multiply-adds"
    assert la.plan.plan.Plan.from_dict(run.plan.to_dict()) == run.plan
