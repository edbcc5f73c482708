"""Plans of the foundation: products counted, pivots chosen, kernels named. (What the reductions add: test_explain.py.)"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linalign as la
from linalign.plan import cost, machine
from linalign.problem.problem import make_problem
from tests.oracles.checks import descent


def problem(widths, n, loss="squared", dtype=np.float64):
    rng = np.random.default_rng(0)
    net = la.Network.dense(widths).init("gaussian", rng=0, dtype=dtype)
    if n is None:
        return net, None, rng.standard_normal((widths[-1], widths[0])).astype(dtype)
    return net, rng.standard_normal((n, widths[0])).astype(dtype), rng.standard_normal((n, widths[-1])).astype(dtype)


@pytest.fixture
def isa(monkeypatch):
    """Plan as for this processor; nothing is run."""

    def choose(name):
        monkeypatch.setattr(machine, "ISA", name)
        monkeypatch.setattr(machine, "TILE", 24)
        monkeypatch.setattr(machine, "PANELS", 0)

    return choose


# ---- counts ----------------------------------------------------------------------------------------------------------------

shapes = st.lists(st.integers(1, 9), min_size=2, max_size=6)


@given(shapes, st.integers(1, 12))
def test_multiply_adds_are_those_of_the_theory(k, n):
    """Section 10 of docs/theory: `k_p (3 S - 2 m_p - 2 m_{p+1}) + n k_p (2 k_0 + 3 k_d)`, less the gradients next to the identity, which are copies."""
    made = make_problem(*problem(k, n), "squared")
    m = [a * b for a, b in pairwise(k)]
    total, d = sum(m), len(m)
    assert cost.backpropagation(made) == n * (3 * total - m[0])
    found = cost.pivots(made)
    assert [p.at for p in found] == list(range(d + 1))
    for p in range(1, d):
        assert found[p].rows == k[p]
        assert found[p].macs == k[p] * (3 * total - 3 * m[p - 1] - 3 * m[p]) + n * k[p] * (2 * k[0] + 3 * k[-1])
    assert found[d].macs == k[d] * (3 * total - 3 * m[d - 1]) + 2 * n * k[d] * k[0]
    if n <= k[0]:
        assert found[0].macs == cost.backpropagation(made)
        assert found[0].rows == n
    else:  # rows of the identity; the samples enter once forward and once backward
        assert found[0].macs == k[0] * (3 * total - 3 * m[0]) + 2 * n * k[0] * k[-1]
        assert found[0].rows == k[0]


@given(shapes)
def test_multiply_adds_of_a_factorisation(k):
    made = make_problem(*problem(k, None), "squared")
    m = [a * b for a, b in pairwise(k)]
    total, d = sum(m), len(m)
    found = cost.pivots(made)
    assert found[0].macs == k[0] * 3 * (total - m[0])
    assert found[d].macs == k[d] * 3 * (total - m[d - 1])
    for p in range(1, d):
        assert found[p].macs == k[p] * 3 * (total - m[p - 1] - m[p]) + 3 * k[0] * k[p] * k[-1]


def test_counts_by_hand():
    # 2-3-4, one layer after the pivot 1 and one before, 5 samples, and nothing but what meets there:
    # H = W_1 X' (3 x 2 x 5), O = W_2 H (4 x 3 x 5), Q = W_2' E (3 x 4 x 5), E H' (4 x 5 x 3), Q X (3 x 5 x 2)
    made = make_problem(*problem([2, 3, 4], 5), "squared")
    assert cost.pivots(made)[1].macs == 30 + 60 + 60 + 60 + 30
    assert sorted(np.prod(p) for p in cost.products(cost.sizes(made), 1)) == [30, 30, 60, 60, 60]
    # pivot 0 from the identity: A_1 = W_1' free, A_2 = A_1 W_2' (2 x 3 x 4), O = X A_2 (5 x 2 x 4), X' E (2 x 5 x 4),
    # D_1 = D_2 W_2 (2 x 4 x 3), W_2's gradient (4 x 2 x 3), W_1's free
    assert cost.pivots(made)[0].macs == 24 + 40 + 40 + 24 + 24
    # cyclic, layer 1: A_1 free but counted as a product here, twice, and its gradient
    sweep = cost.cycle(cost.sizes(made))
    assert sum(np.prod(p) for p in sweep) == 2 * 6 * 2 + 2 * 24 + 2 * (40 + 40) + 12 + 2 * 24


def test_other_losses_cost_what_the_squared_one_does():
    widths, n = (6, 5, 4), 9
    net, X, Y = problem(widths, n)
    plain = cost.pivots(make_problem(net, X, Y, "squared"))
    signs = cost.pivots(make_problem(net, X, np.sign(Y), "logistic"))
    assert plain == signs


# ---- choice ----------------------------------------------------------------------------------------------------------------


def chosen(widths, n, **options):
    return la.explain(*problem(widths, n), **{"reduce": "none", **options})


def test_the_fastest_end_is_taken(isa):
    isa("base")
    plan = chosen((40, 30, 20, 2), 200)
    assert (plan.pivot.at, plan.pivot.rows, plan.pivot_why) == (3, 2, "fewest multiply-adds")
    assert [p.at for p in plan.rejected] == [0, 1, 2]
    assert min(p.macs for p in plan.rejected) > plan.macs == plan.pivot.macs
    plan = chosen((40, 30, 20, 30), 5)
    assert (plan.pivot.at, plan.pivot_why) == (0, "fewest multiply-adds; this is backpropagation")
    assert plan.macs == plan.macs_before


def test_a_bottleneck_is_taken_where_it_saves_a_tenth(isa):
    isa("base")
    plan = chosen((512, 512, 4, 512, 512), 512)
    assert (plan.pivot.at, plan.pivot.rows, plan.pivot_why) == (2, 4, "a bottleneck: fewest multiply-adds")
    assert plan.pivot.nanoseconds < 0.9 * min(plan.rejected[0].nanoseconds, plan.rejected[-1].nanoseconds)


def test_an_end_wins_a_near_tie(isa, monkeypatch):
    isa("base")
    # interior pivots are a digit less accurate: a twentieth is not enough to take one
    made = make_problem(*problem((8, 8, 8), 8), "squared")
    times = {0: 100.0, 1: 95.0, 2: 110.0}
    true = cost.pivots(made)
    macs = {0: 3, 1: 2, 2: 3}
    monkeypatch.setattr(cost, "pivots", lambda p: [cost.Pivot(q.at, q.rows, macs[q.at], times[q.at]) for q in true])

    def choice():
        found, why, _ = cost.choose(made, descent(2))
        return found.at, why

    assert choice() == (0, "an end is more accurate, and nearly the fastest; this is backpropagation")
    times[1] = 89.0
    assert choice() == (1, "a bottleneck: fewest multiply-adds")
    macs[0] = 1
    assert choice() == (1, "fastest by the cost model")
    times[1] = 95.0
    assert choice() == (0, "fewest multiply-adds; this is backpropagation")
    macs[0], times[1] = 3, 105.0
    assert choice() == (0, "fastest by the cost model; this is backpropagation")


def test_the_pivot_that_is_asked_for_is_taken():
    for p in range(4):
        plan = chosen((4, 5, 6, 3), 7, pivot=p)
        assert (plan.pivot.at, plan.pivot_why) == (p, "asked for")
        assert sorted([plan.pivot.at, *(q.at for q in plan.rejected)]) == [0, 1, 2, 3]


def test_all_pivots_run_the_same():
    net, X, Y = problem((4, 5, 6, 3), 7)
    losses = [la.train(net, X, Y, lr=1e-3, steps=20, pivot=p, reduce="none").loss for p in range(4)]
    for loss in losses[1:]:
        # twenty steps of a contraction, each of a few hundred roundings
        assert loss == pytest.approx(losses[0], rel=20 * 300 * 2.0**-53)
    assert len({loss.tobytes() for loss in losses}) > 1


@given(shapes, st.integers(1, 12), st.sampled_from(["base", "avx2", "avx512"]))
def test_the_choice_is_never_slower_than_an_end_by_its_own_model(k, n, name):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "ISA", name)
        patch.setattr(machine, "TILE", 24)
        patch.setattr(machine, "PANELS", 0)
        made = make_problem(*problem(k, n), "squared")
        # with momentum nothing runs in registers, which is taken whatever the model says of products one by one
        found, _, others = cost.choose(made, descent(len(k) - 1, momentum=0.9))
    assert len(others) == len(k) - 1
    ends = [p.nanoseconds for p in (found, *others) if p.at in (0, len(k) - 1)]
    assert found.nanoseconds <= min(ends)


# ---- text ------------------------------------------------------------------------------------------------------------------

TEXTS = {
    "BLAS": (
        ("base", (5, 4, 3), 9, {}),
        """\
plan: 450 multiply-adds a step; backpropagation as given takes 684, 1.52 times as many
  given     5-4-3, 9 rows             squared loss, simultaneous updates, float64
  samples   not used                  switched off
  inputs    not used                  switched off
  width     not used                  switched off
  split     not used                  switched off
  run       5-4-3, 9 rows             450 multiply-adds a step
  pivot     2 of 2, 3 rows in flight  fewest multiply-adds
  kernel    BLAS                      no register tile for this processor; workspace 744 bytes
  not used  other pivots              multiply-adds a step: 0 (450), 1 (684)""",
    ),
    "tile, cyclic": (
        ("avx2", (6, 4, 6), 5, {"update": "cyclic", "momentum": 0.9}),
        """\
plan: 840 multiply-adds a step; backpropagation as given takes 600, 0.714 times as many
  given    6-4-6, 5 rows             squared loss, cyclic updates, float64
  samples  not used                  switched off
  inputs   not used                  switched off
  width    not used                  switched off
  split    not used                  switched off
  run      6-4-6, 5 rows             840 multiply-adds a step
  pivot    0 of 2, 5 rows in flight  cyclic updates have one schedule
  kernel   tile-avx2                 no product has more than 24 columns, or sums of more terms; workspace 1,744 bytes""",
    ),
    "too large for the tile": (
        ("avx512", (100, 90, 80), None, {"loss": "mse"}),
        """\
plan: 2,160,000 multiply-adds a step; backpropagation as given takes 3,960,000, 1.83 times as many
  given     100-90-80, 100 rows        squared loss, simultaneous updates, float64
  samples   not used                   switched off
  inputs    not used                   switched off
  width     not used                   switched off
  split     not used                   switched off
  run       100-90-80, 100 rows        2,160,000 multiply-adds a step
  pivot     2 of 2, 80 rows in flight  fewest multiply-adds
  kernel    BLAS                       products too large for the register tile; workspace 365 kB
  not used  other pivots               multiply-adds a step: 0 (2,160,000), 1 (2,160,000)""",
    ),
}


def test_a_plan_says_what_goes_by_panels(isa, monkeypatch):
    isa("avx512")
    monkeypatch.setattr(machine, "PANELS", 20)
    # all layers, and all beside one that the tile takes; 19 rows in flight are too few, or 18 outputs
    assert chosen((100, 90, 40), None, loss="mse").kernel == "panels-avx512"
    assert chosen((20, 20, 90, 40), 50, pivot=0, reduce="none").kernel == "tile-avx512 and panels-avx512"
    assert chosen((100, 90, 19), None, loss="mse").kernel == "BLAS"
    assert chosen((100, 90, 40, 60, 18), 50, pivot=0, reduce="none").kernel == "panels-avx512 and BLAS"


@pytest.mark.parametrize(("given", "text"), TEXTS.values(), ids=TEXTS)
def test_the_whole_text_of_a_plan_without_reductions(isa, given, text):
    name, widths, n, options = given
    isa(name)
    assert str(chosen(widths, n, **options)) == text
