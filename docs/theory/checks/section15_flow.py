"""Section 15: gradient flow: reductions, conserved quantities, closed forms, Riccati, integrators, backward error.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section15_flow.py
"""

import mpmath as mp
import numpy as np
import scipy.linalg as sla
from closures import closure, gauss, gradient, lift, rel, rest, small
from common import grads_G, orth
from numpy.linalg import norm, svd
from scipy.integrate import solve_ivp
from scipy.special import hyp2f1

rng = np.random.default_rng(17)
flat = lambda g: np.concatenate([x.ravel() for x in g])


def like(v, Ws):
    out, k = [], 0
    for w in Ws:
        out.append(v[k : k + w.size].reshape(w.shape))
        k += w.size
    return out


def flow(W0, grad, t, rtol=1e-12, method="DOP853"):
    s = solve_ivp(lambda _, v: -flat(grad(like(v, W0))), (0, t), flat(W0), method=method, rtol=rtol, atol=rtol * 1e-2)
    return like(s.y[:, -1], W0), s.nfev


print("-- reductions of the flow (relative tolerance 1e-12)")
ks = [20, 30, 30, 3]
W0 = gauss(rng, ks)
W0[1] = 0.9 * orth(rng, 30)
X = rng.standard_normal((4, 20))
Q = closure(W0, X.T)
E, Wh = rest(W0, Q), small(W0, Q)
for kind, T in (("squared", rng.standard_normal((4, 3))), ("logistic", rng.choice([-1.0, 1.0], (4, 3)))):
    a = flow(W0, lambda W: gradient(W, X, kind, T, 0.25), 2.0)[0]
    b = flow(Wh, lambda W: gradient(W, X @ Q[0], kind, T, 0.25), 2.0)[0]
    print("   %-9s %s -> %s: %.1e" % (kind, ks, [q.shape[1] for q in Q], rel(a, lift(E, b, Q))))
    D = lambda W: max(norm(W[i + 1].T @ W[i + 1] - W[i] @ W[i].T - W0[i + 1].T @ W0[i + 1] + W0[i] @ W0[i].T) for i in range(2))
    print("   conserved, dense: drift %.1e, layers moved %.2f" % (D(a), rel(W0, a)))
print("-- conserved quantities of constrained layers: channels 2-3-2, zero-padded convolution, 3 taps, length 5; and diagonal layers")
N = 5
sh = [np.eye(N, k=-1), np.eye(N), np.eye(N, k=1)]
Gm = np.array([N - 1.0, N, N - 1])
mat = lambda K: sum(np.kron(K[:, :, a], sh[a]) for a in range(3))
K0 = [0.5 * rng.standard_normal((3, 2, 3)), 0.5 * rng.standard_normal((2, 3, 3))]
X = rng.standard_normal((9, 10))
Y = rng.standard_normal((9, 10))


def coord(Gd, K):
    o, c, _ = K.shape
    B = Gd.reshape(o, N, c, N)
    return np.stack([np.einsum("ocxy,xy->oc", B.transpose(0, 2, 1, 3), s) for s in sh], 2)


for nm, pre in (("parameters", np.ones(3)), ("matrix", 1 / Gm)):
    K = flow(K0, lambda K: [coord(g, k) * pre for g, k in zip(gradient([mat(k) for k in K], X, "squared", Y, 0.05), K)], 2.0)[0]
    C = lambda K: np.einsum("oca,oea,a->ce", K[1], K[1], 1 / pre) - np.einsum("oca,eca,a->oe", K[0], K[0], 1 / pre)
    S = lambda K: np.einsum("oca,oea->ce", K[1], K[1]) - np.einsum("oca,eca->oe", K[0], K[0])
    print(
        "   metric %-10s: channel matrix with its weights drifts %.1e, its trace %.1e; with weights of the parameter metric %.1e (moved %.2f)"
        % (nm, norm(C(K) - C(K0)), abs(np.trace(C(K) - C(K0))), norm(S(K) - S(K0)), rel(K0, K))
    )
t0 = [rng.standard_normal(4) for _ in range(3)]
X = rng.standard_normal((6, 4))
Y = rng.standard_normal((6, 4))
t1 = flow(t0, lambda t: [np.diag(g) for g in gradient([np.diag(x) for x in t], X, "squared", Y, 0.1)], 2.0)[0]
print(
    "   diagonal: each theta_{i+1,j}^2 - theta_{i,j}^2 drifts %.1e"
    % max(norm(t1[i + 1] ** 2 - t1[i] ** 2 - t0[i + 1] ** 2 + t0[i] ** 2) for i in range(2))
)
W0 = gauss(rng, [4, 5, 3])
X = rng.standard_normal((6, 4))
Y = rng.standard_normal((6, 3))
g = lambda W: gradient(W, X, "squared", Y, 0.1)
lam = 0.3
W = flow(W0, lambda W: [x + lam * w for x, w in zip(g(W), W)], 2.0)[0]
D = lambda W: W[1].T @ W[1] - W[0] @ W[0].T
print(
    "   weight decay lam: difference times exp(2 lam t) drifts %.1e; GD step h = .01: change of the difference against h^2 formula %.1e"
    % (
        norm(D(W) * np.exp(4 * lam) - D(W0)),
        (
            lambda G: (
                norm(D([w - 0.01 * x for w, x in zip(W0, G)]) - D(W0) - 1e-4 * (G[1].T @ G[1] - G[0] @ G[0].T)) / norm(1e-4 * G[1].T @ G[1])
            )
        )(g(W0)),
    )
)

print("-- closed forms of one mode")
phi = lambda x: np.where(np.abs(x) < 1e-300, 1.0, np.expm1(x) / np.where(x == 0, 1, x))


def two_balanced(p0, q, lam, t):
    """p' = 2 lam p (q - p), any sign of q"""
    x = 2 * lam * q * t
    return p0 / (np.exp(-x) + 2 * lam * p0 * t * phi(-x)) if x > 0 else p0 * np.exp(x) / (1 + 2 * lam * p0 * t * phi(x))


def two_any(s1, s2, q, lam, t):
    """sigma_1, sigma_2 of the two-layer mode, any imbalance"""
    if q < 0:
        a, b = two_any(s1, -s2, -q, lam, t)
        return a, -b
    D = s1 * s1 - s2 * s2
    K = np.hypot(D, 2 * q)
    A0 = (s1 + s2) ** 2
    Ap, Am = 2 * q + K, -D * D / (2 * q + K) if K else 0.0
    x = lam * K * t
    if A0 == 0:
        return s1, s2
    if K == 0:
        A = A0 / (1 + lam * A0 * t / 2)
        u = np.sign(s1 + s2) * np.sqrt(A)
        return u / 2, u / 2
    h = -np.expm1(-x)
    e = np.exp(-x)
    A = (Ap * (A0 - Am) * h + 2 * K * A0 * e) / ((A0 - Am) * h + 2 * K * e)
    u = np.sign(s1 + s2) * np.sqrt(A)
    v = D / u
    return (u + v) / 2, (u - v) / 2


def time_any(D, q, lam, p):
    K = np.sqrt(D * D + 4 * q * q)
    return np.log((D * D + 4 * q * p + K * np.sqrt(D * D + 4 * p * p)) / (q - p)) / (lam * K)


def time_depth(d, q, lam, p):
    u = (p / q) ** (1 / d)
    return q ** -(2 - 2 / d) / lam * (u ** (2 - d) / (2 - d) + u * u / 2 * hyp2f1(1, 2 / d, 1 + 2 / d, u**d))


def mode(s, q, lam, t):
    return solve_ivp(
        lambda _, s: lam * (q - np.prod(s)) * np.array([np.prod(np.delete(s, i)) for i in range(len(s))]),
        (0, t),
        s,
        rtol=1e-12,
        atol=1e-15,
        method="DOP853",
    ).y[:, -1]


print(
    "   Saxe: q = 1, p0 = .01: p(5) = %.6f, half-way at t = %.6f"
    % (two_balanced(0.01, 1.0, 1.0, 5.0), time_any(0, 1.0, 1.0, 0.5) - time_any(0, 1.0, 1.0, 0.01))
)
e = max(
    abs(two_balanced(s * s, q, l, t) - np.prod(mode([s, s], q, l, t)))
    for s, q, l, t in ((0.1, 1.0, 1.0, 3.0), (0.8, -1.0, 0.5, 2.0), (0.9, 0.0, 1.0, 4.0), (1.5, 0.7, 2.0, 1.0))
)
print("   balanced, q > 0, < 0, = 0: %.1e" % e)
e = 0
for _ in range(200):
    s1, s2, q, l, t = *rng.standard_normal(2), rng.choice([-1, 1]) * rng.uniform(0.1, 2), rng.uniform(0.3, 2), rng.uniform(0, 3)
    e = max(e, np.abs(np.array(two_any(s1, s2, q, l, t)) - mode([s1, s2], q, l, t)).max())
print("   any imbalance, explicit in t, 200 random modes of any signs: %.1e" % e)
p0, D = 0.05, 0.8
s1 = np.sqrt((D + np.sqrt(D * D + 4 * p0 * p0)) / 2)
s = mode([s1, p0 / s1], 1.3, 0.7, 2.0)
print("   time from p: %.1e" % abs(time_any(D, 1.3, 0.7, np.prod(s)) - time_any(D, 1.3, 0.7, p0) - 2))
print(
    "   depth d = 3, 4, 5, 10, time from p: "
    + ", ".join(
        "%.1e" % abs(time_depth(d, 1.7, 0.6, np.prod(mode([0.6] * d, 1.7, 0.6, 1.0))) - time_depth(d, 1.7, 0.6, 0.6**d) - 1)
        for d in (3, 4, 5, 10)
    )
)
tiny = (1e-8, 3e-9)
mp.mp.dps = 60


def ref_any(s1, s2, q, lam, t):
    s1, s2, q = mp.mpf(s1), mp.mpf(s2), mp.mpf(q)
    D = s1**2 - s2**2
    K = mp.sqrt(D**2 + 4 * q**2)
    A0 = (s1 + s2) ** 2
    Ap, Am = 2 * q + K, 2 * q - K
    w = (A0 - Ap) / (A0 - Am) * mp.exp(-lam * K * t)
    A = (Ap - Am * w) / (1 - w)
    return (A - D**2 / A) / 4


print(
    "   start (1e-8, 3e-9), q = 1, relative error of p at t = 1, 10, 18, 40, 1e4 against 60 digits: "
    + ", ".join("%.0e" % abs(np.prod(two_any(*tiny, 1.0, 1.0, t)) / float(ref_any(*tiny, 1, 1, t)) - 1) for t in (1, 10, 18, 40, 1e4))
)

print("-- matrix Riccati, whitened inputs, W_2^T W_2 - W_1 W_1^T = lam I")


def start(k0, k1, k2, lam, eps):
    W1 = eps * rng.standard_normal((k1, k0))
    w, V = np.linalg.eigh(W1 @ W1.T + lam * np.eye(k1))
    return W1, orth(rng, k2)[:, :k1] @ (V * np.sqrt(np.maximum(w, 0))) @ V.T


def riccati(W1, W2, M, lam, t):
    """factor R (k0 + k2, k1) with R R^T = Q Q^T at time t (T15.5); returns the blocks A = R[:k0], B = R[k0:], P = B A^T"""
    k0, k2 = M.shape[1], M.shape[0]
    U, s, Vt = svd(M)
    r = min(k0, k2)
    vecs, f = [], []
    for j in range(r):
        th = 0.5 * np.arctan2(2 * s[j], -lam)
        m = np.hypot(s[j], lam / 2)
        a, b = np.cos(th), np.sin(th)  # top eigenvector (a, b) of [[-lam/2, s], [s, lam/2]]
        vecs += [np.concatenate([a * Vt[j], b * U[:, j]]), np.concatenate([-b * Vt[j], a * U[:, j]])]
        f += [m, -m]
    vecs += [np.concatenate([Vt[j], np.zeros(k2)]) for j in range(r, k0)] + [np.concatenate([np.zeros(k0), U[:, j]]) for j in range(r, k2)]
    f += [-lam / 2] * (k0 - r) + [lam / 2] * (k2 - r)
    V, f = np.array(vecs).T, np.array(f)
    c = V.T @ np.vstack([W1.T, W2])
    n = max(1, int(np.ceil(f.max() * t / 100)))
    h = t / n
    k1 = c.shape[1]
    x = 2 * f * h
    lp = np.where(x > 0, x, 0) + np.log(h * phi(-np.abs(x)))
    lm = np.where(x < 0, -x, 0) + np.log(h * phi(-np.abs(x)))  # log of h phi(x), h phi(-x)
    for _ in range(n):
        K = np.exp(lp / 2)[:, None] * c
        G = np.vstack([K, np.eye(k1)])
        o = np.argsort(-norm(G, axis=1))
        q = sla.qr(G[o], mode="economic", pivoting=True)[0]
        q1 = np.empty_like(q)
        q1[o] = q
        c = np.exp(-lm / 2)[:, None] * q1[: len(f)]
    R = V @ c
    return R[:k0], R[k0:], R[k0:] @ R[:k0].T


def riccati_mp(W1, W2, M, lam, t, dps=80):
    mp.mp.dps = dps
    k0, k2, k1 = M.shape[1], M.shape[0], W1.shape[0]
    F = mp.zeros(k0 + k2)
    for i in range(k0):
        F[i, i] = -mp.mpf(lam) / 2
    for i in range(k2):
        F[k0 + i, k0 + i] = mp.mpf(lam) / 2
    for i in range(k2):
        for j in range(k0):
            F[k0 + i, j] = F[j, k0 + i] = mp.mpf(float(M[i, j]))
    w, V = mp.eigsy(F)
    Q0 = mp.matrix(np.vstack([W1.T, W2]).tolist())
    c = V.T * Q0
    D = mp.diag([((mp.exp(2 * x * t) - 1) / (2 * x)) if abs(x) > mp.mpf(10) ** (-dps // 2) else mp.mpf(t) for x in w])
    e = mp.diag([mp.exp(x * t) for x in w])
    Y = mp.eye(k1) + c.T * D * c
    S = V * e * c * (Y**-1) * c.T * e * V.T
    return np.array(S.tolist(), dtype=float)


def naive(W1, W2, M, lam, t):
    k0, k2 = M.shape[1], M.shape[0]
    F = np.block([[-lam / 2 * np.eye(k0), M.T], [M, lam / 2 * np.eye(k2)]])
    e = sla.expm(F * t)
    Q0 = np.vstack([W1.T, W2])
    Fi = np.linalg.inv(F)
    return e @ Q0 @ np.linalg.inv(np.eye(Q0.shape[1]) + Q0.T @ (e @ Fi @ e - Fi) @ Q0 / 2) @ Q0.T @ e


for (k0, k1, k2), lam in (((4, 3, 5), 0.0), ((4, 3, 5), 0.5), ((3, 2, 3), 0.2), ((5, 4, 4), 0.0), ((6, 2, 3), 1.0)):
    lam_ = lam
    W1, W2 = start(k0, k1, k2, lam_, 0.4)
    M = rng.standard_normal((k2, k0))
    a = flow([W1, W2], lambda W: grads_G(W, W[1] @ W[0] - M), 1.5)[0]
    A, B, P = riccati(W1, W2, M, lam_, 1.5)
    x = np.vstack([a[0].T, a[1]])
    y = np.vstack([A, B])
    print("   widths %d-%d-%d, lam %.1f: against the integrated flow %.1e" % (k0, k1, k2, lam, norm(x @ x.T - y @ y.T) / norm(x @ x.T)))
print(
    "   small start 1e-6, target singular values 3, 1, .3, .1, widths 4-3-4: |P - P_ref| / |P_ref| against multiple precision, this form / formula with the inverse of F"
)
U, V = orth(rng, 4), orth(rng, 4)
M = U @ np.diag([3, 1.0, 0.3, 0.1]) @ V.T
W1, W2 = start(4, 3, 4, 0.0, 1e-6)
for t in (1.0, 5.0, 15.0, 50.0, 200.0, 3000.0):
    P = riccati(W1, W2, M, 0.0, t)[2]
    if t > 1000:
        print("      t = %6.0f: singular values %s" % (t, np.round(svd(P, compute_uv=False), 12)[:4]))
        continue
    R = riccati_mp(W1, W2, M, 0.0, t, int(80 + 6 * t))[4:, :4]
    r = svd(R, compute_uv=False)[:3]
    with np.errstate(all="ignore"):
        try:
            n_ = norm(naive(W1, W2, M, 0.0, t)[4:, :4] - R) / norm(R)
        except Exception:
            n_ = np.nan
    print(
        "      t = %6.0f: singular values %s  this form %.0e, singular values each to %s  inverse form %.0e"
        % (
            t,
            ", ".join("%.2e" % v for v in r),
            norm(P - R) / norm(R),
            ", ".join("%.0e" % x for x in np.abs(svd(P, compute_uv=False)[:3] / r - 1)),
            n_,
        )
    )

print("-- integrators: 5-6-4, generic start, t = 10")
W0 = gauss(rng, [5, 6, 4], 1.0)
X = rng.standard_normal((20, 5))
Y = rng.standard_normal((20, 4))
g = lambda W: gradient(W, X, "squared", Y, 0.5 / 20)
ref = flow(W0, g, 10.0, 1e-13)[0]
D = lambda W: norm(W[1].T @ W[1] - W[0] @ W[0].T - W0[1].T @ W0[1] + W0[0] @ W0[0].T)
for rt in (1e-3, 1e-5, 1e-7, 1e-9, 1e-11):
    W, n_ = flow(W0, g, 10.0, rt, "RK45")
    print("   Dormand-Prince 5(4), rtol %.0e: error %.1e, drift of the conserved matrix %.1e, %d gradients" % (rt, rel(ref, W), D(W), n_))
v0 = flat(W0)
fld = lambda v: -flat(g(like(v, W0)))


def dp5(v, h):
    k = [fld(v)]
    for a in (
        [1 / 5],
        [3 / 40, 9 / 40],
        [44 / 45, -56 / 15, 32 / 9],
        [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
        [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
    ):
        k.append(fld(v + h * sum(x * y for x, y in zip(a, k))))
    return v + h * sum(x * y for x, y in zip([35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84], k))


def gauss2(v, h):
    s3 = np.sqrt(3)
    a = np.array([[1 / 4, 1 / 4 - s3 / 6], [1 / 4 + s3 / 6, 1 / 4]])
    k = [fld(v)] * 2
    for _ in range(100):
        n_ = [fld(v + h * (a[i, 0] * k[0] + a[i, 1] * k[1])) for i in range(2)]
        if max(norm(x - y) for x, y in zip(n_, k)) < 1e-15 * norm(v):
            break
        k = n_
    return v + h * (n_[0] + n_[1]) / 2


T = 0.1
r2 = flat(flow(W0, g, T, 3e-14)[0])
z = np.linspace(-4, 0, 400001)
Rz = 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24 + z**5 / 120 + z**6 / 600
print("   real stability interval of Dormand-Prince: %.3f" % -z[np.abs(Rz) <= 1].min())
for nm, st in (("Euler (GD)", lambda v, h: v + h * fld(v)), ("Dormand-Prince, fixed step", dp5), ("Gauss, 2 stages (implicit)", gauss2)):
    er, dr = [], []
    for n_ in (10, 20, 40):
        v = v0
        for _ in range(n_):
            v = st(v, T / n_)
        er.append(norm(v - r2))
        dr.append(D(like(v, W0)))
    print("   %-28s errors %.1e %.1e %.1e, order %.2f; drift %.1e %.1e %.1e" % (nm, *er, np.log2(er[1] / er[2]), *dr))
s = solve_ivp(lambda _, v: fld(v), (0, 2.0), v0, method="RK45", rtol=1e-6, atol=1e-9, dense_output=True)
tt = np.linspace(0, 2, 41)
full = solve_ivp(lambda _, v: fld(v), (0, 2.0), v0, method="DOP853", rtol=1e-13, atol=1e-14, t_eval=tt).y
print(
    "   dense output at rtol 1e-6: largest error between steps %.1e, at the steps %.1e"
    % (np.abs(s.sol(tt) - full).max(), np.abs(s.y[:, -1] - full[:, -1]).max())
)
print("-- backward error: GD with step h against the flow of L and of L + h/4 |grad L|^2, t = 1")


def hvp(v, u, e=1e-6):
    return (fld(v - e * u) - fld(v + e * u)) / (2 * e)


rows = []
for n_ in (50, 100, 200, 400):
    h = 1.0 / n_
    v = v0
    for _ in range(n_):
        v = v + h * fld(v)
    a = flat(flow(W0, g, 1.0, 1e-12)[0])
    m = solve_ivp(lambda _, x: (lambda f: f + h / 2 * hvp(x, f))(fld(x)), (0, 1.0), v0, method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1]
    rows.append((norm(v - a), norm(v - m)))
print(
    "   errors %s and %s; orders %.2f and %.2f"
    % (["%.1e" % a for a, _ in rows], ["%.1e" % b for _, b in rows], np.log2(rows[-2][0] / rows[-1][0]), np.log2(rows[-2][1] / rows[-1][1]))
)
