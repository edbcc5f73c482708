"""Recorded functions: of the network, of the network and the state, under a name of one's own; and a quantity from outside the package."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

import linalign as la
from tests.oracles.reductions import applied, direct_sum

EVERYTHING = ("samples", "inputs", "width", "split")


def problem(widths=(4, 5, 3), n=20, seed=0):
    rng = np.random.default_rng(seed)
    return la.Network.dense(widths).init("gaussian", rng=seed), rng.standard_normal((n, widths[0])), rng.standard_normal((n, widths[-1]))


# ---- a quantity that sees data, loss and gradient, added from outside ----------------------------------------------------------


def test_a_quantity_from_outside():
    """The share of the loss that a step of the learning rate removes to first order, recorded beside what is built in."""

    def promised(network, state):
        return sum(lr * np.sum(g**2) for lr, g in zip(state.lr, state.gradients, strict=True)) / state.loss

    net, X, Y = problem()
    run = la.train(net, X, Y, lr=1e-4, steps=40, record={promised: 10, "loss": 1})
    loss, kept = run.history["loss"].values, run.history["promised"]
    for step, share in zip(kept.steps[:-1], kept.values[:-1], strict=True):
        assert share == pytest.approx((loss[step] - loss[step + 1]) / loss[step], rel=0.02)


# ---- what the state knows ----------------------------------------------------------------------------------------------------


def runs():
    rng = np.random.default_rng(3)
    W, T = direct_sum(rng, [(5, 6, 5), (4, 4, 6)])
    wide = la.Network.dense((30, 40, 6, 4)).init("gaussian", rng=0)
    X, Y = rng.standard_normal((8, 30)) / 3, rng.standard_normal((8, 4)) / 3
    aligned = la.Network.dense((6, 6, 6)).init("aligned", X=X[:, :6], Y=X[:, :6], rng=0)
    return {
        "as given": (wide, X, Y, {"reduce": "none"}),
        "reference": (wide, X, Y, {"implementation": "reference"}),
        "inputs": (wide, X, Y, {"reduce": ("samples", "inputs")}),
        "width": (wide, X, Y, {"reduce": ("samples", "inputs", "width")}),
        "split": (la.Network.from_matrices(W), None, T, {"reduce": EVERYTHING}),
        "modes": (aligned, X[:, :6], X[:, :6], {"reduce": EVERYTHING}),
        "circulants": (la.Network([la.Circulant(6)] * 2).init("gaussian", rng=0), X[:, :6], X[:, 6:12], {"metric": "parameters"}),
    }


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", runs())
def test_the_state_is_that_of_the_network_as_given(name, momentum, decay):
    """Steps by hand from the gradients of `value_and_grad`, as torch's SGD defines them."""
    net, X, Y, options = runs()[name]
    lr, seen = 0.02, []

    def look(network, state):
        grads = state.gradients
        seen.append((network.params, state.loss, grads, state.velocities, state.step, state.lr, state.gradient_norm))
        for g in [*state.gradients, *(state.velocities or [])]:
            g[...] = np.nan  # the caller's own
        return 0.0

    run = la.train(net, X, Y, lr=lr, steps=6, momentum=momentum, weight_decay=decay, record={look: 1}, **options)
    if options.get("reduce", "none") != "none":
        assert set(applied(run)) & {"inputs", "width", "split"}
    theta, velocity = [np.array(p) for p in net.params], [np.zeros_like(p) for p in net.params]
    for step, (params, loss, grads, velocities, at, rates, size) in enumerate(seen):
        value, wanted = la.value_and_grad(net.with_params(theta), X, Y)
        assert at == step
        assert rates.tolist() == [lr] * net.depth
        assert loss == pytest.approx(value, rel=1e-9)
        assert size == pytest.approx(np.sqrt(sum(np.sum(g**2) for g in wanted)), rel=1e-8)
        for mine, theirs in ((params, theta), (grads, wanted)):
            for a, b in zip(mine, theirs, strict=True):
                assert np.allclose(a, b, rtol=0, atol=1e-9)
        if momentum:
            for a, b in zip(velocities, velocity, strict=True):
                assert np.allclose(a, b, rtol=0, atol=1e-9)
        else:
            assert velocities is None
        velocity = [momentum * v + g + decay * p for v, g, p in zip(velocity, wanted, theta, strict=True)]
        theta = [p - lr * v for p, v in zip(theta, velocity, strict=True)]


# ---- how functions are given ---------------------------------------------------------------------------------------------------


def test_functions_under_names_of_their_own():
    net, X, Y = problem()
    record = {"size": (2, lambda n: np.linalg.norm(n.matrix())), "at": ([3], lambda n, s: s.step), "loss": (0, 4)}
    run = la.train(net, X, Y, lr=1e-3, steps=6, record=record)
    assert list(run.history) == ["size", "at", "loss"]
    assert run.history["size"].steps.tolist() == [0, 2, 4, 6]
    assert run.history["size"].values[0] == pytest.approx(np.linalg.norm(net.matrix()), rel=1e-13)
    assert run.history["at"].values.tolist() == [3, 6]
    assert run.history["loss"].steps.tolist() == [0, 4, 6]


def test_defaults_are_not_the_state():
    net, X, Y = problem()
    seen = []

    def one(network, power=2):
        seen.append(power)
        return np.sum(network.matrix() ** power)

    def bound(power, network):
        return power

    class Callable:
        def __call__(self, network, state):
            return state.step

    record = {one: 2, "bound": (2, functools.partial(bound, 3)), "class": (2, Callable()), "all": (2, lambda *both: len(both))}
    run = la.train(net, X, Y, lr=1e-3, steps=2, record=record)
    assert seen == [2, 2]
    assert run.history["bound"].values.tolist() == [3, 3]
    assert run.history["class"].values.tolist() == [0, 2]
    assert run.history["all"].values.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("record", "error", "message"),
    [
        ({"loss": (1, len)}, ValueError, "record has a function under 'loss', which is recorded by that name anyway; give it another name"),
        ({3: (1, len)}, TypeError, "record has a function under 3; a name was wanted, such as {'size': (100, function)}"),
        ({"": (1, len)}, TypeError, "record has a function under ''; a name was wanted"),
        ({"size": (0, len)}, ValueError, "record['size'] is 0; a whole number of at least 1 was wanted"),
        ({"size": (len, 1)}, ValueError, "record is 'size'; one of 'loss', "),
        ({"size": 1}, ValueError, "record is 'size'; one of 'loss', "),
    ],
    ids=str,
)
def test_refusals(record, error, message):
    net, X, Y = problem()
    with pytest.raises(error, match="^" + re.escape(message)):
        la.train(net, X, Y, lr=1e-3, steps=2, record=record)


def test_named_functions_are_saved_and_swept(tmp_path):
    net, X, Y = problem()
    run = la.train(net, X, Y, lr=1e-3, steps=4, record={"size": (2, lambda n: n.matrix())})
    again = la.load(run.save(tmp_path / "run.npz"))
    assert np.array_equal(again.history["size"].values, run.history["size"].values)
    sweep = la.sweep(
        lambda seed: net.init("gaussian", rng=seed), X, Y, grid={"seed": [0, 1]}, lr=1e-3, steps=4, threads=1,
        record={"size": (2, norm_of)}, path=tmp_path / "sweep.jsonl",
    )  # fmt: skip
    assert sweep.histories["size"].values.shape == (2, 3)


def norm_of(network):
    return float(np.linalg.norm(network.matrix()))
