"""Riccati: gradient flow of two layers on whitened data in closed form, for lambda-balanced starts of any widths (T15.5)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.linalg

from .. import validate
from ..validate import Array

# what an exponential may grow to in one go
FAR = 100.0
BALANCED = 1e-9


def riccati(first: Any, second: Any, target: Any, eigenvalue: float, times: Any) -> Array:
    """The product of two layers along the flow of `eigenvalue / 2 ||W_2 W_1 - target||^2`, from a lambda-balanced start.

    `R = [W_1'; W_2]` obeys a Riccati equation with constant coefficients where `W_2' W_2 - W_1 W_1' = lambda I` at the start: data with
    `X' X = eigenvalue I`, of which target is the fit.

    Parameters
    ----------
    first, second : arrays (k_1, k_0), (k_2, k_1)
    target : array (k_2, k_0)
    eigenvalue : of the data, above 0.
    times : array, at least 0.

    Returns
    -------
    array `(*times.shape, k_2, k_0)`; accurate to rounding for every time, relative to its norm.

    Raises: ValueError, TypeError, where shapes do not fit or the start is not lambda-balanced.
    Cost: one singular value decomposition, and a factorisation of `(k_0 + k_1 + k_2, k_1)` a time.
    Source: docs/theory, T15.5; Fukumizu, 1998; Braun, Domine, Fitzgerald, Saxe, 2022.

    Examples
    --------
    >>> import linalign as la, numpy as np
    >>> la.theory.flow.riccati([[0.1]], [[0.1]], [[1.0]], 1.0, 5.0).round(6)
    array([[0.995526]])
    """
    W, V = (validate.finite(name, validate.real_array(name, A).astype(np.float64)) for name, A in (("first", first), ("second", second)))
    for name, A in (("first", W), ("second", V)):
        if A.ndim != 2:
            raise ValueError(f"{name} has shape {A.shape}; a matrix was wanted")
    if V.shape[1] != len(W):
        raise ValueError(f"second has shape {V.shape} but first has {len(W)} rows; it must have as many columns")
    M = validate.matrix("target", target, np.dtype(np.float64), rows=len(V), columns=W.shape[1])
    rate = validate.real("eigenvalue", eigenvalue, above=0.0)
    t = validate.finite("times", validate.real_array("times", np.asarray(times)).astype(np.float64))
    if t.size and t.min() < 0:
        raise ValueError(f"times holds {t.min():g}; the flow begins at time 0")
    lam, off = imbalance(W, V)
    if off > BALANCED:
        raise ValueError(f"second' second - first first' is off a multiple of the identity by {off:.1e} of their size; it must be one")
    values, basis = _eigenpairs(M, lam)
    start = basis.T @ np.vstack([W.T, V])
    found = np.empty((*t.shape, len(V), W.shape[1]))
    for at in np.ndindex(t.shape):
        R = basis @ _moved(values, start, rate * float(t[at]))
        found[at] = R[W.shape[1] :] @ R[: W.shape[1]].T
    return found


def imbalance(first: Array, second: Array) -> tuple[float, float]:
    """`lambda` with `W_2' W_2 - W_1 W_1'` nearest to `lambda I`, and how far off that is, over the layers' squared norms."""
    D = second.T @ second - first @ first.T
    lam = float(np.trace(D)) / len(D)
    size = float(np.sum(first**2) + np.sum(second**2))
    return lam, float(np.linalg.norm(D - lam * np.eye(len(D)))) / size if size else 0.0


def _eigenpairs(M: Array, lam: float) -> tuple[Array, Array]:
    """Eigenvalues and vectors of `F = [-lam/2 I, M'; M, lam/2 I]`, from the singular vectors of M."""
    U, s, Vt = np.linalg.svd(M)
    k_2, k_0 = M.shape
    r = len(s)
    values, basis = np.empty(k_0 + k_2), np.zeros((k_0 + k_2, k_0 + k_2))
    size, half = np.hypot(s, lam / 2), np.arctan2(2 * s, -lam) / 2
    values[:r], values[r : 2 * r] = size, -size
    basis[:k_0, :r], basis[k_0:, :r] = np.cos(half) * Vt[:r].T, np.sin(half) * U[:, :r]
    basis[:k_0, r : 2 * r], basis[k_0:, r : 2 * r] = -np.sin(half) * Vt[:r].T, np.cos(half) * U[:, :r]
    values[2 * r : r + k_0], basis[:k_0, 2 * r : r + k_0] = -lam / 2, Vt[r:].T
    values[r + k_0 :], basis[k_0:, r + k_0 :] = lam / 2, U[:, r:]
    return values, basis


def _moved(f: Array, R: Array, t: float) -> Array:
    """R in the eigenbasis after time t, up to a rotation of the hidden units, in steps that no exponential overflows."""
    steps = max(1, math.ceil(float(np.abs(f).max(initial=0.0)) * t / FAR))
    if t == 0:
        return R
    h = t / steps
    grown, back = (np.sqrt(h * _phi(sign * 2 * f * h))[:, None] for sign in (1.0, -1.0))
    for _ in range(steps):
        X = grown * R
        stacked = np.vstack([X, np.eye(R.shape[1])])
        # rows by their norms and columns by pivots: each row is then accurate relative to itself
        order = np.argsort(-np.linalg.norm(stacked, axis=1), kind="stable")
        Q = scipy.linalg.qr(stacked[order], mode="economic", pivoting=True)[0]
        placed = np.empty_like(Q)
        placed[order] = Q
        R = placed[: len(X)] / back
    return R


def _phi(y: Array) -> Array:
    """`(e^y - 1) / y`."""
    small = np.abs(y) < 1e-300
    return np.asarray(np.where(small, 1.0, np.expm1(y) / np.where(small, 1.0, y)))
