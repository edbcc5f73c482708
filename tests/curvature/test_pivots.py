"""Hessian products in C from every pivot: their twin in NumPy, entry by entry, of every layer, loss and element type."""

from __future__ import annotations

import numpy as np
import pytest

import linalign as la
from linalign import reference
from linalign.engine import bind
from linalign.engine.engines import simultaneous
from linalign.problem.problem import Problem, make_problem
from linalign.reduce.biases import homogeneous

# sums of at most some hundred terms, in chains of at most 12 products of factors of norm about one: thousands of roundings
ROUNDINGS = 4e3

NETWORKS = {
    "dense": [la.Dense(4, 5), la.Dense(5, 2), la.Dense(2, 3)],
    "one layer": [la.Dense(4, 3)],
    "narrow": [la.Dense(4, 1), la.Dense(1, 3), la.Dense(3, 3)],
    "wide": [la.Dense(4, 70), la.Dense(70, 3)],
    "biases": [la.Dense(4, 3, bias=True), la.Dense(3, 9, bias=True), la.Dense(9, 3)],
    "convolution": [la.Conv2d((2, 2), 2, out_channels=2), la.Dense(8, 3)],
    "convolutions with biases": [la.Conv1d(4, 3, bias=True), la.Conv1d(4, 2, bias=True), la.Dense(4, 3, bias=True)],
    "tied": [la.Toeplitz(4, 5), la.Masked(np.arange(15).reshape(3, 5) % 3 > 0)],
    "diagonal": [la.Diagonal(4), la.layers.BlockDiagonal([(2, 3), (2, 2)]), la.Dense(5, 3)],
    "residual": [la.Residual(la.Conv1d(4, 3)), la.Residual(la.Dense(4, 4)), la.Dense(4, 3)],
    "fixed": [la.Dense(4, 4), la.Fixed(np.arange(20.0).reshape(5, 4) / 20), la.Dense(5, 3)],
    "fixed ends": [la.Fixed(np.arange(20.0).reshape(5, 4) / 20), la.Dense(5, 2), la.Fixed(np.arange(6.0).reshape(3, 2) / 6)],
    "subspace": [la.Subspace(np.random.default_rng(5).standard_normal((3, 4, 4))), la.Symmetric(4), la.Dense(4, 3)],
}

LOSSES = {
    "squared": ("squared", lambda rng, n: rng.standard_normal((n, 3))),
    "huber": (la.losses.Huber(0.7), lambda rng, n: rng.standard_normal((n, 3))),
    "logistic": ("logistic", lambda rng, n: rng.choice([-1.0, 1.0], (n, 3))),
    "exponential": ("exponential", lambda rng, n: rng.choice([-1.0, 1.0], (n, 3))),
    "hinge": ("hinge", lambda rng, n: rng.choice([-1.0, 1.0], (n, 3))),
    "squared hinge": ("squared_hinge", lambda rng, n: rng.choice([-1.0, 1.0], (n, 3))),
    "cross-entropy": ("cross_entropy", lambda rng, n: rng.integers(0, 3, n)),
}
OF_PRODUCT = {
    "factorisation": "squared",
    "entries": la.losses.Entries([0, 2, 1], [1, 0, 3], [1.0, -2.0, 0.5]),
    "sensing": la.losses.Sensing(np.random.default_rng(2).standard_normal((5, 3, 4)), np.arange(5.0)),
}


def agree(problem, seed=3):
    """From every pivot, both parts: what C and the twin make of a direction, and the twin from pivot 0."""
    problem = homogeneous(problem)
    net, rng = problem.net, np.random.default_rng(seed)
    V = [rng.standard_normal(theta.shape).astype(net.dtype) for theta in net.params]
    flat = np.concatenate([v.ravel() for v in V])
    objective, second = (make(problem.T, problem.factor) for make in (problem.loss.objective, problem.loss.second))
    full = None if problem.X is None or problem.X.ndim == 2 else np.diag(problem.X)
    X = problem.X if full is None else full
    eps = np.finfo(net.dtype).eps
    for part in (False, True):
        first = None
        for p in range(net.depth + 1):
            found = reference.hessian_product(net.layers, list(net.params), V, X, objective, second, p, part)
            want = np.concatenate([h.ravel() for h in found])
            first = want if first is None else first
            assert np.abs(want - first).max(initial=0) <= ROUNDINGS * eps * np.abs(first).max(initial=0)
            if not p and full is not None:
                continue
            rows = {net.widths[p]} if p else {problem.rows, net.widths[0]}
            for many in rows:
                compiled = bind.bind_curvature(problem, simultaneous(net.depth), p, many, 1, part=part)
                got = np.full_like(flat, np.nan)
                for _ in range(2):
                    compiled.product(flat, got)
                    assert np.abs(got - want).max(initial=0) <= ROUNDINGS * eps * np.abs(want).max(initial=0), (p, many, part)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", LOSSES)
def test_products_are_their_twin(name, network, dtype):
    loss, targets = LOSSES[name]
    rng = np.random.default_rng(0)
    for n in (7, 3):
        net = la.Network(NETWORKS[network]).init("gaussian", rng=rng, scale=0.5, dtype=dtype)
        X = rng.standard_normal((n, 4)).astype(dtype)
        Y = targets(rng, n)
        agree(make_problem(net, X, Y if name == "cross-entropy" else Y.astype(dtype), loss))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("network", ["dense", "one layer", "narrow", "convolution", "tied", "diagonal", "residual", "fixed", "subspace"])
@pytest.mark.parametrize("name", OF_PRODUCT)
def test_losses_of_the_product(name, network, dtype):
    rng = np.random.default_rng(0)
    net = la.Network(NETWORKS[network]).init("gaussian", rng=rng, scale=0.5, dtype=dtype)
    target = rng.standard_normal((3, 4)).astype(dtype) if name == "factorisation" else None
    agree(make_problem(net, None, target, OF_PRODUCT[name]))


@pytest.mark.parametrize("network", ["dense", "narrow", "convolution", "residual"])
def test_diagonal_data(network):
    rng = np.random.default_rng(0)
    net = la.Network(NETWORKS[network]).init("gaussian", rng=rng, scale=0.5)
    problem = make_problem(net, np.eye(4), rng.standard_normal((4, 3)), "squared")
    agree(Problem(net, np.arange(1.0, 5.0), problem.T, problem.loss, problem.factor))


def test_many_vectors_are_one_after_the_other():
    rng = np.random.default_rng(0)
    net = la.Network(NETWORKS["dense"]).init("gaussian", rng=rng)
    H = la.hessian(net, rng.standard_normal((9, 4)), rng.standard_normal((9, 3)))
    V = rng.standard_normal((net.size, 6))
    assert np.array_equal(H @ V, np.stack([H @ v for v in V.T], axis=1))
    assert np.array_equal(H @ V[:, 0], (H @ V[:, :1])[:, 0])
    # sliced, of another type, or as a list, it is the same vector
    assert np.array_equal(H @ np.repeat(V[:, 0], 2)[::2], H @ V[:, 0])
    assert np.array_equal(H.matvec(list(V[:, 0])), H @ V[:, 0])


def test_a_chain_that_left_the_finite_numbers_comes_back():
    rng = np.random.default_rng(0)
    net = la.Network(NETWORKS["dense"]).init("gaussian", rng=rng)
    H = la.hessian(net, rng.standard_normal((9, 4)), rng.standard_normal((9, 3)))
    want = H.toarray()
    with np.errstate(all="ignore"):
        H.move(net.with_params([np.full_like(theta, 1e200) for theta in net.params]))
        assert not np.isfinite(H.toarray()).all()
    H.move(net)
    assert np.array_equal(H.toarray(), want)
