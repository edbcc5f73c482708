"""Section 14: the neural tangent kernel.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section14_kernel.py
"""

import numpy as np
import torch
from closures import closure, gauss, rest, small
from common import end2end, orth
from numpy.linalg import norm, svd

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
rng = np.random.default_rng(16)


def grams(Ws, X):
    """suffix Grams K_i = W_{d:i+1} W_{d:i+1}^T (k_d, k_d) and activations A_{i-1} = X W_{i-1:1}^T (n, k_{i-1}), i = 1..d"""
    d = len(Ws)
    S = np.eye(Ws[-1].shape[0])
    K = [None] * d
    for i in range(d, 0, -1):
        K[i - 1] = S @ S.T
        S = S @ Ws[i - 1]
    A = [X]
    for W in Ws[:-1]:
        A.append(A[-1] @ W.T)
    return K, A


def kernel(Ws, X):
    K, A = grams(Ws, X)
    return sum(np.kron(a @ a.T, k) for k, a in zip(K, A))


def inner(g, h):
    return sum(np.sum(k * l) * np.sum((a.T @ b) ** 2) for k, a in zip(*g) for l, b in zip(*h))


def jac(Ws, X):
    Xt = torch.tensor(X)

    def out(*W):
        A = Xt
        for w in W:
            A = A @ w.T
        return A

    J = torch.func.jacrev(out, argnums=tuple(range(len(Ws))))(*[torch.tensor(w) for w in Ws])
    return np.hstack([j.numpy().reshape(len(X) * Ws[-1].shape[0], -1) for j in J])


ks = [6, 8, 5, 7, 3]
Ws = gauss(rng, ks)
X = rng.standard_normal((10, 6))
J = jac(Ws, X)
T = kernel(Ws, X)
K, A = grams(Ws, X)
print(
    "kernel against J J^T %.1e; trace from Grams %.1e"
    % (norm(T - J @ J.T) / norm(T), abs(sum(np.trace(k) * np.sum(a * a) for k, a in zip(K, A)) / np.trace(T) - 1))
)
W2 = [w + 0.1 * rng.standard_normal(w.shape) for w in Ws]
T2 = kernel(W2, X)
g, h = grams(Ws, X), grams(W2, X)
cos = inner(g, h) / np.sqrt(inner(g, g) * inner(h, h))
print("kernel distance 1 - cos: factors %.12f, direct %.12f" % (1 - cos, 1 - np.sum(T * T2) / (norm(T) * norm(T2))))
X9 = rng.standard_normal((400, 6))
U, s, Vt = svd(X9, full_matrices=False)
Xs = s[:, None] * Vt
g, h, gs, hs = grams(Ws, X9), grams(W2, X9), grams(Ws, Xs), grams(W2, Xs)
print(
    "the same from 6 rows instead of 400: %.1e; nonzero eigenvalues of 1200 x 1200 from 18 x 18: %.1e"
    % (
        abs(inner(g, h) / np.sqrt(inner(g, g) * inner(h, h)) - inner(gs, hs) / np.sqrt(inner(gs, gs) * inner(hs, hs))),
        np.abs(np.linalg.eigvalsh(kernel(Ws, X9))[-18:] / np.linalg.eigvalsh(kernel(Ws, Xs)) - 1).max(),
    )
)
x, y = X[0], X[1]
sd = [0.9, 1.1, 0.8, 1.2]
N = 20000
tot = np.zeros((3, 3))
sq = np.zeros((3, 3))
for _ in range(N):
    W = [rng.standard_normal((ks[i + 1], ks[i])) * sd[i] / np.sqrt(ks[i]) for i in range(4)]
    K_, A_ = grams(W, np.array([x, y]))
    t = sum(k * (a[0] @ a[1]) for k, a in zip(K_, A_))
    tot += t
    sq += t * t
m = tot / N
se = np.sqrt((sq / N - m * m) / N)
th = sum(np.prod([sd[j] ** 2 for j in range(4) if j != i]) * ks[i] / ks[0] for i in range(4)) * (x @ y)
print(
    "mean over %d Gaussian starts: diagonal %s, formula %.4f; largest deviation %.1f standard errors"
    % (N, np.round(np.diag(m), 4), th, np.max(np.abs(m - th * np.eye(3)) / se))
)
v = [s_**2 for s_ in sd]
print(
    "NTK parametrisation: sum_i v_i/k_{i-1} x term = %.6f, d prod v <x,x'>/k_0 = %.6f"
    % (
        sum(v[i] / ks[i] * np.prod([v[j] for j in range(4) if j != i]) * ks[i] / ks[0] for i in range(4)) * (x @ y),
        4 * np.prod(v) * (x @ y) / ks[0],
    )
)
print("-- reduced networks")
ks = [20, 30, 30, 3]
W0 = gauss(rng, ks)
W0[1] = 0.9 * orth(rng, 30)
X = rng.standard_normal((4, 20))
Q = closure(W0, X.T)
E, Wh = rest(W0, Q), small(W0, Q)
Z = rng.standard_normal((3, 20))
print(
    "widths %s -> %s; on training inputs full - reduced %.1e"
    % (ks, [q.shape[1] for q in Q], norm(kernel(W0, X) - kernel(Wh, X @ Q[0])) / norm(kernel(W0, X)))
)


def activations(Wh, E, Q, Z):
    """all activations of new inputs from the reduced network and the complement: coordinates inside and vectors outside"""
    a = Z @ Q[0]
    o = Z - a @ Q[0].T
    A, O = [a], [o]
    for i, W in enumerate(Wh[:-1]):
        nxt = o @ E[i].T
        a = a @ W.T + nxt @ Q[i + 1]
        o = nxt - (nxt @ Q[i + 1]) @ Q[i + 1].T
        A.append(a)
        O.append(o)
    return A, O


K, _ = grams(Wh, Z @ Q[0])
A, O = activations(Wh, E, Q, Z)
red = sum(np.kron(a @ a.T + o @ o.T, k) for k, a, o in zip(K, A, O))
naive = kernel(Wh, Z @ Q[0])
print("new inputs: with the complement %.1e, without it %.1e" % (norm(red - kernel(W0, Z)) / norm(red), norm(naive - red) / norm(red)))
n = 9
X5 = np.hstack([rng.standard_normal((n, 3)), np.zeros((n, 17))])
Us = svd(X5, full_matrices=False)[0][:, :3]
Y = X5 @ rng.standard_normal((20, 2)) @ rng.standard_normal((2, 30)) + (np.eye(n) - Us @ Us.T) @ rng.standard_normal((n, 30))
W5 = [gauss(rng, [20, 30])[0], 0.9 * orth(rng, 30), 0.8 * orth(rng, 30)]
Q = closure(W5, X5.T, Sd=Y.T @ X5)
Wh = small(W5, Q)
C = [None if i == 0 else (np.eye(30) - Q[i + 1] @ Q[i + 1].T) @ W5[i] @ (np.eye(30) - Q[i] @ Q[i].T) for i in range(3)]
K, A = grams(Wh, X5 @ Q[0])
P = np.eye(30) - Q[3] @ Q[3].T
Kp = [P @ C[2] @ C[1] @ (C[2] @ C[1]).T @ P, C[2] @ C[2].T, P]
red = sum(np.kron(a @ a.T, Q[3] @ k @ Q[3].T + kp) for k, kp, a in zip(K, Kp, A))
T = kernel(W5, X5)
F = X5 @ end2end(W5).T
D = (F - Y) @ P
print(
    "smaller S_d (T8.2), dims %s: two orthogonal kernels %.1e; the second on the residual outside S_d %.1e"
    % ([q.shape[1] for q in Q], norm(T - red) / norm(T), norm(sum(a @ (a.T @ D) @ k for k, a in zip(Kp, A))) / norm(D))
)
print("-- constrained layers: two zero-padded convolutions, kernel of each descent; d(outputs)/dt of one small step")
N = 8
B = np.array([np.eye(N, k=-1), np.eye(N), np.eye(N, k=1)])
Gm = np.array([N - 1.0, N, N - 1])
mat = lambda t: np.einsum("k,kab->ab", t, B)
t = rng.standard_normal(6)
X = rng.standard_normal((5, N))
Y = rng.standard_normal((5, N))


def f(t):
    return X @ (mat(t[3:]) @ mat(t[:3])).T


W = [mat(t[:3]), mat(t[3:])]
Jt = jac(W, X) @ np.block([[B.reshape(3, -1).T, np.zeros((64, 3))], [np.zeros((64, 3)), B.reshape(3, -1).T]])
D = (f(t) - Y).ravel()
for nm, P in (("parameters", np.ones(6)), ("matrix", 1 / np.tile(Gm, 2))):
    h = 1e-6
    step = P * (Jt.T @ D)
    num = (f(t - h * step) - f(t + h * step)).ravel() / (2 * h)
    print("   metric %-10s |df/dt + Theta D| / |df/dt| %.1e" % (nm, norm(num + (Jt * P) @ Jt.T @ D) / norm(num)))
