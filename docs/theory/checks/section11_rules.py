"""Section 11: which update rules commute with the exact reductions.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section11_rules.py
"""

import numpy as np
from closures import closed, closure, fro, gauss, gradient, lift, rel, rest, small
from common import end2end, grads_G, orth
from numpy.linalg import norm, qr, svd

rng = np.random.default_rng(13)


def polar(M, tol=1e-8):
    """polar factor of the thin singular value decomposition; singular values below tol of the largest go to zero"""
    U, s, V = svd(M, full_matrices=False)
    k = s > tol * s[0] if s[0] > 0 else s > 0
    return U[:, k] @ V[k]


def newton_schulz(M, steps=5):
    Y = M / (norm(M) + 1e-7)
    for _ in range(steps):
        A = Y @ Y.T
        Y = 3.4445 * Y + (-4.7750 * A + 2.0315 * A @ A) @ Y
    return Y


def power(A, p):
    w, V = np.linalg.eigh(A)
    return (V * w**p) @ V.T


DELTA = 1.0


def vec(g):
    return np.concatenate([x.ravel() for x in g])


def unvec(v, like):
    out, k = [], 0
    for x in like:
        out.append(v[k : k + x.size].reshape(x.shape))
        k += x.size
    return out


def run(rule, W0, grad, T, lr, E2=None, shapes=None):
    """T steps; E2 = squared norms of the complements and shapes of the full layers, for a reduced run. Returns W, f: E_i(T) = f_i E_i(0)"""
    W = [w.copy() for w in W0]
    d = len(W)
    E2 = np.zeros(d) if E2 is None else np.array(E2)
    shapes = shapes or [w.shape for w in W]
    m = [0 * w for w in W]
    f = np.ones(d)
    fm = np.zeros(d)
    S = {"v": 0.0, "L": None, "H": None, "ema": [w.copy() for w in W], "fema": np.ones(d), "mem": []}
    lam, mu = 0.02, 0.9
    for t in range(1, T + 1):
        g = grad(W)
        if rule == "gradient descent":
            W = [w - lr * x for w, x in zip(W, g)]
        elif rule == "heavy ball, coupled decay":
            m = [mu * a + x + lam * w for a, x, w in zip(m, g, W)]
            W = [w - lr * a for w, a in zip(W, m)]
            fm = mu * fm + lam * f
            f = f - lr * fm
        elif rule == "Nesterov (torch), coupled decay":
            h = [x + lam * w for x, w in zip(g, W)]
            m = [mu * a + x for a, x in zip(m, h)]
            W = [w - lr * (x + mu * a) for w, x, a in zip(W, h, m)]
            fh = lam * f
            fm = mu * fm + fh
            f = f - lr * (fh + mu * fm)
        elif rule == "decoupled decay, cosine, mean of weights":
            l = lr * 0.5 * (1 + np.cos(np.pi * t / T))
            m = [mu * a + x for a, x in zip(m, g)]
            W = [(1 - l * lam) * w - l * a for w, a in zip(W, m)]
            f = (1 - l * lam) * f
            S["ema"] = [0.99 * e + 0.01 * w for e, w in zip(S["ema"], W)]
            S["fema"] = 0.99 * S["fema"] + 0.01 * f
        elif rule == "clipping by the global norm, momentum":
            c = min(1, 0.05 / (fro(g) + 1e-6))
            m = [mu * a + c * x for a, x in zip(m, g)]
            W = [w - lr * a for w, a in zip(W, m)]
        elif rule == "normalised gradient":
            c = 1 / (fro(g) + 1e-12)
            W = [w - 0.1 * lr * c * x for w, x in zip(W, g)]
        elif rule == "normalised gradient of loss and decay":
            h = [x + lam * w for x, w in zip(g, W)]
            c = 1 / np.sqrt(fro(h) ** 2 + lam**2 * np.sum(f**2 * E2))
            W = [w - 0.1 * lr * c * x for w, x in zip(W, h)]
            f = f * (1 - 0.1 * lr * c * lam)
        elif rule == "GroupRMSprop":
            S["v"] = 0.99 * S["v"] + 0.01 * fro(g) ** 2
            c = 0.1 * lr / (np.sqrt(S["v"] / (1 - 0.99**t)) + 1e-6)
            W = [w - c * x for w, x in zip(W, g)]
        elif rule == "trust ratio a layer, decay":
            for i in range(d):
                h = g[i] + lam * W[i]
                c = np.sqrt(norm(W[i]) ** 2 + f[i] ** 2 * E2[i]) / np.sqrt(norm(h) ** 2 + (lam * f[i]) ** 2 * E2[i])
                W[i] = W[i] - 0.02 * lr * c * h
                f[i] *= 1 - 0.02 * lr * c * lam
        elif rule == "SAM, momentum":
            c = 0.05 / fro(g)
            g = grad([w + c * x for w, x in zip(W, g)])
            m = [mu * a + x for a, x in zip(m, g)]
            W = [w - lr * a for w, a in zip(W, m)]
        elif rule == "polar factor of the gradient":
            W = [w - 0.05 * lr * polar(x) for w, x in zip(W, g)]
        elif rule == "polar factor of the momentum":
            m = [mu * a + x for a, x in zip(m, g)]
            W = [w - 0.05 * lr * polar(a) for w, a in zip(W, m)]
        elif rule == "Newton-Schulz 5 (Muon), shape factor, decay":
            m = [0.95 * a + x for a, x in zip(m, g)]
            W = [
                (1 - 0.05 * lr * lam) * w - 0.05 * lr * max(1, s[0] / s[1]) ** 0.5 * newton_schulz(x + 0.95 * a)
                for w, a, x, s in zip(W, m, g, shapes)
            ]
            f = f * (1 - 0.05 * lr * lam)
        elif rule == "Shampoo":
            if S["L"] is None:
                S["L"] = [[1e-4 * np.eye(w.shape[0]), 1e-4 * np.eye(w.shape[1])] for w in W]
            for i in range(d):
                S["L"][i][0] = S["L"][i][0] + g[i] @ g[i].T
                S["L"][i][1] = S["L"][i][1] + g[i].T @ g[i]
                W[i] = W[i] - 0.05 * lr * power(S["L"][i][0], -0.25) @ g[i] @ power(S["L"][i][1], -0.25)
        elif rule == "full-matrix Adagrad":
            if S["H"] is None:
                S["H"] = []
            S["H"].append(vec(g))
            A = np.array(S["H"])
            u, s, _ = svd(A.T, full_matrices=False)
            v = vec(g)  # (delta I + sum g g^T)^(-1/2) g, g in range(u)
            W = [w - lr * x for w, x in zip(W, unvec(u @ ((u.T @ v) / np.sqrt(DELTA + s**2)), W))]
        elif rule == "L-BFGS, fixed step":
            q = vec(g)
            x = vec(W)
            if "x" in S:
                S["mem"].append((x - S["x"], q - S["g"]))
                S["mem"] = S["mem"][-5:]
            S["x"], S["g"] = x, q.copy()
            al = []
            for s_, y_ in S["mem"][::-1]:
                a = s_ @ q / (s_ @ y_)
                al.append(a)
                q = q - a * y_
            if S["mem"]:
                s_, y_ = S["mem"][-1]
                q = q * (s_ @ y_) / (y_ @ y_)
            for (s_, y_), a in zip(S["mem"], al[::-1]):
                q = q + (a - y_ @ q / (s_ @ y_)) * s_
            W = unvec(x - (lr if not S["mem"] else 0.2) * q, W)
        elif rule == "Adam":
            m = [0.9 * a + 0.1 * x for a, x in zip(m, g)]
            S["V"] = [0.999 * a + 0.001 * x * x for a, x in zip(S.get("V", [0 * w for w in W]), g)]
            W = [w - 0.05 * lr * (a / (1 - 0.9**t)) / (np.sqrt(b / (1 - 0.999**t)) + 1e-8) for w, a, b in zip(W, m, S["V"])]
        elif rule == "sign":
            W = [w - 0.01 * lr * np.sign(x) for w, x in zip(W, g)]
        elif rule == "RMSprop":
            S["V"] = [0.99 * a + 0.01 * x * x for a, x in zip(S.get("V", [0 * w for w in W]), g)]
            W = [w - 0.05 * lr * x / (np.sqrt(b) + 1e-8) for w, x, b in zip(W, g, S["V"])]
        elif rule == "Adagrad":
            S["V"] = [a + x * x for a, x in zip(S.get("V", [0 * w for w in W]), g)]
            W = [w - 0.05 * lr * x / (np.sqrt(b) + 1e-8) for w, x, b in zip(W, g, S["V"])]
        else:
            raise ValueError(rule)
    return (S["ema"], S["fema"]) if "mean of weights" in rule else (W, f)


A = ["gradient descent", "heavy ball, coupled decay", "Nesterov (torch), coupled decay", "decoupled decay, cosine, mean of weights"]
B = [
    "clipping by the global norm, momentum",
    "normalised gradient",
    "normalised gradient of loss and decay",
    "GroupRMSprop",
    "trust ratio a layer, decay",
    "SAM, momentum",
]
C = [
    "polar factor of the gradient",
    "polar factor of the momentum",
    "Newton-Schulz 5 (Muon), shape factor, decay",
    "Shampoo",
    "full-matrix Adagrad",
    "L-BFGS, fixed step",
]
D = ["Adam", "RMSprop", "Adagrad", "sign"]
ks = [30, 40, 40, 40, 5]
W0 = gauss(rng, ks)
W0[1], W0[2] = 0.8 * orth(rng, 40), 0.8 * orth(rng, 40)
X = rng.standard_normal((6, 30))
T_ = rng.standard_normal((6, 5))
n = 6
Q = closure(W0, X.T)
E = rest(W0, Q)
Wh = small(W0, Q)
print("width: %s -> %s, closure %.0e" % (ks, [q.shape[1] for q in Q], closed(W0, Q)))
full_g = lambda W: gradient(W, X, "squared", T_, 0.5 / n)
red_g = lambda W: gradient(W, X @ Q[0], "squared", T_, 0.5 / n)
print("-- inputs and width: |full - lifted| relative; the same for a reduced start perturbed by 1e-15; how far the full run moved")
n2, sh = [norm(e) ** 2 for e in E], [x.shape for x in W0]
for cls, rules in (("a", A), ("b", B), ("c", C), ("d", D)):
    for r in rules:
        lr = 0.02 if "momentum" in r and "polar" not in r and "clipping" not in r or cls == "a" and r != A[0] else 0.1
        T = 50 if "BFGS" in r else 100
        W, _ = run(r, W0, full_g, T, lr)
        w, f = run(r, Wh, red_g, T, lr, n2, sh)
        z, _ = run(r, [a * (1 + 1e-15 * rng.standard_normal(a.shape)) for a in Wh], red_g, T, lr, n2, sh)
        print("(%s) %-48s %.1e   %.1e   moved %.2f" % (cls, r, rel(W, lift(E, w, Q, f)), rel(w, z), rel(W0, W)))
DELTA = 1e-4
for T in (20, 50, 100):
    W, _ = run(C[4], W0, full_g, T, 0.005)
    w, f = run(C[4], Wh, red_g, T, 0.005, n2, sh)
    z, _ = run(C[4], [a * (1 + 1e-15 * rng.standard_normal(a.shape)) for a in Wh], red_g, T, 0.005, n2, sh)
    print(
        "full-matrix Adagrad with delta = 1e-4, %3d steps: %.1e   %.1e (rounding outside the subspaces, divided by sqrt(delta), meets negative curvature: the full run is the wrong one)"
        % (T, rel(W, lift(E, w, Q, f)), rel(w, z))
    )
DELTA = 1.0
print("-- samples: 300 rows, 8 columns -> 8 rows (gradients are the same function, so every rule)")
X2 = rng.standard_normal((300, 8))
Y2 = rng.standard_normal((300, 3))
R = qr(np.hstack([X2, Y2]), mode="r")
W2 = gauss(rng, [8, 7, 3])
worst = 0
for r in A + B + C + D:
    a, _ = run(r, W2, lambda W: gradient(W, X2, "squared", Y2, 0.5 / 300), 100, 0.1)
    b, _ = run(r, W2, lambda W: gradient(W, R[:8, :8], "squared", R[:8, 8:], 0.5 / 300), 100, 0.1)
    e = rel(a, b)
    worst = max(worst, e if r not in ("sign",) else 0)
    if r in D + C[:3]:
        print("   %-48s %.1e" % (r, e))
print("largest of all rules but sign %.1e" % worst)
print("-- split: aligned network in rotated bases against one scalar a layer and mode, 60 steps")
k = [7, 6, 5, 4]
r = 4
U = [orth(rng, x) for x in k]
lam = rng.uniform(0.5, 2, 7)
s = np.zeros((4, 7))
s[:4, :4] = np.diag([2.0, 1.5, -1.0, 0.7])
Cm = U[0] @ np.diag(lam) @ U[0].T
M = U[3] @ s @ U[0].T
sg = rng.uniform(0.4, 1.2, (3, 4))
dia = lambda i: np.pad(np.diag(sg[i]), ((0, k[i + 1] - 4), (0, k[i] - 4)))
W3 = [U[i + 1] @ dia(i) @ U[i].T for i in range(3)]
gfull = lambda W: grads_G(W, end2end(W) @ Cm - M)
lm, q = lam[:4], np.diag(s[:, :4])


def gm(s_):
    s_ = np.array(s_)[:, :]
    e = lm * s_.prod(0) - q
    return np.array([e * np.prod(np.delete(s_, i, 0), 0) for i in range(3)])


def modes(rule, s0, T, lr):
    s_ = s0.copy()
    m = 0 * s_
    v = 0.0
    H = 0 * s_
    fr = lambda x: np.sqrt(np.sum(x * x))
    for t in range(1, T + 1):
        g = gm(s_)
        if rule == "heavy ball, coupled decay":
            m = 0.9 * m + g + 0.02 * s_
            s_ = s_ - lr * m
        elif rule == "normalised gradient":
            s_ = s_ - 0.1 * lr * g / (fr(g) + 1e-12)
        elif rule == "GroupRMSprop":
            v = 0.99 * v + 0.01 * fr(g) ** 2
            s_ = s_ - 0.1 * lr * g / (np.sqrt(v / (1 - 0.99**t)) + 1e-6)
        elif rule == "SAM, momentum":
            g = gm(s_ + 0.05 / fr(g) * g)
            m = 0.9 * m + g
            s_ = s_ - lr * m
        elif rule == "polar factor of the momentum":
            m = 0.9 * m + g
            s_ = s_ - 0.05 * lr * np.sign(m)
        elif rule == "Newton-Schulz 5 (Muon), shape factor, decay":
            m = 0.95 * m + g
            y = g + 0.95 * m
            y = y / (np.linalg.norm(y, axis=1, keepdims=True) + 1e-7)
            for _ in range(5):
                y = 3.4445 * y - 4.7750 * y**3 + 2.0315 * y**5
            s_ = (1 - 0.05 * lr * 0.02) * s_ - 0.05 * lr * y * np.array([max(1, k[i + 1] / k[i]) ** 0.5 for i in range(3)])[:, None]
        elif rule == "Shampoo":
            H = H + g * g
            s_ = s_ - 0.05 * lr * g / np.sqrt(1e-4 + H)
        else:
            raise ValueError
    return s_


for rule in (
    "heavy ball, coupled decay",
    "normalised gradient",
    "GroupRMSprop",
    "SAM, momentum",
    "polar factor of the momentum",
    "Newton-Schulz 5 (Muon), shape factor, decay",
    "Shampoo",
):
    lr = 0.02 if "SAM" in rule or "ball" in rule else 0.1
    W, _ = run(rule, W3, gfull, 60, lr)
    z = modes(rule, sg, 60, lr)
    dz = [U[i + 1] @ np.pad(np.diag(z[i]), ((0, k[i + 1] - 4), (0, k[i] - 4))) @ U[i].T for i in range(3)]
    print("   %-48s %.1e" % (rule, rel(W, dz)))
W, _ = run("SAM, momentum", W3, gfull, 40, 0.1)
z = modes("SAM, momentum", sg, 40, 0.1)
Bq = [U[i + 1].T @ W[i] @ U[i] for i in range(3)]
print(
    "   SAM at five times the rate, 40 steps: modes finite (largest %.2f), the matrix run lost alignment: off-diagonal %.1e (T4.7: transverse instability, not the reduction)"
    % (np.abs(z).max(), max(norm(b - np.pad(np.diag(np.diag(b)[:4]), ((0, b.shape[0] - 4), (0, b.shape[1] - 4)))) for b in Bq))
)
print("-- what the polar factor does to rounding: gradient of rank 5 in 40 x 40")
G = full_g(W0)[1]
u, sv, v = svd(G)
print(
    "singular values %.1e .. %.1e, then %.0e; |U V^T|_F^2 with all 40: %.2f, thin: %.2f, Newton-Schulz on the tail: x%.0f"
    % (sv[0], sv[4], sv[5], norm(u @ v) ** 2, norm(polar(G)) ** 2, 3.4445**5)
)
Gm, lamb = red_g(Wh)[0], 0.02
a = polar(Q[1] @ Gm @ Q[0].T + lamb * W0[0]) @ Q[0]
b = polar(Gm + lamb * Wh[0])
a2 = Q[2].T @ polar(full_g(W0)[1] + lamb * W0[1]) @ Q[1]
b2 = polar(red_g(Wh)[1] + lamb * Wh[1])
print(
    "coupled decay inside the polar factor: layer 1 off by %.2f (relative), layer 2 by %.1e, layer 2 complement equals the polar factor of E: %.1e"
    % (
        norm(a - Q[1] @ b) / norm(b),
        norm(a2 - b2) / norm(b2),
        norm(polar(full_g(W0)[1] + lamb * W0[1]) - Q[2] @ b2 @ Q[1].T - polar(E[1])) / norm(polar(E[1])),
    )
)
print(
    "-- counterexample (d): one sample x = (2, 1), one output, one step lr of the sign rule (Adam, Adagrad, RMSprop: the same up to a factor)"
)
x = np.array([2.0, 1.0])
print(
    "change of the prediction: full %.4f lr, reduced %.4f lr; part outside the data %.4f lr"
    % (np.sign(x) @ x, norm(x), abs(np.sign(x) @ np.array([1.0, -2.0])) / np.sqrt(5))
)
print("-- Adam where the closed subspaces are spanned by unit vectors (inputs that are always zero)")
Xz = X.copy()
Xz[:, 10:] = 0
W4 = gauss(rng, [30, 9, 5])
Wc = [W4[0][:, :10], W4[1]]
a, _ = run("Adam", W4, lambda W: gradient(W, Xz, "squared", T_, 0.1), 200, 0.1)
b, _ = run("Adam", Wc, lambda W: gradient(W, Xz[:, :10], "squared", T_, 0.1), 200, 0.1)
print(
    "|full - reduced| %.1e, columns outside moved %.1e"
    % (max(norm(a[0][:, :10] - b[0]), norm(a[1] - b[1])), norm(a[0][:, 10:] - W4[0][:, 10:]))
)
print("-- Adam and equal hidden units (a reflection that is a permutation): one representative a class")
mult = np.array([1, 2, 3.0])
W5 = gauss(rng, [6, 3, 2])
rep = np.repeat(np.arange(3), [1, 2, 3])
X6 = rng.standard_normal((5, 6))
Y6 = rng.standard_normal((5, 2))
a, _ = run("Adam", [W5[0][rep], W5[1][:, rep]], lambda W: gradient(W, X6, "squared", Y6, 0.1), 200, 0.1)


def rep_grad(W):
    g = gradient([W[0], W[1] * mult], X6, "squared", Y6, 0.1)
    return [g[0] / mult[:, None], g[1]]


b, _ = run("Adam", W5, rep_grad, 200, 0.1)
print("6 units in 3 classes against 3 representatives: %.1e" % max(norm(a[0] - b[0][rep]), norm(a[1] - b[1][:, rep])))
