"""Section 1: the criterion (E), alignment bases and their residuals, the bound on commutators, packing of lanes.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section01_alignment.py
"""

import itertools

import numpy as np
from common import align_bases, comm, criterion, ncomm, orth, random_aligned
from numpy.linalg import norm
from scipy.optimize import minimize

rng = np.random.default_rng(1)
print("== 1.1 two layers: commuting <=> generalised aligned")
w = 0
wr = 0
for _ in range(300):
    ks = rng.integers(1, 8, 3)
    Ws, _, _ = random_aligned(rng, ks)
    w = max(w, criterion(Ws))
    wr = max(wr, align_bases(Ws)[2])
print("max commutator metric %.1e, max residual %.1e over 300 random aligned pairs (degenerate, rank-deficient)" % (w, wr))
# strict counterexample
W1 = np.array([[1.0], [0.0]])
W2 = np.array([[0.0, 1.0]])
best = 9
for th in np.linspace(0, np.pi, 2001):
    for s in (1, -1):
        Q = np.array([[np.cos(th), -s * np.sin(th)], [np.sin(th), s * np.cos(th)]])
        a = Q.T @ W1
        b = W2 @ Q
        best = min(best, a[1, 0] ** 2 + b[0, 1] ** 2)
print(
    "(1,2,1) example: commutator %.1e, best strict off-diagonal^2 over O(2) = %.6f (total norm^2 = 2), rank[W1,W2^T]=%d > max(k0,k2)=1"
    % (ncomm(W1, W2), best, np.linalg.matrix_rank(np.hstack([W1, W2.T])))
)

print("== 1.2 chains")
bad = 0
mx = 0
mxr = 0
mall = 0
for t in range(300):
    d = int(rng.integers(2, 7))
    ks = rng.integers(1, 8, d + 1)
    Ws, _, _ = random_aligned(rng, ks)
    mx = max(mx, criterion(Ws))
    mall = max(mall, criterion(Ws, "all"))
    r = align_bases(Ws)[2]
    mxr = max(mxr, r)
print("300 aligned chains d=2..6: max (E) %.1e, max all (a,i,b) %.1e, max residual %.1e" % (mx, mall, mxr))
# counterexample: pairwise commuting but not aligned
A = np.diag([2.0, 1.0])
B = np.array([[1.0, 1.0], [0.0, 1.0]])
for m in range(1, 5):
    Ws = [A] + [np.eye(2)] * m + [B]
    Q, P, r = align_bases(Ws)
    print(
        "W1=diag(2,1), %d identities, W_d=[[1,1],[0,1]]: pairwise %.1e, (E) %.4f, residual %.4f"
        % (m, criterion(Ws, "pair") if m else 0, criterion(Ws), r)
    )
# a less trivial one: W2 has a repeated singular value but is not the identity
O = orth(rng, 4)
W2 = O @ np.diag([2.0, 2.0, 1.0, 1.0]) @ O.T
W1 = O @ np.diag([3.0, 2.0, 1.0, 0.5])
G = O.copy()
c, s = np.cos(0.4), np.sin(0.4)
R = np.eye(4)
R[:2, :2] = [[c, -s], [s, c]]
W3 = np.diag([1.0, 2.0, 3.0, 4.0]) @ R.T @ O.T
print(
    "repeated singular value W2=diag(2,2,1,1) rotated: pairwise %.1e, (E) %.4f, residual %.4f"
    % (criterion([W1, W2, W3], "pair"), criterion([W1, W2, W3]), align_bases([W1, W2, W3])[2])
)
# negative control + converse: small (E) <-> small residual under noise
for e in (1e-12, 1e-8, 1e-4, 1e-2):
    rs = []
    cs = []
    lows = []
    for t in range(40):
        d = int(rng.integers(2, 6))
        ks = rng.integers(2, 8, d + 1)
        Ws, _, _ = random_aligned(rng, ks)
        Ws = [x + e * norm(x) * rng.standard_normal(x.shape) / np.sqrt(x.size) for x in Ws]
        rs.append(align_bases(Ws)[2])
        cs.append(criterion(Ws))
    print("noise %.0e: residual median %.1e max %.1e ; (E) median %.1e max %.1e" % (e, np.median(rs), max(rs), np.median(cs), max(cs)))
# without the polish step, and graded spectra
for polish in (0, 2):
    rs = []
    for t in range(60):
        d = int(rng.integers(2, 6))
        ks = rng.integers(2, 8, d + 1)
        Ws, _, _ = random_aligned(rng, ks, levels=tuple(10.0 ** -np.arange(0, 13, 2.0)))
        rs.append(align_bases(Ws, polish=polish)[2])
    print("graded singular values 1..1e-12, polish=%d: residual median %.1e max %.1e" % (polish, np.median(rs), max(rs)))

print("== 1.3 sharp constant for PSD commutators")
m = 0
for _ in range(20000):
    k = int(rng.integers(2, 5))
    r = int(rng.integers(1, k + 1))
    F = rng.standard_normal((k, r))
    H = rng.standard_normal((k, int(rng.integers(1, k + 1))))
    a = F @ F.T
    b = H @ H.T
    m = max(m, norm(comm(a, b)) / (norm(a, 2) * norm(b)))
u = np.array([1.0, 0])
v = np.array([1.0, 1]) / np.sqrt(2)
a, b = np.outer(u, u), np.outer(v, v)
print(
    "max ||[A,B]||_F/(||A||_2||B||_F) over 20000 random PSD pairs: %.4f ; at rank one, 45 deg: %.6f ; bound 1/sqrt2=%.6f"
    % (m, norm(comm(a, b)) / norm(a) / norm(b), 1 / np.sqrt(2))
)


# hill-climb to look for a violation
def f(x, k):
    F = x[: k * k].reshape(k, k)
    H = x[k * k :].reshape(k, k)
    a = F @ F.T
    b = H @ H.T
    return -norm(comm(a, b)) / (norm(a) * norm(b))


bst = 0
for k in (2, 3, 4):
    for t in range(6):
        bst = min(bst, minimize(f, rng.standard_normal(2 * k * k), args=(k,), method="BFGS", options=dict(maxiter=300)).fun)
print("hill-climbed max of ||[A,B]||_F/(||A||_F||B||_F): %.6f" % -bst)
m = 0
for _ in range(200):
    p, k, q = rng.integers(1, 30, 3)
    W1 = rng.standard_normal((k, p))
    W2 = rng.standard_normal((q, k))
    a, b = W1 @ W1.T, W2.T @ W2
    ref = np.sqrt(2) * norm(comm(a, b)) / norm(a) / norm(b)
    m = max(m, abs(ref - ncomm(W1, W2)))
print("small-dimension formula vs direct: max abs difference %.1e" % m)
# cancellation in the trace formula
Ws, _, _ = random_aligned(rng, [6, 40, 6], levels=(3.0, 2.0, 1.0))
W1, W2 = Ws
Z = W2 @ W1
tr = 2 * (np.sum((W1.T @ W1) * (Z.T @ (W2 @ W2.T) @ Z)) - norm(Z.T @ Z) ** 2)
print(
    "aligned pair: QR form %.1e, trace form sqrt(|.|) %.1e (relative to ||A|| ||B||)"
    % (ncomm(W1, W2), np.sqrt(2 * abs(tr)) / norm(W1.T @ W1) / norm(W2 @ W2.T))
)
# lower bound on the distance to aligned chains from the commutator (d=2)
ok = True
rat = []
for _ in range(200):
    ks = rng.integers(2, 7, 3)
    Ws, _, _ = random_aligned(rng, ks, levels=(1.0, 0.5))
    Ws = [x / max(norm(x, 2), 1e-9) if norm(x) else x for x in Ws]
    e = 10 ** rng.uniform(-6, -1)
    D = [e * rng.standard_normal(x.shape) for x in Ws]
    W = [x + y for x, y in zip(Ws, D)]
    a, b = W[0] @ W[0].T, W[1].T @ W[1]
    n1, n2, e1, e2 = norm(W[0], 2), norm(W[1], 2), norm(D[0]), norm(D[1])
    low = norm(comm(a, b))
    up = n2**2 * (2 * n1 + e1) * e1 + (n1 + e1) ** 2 * (2 * n2 + e2) * e2
    ok &= low <= up * (1 + 1e-9)
    rat.append(low / up)
print("perturbation bound ||[A,B]|| <= ... holds in all 200: %s (max ratio %.2f)" % (ok, max(rat)))

print("== 1.4 strict packing for quasi-convex widths (lane assignment)")


def lanes(pats, ks):
    """join intervals at gaps; return True if every lane j stays inside {i: k_i >= j}"""
    d = len(pats)
    # follow chains: at each gap pair ended with started intervals arbitrarily
    lane = [np.full(k, -1) for k in ks]
    # decreasing then increasing profile
    m = int(np.argmin(ks))
    nxt = [{} for _ in range(d)]
    for i, P in enumerate(pats):
        r, c = np.nonzero(P)
        for a, b in zip(r, c):
            nxt[i][b] = a
        fr = [a for a in range(ks[i + 1]) if a not in nxt[i].values()]
        fc = [b for b in range(ks[i]) if b not in nxt[i]]
        for b, a in zip(fc, fr):
            nxt[i][b] = a  # concatenation with value 0
    # survivors at bottleneck get lanes 0..k_m-1, extend left and right, leftovers numbered outwards
    lane[m] = np.arange(ks[m])
    for i in range(m - 1, -1, -1):
        inv = {b: a for b, a in nxt[i].items()}
        new = ks[i + 1]
        for b in range(ks[i]):
            if b in inv:
                lane[i][b] = lane[i + 1][inv[b]]
            else:
                lane[i][b] = new
                new += 1
    for i in range(m, d):
        pre = {a: b for b, a in nxt[i].items()}
        new = ks[i]
        for a in range(ks[i + 1]):
            if a in pre:
                lane[i + 1][a] = lane[i][pre[a]]
            else:
                lane[i + 1][a] = new
                new += 1
    okk = all(sorted(l) == list(range(k)) for l, k in zip(lane, ks))
    for i, P in enumerate(pats):
        r, c = np.nonzero(P)
        okk &= all(lane[i + 1][a] == lane[i][b] for a, b in zip(r, c))
    return okk


cnt = 0
for _ in range(500):
    d = int(rng.integers(2, 8))
    ks = np.concatenate([np.sort(rng.integers(1, 8, d + 1))[::-1]])
    cut = int(rng.integers(0, d + 1))
    ks[cut:] = np.sort(ks[cut:])
    _, Ss, _ = random_aligned(rng, ks, rotate=False)
    cnt += lanes(Ss, list(ks))
print("quasi-convex width profiles packed strictly: %d / 500" % cnt)
# d=2 rank test with an interior peak: brute-force over packings

agree = 0
tot = 0
nstrict = 0
for _ in range(400):
    k0, k2 = rng.integers(1, 4, 2)
    k1 = max(k0, k2) + int(rng.integers(1, 3))
    ks = [k0, k1, k2]
    _, Ss, _ = random_aligned(rng, ks, rotate=False)
    r = np.linalg.matrix_rank(np.hstack([Ss[0], Ss[1].T]))
    pred = r <= max(k0, k2)
    # brute force: permutation of hidden units making both strictly diagonalisable by permutations outside
    okk = False
    for p in itertools.permutations(range(k1)):
        A = Ss[0][list(p)]
        Bm = Ss[1][:, list(p)]
        if not A[k0:].any() and not Bm[:, k2:].any():
            okk = True
            break
    agree += okk == pred
    tot += 1
    nstrict += okk
print("d=2 interior peak: rank test agrees with brute force %d / %d (strict in %d)" % (agree, tot, nstrict))
