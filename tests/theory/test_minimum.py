"""The aligned global minimum (T2.1): it is aligned, balanced, stationary, and nothing goes below it."""

import numpy as np
import pytest
from scipy.optimize import minimize

import linalign as la
from linalign import theory
from linalign.scores.certificate import alignment_certificate
from linalign.scores.interfaces import balance
from tests.oracles.theory_cases import EPS, gradients, product


def problem(rng):
    """Rank-deficient inputs, bottlenecks, more outputs than samples, and whatever else comes."""
    widths = [int(k) for k in rng.integers(1, 7, rng.integers(2, 6))]
    n = int(rng.integers(1, 12))
    rank = int(rng.integers(1, min(n, widths[0]) + 1))
    X = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, widths[0]))
    return widths, X, rng.standard_normal((n, widths[-1]))


def half_squares(Ws, X, Y):
    return 0.5 * np.linalg.norm(X @ product(Ws).T - Y) ** 2


def test_it_is_an_aligned_balanced_global_minimum():
    rng = np.random.default_rng(0)
    for _ in range(200):
        widths, X, Y = problem(rng)
        found = theory.aligned_minimum(widths, X, Y)
        Ws = found.network.matrices()
        assert found.network.widths == tuple(widths)
        size = 0.5 * np.linalg.norm(Y) ** 2
        # the products are backward stable and the residual is orthogonal to what they change
        assert abs(found.gap) <= 100 * EPS
        assert found.loss == pytest.approx(half_squares(Ws, X, Y), abs=100 * EPS * size)
        assert np.linalg.matrix_rank(product(Ws), tol=1e-10) == found.rank
        certificate = alignment_certificate(Ws)
        assert certificate.strict
        assert certificate.residual <= 1e-13
        largest = max(np.linalg.norm(W) for W in Ws)
        assert balance(Ws).max(initial=0) <= 100 * EPS * max(1, largest**2)
        G = (X @ product(Ws).T - Y).T @ X
        # an error of the fit of EPS ||X|| prod ||W_i||, where ||P|| grows with the condition of X, passes through X and the layers
        fit = np.linalg.norm(Y) + np.linalg.norm(X) * np.prod([np.linalg.norm(W) for W in Ws])
        scale = np.linalg.norm(X) * fit * max(1, largest) ** (len(Ws) - 1)
        assert max(np.linalg.norm(g) for g in gradients(Ws, G)) <= 100 * EPS * scale


def test_nothing_goes_below_it():
    """L-BFGS from random starts, and the reduced-rank optimum in the unconstrained case."""
    rng = np.random.default_rng(1)
    reached = 0
    for _ in range(25):
        widths, X, Y = problem(rng)
        found = theory.aligned_minimum(widths, X, Y)
        shapes = list(zip(widths[1:], widths[:-1], strict=True))
        cuts = np.cumsum([0] + [a * b for a, b in shapes])

        def value(x, shapes=shapes, cuts=cuts, X=X, Y=Y):
            Ws = [x[a:b].reshape(s) for a, b, s in zip(cuts[:-1], cuts[1:], shapes, strict=True)]
            R = X @ product(Ws).T - Y
            return 0.5 * np.sum(R * R), np.concatenate([g.ravel() for g in gradients(Ws, R.T @ X)])

        low = min(minimize(value, rng.standard_normal(cuts[-1]), jac=True, method="L-BFGS-B").fun for _ in range(2))
        assert low >= found.optimum - 1e-12 * np.linalg.norm(Y) ** 2
        reached += low <= found.optimum + 1e-6 * np.linalg.norm(Y) ** 2
    assert reached > 15
    X, Y = rng.standard_normal((20, 4)), rng.standard_normal((20, 3))
    least = 0.5 * np.linalg.norm(Y - X @ np.linalg.lstsq(X, Y)[0]) ** 2
    assert theory.aligned_minimum([4, 6, 3], X, Y).optimum == pytest.approx(least, rel=1e-13)


def test_factorisation_is_truncated_svd():
    rng = np.random.default_rng(2)
    target = rng.standard_normal((4, 6))
    U, s, Vt = np.linalg.svd(target, full_matrices=False)
    found = theory.aligned_minimum([6, 2, 5, 4], None, target)
    np.testing.assert_allclose(found.network.matrix(), (U[:, :2] * s[:2]) @ Vt[:2], atol=100 * EPS * s[0])
    assert found.optimum == pytest.approx(0.5 * np.sum(s[2:] ** 2), rel=1e-13)
    assert found.rank == 2
    assert found.unique


def test_uniqueness_of_the_fit():
    """The fitted values are unique exactly if t_r > t_{r+1} or t_r = 0."""
    assert theory.aligned_minimum([3, 1, 3], None, np.diag([3.0, 2.0, 1.0])).unique
    assert not theory.aligned_minimum([3, 1, 3], None, np.diag([3.0, 3.0, 1.0])).unique
    assert theory.aligned_minimum([3, 2, 3], None, np.diag([3.0, 3.0, 1.0])).unique
    assert theory.aligned_minimum([3, 2, 3], None, np.diag([3.0, 0.0, 0.0])).unique
    assert theory.aligned_minimum([3, 3], None, np.diag([2.0, 2.0, 2.0])).unique


def test_rcond_and_zero_data():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((8, 3)) * [1.0, 1.0, 1e-9]
    Y = rng.standard_normal((8, 2))
    full, cut = theory.aligned_minimum([3, 3, 2], X, Y), theory.aligned_minimum([3, 3, 2], X, Y, rcond=1e-6)
    assert np.linalg.norm(full.network.matrix()) > 1e6 * np.linalg.norm(cut.network.matrix())
    assert full.optimum < cut.optimum
    for X, Y in ((np.zeros((4, 3)), np.ones((4, 2))), (np.ones((4, 3)), np.zeros((4, 2)))):
        found = theory.aligned_minimum([3, 5, 2], X, Y)
        assert found.rank == 0
        assert not found.network.matrix().any()
        assert found.loss == found.optimum == 0.5 * np.linalg.norm(Y) ** 2


def test_biases_add_the_means():
    # as the error for a network with biases says: its least loss is that of centred data
    rng = np.random.default_rng(12)
    X, Y = rng.standard_normal((30, 3)) + 1.0, rng.standard_normal((30, 2)) - 2.0
    least = theory.aligned_minimum([3, 1, 2], X - X.mean(axis=0), Y - Y.mean(axis=0)).optimum
    net = la.Network([la.Dense(3, 1, bias=True), la.Dense(1, 2, bias=True)]).init("gaussian", rng=0)
    run = la.train(net, X, Y, loss="squared", lr=1e-3, steps=20_000)
    # at a minimum the loss is off by the square of what is left of the way, and by the rounding of 60 squares
    assert run.loss[-1] == pytest.approx(least, rel=60 * np.finfo(float).eps + 1e-12)


def test_words():
    text = str(theory.aligned_minimum([3, 2, 3], None, np.diag([3.0, 2.0, 1.0])))
    assert text.startswith("aligned, balanced global minimum of 3-2-3, rank 2: loss 5.000000e-01, least possible 5.000000e-01 (gap ")
    assert text.endswith("the fitted values are unique")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: theory.aligned_minimum([3], np.eye(3), np.eye(3)), ValueError, r"widths is \[3\]"),
        (
            lambda: theory.aligned_minimum(la.Network.dense([3, 2]), np.eye(3), np.eye(3)),
            TypeError,
            "widths is a Network; .* pass net.widths$",
        ),
        (
            lambda: theory.aligned_minimum(la.Network([la.Dense(3, 2, bias=True)]), np.eye(3), np.eye(3)),
            TypeError,
            "X and Y less their means",
        ),
        (lambda: theory.aligned_minimum([3, 0], np.eye(3), np.eye(3)), ValueError, r"widths\[1\] is 0"),
        (lambda: theory.aligned_minimum([3, 2], np.eye(3), np.eye(3)), ValueError, "Y has shape .3, 3.; 2 columns"),
        (lambda: theory.aligned_minimum([2, 3], np.eye(3), np.eye(3)), ValueError, "X has shape .3, 3.; 2 columns"),
        (lambda: theory.aligned_minimum([3, 3], np.eye(3), np.eye(3), rcond=1), ValueError, "rcond is 1.0"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
