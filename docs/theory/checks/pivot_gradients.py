"""Shared by the checks: gradients by backpropagation and from a pivot."""

import numpy as np

LD = np.longdouble


def backprop(Ws, X, Y):
    A = [X]
    for W in Ws:
        A.append(A[-1] @ W.T)
    D = A[-1] - Y
    g = [None] * len(Ws)
    for i in range(len(Ws) - 1, -1, -1):
        g[i] = D.T @ A[i]
        if i:
            D = D @ Ws[i]
    return g


def pivoted(Ws, X, Y, p, gram=False):
    """pivot p in 0..d: upper part forward from I_{k_p}, lower part adjoint from I_{k_p}"""
    d = len(Ws)
    kp = Ws[p].shape[1] if p < d else Ws[-1].shape[0]
    F = [np.eye(kp, dtype=X.dtype)]  # F[j-p] = W_j ... W_{p+1}
    for i in range(p, d):
        F.append(Ws[i] @ F[-1])
    B = [np.eye(kp, dtype=X.dtype)]  # B[p-j] = W_p ... W_{j+1}
    for i in range(p - 1, -1, -1):
        B.append(B[-1] @ Ws[i])
    U, N = F[-1], B[-1]
    if gram:
        C, M = X.T @ X, Y.T @ X
        G = U @ (N @ C) - M
        E = G @ N.T
        T = U.T @ G
    else:
        Z = N @ X.T
        Dt = U @ Z - Y.T
        E = Dt @ Z.T
        T = (U.T @ Dt) @ X
    g = [None] * d
    Dl = E  # upper: (W_{d:i+1}^T E) F_{i-1}^T
    for i in range(d - 1, p - 1, -1):
        g[i] = Dl @ F[i - p].T
        if i > p:
            Dl = Ws[i].T @ Dl
    for i in range(p):  # lower: B_i^T (T W_{i-1:1}^T)
        g[i] = B[p - 1 - i].T @ T
        if i < p - 1:
            T = T @ Ws[i].T
    return g
