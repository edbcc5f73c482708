"""Section 8: closures, the reduced width, the law of parsimony, tolerances.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section08_width.py
"""

import numpy as np
from common import end2end, gd, grads_G, orth, prod
from numpy.linalg import norm, qr, svd

rng = np.random.default_rng(8)


def extend(Q, B, tol):
    """append to orthonormal Q an orthonormal basis of the part of range(B) outside Q (relative tol, two passes)"""
    if Q.shape[1] == Q.shape[0] or B.shape[1] == 0:
        return Q, 0
    B = B - Q @ (Q.T @ B)
    B = B - Q @ (Q.T @ B)
    u, s, _ = svd(B, full_matrices=False)
    m = int((s > tol).sum())
    m = min(m, Q.shape[0] - Q.shape[1])
    if m == 0:
        return Q, 0
    U = u[:, :m]
    U = U - Q @ (Q.T @ U)
    U = qr(U)[0]
    return np.hstack([Q, U]), m


def closure(Ws, S0, Sd=None, Mop=None, tol=1e-10, maxit=500):
    """smallest S_i: row(X)=S0, S_d (None: all of R^{k_d}); forward W_i S_{i-1}<S_i (i=1..d), backward W_i^T S_i<S_{i-1} (i=2..d).
    Mop: S_d also receives M S_0 (squared loss) when Sd is given."""
    d = len(Ws)
    ks = [Ws[0].shape[1]] + [w.shape[0] for w in Ws]
    sc = [max(norm(w, 2), 1e-300) for w in Ws]
    Q = [np.zeros((k, 0)) for k in ks]
    Q[0], _ = extend(Q[0], S0, tol)
    if Sd is None:
        Q[d] = np.eye(ks[d])
    else:
        Q[d], _ = extend(Q[d], Sd, tol)
    new = True
    it = 0
    while new and it < maxit:
        new = False
        it += 1
        for i in range(1, d + 1):
            if i == d and Sd is None:
                continue
            Q[i], m = extend(Q[i], Ws[i - 1] @ Q[i - 1] / sc[i - 1], tol)
            new |= m > 0
        for i in range(d, 1, -1):
            Q[i - 1], m = extend(Q[i - 1], Ws[i - 1].T @ Q[i] / sc[i - 1], tol)
            new |= m > 0
    return Q


def residual(Ws, Q):
    r = 0
    for i, W in enumerate(Ws):
        n = norm(W) or 1.0
        a = W @ Q[i]
        r = max(r, norm(a - Q[i + 1] @ (Q[i + 1].T @ a)) / n)
        if i:
            b = W.T @ Q[i + 1]
            r = max(r, norm(b - Q[i] @ (Q[i].T @ b)) / n)
    return r


def lossgrad(kind, P, X, Y):
    F = X @ P.T
    if kind == "sq":
        return (F - Y).T @ X / len(X)
    if kind == "logistic":
        return (-Y / (1 + np.exp(Y * F))).T @ X / len(X)
    E = np.exp(F - F.max(1, keepdims=True))
    return (E / E.sum(1, keepdims=True) - Y).T @ X / len(X)


def train(Ws, X, Y, kind, T, eta, mom=0.0, wd=0.0, batches=None, clip=None):
    Ws = [w.copy() for w in Ws]
    v = [0 * w for w in Ws]
    for t in range(T):
        b = slice(None) if batches is None else batches[t]
        g = grads_G(Ws, lossgrad(kind, end2end(Ws), X[b], Y[b]))
        if clip:
            s = min(1.0, clip / np.sqrt(sum(norm(x) ** 2 for x in g)))
            g = [s * x for x in g]
        v = [mom * a + x + wd * w for a, x, w in zip(v, g, Ws)]
        Ws = [w - eta * a for w, a in zip(Ws, v)]
    return Ws


def reduced(Ws, Q):
    return [Q[i + 1].T @ w @ Q[i] for i, w in enumerate(Ws)]


def expand(Ws0, Q, Wh, T=0, eta=0.0, wd=0.0, mom=0.0):
    f = 1.0
    vel = 0.0  # complement: scalar linear recursion E(t)=f_t E(0)
    for _ in range(T):
        vel = mom * vel + wd * f
        f -= eta * vel
    return [f * (w - Q[i + 1] @ (Q[i + 1].T @ w @ Q[i]) @ Q[i].T) + Q[i + 1] @ Wh[i] @ Q[i].T for i, w in enumerate(Ws0)]


def rel(A, B):
    return max(norm(a - b) / norm(a) for a, b in zip(A, B))


def case(nm, ks, W0, n, kind="sq", rankX=None, T=300, eta=0.05, **kw):
    k0, kd = ks[0], ks[-1]
    X = rng.standard_normal((n, rankX or k0)) @ (rng.standard_normal((rankX or k0, k0)) / np.sqrt(rankX or k0) if rankX else np.eye(k0))
    if kind == "sq":
        Y = rng.standard_normal((n, kd))
    elif kind == "logistic":
        Y = rng.choice([-1.0, 1.0], (n, kd))
    else:
        Y = np.eye(kd)[rng.integers(0, kd, n)]
    Q = closure(W0, X.T / norm(X, 2))
    Wh = reduced(W0, Q)
    r = residual(W0, Q)
    full = train(W0, X, Y, kind, T, eta, **kw)
    red = train(Wh, X @ Q[0], Y, kind, T, eta, **kw)
    ex = expand(W0, Q, red, T, eta, kw.get("wd", 0.0), kw.get("mom", 0.0))
    p0, p1 = sum(a * b for a, b in zip(ks[1:], ks[:-1])), sum(w.size for w in Wh)
    print(
        "%-46s widths %s -> %s params x%.3f  residual %.0e  |full-reduced| %.1e"
        % (nm, ks, [q.shape[1] for q in Q], p1 / p0, r, rel(full, ex))
    )


G = lambda ks, s=1.0: [s * rng.standard_normal((ks[i + 1], ks[i])) / np.sqrt(ks[i]) for i in range(len(ks) - 1)]


def O(k, m):
    q = orth(rng, max(k, m))
    return q[:m, :k]


ks = [20, 200, 3]
case("d=2 wide hidden, 8 samples", ks, G(ks), 8, eta=0.02)
ks = [30, 40, 4, 60, 5]
case("alternating bottleneck", ks, G(ks), 6)
ks = [30, 40, 40, 40, 5]
case("generic Gaussian (no reduction expected)", ks, G(ks), 6, T=100)
ks = [30, 40, 40, 40, 5]
W0 = G(ks)
W0[1] = 0.5 * orth(rng, 40)
W0[2] = 0.5 * orth(rng, 40)
case("orthogonal interior layers, 6 samples", ks, W0, 6)
W0 = G(ks)
W0[1] = 0.3 * np.eye(40)
W0[2] = 0.3 * np.eye(40)
case("identity-scaled interior", ks, W0, 6)
W0 = G(ks)
W0[1] = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 40)) / 20
case("low-rank (2) second layer", ks, W0, 6)
ks = [20, 100, 4]
bt = [rng.integers(0, 12, 4) for _ in range(300)]
for kind in ("sq", "logistic", "softmax"):
    case("d=2 %s, momentum .9 + clipping" % kind, ks, G(ks), 12, kind, eta=0.01, mom=0.9, clip=1.0)
    case("d=2 %s, minibatch SGD" % kind, ks, G(ks), 12, kind, eta=0.02, batches=bt)
    case("d=2 %s, weight decay .01 + momentum" % kind, ks, G(ks), 12, kind, eta=0.01, wd=0.01, mom=0.9)
# Adam is not covered
print("-- squared loss, smaller S_d (sub-representation generated by row(X) and M)")
ks = [40] * 5
W0 = [0.4 * orth(rng, 40) for _ in range(4)]
X = rng.standard_normal((5, 40)) / 6
Y = rng.standard_normal((5, 40)) / 6
M = Y.T @ X
Q = closure(W0, X.T / norm(X, 2), Sd=M / norm(M, 2))
Wh = reduced(W0, Q)
full = train(W0, X, Y, "sq", 400, 0.3)
red = train(Wh, X @ Q[0], Y @ Q[-1], "sq", 400, 0.3)
print(
    "orthogonal init, 5 samples, k_d=40: dims %s (2 rank X = 10), |full-reduced| %.1e"
    % ([q.shape[1] for q in Q], rel(full, expand(W0, Q, red)))
)
print("-- whitened data C=I, rank-r target, scaled orthogonal init (Yaras et al.): 2r block + (k-2r) copies of one scalar mode")
k, r, d, eps, eta, T = 30, 3, 4, 0.5, 0.05, 600
W0 = [eps * orth(rng, k) for _ in range(d)]
M = rng.standard_normal((k, r)) @ rng.standard_normal((r, k)) / k
S0 = np.hstack([M.T, W0 and prod(W0, 1, d).T @ M])
Q = closure(W0, M.T / norm(M, 2), Sd=M / norm(M, 2))
# also close layer 1 backward (needed here because C=I acts on the complement): S_0 += W_1^T S_1
for _ in range(3):
    Q = closure(W0, np.hstack([Q[0], W0[0].T @ Q[1]]), Sd=np.hstack([Q[-1], M @ Q[0] / norm(M, 2)]))
Wh = reduced(W0, Q)
full = gd(W0, np.eye(k), M, eta, T)
red = gd(Wh, np.eye(Q[0].shape[1]), Q[-1].T @ M @ Q[0], eta, T)
s = np.full(d, eps)
for _ in range(T):
    s = s - eta * np.prod(s) * np.prod(s) / s
ex = [
    Q[i + 1] @ Wh_i @ Q[i].T + (s[i] / eps) * (w - Q[i + 1] @ (Q[i + 1].T @ w @ Q[i]) @ Q[i].T) for i, (w, Wh_i) in enumerate(zip(W0, red))
]
print(
    "k=30, r=3: dims %s, complement scalar sigma(T)=%.4f (init %.2f), |full-reconstructed| %.1e"
    % ([q.shape[1] for q in Q], s[0], eps, rel(full, ex))
)
print("-- safety: nearly invariant subspaces and the tolerance")
ks = [30, 40, 40, 40, 5]
for e in (0.0, 1e-14, 1e-12, 1e-9, 1e-6):
    W0 = G(ks)
    W0[1] = 0.5 * orth(rng, 40) + e * rng.standard_normal((40, 40))
    W0[2] = 0.5 * orth(rng, 40) + e * rng.standard_normal((40, 40))
    X = rng.standard_normal((6, 30))
    Y = rng.standard_normal((6, 5))
    for tol in (1e-12, 1e-10, 1e-7):
        Q = closure(W0, X.T / norm(X, 2), tol=tol)
        Wh = reduced(W0, Q)
        full = train(W0, X, Y, "sq", 300, 0.05)
        ex = expand(W0, Q, train(Wh, X @ Q[0], Y, "sq", 300, 0.05))
        print(
            "perturbation %.0e tol %.0e: dims %s residual %.1e error after 300 steps %.1e"
            % (e, tol, [q.shape[1] for q in Q], residual(W0, Q), rel(full, ex))
        )
