"""Section 10: accuracy and cost of gradients from every pivot.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section10_pivots.py
"""

import time

import numpy as np
from common import end2end, orth
from numpy.linalg import norm
from pivot_gradients import backprop, pivoted

rng = np.random.default_rng(10)
LD = np.longdouble


def err(g, ref):
    return max(float(norm((a.astype(LD) - b).astype(float)) / norm(b.astype(float))) for a, b in zip(g, ref))


def case(nm, Ws, X, Y, pv=None):
    ref = backprop([w.astype(LD) for w in Ws], X.astype(LD), Y.astype(LD))
    d = len(Ws)
    e0 = err(backprop(Ws, X, Y), ref)
    es = [err(pivoted(Ws, X, Y, p), ref) for p in range(d + 1)]
    eg = [err(pivoted(Ws, X, Y, p, True), ref) for p in range(d + 1)]
    print(
        "%-44s backprop %.1e | pivots (data form) min %.1e median %.1e max %.1e (at p=%d) | Gram form min %.1e max %.1e"
        % (nm, e0, min(es), np.median(es), max(es), int(np.argmax(es)), min(eg), max(eg))
    )
    return e0, es, eg


# exactness in exact-ish arithmetic + correctness for random shapes
m = 0
for _ in range(100):
    d = int(rng.integers(1, 7))
    ks = rng.integers(1, 8, d + 1)
    Ws = [rng.standard_normal((ks[i + 1], ks[i])).astype(LD) for i in range(d)]
    n = int(rng.integers(1, 10))
    X = rng.standard_normal((n, ks[0])).astype(LD)
    Y = rng.standard_normal((n, ks[-1])).astype(LD)
    r = backprop(Ws, X, Y)
    for p in range(d + 1):
        for gm in (False, True):
            m = max(m, err(pivoted(Ws, X, Y, p, gm), r))
print("identity of all pivots with backprop (long double): %.1e" % m)
d, k, n = 20, 24, 24


def illc(cond, aligned=False, same=False):
    Ws = []
    Q = [orth(rng, k) for _ in range(d + 1)]
    for i in range(d):
        s = np.logspace(0, -np.log10(cond), k)
        s = s if same else rng.permutation(s)
        Ws.append(Q[i + 1] @ np.diag(s) @ Q[i].T if aligned else orth(rng, k) @ np.diag(s) @ orth(rng, k).T)
    g = np.exp(-np.log(max(norm(end2end(Ws), 2), 1e-300)) / d)
    return [w * g for w in Ws]


X, Y = rng.standard_normal((n, k)), rng.standard_normal((n, k))
res = {}
res["gauss"] = case("Gaussian/sqrt(k), d=20", [rng.standard_normal((k, k)) / np.sqrt(k) for _ in range(d)], X, Y)
for c in (1e1, 1e3, 1e6):
    res[c] = case("cond %.0e per layer, random bases, |P|=1" % c, illc(c), X, Y)
for c in (2.0, 1e1, 1e3):
    case("cond %.0e per layer, aligned same order" % c, illc(c, True, True), X, Y)
for c in (1e1, 1e3):
    case("cond %.0e per layer, aligned permuted" % c, illc(c, True), X, Y)
Ws = illc(10.0)
P = end2end(Ws)
case("cond 10, near interpolation |D|/|Y|=1e-6", Ws, X, X @ P.T + 1e-6 * rng.standard_normal((n, k)))
case("cond 10, X ill-conditioned 1e8", Ws, X @ np.diag(np.logspace(0, -8, k)), Y)
case("cond 10, least-squares noise n=200", Ws, rng.standard_normal((200, k)), rng.standard_normal((200, k)))
ks = [24, 24, 24, 24, 24, 24, 24, 24, 2] + [24] * 12
Wb = [rng.standard_normal((ks[i + 1], ks[i])) / np.sqrt(ks[i]) for i in range(20)]
e0, es, eg = case("bottleneck k_8=2", Wb, X, Y)
print("   error at the bottleneck pivot p=8: %.1e" % es[8])
for c in (1e3, 1e6):
    print("   per-pivot errors, cond %.0e:" % c, " ".join("%.0e" % x for x in res[c][1]))
# many repetitions: ratio of pivot error to backprop error
rt = []
rg = []
for _ in range(25):
    W = illc(10 ** rng.uniform(0, 6))
    X, Y = rng.standard_normal((n, k)), rng.standard_normal((n, k))
    ref = backprop([w.astype(LD) for w in W], X.astype(LD), Y.astype(LD))
    e0 = err(backprop(W, X, Y), ref)
    rt.append([err(pivoted(W, X, Y, p), ref) / e0 for p in (0, 5, 10, 15, 20)])
    rg.append([err(pivoted(W, X, Y, p, True), ref) / e0 for p in (0, 5, 10, 15, 20)])
print(
    "25 random nets: error(pivot)/error(backprop), p=0,5,10,15,20: median",
    np.round(np.median(rt, 0), 2),
    "max",
    np.round(np.max(rt, 0), 1),
    "| Gram form median",
    np.round(np.median(rg, 0), 2),
    "max",
    np.round(np.max(rg, 0), 1),
)


# cost model check (MACs counted)
def macs(ks, n, p=None):
    d = len(ks) - 1
    par = [ks[i] * ks[i + 1] for i in range(d)]
    if p is None:
        return n * (3 * sum(par) - par[0])
    kp = ks[p]
    c = 0
    c += kp * (sum(par[p + 1 :]) if p < d else 0)  # F products after the first (first is a copy)
    c += kp * (sum(par[: p - 1]) if p > 0 else 0)  # B products
    c += (n * kp * ks[0] if p > 0 else 0) + (n * kp * ks[-1] if p < d else 0)  # Z, U Z
    c += n * kp * ks[-1] if p > 0 or p < d else 0  # E
    c += n * kp * (ks[-1] if p < d else 0) + n * kp * ks[0]  # T
    c += (
        kp * sum(par) + kp * (sum(par[p + 1 :]) if p < d else 0) + kp * (sum(par[: p - 1]) if p > 0 else 0)
    )  # gradients, upper adjoint, lower forward
    return c


for ks, n in (
    ([512, 512, 512, 4, 512, 512, 10], 512),
    ([784, 256, 256, 10], 784),
    ([10, 512, 512, 512, 10], 60),
    ([300, 300, 300, 300], 300),
    ([784, 512, 512, 1], 784),
):
    c = [macs(ks, n, p) for p in range(len(ks))]
    b = macs(ks, n)
    p = int(np.argmin(c))
    Ws = [rng.standard_normal((ks[i + 1], ks[i])) / np.sqrt(ks[i]) for i in range(len(ks) - 1)]
    X = rng.standard_normal((n, ks[0]))
    Y = rng.standard_normal((n, ks[-1]))

    def tm(f):
        f()
        t = []
        for _ in range(5):
            a = time.perf_counter()
            f()
            t.append(time.perf_counter() - a)
        return min(t)

    t0, t1 = tm(lambda: backprop(Ws, X, Y)), tm(lambda: pivoted(Ws, X, Y, p))
    print(
        "%-34s rows %d: backprop %.1f MMAC, best pivot %d: %.2f MMAC (x%.1f fewer; 3 k_p sum params = %.2f) ; measured time ratio %.1f"
        % (ks, n, b / 1e6, p, c[p] / 1e6, b / c[p], 3 * ks[p] * sum(ks[i] * ks[i + 1] for i in range(len(ks) - 1)) / 1e6, t0 / t1)
    )
