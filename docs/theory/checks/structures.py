"""Shared by the checks of section 6: bases of convolutions, and how far two constrained layers are from staying aligned."""

import numpy as np
from common import grads_G
from numpy.linalg import norm


def conv1(N, k, circ=False):
    h = k // 2
    if circ:
        return [np.roll(np.eye(N), a - h, axis=1) for a in range(k)]
    return [np.eye(N, k=a - h) for a in range(k)]


def mat(bs, t):
    """sum_k t_k A_k"""
    return np.tensordot(t, np.stack(bs), 1)


def defects(th, bs, C, M, eta=0.02, T=3):
    r = len(bs)
    A = np.stack(bs)
    th = 1.5 * np.tanh(th)
    t1, t2 = th[:r], th[r:]
    nr = lambda z: z / (norm(z) + 1e-14)
    fam = [[nr(mat(bs, t1))], [nr(mat(bs, t2))]]
    for _ in range(T):
        W1, W2 = mat(bs, t1), mat(bs, t2)
        g = grads_G([W1, W2], W2 @ W1 @ C - M)
        g1, g2 = (np.tensordot(A, x, ([1, 2], [0, 1])) for x in g)
        fam[0].append(nr(mat(bs, g1)))
        fam[1].append(nr(mat(bs, g2)))
        t1 = t1 - eta * g1
        t2 = t2 - eta * g2
    sk = lambda Z: (Z - Z.T)[np.triu_indices(Z.shape[0], 1)]
    out = []
    for f in fam:
        for a in range(len(f)):
            for b in range(a):
                out += [sk(f[a] @ f[b].T), sk(f[a].T @ f[b])]
    for a in fam[0]:
        for b in fam[1]:
            out.append(sk(a @ a.T @ b.T @ b))
    return np.concatenate(out)
