"""Chains of convolutions gone through some rows at a time (`kernels/tiles.pxd`), however little fits in the cache."""

from __future__ import annotations

import numpy as np
import pytest

import linalign as la
from linalign.engine import bind
from linalign.layers.homogeneous import Homogeneous
from tests.oracles.checks import DTYPES, check_gradients, check_steps, isas
from tests.oracles.structured_cases import descent_of, structured_case, structured_engine

CHAINS = {
    "two": [la.Conv2d((5, 9), 3, 1, 2), la.Conv2d((5, 9), 2, 2, 1, "circular", (2, 3))],
    "three": [la.Conv2d((4, 8), 3, 1, 4), la.Conv2d((4, 8), 3, 4, 2), la.Conv2d((4, 8), (2, 3), 2, 1, "valid")],
    "biases": [Homogeneous(la.Conv2d((4, 5), 3, 1, 2, bias=True), False), Homogeneous(la.Conv2d((4, 5), 2, 2, 1, bias=True), True)],
    "skip": [la.Residual(la.Conv2d((3, 8), 3, 2, 2)), la.Conv1d(48, 3)],
}
LOSSES = ("logistic", "cross_entropy-labels")
ROW = 8 * 300  # bytes, about those of a row of these chains


@pytest.fixture(params=[1, 4 * ROW], ids=["a row a tile", "some rows a tile"])
def cache(request, monkeypatch):
    true = bind.Machine
    monkeypatch.setattr(bind, "Machine", lambda *args: true(*args)._replace(cache=request.param))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CHAINS)
def test_gradients_and_steps(name, dtype, cache):
    best = list(isas())[-1]
    for loss in LOSSES:
        case = structured_case(CHAINS[name], 11, loss, dtype)
        for threads in (1, 3):
            check_gradients(structured_engine(best, 0, threads), case)
        check_steps(structured_engine(best, 0, 3), case, descent_of(case, momentum=0.5, weight_decay=0.3), steps=2)


@pytest.mark.parametrize("options", [{}, {"batch": 5, "rng": 0}, {"optimizer": la.optim.Adam()}], ids=["plain", "batches", "adam"])
def test_runs_are_those_of_the_reference(options, cache):
    rng = np.random.default_rng(0)
    net = la.Network(CHAINS["three"]).init("gaussian", rng=0)
    X, Y = rng.standard_normal((13, 32)) / 8, rng.standard_normal((13, net.widths[-1]))
    how = {"lr": 1e-3, "steps": 30, "reduce": "none", "metric": "parameters", **options}
    found, wanted = la.train(net, X, Y, **how), la.train(net, X, Y, implementation="reference", **how)
    assert all(np.any(a != b) for a, b in zip(wanted.network.params, net.params, strict=True))
    np.testing.assert_allclose(found.loss, wanted.loss, rtol=1e-11)
    for a, b in zip(found.network.params, wanted.network.params, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(b).max())


@pytest.mark.parametrize("cache", [1], ids=["a row a tile"], indirect=True)
def test_a_run_that_diverges_comes_back(cache):
    rng = np.random.default_rng(0)
    net = la.Network(CHAINS["two"]).init("gaussian", rng=0)
    X, Y = rng.standard_normal((6, 45)), rng.standard_normal((6, net.widths[-1]))
    with pytest.raises(la.DivergenceError) as caught:
        la.train(net, X, Y, lr=10.0, steps=500, reduce="none", metric="parameters")
    assert np.isfinite(caught.value.run.loss).all()
