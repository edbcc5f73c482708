"""Rules that commute with rotations run on the reduced problem: the same trajectory, within ten times what rounding makes of a run."""

import numpy as np
import pytest

import linalign as la
from linalign import optim

RULES = {
    "sgd": (optim.SGD(0.9, weight_decay=0.01), 1e-2),
    "nesterov": (optim.SGD(0.9, nesterov=True, weight_decay=0.01), 1e-2),
    "dampening": (optim.SGD(0.8, dampening=0.2, weight_decay=0.01), 1e-2),
    "group_rmsprop": (optim.GroupRMSprop(weight_decay=0.01), 1e-2),
    "normalized_gd": (optim.NormalizedGD(weight_decay=0.01), 5e-3),
    "sam": (optim.SAM(0.05, optim.SGD(0.5, weight_decay=0.01)), 1e-2),
    "muon": (optim.Muon(), 1e-3),
    "polar": (optim.Muon(form="polar", nesterov=False), 1e-3),
}
NETWORKS = [(30, 16, 16, 5), (40, 12, 20, 3), (25, 30, 2)]
STEPS = 100


def problem(widths, seed):
    rng = np.random.default_rng([seed, *widths])
    net = la.Network.dense(list(widths)).init("orthogonal", rng=seed, scale=0.4)
    X = rng.standard_normal((20, 3)) @ rng.standard_normal((3, widths[0])) / 6
    return net, X, rng.standard_normal((20, widths[-1]))


def distance(a, b):
    return max(float(np.abs(p - q).max()) for p, q in zip(a.params, b.params, strict=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("widths", NETWORKS)
@pytest.mark.parametrize("name", RULES)
def test_reduced_is_unreduced(name, widths, seed):
    rule, lr = RULES[name]
    net, X, Y = problem(widths, seed)
    how = {"loss": "mse", "lr": lr, "steps": STEPS, "optimizer": rule}
    wanted = ["samples", "inputs", "width"]
    reduced = la.train(net, X, Y, reduce=wanted, **how)
    assert [r.name for r in reduced.plan.reductions if r.applied] == wanted
    plain = la.train(net, X, Y, reduce="none", **how)
    rng = np.random.default_rng(seed)
    shaken = net.with_params([theta * (1 + 1e-15 * rng.standard_normal(theta.shape)) for theta in net.params])
    drift = distance(la.train(shaken, X, Y, reduce=["samples", "inputs"], **how).network, reduced.network)
    assert distance(reduced.network, plain.network) <= 10 * max(drift, 1e-14)
    np.testing.assert_allclose(reduced.loss[:20], plain.loss[:20], rtol=1e-10)


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "adagrad", "sign"])
def test_rules_on_entries_keep_samples_alone(name):
    net, X, Y = problem((30, 16, 5), 0)
    plan = la.explain(net, X, Y, optimizer=name, steps=10**6)
    assert [r.name for r in plan.reductions if r.applied] == ["samples"]
    run = la.train(net, X, Y, loss="mse", lr=1e-3, steps=STEPS, optimizer=name)
    plain = la.train(net, X, Y, loss="mse", lr=1e-3, steps=STEPS, optimizer=name, implementation="reference")
    np.testing.assert_allclose(run.loss, plain.loss, rtol=1e-6 if name == "sign" else 1e-9)


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "adagrad", "sign", "sgd"])
def test_reducing_inputs_would_be_wrong_for_rules_on_entries(name):
    # the rule on the data in a basis of their span, and back: the same run for a rule that commutes, another one for one that does not
    net, X, Y = problem((30, 16, 5), 0)
    how = {"loss": "mse", "lr": 1e-3, "steps": 20, "optimizer": name, "reduce": ["samples", "inputs"]}
    V = np.linalg.svd(X)[2][:3].T
    first, second = net.params
    turned = la.train(la.Network.dense([3, 16, 5], [first @ V, second]), X @ V, Y, **{**how, "reduce": "none"})
    run = la.train(net, X, Y, **how)
    by = float(np.abs(run.network(X) - turned.network(X @ V)).max())
    moved = float(np.abs(run.network(X) - net(X)).max())
    if name == "sgd":
        assert [r.name for r in run.plan.reductions if r.applied] == ["samples", "inputs"]
        assert by <= 1e-12
    else:
        assert [r.name for r in run.plan.reductions if r.applied] == ["samples"]
        assert by > 0.1 * moved


def test_a_step_of_the_sign_on_one_sample():
    # x = (2, 1): 3 lr of the prediction, which the norm of x alone would make sqrt(5) lr (T11.5)
    X, net = np.array([[2.0, 1.0]]), la.Network.dense([2, 1], [np.zeros((1, 2))])
    run = la.train(net, X, np.ones((1, 1)), lr=1e-3, steps=1, optimizer="sign")
    assert run.network(X)[0, 0] == pytest.approx(3e-3, rel=1e-15)


@pytest.mark.parametrize("rule", [*optim.RULES])
def test_float32_follows_float64(rule):
    net, X, Y = problem((8, 6, 3), 1)
    run = la.train(net.astype(np.float32), X.astype(np.float32), Y.astype(np.float32), loss="mse", lr=1e-3, steps=20, optimizer=rule)
    wide = la.train(net, X, Y, loss="mse", lr=1e-3, steps=20, optimizer=rule)
    np.testing.assert_allclose(run.loss, wide.loss, rtol=1e-4)
