"""Section 2: the aligned global minimum T2.1 against its loss, its gradient and a general optimiser.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section02_minimum.py
"""

import numpy as np
from common import EPS, criterion, end2end, grads_G, sq_G
from numpy.linalg import norm, svd
from scipy.optimize import minimize

rng = np.random.default_rng(2)


def aligned_minimum(X, Y, ks, rcond=None):
    """strictly aligned, balanced global minimum; returns Ws, Lmin, info"""
    n, k0 = X.shape
    r = min(ks)
    U, s, Vt = svd(X, full_matrices=False)
    tol = (rcond if rcond is not None else max(n, k0) * EPS) * (s[0] if s.size else 0)
    rho = int((s > tol).sum())
    U, s, Vt = U[:, :rho], s[:rho], Vt[:rho]
    Z = U.T @ Y  # rho x kd, same singular values as Pi_X Y
    a, t, bt = svd(Z, full_matrices=False)
    keep = min(r, int((t > (max(Z.shape) * EPS * t[0] if t.size else 0)).sum()))
    PT = (Vt.T / s) @ (a[:, :keep] * t[:keep]) @ bt[:keep]  # k0 x kd, min-norm
    p, sg, qt = svd(PT.T, full_matrices=True)  # P = p diag(sg) qt
    d = len(ks) - 1
    w = sg[:keep] ** (1.0 / d)
    Q = [qt.T] + [np.eye(k) for k in ks[1:-1]] + [p]
    Ws = []
    for i in range(d):
        S = np.zeros((ks[i + 1], ks[i]))
        S[np.arange(keep), np.arange(keep)] = w
        Ws.append(Q[i + 1] @ S @ Q[i].T)
    Lmin = 0.5 * (norm(Y - U @ Z) ** 2 + np.sum(t[keep:] ** 2))
    return Ws, Lmin, Q


mxg = mxl = mxc = 0
viol = 0
cnt = 0
mxbal = 0
for trial in range(200):
    d = int(rng.integers(1, 5))
    ks = [int(x) for x in rng.integers(1, 7, d + 1)]
    n = int(rng.integers(1, 12))
    k0, kd = ks[0], ks[-1]
    rk = int(rng.integers(1, min(n, k0) + 1))
    X = rng.standard_normal((n, rk)) @ rng.standard_normal((rk, k0))
    Y = rng.standard_normal((n, kd))
    Ws, Lmin, Q = aligned_minimum(X, Y, ks)
    P = end2end(Ws)
    L = 0.5 * norm(X @ P.T - Y) ** 2
    g = grads_G(Ws, sq_G(Ws, X.T @ X, Y.T @ X))
    sc = norm(X) * norm(Y) * max([1] + [norm(w) for w in Ws]) ** max(d - 1, 0)
    mxg = max(mxg, max(norm(x) for x in g) / sc)
    mxl = max(mxl, abs(L - Lmin) / (norm(Y) ** 2))
    if d > 1:
        mxc = max(mxc, criterion(Ws))
        mxbal = max(
            mxbal, max(norm(Ws[i + 1].T @ Ws[i + 1] - Ws[i] @ Ws[i].T) for i in range(d - 1)) / max(1, max(norm(w) ** 2 for w in Ws))
        )
    if trial < 60:  # try to beat it
        sh = [(ks[i + 1], ks[i]) for i in range(d)]
        sz = np.cumsum([0] + [a * b for a, b in sh])

        def f(x):
            V = [x[sz[i] : sz[i + 1]].reshape(sh[i]) for i in range(d)]
            R = X @ end2end(V).T - Y
            return 0.5 * np.sum(R * R), np.concatenate([y.ravel() for y in grads_G(V, R.T @ X)])

        for _ in range(2):
            m = minimize(f, rng.standard_normal(sz[-1]), jac=True, method="L-BFGS-B", options=dict(maxiter=500))
            cnt += 1
            viol += m.fun < Lmin - 1e-9 * norm(Y) ** 2
print(
    "200 problems (rank-deficient X, bottlenecks, d=1..4): |L(W*)-Lmin|/|Y|^2 max %.1e, scaled gradient max %.1e, (E) %.1e, balancedness %.1e"
    % (mxl, mxg, mxc, mxbal)
)
print("L-BFGS from random init went below Lmin in %d of %d runs" % (viol, cnt))
