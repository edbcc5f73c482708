"""Memory is for the steps that are taken and the records that are made, not for those that were allowed."""

import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linalign as la
from linalign.record.schedule import schedule
from linalign.sweeps.journal import describe
from linalign.training import loop
from linalign.training.loop import BLOCK, Losses
from linalign.training.options import MOST_STEPS
from tests.examples import examples

HUGE = [10**9, 10**13, MOST_STEPS]


def problem(seed=0):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((12, 5)), rng.standard_normal((12, 3))
    return la.Network.dense([5, 4, 3]).init("gaussian", rng=seed), X, Y


def peak(run):
    tracemalloc.start()
    try:
        return run(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


RECORDS = [
    None, {"loss": 1}, {"alignment": 10, "misalignment": 7}, {"loss": 10**6, "params": "log"}, {"loss": range(0, 10**15, 3)},
    {"alignment": range(10**15, 0, -2)}, {"loss": [0, 5, 10**14]},
]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=str)
@pytest.mark.parametrize("steps", HUGE)
def test_a_run_that_ends_early(steps, record):
    # one block of losses is asked for, most of which is never touched, whatever the number of steps
    net, X, Y = problem()
    options = {"lr": 1e-3, "record": record}
    tol = 1.000001 * float(la.train(net, X, Y, lr=1e-3, steps=30).loss[-1])  # by another summation too
    for implementation in ("kernel", "reference"):
        run, most = peak(lambda: la.train(net, X, Y, steps=steps, tol=tol, implementation=implementation, **options))  # noqa: B023
        assert run.converged
        assert run.steps == 30
        assert most < 8 * BLOCK + 2**22
        small = la.train(net, X, Y, steps=30, implementation=implementation, **options)
        for name, kept in run.history.items():
            if record[name] == "log":  # the last step decides where the others are
                assert kept.steps[-1] == 30
                continue
            np.testing.assert_array_equal(kept.steps, small.history[name].steps)
            np.testing.assert_array_equal(kept.values, small.history[name].values)


@pytest.mark.parametrize("steps", HUGE)
def test_a_run_that_diverges(steps):
    net, X, Y = problem()
    with pytest.raises(la.DivergenceError) as caught:
        la.train(net, X, Y, lr=10.0, steps=steps, record={"loss": 3})
    assert caught.value.run.steps < 30


def test_parts_and_plans():
    net, X, Y = problem()
    assert la.explain(net, X, Y, steps=MOST_STEPS).pivot is not None
    start = la.Network.dense([4, 4, 4]).init("aligned", Y=np.diag([4.0, 3.0, 2.0, 1.0]), singular_values=0.5, rng=0)
    run, most = peak(lambda: la.train(start, None, np.diag([4.0, 3.0, 2.0, 1.0]), lr=0.05, steps=10**12, tol=1e-6, record={"alignment": 1}))
    assert run.converged
    assert most < 8 * BLOCK * 3 + 2**22  # the losses of the whole, of a part, and the scores


def test_a_sweep():
    def make(rng):
        return la.Network.dense([5, 4, 3]).init("gaussian", rng=rng)

    _, X, Y = problem()
    tol = max(float(la.train(make(rng), X, Y, lr=1e-3, steps=30).loss[-1]) for rng in range(2))
    found, most = peak(lambda: la.sweep(make, X, Y, grid={"rng": range(2)}, lr=1e-3, steps=10**13, tol=tol, record={"loss": 5}, threads=1))
    assert found["converged"].all()
    assert most < 8 * BLOCK + 2**22


@pytest.mark.parametrize("steps", [MOST_STEPS + 1, 10**30])
def test_more_steps_than_can_be_counted(steps):
    net, X, Y = problem()
    with pytest.raises(ValueError, match=f"^steps is {steps}; a whole number of at most {MOST_STEPS} was wanted$"):
        la.train(net, X, Y, lr=1.0, steps=steps)
    with pytest.raises(ValueError, match="^steps is "):
        la.explain(net, X, Y, steps=steps)


@pytest.mark.parametrize("steps", [0, 1, 2, 6, 7, 8, 13, 14, 15, 50])
@pytest.mark.parametrize("record", [None, {"loss": 1}, {"loss": 4, "alignment": 3}])
def test_losses_over_many_blocks(monkeypatch, steps, record):
    net, X, Y = problem()
    options = {"lr": 1e-3, "record": record}
    plain = la.train(net, X, Y, steps=steps, **options)
    monkeypatch.setattr(loop, "BLOCK", 7)
    run = la.train(net, X, Y, steps=steps, **options)
    np.testing.assert_array_equal(run.loss, plain.loss)
    for name, kept in run.history.items():
        np.testing.assert_array_equal(kept.steps, plain.history[name].steps)
        np.testing.assert_array_equal(kept.values, plain.history[name].values)


def test_divergence_over_many_blocks(monkeypatch):
    net, X, Y = problem()
    for block in (1, 2, 3, 4, 5, 1000):
        monkeypatch.setattr(loop, "BLOCK", block)
        with pytest.raises(la.DivergenceError) as caught:
            la.train(net, X, Y, lr=10.0, steps=1000)
        assert len(caught.value.run.loss) == caught.value.run.steps + 1
        assert np.isfinite(caught.value.run.loss).all()


def test_blocks_hold_what_was_written(monkeypatch):
    monkeypatch.setattr(loop, "BLOCK", 4)
    losses = Losses(11)
    for step in range(11):
        rest = losses.rest(step)
        assert len(rest) == min(4 - step % 4, 11 - step)
        rest[0] = step
        assert losses.first(step + 1).tolist() == list(range(step + 1))
    kept = losses.first(3)
    losses.rest(0)[0] = -1.0
    assert kept[0] == 0.0


every = st.one_of(
    st.integers(1, 40),
    st.just("log"),
    st.lists(st.integers(0, 120), min_size=1, max_size=8),
    st.builds(range, st.integers(0, 50), st.integers(0, 120), st.integers(1, 30)),
    st.builds(lambda start, step: range(start, -1, -step), st.integers(0, 120), st.integers(1, 30)),
)


@examples(300)
@given(every, st.integers(0, 100))
def test_a_schedule_is_the_set_of_its_steps(every, steps):
    found = schedule("loss", every, steps)
    if every == "log":
        whole = set(found.within(0, steps + 1).tolist())
        assert {0, steps} <= whole
    elif isinstance(every, int):
        whole = {*range(0, steps + 1, every), steps}
    else:
        whole = {step for step in every if step <= steps} | {steps}
    for first in range(0, steps + 2, 3):
        for last in range(first, steps + 2, 7):
            within = found.within(first, last)
            assert within.dtype == np.int64
            assert within.tolist() == sorted(step for step in whole if first <= step < last)
    for step in range(steps):
        assert (step in found) == (step in whole)
        assert found.after(step) == min(later for later in whole if later > step)


@pytest.mark.parametrize(
    ("every", "message"),
    [
        (range(-3, 5), "record['loss'][0] is -3; a whole number of at least 0 was wanted"),
        (range(5, -3, -1), "record['loss'][7] is -2; a whole number of at least 0 was wanted"),
    ],
)
def test_ranges_that_begin_below_zero(every, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        schedule("loss", every, 10)


def test_a_range_is_written_down_as_one():
    assert describe("record", {"loss": range(0, 10**15, 3)}) == [["loss", {"range": [0, 10**15, 3]}]]
