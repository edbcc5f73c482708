"""Width: closed subspaces, alone, over starts, losses, options; and subspaces that are only nearly closed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linalign as la
from linalign.reduce.width import RESIDUAL_TOLERANCE
from tests.oracles.reductions import (
    EVERYTHING,
    STARTS,
    applied,
    assert_same,
    assert_same_up_to_rounding,
    both,
    both_or_neither,
    distance,
    haar,
    problem,
    row,
)
from tests.reduce.test_inputs import LOSSES, OPTIONS

pytestmark = pytest.mark.usefixtures("whatever_holds")

SHRINKS = {"orthogonal", "identity middle", "zero first layer", "balanced", "gaussian", "low rank layer", "block diagonal"}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("loss", [*LOSSES, "entries"])
@pytest.mark.parametrize("start", sorted(SHRINKS))
def test_width_alone(start, loss, options):
    rng = np.random.default_rng(1)
    # 4 + 5 < 15: the wide layer of any start shrinks
    k = (4, 15, 5, 3)
    net = la.Network.from_matrices(STARTS[start](rng, k))
    X, Y, loss = problem(loss, rng, k, None if loss == "entries" else 6)
    full, less = both(net, X, Y, loss=loss, reduce=["width"], record=EVERYTHING, **options)
    assert applied(less) == ("width",)
    assert sum(less.plan.widths_after) < sum(k)
    assert row(less, "width").residual <= RESIDUAL_TOLERANCE
    assert_same(full, less)


@pytest.mark.parametrize("loss", [*LOSSES, "entries"])
def test_factorisation(loss):
    rng = np.random.default_rng(2)
    k = (4, 15, 3)
    net = la.Network.from_matrices(STARTS["gaussian"](rng, k))
    X, Y, loss = problem(loss, rng, k)
    full, less = both(net, X, Y, loss=loss, reduce=["width"], record=EVERYTHING, momentum=0.7, weight_decay=[0.01, 0.02])
    assert less.plan.widths_after == (4, 7, 3)
    assert_same(full, less)


@pytest.mark.parametrize("middle", ["identity", "orthogonal"])
def test_wide_networks_reduce_to_the_rank_and_the_outputs(middle):
    # T8.1: the middle maps subspaces to subspaces of the same size, so rank(X) + k_d is enough at every vertex
    rng = np.random.default_rng(3)
    k = (400, 400, 400, 400, 5)
    W = [rng.standard_normal((b, a)) / 20 for a, b in pairwise(k)]
    W[1:3] = (np.eye(400), np.eye(400)) if middle == "identity" else (haar(rng, 400), haar(rng, 400))
    X = rng.standard_normal((60, 12)) @ rng.standard_normal((12, 400)) / 240
    Y = np.sign(rng.standard_normal((60, 5)))
    full, less = both(la.Network.from_matrices(W), X, Y, loss="logistic", steps=20)
    assert less.plan.widths_after == (12, 17, 17, 17, 5)
    assert_same(full, less)
    quadratic = la.explain(la.Network.from_matrices(W), X, Y)
    assert quadratic.widths_after == (12, 17, 17, 17, 5)


def test_the_authors_network():
    rng = np.random.default_rng(4)
    net = la.Network.dense([784, 1024, 64, 10]).init("xavier", rng=0)
    X = rng.standard_normal((256, 784)) / 28
    Y = rng.standard_normal((256, 10))
    for loss in ("squared", "cross_entropy"):
        T = Y if loss == "squared" else rng.integers(10, size=256)
        full, less = both(net, X, T, loss=loss, steps=8, lr=1e-3, momentum=0.9, weight_decay=1e-3)
        assert less.plan.widths_after == (256, 320, 64, 10)
        assert_same(full, less)


def test_targets_of_low_rank_shrink_the_outputs_too():
    # T8.2: an orthogonal start, factorisation of a matrix of rank r: closed subspaces of 2 r are split's; width needs S_0 = all
    rng = np.random.default_rng(5)
    k = (3, 20, 9)
    W = STARTS["zero first layer"](rng, k)
    W[1] = np.zeros((9, 20))
    W[1][:2] = rng.standard_normal((2, 20))
    T = np.zeros((9, 3))
    T[:2] = rng.standard_normal((2, 3))
    full, less = both(la.Network.from_matrices(W), None, T, reduce=["width"], record=EVERYTHING)
    assert less.plan.widths_after == (3, 2, 2)
    assert "T8.2" in row(less, "width").why
    assert_same(full, less)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("e", [1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-9, 1e-6])
def test_nearly_closed_subspaces(e, loss):
    # an error r of the closure is an error r of the start; it is accepted up to 1e-12, and 2,000 steps that contract
    # or are neutral add it up to no more than the sum of |W - W(0)| r: far below 1e-10
    rng = np.random.default_rng(6)
    k = (5, 30, 30, 30, 4)
    W = STARTS["gaussian"](rng, k)
    for i in (1, 2):
        W[i] = haar(rng, 30) + e * rng.standard_normal((30, 30))
    X, Y, loss = problem(loss, rng, k, 5)
    # ends of norm 3.4 and 2: a rate of 0.005 is below the edge of stability
    full, less = both(la.Network.from_matrices(W), X, Y, loss=loss, reduce=["width"], lr=0.005)
    assert_same(full, less)
    report = row(less, "width")
    if e <= 1e-14:
        assert report.applied
        assert report.residual <= RESIDUAL_TOLERANCE
    if e >= 1e-10:
        # the number is the share of the layer that leads outside, and W_2 has norm sqrt(30)
        assert not report.applied
        text, number = report.why.removesuffix(", more than 1e-12").rsplit(" ", 1)
        assert text == "refused: nearly closed subspaces, off by"
        assert e / 100 <= float(number) <= e * 10


@given(
    st.lists(st.integers(1, 9), min_size=3, max_size=5), st.integers(1, 6), st.sampled_from(sorted(STARTS)),
    st.sampled_from([*LOSSES, "entries"]), st.booleans(), st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_any_shape(k, n, start, loss, product, cyclic, seed):
    rng = np.random.default_rng(seed)
    net = la.Network.from_matrices(STARTS[start](rng, k))
    X, Y, loss = problem(loss, rng, k, None if product else n)
    options = {"loss": loss, "steps": 200, "momentum": 0.5, "weight_decay": 0.05, "update": "cyclic" if cyclic else "simultaneous"}
    runs = both_or_neither(net, X, Y, reduce=["width"], **options)
    if runs is not None:
        assert all(a <= b for a, b in zip(runs[1].plan.widths_after, k, strict=True))
        assert_same_up_to_rounding(net, X, Y, *runs, **options)


def test_single_precision():
    rng = np.random.default_rng(8)
    k = (4, 25, 3)
    net = la.Network.from_matrices(STARTS["gaussian"](rng, k)).astype(np.float32)
    X, Y, _ = problem("squared", rng, k, 6)
    full, less = both(net, X.astype(np.float32), Y.astype(np.float32), reduce=["width"], weight_decay=0.01)
    assert applied(less) == ("width",)
    # 2,000 roundings of 6e-8 in each run
    assert distance(full, less) <= 2000 * 2 * 2.0**-24


def test_what_does_not_reduce_says_so():
    rng = np.random.default_rng(9)
    k = (6, 6, 6, 6)
    net = la.Network.from_matrices(STARTS["gaussian"](rng, k))
    report = row(la.explain(net, None, rng.standard_normal((6, 6)), reduce=["width"]), "width")
    assert (report.applied, report.why) == (False, "no smaller subspaces are closed under the layers")
    net = la.Network([la.Dense(3, 2)]).init("gaussian", rng=0)
    X, Y = rng.standard_normal((4, 3)), np.sign(rng.standard_normal((4, 2)))
    assert row(la.explain(net, X, Y, loss="logistic", reduce=["width"]), "width").why == "there is no hidden layer"


def test_a_short_run_searches_only_when_told_to():
    rng = np.random.default_rng(10)
    k = (4, 60, 5, 3)
    net = la.Network.from_matrices(STARTS["gaussian"](rng, k))
    X, Y, _ = problem("squared", rng, k, 6)
    auto = la.train(net, X, Y, lr=1e-3, steps=1)
    assert row(auto, "width").why == row(auto, "split").why == "the run is too short to repay the search"
    told = la.train(net, X, Y, lr=1e-3, steps=1, reduce=("samples", "inputs", "width", "split"))
    assert "width" in applied(told)


@pytest.mark.parametrize("start", ["identity middle", "gaussian"])
def test_a_search_is_given_up_once_it_costs_more_than_the_run_repays(start):
    rng = np.random.default_rng(11)
    k = (3, 150, 150, 2)
    net = la.Network.from_matrices(STARTS[start](rng, k))
    X, Y, _ = problem("squared", rng, k, 6)
    # enough for subspaces as small as inputs and outputs, not for those that grow by 3 whenever they meet the layer again
    less = la.train(net, X, Y, lr=1e-2, steps=3000)
    if start == "gaussian":
        assert applied(less) == ("samples", "inputs")
        assert row(less, "width").why.startswith("the search was given up: subspaces had grown to 3-")
    else:
        assert less.plan.widths_after == (3, 5, 5, 2)
    assert_same(la.train(net, X, Y, lr=1e-2, steps=3000, reduce="none"), less)
