"""The Hessian between the matrices that it can make: its spectrum is the dense one, and recorded sharpness that of the whole operator."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse.linalg

import linalign as la
from linalign.curvature import factored
from linalign.curvature.factored import FactoredHessian, pays
from linalign.curvature.operators import CurvatureOperator
from linalign.problem.problem import make_problem

# eigenvalues of symmetric matrices of norm one are off by their rounding, some hundred sums of some hundred terms
EXACT = 1e-12
SHAPES = [(15, 12, 14, 2), (5, 20, 1), (8, 2, 15, 3), (9, 12, 1, 9, 2), (12, 3), (5, 5, 5)]


def case(widths, loss="squared", n=17, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    Ws = [(rng.standard_normal((k, m)) / np.sqrt(m)).astype(dtype) for m, k in pairwise(widths)]
    X = rng.standard_normal((n, widths[0])).astype(dtype)
    Y = {
        "logistic": lambda: rng.choice([-1.0, 1.0], (n, widths[-1])).astype(dtype),
        "cross_entropy": lambda: rng.integers(0, widths[-1], n),
    }.get(loss, lambda: rng.standard_normal((n, widths[-1])).astype(dtype))()
    return la.Network.from_matrices(Ws), X, Y


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("loss", ["squared", "logistic", "cross_entropy", la.losses.Huber(0.7)], ids=str)
@pytest.mark.parametrize("widths", SHAPES, ids=str)
def test_its_spectrum_is_that_of_the_whole_hessian_and_zeros(widths, loss, part):
    net, X, Y = case(widths, loss)
    small = FactoredHessian(make_problem(net, X, Y, loss), part)
    whole = np.linalg.eigvalsh((la.gauss_newton if part else la.hessian)(net, X, Y, loss=loss).toarray())
    assert small.shape[0] <= len(whole)
    found = np.sort(np.concatenate([np.linalg.eigvalsh(small.toarray()), np.zeros(len(whole) - small.shape[0])]))
    assert np.abs(found - whole).max() <= EXACT * np.abs(whole).max()
    raw = small @ np.eye(small.shape[0])
    assert np.abs(raw - raw.T).max() <= EXACT * np.abs(whole).max()


def test_a_loss_of_the_product_alone():
    rng = np.random.default_rng(3)
    net = case((9, 12, 2))[0]
    loss = la.losses.Entries(rows=[0, 1, 1, 0], cols=[3, 4, 8, 0], values=rng.standard_normal(4))
    problem = make_problem(net, None, None, loss)
    found, whole = (
        np.linalg.eigvalsh(FactoredHessian(problem, False).toarray()),
        np.linalg.eigvalsh(la.hessian(net, None, loss=loss).toarray()),
    )
    assert found[-1] == pytest.approx(whole[-1], rel=EXACT)
    assert found[0] == pytest.approx(whole[0], rel=EXACT)


@pytest.mark.parametrize("part", [False, True])
def test_vectors_go_along_where_the_network_moves(part):
    """An eigenvector there and back is itself, and a step later it is an eigenvector to first order in the step."""
    net, X, Y = case((15, 12, 14, 2))
    small = FactoredHessian(make_problem(net, X, Y, "squared"), part)
    values, vectors = np.linalg.eigh(small.toarray())
    known = {"top": vectors[:, -1]}
    near = la.Network.from_matrices([W * (1 + 1e-6) for W in net.params])
    small.move(near, known)
    moved = known["top"]
    assert np.linalg.norm(moved) == pytest.approx(1, abs=1e-9)
    assert np.linalg.norm(small @ moved - values[-1] * moved) <= 1e-4 * values[-1]
    small.move(net, known)
    # what left the range on the way is of second order
    np.testing.assert_allclose(np.abs(known["top"] @ vectors[:, -1]), 1, atol=1e-9)


WIDE = (70, 90, 64, 2)


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("squared", {"reduce": "none"}),
        ("squared", {"reduce": ["inputs", "width"]}),
        ("logistic", {"momentum": 0.5}),
        ("cross_entropy", {"weight_decay": 1e-3, "reduce": ["inputs", "width"]}),
        ("squared", {"batch": 4, "rng": 0}),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_recorded_is_that_of_the_whole_operator(loss, options, monkeypatch):
    monkeypatch.setattr(factored, "LEAST", 0)  # what is left of so small a network
    monkeypatch.setattr(factored, "SHARE", 1)
    net, X, Y = case(WIDE, loss, n=12)
    steps = [0, 5]
    names = ("sharpness", "hessian_eigenvalues", "gauss_newton_top", "params")
    run = la.train(net, X, Y, loss=loss, lr=1e-3, steps=5, record=dict.fromkeys(names, steps), **options)
    assert "by products of its 2 rows of outputs with the layers (T13.7)" in str(run.plan)
    asked = {name: value for name, value in options.items() if name != "rng"}
    assert la.explain(net, X, Y, loss=loss, lr=1e-3, steps=5, record={"sharpness": 1}, **asked).curvature == run.plan.curvature
    ends = np.cumsum([layer.size for layer in net.layers])[:-1]
    for j, flat in enumerate(run.history["params"].values):
        here = net.with_params([part.reshape(theta.shape) for part, theta in zip(np.split(flat, ends), net.params, strict=True)])
        problem = make_problem(here, X, Y, loss)
        H, part = (CurvatureOperator(problem, "parameters", part) for part in (False, True))
        wanted = [np.sort(scipy.sparse.linalg.eigsh(A, k=k, which=w, tol=1e-12)[0]) for A, k, w in ((H, 6, "BE"), (part, 1, "LA"))]
        # ten times what is asked of eigenvalues that are recorded: residuals of 1e-6 leave a square of them, over the gap
        scale = 1e-9 * np.abs(wanted[0]).max()
        assert run.history["sharpness"].values[j] == pytest.approx(wanted[0][-1], abs=scale)
        assert run.history["gauss_newton_top"].values[j] == pytest.approx(wanted[1][0], abs=scale)
        np.testing.assert_allclose(run.history["hessian_eigenvalues"].values[j], wanted[0], atol=scale)


@pytest.mark.parametrize("k", [1, 5])
def test_sharpness_of_a_few_outputs(k):
    net, X, Y = case(WIDE, "cross_entropy", n=90)
    assert pays(make_problem(net, X, Y, "cross_entropy"))
    wanted = scipy.sparse.linalg.eigsh(la.hessian(net, X, Y, loss="cross_entropy"), k=2 * k, which="BE", tol=1e-12)[0]
    for which, there in (("LA", wanted[-k:]), ("SA", wanted[:k]), ("BE", wanted)):
        found = la.sharpness(net, X, Y, loss="cross_entropy", k=k, which=which)
        np.testing.assert_allclose(found, there[0] if k == 1 and which != "BE" else there, atol=1e-9 * wanted[-1])


def test_float32():
    net, X, Y = case(WIDE, dtype=np.float32)
    wide = la.Network.from_matrices([W.astype(np.float64) for W in net.params])
    found, wanted = la.sharpness(net, X, Y), la.sharpness(wide, X.astype(np.float64), Y.astype(np.float64))
    # products of sums of 90 terms in single precision
    assert found == pytest.approx(wanted, rel=90 * float(np.finfo(np.float32).eps))


def test_it_is_used_where_it_saves():
    def fits(widths):
        return pays(make_problem(*case(widths), "squared"))

    assert fits((784, 64, 10))
    assert not fits((20, 20, 2))  # small
    assert not fits((100, 100, 100))  # as many outputs as units
    biased = la.Network([la.Dense(100, 110, bias=True), la.Dense(110, 1)]).init("gaussian", rng=0)
    assert not pays(make_problem(biased, np.ones((3, 100)), np.ones((3, 1)), "squared"))
    assert factored.LEAST <= 784 * 64


def test_numbers_that_are_not_finite_say_so():
    net, X, Y = case(WIDE)
    huge = net.with_params([1e80 * W for W in net.params])
    with pytest.raises(ArithmeticError, match="the Hessian is not finite; scale the network or the data down"):
        la.sharpness(huge, X, Y)
