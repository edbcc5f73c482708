"""Section 13: Hessian products from any pivot, the full Hessian from the reduced one, metrics, edge of stability, sharpness.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section13_curvature.py
"""

import numpy as np
import torch
from closures import closed, gauss, gradient, out_loss
from common import end2end, orth
from numpy.linalg import norm, qr, svd

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
rng = np.random.default_rng(15)


def chain_rop(Ws, Vs, X, kind, T, f, p, gauss_newton=False):
    """H v and the gradient, pivot p (T13.1); p = 0 with N = I is backpropagation on the rows of X"""
    d = len(Ws)
    F = [None] * (d + 1)
    dF = [None] * (d + 1)
    B = [None] * (d + 1)
    dB = [None] * (d + 1)
    k = Ws[p].shape[1] if p < d else Ws[-1].shape[0]
    F[p] = np.eye(k)
    dF[p] = 0 * F[p]
    B[p] = np.eye(k)
    dB[p] = 0 * B[p]
    for j in range(p + 1, d + 1):
        F[j] = Ws[j - 1] @ F[j - 1]
        dF[j] = Vs[j - 1] @ F[j - 1] + Ws[j - 1] @ dF[j - 1]
    for j in range(p, 0, -1):
        B[j - 1] = B[j] @ Ws[j - 1]
        dB[j - 1] = dB[j] @ Ws[j - 1] + B[j] @ Vs[j - 1]
    U, dU, N, dN = F[d], dF[d], B[0], dB[0]
    Z, dZ = N @ X.T, dN @ X.T
    _, D, H = out_loss(kind, (U @ Z).T, T, f)
    D, dD = D.T, H((dU @ Z + U @ dZ).T).T
    if gauss_newton:
        E, dE, R, dR = 0, dD @ Z.T, 0, (U.T @ dD) @ X
    else:
        E, dE = D @ Z.T, dD @ Z.T + D @ dZ.T
        R, dR = (U.T @ D) @ X, (dU.T @ D + U.T @ dD) @ X
    g, h = [None] * d, [None] * d
    for i in range(d, p, -1):
        if gauss_newton:
            h[i - 1] = dE @ F[i - 1].T
            dE = Ws[i - 1].T @ dE
        else:
            g[i - 1] = E @ F[i - 1].T
            h[i - 1] = dE @ F[i - 1].T + E @ dF[i - 1].T
            dE = Vs[i - 1].T @ E + Ws[i - 1].T @ dE
            E = Ws[i - 1].T @ E
    for i in range(1, p + 1):
        if gauss_newton:
            h[i - 1] = B[i].T @ dR
            dR = dR @ Ws[i - 1].T
        else:
            g[i - 1] = B[i].T @ R
            h[i - 1] = dB[i].T @ R + B[i].T @ dR
            dR = dR @ Ws[i - 1].T + R @ Vs[i - 1].T
            R = R @ Ws[i - 1].T
    return g, h


def torch_loss(kind, T, f):
    t = lambda a: torch.tensor(a)
    if kind == "squared":
        return lambda F: f * ((F - t(T)) ** 2).sum()
    if kind == "logistic":
        return lambda F: f * torch.nn.functional.softplus(-t(T) * F).sum()
    if kind == "exponential":
        return lambda F: f * torch.exp(-t(T) * F).sum()
    if kind == "cross_entropy":
        return lambda F: -f * (t(T) * torch.log_softmax(F, 1)).sum()
    if kind == "entries":
        return lambda F: f * ((F.T[T[0], T[1]] - t(T[2])) ** 2).sum()
    if kind == "sensing":
        return lambda F: f * ((torch.einsum("jab,ba->j", t(T[0]), F) - t(T[1])) ** 2).sum()


def split_(v, shapes):
    out, k = [], 0
    for s in shapes:
        out.append(v[k : k + s[0] * s[1]].reshape(s))
        k += s[0] * s[1]
    return out


def dense_hessian(Ws, X, kind, T, f, gn=False):
    shapes = [w.shape for w in Ws]
    l = torch_loss(kind, T, f)
    Xt = torch.tensor(X)

    def out(v):
        A = Xt
        for W in split_(v, shapes):
            A = A @ W.T
        return A

    v = torch.tensor(np.concatenate([w.ravel() for w in Ws]))
    if gn:
        J = torch.func.jacrev(out)(v)
        F = out(v)
        J = J.reshape(-1, v.numel())
        H = torch.func.hessian(l)(F).reshape(F.numel(), F.numel())
        return (J.T @ H @ J).numpy()
    return torch.func.hessian(lambda u: l(out(u)))(v).numpy()


flat = lambda g: np.concatenate([x.ravel() for x in g])


print("-- Hessian and Gauss-Newton products, all pivots, against torch.func.hessian; widths 5-4-3-6-3, off the minimum")
ks = [5, 4, 3, 6, 3]
Ws = gauss(rng, ks, 1.2)
Vs = gauss(rng, ks)
n = 7
X = rng.standard_normal((n, 5))
data = {
    "squared": (X, rng.standard_normal((n, 3))),
    "logistic": (X, rng.choice([-1.0, 1.0], (n, 3))),
    "exponential": (X, rng.choice([-1.0, 1.0], (n, 3))),
    "cross_entropy": (X, rng.dirichlet(np.ones(3), n)),
    "entries": (np.eye(5), (rng.integers(0, 3, 9), rng.integers(0, 5, 9), rng.standard_normal(9))),
    "sensing": (np.eye(5), (rng.standard_normal((6, 3, 5)), rng.standard_normal(6))),
}
for kind, (X_, T) in data.items():
    H, G = dense_hessian(Ws, X_, kind, T, 0.3), dense_hessian(Ws, X_, kind, T, 0.3, True)
    hv, gv = H @ flat(Vs), G @ flat(Vs)
    e = max(norm(flat(chain_rop(Ws, Vs, X_, kind, T, 0.3, p)[1]) - hv) / norm(hv) for p in range(5))
    e2 = max(norm(flat(chain_rop(Ws, Vs, X_, kind, T, 0.3, p, True)[1]) - gv) / norm(gv) for p in range(5))
    print("   %-14s H v %.1e   G v %.1e" % (kind, e, e2))
R = qr(np.hstack([rng.standard_normal((50, 5)), rng.standard_normal((50, 3))]), mode="r")
m = [ks[i] * ks[i + 1] for i in range(4)]
S = sum(m)
print(
    "multiply-adds a row at p = 0: gradient 3S - m_1, H v on top 6S - 4m_1: x%.2f of a gradient for 10 equal layers" % ((60 - 4) / (30 - 1))
)

print("-- the full Hessian from the reduced one (T13.3)")


def block_net(s, e, X_rank_n, last=True):
    """random net with closed subspaces of dimensions s and complements of dimensions e; returns Ws, X, Q, complement blocks"""
    d = len(s) - 1
    U = [orth(rng, a + b) for a, b in zip(s, e)]
    U[d] = U[d] if e[d] else np.eye(s[d])
    Wh = gauss(rng, s, 1.3)
    Wp = [None] + [rng.standard_normal((e[i + 1], e[i])) / max(1, e[i]) ** 0.5 for i in range(1, d)]
    Ws = []
    for i in range(d):
        W = np.zeros((s[i + 1] + e[i + 1], s[i] + e[i]))
        W[: s[i + 1], : s[i]] = Wh[i]
        if i == 0:
            W[:, s[0] :] = rng.standard_normal((W.shape[0], e[0]))
        else:
            W[s[i + 1] :, s[i] :] = Wp[i]
        Ws.append(U[i + 1] @ W @ U[i].T)
    return Ws, U, Wh, Wp


def cross(Wh, Wp, G, s, e):
    """K: c -> b, (K c)_j = sum_{i<j} Gamma_ji c_i^T (W'_{j-1:i+1})^T; b_j (s_j, e_{j-1}), j = 2..d; c_i (e_i, s_{i-1}), i = 1..d-1"""
    d = len(Wh)
    suf = lambda j: np.linalg.multi_dot([np.eye(s[d])] + Wh[j:][::-1] + [np.eye(s[j])])
    pre = lambda i: np.linalg.multi_dot([np.eye(s[i - 1])] + Wh[: i - 1][::-1] + [np.eye(s[0])])
    comp = lambda j, i: np.linalg.multi_dot([np.eye(e[j - 1])] + [Wp[l - 1] for l in range(j - 1, i, -1)] + [np.eye(e[i])])
    cols = []
    for i in range(1, d):
        for a in range(e[i]):
            for b in range(s[i - 1]):
                c = np.zeros((e[i], s[i - 1]))
                c[a, b] = 1
                cols.append(
                    np.concatenate(
                        [
                            ((suf(j).T @ G @ pre(i).T) @ c.T @ comp(j, i).T if i < j else np.zeros((s[j], e[j - 1]))).ravel()
                            for j in range(2, d + 1)
                        ]
                    )
                )
    return np.array(cols).T


for kind in ("squared", "logistic", "cross_entropy"):
    s, e = [3, 4, 3, 2, 3], [2, 3, 3, 2, 0]
    Ws, U, Wh, Wp = block_net(s, e, 3)
    Xh = rng.standard_normal((6, 3))
    X = Xh @ U[0][:, :3].T
    T = {
        "squared": rng.standard_normal((6, 3)),
        "logistic": rng.choice([-1.0, 1.0], (6, 3)),
        "cross_entropy": rng.dirichlet(np.ones(3), 6),
    }[kind]
    Q = [u[:, :a] for u, a in zip(U, s)]
    full = np.sort(np.linalg.eigvalsh(dense_hessian(Ws, X, kind, T, 0.5)))
    Hh = np.linalg.eigvalsh(dense_hessian(Wh, Xh, kind, T, 0.5))
    G = out_loss(kind, Xh @ end2end(Wh).T, T, 0.5)[1].T @ Xh
    K = cross(Wh, Wp, G, s, e)
    sv = svd(K, compute_uv=False)
    z = np.concatenate([Hh, sv, -sv])
    z = np.sort(np.concatenate([z, np.zeros(len(full) - len(z))]))
    print(
        "   %-14s closure %.0e; %d eigenvalues = %d reduced + %d pairs + zeros: %.1e of the largest; top %.3f = max(reduced %.3f, cross %.3f); bottom %.3f = min(%.3f, %.3f)"
        % (
            kind,
            closed(Ws, Q),
            len(full),
            len(Hh),
            len(sv),
            np.abs(full - z).max() / np.abs(full).max(),
            full[-1],
            Hh.max(),
            sv[0],
            full[0],
            Hh.min(),
            -sv[0],
        )
    )
s, e = [3, 4, 3, 3], [0, 3, 2, 2]
Ws, U, Wh, Wp = block_net(s, e, 3)
Xh = rng.standard_normal((6, 3))
Y = rng.standard_normal((6, 3)) @ U[3][:, :3].T + (np.eye(6) - Xh @ np.linalg.pinv(Xh)) @ rng.standard_normal((6, 2)) @ U[3][:, 3:].T
X = Xh @ U[0][:, :3].T
full = np.sort(np.linalg.eigvalsh(dense_hessian(Ws, X, "squared", Y, 0.5)))
Yh = Y @ U[3][:, :3]
Hh = np.linalg.eigvalsh(dense_hessian(Wh, Xh, "squared", Yh, 0.5))
G = (Xh @ end2end(Wh).T - Yh).T @ Xh
K = cross(Wh, Wp, G, s, e)
d = 3
cols = []
for i in range(1, d + 1):
    for a in range(e[i]):
        for b in range(s[i - 1]):
            c = np.zeros((e[i], s[i - 1]))
            c[a, b] = 1
            P = np.linalg.multi_dot(
                [np.eye(e[d])] + [Wp[l - 1] for l in range(d, i, -1)] + [c] + [Wh[l - 1] for l in range(i - 1, 0, -1)] + [np.eye(s[0])]
            )
            cols.append((Xh @ P.T).ravel())
J = np.array(cols).T
K = np.hstack([K, np.zeros((K.shape[0], J.shape[1] - K.shape[1]))])
blk = np.block([[np.zeros((K.shape[0],) * 2), K], [K.T, J.T @ J]])
z = np.concatenate([Hh, np.linalg.eigvalsh(blk)])
z = np.sort(np.concatenate([z, np.zeros(len(full) - len(z))]))
print("   squared, smaller S_d (T8.2): %d eigenvalues, %.1e of the largest" % (len(full), np.abs(full - z).max() / np.abs(full).max()))
ks = [4, 9, 3]
X = rng.standard_normal((10, 4))
Y = rng.standard_normal((10, 3))
W = gauss(rng, [4, 5, 3])
u = orth(rng, 9)
Wf = [u[:, :5] @ W[0], W[1] @ u[:, :5].T]
full = np.sort(np.linalg.eigvalsh(dense_hessian(Wf, X, "squared", Y, 0.5)))
Hh = np.linalg.eigvalsh(dense_hessian(W, X, "squared", Y, 0.5))
g = svd((X @ end2end(W).T - Y).T @ X, compute_uv=False)
z = np.concatenate([Hh] + 4 * [g, -g])
z = np.sort(np.concatenate([z, np.zeros(len(full) - len(z))]))
print(
    "   two layers, 4 extra hidden units: +- singular values of dL/dP, 4 times each: %.1e" % (np.abs(full - z).max() / np.abs(full).max())
)
s, e = [3, 4, 3, 2, 3], [0, 5, 5, 5, 0]
Ws, U, Wh, Wp = block_net(s, e, 3)
cc = [None, 0.7, 1.3]
Wp[1:3] = [0.7 * orth(rng, 5), 1.3 * orth(rng, 5)]
G4 = rng.standard_normal((3, 3))
big = svd(cross(Wh, Wp, G4, s, e), compute_uv=False)
one = svd(cross(Wh, [None, np.array([[0.7]]), np.array([[1.3]]), np.zeros((0, 1))], G4, s, [0, 1, 1, 1, 0]), compute_uv=False)
one = np.repeat(one, 5)
print(
    "   complement of scaled orthogonal layers, 5 dimensions: one scalar chain, 5 times: %.1e"
    % (np.abs(np.sort(big)[::-1][: len(one)] - one).max() / big[0])
)
dead = [None, np.zeros((5, 5)), np.zeros((5, 5)), np.zeros((0, 5))]
big = svd(cross(Wh, dead, G4, s, e), compute_uv=False)
gam = np.concatenate(
    [
        svd(
            np.linalg.multi_dot([np.eye(s[i + 1])] + [w.T for w in Wh[i + 1 :]] + [G4] + [w.T for w in Wh[: i - 1]] + [np.eye(s[i - 1])]),
            compute_uv=False,
        )
        for i in (1, 2, 3)
    ]
)
gam = np.sort(np.repeat(gam, 5))[::-1]
big = np.sort(big)[::-1]
k = min(len(gam), len(big))
print("   dead complement: singular values of Gamma_{i+1,i}, 5 times: %.1e" % (np.abs(big[:k] - gam[:k]).max() / big[0]))
Rr = qr(np.hstack([X, Y]), mode="r")
print(
    "   samples 10 -> 4: |difference of the Hessians| %.1e"
    % (
        norm(dense_hessian(Wf, X, "squared", Y, 0.5) - dense_hessian(Wf, Rr[:4, :4], "squared", Rr[:4, 4:], 0.5))
        / norm(dense_hessian(Wf, X, "squared", Y, 0.5))
    )
)

print("-- metrics: zero-padded 1-d convolution (3 taps, length 8), two layers; growth of a perturbation at a minimum")
N = 8
A = np.array([np.eye(N, k=-1), np.eye(N), np.eye(N, k=1)])
Gm = np.array([N - 1.0, N, N - 1])
mat = lambda th: np.einsum("k,kab->ab", th, A)
X = rng.standard_normal((20, N))
t1, t2 = np.array([0.5, 1.0, -0.3]), np.array([0.2, 0.9, 0.4])
Y = X @ (mat(t2) @ mat(t1)).T


def g_theta(t):
    W = [mat(t[:3]), mat(t[3:])]
    return np.concatenate([np.einsum("kab,ab->k", A, x) for x in gradient(W, X, "squared", Y, 0.5 / 20)])


t = np.concatenate([t1, t2])
cal = np.block([[A.reshape(3, -1).T, np.zeros((64, 3))], [np.zeros((64, 3)), A.reshape(3, -1).T]])
H = cal.T @ dense_hessian([mat(t1), mat(t2)], X, "squared", Y, 0.5 / 20) @ cal
g2 = np.concatenate([Gm, Gm])
lp = np.linalg.eigvalsh(H)[-1]
w, V = np.linalg.eigh(H / np.sqrt(np.outer(g2, g2)))
lm_ = w[-1]
hp = np.linalg.eigh(H)[1][:, -1]
hm = V[:, -1] / np.sqrt(g2)
print("   largest eigenvalue: parameters %.4f, matrix metric %.4f" % (lp, lm_))
for nm, l, h, pre in (("parameters", lp, hp, np.ones(6)), ("matrix", lm_, hm, 1 / g2)):
    out = []
    for c in (0.98, 1.02):
        x = t + 1e-6 * h / norm(h)
        a = norm(x - t)
        for _ in range(50):
            x = x - c * 2 / l * pre * g_theta(x)
        out.append((norm(x - t) / a) ** (1 / 50))
    print(
        "   metric %-10s: factor a step at 0.98 and 1.02 of 2/lambda: %.4f, %.4f (theory %.4f, %.4f)"
        % (nm, *out, abs(1 - 0.98 * 2), abs(1 - 1.02 * 2))
    )

print("-- edge of stability: depth 3, modes 10, 9.5, 9, start (0, .01, .01), 6,000 steps; number of oscillating modes")
q = np.array([10, 9.5, 9.0])
th = 2 / (3 * q ** (2 - 2 / 3))
print("   thresholds 2/(d q^(2-2/d)): %s" % np.round(th, 6))
for lr in (0.0305, 0.0308, 0.0311, 0.0325, 0.033, 0.0333, 0.035, 0.0355, 0.0358, 0.0363):
    s = np.array([[0, 0, 0], [0.01] * 3, [0.01] * 3])
    tr = []
    for i in range(6000):
        ee = s.prod(0) - q
        s = s - lr * np.array([ee * s[1] * s[2], ee * s[0] * s[2], ee * s[0] * s[1]])
        tr.append(s.prod(0))
    tr = np.array(tr[-200:])
    print(
        "   lr %.4f: %d oscillate, expected %d; spread of the layers of mode 1 %.0e"
        % (lr, np.sum(tr.max(0) - tr.min(0) > 1e-3), np.sum(lr > th), np.ptp(s[:, 0]))
    )

print("-- sharpness of minimisers with one output (T13.6): 400 random minimisers, balanced one, both losses")
worst, best_gap = np.inf, []
for trial in range(400):
    d = rng.integers(2, 5)
    k = [4] + list(rng.integers(2, 5, d - 1)) + [1]
    X = rng.standard_normal((9, 4)) * rng.uniform(0.3, 2, 4)
    w = rng.standard_normal(4) * rng.uniform(0.2, 2)
    y = X @ w + (np.eye(9) - X @ np.linalg.pinv(X)) @ rng.standard_normal(9)
    Ws = gauss(rng, list(k), 1.0)
    p1 = np.linalg.multi_dot([np.eye(1)] + Ws[1:][::-1] + [np.eye(k[1])]).ravel()
    Ws[0] = np.outer(p1, w) / (p1 @ p1) + 0.3 * (np.eye(k[1]) - np.outer(p1, p1) / (p1 @ p1)) @ rng.standard_normal((k[1], 4))
    H = dense_hessian(Ws, X, "squared", y[:, None], 0.5)
    wh = w / norm(w)
    bd = d * norm(w) ** (2 - 2 / d) * norm(X @ wh) ** 2
    worst = min(worst, np.linalg.eigvalsh(H)[-1] / bd)
    b = [np.outer(np.eye(k[i + 1])[0], np.eye(k[i])[0] if i else wh) * norm(w) ** (1 / d) for i in range(d)]
    lam = np.linalg.eigvalsh(dense_hessian(b, X, "squared", y[:, None], 0.5))[-1]
    C = X.T @ X
    L = np.linalg.cholesky(C)
    f = norm(w) ** (2 - 2 / d) * np.linalg.eigvalsh(L.T @ (np.eye(4) + (d - 1) * np.outer(wh, wh)) @ L)[-1]
    best_gap.append((abs(lam / f - 1), lam / bd))
print(
    "   smallest ratio lambda_max / bound %.3f; balanced rank one: formula to %.0e, ratio to the bound %.3f to %.3f"
    % (worst, max(a for a, _ in best_gap), min(b for _, b in best_gap), max(b for _, b in best_gap))
)
X = rng.standard_normal((9, 4))
w = rng.standard_normal(4)
H = lambda f: np.linalg.eigvalsh(
    dense_hessian(
        [np.outer([1, 0], w / norm(w)) * norm(w) ** 0.5, np.array([[1.0, 0]]) * norm(w) ** 0.5], X, "squared", (X @ w)[:, None], f
    )
)[-1]
print(
    "   factors: 1/2 sum : mean/2 : mean = %.3f : %.3f : %.3f (theory 1 : 1/n : 2/n, n = 9: 0.111, 0.222)"
    % (1, H(0.5 / 9) / H(0.5), H(1 / 9) / H(0.5))
)

print("-- between the matrices that the Hessian can make (T13.7): few outputs, off the minimum; both parts, every number of samples")
ks = [9, 12, 8, 2]
Ws = gauss(rng, ks, 1.2)
for n in (3, 40):
    X = rng.standard_normal((n, ks[0])) / 3
    for kind, T in (
        ("squared", rng.standard_normal((n, 2))),
        ("logistic", rng.choice([-1.0, 1.0], (n, 2))),
        ("cross_entropy", rng.dirichlet(np.ones(2), n)),
    ):
        D = out_loss(kind, X @ end2end(Ws).T, T, 0.3)[1]
        for part in (False, True):
            blocks = []
            for i in range(len(Ws)):
                Z = np.linalg.multi_dot([np.eye(2), *Ws[:i:-1], np.eye(ks[i + 1])])
                R = np.linalg.multi_dot([D.T @ X, *(W.T for W in Ws[:i]), np.eye(ks[i])])
                Q, S = qr(Z.T)[0].T, qr(R.T)[0].T
                images = [np.outer(q, e) for q in Q for e in np.eye(ks[i])]
                if not part:
                    outside = np.eye(ks[i + 1]) - Q.T @ Q
                    images += [np.outer(outside @ e, s) for s in S for e in np.eye(ks[i + 1])]
                blocks.append(np.array([image.ravel() for image in images]).T)
            E = np.zeros((sum(map(len, blocks)), sum(b.shape[1] for b in blocks)))
            r = c = 0
            for b in blocks:
                E[r : r + b.shape[0], c : c + b.shape[1]] = b
                r, c = r + b.shape[0], c + b.shape[1]
            H = dense_hessian(Ws, X, kind, T, 0.3, part)
            top = np.abs(np.linalg.eigvalsh(H)).max()
            P = E @ E.T
            whole = np.linalg.eigvalsh(H)
            made = np.concatenate([np.linalg.eigvalsh(E.T @ H @ E), np.zeros(max(len(H) - E.shape[1], 0))])
            order = lambda x: x[np.argsort(-np.abs(x))][: min(len(H), E.shape[1])]
            apart = np.abs(np.sort(order(whole)) - np.sort(order(made))).max() / top
            print(
                "   %-14s %-13s n = %2d: %d -> %d numbers, projector %.1e, H - PHP %.1e, spectra %.1e of the largest"
                % (kind, "Gauss-Newton" if part else "Hessian", n, len(H), E.shape[1], norm(P @ P - P), norm(H - P @ H @ P) / top, apart)
            )
