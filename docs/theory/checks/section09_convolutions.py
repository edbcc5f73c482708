"""Section 9: chains of convolutions as one kernel, Gram matrices of patches, frequencies.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section09_convolutions.py
"""

import numpy as np
from numpy.linalg import norm

rng = np.random.default_rng(9)


# kernels K_l: (c_out, c_in, m) ; correlation convention z[o,t] = sum_{c,a} K[o,c,a] x[c, s t + a]
def corr(x, K, s=1, mode="valid"):
    c, N = x.shape
    o, _, m = K.shape
    if mode == "circ":
        T = N
        idx = (np.arange(T)[:, None] + np.arange(m)) % N
    else:
        T = (N - m) // s + 1
        idx = s * np.arange(T)[:, None] + np.arange(m)
    return np.einsum("oca,cta->ot", K, x[:, idx])


def compose(K2, K1, s1=1):
    """kernel of corr(.,K2) after corr(.,K1, stride s1): K[o,c,s1*a2+a1] += K2[o,e,a2] K1[e,c,a1]"""
    m = s1 * (K2.shape[2] - 1) + K1.shape[2]
    K = np.zeros((K2.shape[0], K1.shape[1], m))
    for a in range(K2.shape[2]):
        K[:, :, s1 * a : s1 * a + K1.shape[2]] += np.einsum("oe,eca->oca", K2[:, :, a], K1)
    return K


mx = 0
for t in range(200):
    d = int(rng.integers(1, 5))
    cs = rng.integers(1, 4, d + 1)
    ms = rng.integers(1, 4, d)
    ss = rng.integers(1, 3, d)
    N = 60
    Ks = [rng.standard_normal((cs[i + 1], cs[i], ms[i])) for i in range(d)]
    x = rng.standard_normal((cs[0], N))
    z = x
    for K, s in zip(Ks, ss):
        z = corr(z, K, s)
    K = Ks[0]
    S = ss[0]
    for i in range(1, d):
        K = compose(Ks[i], K, S)
        S *= ss[i]
    T = z.shape[1]
    zz = corr(x, K, S)
    m_pred = 1 + sum((ms[i] - 1) * int(np.prod(ss[:i])) for i in range(d))
    assert K.shape[2] == m_pred and zz.shape[1] == T, (zz.shape, T)
    mx = max(mx, norm(zz - z) / max(norm(z), 1e-300))
print(
    "valid, multi-channel, random strides: composed kernel vs chain %.1e; length 1+sum (m_l-1) prod_{j<l} s_j verified; output length floor identity verified"
    % mx
)


def im2col(xs, m, s, mode="valid"):
    out = []
    for x in xs:
        N = x.shape[1]
        idx = (np.arange(N)[:, None] + np.arange(m)) % N if mode == "circ" else s * np.arange((N - m) // s + 1)[:, None] + np.arange(m)
        out.append(x[:, idx].transpose(1, 0, 2).reshape(len(idx), -1))
    return np.vstack(out)


def chain_loss_grad(Ks, ss, xs, ys, mode="valid"):
    """reference: direct backprop through the conv chain"""
    d = len(Ks)
    L = 0
    g = [0 * K for K in Ks]
    for x, y in zip(xs, ys):
        zs = [x]
        for K, s in zip(Ks, ss):
            zs.append(corr(zs[-1], K, s, mode))
        D = zs[-1] - y
        L += 0.5 * np.sum(D * D)
        for i in range(d - 1, -1, -1):
            z = zs[i]
            m = Ks[i].shape[2]
            N = z.shape[1]
            T = D.shape[1]
            idx = (np.arange(T)[:, None] + np.arange(m)) % N if mode == "circ" else ss[i] * np.arange(T)[:, None] + np.arange(m)
            g[i] += np.einsum("ot,cta->oca", D, z[:, idx])
            B = np.zeros_like(z)
            np.add.at(B.T, idx.ravel(), np.einsum("ot,oca->tac", D, Ks[i]).reshape(-1, z.shape[0]))
            D = B
    return L, g


def gram_loss_grad(Ks, ss, C, M, yy):
    """only the patch Gram C (c0 m x c0 m), cross term M (c_d x c0 m) and |Y|^2; prefix/suffix kernels"""
    d = len(Ks)
    pre = [None] * (d + 1)
    S = [1]
    for s in ss:
        S.append(S[-1] * s)
    K = None
    for i in range(d):
        pre[i] = K
        K = Ks[i] if K is None else compose(Ks[i], K, S[i])
    Kf = K.reshape(K.shape[0], -1)
    G = Kf @ C - M
    L = 0.5 * np.sum((Kf @ C - 2 * M) * Kf) + 0.5 * yy
    G = G.reshape(K.shape)
    suf = None
    out = [None] * d
    # suf: suffix kernel K_d*...*K_{l+1} on the grid after layer l
    for i in range(d - 1, -1, -1):
        Km = Ks[i]
        P = pre[i] if pre[i] is not None else np.eye(Km.shape[1])[:, :, None]
        Q = suf if suf is not None else np.eye(Km.shape[0])[:, :, None]
        A = np.zeros_like(Km)
        s1, s2 = S[i], S[i] * ss[i]  # composite index = s2*b + s1*a + c
        for b in range(Q.shape[2]):
            for a in range(Km.shape[2]):
                o = s2 * b + s1 * a
                A[:, :, a] += Q[:, :, b].T @ np.einsum("oxc,exc->oe", G[:, :, o : o + P.shape[2]], P)
        out[i] = A
        suf = Km if suf is None else compose(suf, Km, ss[i])
    return L, out


mL = mG = 0
for t in range(60):
    mode = ("valid", "circ")[t % 2]
    d = int(rng.integers(1, 5))
    cs = rng.integers(1, 4, d + 1)
    ms = rng.integers(1, 4, d)
    ss = rng.integers(1, 3, d) if mode == "valid" else np.ones(d, int)
    N = 40
    Ks = [rng.standard_normal((cs[i + 1], cs[i], ms[i])) / 2 for i in range(d)]
    xs = rng.standard_normal((3, cs[0], N))
    z = [x for x in xs]
    for K, s in zip(Ks, ss):
        z = [corr(x, K, s, mode) for x in z]
    ys = [x + rng.standard_normal(x.shape) for x in z]
    m = 1 + sum((ms[i] - 1) * int(np.prod(ss[:i])) for i in range(d))
    S = int(np.prod(ss))
    Phi = im2col(xs, m, S, mode)
    Phi = Phi if mode == "circ" else np.vstack([im2col([x], m, S)[: y.shape[1]] for x, y in zip(xs, ys)])
    Yp = np.vstack([y.T for y in ys])
    L0, g0 = chain_loss_grad(Ks, ss, xs, ys, mode)
    L1, g1 = gram_loss_grad(Ks, ss, Phi.T @ Phi, Yp.T @ Phi, np.sum(Yp * Yp))
    mL = max(mL, abs(L0 - L1) / L0)
    mG = max(mG, max(norm(a - b) / max(norm(a), 1e-12) for a, b in zip(g0, g1)))
print("loss/gradients from the patch Gram vs direct backprop (valid+stride, circular): %.1e / %.1e" % (mL, mG))
# circular: block-Toeplitz Gram from autocorrelations (FFT), 2m-1 lags
N, c, m, n = 32, 2, 5, 7
xs = rng.standard_normal((n, c, N))
Phi = im2col(xs, m, 1, "circ")
C = Phi.T @ Phi
Fx = np.fft.fft(xs, axis=2)
ac = np.fft.ifft(np.einsum("icf,ief->cef", Fx.conj(), Fx), axis=2).real  # ac[c,e,l] = sum_t x_c[t] x_e[t+l]
C2 = np.zeros((c, m, c, m))
for a in range(m):
    for b in range(m):
        C2[:, a, :, b] = ac[:, :, (b - a) % N]
print("circular patch Gram from FFT autocorrelation: max error %.1e" % (np.abs(C2.reshape(C.shape) - C).max() / np.abs(C).max()))
# per-frequency products
cs = [2, 3, 2, 2]
Ks = [rng.standard_normal((cs[i + 1], cs[i], 3)) for i in range(3)]
z = xs[0]
for K in Ks:
    z = corr(z, K, 1, "circ")
H = None
for K in Ks:
    Kf = np.conj(np.fft.fft(K, N, axis=2))
    H = Kf if H is None else np.einsum("oef,ecf->ocf", Kf, H)  # correlation -> conjugate transform of the real kernel
zf = np.einsum("ocf,cf->of", H, np.fft.fft(xs[0], axis=1))
print("per-frequency C x C products vs chain: %.1e" % (norm(np.fft.ifft(zf, axis=1).real - z) / norm(z)))
ys = rng.standard_normal((n, 2, N))
Yf = np.fft.fft(ys, axis=2)
Pf = np.einsum("ocf,icf->iof", H, Fx)
zs = []
for x in xs:
    z = x
    for K in Ks:
        z = corr(z, K, 1, "circ")
    zs.append(z)
L0 = 0.5 * np.sum((np.array(zs) - ys) ** 2)
Cf, Mf = np.einsum("icf,ief->cef", Fx, Fx.conj()), np.einsum("iof,icf->ocf", Yf, Fx.conj())
L1 = (0.5 / N) * np.real(np.einsum("ocf,cef,oef->", H, Cf, H.conj()) - 2 * np.einsum("ocf,ocf->", H, Mf.conj()) + np.sum(np.abs(Yf) ** 2))
print("loss from per-frequency Grams: rel. error %.1e" % (abs(L0 - L1) / L0))


# zero padding at every layer is NOT one convolution
def same(x, K):
    h = K.shape[2] // 2
    return corr(np.pad(x, ((0, 0), (h, h))), K)


x = rng.standard_normal((1, 12))
K1, K2 = rng.standard_normal((1, 1, 3)), rng.standard_normal((1, 1, 3))
a = same(same(x, K1), K2)
b = same(x, compose(K2, K1))
c = corr(corr(np.pad(x, ((0, 0), (2, 2))), K1), K2)
print(
    "zero padding at each of 2 layers vs one padded composed kernel: interior %.1e, boundary %.2f ; all padding put on the input: %.1e"
    % (np.abs((a - b)[:, 1:-1]).max(), np.abs((a - b)[:, [0, -1]]).max(), np.abs(b - c).max())
)


# 2-D valid
def corr2(x, K):
    m1, m2 = K.shape[2:]
    T1, T2 = x.shape[1] - m1 + 1, x.shape[2] - m2 + 1
    return sum(np.einsum("oc,cij->oij", K[:, :, a, b], x[:, a : a + T1, b : b + T2]) for a in range(m1) for b in range(m2))


def compose2(K2, K1):
    K = np.zeros((K2.shape[0], K1.shape[1], K1.shape[2] + K2.shape[2] - 1, K1.shape[3] + K2.shape[3] - 1))
    for a in range(K2.shape[2]):
        for b in range(K2.shape[3]):
            K[:, :, a : a + K1.shape[2], b : b + K1.shape[3]] += np.einsum("oe,ecij->ocij", K2[:, :, a, b], K1)
    return K


x = rng.standard_normal((3, 15, 13))
K1, K2, K3 = rng.standard_normal((4, 3, 3, 3)), rng.standard_normal((2, 4, 3, 2)), rng.standard_normal((5, 2, 2, 3))
r = corr2(corr2(corr2(x, K1), K2), K3)
print("2-D multi-channel valid: %.1e" % (norm(r - corr2(x, compose2(K3, compose2(K2, K1)))) / norm(r)))
