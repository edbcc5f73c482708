"""Shared by the checks: data that an aligned start is invariant under, and such starts."""

import numpy as np
from common import orth
from numpy.linalg import norm, qr


def joint_data(rng, n, k0, kd, lam, s, noise=1.0):
    """X,Y with X^T X = V diag(lam) V^T, Y^T X = U diag(s) V^T (rectangular), plus noise orthogonal to X."""
    V, U = orth(rng, k0), orth(rng, kd)
    A = qr(rng.standard_normal((n, k0)))[0]
    X = A @ (np.sqrt(lam)[:, None] * V.T)
    S = np.zeros((kd, k0))
    m = min(kd, k0)
    S[np.arange(m), np.arange(m)] = s[:m]
    li = np.where(lam > 0, 1 / np.where(lam > 0, lam, 1), 0)
    Y = X @ V @ (li[:, None] * S.T) @ U.T
    E = rng.standard_normal((n, kd)) * noise
    Y = Y + E - A @ (A.T @ E)
    return X, Y, U, V


def diag_init(rng, ks, Q, J=None, lo=0.4, hi=1.2, partial=None):
    d = len(ks) - 1
    r = min(ks)
    J = range(r) if J is None else J
    Ss = []
    for i in range(d):
        S = np.zeros((ks[i + 1], ks[i]))
        for j in J:
            S[j, j] = rng.uniform(lo, hi) * rng.choice([-1, 1])
        Ss.append(S)
    return [Q[i + 1] @ Ss[i] @ Q[i].T for i in range(d)], Ss


def offdiag(Ws, Q):
    m = 0
    for i, w in enumerate(Ws):
        E = Q[i + 1].T @ w @ Q[i]
        D = E.copy()
        np.fill_diagonal(D, 0)
        m = max(m, norm(D) / max(norm(w), 1e-300))
    return m
