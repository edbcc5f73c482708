"""Section 3: the conditions of invariance, their necessity, the weak forms and the special cases.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section03_invariance.py
"""

import numpy as np
from aligned_data import diag_init, joint_data, offdiag
from common import comm, criterion, end2end, gd, grads_G, orth, prod, sq_G
from numpy.linalg import norm, qr, svd
from scipy.optimize import minimize

rng = np.random.default_rng(3)


def data_metric(X, Y):
    C, M = X.T @ X, Y.T @ X
    T = M.T @ M
    return np.sqrt(2) * norm(comm(C, T)) / max(norm(C) * norm(T), 1e-300)


print("== 3.1 sufficiency, any eta, full modes")
w = 0
wm = 0
for t in range(60):
    d = int(rng.integers(1, 5))
    k0, kd = (int(x) for x in rng.integers(2, 6, 2))
    r = min(k0, kd)
    ks = [k0] + [int(x) for x in rng.integers(r, 8, d - 1)] + [kd]
    lam = rng.uniform(0.3, 1.5, k0)
    lam[rng.random(k0) < 0.2] = 0
    s = np.zeros(k0)
    s[:r] = rng.uniform(-1.5, 1.5, r)
    s[lam == 0] = 0
    X, Y, U, V = joint_data(rng, 12, k0, kd, lam, s)
    Q = [V] + [orth(rng, k) for k in ks[1:-1]] + [U]
    Ws, _ = diag_init(rng, ks, Q)
    C, M = X.T @ X, Y.T @ X
    W2 = gd(Ws, C, M, 0.02, 400)
    w = max(w, offdiag(W2, Q))
    wm = max(wm, data_metric(X, Y))
print("60 nets, 400 steps: max relative off-diagonal %.1e (data metric %.1e)" % (w, wm))
print("== sample-side form: X^T[XX^T, Y Y^T]X = 0")
m = 0
for _ in range(200):
    n, k0, kd = rng.integers(1, 7, 3)
    X = rng.standard_normal((n, k0))
    Y = rng.standard_normal((n, kd))
    a = comm(X.T @ X, X.T @ Y @ Y.T @ X)
    b = X.T @ comm(X @ X.T, Y @ Y.T) @ X
    m = max(m, norm(a - b) / (norm(X) ** 4 * norm(Y) ** 2))
print("identity [C,M^T M] = X^T [XX^T,YY^T] X : max error %.1e" % m)
print("== 3.2 necessity: one-step formula and first-order change of the end-to-end map")
m1 = m2 = 0
for _ in range(100):
    d = int(rng.integers(2, 5))
    ks = [int(x) for x in rng.integers(2, 6, d + 1)]
    Q = [orth(rng, k) for k in ks]
    Ws, Ss = diag_init(rng, ks, Q)
    for S in Ss:  # kill some entries at random -> partial modes
        S *= rng.random(S.shape) < 0.85
    Ws = [Q[i + 1] @ Ss[i] @ Q[i].T for i in range(d)]
    X = rng.standard_normal((7, ks[0]))
    Y = rng.standard_normal((7, ks[-1]))
    C, M = X.T @ X, Y.T @ X
    A, B = Q[0].T @ C @ Q[0], Q[-1].T @ M @ Q[0]
    g = grads_G(Ws, sq_G(Ws, C, M))
    p = np.zeros(ks[-1])
    Pd = end2end(Ss)
    rr = min(Pd.shape)
    p[:rr] = np.diag(Pd)
    first = np.zeros((ks[-1], ks[0]))
    Rg = np.zeros((ks[-1], ks[0]))
    for i in range(d):
        a = np.zeros(ks[-1] if i == d - 1 else ks[i + 1])
        L = prod(Ss, i + 2, d) if i < d - 1 else np.eye(ks[-1])
        Rr = prod(Ss, 1, i) if i > 0 else np.eye(ks[0])
        # predicted gradient in the Q bases: a_j b_l (p_j A_jl - B_jl), zero padded
        G = np.zeros((ks[i + 1], ks[i]))
        for j in range(ks[i + 1]):
            aj = L[j, j] if j < min(L.shape) else 0.0
            for l in range(ks[i]):
                bl = Rr[l, l] if l < min(Rr.shape) else 0.0
                if aj and bl and j < ks[-1] and l < ks[0]:
                    G[j, l] = aj * bl * ((p[j] * A[j, l] if p[j] else 0.0) - B[j, l])
        m1 = max(m1, norm(Q[i + 1].T @ g[i] @ Q[i] - G) / (norm(C) + norm(M)))
        first += L @ G @ Rr
    # sum_i a_j^2 b_l^2 (p_j A_jl - B_jl)
    num = (end2end([w - 1e-7 * x for w, x in zip(Ws, g)]) - end2end([w + 1e-7 * x for w, x in zip(Ws, g)])) / 2e-7
    m2 = max(m2, norm(Q[-1].T @ num @ Q[0] + first) / max(1, norm(first)))
print("gradient entries a_j b_l (p_j A_jl - B_jl): max error %.1e ; first-order change of P: max error %.1e" % (m1, m2))
print("== 3.2 stationary exception: generic C,M but mode 1 already fitted (row 1 of PC-M is zero)")
k = 3
Q = [orth(rng, k) for _ in range(3)]
A = np.diag([1.0, 0.7, 0.5])
A[0, 1] = A[1, 0] = 0.3  # v_1, v_2 not eigenvectors
A = A + 0.0
s = [rng.uniform(0.5, 1, k) for _ in range(2)]
p = s[0] * s[1]
B = np.diag([0.0, 0.6, 0.2])
B[0] = p[0] * A[0]  # row 1 fitted
# other modes: need A_jl=B_jl=0 for moving j: j=2 violates because A_21 != 0
C = Q[0] @ A @ Q[0].T
M = Q[2] @ B @ Q[0].T
Ws = [Q[1] @ np.diag(s[0]) @ Q[0].T, Q[2] @ np.diag(s[1]) @ Q[1].T]
print("modes 2,3 moving: off-diagonal after 50 steps %.2e (A_21=0.3, so mode 2 violates)" % offdiag(gd(Ws, C, M, 0.05, 50), Q))
B = np.diag(p) @ A
B[2, 2] = 0.9  # modes 1,2 fitted, mode 3 moving and a joint triple
M = Q[2] @ B @ Q[0].T
print(
    "modes 1,2 fitted, mode 3 moving: off-diagonal %.1e although data metric sqrt2|[C,MtM]|/.. = %.3f, mode 3 moved by %.3f"
    % (
        offdiag(gd(Ws, C, M, 0.05, 200), Q),
        np.sqrt(2) * norm(comm(C, M.T @ M)) / norm(C) / norm(M.T @ M),
        abs((Q[2].T @ end2end(gd(Ws, C, M, 0.05, 200)) @ Q[0])[2, 2] - p[2]),
    )
)
print("== 3.3 rank-deficient init: only |J| joint triples are needed")
w = 0
mets = []
for _ in range(50):
    k0, kd, nj, d = 5, 4, 2, int(rng.integers(2, 5))
    ks = [k0] + [int(x) for x in rng.integers(2, 7, d - 1)] + [kd]
    U, V = orth(rng, kd), orth(rng, k0)
    F = rng.standard_normal((k0 - nj, k0 - nj))
    A = np.zeros((k0, k0))
    A[:nj, :nj] = np.diag(rng.uniform(0.3, 1.5, nj))
    A[nj:, nj:] = F @ F.T / 4
    B = np.zeros((kd, k0))
    B[:nj, :nj] = np.diag(rng.uniform(0.3, 1.5, nj))
    B[nj:, nj:] = rng.standard_normal((kd - nj, k0 - nj))
    C, M = V @ A @ V.T, U @ B @ V.T
    Q = [V] + [orth(rng, k) for k in ks[1:-1]] + [U]
    Ws, _ = diag_init(rng, ks, Q, J=range(nj))
    w = max(w, offdiag(gd(Ws, C, M, 0.02, 300), Q))
    mets.append(np.sqrt(2) * norm(comm(C, M.T @ M)) / norm(C) / norm(M.T @ M))
print("|J|=2 of min(k0,kd)=4: max off-diagonal after 300 steps %.1e, data metric median %.2f" % (w, np.median(mets)))
# disjoint dead patterns do interact
k = 2
Ss = [np.diag([0.0, 1.0]), np.diag([0.0, 1.0]), np.diag([1.0, 0.0]), np.diag([1.0, 0.0])]
B = np.array([[0, 1.0], [0, 0]])
g = grads_G(Ss, -B)
print("dead modes with zeros {1,2} and {3,4}: gradient of W_2 =", g[1].tolist(), " of W_3 =", g[2].tolist(), "(B_12=1)")

print("== 3.4 weak form, k_d=1, rank one, logistic loss, random data, GD + momentum + weight decay")
n, ks = 30, [6, 5, 7, 4, 1]
d = 4
X = rng.standard_normal((n, 6))
y = rng.choice([-1.0, 1.0], n)
q = [orth(rng, k)[:, 0] for k in ks]
Ws = [rng.uniform(0.5, 1) * np.outer(q[i + 1], q[i]) for i in range(d)]
v0 = q[0].copy()
vel = [0 * x for x in Ws]
mx = 0
for t in range(500):
    f = X @ end2end(Ws).ravel()
    G = (-(y / (1 + np.exp(y * f))) @ X / n)[None]
    g = grads_G(Ws, G)
    vel = [0.9 * v + x + 1e-3 * W for v, x, W in zip(vel, g, Ws)]
    Ws = [W - 0.1 * v for W, v in zip(Ws, vel)]
    mx = max(mx, criterion(Ws), max(svd(W)[1][1] / svd(W)[1][0] for W in Ws[:-1]))
v1 = svd(Ws[0])[2][0]
print(
    "500 steps: max of (E) metric and second/first singular value %.1e; v_1 rotated to |cos|=%.3f; strong data condition metric %.3f"
    % (mx, abs(v1 @ v0), data_metric(X, y[:, None]))
)
m = y @ X
C = X.T @ X
print("== 3.5 weak form, k_d>1: M C^k M^T commute (class-orthogonal data, arbitrary within-class covariance)")
w = []
for trial in range(20):
    kd, per = 3, 3
    k0 = kd * per
    d = int(rng.integers(2, 5))
    O = orth(rng, k0)
    X = []
    Y = []
    for c in range(kd):
        for _ in range(6):
            X.append(O[:, c * per : (c + 1) * per] @ rng.standard_normal(per))
            Y.append(np.eye(kd)[c])
    X, Y = np.array(X) / 3, np.array(Y)
    C, M = X.T @ X, Y.T @ X
    fam = [M @ np.linalg.matrix_power(C, k) @ M.T for k in range(4)]
    ks = [k0] + [int(x) for x in rng.integers(kd, 8, d - 1)] + [kd]
    Vv = np.stack([O[:, c * per : (c + 1) * per] @ (lambda z: z / norm(z))(rng.standard_normal(per)) for c in range(kd)], 1)
    V = qr(np.hstack([Vv, rng.standard_normal((k0, k0 - kd))]))[0]
    V[:, :kd] = Vv
    Q = [V] + [orth(rng, k) for k in ks[1:-1]] + [np.eye(kd)]
    Ws, _ = diag_init(rng, ks, Q, J=range(kd))
    out = gd(Ws, C, M, 0.01, 500)
    w.append(
        (
            criterion(out),
            offdiag(out[1:], Q[1:]),
            offdiag(out, Q),
            data_metric(X, Y),
            max(norm(comm(a, b)) / norm(a) / norm(b) for a in fam for b in fam),
        )
    )
w = np.array(w)
print(
    "(E) metric max %.1e; layers 2..d off-diagonal in fixed bases %.1e; layer 1 moved %.2f (median); strong metric median %.2f; family commutator %.1e"
    % (w[:, 0].max(), w[:, 1].max(), np.median(w[:, 2]), np.median(w[:, 3]), w[:, 4].max())
)
# negative control: same data, init v_j mixing two classes
V = orth(rng, k0)
Q[0] = V
Ws, _ = diag_init(rng, ks, Q, J=range(kd))
print("same data, v_j in general position: (E) metric after 500 steps %.1e" % criterion(gd(Ws, C, M, 0.01, 500)))
print("== 3.6 balanced init, generic data: violation is O(eta^2) per step")
k = 4
ks = [k, k, k, k]
X = rng.standard_normal((10, k))
Y = rng.standard_normal((10, k))
C, M = X.T @ X / 10, Y.T @ X / 10
Q = [orth(rng, k) for _ in ks]
s = rng.uniform(0.6, 1.2, k)
Ws = [Q[i + 1] @ np.diag(s) @ Q[i].T for i in range(3)]
Wu, _ = diag_init(rng, ks, Q)
for eta in (1e-2, 1e-3, 1e-4):
    N = int(round(1 / eta))
    print(
        "eta %.0e: (E) after 1 step: balanced %.2e, unbalanced aligned %.2e ; after time 1: balanced %.2e, unbalanced %.2e"
        % (
            eta,
            criterion(gd(Ws, C, M, eta, 1)),
            criterion(gd(Wu, C, M, eta, 1)),
            criterion(gd(Ws, C, M, eta, N)),
            criterion(gd(Wu, C, M, eta, N)),
        )
    )
print("== 3.7 tied symmetric: W_2=W_1^T, C=I, M symmetric, init not in M's bases")
k = 5
S = rng.standard_normal((k, k))
M = S + S.T
W1 = rng.standard_normal((k, k)) / 2
out = gd([W1, W1.T], np.eye(k), M, 0.01, 500)
ev = np.linalg.eigh(W1.T @ W1)[1]
P = end2end(out)
print(
    "500 steps: (E) %.1e, |W2-W1^T| %.1e; V_1 moved: off-diagonal of P in initial bases %.2f"
    % (criterion(out), norm(out[1] - out[0].T), norm(ev.T @ P @ ev - np.diag(np.diag(ev.T @ P @ ev))) / norm(P))
)
print("== 3.8 special cases: data metric")
X = rng.standard_normal((20, 5))
Y = rng.standard_normal((20, 3))
Xw = qr(X)[0]
print(
    "autoencoder Y=X %.1e | X=I %.1e | whitened X %.1e | generic %.2f"
    % (data_metric(X, X), data_metric(np.eye(5), rng.standard_normal((5, 3))), data_metric(Xw, Y), data_metric(X, Y))
)
Xo = orth(rng, 8)[:6]
lab = np.array([0, 0, 1, 1, 2, 2])
Yo = np.eye(3)[lab]
sc = np.array([1, 1, 2, 2, 0.5, 0.5])[:, None]
sc2 = np.array([1, 2, 2, 1, 0.5, 0.7])[:, None]
print(
    "orthogonal samples, one-hot: equal norms in class %.1e | unequal norms in class %.2f (strong fails, weak holds)"
    % (data_metric(Xo * sc, Yo), data_metric(Xo * sc2, Yo))
)
x = rng.standard_normal((1, 5))
print("n=1: %.1e ; k_d=1 generic n=20: %.2f" % (data_metric(x, rng.standard_normal((1, 3))), data_metric(X, Y[:, :1])))
print("== 3.9 generic data: smallest joint-triple defect over unit v (any rank-one strong init)")


def defect(v, C, T):
    v = v / norm(v)
    a = C @ v
    b = T @ v
    return (norm(a - v * (v @ a)) / norm(C, 2)) ** 2 + (norm(b - v * (v @ b)) / norm(T, 2)) ** 2


for n in (1, 2, 3, 5, 20):
    best = []
    for rep in range(5):
        X = rng.standard_normal((n, 5))
        Y = rng.standard_normal((n, 3))
        Qx = qr(X.T)[0]
        C = Qx.T @ X.T @ X @ Qx
        M = Y.T @ X @ Qx
        T = M.T @ M  # inside row(X)
        best.append(min(minimize(defect, rng.standard_normal(C.shape[0]), args=(C, T)).fun for _ in range(8)) ** 0.5)
    print(
        "n=%2d: min over v of relative joint-eigenvector residual: min over 5 data sets %.2e, median %.2e" % (n, min(best), np.median(best))
    )
