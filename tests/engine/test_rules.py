"""Update rules in the kernels: in the loop in registers as in the one of products, and entries of any size."""

from __future__ import annotations

import numpy as np
import pytest

import linalign as la
from linalign import optim
from linalign.optim import schedules
from linalign.plan import machine
from tests.oracles.checks import isas, use_isa

RULES = {
    "sgd": optim.SGD(0.9, nesterov=True, weight_decay=0.01), "adam": optim.Adam(weight_decay=0.1), "adamw": optim.AdamW(),
    "rmsprop": optim.RMSprop(0.9, momentum=0.5, centered=True), "adagrad": optim.Adagrad(0.01), "sign": optim.Sign(0.9),
    "group_rmsprop": optim.GroupRMSprop(), "normalized_gd": optim.NormalizedGD(weight_decay=0.1), "muon": optim.Muon(),
    "clipped": optim.Clipped(optim.Adam(), 0.1), "mean": optim.Averaged(optim.Adam(), 0.9),
}  # fmt: skip


@pytest.mark.skipif(not machine.has_loops(), reason="this processor has no loop in registers")
@pytest.mark.parametrize("isa", [name for name in isas() if name != "base"])
@pytest.mark.parametrize("data", ["rows", "diagonal", "identity"])
@pytest.mark.parametrize("rule", RULES)
def test_rules_of_the_loop_in_registers(rule, data, isa):
    rng = np.random.default_rng(0)
    widths = (5, 7, 4, 3) if data != "diagonal" else (5, 7, 2)
    net = la.Network.dense(list(widths)).init("gaussian", rng=1, scale=0.4)
    X, Y = rng.standard_normal((6, 5)), rng.standard_normal((6, widths[-1]))
    if data == "identity":
        X, Y = None, rng.standard_normal((widths[-1], 5))
    how = {"loss": "mse", "lr": schedules.Exponential(0.01, 0.99), "steps": 40, "optimizer": RULES[rule], "reduce": ["samples", "inputs"]}
    with use_isa(isa):
        run = la.train(net, X, Y, **how)
        # as many steps in three goes
        cut = la.resume(la.train(net, X, Y, **{**how, "steps": 13}), X, Y, steps=27)
    assert run.plan.kernel.startswith("registers, ")
    wanted = la.train(net, X, Y, **how, implementation="reference")
    np.testing.assert_allclose(run.loss, wanted.loss, rtol=1e-11, atol=1e-12 * run.loss[0])
    for a, b, c in zip(run.network.params, wanted.network.params, cut.network.params, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11)
        np.testing.assert_array_equal(a, c)


@pytest.mark.parametrize("isa", isas())
def test_a_step_of_adam_on_gradients_of_any_size(isa):
    # one sample, one output: the gradient of the entry j is -2 x_j, and the first step is lr g / (|g| + eps) by the roundings of a few
    # products, a root and a quotient, each of a unit in the last place, whatever the size
    x = np.concatenate([np.geomspace(1e-150, 1e150, 997), [0.0, 1e-30, -3.0]])
    net = la.Network.dense([1000, 1], [np.zeros((1, 1000))])
    with use_isa(isa):
        run = la.train(net, x[None], np.ones((1, 1)), lr=1.0, steps=1, optimizer=optim.Adam(eps=1e-20), reduce="none", tol=None)
    g = -x
    wanted = -g / (np.abs(g) + 1e-20)
    np.testing.assert_allclose(run.network.params[0][0], wanted, rtol=1e-14, atol=0)
    assert run.network.params[0][0, 997] == 0


def test_powers_are_those_of_the_step_wherever_a_run_is_cut():
    rng = np.random.default_rng(0)
    net = la.Network.dense([9, 12, 3]).init("gaussian", rng=1, scale=0.4)
    X, Y = rng.standard_normal((20, 9)), rng.standard_normal((20, 3))
    # short runs would not search for reductions, and have other bits
    how = {"lr": 1e-3, "optimizer": "adam", "reduce": ["samples"]}
    whole = la.train(net, X, Y, steps=60, **how)
    wanted = la.train(net, X, Y, steps=60, **how, implementation="reference")
    np.testing.assert_allclose(whole.loss, wanted.loss, rtol=1e-12)
    for first in (1, 15, 16, 17, 40):
        run = la.resume(la.train(net, X, Y, steps=first, **how), X, Y, steps=60 - first)
        np.testing.assert_array_equal(run.loss, whole.loss)
