"""The kernel of scalar modes against the recursion written out in NumPy, for every instruction set and option."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linalign._kernels import _modes
from linalign.plan import machine
from tests.oracles.checks import CONVERGED, DIVERGED, RUNNING, isas
from tests.oracles.extended import LD

ISAS = [name for name in isas() if name in machine.LEVELS]
OPTIONS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "decay": {"decay": 0.3},
    "momentum and decay": {"momentum": 0.5, "decay": 0.3},
}


def make(d, r, dtype, seed=0):
    rng = np.random.default_rng([d, r, seed])
    return {
        "sigma": rng.uniform(-1, 1, (d, r)).astype(dtype),
        "x": rng.uniform(0.1, 1, r).astype(dtype),
        "y": rng.uniform(-1, 1, r).astype(dtype),
        "weight": rng.integers(1, 4, r).astype(np.float64),
    }


def bind(case, isa, *, lr=0.1, decay=0.0, momentum=0.0, cyclic=False, factor=0.5, floor=0.0):
    d = len(case["sigma"])
    return _modes.Modes(
        case["sigma"], case["x"], case["y"], case["weight"], factor=factor, floor=floor, lr=np.full(d, lr) * np.arange(1, d + 1),
        decay=np.full(d, decay) / np.arange(1, d + 1), momentum=momentum, cyclic=cyclic, level=machine.LEVELS[isa],
    )  # fmt: skip


def steps(case, count, *, lr=0.1, decay=0.0, momentum=0.0, cyclic=False, factor=0.5):
    """Losses before each step and after the last, and the scalars, in 80-bit arithmetic: section 4 of docs/theory."""
    s, x, y = (case[name].astype(LD) for name in ("sigma", "x", "y"))
    d = len(s)
    lr, decay = np.full(d, lr) * np.arange(1, d + 1), np.full(d, decay) / np.arange(1, d + 1)
    v, values = np.zeros_like(s), []
    for t in range(count + 1):
        values.append(factor * np.sum(case["weight"] * (x * s.prod(axis=0) - y) ** 2))
        if t == count:
            break
        old = s.copy()
        for i in range(d):
            at = s if cyclic else old
            others = np.delete(at, i, axis=0).prod(axis=0)
            v[i] = momentum * v[i] + 2 * factor * x * (x * at.prod(axis=0) - y) * others + decay[i] * at[i]
            s[i] = at[i] - lr[i] * v[i]
    return np.array(values, dtype=np.float64), s


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("cyclic", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("isa", ISAS)
def test_against_the_recursion(isa, dtype, cyclic, options):
    for d in (1, 2, 3, 6):
        for r in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33):
            case = make(d, r, dtype)
            lr = 0.1 / d
            engine = bind(case, isa, lr=lr, cyclic=cyclic, **options)
            values, want = np.empty(30), steps(case, 30, lr=lr, cyclic=cyclic, **options)
            assert engine.advance(30, values, -np.inf) == (RUNNING, 30)
            # 30 steps of at most 3 d + 8 roundings, in scalars of size at most about one whose step has a derivative of at
            # most 1 + lr d (3 d): growth below 10
            bound = 10 * 30 * (3 * d + 8) * np.finfo(dtype).eps
            np.testing.assert_allclose(values, want[0][:-1], rtol=0, atol=bound * want[0][0] + bound * case["weight"].sum())
            np.testing.assert_allclose(engine.sigma, want[1].astype(np.float64), rtol=0, atol=bound)
            status, value = engine.value(-np.inf)
            assert status == RUNNING
            assert value == pytest.approx(want[0][-1], rel=0, abs=bound * case["weight"].sum() * 2)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("cyclic", [False, True])
def test_any_cut_of_the_run_is_the_same_run(isa, cyclic):
    case = make(3, 11, np.float64)
    whole, parts = (bind(case, isa, momentum=0.5, decay=0.1, cyclic=cyclic) for _ in range(2))
    a, b = np.empty(40), np.empty(40)
    whole.advance(40, a, -np.inf)
    at = 0
    for count in (1, 0, 2, 17, 20):
        # with a tolerance the loss is looked at before the step: the same bits
        parts.advance(count, b[at : at + count], 0.0 if count == 17 else -np.inf)
        parts.value(-np.inf)
        at += count
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(whole.sigma, parts.sigma)


@pytest.mark.parametrize("isa", ISAS)
def test_it_stops_before_the_step_that_is_not_needed(isa):
    case = make(2, 5, np.float64)
    values, _ = steps(case, 20)
    floor = 0.25
    engine = bind(case, isa, floor=floor)
    got = np.empty(20)
    assert engine.advance(20, got, floor + 0.5 * (values[6] + values[7])) == (CONVERGED, 7)
    np.testing.assert_allclose(engine.sigma, steps(case, 7)[1].astype(float), rtol=1e-12)
    assert engine.value(floor + 2 * values[7])[0] == CONVERGED
    assert engine.value(floor)[0] == RUNNING


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("isa", ISAS)
def test_divergence(isa, dtype):
    case = make(3, 9, dtype)
    engine = bind(case, isa, lr=300.0)
    values = np.empty(100)
    status, taken = engine.advance(100, values, -np.inf)
    assert status == DIVERGED
    assert np.isfinite(values[:taken]).all()
    assert not np.isfinite(values[taken])
    assert engine.value(-np.inf)[0] == DIVERGED


@pytest.mark.parametrize("isa", ISAS)
def test_the_callers_arrays_are_not_touched(isa):
    case = make(3, 8, np.float64)
    kept = {name: array.copy() for name, array in case.items()}
    bind(case, isa, momentum=0.5).advance(10, np.empty(10), -np.inf)
    for name, array in case.items():
        np.testing.assert_array_equal(array, kept[name])


def test_room_for_the_losses_is_checked():
    with pytest.raises(ValueError, match="values has room for 3 losses; 4 steps were asked for"):
        bind(make(2, 3, np.float64), ISAS[0]).advance(4, np.empty(3), -np.inf)


@given(st.integers(1, 6), st.integers(1, 20), st.integers(0, 999), st.sampled_from(ISAS), st.booleans())
def test_a_mode_does_not_know_the_others(d, r, seed, isa, cyclic):
    # alone or beside others, in whatever lane: the same bits
    case = make(d, r, np.float64, seed)
    together = bind(case, isa, cyclic=cyclic, momentum=0.3, decay=0.1)
    together.advance(10, np.empty(10), -np.inf)
    j = seed % r
    alone = {name: array[..., j : j + 1] for name, array in case.items()}
    single = bind(alone, isa, cyclic=cyclic, momentum=0.3, decay=0.1)
    single.advance(10, np.empty(10), -np.inf)
    np.testing.assert_array_equal(together.sigma[:, j], single.sigma[:, 0])
