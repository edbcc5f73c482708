"""Sharpness, eigenvalues at both ends and densities: NumPy's eigenvalues of the whole Hessian, and closed forms."""

from __future__ import annotations

import re

import numpy as np
import pytest

import linalign as la


def draw(widths=(6, 9, 8, 4), n=30, seed=0):
    rng = np.random.default_rng(seed)
    return (
        la.Network.dense(widths).init("gaussian", rng=rng, scale=1.0),
        rng.standard_normal((n, widths[0])),
        rng.standard_normal((n, widths[-1])),
    )


@pytest.mark.parametrize("loss", ["squared", "mse"])
def test_the_ends_are_those_of_the_whole_spectrum(loss):
    net, X, Y = draw()
    assert net.size > la.curvature.spectrum.SMALL
    whole = np.linalg.eigvalsh(la.hessian(net, X, Y, loss=loss).toarray())
    size = np.abs(whole).max()
    # eigenvalues of a symmetric matrix are off by the residual at most
    assert abs(la.sharpness(net, X, Y, loss=loss) - whole[-1]) <= 1e-8 * size
    assert abs(la.sharpness(net, X, Y, loss=loss, which="SA") - whole[0]) <= 1e-8 * size
    assert np.abs(la.sharpness(net, X, Y, loss=loss, k=3) - whole[-3:]).max() <= 1e-8 * size
    assert np.abs(la.sharpness(net, X, Y, loss=loss, k=2, which="BE") - whole[[0, 1, -2, -1]]).max() <= 1e-8 * size


def test_a_start_nearby_takes_fewer_products(monkeypatch):
    net, X, Y = draw()
    operator = la.hessian(net, X, Y)
    _, vectors = la.curvature.spectrum.eigenvalues(operator, 1, "LA", 1e-9, None)
    counts = []
    product = la.curvature.CurvatureOperator.matvec
    monkeypatch.setattr(la.curvature.CurvatureOperator, "matvec", lambda self, v: (counts.append(1), product(self, v))[1])
    la.sharpness(net, X, Y)
    cold = len(counts)
    counts.clear()
    near = net.with_params([theta * (1 + 1e-6) for theta in net.params])
    la.sharpness(near, X, Y, start=vectors[:, 0], tol=1e-6)
    assert len(counts) < cold


def test_the_sharpness_of_a_balanced_minimum_is_known():
    # sum of squares over two layers: the fitted balanced mode of depth d at the data eigenvalue l has d l q^(2 - 2/d)  (T13.5)
    for d, q in ((2, 3.0), (3, 5.0), (4, 0.5)):
        root = q ** (1 / d)
        net = la.Network.from_matrices([np.array([[root]])] * d)
        X = np.array([[1.0], [2.0]])
        assert la.sharpness(net, X, q * X) == pytest.approx(d * 5.0 * q ** (2 - 2 / d), rel=1e-13)


def test_the_density_has_the_moments_of_the_spectrum():
    net, X, Y = draw((5, 6, 4))
    whole = np.linalg.eigvalsh(la.hessian(net, X, Y).toarray())
    found = la.spectral_density(net, X, Y, steps=net.size, probes=200, rng=1)
    assert np.allclose(found.weights.sum(axis=1), 1)
    # Hutchinson's estimator of the mean of signs: its variance is 2 (||H||_F^2 - sum of squares of the diagonal) / size^2
    H = la.hessian(net, X, Y).toarray()
    spread = np.sqrt(2 * (np.sum(H**2) - np.sum(np.diag(H) ** 2)) / 200) / net.size
    assert abs(found.mean() - whole.mean()) <= 4 * spread
    assert found.nodes.min() >= whole[0] - 1e-9 * abs(whole[0])
    assert found.nodes.max() <= whole[-1] * (1 + 1e-9)
    grid = np.linspace(whole[0] - 50, whole[-1] + 50, 4000)
    assert np.trapezoid(found(grid, 2.0), grid) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0; a whole number of at least 1 was wanted"),
        ({"k": 10_000}, "k is 10000 but there are 158 parameters; ask for fewer eigenvalues"),
        ({"which": "LM"}, "which is 'LM'; one of 'LA', 'SA', 'BE' was wanted"),
        ({"tol": 0.0}, "tol is 0.0; it must be greater than 0"),
        ({"start": np.ones(3)}, "start has shape (3,); one number a parameter was wanted, (158,)"),
    ],
)
def test_refusals(options, message):
    net, X, Y = draw()
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        la.sharpness(net, X, Y, **options)


def test_numbers_that_overflow_are_said_to():
    net, X, Y = draw()
    with pytest.raises(ArithmeticError, match="the Hessian is not finite"), np.errstate(all="ignore"):
        la.sharpness(net.with_params([theta * 1e150 for theta in net.params]), X, Y)


def test_equal_eigenvalues_are_found_as_often_as_they_are_there():
    # 40 units beside the 3 that matter: every eigenvalue of the complement is there 37 times or more (T13.3)
    rng = np.random.default_rng(0)
    net = la.Network.dense(
        [4, 40, 3],
        [np.vstack([rng.standard_normal((3, 4)), np.zeros((37, 4))]), np.hstack([rng.standard_normal((3, 3)), np.zeros((3, 37))])],
    )
    X, Y = rng.standard_normal((20, 4)), 10 * rng.standard_normal((20, 3))
    whole = np.linalg.eigvalsh(la.hessian(net, X, Y).toarray())
    for k in (2, 3, 5):
        found = la.sharpness(net, X, Y, k=k, which="BE", tol=1e-8)
        assert np.abs(found - np.concatenate([whole[:k], whole[-k:]])).max() <= 1e-7 * np.abs(whole).max()


def test_eigenvalues_that_are_zero_are_found():
    # at a minimum of a wide network most are
    net = la.Network.dense([8, 20, 3]).init("gaussian", rng=0, scale=1.0)
    X = np.random.default_rng(0).standard_normal((4, 8))
    whole = np.linalg.eigvalsh(la.hessian(net, X, net(X)).toarray())
    found = la.sharpness(net, X, net(X), k=3, which="BE", tol=1e-8)
    assert np.abs(found - np.concatenate([whole[:3], whole[-3:]])).max() <= 1e-7 * whole[-1]
    nothing = la.sharpness(net.with_params([theta * 0 for theta in net.params]), X, np.zeros((4, 3)), k=2)
    assert np.array_equal(nothing, [0, 0])
