"""Section 6: which structures can be diagonalised, and whether any start keeps a constrained layer aligned.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section06_obstruction.py
"""

import numpy as np
from common import criterion, grads_G, orth, sq_G
from numpy.linalg import norm, svd
from scipy.optimize import least_squares
from structures import conv1, defects, mat

rng = np.random.default_rng(6)


def E(i, j, m, k):
    A = np.zeros((m, k))
    A[i, j] = 1
    return A


def conv2(H, W, k):
    return [np.kron(a, b) for a in conv1(H, k) for b in conv1(W, k)]


def toep(m, k):
    return [np.eye(m, k, o) for o in range(-(m - 1), k)]


def mask(N, w):
    while True:
        M = np.zeros((N, N), bool)
        for i in range(N):
            M[i, rng.choice(N, w, replace=False)] = True
        return [E(i, j, N, N) for i, j in zip(*np.nonzero(M))], M


def symcirc(N):
    out = [np.eye(N)] + [np.roll(np.eye(N), a, 1) + np.roll(np.eye(N), -a, 1) for a in range(1, (N - 1) // 2 + 1)]
    return out + ([np.roll(np.eye(N), N // 2, 1)] if N % 2 == 0 else [])


def pair_defect(A, B):
    a, b = A @ B.T, A.T @ B
    return np.sqrt(norm(a - a.T) ** 2 + norm(b - b.T) ** 2) / (2 * norm(A) * norm(B))


def obstruction(bs):  # one random pair, probability-1 test
    return pair_defect(mat(bs, rng.standard_normal(len(bs))), mat(bs, rng.standard_normal(len(bs))))


def simult(bs):  # common usSVD bases from one random element
    U, s, Vt = svd(mat(bs, rng.standard_normal(len(bs))))
    off = 0
    for A in bs:
        D = U.T @ A @ Vt.T
        r = np.arange(min(D.shape))
        D[r, r] = 0
        off = max(off, norm(D) / norm(A))
    return off


def centre(bs):  # dim {B in S: B compatible with all of S}
    rows = []
    for A in bs:
        rows.append(np.stack([np.concatenate([(A @ B.T - B @ A.T).ravel(), (A.T @ B - B.T @ A).ravel()]) for B in bs], 1))
    return len(bs) - np.linalg.matrix_rank(np.vstack(rows), tol=1e-9)


N = 6
mk, M = mask(N, 3)
classes = [
    ("full 4x4", [E(i, j, 4, 4) for i in range(4) for j in range(4)]),
    ("conv1d same 3 taps N=6", conv1(6, 3)),
    ("conv1d same 5 taps N=8", conv1(8, 5)),
    ("conv2d same 3x3 on 4x4", conv2(4, 4, 3)),
    ("Toeplitz 6x6", toep(6, 6)),
    ("Toeplitz 4x7", toep(4, 7)),
    ("sparse mask 6x6, 3/row", mk),
    ("block diag 2x(3x3)", [np.kron(E(b, b, 2, 2), E(i, j, 3, 3)) for b in range(2) for i in range(3) for j in range(3)]),
    ("symmetric 4x4", [E(i, j, 4, 4) + E(j, i, 4, 4) if i != j else E(i, i, 4, 4) for i in range(4) for j in range(i, 4)]),
    ("circulant N=6", conv1(6, 5, True) + [np.roll(np.eye(6), 3, 1)]),
    ("symmetric circulant N=6", symcirc(6)),
    ("diagonal", [E(i, i, 5, 5) for i in range(5)]),
    ("sym. 3-tap [a b a] zero pad", [np.eye(6), np.eye(6, k=1) + np.eye(6, k=-1)]),
]


def ninj(bs):
    k = bs[0].shape[1]
    for n in range(1, k + 1):
        X = rng.standard_normal((n, k))
        J = np.stack([(A @ X.T).ravel() for A in bs], 1)
        if np.linalg.matrix_rank(J) == len(bs):
            return n


print("== 6.1/6.3 obstruction (0 iff simultaneously usSVD-diagonalisable), common-basis residual, centre, n_inj, ceil(r/k_out)")
for nm, bs in classes:
    print(
        "%-28s r=%2d  obstruction %.3e  common-basis off-diag %.1e  dim Z(S)=%d  n_inj=%d  ceil(r/k_out)=%d"
        % (nm, len(bs), obstruction(bs), simult(bs), centre(bs), ninj(bs), -(-len(bs) // bs[0].shape[0]))
    )
w = 0
wo = 0
for _ in range(200):
    m, k = rng.integers(2, 7, 2)
    U, V = orth(rng, m), orth(rng, k)
    r = int(rng.integers(1, min(m, k) + 1))
    bs = []
    for _ in range(r):
        S = np.zeros((m, k))
        l = min(m, k)
        S[np.arange(l), np.arange(l)] = rng.choice([-1, 0, 1, 2], l)
        bs.append(U @ S @ V.T)
    bs = [b for b in bs if norm(b)]
    if bs:
        w = max(w, obstruction(bs))
        wo = max(wo, simult(bs))
print("200 random diagonalisable families (ties, +-ties, zeros): obstruction max %.1e, recovered bases off-diag max %.1e" % (w, wo))
print("== 6.2 fixed aligned init, generic data: one GD step, relative off-diagonal part of the projected gradient in the init bases")


def first_step(bs, n, reps=5):
    out = []
    for _ in range(reps):
        F = np.stack([b.ravel() for b in bs], 1)
        Pi = F @ np.linalg.pinv(F)
        m, k = bs[0].shape
        W = mat(bs, rng.standard_normal(len(bs)))
        U, s, Vt = svd(W)
        X = rng.standard_normal((n, k))
        Y = rng.standard_normal((n, m))
        G = (Pi @ (W @ X.T @ X - Y.T @ X).ravel()).reshape(m, k)
        D = U.T @ G @ Vt.T
        o = D.copy()
        r = np.arange(min(m, k))
        o[r, r] = 0
        out.append(norm(o) / norm(D))
    return min(out)


for nm, bs in classes:
    print("%-28s" % nm, "  ".join("n=%d: %.1e" % (n, first_step(bs, n)) for n in (1, 2, 4, 16)))
print("== 6.4 data-dependent init, one trainable layer (d=1): exact existence test  min_h min_kappa ||L_h(theta*+kappa)||")


def exist(bs, X, Y):
    m, k = bs[0].shape
    J = np.stack([(X @ A.T).ravel() for A in bs], 1)
    F = np.stack([b.ravel() for b in bs], 1)
    Lc = np.linalg.cholesky(F.T @ F)
    J = J @ np.linalg.inv(Lc).T  # orthonormal coordinates
    bo = np.tensordot(np.linalg.inv(Lc), np.stack(bs), (1, 0)) if False else np.tensordot(np.linalg.inv(Lc), np.stack(bs), 1)
    U, s, Vt = svd(J, full_matrices=True)
    rho = int((s > 1e-10 * s[0]).sum())
    ths = Vt[:rho].T @ ((U[:, :rho].T @ Y.ravel()) / s[:rho])
    Ker = Vt[rho:].T
    best = 9
    dimN = 0
    cand = list(Vt[:rho])
    for i in range(rho):  # projections of theta* on (possibly degenerate) eigenspaces of H
        e = np.abs(s[:rho] - s[i]) < 1e-8 * s[0]
        h = Vt[:rho][e].T @ (Vt[:rho][e] @ ths)
        if e.sum() > 1 and norm(h) > 1e-12:
            cand.append(h / norm(h))
    for h in cand:
        Bh = np.tensordot(h, bo, 1)
        Lh = np.stack([np.concatenate([(A @ Bh.T - Bh @ A.T).ravel(), (A.T @ Bh - Bh.T @ A).ravel()]) for A in bo], 1)
        dimN = max(dimN, len(bs) - np.linalg.matrix_rank(Lh, tol=1e-9))
        z = np.linalg.lstsq(Lh @ Ker, -Lh @ ths, rcond=1e-10)[0] if Ker.shape[1] else np.zeros(0)
        best = min(best, norm(Lh @ (ths + Ker @ z)) / (2 * norm(ths)))
    return best, rho, dimN


for nm, bs in classes[1:]:
    m, k = bs[0].shape
    row = []
    for n in (1, 2, 3, 4, 6, 12):
        d = [exist(bs, rng.standard_normal((n, k)), rng.standard_normal((n, m))) for _ in range(5)]
        row.append("n=%d: %.0e (rho=%d, N=%d)" % (n, np.median([x[0] for x in d]), d[0][1], max(x[2] for x in d)))
    print("%-28s " % nm + "  ".join(row))
print("   rectangular output: a fixed read-out F (k_d=1 or 2) behind the conv layer")


def exist_F(bs, F, X, Y):
    # prediction F A(theta) x : same test with J = F A X^T
    J = np.stack([(F @ A @ X.T).ravel() for A in bs], 1)
    Fm = np.stack([b.ravel() for b in bs], 1)
    Lc = np.linalg.cholesky(Fm.T @ Fm)
    Li = np.linalg.inv(Lc)
    J = J @ Li.T
    bo = np.tensordot(Li, np.stack(bs), 1)
    U, s, Vt = svd(J, full_matrices=True)
    rho = int((s > 1e-10 * s[0]).sum())
    ths = Vt[:rho].T @ ((U[:, :rho].T @ Y.T.ravel()) / s[:rho])
    Ker = Vt[rho:].T
    best = 9
    for h in Vt[:rho]:
        Bh = np.tensordot(h, bo, 1)
        Lh = np.stack([np.concatenate([(A @ Bh.T - Bh @ A.T).ravel(), (A.T @ Bh - Bh.T @ A).ravel()]) for A in bo], 1)
        z = np.linalg.lstsq(Lh @ Ker, -Lh @ ths, rcond=1e-10)[0] if Ker.shape[1] else np.zeros(0)
        best = min(best, norm(Lh @ (ths + Ker @ z)) / (2 * norm(ths)))
    return best, rho


bs = conv1(8, 5)
for kd in (1, 2):
    print(
        "conv1d 5 taps N=8, k_d=%d: " % kd
        + "  ".join(
            "n=%d: %.0e (rho=%d)"
            % (
                n,
                *np.median(
                    [
                        exist_F(bs, rng.standard_normal((kd, 8)), rng.standard_normal((n, 8)), rng.standard_normal((n, kd)))
                        for _ in range(5)
                    ],
                    0,
                ),
            )
            for n in (1, 2, 3, 4, 5, 6, 10)
        )
    )
print("== 6.5 two trainable constrained layers: least squares over all inits, per-layer normalised gradients at t=0,1,2")


for nm, bs in (
    ("conv1d zero-pad 3 taps N=4", conv1(4, 3)),
    ("Toeplitz 3x3", toep(3, 3)),
    ("sparse 4x4, 2/row", mask(4, 2)[0]),
    ("symmetric circulant N=4", symcirc(4)),
):
    row = []
    for n in (1, 2, 8):
        best = []
        for rep in range(3):
            k = bs[0].shape[0]
            X = rng.standard_normal((n, k))
            Y = rng.standard_normal((n, k))
            C, M = X.T @ X / n, Y.T @ X / n
            best.append(
                min(norm(least_squares(defects, rng.standard_normal(2 * len(bs)), args=(bs, C, M), max_nfev=60).fun) for _ in range(6))
            )
        row.append("n=%d: min %.1e median %.1e" % (n, min(best), np.median(best)))
    print("%-28s " % nm + "  ".join(row), flush=True)
print("== 6.6 circulants: aligned at each instant, bases move; symmetric circulants: bases fixed, any data")


def circ(c):
    N = len(c)
    return sum(c[a] * np.roll(np.eye(N), a, 1) for a in range(N))


def dftbasis(N):
    t = np.arange(N)
    cols = [np.ones(N) / np.sqrt(N)]
    for f in range(1, (N - 1) // 2 + 1):
        cols += [np.sqrt(2 / N) * np.cos(2 * np.pi * f * t / N), np.sqrt(2 / N) * np.sin(2 * np.pi * f * t / N)]
    if N % 2 == 0:
        cols.append((-1.0) ** t / np.sqrt(N))
    return np.stack(cols, 1)


def circ_bases(Ws):
    N = Ws[0].shape[0]
    Qr = dftbasis(N)
    Q = [Qr]
    R = np.eye(N)
    for W in Ws:
        B = Qr.T @ W @ Qr
        S = np.eye(N)
        i = 1
        for f in range(1, (N - 1) // 2 + 1):
            b = B[i : i + 2, i : i + 2]
            rho = np.sqrt(abs(np.linalg.det(b)))
            S[i : i + 2, i : i + 2] = b / rho if rho > 1e-14 else np.eye(2)
            i += 2
        R = S @ R
        Q.append(Qr @ R)
    return Q


for N in (5, 6, 8):
    bs = [np.roll(np.eye(N), a, 1) for a in range(N)]
    Ws = [circ(rng.standard_normal(N) * 1.2 / np.sqrt(N)) for _ in range(4)]
    Q = circ_bases(Ws)
    off0 = max(norm(Q[i + 1].T @ W @ Q[i] - np.diag(np.diag(Q[i + 1].T @ W @ Q[i]))) for i, W in enumerate(Ws))
    X = rng.standard_normal((9, N))
    Y = rng.standard_normal((9, N))
    F = np.stack([b.ravel() for b in bs], 1)
    V = [w.copy() for w in Ws]
    for _ in range(400):
        g = grads_G(V, sq_G(V, X.T @ X / 9, Y.T @ X / 9))
        V = [w - 0.002 * (F @ (F.T @ x.ravel())).reshape(N, N) / N for w, x in zip(V, g)]
    Q2 = circ_bases(V)
    off1 = max(norm(Q2[i + 1].T @ W @ Q2[i] - np.diag(np.diag(Q2[i + 1].T @ W @ Q2[i]))) for i, W in enumerate(V))
    offf = max(norm(Q[i + 1].T @ W @ Q[i] - np.diag(np.diag(Q[i + 1].T @ W @ Q[i]))) / norm(W) for i, W in enumerate(V))
    print(
        "N=%d, d=4, random data: off-diagonal at t=0 %.1e, at t=400 in own bases %.1e, in the t=0 bases %.2f, (E) metric %.1e"
        % (N, off0, off1, offf, criterion(V))
    )
N = 6
bs = symcirc(N)
F = np.stack([b.ravel() for b in bs], 1)
V = [mat(bs, rng.standard_normal(len(bs)) / 3) for _ in range(3)]
Qr = dftbasis(N)
for _ in range(300):
    g = grads_G(V, sq_G(V, X[:, :6].T @ X[:, :6] / 9, Y[:, :6].T @ X[:, :6] / 9))
    V = [w - 0.003 * (F @ (F.T @ x.ravel())).reshape(N, N) for w, x in zip(V, g)]
print(
    "symmetric circulant, generic data, 300 steps: off-diagonal in the fixed real DFT basis %.1e"
    % max(norm(Qr.T @ W @ Qr - np.diag(np.diag(Qr.T @ W @ Qr))) for W in V)
)
print("== 6.7 zero-padded conv: drift of the alignment metric from an aligned init; reflection-augmented data keeps [a b a] aligned")
N = 8
bs = conv1(N, 3)
A = np.stack(bs)


def train(th, X, Y, steps, eta):
    th = [t.copy() for t in th]
    n = len(X)
    C, M = X.T @ X / n, Y.T @ X / n
    for _ in range(steps):
        Ws = [mat(bs, t) for t in th]
        g = grads_G(Ws, sq_G(Ws, C, M))
        th = [t - eta * np.tensordot(A, x, ([1, 2], [0, 1])) for t, x in zip(th, g)]
    return [mat(bs, t) for t in th]


for n in (1, 2, 8, 64, 512):
    X = rng.standard_normal((n, N))
    Y = rng.standard_normal((n, N))
    t1 = rng.standard_normal(3)
    r = [criterion(train(t, X, Y, s, 0.002)) for t in ([t1, t1[::-1]], [t1, np.array([0, 0.8, 0])]) for s in (0, 1, 300)]
    print("n=%3d: W2=W1^T init: t=0 %.0e, t=1 %.1e, t=300 %.1e | W2=0.8 I init: t=0 %.0e, t=1 %.1e, t=300 %.1e" % (n, *r))
X = rng.standard_normal((64, N))
Y = rng.standard_normal((64, N))
X = np.vstack([X, X[:, ::-1]])
Y = np.vstack([Y, Y[:, ::-1]])
out = train([np.array([0.3, 0.7, 0.3]), np.array([-0.2, 0.5, -0.2]), np.array([0.4, 0.6, 0.4])], X, Y, 300, 0.002)
i = np.arange(1, N + 1)
D = np.sqrt(2 / (N + 1)) * np.sin(np.pi * np.outer(i, i) / (N + 1))
print(
    "n=128 reflection-augmented, symmetric 3-tap kernels, d=3: off-diagonal in the sine basis %.1e, (E) %.1e"
    % (max(norm(D @ W @ D - np.diag(np.diag(D @ W @ D))) for W in out), criterion(out))
)
