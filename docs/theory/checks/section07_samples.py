"""Section 7: compression of the data, streaming, and the accuracy of its forms.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section07_samples.py
"""

import numpy as np
from common import end2end, grads_G
from numpy.linalg import norm, qr, svd

rng = np.random.default_rng(7)


def compress(X, Y, R=None):
    """joint QR of [X Y] (optionally merged with a previous R): returns Xh, Yh, c0, R"""
    Z = np.hstack([X, Y]) if R is None else np.vstack([R, np.hstack([X, Y])])
    R = qr(Z, mode="r")
    k = X.shape[1]
    m = min(k, R.shape[0])
    return R[:m, :k], R[:m, k:], 0.5 * norm(R[m:, k:]) ** 2, R


def rank_rows(Xh, Yh, c0, tol):
    U, s, Vt = svd(Xh, full_matrices=False)
    r = int((s > tol * s[0]).sum())
    Z = U.T @ Yh
    drop = Yh - U[:, :r] @ Z[:r]
    return s[:r, None] * Vt[:r], Z[:r], c0 + 0.5 * norm(drop) ** 2


mg = ml = mr = 0
for t in range(100):
    n, k0, kd = int(rng.integers(5, 200)), int(rng.integers(1, 12)), int(rng.integers(1, 6))
    rk = int(rng.integers(1, k0 + 1))
    X = rng.standard_normal((n, rk)) @ rng.standard_normal((rk, k0))
    Y = rng.standard_normal((n, kd))
    Xh, Yh, c0, _ = compress(X, Y)
    Xr, Yr, cr = rank_rows(Xh, Yh, c0, 1e-12)
    P = rng.standard_normal((kd, k0))
    L = 0.5 * norm(X @ P.T - Y) ** 2
    G = (X @ P.T - Y).T @ X
    for a, b, c in ((Xh, Yh, c0), (Xr, Yr, cr)):
        ml = max(ml, abs(0.5 * norm(a @ P.T - b) ** 2 + c - L) / L)
        mg = max(mg, norm((a @ P.T - b).T @ a - G) / norm(G))
    mr = max(mr, Xr.shape[0] - min(rk, n))
print("100 data sets: loss rel. error %.1e, gradient rel. error %.1e, rows = rank X (excess %d)" % (ml, mg, mr))
n, ks = 500, [10, 8, 9, 4]
X = rng.standard_normal((n, 4)) @ rng.standard_normal((4, 10)) / 20
Y = rng.standard_normal((n, 4)) / 20
W0 = [rng.standard_normal((ks[i + 1], ks[i])) / 3 for i in range(3)]


def gdx(Ws, X, Y, eta, T, mom=0.0):
    Ws = [w.copy() for w in Ws]
    v = [0 * w for w in Ws]
    for _ in range(T):
        g = grads_G(Ws, (X @ end2end(Ws).T - Y).T @ X)
        v = [mom * a + b for a, b in zip(v, g)]
        Ws = [w - eta * a for w, a in zip(Ws, v)]
    return Ws


Xr, Yr, cr = rank_rows(*compress(X, Y)[:3], 1e-12)
for mom in (0.0, 0.9):
    A, B = gdx(W0, X, Y, 0.004, 1000, mom), gdx(W0, Xr, Yr, 0.004, 1000, mom)
    print(
        "1000 iterations, momentum %.1f: full (500 rows) vs compressed (%d rows): max rel. weight difference %.1e"
        % (mom, len(Xr), max(norm(a - b) / norm(a) for a, b in zip(A, B)))
    )
Xh = Yh = None
R = None
for blk in np.array_split(np.arange(n), 7):
    Xh, Yh, c0, R = compress(X[blk], Y[blk], R)
a = compress(X, Y)
P = rng.standard_normal((4, 10))
print(
    "streaming merge of 7 blocks: loss difference %.1e, gradient difference %.1e"
    % (
        abs(0.5 * norm(Xh @ P.T - Yh) ** 2 + c0 - 0.5 * norm(X @ P.T - Y) ** 2) / (0.5 * norm(X @ P.T - Y) ** 2),
        norm((Xh @ P.T - Yh).T @ Xh - (X @ P.T - Y).T @ X) / norm((X @ P.T - Y).T @ X),
    )
)
print("constant residual / small loss accuracy (interpolable part + noise level e):")

for e in (1e-2, 1e-5, 1e-8):
    X = rng.standard_normal((2000, 6)) * np.logspace(0, -3, 6)
    P = rng.standard_normal((2, 6))
    Y = X @ P.T + e * rng.standard_normal((2000, 2))
    Pp = P + e * rng.standard_normal(P.shape)
    D = X.astype(np.longdouble) @ Pp.T.astype(np.longdouble) - Y.astype(np.longdouble)
    Lref = float(0.5 * (D * D).sum())
    Gref = (D.T @ X.astype(np.longdouble)).astype(float)
    Xh, Yh, c0, _ = compress(X, Y)
    C, M = X.T @ X, Y.T @ X
    Lg = 0.5 * (np.trace(Pp @ C @ Pp.T) - 2 * np.trace(Pp @ M.T) + np.sum(Y * Y))
    Lq = 0.5 * norm(Xh @ Pp.T - Yh) ** 2 + c0
    Ld = 0.5 * norm(X @ Pp.T - Y) ** 2
    Pl = np.linalg.lstsq(X, Y, rcond=None)[0].T
    El = Y - X @ Pl.T
    Xc, Ec, cc, _ = compress(X, El)
    dP = Pp - Pl
    Lc = 0.5 * norm(Xc @ dP.T - Ec) ** 2 + cc
    Gc = (Xc @ dP.T - Ec).T @ Xc
    gr = lambda G: norm(G - Gref) / norm(Gref)
    print(
        "e=%.0e: loss rel. error direct %.1e, QR %.1e, Gram %.1e | gradient rel. error direct %.1e, QR %.1e, Gram %.1e"
        % (
            e,
            abs(Ld - Lref) / Lref,
            abs(Lq - Lref) / Lref,
            abs(Lg - Lref) / Lref,
            gr((X @ Pp.T - Y).T @ X),
            gr((Xh @ Pp.T - Yh).T @ Xh),
            gr(Pp @ C - M),
        )
    )
    print("        centred at the least-squares map: loss %.1e, gradient %.1e" % (abs(Lc - Lref) / Lref, gr(Gc)))
