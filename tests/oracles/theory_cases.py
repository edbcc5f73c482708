"""What the tests of the theory share: data with known singular vectors, aligned starts, and gradient descent in a few lines."""

from itertools import pairwise

import numpy as np

EPS = np.finfo(float).eps


def orthogonal(rng, k):
    q, r = np.linalg.qr(rng.standard_normal((k, k)))
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)


def diagonal(shape, values):
    S = np.zeros(shape)
    S[np.arange(len(values)), np.arange(len(values))] = values
    return S


def joint_data(rng, n, eigenvalues, targets, k_d, noise=1.0):
    """X, Y, U, V with X^T X = V diag(eigenvalues) V^T and Y^T X = U diag(targets) V^T, plus noise orthogonal to X."""
    k_0 = len(eigenvalues)
    V, U = orthogonal(rng, k_0), orthogonal(rng, k_d)
    A = np.linalg.qr(rng.standard_normal((n, k_0)))[0]
    X = A @ (np.sqrt(eigenvalues)[:, None] * V.T)
    inverse = np.where(eigenvalues > 0, 1 / np.where(eigenvalues > 0, eigenvalues, 1), 0)
    Y = X @ V @ (inverse[:, None] * diagonal((k_d, k_0), targets).T) @ U.T
    E = rng.standard_normal((n, k_d)) * noise
    return X, Y + E - A @ (A.T @ E), U, V


def diagonal_net(bases, factors):
    """W_i = Q_i S_i Q_{i-1}^T with the rows of `factors` (d, r) on the diagonals."""
    return [Q @ diagonal((len(Q), len(P)), s) @ P.T for (P, Q), s in zip(pairwise(bases), factors, strict=True)]


def product(Ws):
    P = np.eye(Ws[0].shape[1])
    for W in Ws:
        P = W @ P
    return P


def gradients(Ws, G):
    """dL/dW_i from dL/dP."""
    below = [np.eye(Ws[0].shape[1])]
    for W in Ws:
        below.append(W @ below[-1])
    out = []
    for i in reversed(range(len(Ws))):
        out.append(G @ below[i].T)
        G = Ws[i].T @ G
    return out[::-1]


def descend(Ws, C, M, lrs):
    """Gradient descent on the squared loss, one learning rate a step."""
    for lr in lrs:
        Ws = [W - lr * g for W, g in zip(Ws, gradients(Ws, product(Ws) @ C - M), strict=True)]
    return Ws


def off_diagonal(Ws, bases):
    """The largest relative off-diagonal part of the layers in these bases."""
    worst = []
    for (P, Q), W in zip(pairwise(bases), Ws, strict=True):
        E = Q.T @ W @ P
        rest = E - diagonal(E.shape, np.diag(E))
        worst.append(np.linalg.norm(rest) / np.maximum(np.linalg.norm(W), 1e-300))
    return np.max(worst)  # nan if there is one, which no bound accepts


def scalar_step(sigma, eigenvalue, target, lr):
    """One step of a mode: every factor along the product of the others."""
    others = np.array([np.prod(np.delete(sigma, i)) for i in range(len(sigma))])
    return sigma + lr * eigenvalue * (target - np.prod(sigma)) * others
