"""A rule and a loss from outside the package train: the kernel gives the gradients, or asks for the loss."""

import numpy as np
import pytest

import linalign as la
from linalign.optim import Rule


class SignMomentum(Rule):
    """The sign of a mean of gradients."""

    name = "sign_momentum"
    slots = 1

    def update(self, theta, gradient, slots, lr, weight_decay, step):
        slots[0][...] = 0.9 * slots[0] + 0.1 * gradient
        theta -= lr * np.sign(slots[0])


class Unit(Rule):
    """Steps of length lr, whatever the gradient: a number of norms."""

    name = "unit"
    commutes = "norms"
    layerwise = False

    def step(self, params, gradients, slots, at):
        length = at.norm(gradients)
        for theta, gradient, lr in zip(params, gradients, at.lr, strict=True):
            theta -= lr / length * gradient


class PseudoHuber(la.losses.Loss):
    """`sum sqrt(1 + (f - y)^2) - 1`, mean over samples."""

    kind = "pseudo_huber"

    def factor(self, n, k_d):
        return 1.0 / n

    def objective(self, T, factor):
        def of_outputs(F):
            root = np.sqrt(1 + (F - T) ** 2)
            return factor * float(np.sum(root - 1)), factor * (F - T) / root

        return of_outputs


def problem(widths=(6, 5, 4), n=9, rank=6, seed=0):
    rng = np.random.default_rng(seed)
    net = la.Network.dense(list(widths)).init("gaussian", rng=seed, scale=0.4)
    X = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, widths[0]))
    return net, X, rng.standard_normal((n, widths[-1]))


def by_hand(net, X, Y, rule, lr, steps, objective=None):
    """Backpropagation and the rule, in a few lines of NumPy."""
    W, v = [w.copy() for w in net.matrices()], [np.zeros_like(w) for w in net.matrices()]
    losses = []
    for t in range(steps + 1):
        A = [X]
        for w in W:
            A.append(A[-1] @ w.T)
        value, D = (0.5 * np.sum((A[-1] - Y) ** 2), A[-1] - Y) if objective is None else objective(A[-1])
        losses.append(value)
        if t == steps:
            return W, np.array(losses)
        G = [None] * len(W)
        for i in reversed(range(len(W))):
            G[i], D = D.T @ A[i], D @ W[i]
        if rule == "sign":
            for i, g in enumerate(G):
                v[i] = 0.9 * v[i] + 0.1 * g
                W[i] = W[i] - lr * np.sign(v[i])
        else:
            length = 1.0 if rule is None else np.sqrt(sum(np.sum(g**2) for g in G))
            W = [w - lr / length * g for w, g in zip(W, G, strict=True)]
    raise AssertionError


@pytest.mark.parametrize("implementation", ["kernel", "reference"])
@pytest.mark.parametrize(("rule", "name"), [(SignMomentum(), "sign"), (Unit(), "unit")])
def test_a_rule_of_the_users_trains(rule, name, implementation):
    net, X, Y = problem()
    run = la.train(net, X, Y, lr=0.01, steps=40, optimizer=rule, implementation=implementation)
    W, losses = by_hand(net, X, Y, name, 0.01, 40)
    np.testing.assert_allclose(run.loss, losses, rtol=1e-10)
    for got, want in zip(run.network.matrices(), W, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)


def test_reductions_are_those_that_the_rule_commutes_with():
    net, X, Y = problem((20, 12, 3), n=30, rank=5)
    entries = la.explain(net, X, Y, optimizer=SignMomentum(), steps=10**6)
    assert {r.name: r.applied for r in entries.reductions} == {"samples": True, "inputs": False, "width": False, "split": False}
    assert "sign_momentum treats entries one by one" in str(entries)
    norms = la.explain(net, X, Y, optimizer=Unit(), steps=10**6)
    assert [r.name for r in norms.reductions if r.applied] == ["samples", "inputs", "width"]
    assert "rule" in str(norms)
    assert "unit" in str(norms)
    reduced = la.train(net, X, Y, lr=0.01, steps=40, optimizer=Unit())
    plain = la.train(net, X, Y, lr=0.01, steps=40, optimizer=Unit(), reduce="none")
    assert reduced.network.widths == net.widths
    np.testing.assert_allclose(reduced.loss, plain.loss, rtol=1e-11)
    for got, want in zip(reduced.network.params, plain.network.params, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


def test_a_rule_on_entries_is_not_reduced_where_that_would_be_wrong():
    # one sample x = (2, 1), one output: the first step of the sign goes along (1, 1), not along x (T11.5)
    net = la.Network.dense([2, 1], [np.zeros((1, 2))])
    X, Y = np.array([[2.0, 1.0]]), np.array([[1.0]])
    run = la.train(net, X, Y, lr=0.1, steps=1, optimizer=SignMomentum())
    np.testing.assert_allclose(run.network.params[0], [[0.1, 0.1]], rtol=1e-15)
    assert run.network(X)[0, 0] == pytest.approx(3 * 0.1)


def test_a_rule_that_needs_all_layers_refuses_cyclic_updates():
    net, X, Y = problem()
    with pytest.raises(ValueError, match="update is 'cyclic' but unit needs the gradients of all layers at once"):
        la.train(net, X, Y, lr=0.01, steps=1, optimizer=Unit(), update="cyclic")
    run = la.train(net, X, Y, lr=0.01, steps=5, optimizer=SignMomentum(), update="cyclic")
    again = la.train(net, X, Y, lr=0.01, steps=5, optimizer=SignMomentum(), update="cyclic", implementation="reference")
    np.testing.assert_allclose(run.loss, again.loss, rtol=1e-12)


def test_momentum_of_another_rule_is_its_own():
    net, X, Y = problem()
    with pytest.raises(ValueError, match="momentum is 0.9 but the optimizer unit has its own"):
        la.train(net, X, Y, lr=0.1, steps=1, optimizer=Unit(), momentum=0.9)
    with pytest.raises(ValueError, match="optimizer is 'adamant'; one of"):
        la.train(net, X, Y, lr=0.1, steps=1, optimizer="adamant")
    with pytest.raises(TypeError, match="optimizer is 3; a name"):
        la.train(net, X, Y, lr=0.1, steps=1, optimizer=3)


@pytest.mark.parametrize("widths", [(6, 5, 4), (6, 3, 7, 2)])
@pytest.mark.parametrize("pivot", ["auto", 0, 1, 2])
def test_a_loss_of_the_users_trains_through_the_kernel(widths, pivot):
    net, X, Y = problem(widths)
    run = la.train(net, X, Y, loss=PseudoHuber(), lr=0.05, steps=30, pivot=pivot)
    W, losses = by_hand(net, X, Y, None, 0.05, 30, PseudoHuber().objective(Y, 1 / len(X)))
    np.testing.assert_allclose(run.loss, losses, rtol=1e-11)
    for got, want in zip(run.network.matrices(), W, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


def test_what_a_loss_of_the_users_raises_passes_through():
    class Broken(PseudoHuber):
        def objective(self, T, factor):
            def of_outputs(F):
                raise RuntimeError("no loss today")

            return of_outputs

    net, X, Y = problem()
    with pytest.raises(RuntimeError, match="no loss today"):
        la.train(net, X, Y, loss=Broken(), lr=0.05, steps=3)


def test_a_layer_with_rate_zero_stands_still():
    net, X, Y = problem((6, 5, 4, 3))
    run = la.train(net, X, Y, lr=[0.01, 0.0, 0.01], steps=20)
    np.testing.assert_array_equal(run.network.params[1], net.params[1])
    assert not np.array_equal(run.network.params[0], net.params[0])
