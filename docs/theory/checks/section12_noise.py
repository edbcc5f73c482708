"""Section 12: minibatches, label noise, gradient noise.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section12_noise.py
"""

import numpy as np
from closures import closed, closure, gauss, gradient, lift, rel, rest, small
from common import end2end, orth
from numpy.linalg import norm, qr, svd
from scipy import stats

rng = np.random.default_rng(14)


def sgd(Ws, X, T, kind, batches, lr, mu=0.9, f=None, noise=None, wn=None):
    """minibatch heavy ball, mean over the batch; noise[t]: added to the targets; wn[t]: added to the gradients"""
    W = [w.copy() for w in Ws]
    m = [0 * w for w in W]
    for t, b in enumerate(batches):
        T_ = T[b] if noise is None else T[b] + noise[t][b]
        g = gradient(W, X[b], kind, T_, (f or (1.0 if kind != "squared" else 0.5)) / (len(b) if not isinstance(b, slice) else len(X)))
        if wn is not None:
            g = [x + z for x, z in zip(g, wn[t])]
        m = [mu * a + x for a, x in zip(m, g)]
        W = [w - lr * a for w, a in zip(W, m)]
    return W


print("-- minibatches of 4 of 12 rows, momentum: inputs and width")
ks = [30, 60, 4]
X = rng.standard_normal((12, 30))
W0 = gauss(rng, ks)
bt = [rng.integers(0, 12, 4) for _ in range(300)]
Q = closure(W0, X.T)
E, Wh = rest(W0, Q), small(W0, Q)
print("widths %s -> %s" % (ks, [q.shape[1] for q in Q]))
for kind, T in (
    ("squared", rng.standard_normal((12, 4))),
    ("logistic", rng.choice([-1.0, 1.0], (12, 4))),
    ("cross_entropy", np.eye(4)[rng.integers(0, 4, 12)]),
):
    print("   %-14s |full - lifted| %.1e" % (kind, rel(sgd(W0, X, T, kind, bt, 0.01), lift(E, sgd(Wh, X @ Q[0], T, kind, bt, 0.01), Q))))
print("-- T8.2 under minibatches: S_d must hold every target, not only Y^T X")
# Y = a part in the range of X (rank 2) plus a part orthogonal to it in the samples: Y^T X sees rank 2 of 5
n = 24
X = rng.standard_normal((n, 8))
U = svd(X, full_matrices=False)[0]
Y = X @ rng.standard_normal((8, 2)) @ rng.standard_normal((2, 40)) / 5
Y2 = Y + (np.eye(n) - U @ U.T) @ rng.standard_normal((n, 3)) @ rng.standard_normal((3, 40))
W0 = [0.5 * orth(rng, 40)[:, :8], 0.7 * orth(rng, 40), 0.7 * orth(rng, 40)]
bt = [rng.integers(0, n, 6) for _ in range(100)]
full = [slice(None)] * 100
for nm, Sd in (("Y^T X S_0 only", Y2.T @ X), ("all rows of Y", Y2.T)):
    Q = closure(W0, X.T, Sd=Sd)
    E, Wh = rest(W0, Q), small(W0, Q)
    e = [rel(sgd(W0, X, Y2, "squared", b, 0.001), lift(E, sgd(Wh, X @ Q[0], Y2 @ Q[-1], "squared", b, 0.001), Q)) for b in (full, bt)]
    print("   S_d from %-15s dims %s: full batch %.1e, minibatches %.1e" % (nm, [q.shape[1] for q in Q], *e))
print("-- fixed partition: each batch compressed once (200 rows, 4 batches of 50, 6 columns)")
X = rng.standard_normal((200, 6))
Y = rng.standard_normal((200, 3))
W0 = gauss(rng, [6, 9, 3])
parts = np.array_split(rng.permutation(200), 4)
order = rng.integers(0, 4, 400)
R = [qr(np.hstack([X[p], Y[p]]), mode="r") for p in parts]
a = sgd(W0, X, Y, "squared", [parts[j] for j in order], 0.005)
Xs, Ys = np.vstack([r[:6, :6] for r in R]), np.vstack([r[:6, 6:] for r in R])
W = [w.copy() for w in W0]
m = [0 * w for w in W]
for j in order:
    s = slice(6 * j, 6 * j + 6)
    g = gradient(W, Xs[s], "squared", Ys[s], 0.5 / 50)
    m = [0.9 * u + v for u, v in zip(m, g)]
    W = [w - 0.005 * v for w, v in zip(W, m)]
print("   50 rows against 6 a step, 400 steps: %.1e" % rel(a, W))
print("-- pivots: batch size from which an output-side pivot beats backpropagation (multiply-adds counted)")


def count(ks, b):
    m = [ks[i] * ks[i + 1] for i in range(len(ks) - 1)]
    S, d = sum(m), len(m)
    back = b * (3 * S - m[0])
    best = (back, "backpropagation")
    for p in range(1, d + 1):
        up, low = sum(m[p:]), sum(m[:p])
        k = ks[p]
        c = k * 3 * (low - m[p - 1]) + (k * 3 * (up - m[p]) if p < d else 0) + b * k * (2 * ks[0] + (3 * ks[-1] if p < d else 0))
        best = min(best, (c, "pivot %d" % p))
    return best, back


for ks in ([784, 512, 512, 10], [784, 512, 512, 1], [512, 512, 512, 4, 512, 512, 10], [100] * 11):
    b = next((b for b in range(1, 5000) if count(ks, b)[0][1] != "backpropagation"), None)
    m = [ks[i] * ks[i + 1] for i in range(len(ks) - 1)]
    S = sum(m)
    kd = ks[-1]
    den = 3 * S - m[0] - 2 * kd * ks[0]
    c32 = count(ks, 32)
    print(
        "   %-34s first b = %s (formula for p = d: %.1f); at b = 32: %s, x%.2f; at b = 256: %s, x%.2f"
        % (
            ks,
            b,
            kd * 3 * (S - m[-1]) / den if den > 0 else np.inf,
            c32[0][1],
            c32[1] / c32[0][0],
            count(ks, 256)[0][1],
            count(ks, 256)[1] / count(ks, 256)[0][0],
        )
    )
print("-- label noise, full batch, 300 rows, mean over samples: pathwise with U_x^T xi")
n, ks, sg, T = 300, [5, 12, 4], 0.7, 200
X = rng.standard_normal((n, 5)) @ rng.standard_normal((5, 5))
Y = rng.standard_normal((n, 4))
U, s, Vt = svd(X, full_matrices=False)
W0 = gauss(rng, ks, 0.7)
xi = sg * rng.standard_normal((T, n, 4))
a = sgd(W0, X, Y, "squared", [slice(None)] * T, 0.02, noise=xi)
W = [w.copy() for w in W0]
m = [0 * w for w in W]
Xs = s[:, None] * Vt
for t in range(T):
    g = gradient(W, Xs, "squared", U.T @ (Y + xi[t]), 0.5 / n)
    m = [0.9 * u + v for u, v in zip(m, g)]
    W = [w - 0.02 * v for w, v in zip(W, m)]
print("   %.1e; without noise the weights would differ by %.1e" % (rel(a, W), rel(a, sgd(W0, X, Y, "squared", [slice(None)] * T, 0.02))))
print("-- in law: 20,000 runs of 3-3-2, 40 rows, 30 steps; end-to-end matrix")


def many(N, X, Y, factor, lr, T, sg, kind="gauss"):
    W1, W2 = np.repeat(W0s[0][None], N, 0), np.repeat(W0s[1][None], N, 0)
    C, M = X.T @ X, Y.T @ X
    for _ in range(T):
        z = rng.standard_normal((N,) + Y.shape) if kind == "gauss" else rng.choice([-1.0, 1.0], (N,) + Y.shape)
        G = 2 * factor * ((W2 @ W1) @ C - M - sg * np.swapaxes(z, 1, 2) @ X)
        g1, g2 = np.swapaxes(W2, 1, 2) @ G, G @ np.swapaxes(W1, 1, 2)
        W1, W2 = W1 - lr * g1, W2 - lr * g2
    return (W2 @ W1).reshape(N, -1)


W0s = gauss(rng, [3, 3, 2])
X = rng.standard_normal((40, 3))
Y = rng.standard_normal((40, 2))
U, s, Vt = svd(X, full_matrices=False)
N = 20000
a, b = many(N, X, Y, 0.5 / 40, 0.1, 30, 3.0), many(N, s[:, None] * Vt, U.T @ Y, 0.5 / 40, 0.1, 30, 3.0)
print(
    "   smallest of 6 Kolmogorov-Smirnov p-values %.2f; largest |difference of means| / standard error %.1f; covariances differ by %.3f of the largest (sampling error %.3f)"
    % (
        min(stats.ks_2samp(a[:, j], b[:, j]).pvalue for j in range(6)),
        np.max(np.abs(a.mean(0) - b.mean(0)) / np.sqrt((a.var(0) + b.var(0)) / N)),
        np.abs(np.cov(a.T) - np.cov(b.T)).max() / np.cov(a.T).max(),
        2 / np.sqrt(N),
    )
)
X = np.zeros((40, 3))
X[:3] = np.eye(3)
X[0] *= 3
X[3] = [3, 0, 0]
X[:, 0] += 0.1
U, s, Vt = svd(X, full_matrices=False)
Y = 0 * Y
a, b = many(N, X, Y, 0.5 / 4, 0.1, 1, 1.0, "sign"), many(N, s[:, None] * Vt, U.T @ Y, 0.5 / 4, 0.1, 1, 1.0, "sign")
print(
    "   labels +-sigma instead: largest p-value after one step %.0e (not the same law)"
    % max(stats.ks_2samp(a[:, j], b[:, j]).pvalue for j in range(6))
)
print("-- loss recorded with noisy labels: constant part against half sigma^2 chi^2 (noncentral)")
n, k, sg = 40, 2, 0.5
X = rng.standard_normal((n, 3))
Y = rng.standard_normal((n, k))
U = svd(X, full_matrices=False)[0]
P = np.eye(n) - U @ U.T
r2 = norm(P @ Y) ** 2
z = np.array([0.5 * norm(P @ (Y + sg * rng.standard_normal((n, k)))) ** 2 for _ in range(20000)])
df = (n - 3) * k
w = 0.5 * sg**2 * stats.ncx2(df, r2 / sg**2).rvs(20000, random_state=1)
print("   p-value %.2f, means %.3f and %.3f (formula %.3f)" % (stats.ks_2samp(z, w).pvalue, z.mean(), w.mean(), 0.5 * (r2 + sg**2 * df)))
print("-- noise on all weights")
ks = [30, 60, 4]
X = rng.standard_normal((12, 30))
Y = rng.standard_normal((12, 4))
W0 = gauss(rng, ks)
T = 100
full = [slice(None)] * T
Q = closure(W0, X.T)
Qi = [Q[0], np.eye(60), np.eye(4)]
wn = [[0.1 * rng.standard_normal(w.shape) for w in W0] for _ in range(T)]
a = sgd(W0, X, Y, "squared", full, 0.01, mu=0, wn=wn)
b = sgd(small(W0, Qi), X @ Q[0], Y, "squared", full, 0.01, mu=0, wn=[small(z, Qi) for z in wn])
Ein = rest(W0, Qi)
Ei = [Ein[0] - 0.01 * sum(rest(z, Qi)[0] for z in wn), Ein[1]]
print("   inputs: |full - lifted| %.1e with the random walk of the complement, pathwise" % rel(a, lift(Ei, b, Qi)))
a1 = sgd(W0, X, Y, "squared", full[:1], 0.01, mu=0, wn=wn)
b1 = sgd(small(W0, Q), X @ Q[0], Y, "squared", full, 0.01, mu=0, wn=[small(z, Q) for z in wn])
P_ = lambda W: X @ end2end(W).T
print(
    "   width: closure %.0e -> %.1e after one step; outputs after 100 steps differ by %.1e"
    % (closed(W0, Q), closed(a1, Q), norm(P_(a) - X @ Q[0] @ end2end(b1).T) / norm(P_(a)))
)
print("-- minibatch noise has no equal on rank(X) rows: n = 2, b = 1, one weight")
x, y, w = np.array([1.0, 2.0]), np.array([1.0, -1.0]), 0.3
g = x * (x * w - y)
print("   gradients of the two batches %.2f, %.2f; compressed: one row, one value %.2f (their mean)" % (*g, g.mean()))
