"""Section 1: the scores of the paper's authors, pooled over upper vectors and over the vectors of the start, and their baselines.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section01_scores.py
"""

import numpy as np
from common import orth
from numpy.linalg import svd

rng = np.random.default_rng(19)


def thin(Ws):
    return [svd(W, full_matrices=False) for W in Ws]


def authors(Ws):
    """sum over interfaces and upper vectors v_{i+1,l} of max_j |v_{i+1,l} . u_{i,j}|, over the number of upper vectors"""
    F = thin(Ws)
    tot = cnt = 0.0
    for (U, _, _), (_, _, V) in zip(F, F[1:]):
        r = np.abs(V @ U).max(1)
        tot += r.sum()
        cnt += len(r)
    return tot / cnt, int(cnt)


def invariance(Ws, start):
    """for each vector of the start (U of layers 1..d-1, V of layers 2..d) the best current one, pooled"""
    F, G = thin(Ws), thin(start)
    d = len(Ws)
    tot = cnt = 0.0
    for i in range(d):
        if i < d - 1:
            r = np.abs(G[i][0].T @ F[i][0]).max(1)
            tot += r.sum()
            cnt += len(r)
        if i > 0:
            r = np.abs(G[i][2] @ F[i][2].T).max(1)
            tot += r.sum()
            cnt += len(r)
    return tot / cnt, int(cnt)


def lower_mean(Ws):
    """the other reading: mean over the lower vectors, mean over interfaces"""
    F = thin(Ws)
    return np.mean([np.abs(V @ U).max(0).mean() for (U, _, _), (_, _, V) in zip(F, F[1:])])


def dia(m, n):
    D = np.zeros((m, n))
    np.fill_diagonal(D, rng.uniform(0, 1, min(m, n)))
    return D


print(
    "random Gaussian k x k, baseline of the score:",
    ", ".join(
        "k=%d %.3f" % (k, np.mean([authors([rng.standard_normal((k, k)) for _ in range(2)])[0] for _ in range(n)]))
        for k, n in ((5, 2000), (10, 1000), (30, 200), (100, 40))
    ),
)
v = [authors([2 * orth(rng, 10), rng.standard_normal((10, 10))])[0] for _ in range(2000)]
print(
    "W_1 = 2 * orthogonal 10 x 10, W_2 Gaussian (exactly aligned): mean %.3f, 5%% to 95%% quantile %.3f to %.3f"
    % (np.mean(v), *np.quantile(v, (0.05, 0.95)))
)
U0, U3 = orth(rng, 784), orth(rng, 10)
Ws = [dia(1024, 784) @ U0.T, dia(64, 1024), U3 @ dia(10, 64)]
print(
    "784-1024-64-10, aligned start of the authors: score %.6f over %d vectors; mean over lower vectors and interfaces %.4f (64/784 and 10/64: %.4f)"
    % (*authors(Ws), lower_mean(Ws), (64 / 784 + 10 / 64) / 2)
)
print("invariance against itself %.6f over %d vectors" % invariance(Ws, Ws))
Wr = [rng.standard_normal(W.shape) for W in Ws]
print("784-1024-64-10, Gaussian: score %.3f; invariance of it against the aligned start %.3f" % (authors(Wr)[0], invariance(Wr, Ws)[0]))
