"""A reduction from outside the package: written here, handed to `reduce`, trained with."""

from __future__ import annotations

import numpy as np
import pytest

import linalign as la
from linalign.problem.problem import Problem
from linalign.reduce.reduction import Found, Reduction, Refused

EPS = np.finfo(np.float64).eps


class DeadInputs(Reduction):
    """Inputs that are zero in every sample: their columns of the first layer meet no gradient and keep their values."""

    name = "dead inputs"
    needs_data = True
    needs_dense = slice(0, 1)

    def seek(self, problem, descent, budget):
        live = problem.X.any(axis=0)
        if live.all():
            return Refused("every input is used")
        first, *others = problem.net.params
        layers = [la.Dense(int(live.sum()), len(first)), *problem.net.layers[1:]]
        net = la.Network(layers, [first[:, live], *others])
        smaller = Problem(net, np.ascontiguousarray(problem.X[:, live]), problem.T, problem.loss, problem.factor, problem.floor)

        def lift(params, steps):
            W = first * descent.factors(steps)[0]
            W[:, live] = params[0]
            return [W, *params[1:]]

        return Found(smaller, f"{len(live)} inputs -> {live.sum()}", "zero inputs move nothing", 0.0, lift)


def drawn(dead):
    r = np.random.default_rng(3)
    X, Y = r.standard_normal((12, 6)), r.standard_normal((12, 3))
    X[:, dead] = 0.0
    return la.Network.dense([6, 5, 3]).init("gaussian", rng=1), X, Y


@pytest.mark.parametrize("others", [[], ["samples", "inputs", "width"]])
def test_it_trains_and_lifts(others):
    net, X, Y = drawn([1, 4])
    how = {"lr": 0.01, "steps": 50, "weight_decay": 0.1, "momentum": 0.5}
    full = la.train(net, X, Y, reduce="none", **how)
    less = la.train(net, X, Y, reduce=[DeadInputs(), *others], **how)
    assert less.plan.reductions[0].applied
    assert less.plan.reductions[0].what == "6 inputs -> 4"
    # two orders of the same sums, over fifty steps that shrink what they are given
    np.testing.assert_allclose(less.loss, full.loss, rtol=1e3 * EPS)
    for a, b in zip(less.network.params, full.network.params, strict=True):
        np.testing.assert_allclose(a, b, atol=1e3 * EPS * np.linalg.norm(b))


def test_it_refuses_in_its_own_words():
    net, X, Y = drawn([])
    row = la.explain(net, X, Y, reduce=[DeadInputs()]).reductions[0]
    assert (row.name, row.applied, row.why) == ("dead inputs", False, "every input is used")


def test_a_plan_with_it_cannot_be_followed_without_it():
    net, X, Y = drawn([0])
    plan = la.explain(net, X, Y, reduce=[DeadInputs()])
    with pytest.raises(ValueError, match="plan uses the reduction 'dead inputs'"):
        la.train(net, X, Y, lr=0.01, steps=1, plan=plan)


def test_names_are_taken_once():
    class Other(DeadInputs):
        name = "width"

    net, X, Y = drawn([0])
    for given in ([Other()], [DeadInputs(), DeadInputs()]):
        with pytest.raises(ValueError, match="give it a name of its own"):
            la.explain(net, X, Y, reduce=given)
