"""Section 4: certified steps of one mode, rates, numbers of steps; T4.1 to T4.6.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section04_modes.py
"""

import numpy as np
from aligned_data import diag_init, joint_data
from common import end2end, gd, orth
from numpy.linalg import norm
from one_mode import Gam, gstar, step
from scipy.optimize import brentq

rng = np.random.default_rng(4)


def rnd(d, spread):
    s = 10 ** rng.uniform(-spread, 0.3, d)
    return s


print("== 4.2 certified step eta=1/(lam Gamma*): 0 < p0 <= q")
viol = 0
tot = 0
bad_rate = 0
worstG = 0
order = 0
imp = []
for t in range(4000):
    d = int(rng.integers(1, 11))
    s = np.sort(rnd(d, rng.choice([0.2, 1.0, 2.0])))
    lam = 10 ** rng.uniform(-2, 2)
    if t % 10 == 0 and d > 1:
        s[0] = 0.0
    p = np.prod(s)
    q = max(p, 1e-300) * 10 ** rng.uniform(0, 3) if s[0] else 10 ** rng.uniform(-1, 1)
    y = s**2
    gs = gstar(y, q)
    eta = rng.choice([1.0, 0.5, 0.1]) / (lam * gs)
    if s[0]:
        imp.append((1 / (lam * gs)) / (1 / (lam * q * q * np.sum(1 / y))))
    g0 = Gam(y)
    e0 = q - p
    e = e0
    for k in range(200):
        gk = Gam(s * s)
        sn = step(s, lam, q, eta)
        pn = np.prod(sn)
        en = q - pn
        tot += 1
        viol += (pn > q * (1 + 1e-13)) or (pn < p * (1 - 1e-14))
        tol = 1e-13 * q
        bad_rate += (
            not (e * (1 - eta * lam * gs) - tol <= en <= e * (1 - eta * lam * gk) + tol) or en > e0 * (1 - eta * lam * g0) ** (k + 1) + tol
        )
        order += np.any(np.diff(sn) < -1e-14 * sn[1:])
        worstG = max(worstG, Gam(sn * sn) / gs)
        s, p, e = sn, pn, en
        if e <= 1e-12 * q:
            break
imp = np.array(imp)
print(
    "%d steps: overshoot/non-monotone %d, rate-bound violations %d, order violations %d, max Gamma(t)/Gamma* = %.12f"
    % (tot, viol, bad_rate, order, worstG)
)
print("improvement over 1/(lam q^2 sum sigma^-2): median x%.3g, 90%% x%.3g, min x%.4f" % (np.median(imp), np.quantile(imp, 0.9), imp.min()))
# is 1/(lam Gamma*) the best possible for the property 'no overshoot for all t'?  d>=2, start near q
y = np.array([1.0, 1.0])
q = 1.0001
print(
    "tightness of no-overshoot: start p0=q(1-1e-4), eta=c/(lam Gamma*): "
    + ", ".join("c=%.2f overshoot=%s" % (c, np.prod(step(np.sqrt(y), 1.0, q, c / gstar(y, q))) > q) for c in (0.99, 1.0, 1.01))
)
print("== ratio certified eta / first non-convergent eta (single mode, scan in 2% steps)")


def conv(s, lam, q, eta, N=4000):
    for _ in range(N):
        s = step(s, lam, q, eta)
        p = np.prod(s)
        if not np.isfinite(p) or abs(p) > 1e8 * max(1, abs(q)):
            return False
        if abs(p - q) <= 1e-7 * q:
            return True
    return False


for name, mk in (
    ("balanced sigma=0.5,q=1", lambda d: (np.full(d, 0.5), 1.0)),
    ("balanced sigma=0.1,q=1", lambda d: (np.full(d, 0.1), 1.0)),
    ("unbalanced 2,.05,..", lambda d: (np.concatenate([[2.0], np.full(d - 1, 0.05)]), 1.0)),
    ("random 1e-1..2,q=3p..", None),
):
    for d in (2, 3, 5, 10):
        rs = []
        rb = []
        for rep in range(1 if mk else 12):
            s, q = mk(d) if mk else (rnd(d, 1.0), None)
            if q is None:
                q = np.prod(s) * 10 ** rng.uniform(0.1, 1.5)
            gs = gstar(s * s, q)
            m = 1.0
            if not conv(s, 1.0, q, 1 / gs):
                continue  # needs more than N steps (slow saddle escape): not counted
            while conv(s, 1.0, q, m / gs) and m < 60:
                m *= 1.02
            rs.append(1 / m)
            rb.append(gs / (q * q * np.sum(s**-2.0)) / m)
        if not rs:
            print("%-26s d=%2d: certified eta needs > 4000 steps (saddle escape), skipped" % (name, d))
            continue
        print(
            "%-26s d=%2d: eta_cert/eta_fail median %.3f min %.3f | eta_simple/eta_fail median %.2e"
            % (name, d, np.median(rs), min(rs), np.median(rb))
        )
print("== steps to relative error 1e-10 (balanced sigma=0.3, q=1, lam=1): simple, certified, adaptive; bound T")


def delta_exact(s, q):  # largest delta with prod(s_i+delta/s_i) <= q
    y = s * s
    p = np.prod(s)
    f = lambda z: np.sum(np.log1p(z / y)) - np.log(q / p)
    hi = np.log(q / p) * 1.0
    hi = y.max() * (q / p)
    return brentq(f, 0, hi, xtol=1e-300, rtol=1e-14)


for d in (2, 3, 5):
    s0 = np.full(d, 0.3)
    q = 1.0
    g0, gs = Gam(s0**2), gstar(s0**2, q)
    cnt = {}
    for nm, et in (("simple", 1 / (q * q * np.sum(s0**-2))), ("cert", 1 / gs)):
        s = s0
        k = 0
        while q - np.prod(s) > 1e-10 * q and k < 10**6:
            s = step(s, 1.0, q, et)
            k += 1
        T = np.log((q - np.prod(s0)) / 1e-10) / -np.log1p(-et * g0)
        cnt[nm] = (k, T)
    s = s0
    k = 0
    while q - np.prod(s) > 1e-10 * q and k < 10**5:
        p = np.prod(s)
        h = np.sum(1 / (s * s))
        et = np.log(q / p) / ((q - p) * p * h)
        s = step(s, 1.0, q, et)
        k += 1
    p0 = np.prod(s0)
    K = int(np.ceil(np.log2(q / (2 * p0))))
    et = 1 / gs
    geo = K if d == 2 else min(K, 1 / (1 - 2 ** (2 / d - 1)))
    T2 = K + 2 * p0 ** (2 / d - 1) / (et * q * d) * geo + np.log((q / 2) / (1e-10 * q)) / (et * d * (q / 2) ** (2 - 2 / d))
    pp = p0
    kk = 0
    while q - pp > 1e-10 * q and kk < 10**6:
        pp += et * (q - pp) * max(g0, d * pp ** (2 - 2 / d))
        kk += 1
    print("   two-phase closed bound %.0f, scalar F-iteration bound %d" % (T2, kk))
    print(
        "d=%d: simple %d steps (bound %.0f), certified %d (bound %.0f), adaptive ln(q/p)/((q-p)p sum 1/s^2): %d"
        % (d, *cnt["simple"], *cnt["cert"], k)
    )
bad = 0
n = 0
rt = []
for t in range(1500):
    d = int(rng.integers(2, 8))
    s = rnd(d, 0.5)
    p0 = np.prod(s)
    q = p0 * 10 ** rng.uniform(0.4, 2)
    g0, gs = Gam(s * s), gstar(s * s, q)
    et = rng.choice([1.0, 0.3]) / gs
    K = int(np.ceil(np.log2(q / (2 * p0))))
    geo = K if d == 2 else min(K, 1 / (1 - 2 ** (2 / d - 1)))
    T2 = K + 2 * p0 ** (2 / d - 1) / (et * q * d) * geo + np.log(0.5e8) / (et * d * (q / 2) ** (2 - 2 / d))
    if T2 > 5000:
        continue
    n += 1
    pp = p0
    F = 0
    ss = s
    k = 0
    while q - np.prod(ss) > 1e-8 * q:
        ss = step(ss, 1.0, q, et)
        k += 1
        pp += et * (q - pp) * max(g0, d * pp ** (2 - 2 / d))
        bad += np.prod(ss) < pp * (1 - 1e-12)
    while q - pp > 1e-8 * q:
        pp += et * (q - pp) * max(g0, d * pp ** (2 - 2 / d))
        F += 1
    F += k
    bad += k > T2 or k > F
    rt.append((T2 / k, F / k))
rt = np.array(rt)
print(
    "two-phase bound / F-iteration bound on %d random modes: violations %d, looseness T2/actual median %.1f, F/actual median %.2f"
    % (n, bad, *np.median(rt, 0))
)
print("== 4.3 p0 > q >= 0: eta = 1/(lam Gamma(0))")
v = r = tot = 0
fr = []
for t in range(3000):
    d = int(rng.integers(1, 9))
    s = rnd(d, 0.7)
    p = np.prod(s)
    pi = p
    q = p * rng.choice([0.0, 10 ** rng.uniform(-3, 0)])
    lam = 10 ** rng.uniform(-1, 1)
    g0 = Gam(s * s)
    eta = rng.choice([1.0, 0.5]) / (lam * g0)
    xm = np.max(s**-2.0)
    S0 = np.sum(s**-2.0)
    e0 = p - q
    for k in range(150):
        sn = step(s, lam, q, eta)
        pn = np.prod(sn)
        gk = Gam(s * s)
        tot += 1
        e = p - q
        en = pn - q
        v += pn < q - 1e-13 * pi or pn > p + 1e-13 * pi or np.any(sn < -1e-13)
        if p <= 1e-290 or e <= 1e-12 * e0:
            break
        u = eta * lam * e / p * gk  # = delta S_1
        r += (
            en > e * (1 - eta * lam * gk * (1 - u / 2)) + 1e-13 * p
            or en > e * (1 - (1 - np.exp(-1)) * eta * lam * gk) + 1e-13 * p
            or gk > g0 * (1 + 1e-12)
        )
        if q > 0:
            r += en > e * (1 - (1 - np.exp(-1)) * eta * lam * q * q * S0) + 1e-13 * p
        s, p = sn, pn
        if e <= 1e-12 * e0:
            break
print("%d steps: undershoot/sign/monotone violations %d, rate violations %d" % (tot, v, r))
print("== 4.4 q=0: smallest |sigma| unique -> linear, tie -> sublinear")
for s0 in ([1.0, 0.5, 1.2], [0.5, 0.5, 1.2], [0.5, 0.5, 0.5]):
    s = np.array(s0)
    lam = 1.0
    eta = 0.5 / Gam(s * s)
    m = np.argmin(s)
    g = np.prod([(s[l] - s[m]) ** 2 for l in range(3) if l != m])
    ps = []
    for k in range(4001):
        if k in (1000, 2000, 4000):
            ps.append(np.prod(s))
        s = step(s, lam, 0.0, eta)
    print(s0, "p at 1000,2000,4000:", ["%.2e" % x for x in ps], "guaranteed factor/step %.6f" % (1 - eta * g))
# check of guaranteed linear factor
v = 0
for t in range(2000):
    d = int(rng.integers(1, 7))
    s = rnd(d, 0.7)
    m = np.argmin(s)
    eta = 1.0 / Gam(s * s)
    g = np.prod([(s[l] - s[m]) ** 2 for l in range(d) if l != m])
    for k in range(60):
        p = np.prod(s)
        s = step(s, 1.0, 0.0, eta)
        v += np.prod(s) > p * (1 - eta * g) * (1 + 1e-12) + 1e-290
print("violations of p' <= (1-eta lam prod_{l!=m}(s_l-s_m)^2) p : %d" % v)
print("== 4.5 opposite sign: crossing certificate")
v = 0
tie = 0
N = 0
over = 0
tc = []
for t in range(2000):
    d = int(rng.integers(2, 8))
    s = np.sort(rnd(d, 0.5))
    p0 = np.prod(s)
    Q = 10 ** rng.uniform(-2, 2) * p0
    lam = 1.0
    y = s * s
    rest = np.prod(s[2:])
    eta = min(1 / gstar(y, Q), Q / ((Q + p0) * np.prod(y[1:])), 0.999 / ((Q + p0) * rest))
    # s>0, target -Q
    Tb = s[0] / (eta * Q * np.prod(s[1:] - s[0])) + 1
    if Tb > 2e4:
        continue
    N += 1
    k = 0
    ss = s.copy()
    while ss[0] > 0 and k <= Tb + 1:
        ss = step(ss, lam, -Q, eta)
        k += 1
        v += np.any(ss[1:] <= 0) or np.any(np.abs(ss[1:]) < s[1:] - s[0] - 1e-12)
    tc.append(k / Tb)
    v += ss[0] > 0 or np.prod(ss) < -Q * (1 + 1e-12)
    pr = np.prod(ss)
    for _ in range(300):
        ss = step(ss, lam, -Q, eta)
        pn = np.prod(ss)
        over += pn < -Q * (1 + 1e-12) or pn > pr + 1e-14 * Q
        pr = pn
print(
    "%d runs: violations before/at crossing %d, after crossing (overshoot/non-monotone) %d, crossing time / bound median %.2f max %.2f"
    % (N, v, over, np.median(tc), max(tc))
)
s = np.array([0.7, 0.7, 1.1])
for _ in range(20000):
    s = step(s, 1.0, -1.0, 0.1)
print("tie for the smallest layer (.7,.7,1.1), q=-1: after 20000 steps p=%.1e (stuck at the saddle p=0)" % np.prod(s))
print("== 4.6 whole network at eta = min_j eta_j: loss bound and step count")

v = 0
rat = []
for t in range(40):
    d = int(rng.integers(2, 5))
    k = int(rng.integers(2, 6))
    ks = [k] + [int(x) for x in rng.integers(k, 8, d - 1)] + [k]
    lam = rng.uniform(0.3, 2.0, k)
    s = lam * rng.uniform(0.5, 2.0, k)
    X, Y, U, V = joint_data(rng, 12, k, k, lam, s)
    Q = [V] + [orth(rng, x) for x in ks[1:-1]] + [U]
    Ws, Ss = diag_init(rng, ks, Q, lo=0.2, hi=0.7)
    qj = s / lam
    C, M = X.T @ X, Y.T @ X
    sg = np.array([[S[j, j] for S in Ss] for j in range(k)])
    p = sg.prod(1)
    for j in range(k):  # flip a sign so that p_j q_j > 0
        if p[j] < 0:
            Ss[0][j, j] *= -1
    Ws = [Q[i + 1] @ Ss[i] @ Q[i].T for i in range(d)]
    y = sg**2
    p = np.abs(p)
    eta = min(1 / (lam[j] * max(gstar(y[j], qj[j]), Gam(y[j]))) for j in range(k))
    kap = np.array([eta * lam[j] * Gam(y[j]) for j in range(k)])
    e0 = qj - p
    if np.any(e0 < 0):
        continue
    L0 = np.sum(0.5 * lam * e0**2)
    Lst = 0.5 * norm(X @ (M @ np.linalg.inv(C)).T - Y) ** 2
    eps = 1e-8 * L0
    T = int(np.ceil(np.log(L0 / eps) / (-2 * np.log1p(-kap.min()))))
    Wt = [w.copy() for w in Ws]
    hit = None
    for it in range(min(T, 5000) + 1):
        Lt = 0.5 * norm(X @ end2end(Wt).T - Y) ** 2 - Lst
        v += Lt > np.sum(0.5 * lam * e0**2 * (1 - kap) ** (2 * it)) * (1 + 1e-9) + 1e-12 * L0
        if hit is None and Lt <= eps:
            hit = it
        Wt = gd(Wt, C, M, eta, 1)
    if hit is not None:
        rat.append(hit / T)
print("bound violations %d; actual/certified number of steps to 1e-8: median %.3f, max %.3f" % (v, np.median(rat), max(rat)))
