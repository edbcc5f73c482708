"""The plan of some problems, as a stranger reads it: the whole text.

The text does not depend on the machine: the instruction set is set to avx2 (nothing is run), and the measured residuals, which
are rounding and differ from one BLAS to another, are checked against their limit and printed as `E`.
"""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import linalign as la
from linalign.plan import machine
from linalign.plan.plan import Plan
from linalign.reduce.width import RESIDUAL_TOLERANCE
from tests.oracles.reductions import ALL, STARTS, data, direct_sum, haar, problem, unit


def authors():
    rng = np.random.default_rng(0)
    net = la.Network.dense([784, 1024, 64, 10]).init("xavier", rng=0)
    return la.explain(net, rng.standard_normal((256, 784)), rng.standard_normal((256, 10)))


def authors_cross_entropy():
    rng = np.random.default_rng(0)
    net = la.Network.dense([784, 1024, 64, 10]).init("xavier", rng=0)
    return la.explain(net, rng.standard_normal((256, 784)), rng.integers(10, size=256), loss="cross_entropy", momentum=0.9)


def aligned():
    X = data(np.random.default_rng(0), 1000, 100, 100)
    net = la.Network.dense([100] * 5).init("aligned", X=X, Y=X, rng=0, singular_values=0.8)
    return la.explain(net, X, X)


def parsimony():
    rng = np.random.default_rng(0)
    W = [0.1 * haar(rng, 30) for _ in range(3)]
    return la.explain(la.Network.from_matrices(W), None, unit(rng.standard_normal((30, 3)) @ rng.standard_normal((3, 30))), reduce=ALL)


def equal_blocks():
    W, Y = direct_sum(np.random.default_rng(0), [(6, 9, 9, 6)], copies=4)
    return la.explain(la.Network.from_matrices(W), None, Y, reduce=ALL)


def nearly_closed():
    rng = np.random.default_rng(0)
    W = STARTS["orthogonal"](rng, (20, 20, 20, 20, 3))
    W[1] = W[1] + 1e-8 * rng.standard_normal((20, 20))
    return la.explain(la.Network.from_matrices(W), *problem("squared", rng, (20, 3), 6)[:2], reduce=ALL)


def cyclic_logistic():
    net = la.Network.dense([6, 5, 4, 1]).init("gaussian", rng=0)
    X, Y, loss = problem("logistic", np.random.default_rng(0), (6, 1), 40)
    return la.explain(net, X, Y, loss=loss, update="cyclic")


def reference():
    net = la.Network.dense([5, 5, 5, 5]).init("gaussian", rng=0)
    return la.explain(net, *problem("mse", np.random.default_rng(0), (5, 5), 5)[:2], loss="mse", implementation="reference")


def switched_off():
    net = la.Network.dense([784, 4, 1]).init("xavier", rng=0)
    return la.explain(net, *problem("squared", np.random.default_rng(0), (784, 1), 8)[:2], reduce=["inputs"], pivot=1)


def read(plan):
    """The text with the measured residuals checked and taken out."""
    for r in plan.reductions:
        assert r.residual is None or r.residual <= RESIDUAL_TOLERANCE
    return re.sub(r"checked to \de[-+]\d\d", "checked to E", str(plan))


@pytest.fixture(autouse=True)
def avx2(monkeypatch):
    monkeypatch.setattr(machine, "ISA", "avx2")
    monkeypatch.setattr(machine, "TILE", 64)
    monkeypatch.setattr(machine, "PANELS", 0)


TEXTS = {
    authors: """\
plan: 3,077,120 multiply-adds a step; backpropagation as given takes 461,864,960, 150 times as many
  given     784-1024-64-10, 256 rows         squared loss, simultaneous updates, float64
  samples   not used                         the 256 rows are independent
  inputs    784 inputs -> 256                T8.1: the first layer moves in the range of X only, where the data are diagonal; checked to E
  width     256-1024-64-10 -> 256-320-64-10  T8.1: these subspaces are closed, the rest never moves; checked to E
  split     not used                         the network and the data are one block
  run       256-320-64-10, 256 rows          3,077,120 multiply-adds a step
  pivot     3 of 3, 10 rows in flight        fewest multiply-adds
  kernel    tile-avx2 and BLAS               1 of 3 layers are small enough for the tile; workspace 124 kB
  not used  other pivots                     multiply-adds a step: 0 (58,163,200), 1 (3,235,840), 2 (16,252,928)""",
    authors_cross_entropy: """\
plan: 4,382,720 multiply-adds a step; backpropagation as given takes 461,864,960, 105 times as many
  given     784-1024-64-10, 256 rows         cross_entropy loss, simultaneous updates, float64
  samples   not used                         needs a quadratic loss, cross_entropy is not
  inputs    784 inputs -> 256                T8.1: the first layer moves in the range of X only; checked to E
  width     256-1024-64-10 -> 256-320-64-10  T8.1: these subspaces are closed, the rest never moves; checked to E
  split     not used                         needs a quadratic loss, cross_entropy is not
  run       256-320-64-10, 256 rows          4,382,720 multiply-adds a step
  pivot     3 of 3, 10 rows in flight        fewest multiply-adds
  kernel    tile-avx2 and BLAS               1 of 3 layers are small enough for the tile; workspace 948 kB
  not used  other pivots                     multiply-adds a step: 0 (58,163,200), 1 (45,015,040), 2 (24,608,768)""",
    aligned: """\
plan: 1,600 multiply-adds a step; backpropagation as given takes 110,000,000, 6.88e+04 times as many
  given    100-100-100-100-100, 1000 rows  squared loss, simultaneous updates, float64
  samples  1000 rows -> 100                T7.1: rank(X) rows have the same loss up to a constant; checked to E
  inputs   100 inputs -> 100               T8.1: the first layer moves in the range of X only, where the data are diagonal; checked to E
  width    not used                        no smaller subspaces are closed under the layers
  split    100 scalar modes                T8.3: independent parts, equal ones run once; checked to E
  run      100-100-100-100-100, 100 rows   1,600 multiply-adds a step
  pivot    4 of 4, 100 rows in flight      of the whole; each part has its own
  kernel   modes                           each part in its own loop; workspace 640 kB""",
    parsimony: """\
plan: 1,308 multiply-adds a step; backpropagation as given takes 216,000, 165 times as many
  given    30-30-30-30, 30 rows                   squared loss, simultaneous updates, float64
  samples  not used                               there are no samples: the loss is on the product
  inputs   not used                               there are no samples: the loss is on the product
  width    not used                               no smaller subspaces are closed under the layers
  split    6-6-6-6, 24 scalar modes (1 distinct)  T8.3: independent parts, equal ones run once; checked to E
  run      30-30-30-30, 30 rows                   1,308 multiply-adds a step
  pivot    3 of 3, 30 rows in flight              of the whole; each part has its own
  kernel   modes and blocks                       each part in its own loop; workspace 50 kB""",
    equal_blocks: """\
plan: 2,430 multiply-adds a step; backpropagation as given takes 196,992, 81.1 times as many
  given    24-36-36-24, 24 rows       squared loss, simultaneous updates, float64
  samples  not used                   there are no samples: the loss is on the product
  inputs   not used                   there are no samples: the loss is on the product
  width    not used                   no smaller subspaces are closed under the layers
  split    4 x 6-9-9-6                T8.3: independent parts, equal ones run once; checked to E
  run      24-36-36-24, 24 rows       2,430 multiply-adds a step
  pivot    3 of 3, 24 rows in flight  of the whole; each part has its own
  kernel   blocks                     each part in its own loop; workspace 41 kB""",
    nearly_closed: """\
plan: 8,316 multiply-adds a step; backpropagation as given takes 20,280, 2.44 times as many
  given     20-20-20-20-3, 6 rows     squared loss, simultaneous updates, float64
  samples   not used                  the 6 rows are independent
  inputs    20 inputs -> 6            T8.1: the first layer moves in the range of X only, where the data are diagonal; checked to E
  width     not used                  refused: nearly closed subspaces, off by 2e-09, more than 1e-12
  split     not used                  the network and the data are one block
  run       6-20-20-20-3, 6 rows      8,316 multiply-adds a step
  pivot     4 of 4, 3 rows in flight  fewest multiply-adds
  kernel    tile-avx2                 no product has more than 64 columns, or sums of more terms; workspace 2,760 bytes
  not used  other pivots              multiply-adds a step: 0 (16,920), 1 (28,920), 2 (12,120), 3 (32,520)""",
    cyclic_logistic: """\
plan: 2,516 multiply-adds a step; backpropagation as given takes 5,280, 2.1 times as many
  given    6-5-4-1, 40 rows          logistic loss, cyclic updates, float64
  samples  not used                  needs a quadratic loss, logistic is not
  inputs   not used                  X has full rank 6
  width    not used                  no smaller subspaces are closed under the layers
  split    not used                  needs a quadratic loss, logistic is not
  run      6-5-4-1, 40 rows          2,516 multiply-adds a step
  pivot    0 of 3, 6 rows in flight  cyclic updates have one schedule
  kernel   tile-avx2                 no product has more than 64 columns, or sums of more terms; workspace 1,664 bytes""",
    reference: """\
plan: 1,000 multiply-adds a step; backpropagation as given takes 1,000, 1 times as many
  given   5-5-5-5, 5 rows           squared loss, simultaneous updates, float64
  run     5-5-5-5, 5 rows           1,000 multiply-adds a step
  pivot   0 of 3, 5 rows in flight  the reference runs the problem as given, by backpropagation
  kernel  NumPy                     implementation='reference'; workspace 1,400 bytes""",
    switched_off: """\
plan: 160 multiply-adds a step; backpropagation as given takes 50,272, 314 times as many
  given     784-4-1, 8 rows           squared loss, simultaneous updates, float64
  samples   not used                  switched off
  inputs    784 inputs -> 8           T8.1: the first layer moves in the range of X only, where the data are diagonal; checked to E
  width     not used                  switched off
  split     not used                  switched off
  run       8-4-1, 8 rows             160 multiply-adds a step
  pivot     1 of 2, 4 rows in flight  asked for
  kernel    tile-avx2                 no product has more than 64 columns, or sums of more terms; workspace 1,504 bytes
  not used  other pivots              multiply-adds a step: 0 (608), 2 (112)""",
}


@pytest.mark.parametrize("build", TEXTS, ids=lambda build: build.__name__)
def test_the_whole_text(build):
    assert read(build()) == TEXTS[build]


@pytest.mark.parametrize("build", TEXTS, ids=lambda build: build.__name__)
def test_plans_are_deterministic_and_survive_json(build):
    plan = build()
    assert build() == plan
    assert hash(plan) == hash(build())
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


@pytest.mark.parametrize("build", TEXTS, ids=lambda build: build.__name__)
def test_the_columns_line_up(build):
    head, *rows = str(build()).split("\n")
    assert head.startswith("plan: ")
    starts = {tuple(m.start() for m in re.finditer(r"(?<=  )\S", line))[:3] for line in rows}
    assert len({s[0] for s in starts}) == len({s[1] for s in starts}) == len({s[2] for s in starts if len(s) > 2}) == 1


def test_repr_is_one_line():
    assert repr(switched_off()) == "Plan(784-4-1 as 8-4-1, pivot 1, 160 multiply-adds a step)"


def test_nothing_is_claimed_that_training_does_not_do():
    # the plan that train follows is the one that explain prints
    rng = np.random.default_rng(0)
    net = la.Network.dense([9, 14, 5, 3]).init("gaussian", rng=0)
    X, Y, _ = problem("squared", rng, (9, 3), 20, 4)
    for reduce in ("auto", "none", ALL, ["inputs"], ["width"]):
        assert la.train(net, X, Y, lr=1e-3, steps=500, reduce=reduce).plan == la.explain(net, X, Y, reduce=reduce, steps=500)


@pytest.mark.parametrize(
    "options", [{"batch": 4}, {"batch": 1}, {"order": np.zeros((500, 3), dtype=int)}, {"label_noise": 0.1}, {"gradient_noise": 0.1},
                {"optimizer": "adam", "clip_norm": 1.0, "average": 0.9}, {"batch": 4, "lr": "auto"}], ids=str,
)  # fmt: skip
def test_explain_knows_what_train_is_told_of_a_step(options):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((30, 9)), rng.standard_normal((30, 4))
    net = la.Network.dense([9, 7, 4]).init("gaussian", rng=0)
    run = la.train(net, X, Y, **{"lr": 1e-3, "steps": 500, "rng": 0} | options)
    assert run.plan == la.explain(net, X, Y, steps=500, **{"lr": 1e-3} | options)


def test_explain_asks_a_stream_for_its_first_data():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((5, 9)), rng.standard_normal((5, 4))
    net = la.Network.dense([9, 7, 4]).init("gaussian", rng=0)
    asked = []
    plan = la.explain(net, stream=lambda t: asked.append(t) or (X, Y), steps=50)
    assert set(asked) <= {0}
    assert plan == la.train(net, stream=lambda t: (X, Y), lr=1e-3, steps=50).plan
