"""Section 5: Gram matrices of parametrisations, and gradient descent on parameters against projected gradient descent.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section05_gram.py
"""

import numpy as np
from common import grads_G, sq_G
from numpy.linalg import norm

rng = np.random.default_rng(5)


def conv_basis(H, W, kh, kw, mode="same", stride=1, pad=None, dil=1):
    """list of matrices (HoWo x HW), one per tap (correlation convention)."""
    if mode == "circ":
        ph = pw = 0
    elif mode == "valid":
        ph = pw = 0
    else:
        ph, pw = ((kh - 1) * dil) // 2, ((kw - 1) * dil) // 2
    if pad is not None:
        ph = pw = pad
    Ho = H if mode == "circ" else (H + 2 * ph - dil * (kh - 1) - 1) // stride + 1
    Wo = W if mode == "circ" else (W + 2 * pw - dil * (kw - 1) - 1) // stride + 1
    out = []
    for a in range(kh):
        for b in range(kw):
            A = np.zeros((Ho * Wo, H * W))
            for o in range(Ho):
                for p in range(Wo):
                    i, j = stride * o + dil * a - ph, stride * p + dil * b - pw
                    if mode == "circ":
                        i %= H
                        j %= W
                    if 0 <= i < H and 0 <= j < W:
                        A[o * Wo + p, i * W + j] += 1
            out.append(A)
    return out


def gram(bs):
    F = np.stack([b.ravel() for b in bs], 1)
    return F.T @ F, F


def mult(Hin, Hout, k, stride, pad, dil):
    """number of outputs o in [0,Hout) with 0 <= stride*o + dil*a - pad < Hin, closed form"""
    r = []
    for a in range(k):
        t = dil * a - pad
        lo = max(0, -(t // stride) if t < 0 else 0)  # ceil(-t/stride)
        hi = min(Hout - 1, (Hin - 1 - t) // stride)
        r.append(max(0, hi - lo + 1))
    return np.array(r)


def report(name, bs):
    G, F = gram(bs)
    w = np.linalg.eigvalsh(G)
    nz = w[w > 1e-9 * w[-1]]
    # tight-frame test and one-step comparison on random gradient
    g = rng.standard_normal(F.shape[0])
    gd_ = F @ (F.T @ g)
    pr = F @ np.linalg.lstsq(F, g, rcond=None)[0]
    c = nz.mean()
    return "%-38s eig(Gram) in [%g,%g]  ||K g - c Pi g||/||c Pi g|| = %.1e" % (name, nz[0], nz[-1], norm(gd_ - c * pr) / norm(c * pr))


print("== 5.1 Gram multiplicities, closed form vs explicit matrices")
bad = 0
n = 0
for _ in range(200):
    H, W = (int(x) for x in rng.integers(3, 9, 2))
    kh, kw = (int(x) for x in rng.integers(1, 4, 2))
    st = int(rng.integers(1, 3))
    dl = int(rng.integers(1, 3))
    pad = int(rng.integers(0, 3))
    Ho, Wo = (H + 2 * pad - dl * (kh - 1) - 1) // st + 1, (W + 2 * pad - dl * (kw - 1) - 1) // st + 1
    if Ho < 1 or Wo < 1:
        continue
    G, _ = gram(conv_basis(H, W, kh, kw, "same", st, pad, dl))
    n += 1
    N = np.outer(mult(H, Ho, kh, st, pad, dl), mult(W, Wo, kw, st, pad, dl)).ravel()
    bad += not np.array_equal(G, np.diag(N.astype(float)))
print("zero-padded conv2d, random size/stride/pad/dilation: mismatches %d / %d" % (bad, n))
G, _ = gram(conv_basis(8, 8, 3, 3))
print("8x8 'same' 3x3 multiplicities (8-|a|)(8-|b|):", np.diag(G).astype(int).reshape(3, 3).tolist())
print("== 5.2 worked cases")
print(report("same conv2d 8x8, 3x3", conv_basis(8, 8, 3, 3)))
print(report("valid conv2d 8x8, 3x3", conv_basis(8, 8, 3, 3, "valid")))
print(report("circular conv2d 6x6, 3x3", conv_basis(6, 6, 3, 3, "circ")))
print(report("circular 1-D n=4, 6 taps (wraps)", conv_basis(1, 4, 1, 6, "circ")))
print(report("circular 1-D n=4, 8 taps (wraps twice)", conv_basis(1, 4, 1, 8, "circ")))
m, k = 5, 7
T = [np.eye(m, k, o) for o in range(-(m - 1), k)]
G, _ = gram(T)
assert np.array_equal(np.diag(G), [min(m, k - o) - max(0, -o) for o in range(-(m - 1), k)]) and np.array_equal(G, np.diag(np.diag(G)))
print(report("Toeplitz 5x7", T))


def E(i, j, m, k):
    A = np.zeros((m, k))
    A[i, j] = 1
    return A


print(report("sparse mask", [E(i, j, 5, 5) for i in range(5) for j in range(5) if rng.random() < 0.4]))
S1 = [E(i, j, 4, 4) + E(j, i, 4, 4) if i < j else E(i, i, 4, 4) for i in range(4) for j in range(i, 4)]
S2 = [(E(i, j, 4, 4) + E(j, i, 4, 4)) / np.sqrt(2) if i < j else E(i, i, 4, 4) for i in range(4) for j in range(i, 4)]
S3 = [(E(i, j, 4, 4) + E(j, i, 4, 4)) / 2 for i in range(4) for j in range(4)]
print(report("symmetric, E_ij+E_ji", S1))
print(report("symmetric, normalised", S2))
print(report("symmetric, (Th+Th^T)/2 frame", S3))
print(report("block diagonal 2 x (3x2)", [np.kron(E(b, b, 2, 2), E(i, j, 3, 2)) for b in range(2) for i in range(3) for j in range(2)]))
print(report("tied block diagonal I_4 (x) B", [np.kron(np.eye(4), E(i, j, 3, 2)) for i in range(3) for j in range(2)]))
print("== 5.3 whole-network iterates: GD on theta vs projected GD on W")


def run(bases, X, Y, eta, steps, mode, seed=0):
    r = np.random.default_rng(seed)
    F = [gram(b)[1] for b in bases]
    th = [r.standard_normal(f.shape[1]) / 3 for f in F]
    sh = [b[0].shape for b in bases]
    Ws = [(f @ t).reshape(s) for f, t, s in zip(F, th, sh)]
    cs = [np.mean([x for x in np.linalg.eigvalsh(f.T @ f) if x > 1e-9]) for f in F]
    Pi = [f @ np.linalg.pinv(f) for f in F]
    for _ in range(steps):
        g = grads_G(Ws, sq_G(Ws, X.T @ X, Y.T @ X))
        if mode == "theta":
            th = [t - eta * f.T @ x.ravel() for t, f, x in zip(th, F, g)]
            Ws = [(f @ t).reshape(s) for f, t, s in zip(F, th, sh)]
        elif mode == "proj":
            Ws = [w - eta * c * (P @ x.ravel()).reshape(s) for w, c, P, x, s in zip(Ws, cs, Pi, g, sh)]
        else:
            Ws = [w - eta * (f @ (f.T @ x.ravel())).reshape(s) for w, f, x, s in zip(Ws, F, g, sh)]
    return Ws


X = rng.standard_normal((8, 16)) / 4
Y = rng.standard_normal((8, 16))
for nm, b in (
    ("circular", conv_basis(4, 4, 3, 3, "circ")),
    ("zero-padded same", conv_basis(4, 4, 3, 3)),
    ("sparse mask", [E(i, j, 16, 16) for i in range(16) for j in range(16) if rng.random() < 0.3]),
):
    A, B, C = (run([b, b], X, Y, 0.002, 200, m) for m in ("theta", "proj", "pre"))
    print(
        "%-18s theta-GD vs projected GD (eta scaled by mean c): %.1e ; vs preconditioned K=AA^T: %.1e"
        % (nm, norm(A[0] - B[0]) / norm(A[0]), norm(A[0] - C[0]) / norm(A[0]))
    )
b = conv_basis(4, 4, 3, 3)
G, _ = gram(b)
b2 = [x / np.sqrt(g) for x, g in zip(b, np.diag(G))]
A, B = run([b2, b2], X, Y, 0.02, 200, "theta"), run([b2, b2], X, Y, 0.02, 200, "proj")
print("zero-padded same, taps rescaled by 1/sqrt(N): theta-GD vs projected GD: %.1e" % (norm(A[0] - B[0]) / norm(A[0])))
