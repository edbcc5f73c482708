"""Sections 1, 4 and 10: metrics at rank one, transverse stability T4.7, pivots in float32.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section04_stability.py
"""

import numpy as np
from aligned_data import joint_data, offdiag
from common import align_bases, comm, end2end, gd, ncomm, orth, prod, sq_G
from numpy.linalg import norm, svd
from one_mode import gstar
from pivot_gradients import backprop, pivoted

rng = np.random.default_rng(11)
print("== metrics")


def top(W1, W2):
    return abs(svd(W2)[2][0] @ svd(W1)[0][:, 0])


def authors(W1, W2):
    U = svd(W1, full_matrices=False)[0]
    V = svd(W2, full_matrices=False)[2]
    return np.abs(V @ U).max(1).mean()  # over the vectors of the upper layer; several interfaces: section01_scores.py


th = 0.3
u = np.array([np.cos(th), np.sin(th)])
W1, W2 = np.outer(u, [1.0, 2, 3]), np.outer([1.0, -1], [1.0, 0])
A, B = W1 @ W1.T, W2.T @ W2
print(
    "rank one at angle .3: c=%.6f (|sin 2th|=%.6f), c'=%.6f (|sin th|=%.6f), top=%.6f (|cos th|=%.6f)"
    % (ncomm(W1, W2), abs(np.sin(2 * th)), norm(comm(A, B)) / (np.sqrt(2) * norm(A @ B)), np.sin(th), top(W1, W2), np.cos(th))
)
W = rng.standard_normal((10, 10))
print(
    "exactly aligned pair W1=2*orthogonal, W2 Gaussian 10x10: c=%.1e, authors' metric %.3f, top %.3f, align_bases residual %.1e"
    % (ncomm(2 * orth(rng, 10), W), *(lambda O: (authors(2 * O, W), top(2 * O, W), align_bases([2 * O, W])[2]))(orth(rng, 10)))
)
for k in (5, 10, 30, 100):
    print(
        "random Gaussian k=%d baseline: authors' %.3f, c %.3f, top %.3f"
        % (
            k,
            *np.mean(
                [
                    (lambda a, b: (authors(a, b), ncomm(a, b), top(a, b)))(rng.standard_normal((k, k)), rng.standard_normal((k, k)))
                    for _ in range(20)
                ],
                0,
            ),
        )
    )
Wb = [orth(rng, 6) @ np.diag([3.0, 2, 1, 0.5, 0.2, 0.1]) @ orth(rng, 6).T]
Wb.append(orth(rng, 6) @ np.diag([3.0, 2, 1, 0.5, 0.2, 0.1]) @ svd(Wb[0])[0].T)
print(
    "balanced pair: |W2^T W2 - W1 W1^T| %.1e, c %.1e; aligned but unbalanced: c %.1e, imbalance %.2f"
    % (norm(Wb[1].T @ Wb[1] - Wb[0] @ Wb[0].T), ncomm(*Wb), ncomm(Wb[0], 2 * Wb[1]), norm(4 * Wb[1].T @ Wb[1] - Wb[0] @ Wb[0].T))
)
print("== 4.7 Hessian at a fitted aligned minimum and transverse stability of full GD")


def fullhess(Ws, C):
    """Gauss-Newton Hessian (exact when PC=M): columns vec( sum_i W_{d:i+1} D_i W_{i-1:1} C^{1/2} )"""
    d = len(Ws)
    cols = []
    Cs = np.linalg.cholesky(C + 1e-300 * np.eye(len(C)))
    for i in range(d):
        L = prod(Ws, i + 2, d) if i < d - 1 else np.eye(Ws[-1].shape[0])
        R = (prod(Ws, 1, i) if i else np.eye(Ws[0].shape[1])) @ Cs
        for a in range(Ws[i].shape[0]):
            for b in range(Ws[i].shape[1]):
                cols.append(np.outer(L[:, a], R[b]).ravel())
    J = np.stack(cols, 1)
    return J


m = 0
for t in range(20):
    d = int(rng.integers(1, 5))
    k = int(rng.integers(2, 5))
    ks = [k] * (d + 1)
    Q = [orth(rng, k) for _ in ks]
    sg = rng.uniform(0.3, 1.5, (d, k))
    lam = rng.uniform(0.2, 3, k)
    Ws = [Q[i + 1] @ np.diag(sg[i]) @ Q[i].T for i in range(d)]
    C = Q[0] @ np.diag(lam) @ Q[0].T
    Gjl = np.array(
        [[lam[l] * sum(np.prod(sg[i + 1 :, j]) ** 2 * np.prod(sg[:i, l]) ** 2 for i in range(d)) for l in range(k)] for j in range(k)]
    )
    ev = np.sort(svd(fullhess(Ws, C))[1] ** 2)[::-1][: k * k]
    m = max(m, np.abs(ev - np.sort(Gjl.ravel())[::-1]).max() / ev[0])
print("nonzero Hessian eigenvalues = lam_l Gamma_jl for all ordered pairs (j,l): max rel. error %.1e" % m)

k, d = 3, 3
lam = np.array([20.0, 1.0, 1.0])
q = np.array([0.05, 3.0, 1.0])
X, Y, U, V = joint_data(rng, 12, k, k, lam, lam * q)
C, M = X.T @ X, Y.T @ X
Q = [V, orth(rng, k), orth(rng, k), U]
s0 = np.array([0.3, 0.5, 0.5])
S = np.diag(s0)
Ws = [Q[i + 1] @ S @ Q[i].T for i in range(d)]
ec = min(1 / (lam[j] * gstar(np.full(d, s0[j] ** 2), q[j])) for j in range(k))
sf = q ** (1 / 3.0)
top_ = max(lam[l] * sum(sf[j] ** (2 * (d - 1 - i)) * sf[l] ** (2 * i) for i in range(d)) for j in range(k) for l in range(k))
print("lam=(20,1,1), q=(.05,3,1): certified in-manifold eta %.4f, full Hessian limit 2/max lam_l Gamma_jl = %.4f" % (ec, 2 / top_))
for nm, e in (("eta_cert", ec), ("1/max lam_l Gamma_jl", 1 / top_)):
    out = [w.copy() for w in Ws]
    tr = []
    for t in range(3001):
        if t in (0, 20, 100, 300, 3000):
            tr.append("t=%d: off-diag %.0e, |PC-M| %.0e" % (t, offdiag(out, Q), norm(sq_G(out, C, M))))
        out = gd(out, C, M, e, 1)
        if not np.isfinite(out[0]).all() or norm(out[0]) > 1e6:
            tr.append("diverged at t=%d" % t)
            break
    print("  full matrix GD at %s: " % nm + " | ".join(tr))
print("== float32 pivots (reference float64)")

rt = []
for _ in range(20):
    W = [orth(rng, 24) @ np.diag(rng.permutation(np.logspace(0, -2, 24))) @ orth(rng, 24).T for _ in range(20)]
    g = np.exp(-np.log(norm(end2end(W), 2)) / 20)
    W = [w * g for w in W]
    X, Y = rng.standard_normal((24, 24)), rng.standard_normal((24, 24))
    ref = backprop(W, X, Y)
    f = lambda z: [x.astype(np.float32) for x in z]
    er = lambda gs: max(norm(a.astype(float) - b) / norm(b) for a, b in zip(gs, ref))
    e0 = er(backprop(f(W), *f([X, Y])))
    rt.append([er(pivoted(f(W), *f([X, Y]), p)) / e0 for p in (0, 5, 10, 15, 20)] + [e0])
print(
    "error(pivot)/error(backprop) float32: median",
    np.round(np.median(rt, 0)[:5], 2),
    "max",
    np.round(np.max(rt, 0)[:5], 1),
    "backprop error median %.1e" % np.median(rt, 0)[5],
)
