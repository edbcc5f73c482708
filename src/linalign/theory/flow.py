"""Gradient flow in closed form: one mode of two layers, times of balanced modes of any depth, two layers on whitened data."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special

from .. import validate
from ..validate import Array
from .riccati import riccati

__all__ = ["balanced_time", "riccati", "two_layers"]


def two_layers(first: float, second: float, target: float, eigenvalue: float, times: Any) -> tuple[Array, Array]:
    """The scalars `(sigma_1, sigma_2)` of one mode along the flow, two layers, any imbalance.

    `d sigma_1 / dt = l (q - p) sigma_2`, `d sigma_2 / dt = l (q - p) sigma_1`, `p = sigma_1 sigma_2`, for the loss `l (p - q)^2 / 2`.

    Parameters
    ----------
    first, second : sigma_1, sigma_2 at time 0.
    target : q, any sign.
    eigenvalue : l > 0, of the data.
    times : array, at least 0.

    Returns
    -------
    sigma_1, sigma_2 : arrays of the shape of times

    Raises: ValueError, TypeError. Source: docs/theory, T15.3; balanced, Saxe, McClelland, Ganguli, 2014 (arXiv 1312.6120).

    Examples
    --------
    >>> import linalign as la
    >>> a, b = la.theory.flow.two_layers(0.1, 0.1, 1.0, 1.0, 5.0)
    >>> round(float(a * b), 6)
    0.995526
    """
    a, b = validate.real("first", first), validate.real("second", second)
    q, rate = validate.real("target", target), validate.real("eigenvalue", eigenvalue, above=0)
    t = validate.finite("times", validate.real_array("times", times).astype(np.float64))
    if t.size and t.min() < 0:
        raise ValueError(f"times holds {t.min():g}; the flow begins at time 0")
    if q < 0:
        # the same with the second layer and the target of the other sign
        upper, lower = two_layers(a, -b, -q, rate, t)
        return upper, -lower
    if a + b < 0:
        upper, lower = two_layers(-a, -b, q, rate, t)
        return -upper, -lower
    if a + b == 0:
        # p = -sigma_1^2 falls to 0: A is 0 for all time, and d sigma_1 / dt = -l (q + sigma_1^2) sigma_1
        square = a * a
        decay = np.exp(-2 * rate * q * t)
        grown = -np.expm1(-2 * rate * q * t) / q if q > 0 else 2 * rate * t
        sigma = np.sign(a) * np.sqrt(square * decay / (1 + square * grown))
        return sigma, -sigma
    D = (a - b) * (a + b)
    K = np.hypot(D, 2 * q)
    A: Any = (a + b) ** 2
    if K == 0:
        # balanced, and the target is 0: d sigma / dt = -l sigma^3
        A = A / (1 + rate * t * A / 2)
    else:
        high, low = 2 * q + K, -(D * D) / (2 * q + K)
        fall, rise = np.exp(-rate * K * t), -np.expm1(-rate * K * t)
        A = (high * (A - low) * rise + 2 * K * A * fall) / ((A - low) * rise + 2 * K * fall)
    total = np.sqrt(A)
    return (total + D / total) / 2, (total - D / total) / 2


def balanced_time(depth: int, start: float, value: Any, target: float, eigenvalue: float) -> Array:
    """The time at which the product of a balanced mode has gone from `start` to `value`, any depth.

    `dp / dt = d l p^(2 - 2 / d) (q - p)`, `0 < start <= value < q`.

    Returns: array of the shape of value. Raises: ValueError, TypeError. Source: docs/theory, T15.3 and T15.4.

    Examples
    --------
    >>> import linalign as la
    >>> round(float(la.theory.flow.balanced_time(2, 0.01, 0.5, 1.0, 1.0)), 6)
    2.29756
    """
    d = validate.integer("depth", depth, least=2)
    q, rate = validate.real("target", target, above=0), validate.real("eigenvalue", eigenvalue, above=0)
    p0 = validate.real("start", start, above=0)
    p = validate.finite("value", validate.real_array("value", value).astype(np.float64))
    if p.size and (p.min() < p0 or p.max() >= q):
        worst = p.min() if p.min() < p0 else p.max()
        raise ValueError(f"value holds {worst:g}; numbers from start, {p0:g}, up to but not the target, {q:g}, were wanted")
    if d == 2:
        return np.asarray((np.log(p / p0) + np.log((q - p0) / (q - p))) / (2 * rate * q))

    def passed(x: Array) -> Array:
        u = (x / q) ** (1 / d)
        tail = u**2 / 2 * scipy.special.hyp2f1(1.0, 2 / d, 1 + 2 / d, x / q)
        return np.asarray(q ** (2 / d - 2) / rate * (u ** (2 - d) / (2 - d) + tail))

    return passed(p) - passed(np.asarray(p0))
