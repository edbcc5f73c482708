"""Runs that leave the finite numbers: the run up to the last finite loss is that of the reference, and that of a run that ends there.

A gradient step is a polynomial of degree below 2 depth in the parameters: where it grows, a relative error grows at most as many times.
From roundings of `K u`, K the most terms of an entry, t steps are equal up to `(2 depth)^t K u` where nothing cancels; the tests are
for the first steps of random networks, and leave a factor of 1000 for what cancels there.
"""

from itertools import pairwise

import numpy as np
import pytest

import linalign as la
from linalign.engine.engine import DIVERGED
from linalign.engine.engines import ChainEngine
from linalign.optim import SGD
from linalign.plan.cost import choose
from linalign.problem.descent import make_descent
from linalign.problem.problem import make_problem

U = {np.float64: 2.0**-53, np.float32: 2.0**-24}


def toeplitz(k):
    return [la.Toeplitz(a, b) for a, b in pairwise(k)]


def mixed(k):
    rng = np.random.default_rng(k)
    return [la.Subspace(rng.standard_normal((2, k[1], k[0]))), la.Dense(k[1], k[2]), la.Masked(rng.random((k[3], k[2])) < 0.7)]


def square(k):
    return [la.Circulant(k[0]), la.Symmetric(k[0]), la.Diagonal(k[0])]


def blocks(k):
    return [la.BlockDiagonal([(k[0], k[1]), (1, 2)]), la.Dense(k[1] + 2, k[2]), la.Scaled(np.random.default_rng(k).random((k[3], k[2])))]


def convolved(k):
    return [la.Conv1d(k[0] + 2, 3), la.Dense(k[0] + 2, k[3])]


KINDS = {
    "dense": lambda k: la.Network.dense(k).layers, "toeplitz": toeplitz, "mixed": mixed, "square": square, "blocks": blocks,
    "convolved": convolved,
}  # fmt: skip


def diverging(kind, seed, dtype=np.float64, identity=False):
    k = np.random.default_rng(seed).integers(2, 12, 4).tolist()
    net = la.Network(KINDS[kind](k)).init("gaussian", rng=seed, dtype=dtype)
    rng = np.random.default_rng(1000 + seed)
    X = None if identity else rng.standard_normal((int(rng.integers(1, 20)), net.widths[0])).astype(dtype)
    rows = net.widths[0] if X is None else len(X)
    Y = rng.standard_normal((net.widths[-1], rows) if X is None else (rows, net.widths[-1])).astype(dtype)
    return net, X, Y


def ends(net, X, Y, **how):
    with pytest.raises(la.DivergenceError) as caught:
        la.train(net, X, Y, steps=200, **how)
    return caught.value


def check(net, X, Y, **how):
    """The run that diverges, and one that ends where it did; both against the reference."""
    run = ends(net, X, Y, **how).run
    assert run.loss.shape == (run.steps + 1,)
    assert np.isfinite(run.loss).all()
    # by the same plan: one step alone repays no search for reductions
    clean = la.train(net, X, Y, **{**how, "steps": run.steps, "plan": run.plan})
    np.testing.assert_array_equal(clean.loss, run.loss)
    for a, b in zip(clean.network.params, run.network.params, strict=True):
        np.testing.assert_array_equal(a, b)
    right = ends(net, X, Y, **how, implementation="reference").run
    assert abs(right.steps - run.steps) <= 1  # the last one may be finite by a rounding
    terms = max(*net.widths, 1 if X is None else len(X))
    for t in range(min(right.steps, run.steps) + 1):
        bound = 1000 * (2.0 * net.depth) ** (t + 1) * terms * U[net.dtype.type]
        assert abs(run.loss[t] / right.loss[t] - 1) <= bound


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("update", ["cyclic", "simultaneous"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_run_is_the_one_that_ends_there(kind, update, momentum):
    for seed in range(40):
        check(*diverging(kind, seed, identity=seed % 4 == 3), lr=5.0, update=update, momentum=momentum, reduce="none")


@pytest.mark.parametrize("update", ["cyclic", "simultaneous"])
def test_the_same_in_float32(update):
    for seed in range(40):
        check(*diverging("dense", seed, np.float32), lr=5.0, update=update, reduce="none")


@pytest.mark.parametrize("update", ["cyclic", "simultaneous"])
def test_the_same_after_reductions(update):
    for seed in range(20):
        check(*diverging("dense", seed), lr=5.0, update=update, reduce="auto")


def test_every_pivot():
    for seed in range(10):
        net, X, Y = diverging("dense", seed)
        for pivot in range(net.depth + 1):
            check(net, X, Y, lr=5.0, pivot=pivot, reduce="none")


def two_blocks(first, second):
    """Two factorisations side by side, whose losses at the start are these."""
    rng = np.random.default_rng(5)

    def side_by_side(a, b):
        return np.block([[a, np.zeros((len(a), len(b)))], [np.zeros((len(b), len(a))), b]])

    left, right = ([rng.standard_normal((k, k)) for _ in range(2)] for k in (2, 3))
    for (A, B), loss in ((left, first), (right, second)):
        size = np.linalg.norm(B @ A)
        A *= 2**0.25 * loss**0.25 / np.sqrt(size)
        B *= 2**0.25 * loss**0.25 / np.sqrt(size)
    net = la.Network.dense([5, 5, 5]).with_params([side_by_side(a, b) for a, b in zip(left, right, strict=True)])
    return net, None, side_by_side(rng.standard_normal((2, 2)), rng.standard_normal((3, 3)))


@pytest.mark.parametrize("update", ["cyclic", "simultaneous"])
def test_parts_side_by_side(update):
    for first, second in ((1.0, 30.0), (30.0, 1.0), (10.0, 1e6)):
        check(*two_blocks(first, second), lr=5.0, update=update, reduce=["split"])


@pytest.mark.parametrize("implementation", ["kernel", "reference"])
def test_parts_that_are_finite_while_their_sum_is_not(implementation):
    net, X, Y = two_blocks(1.2e308, 1.2e308)
    error = ends(net, X, Y, lr=1e-300, reduce=["split"], implementation=implementation)
    assert "the loss of the start is not finite" in str(error)
    assert error.run.steps == 0


def engine_of(kind, update, seed=3):
    net, X, Y = diverging(kind, seed)
    problem, how = make_problem(net, X, Y, "squared"), make_descent(net.depth, 5.0, SGD(0.5, weight_decay=0.1), update, "matrix")
    return ChainEngine(problem, how, choose(problem, how)[0])


@pytest.mark.parametrize("update", ["cyclic", "simultaneous"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_engine_has_nothing_of_the_steps_it_lost(kind, update):
    lost, fresh = engine_of(kind, update), engine_of(kind, update)
    kept = lost.snapshot()
    values, again = np.empty(400), np.empty(400)
    status, taken = lost.advance(400, values, -np.inf)
    assert status == DIVERGED
    # whatever the loop may have left in the padding that no view shows
    for array in lost.state():
        array.base.view(lost._chain.dtype).fill(np.nan)
    lost.restore(kept)
    for a, b in zip(lost.state(), fresh.state(), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a.base[: a.base.size // 8 * 8].view(lost._chain.dtype)).all()
    assert lost.advance(400, again, -np.inf) == (DIVERGED, taken)
    np.testing.assert_array_equal(values[:taken], again[:taken])


def test_a_replay_ends_before_a_loss_that_is_not_finite():
    # as where rounding, among other threads, carries a step out of the finite numbers that was inside
    engine = engine_of("dense", "cyclic")
    kept = engine.snapshot()
    taken = engine.advance(400, np.empty(400), -np.inf)[1]
    assert engine.replay(kept, taken + 7) == taken - 1
    status, loss = engine.value(-np.inf)
    assert status == 0
    assert np.isfinite(loss)


def test_a_long_replay_is_the_same_steps():
    net, X, Y = diverging("dense", 0)
    problem, how = make_problem(net, X, Y, "squared"), make_descent(net.depth, 1e-4, SGD(), "cyclic", "matrix")
    engine = ChainEngine(problem, how, choose(problem, how)[0])
    kept, values = engine.snapshot(), np.empty(10_000)
    engine.advance(10_000, values, -np.inf)
    after = engine.snapshot()
    assert engine.replay(kept, 10_000) == 10_000
    for a, b in zip(after, engine.snapshot(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_that_reaches_tol_has_the_parts_at_that_step():
    net, X, Y = two_blocks(1.0, 2.0)
    net = net.with_params([0.3 * theta for theta in net.params])
    options = {"lr": 0.01, "reduce": ["split"]}
    plain = la.train(net, X, Y, steps=3000, **options)
    run = la.train(net, X, Y, steps=3000, tol=float(plain.loss[1234]), **options)
    assert run.converged
    assert run.steps == 1234
    np.testing.assert_array_equal(run.loss, plain.loss[:1235])
    for a, b in zip(run.network.params, la.train(net, X, Y, steps=1234, **options).network.params, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_loss_of_the_users_that_raises_in_the_replay():
    calls = []

    def loss(P):
        calls.append(0)
        if len(calls) > 3:
            raise ZeroDivisionError("not twice")
        return float("nan") if len(calls) == 3 else float(np.sum(P**2)), 2 * P

    net = la.Network.dense([2, 2]).init("gaussian", rng=0)
    with pytest.raises(ZeroDivisionError, match="not twice"):
        la.train(net, None, loss=la.losses.EndToEnd(loss), lr=0.1, steps=10)


@pytest.mark.parametrize("metric", ["matrix", "parameters"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_says_that_it_diverged(kind, metric):
    # whatever a layer asks of its gradients, the loss says where they left the finite numbers
    for update in ("cyclic", "simultaneous"):
        error = ends(*diverging(kind, 2), lr=5.0, update=update, metric=metric, implementation="reference")
        assert "not finite after it" in str(error)
        assert np.isfinite(error.run.loss).all()
