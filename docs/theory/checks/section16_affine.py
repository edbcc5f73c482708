"""Section 16: affine layers, biases, residual layers.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section16_affine.py
"""

import numpy as np
from closures import closure, extend, gauss, gradient, lift, out_loss, rel, rest, small
from common import orth
from numpy.linalg import norm, qr, svd
from scipy.integrate import solve_ivp

rng = np.random.default_rng(18)


print(
    "-- W = B + sum theta_k A_k, two layers, B = I: GD on theta against W' = W - eta A A^T grad, and against projected GD with step c eta; 200 steps"
)
N = 8
X = rng.standard_normal((12, N))
Y = rng.standard_normal((12, N))
fam = {
    "circulant, 3 taps": np.array([np.roll(np.eye(N), k, 1) for k in (-1, 0, 1)]),
    "zero-padded, 3 taps": np.array([np.eye(N, k=k) for k in (-1, 0, 1)]),
}
for nm, A in fam.items():
    mat = lambda t: np.eye(N) + np.einsum("k,kab->ab", t, A)
    t = [0.1 * rng.standard_normal(3) for _ in range(2)]
    cal = A.reshape(3, -1).T
    G = cal.T @ cal
    c = G[0, 0]
    W, P = [mat(x) for x in t], [mat(x) for x in t]
    eta = 1e-3
    for _ in range(200):
        t = [x - eta * np.einsum("kab,ab->k", A, g) for x, g in zip(t, gradient([mat(x) for x in t], X, "squared", Y, 0.5 / 12))]
        W = [w - eta * (cal @ cal.T @ g.ravel()).reshape(N, N) for w, g in zip(W, gradient(W, X, "squared", Y, 0.5 / 12))]
        P = [
            w - eta * c * (cal @ np.linalg.solve(G, cal.T @ g.ravel())).reshape(N, N)
            for w, g in zip(P, gradient(P, X, "squared", Y, 0.5 / 12))
        ]
    print("   %-20s preconditioned form %.1e, projected %.1e" % (nm, rel([mat(x) for x in t], W), rel([mat(x) for x in t], P)))


def grad_b(Ws, bs, X, o, kind, T, f):
    """gradients with biases; o = homogeneous coordinate of each row (ones, or the compressed column)"""
    A = [X]
    for W, b in zip(Ws, bs):
        A.append(A[-1] @ W.T + np.outer(o, b))
    D = out_loss(kind, A[-1], T, f)[1]
    gW, gb = [None] * len(Ws), [None] * len(Ws)
    for i in range(len(Ws) - 1, -1, -1):
        gW[i] = D.T @ A[i]
        gb[i] = D.T @ o
        D = D @ Ws[i]
    return gW, gb


def train(Ws, bs, X, o, kind, T, f, lr, steps, mu=0.9, wd=0.0, B=None):
    """heavy ball with coupled decay of Ws and bs; layers are B_i + W_i"""
    B = B or [0 * w for w in Ws]
    W, b = [w.copy() for w in Ws], [x.copy() for x in bs]
    mW, mb = [0 * w for w in W], [0 * x for x in b]
    fc = v = None
    fc, v = 1.0, 0.0
    for _ in range(steps):
        gW, gb = grad_b([x + w for x, w in zip(B, W)], b, X, o, kind, T, f)
        mW = [mu * m + g + wd * w for m, g, w in zip(mW, gW, W)]
        mb = [mu * m + g + wd * x for m, g, x in zip(mb, gb, b)]
        W = [w - lr * m for w, m in zip(W, mW)]
        b = [x - lr * m for x, m in zip(b, mb)]
        v = mu * v + wd * fc
        fc -= lr * v
    return W, b, fc


print("-- samples with biases: 5-7-4-3, 200 rows, momentum and decay, 300 steps")
ks = [5, 7, 4, 3]
X = rng.standard_normal((200, 5)) + 1
Y = rng.standard_normal((200, 3)) + 2
W0 = gauss(rng, ks)
b0 = [0.3 * rng.standard_normal(k) for k in ks[1:]]
one = np.ones(200)
R = qr(np.hstack([X, one[:, None], Y]), mode="r")
a = train(W0, b0, X, one, "squared", Y, 0.5 / 200, 0.01, 300, wd=0.01)
b = train(W0, b0, R[:6, :5], R[:6, 5], "squared", R[:6, 6:], 0.5 / 200, 0.01, 300, wd=0.01)
w = train(W0, b0, R[:6, :5], np.ones(6), "squared", R[:6, 6:], 0.5 / 200, 0.01, 300, wd=0.01)
print(
    "   6 rows with the column of their homogeneous coordinate: %.1e; with ones on the compressed rows: %.1e"
    % (max(rel(a[0], b[0]), rel(a[1], b[1])), max(rel(a[0], w[0]), rel(a[1], w[1])))
)
X4 = rng.standard_normal((4, 20))
Y4 = rng.standard_normal((4, 3))
W4, b4 = gauss(rng, [20, 7, 3]), [rng.standard_normal(7), rng.standard_normal(3)]
Xt = np.hstack([X4, np.ones((4, 1))])
Vt = svd(Xt, full_matrices=False)[2].T
Wt = np.hstack([W4[0], b4[0][:, None]])
a = train(W4, b4, X4, np.ones(4), "squared", Y4, 0.5 / 4, 0.01, 200, wd=0.01)
Wr, br, mW, mb, fc, v = [Wt @ Vt, W4[1].copy()], b4[1].copy(), [0, 0], 0, 1.0, 0.0
for _ in range(200):
    gW, gb = grad_b(Wr, [np.zeros(7), br], Xt @ Vt, np.ones(4), "squared", Y4, 0.5 / 4)
    mW = [0.9 * m + g + 0.01 * w for m, g, w in zip(mW, gW, Wr)]
    mb = 0.9 * mb + gb[1] + 0.01 * br
    Wr = [w - 0.01 * m for w, m in zip(Wr, mW)]
    br = br - 0.01 * mb
    v = 0.9 * v + 0.01 * fc
    fc -= 0.01 * v
full = np.hstack([a[0][0], a[1][0][:, None]])
print(
    "   inputs: [W_1 b_1] of 21 columns rotated to 4: %.1e"
    % max(
        norm(full - Wr[0] @ Vt.T - fc * (Wt - Wt @ Vt @ Vt.T)) / norm(full),
        norm(a[0][1] - Wr[1]) / norm(Wr[1]),
        norm(a[1][1] - br) / norm(br),
    )
)
print("-- width with biases (T16.3)")


def case(nm, W0, b0, X, kind, T, Sd=None, bias=True, steps=200, lr=0.02):
    Q = closure(W0, X.T, Sd=Sd, bias=b0 if bias else None)
    one = np.ones(len(X))
    E, Wh = rest(W0, Q), small(W0, Q)
    bh = [q.T @ x for q, x in zip(Q[1:], b0)]
    eb = [x - q @ (q.T @ x) for q, x in zip(Q[1:], b0)]
    f = (0.5 if kind == "squared" else 1.0) / len(X)
    a = train(W0, b0, X, one, kind, T, f, lr, steps, wd=0.01)
    r = train(Wh, bh, X @ Q[0], one, kind, T if Sd is None else T @ Q[-1], f, lr, steps, wd=0.01)
    print(
        "   %-46s %s -> %s: %.1e"
        % (
            nm,
            [W0[0].shape[1]] + [w.shape[0] for w in W0],
            [q.shape[1] for q in Q],
            max(
                rel(a[0], lift(E, r[0], Q, [r[2]] * len(W0))),
                max(norm(x - q @ y - r[2] * z) / norm(x) for x, y, q, z in zip(a[1], r[1], Q[1:], eb)),
            ),
        )
    )


ks = [20, 30, 30, 3]
W0 = gauss(rng, ks)
W0[1] = 0.9 * orth(rng, 30)
X = rng.standard_normal((4, 20))
b0 = [0.3 * rng.standard_normal(k) for k in ks[1:]]
z0 = [0 * x for x in b0]
L = rng.choice([-1.0, 1.0], (4, 3))
case("logistic, biases start at 0", W0, z0, X, "logistic", L)
case("logistic, biases Gaussian", W0, b0, X, "logistic", L)
case("the same, closure without the biases", W0, b0, X, "logistic", L, bias=False)
ks = [20, 30, 30, 30]
W0 = [gauss(rng, [20, 30])[0], 0.8 * orth(rng, 30), 0.8 * orth(rng, 30)]
Y = rng.standard_normal((4, 30))
b0 = [0.3 * rng.standard_normal(30) for _ in range(3)]
z0 = [0 * x for x in b0]
U = svd(X, full_matrices=False)[0]
Y5 = rng.standard_normal((12, 30))
X5 = np.hstack([rng.standard_normal((12, 3)), np.zeros((12, 17))])
case("squared, S_d from Y^T X and Y^T 1", W0, z0, X5, "squared", Y5, Sd=np.hstack([Y5.T @ X5, Y5.T @ np.ones((12, 1))]), lr=0.005)
case("squared, S_d from Y^T X alone", W0, z0, X5, "squared", Y5, Sd=Y5.T @ X5, lr=0.005)
print("-- residual layers I + W, hidden width 12, momentum, 200 steps")
ks = [6, 12, 12, 12, 2]
B = [np.zeros((12, 6)), np.eye(12), np.eye(12), np.zeros((2, 12))]
W0 = gauss(rng, ks)
W0[1], W0[2] = 0.3 * orth(rng, 12), 0.3 * orth(rng, 12)
X = rng.standard_normal((3, 6))
Y = rng.standard_normal((3, 2))
zb = [np.zeros(k) for k in ks[1:]]
o = np.zeros(3)
for wd in (0.0, 0.05):
    a = train(W0, zb, X, o, "squared", Y, 0.5 / 3, 0.01, 200, wd=wd, B=B)
    d = train([x + w for x, w in zip(B, W0)], zb, X, o, "squared", Y, 0.5 / 3, 0.01, 200, wd=wd)
    print("   decay %.2f: I + W against a dense layer started at I + W(0): %.1e" % (wd, rel([x + w for x, w in zip(B, a[0])], d[0])))


def closure2(nets, S0):
    k = [nets[0][0].shape[1]] + [w.shape[0] for w in nets[0]]
    Q = [np.zeros((x, 0)) for x in k]
    Q[0] = extend(Q[0], S0 / norm(S0, 2))[0]
    Q[-1] = np.eye(k[-1])
    new = True
    while new:
        new = False
        for W in nets:
            for i in range(1, len(k) - 1):
                Q[i], m = extend(Q[i], W[i - 1] @ Q[i - 1] / max(norm(W[i - 1], 2), 1e-300))
                new |= m > 0
            for i in range(len(k) - 1, 1, -1):
                Q[i - 1], m = extend(Q[i - 1], W[i - 1].T @ Q[i] / max(norm(W[i - 1], 2), 1e-300))
                new |= m > 0
    return Q


W0[1] = np.zeros((12, 12))
W0[2] = np.zeros((12, 12))
W0[2][:4, :4] = 0.3 * orth(rng, 4)
W0[0][4:] *= 0
W0[3][:, 4:] *= 0
W0[0] = W0[0]
r = orth(rng, 12)
W0 = [r @ W0[0], r @ W0[1] @ r.T, r @ W0[2] @ r.T, W0[3] @ r.T]
W0[1] = W0[1] + 0.2 * (np.eye(12) - r[:, :4] @ r[:, :4].T) @ orth(rng, 12) @ (np.eye(12) - r[:, :4] @ r[:, :4].T)
Q = closure2([B, W0], X.T)
E, Wh, Bh = rest(W0, Q), small(W0, Q), small(B, Q)
EB = rest(B, Q)
a = train(W0, zb, X, o, "squared", Y, 0.5 / 3, 0.01, 200, wd=0.05, B=B)
h = train(Wh, [np.zeros(w.shape[0]) for w in Wh], X @ Q[0], o, "squared", Y, 0.5 / 3, 0.01, 200, wd=0.05, B=Bh)
full = [x + w for x, w in zip(B, a[0])]
print(
    "   with decay, B and W closed: dims %s, E(B) + f E(W) + lifted: %.1e"
    % (
        [q.shape[1] for q in Q],
        rel(full, [eb + h[2] * e + Q[i + 1] @ (x + w) @ Q[i].T for i, (eb, e, x, w) in enumerate(zip(EB, E, Bh, h[0]))]),
    )
)
print("-- conserved with biases (flow): W_{i+1}^T W_{i+1} - W_i W_i^T - b_i b_i^T")
ks = [4, 5, 3]
W0 = gauss(rng, ks)
b0 = [rng.standard_normal(k) for k in ks[1:]]
X = rng.standard_normal((6, 4))
Y = rng.standard_normal((6, 3))
P = W0 + b0


def un(v):
    out, k = [], 0
    for p in P:
        out.append(v[k : k + p.size].reshape(p.shape))
        k += p.size
    return out


def fld(_, v):
    p = un(v)
    gW, gb = grad_b(p[:2], p[2:], X, np.ones(6), "squared", Y, 0.1)
    return -np.concatenate([x.ravel() for x in gW + gb])


s = solve_ivp(fld, (0, 2), np.concatenate([p.ravel() for p in P]), method="DOP853", rtol=1e-12, atol=1e-14)
p = un(s.y[:, -1])
C = lambda p: p[1].T @ p[1] - p[0] @ p[0].T - np.outer(p[2], p[2])
D = lambda p: p[1].T @ p[1] - p[0] @ p[0].T
print("   drift %.1e; without the bias term %.1e" % (norm(C(p) - C(P)), norm(D(p) - D(P))))
