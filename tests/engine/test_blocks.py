"""Long data in blocks of rows, and data that are read where they lie."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import linalign as la
from linalign.engine import bind as kernel
from linalign.training import loop
from tests.oracles.checks import DTYPES, LOSSES, check_gradients, check_steps, descent, isas, kernel_engine, make_case

# widths and rows: blocks of 16, a last one that is shorter, whole vectors and others, one row in flight, products beyond the tile
SHAPES = [((5, 3), 40), ((16, 8, 4), 70), ((7, 9, 3, 5), 49), ((20, 1, 3), 33), ((6, 4, 1), 64), ((3, 2, 1), 35), ((210, 5, 4), 230)]
SUMS = [name for name in LOSSES if not name.startswith(("factorisation", "entries", "sensing", "end"))]


@pytest.fixture
def short(monkeypatch):
    """Blocks of 16 rows, from two on."""
    for name, value in {"BLOCK": 1, "LEAST": 16, "MANY": 2}.items():
        monkeypatch.setattr(kernel, name, value)


def engine_in_blocks(isa, pivot):
    make = kernel_engine(isa, pivot)

    def checked(problem, how):
        assert kernel.rows_at_once(problem, pivot, problem.net.widths[pivot]) == 16
        return make(problem, how)

    return checked


@pytest.mark.parametrize("isa", isas())
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("widths", "n"), SHAPES, ids=str)
def test_every_pivot_keeps_the_bound_of_all_rows_at_once(short, isa, dtype, widths, n):
    case = make_case(widths, n, dtype=dtype)
    for pivot in range(len(widths)):
        check_gradients(engine_in_blocks(isa, pivot), case)
        check_steps(engine_in_blocks(isa, pivot), case, descent(case.depth, momentum=0.5, weight_decay=0.1))


@pytest.mark.parametrize("loss", SUMS)
def test_every_loss(short, loss):
    case = make_case((5, 7, 3, 4), 45, loss)
    for isa in isas():
        for pivot in range(4):
            check_steps(engine_in_blocks(isa, pivot), case, descent(3, lr=1e-5))


def problem(widths=(64, 16, 3), n=20_000, seed=0):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((n, widths[0])), np.eye(widths[-1])[rng.integers(widths[-1], size=n)]
    return la.Network.dense(widths).init("gaussian", rng=seed, scale=0.1), X, Y


def how(**changed):
    return {"loss": "cross_entropy", "lr": 1e-2, "steps": 5, **changed}


def same(a, b):
    np.testing.assert_array_equal(a.loss, b.loss)
    for mine, theirs in zip(a.network.params, b.network.params, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("widths", [(64, 16, 3), (61, 16, 3)], ids=str)
@pytest.mark.parametrize("options", [{}, {"optimizer": "adam"}, {"batch": 50, "rng": 0}], ids=str)
def test_nothing_as_long_as_the_data_is_made(widths, options):
    net, X, Y = problem(widths)
    tracemalloc.start()
    try:
        la.train(net, X, Y, **how(**options))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # the targets again are X.nbytes / 20, modules that are imported when they are first wanted 1 MB, drawing batches some numbers a row
    assert most < X.nbytes / (2 if "batch" in options else 4)


@pytest.mark.parametrize("options", [{}, {"loss": "squared", "lr": 1e-5, "reduce": "none", "pivot": 2}, {"batch": 50, "rng": 0}], ids=str)
def test_data_that_lie_anywhere_and_are_only_read(options):
    net, X, Y = problem(n=3000)
    runs = []
    for at in (0, 1, 3):
        room = np.empty(X.size + 16)
        begin = (-room.ctypes.data // 8) % 8 + at
        own = room[begin : begin + X.size].reshape(X.shape)
        own[...] = X
        assert own.ctypes.data % 64 == 8 * at
        room.flags.writeable = own.flags.writeable = False
        runs.append(la.train(net, own, Y, **how(**options)))
        np.testing.assert_array_equal(own, X)
    for run in runs[1:]:
        same(runs[0], run)


def test_an_objective_keeps_what_it_was_given():
    net, X, Y = problem(n=3000)
    objective = la.Objective(net, X, Y, loss="cross_entropy")
    before = objective.value_and_grad(objective.flat)
    X[...], Y[...] = 0.0, Y[:, ::-1].copy()
    after = objective.value_and_grad(objective.flat)
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1], after[1])


def test_what_goes_in_blocks():
    made = make_case((20, 10, 3), 20_000).problem
    assert kernel.rows_at_once(made, 1, 10) == min(kernel.BLOCK // 46, kernel.MOST) // kernel.UNIT * kernel.UNIT
    assert kernel.rows_at_once(make_case((20, 10, 3), 700).problem, 1, 10) == 0
    assert kernel.rows_at_once(make_case((900, 2), 800).problem, 0, 800) == 0
    assert kernel.rows_at_once(make_case((20, 10, 3), 0, "factorisation").problem, 1, 10) == 0


# ---- parameters ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"reduce": "none"}, {}, {"momentum": 0.5, "reduce": "none"}], ids=str)
def test_parameters_are_copied_once_beside_those_given(options):
    rng = np.random.default_rng(0)
    net = la.Network.dense([700, 700]).init("gaussian", rng=0)
    X, Y = rng.standard_normal((20, 700)), rng.standard_normal((20, 700))
    tracemalloc.start()
    try:
        la.train(net, X, Y, lr=1e-4, steps=3, **options)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # the chain's own, or the lifted ones, are those that come back; and velocities, beside zeros that are asked for and never touched
    assert most < (1.3 + 2 * ("momentum" in options)) * net.params[0].nbytes


@pytest.mark.parametrize("options", [{}, {"momentum": 0.5}, {"average": 0.5}, {"optimizer": "sam"}], ids=str)
@pytest.mark.parametrize("large", [0, 2**60])
def test_the_way_back_from_a_divergence_with_one_snapshot_and_with_two(monkeypatch, options, large):
    net, X, Y = problem((6, 5, 3), 40)
    with pytest.raises(la.DivergenceError) as plain:
        la.train(net, X, Y, lr=60.0, steps=1000, **options)
    monkeypatch.setattr(loop, "LARGE", large)
    monkeypatch.setattr(loop, "SNAPSHOT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "SNAPSHOT_SHARE", 1e9)
    monkeypatch.setattr(loop, "SLICE_SECONDS", 1e-9)
    with pytest.raises(la.DivergenceError) as caught:
        la.train(net, X, Y, lr=60.0, steps=1000, **options)
    assert caught.value.run.steps == plain.value.run.steps > 1
    same(caught.value.run, plain.value.run)
    for theta, given in zip(net.params, problem((6, 5, 3), 40)[0].params, strict=True):
        np.testing.assert_array_equal(theta, given)
