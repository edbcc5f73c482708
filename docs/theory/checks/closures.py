"""Shared by the checks of sections 11 to 16: closures (T8.1, T8.2, T16.4), losses with second derivatives, gradients."""

import numpy as np
from common import end2end, grads_G
from numpy.linalg import norm, qr, svd


def extend(Q, B, tol=1e-10):
    """append to the orthonormal Q an orthonormal basis of what range(B) has outside it"""
    if Q.shape[1] == Q.shape[0] or B.shape[1] == 0:
        return Q, 0
    B = B - Q @ (Q.T @ B)
    B = B - Q @ (Q.T @ B)
    u, s, _ = svd(B, full_matrices=False)
    m = min(int((s > tol).sum()), Q.shape[0] - Q.shape[1])
    if m == 0:
        return Q, 0
    U = u[:, :m]
    U = U - Q @ (Q.T @ U)
    return np.hstack([Q, qr(U)[0]]), m


def closure(Ws, S0, Sd=None, bias=None, tol=1e-10):
    """smallest S_i of T8.1 (Sd None: all outputs) or T8.2 (Sd = first columns of S_d); bias: vectors b_i that S_i must hold"""
    d = len(Ws)
    ks = [Ws[0].shape[1]] + [w.shape[0] for w in Ws]
    sc = [max(norm(w, 2), 1e-300) for w in Ws]
    Q = [np.zeros((k, 0)) for k in ks]
    Q[0] = extend(Q[0], S0 / max(norm(S0, 2), 1e-300), tol)[0]
    if Sd is None:
        Q[d] = np.eye(ks[d])
    else:
        Q[d] = extend(Q[d], Sd / max(norm(Sd, 2), 1e-300), tol)[0]
    if bias is not None:
        for i, b in enumerate(bias):
            if norm(b):
                Q[i + 1] = extend(Q[i + 1], b[:, None] / norm(b), tol)[0]
    new = True
    while new:
        new = False
        for i in range(1, d + 1):
            Q[i], m = extend(Q[i], Ws[i - 1] @ Q[i - 1] / sc[i - 1], tol)
            new |= m > 0
        for i in range(d, 1, -1):
            Q[i - 1], m = extend(Q[i - 1], Ws[i - 1].T @ Q[i] / sc[i - 1], tol)
            new |= m > 0
    return Q


def closed(Ws, Q):
    """what the closure misses, relative to the layers"""
    r = 0.0
    for i, W in enumerate(Ws):
        n = norm(W) or 1.0
        a = W @ Q[i]
        r = max(r, norm(a - Q[i + 1] @ (Q[i + 1].T @ a)) / n)
        if i:
            b = W.T @ Q[i + 1]
            r = max(r, norm(b - Q[i] @ (Q[i].T @ b)) / n)
    return r


def small(Ws, Q):
    return [Q[i + 1].T @ w @ Q[i] for i, w in enumerate(Ws)]


def rest(Ws, Q):
    return [w - Q[i + 1] @ (Q[i + 1].T @ w @ Q[i]) @ Q[i].T for i, w in enumerate(Ws)]


def lift(E, Wh, Q, f=None):
    return [(1 if f is None else f[i]) * e + Q[i + 1] @ w @ Q[i].T for i, (e, w) in enumerate(zip(E, Wh))]


def rel(A, B):
    return max(norm(a - b) / max(norm(a), 1e-300) for a, b in zip(A, B))


def fro(g):
    return np.sqrt(sum(float(np.sum(x * x)) for x in g))


def gauss(rng, ks, s=1.0):
    return [s * rng.standard_normal((ks[i + 1], ks[i])) / np.sqrt(ks[i]) for i in range(len(ks) - 1)]


def out_loss(kind, F, T, f):
    """value, gradient and Hessian-vector product of the loss in the outputs F (n, k_d), or in F = P^T for entries and sensing"""
    if kind == "squared":
        R = F - T
        return f * np.sum(R * R), 2 * f * R, lambda V: 2 * f * V
    if kind == "logistic":
        m = T * F
        s = 1 / (1 + np.exp(m))
        return f * np.logaddexp(0, -m).sum(), -f * T * s, lambda V: f * s * (1 - s) * V
    if kind == "exponential":
        e = np.exp(-T * F)
        return f * e.sum(), -f * T * e, lambda V: f * e * V
    if kind == "cross_entropy":
        z = F - F.max(1, keepdims=True)
        l = z - np.log(np.exp(z).sum(1, keepdims=True))
        p = np.exp(l)
        return -f * np.sum(T * l), f * (p - T), lambda V: f * (p * V - p * np.sum(p * V, 1, keepdims=True))
    if kind == "entries":
        r, c, v = T
        R = F[c, r] - v

        def scatter(x):
            G = np.zeros_like(F)
            np.add.at(G, (c, r), x)
            return G

        return f * R @ R, scatter(2 * f * R), lambda V: scatter(2 * f * V[c, r])
    if kind == "sensing":
        A, v = T
        R = np.einsum("jab,ba->j", A, F) - v
        return f * R @ R, 2 * f * np.einsum("j,jab->ba", R, A), lambda V: 2 * f * np.einsum("j,jab->ba", np.einsum("jab,ba->j", A, V), A)
    raise ValueError(kind)


def gradient(Ws, X, kind, T, f):
    """gradients of every layer of the loss of X P^T"""
    g = out_loss(kind, X @ end2end(Ws).T, T, f)[1]
    return grads_G(Ws, g.T @ X)
