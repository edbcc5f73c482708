"""Shared by the checks: chains, gradients of the squared loss, the criterion (E), alignment bases."""

import os

for _v in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_v, "1")
import numpy as np
from numpy.linalg import norm, qr, svd

EPS = np.finfo(float).eps


def orth(rng, k):
    q, r = qr(rng.standard_normal((k, k)))
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)


def prod(Ws, lo, hi):
    """W_hi ... W_lo with 1-based layer numbers (identity if hi<lo)."""
    if hi < lo:
        k = Ws[lo - 1].shape[1] if lo - 1 < len(Ws) else Ws[-1].shape[0]
        return np.eye(k)
    P = Ws[lo - 1]
    for l in range(lo, hi):
        P = Ws[l] @ P
    return P


def end2end(Ws):
    return prod(Ws, 1, len(Ws))


def grads_G(Ws, G):
    """All dL/dW_i = W_{d:i+1}^T G W_{i-1:1}^T given G = dL/dP (k_d x k_0)."""
    d = len(Ws)
    out = [None] * d
    T = G  # W_{d:i+1}^T G, shrinking from the left
    left = [None] * d
    for i in range(d - 1, -1, -1):
        left[i] = T
        T = Ws[i].T @ T
    R = None
    for i in range(d):
        out[i] = left[i] if R is None else left[i] @ R.T
        R = Ws[i] if R is None else Ws[i] @ R
    return out


def sq_G(Ws, C, M):
    return end2end(Ws) @ C - M


def gd(Ws, C, M, eta, steps):
    Ws = [w.copy() for w in Ws]
    for _ in range(steps):
        g = grads_G(Ws, sq_G(Ws, C, M))
        Ws = [w - eta * x for w, x in zip(Ws, g)]
    return Ws


def comm(A, B):
    return A @ B - B @ A


def ncomm(W1, W2, floor=0.0):
    """sqrt2 ||[A,B]||_F / max(||A||_F ||B||_F, floor), A = W1 W1^T, B = W2^T W2, in [0,1], small-dim cost."""
    k = W1.shape[0]
    if W1.shape[1] + W2.shape[0] < k:
        R = qr(np.hstack([W1, W2.T]), mode="r")
        W1, W2 = R[:, : W1.shape[1]], R[:, W1.shape[1] :].T
    Z = W2 @ W1
    K = W1 @ Z.T @ W2
    na = norm(W1 @ W1.T) if W1.shape[0] <= W1.shape[1] else norm(W1.T @ W1)
    nb = norm(W2.T @ W2) if W2.shape[1] <= W2.shape[0] else norm(W2 @ W2.T)
    den = na * nb
    den = max(den, floor)
    return 0.0 if den == 0 else np.sqrt(2) * norm(K - K.T) / den


# ---------- section 1: alignment bases --------------------------------------------------
FLOOR = 1e-13


def _joint_right(blocks, k, rng, floor=FLOOR):
    """Right singular vectors of the stacked, normalised, randomly weighted blocks: a joint
    eigenbasis of {B^T B} when these commute (no squaring of the data)."""
    rows = []
    for B, scale in blocks:
        nb = norm(B)
        if nb > floor * scale:  # a product that is rounding noise carries no information
            rows.append(B * (rng.uniform(1.0, 2.0) / nb))
    if not rows:
        return np.eye(k)
    K = np.vstack(rows)
    if K.shape[0] > 2 * k:
        K = qr(K, mode="r")
    return svd(K, full_matrices=True)[2].T


def align_bases(Ws, polish=2, target=1e-14, tols=None, seeds=(0, 1)):
    """Best of several tolerances / both sweep directions; the residual certifies the answer."""
    best = None
    for seed in seeds:
        for tol in tols or (1e-13, 1e-10, 1e-7, 1e-5, 1e-3, 1e-2, 3e-2):
            for rev in (False, True):
                V = [w.T for w in Ws[::-1]] if rev else Ws
                Q = _sweep(V, tol, seed)
                Q = Q[::-1] if rev else Q
                p, r = pattern(Ws, Q)
                if best is None or r < best[2]:
                    best = (Q, p, r)
                if best[2] <= target:
                    return best
    Qs, pat, res = best
    for _ in range(polish):
        Q2 = polish_step(Ws, Qs, pat)
        p2, r2 = pattern(Ws, Q2)
        if not r2 < res:
            break
        Qs, pat, res = Q2, p2, r2
    return Qs, pat, res


def _sweep(Ws, tol=1e-12, seed=0):
    """Forward sweep.  Returns Qs, lanes(list of G_i pattern), residual (relative, Frobenius)."""
    rng = np.random.default_rng(seed)
    d = len(Ws)
    ks = [Ws[0].shape[1]] + [w.shape[0] for w in Ws]
    # suffix products from every vertex: R_i = [W_{b:i+1}]_b
    suf = [None] * (d + 1)
    suf[d] = []
    for i in range(d - 1, -1, -1):
        w2 = norm(Ws[i])
        suf[i] = [(Ws[i], w2)] + [(B @ Ws[i], sc * w2) for B, sc in suf[i + 1]]
    Qs = [_joint_right(suf[0], ks[0], rng, tol)]
    for i in range(1, d + 1):
        W = Ws[i - 1]
        Z = W @ Qs[-1]
        nz = norm(Z, axis=0)
        sc = norm(W, 2) if min(W.shape) else 0.0
        idx = np.argsort(-nz, kind="stable")
        idx = idx[nz[idx] > tol * max(sc, 1e-300)][: ks[i]]
        Q, R = qr(Z[:, idx], mode="complete") if len(idx) else (np.eye(ks[i]), None)
        if R is not None:
            s = np.sign(np.diag(R))
            s[s == 0] = 1
            Q[:, : len(idx)] *= s[: len(idx)]
        N = Q[:, len(idx) :]
        if N.shape[1] > 1 and i < d:
            N = N @ _joint_right([(B @ N, sc) for B, sc in suf[i]], N.shape[1], rng, tol)
        Qs.append(np.hstack([Q[:, : len(idx)], N]))
    return Qs


def pattern(Ws, Qs):
    """Greedy generalised-diagonal pattern of E_i=Q_i^T W_i Q_{i-1} and the relative residual."""
    pats, off, tot = [], 0.0, 0.0
    for i, W in enumerate(Ws):
        E = Qs[i + 1].T @ W @ Qs[i]
        A = np.abs(E).copy()
        P = np.zeros_like(E)
        thr = 0.0
        order = np.argsort(-A, axis=None)
        ru = np.zeros(E.shape[0], bool)
        cu = np.zeros(E.shape[1], bool)
        left = min(E.shape)
        for o in order:
            r, c = divmod(int(o), E.shape[1])
            if A[r, c] <= thr or left == 0:
                break
            if ru[r] or cu[c]:
                continue
            P[r, c] = E[r, c]
            ru[r] = cu[c] = True
            left -= 1
        pats.append(P)
        off += norm(E - P) ** 2
        tot += norm(W) ** 2
    return pats, np.sqrt(off / tot) if tot else 0.0


def polish_step(Ws, Qs, pats):
    """One Gauss-Newton step on skew generators Omega_i (Q_i <- Q_i cay(Omega_i)); small dims only
    (dense least squares; a production version solves one tridiagonal system per pair of lanes)."""
    d = len(Ws)
    ks = [q.shape[0] for q in Qs]
    off, base = [], 0
    for k in ks:
        off.append(base)
        base += k * (k - 1) // 2
    if base == 0 or base > 1500:
        return Qs
    idx = [np.triu_indices(k, 1) for k in ks]
    rows, rhs = [], []
    for i in range(d):
        E = Qs[i + 1].T @ Ws[i] @ Qs[i]
        G = pats[i]
        D = E - G
        J = np.zeros((D.size, base))
        # E_new = E - Om_{i+1} G + G Om_i ;  want off-pattern part zero
        for t, (a, b) in enumerate(zip(*idx[i + 1])):
            X = np.zeros_like(D)
            X[a] += -G[b]
            X[b] += G[a]
            J[:, off[i + 1] + t] = X.ravel()
        for t, (a, b) in enumerate(zip(*idx[i])):
            X = np.zeros_like(D)
            X[:, b] += G[:, a]
            X[:, a] -= G[:, b]
            J[:, off[i] + t] = X.ravel()
        keep = (G == 0).ravel()
        rows.append(J[keep])
        rhs.append(-D.ravel()[keep])
    sol = np.linalg.lstsq(np.vstack(rows), np.concatenate(rhs), rcond=1e-10)[0]
    out = []
    for i, k in enumerate(ks):
        O = np.zeros((k, k))
        O[idx[i]] = sol[off[i] : off[i] + len(idx[i][0])]
        O = O - O.T
        C = np.linalg.solve(np.eye(k) - O / 2, np.eye(k) + O / 2)
        q, r = qr(Qs[i] @ C)
        out.append(q * np.where(np.diag(r) < 0, -1.0, 1.0))
    return out


def criterion(Ws, which="E"):
    """max normalised commutator over (E): [W_i W_i^T, R_{i,b}] for 1<=i<b<=d ; which='pair': only b=i+1;
    which='all': every (a,i,b)."""
    d = len(Ws)
    m = 0.0
    for i in range(1, d):
        for b in range(i + 1, d + 1):
            if which == "pair" and b > i + 1:
                continue
            As = [i] if which != "all" else range(1, i + 1)
            for a1 in As:
                sc = np.prod([norm(Ws[l]) ** 2 for l in range(a1 - 1, b)])
                m = max(m, ncomm(prod(Ws, a1, i), prod(Ws, i + 1, b), floor=1e-12 * sc))
    return m


def random_aligned(rng, ks, intervals=None, levels=(2.0, 1.0, 0.5), rotate=True):
    """A generalised-aligned chain made of random intervals with singular values from a small set
    (so heavily degenerate)."""
    d = len(ks) - 1
    free = [list(rng.permutation(k)) for k in ks]
    Ss = [np.zeros((ks[i + 1], ks[i])) for i in range(d)]
    for a in range(d):
        while free[a]:
            j = free[a].pop()
            i = a
            while i < d and free[i + 1] and rng.random() < 0.75:
                l = free[i + 1].pop()
                Ss[i][l, j] = rng.choice(levels) * rng.choice([-1, 1])
                j = l
                i += 1
    Q = [orth(rng, k) if rotate else np.eye(k) for k in ks]
    return [Q[i + 1] @ Ss[i] @ Q[i].T for i in range(d)], Ss, Q
