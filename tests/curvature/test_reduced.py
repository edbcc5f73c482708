"""The spectrum of a whole network from the smaller one that is run: the dense Hessian of the whole, entry by entry of its spectrum."""

from __future__ import annotations

import numpy as np
import pytest

import linalign as la
from linalign.curvature.ends import sharpness
from linalign.curvature.reduced import ReducedHessian, applies
from linalign.engine.engines import simultaneous
from linalign.plan.planner import Work, make_plan
from linalign.problem.problem import make_problem
from linalign.reduce import width
from linalign.reduce.width import WidthLift

# eigenvalues of symmetric matrices of norm one are off by their rounding, some hundred sums of some hundred terms
EXACT = 1e-11


def rotated(rng, size):
    return np.linalg.qr(rng.standard_normal((size, size)))[0]


def case(hidden, inside, loss, seed=0, complement="gaussian", k_0=4, k_d=3):
    """A network of these hidden widths whose layers keep subspaces of dimension `inside`, turned by random rotations."""
    rng = np.random.default_rng(seed)
    widths, small = (k_0, *hidden, k_d), (k_0, *([inside] * len(hidden)), k_d)
    turns = [np.eye(k_0), *(rotated(rng, k) for k in hidden), np.eye(k_d)]
    Ws = []
    for i in range(len(widths) - 1):
        W = np.zeros((widths[i + 1], widths[i]))
        W[: small[i + 1], : small[i]] = rng.standard_normal((small[i + 1], small[i]))
        rest = (widths[i + 1] - small[i + 1], widths[i] - small[i])
        if complement == "gaussian":
            W[small[i + 1] :, small[i] :] = rng.standard_normal(rest)
        elif complement == "scalar" and min(rest):
            W[small[i + 1] :, small[i] :] = 0.7 * np.eye(*rest)
        Ws.append(turns[i + 1] @ W @ turns[i].T)
    net = la.Network.from_matrices(Ws)
    X = rng.standard_normal((9, k_0))
    Y = {
        "squared": lambda: rng.standard_normal((9, k_d)),
        "logistic": lambda: rng.choice([-1.0, 1.0], (9, k_d)),
        "cross_entropy": lambda: rng.integers(0, k_d, 9),
    }[loss]()
    return net, X, Y


def compare(net, X, Y, loss, reduce=("samples", "inputs", "width"), part=False):
    """The spectra, the ends of both kinds, and what they are made of."""
    problem, descent = make_problem(net, X, Y, loss), simultaneous(net.depth)
    work = make_plan(problem, descent, reduce=list(reduce))[1]
    if "width" in reduce and work.problem.net.widths[1:-1] == net.widths[1:-1]:
        # what saves too little is reduced all the same
        smaller, lift, _ = width.reduce(problem, descent)
        work = Work(problem, smaller, [lift])
    assert applies(work)
    reduced = ReducedHessian(work, descent, part)
    make = la.gauss_newton if part else la.hessian
    whole = np.linalg.eigvalsh(make(net, X, Y, loss=loss).toarray())
    scale = np.abs(whole).max()
    found = reduced.spectrum()
    assert found.shape == whole.shape
    assert np.abs(found - whole).max() <= EXACT * scale
    if reduced.complement is not None:
        outside = np.abs(np.linalg.eigvalsh(reduced.complement.toarray())).max(initial=0)
        assert outside <= reduced.complement.bound() * (1 + 1e-12)
    for k in (1, 3):
        assert np.abs(reduced.ends(k, "LA", 1e-12) - whole[-k:]).max() <= 1e-9 * scale
        assert np.abs(reduced.ends(k, "SA", 1e-12) - whole[:k]).max() <= 1e-9 * scale
        assert np.abs(reduced.ends(k, "BE", 1e-12) - np.concatenate([whole[:k], whole[-k:]])).max() <= 1e-9 * scale
    return work, reduced, whole


@pytest.mark.parametrize("complement", ["gaussian", "scalar", "dead"])
@pytest.mark.parametrize("loss", ["squared", "logistic", "cross_entropy"])
@pytest.mark.parametrize("hidden", [(4, 4), (5, 5), (7, 6), (3, 8), (4,), (9,), (5, 4, 6)])
def test_the_whole_spectrum_is_that_of_the_smaller_network(hidden, loss, complement):
    work, reduced, whole = compare(*case(hidden, 3, loss, complement=complement), loss)
    assert work.problem.net.size < work.given.net.size
    assert reduced.complement is not None
    # off the minimum the complement is no matter of zeros: a bowl on one side, a saddle on the other
    outside = np.linalg.eigvalsh(reduced.complement.toarray())
    assert outside[-1] > 1e-3 * np.abs(whole).max()
    assert outside[0] < -1e-3 * np.abs(whole).max()


@pytest.mark.parametrize("complement", ["gaussian", "dead"])
def test_gauss_newton_sees_nothing_outside(complement):
    _, reduced, _ = compare(*case((5, 5), 3, "squared", complement=complement), "squared", part=True)
    assert not reduced.complement.toarray().any()


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("hidden", [(5, 5), (7,), (5, 6, 5)])
def test_outputs_outside_may_be_the_sharpest(hidden, part):
    """T8.2: targets and the last layer reach two of five outputs, and a layer outside is large."""
    rng = np.random.default_rng(2)
    turn = rotated(rng, 5)
    base, X, _ = case(hidden, 2, "squared", seed=2, k_0=2, k_d=2)
    Ws = [W.copy() for W in base.matrices()]
    last = np.zeros((5, hidden[-1]))
    last[:2] = Ws[-1]
    outside = np.linalg.svd(Ws[-1])[2][2:]
    last[2:] = 3 * rng.standard_normal((3, len(outside))) @ outside
    Ws[-1] = turn @ last
    Y = np.zeros((9, 5))
    Y[:, :2] = rng.standard_normal((9, 2))
    work, reduced, whole = compare(la.Network.from_matrices(Ws), X, Y @ turn.T, "squared", part=part)
    lift = next(lift for lift in work.lifts if isinstance(lift, WidthLift))
    assert lift.bases[-1] is not None
    assert np.linalg.eigvalsh(reduced.complement.toarray())[-1] == pytest.approx(whole[-1], rel=1e-10)
    assert np.linalg.eigvalsh(reduced.operator.toarray())[-1] < whole[-1]


def test_inputs_that_the_data_have_not_are_zeros():
    rng = np.random.default_rng(0)
    net = la.Network.dense([6, 3, 2]).init("gaussian", rng=rng)
    X = rng.standard_normal((3, 6))
    _, reduced, whole = compare(net, X, rng.standard_normal((3, 2)), "squared", reduce=("samples", "inputs"))
    assert reduced.complement is None
    assert reduced.zeros == 9
    assert np.count_nonzero(np.abs(whole) < 1e-12 * whole[-1]) >= 9


def test_factorisation_has_no_data():
    rng = np.random.default_rng(0)
    net, _, _ = case((7, 6), 3, "squared")
    compare(net, None, rng.standard_normal((3, 4)), "squared", reduce=("width",))


def test_it_moves_with_the_run():
    net, X, Y = case((7, 6), 3, "squared")
    X, Y = X / 10, Y / 10
    problem, descent = make_problem(net, X, Y, "squared"), simultaneous(net.depth)
    work = make_plan(problem, descent, reduce=["samples", "inputs", "width"])[1]
    reduced = ReducedHessian(work, descent, False)
    small = la.train(work.problem.net, None, np.zeros((3, 4)), lr=1e-2, steps=7, metric="parameters").network
    reduced.move(small.params, 7)
    there = net.with_params(work.lift([theta.copy() for theta in small.params], 7))
    whole = np.linalg.eigvalsh(la.hessian(there, X, Y).toarray())
    assert np.abs(reduced.spectrum() - whole).max() <= EXACT * np.abs(whole).max()


def test_sharpness_asks_the_smaller_network_where_that_pays(monkeypatch):
    rng = np.random.default_rng(0)
    net = la.Network.dense([200, 40, 5]).init("gaussian", rng=rng, scale=0.3)
    X = rng.standard_normal((8, 200))
    Y = rng.standard_normal((8, 5))
    asked = []
    true = ReducedHessian.ends
    monkeypatch.setattr(ReducedHessian, "ends", lambda self, *of: (asked.append(self.operator.shape[0]), true(self, *of))[1])
    found = sharpness(net, X, Y)
    assert asked
    assert asked[0] < net.size / 4
    v = rng.standard_normal(net.size)
    assert found == pytest.approx(la.sharpness(net, X, Y, start=v), rel=1e-8)
    assert la.sharpness(net, X, Y, k=2, which="BE")[:2] == pytest.approx(la.sharpness(net, X, Y, k=2, which="SA", start=v), rel=1e-7)
