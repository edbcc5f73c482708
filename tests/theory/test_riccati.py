"""Two layers on whitened data in closed form: the flow integrated, the scalar solution, long times and small starts, refusals."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.integrate

import linalign as la
from linalign.theory.flow import riccati, two_layers


def balanced(rng, k_0, k_1, k_2, lam, scale=0.3):
    """Layers with `W_2' W_2 - W_1 W_1' = lam I`: positive lam needs k_2 >= k_1, negative k_0 >= k_1."""
    turn = np.linalg.qr(rng.standard_normal((k_1, k_1)))[0]
    U, V = (np.linalg.qr(rng.standard_normal((k, k)))[0] for k in (k_2, k_0))
    r = min(k_0, k_1, k_2)
    small = np.zeros(k_1)
    small[:r] = scale * rng.uniform(0.5, 1.5, r)
    first = np.sqrt(small**2 + max(-lam, 0.0))
    second = np.sqrt(small**2 + max(lam, 0.0))
    S, T = np.zeros((k_1, k_0)), np.zeros((k_2, k_1))
    for i in range(k_1):
        if i < k_0:
            S[i, i] = first[i]
        if i < k_2:
            T[i, i] = second[i]
    return turn @ S @ V.T, U @ T @ turn.T


@pytest.mark.parametrize(
    ("widths", "lam"),
    [((4, 4, 4), 0.0), ((5, 3, 4), 0.7), ((5, 3, 4), -0.7), ((3, 2, 6), 1.0), ((6, 3, 2), -0.4), ((2, 5, 3), 0.0), ((3, 1, 1), 0.2)],
)
def test_it_is_the_flow_integrated(widths, lam):
    rng = np.random.default_rng(sum(widths))
    W, V = balanced(rng, *widths, lam)
    k_0, k_1, k_2 = widths
    M, c = rng.standard_normal((k_2, k_0)), 1.7
    times = np.array([0.0, 0.3, 1.0, 4.0])

    def slope(t, flat):
        A, B = flat[: k_1 * k_0].reshape(k_1, k_0), flat[k_1 * k_0 :].reshape(k_2, k_1)
        E = c * (M - B @ A)
        return np.concatenate([(B.T @ E).ravel(), (E @ A.T).ravel()])

    start = np.concatenate([W.ravel(), V.ravel()])
    found = scipy.integrate.solve_ivp(slope, (0, 4), start, method="DOP853", rtol=1e-12, atol=1e-13, t_eval=times).y.T
    want = np.array([row[k_1 * k_0 :].reshape(k_2, k_1) @ row[: k_1 * k_0].reshape(k_1, k_0) for row in found])
    # the error of the integration, over a time in which a mode grows by some e^10
    assert np.abs(riccati(W, V, M, c, times) - want).max() <= 1e-9
    # the same of linalign's flow, to the tolerance that is asked for
    X = np.sqrt(c) * np.eye(k_0)
    ours = la.flow(la.Network.from_matrices([W, V]), X, np.sqrt(c) * M.T, times=times, rtol=1e-10, record={"singular_values": 1})
    closed = np.linalg.svd(riccati(W, V, M, c, times), compute_uv=False)
    assert np.abs(ours.history["singular_values"].values - closed).max() <= 1e-7


def test_of_one_mode_it_is_the_scalar_solution():
    times = np.linspace(0, 50, 11)
    for a, b, q, c in ((1e-8, 3e-9, 1.0, 1.0), (0.5, -0.2, 2.0, 3.0), (0.3, 0.0, -1.0, 1.0), (0.2, 0.9, 0.1, 40.0)):
        sigma = two_layers(a, b, q, c, times)
        want = sigma[0] * sigma[1]
        # relative to the size of the target, as a norm is
        assert np.abs(riccati([[a]], [[b]], [[q]], c, times)[:, 0, 0] - want).max() <= 1e-12 * max(abs(q), np.abs(want).max())


def test_small_starts_and_long_times():
    """Stages that are far apart, whose exponentials differ by e^2000."""
    M = np.diag([3.0, 1.0, 0.3, 0.1])
    small = 1e-6 * np.eye(4)
    found = riccati(small, small, M, 1.0, np.array([1.0, 15.0, 50.0, 1000.0]))
    want = [np.prod(two_layers(1e-6, 1e-6, q, 1.0, np.array([1.0, 15.0, 50.0, 1000.0])), axis=0) for q in np.diag(M)]
    for j in range(4):
        assert np.abs(found[:, j, j] - want[j]).max() <= 1e-13 * 3
    assert np.abs(found[-1] - M).max() <= 1e-14 * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, 0.0]], [[1.0, 2.0]], [[1.0, 1.0]], 1.0, 1.0), "second has shape (1, 2) but first has 1 rows"),
        (([[1.0]], [[1.0]], [[1.0]], 0.0, 1.0), "eigenvalue is 0"),
        (([[1.0]], [[1.0]], [[1.0]], 1.0, -1.0), "times holds -1; the flow begins at time 0"),
        (
            (np.eye(2), np.diag([1.0, 2.0]), np.eye(2), 1.0, 1.0),
            "second' second - first first' is off a multiple of the identity by 3.0e-01",
        ),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        riccati(*arguments)
