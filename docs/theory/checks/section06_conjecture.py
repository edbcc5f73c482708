"""Section 6: the search behind the conjecture, least squares over all starts of two convolutions (three minutes).

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section06_conjecture.py
"""

import numpy as np
from common import grads_G
from numpy.linalg import norm
from scipy.optimize import least_squares
from structures import conv1, defects, mat

rng = np.random.default_rng(11)
for N, k in ((4, 3), (6, 3), (6, 5)):
    bs = conv1(N, k)
    for n in (2, 8):
        for _ in range(2):
            X = rng.standard_normal((n, N))
            Y = rng.standard_normal((n, N))
            C, M = X.T @ X / n, Y.T @ X / n
            tries = [
                least_squares(defects, rng.standard_normal(2 * k), args=(bs, C, M), max_nfev=300, xtol=1e-15, ftol=1e-15, gtol=1e-15)
                for _ in range(6)
            ]
            tries.sort(key=lambda found: found.cost)
            th = 1.5 * np.tanh(tries[0].x)
            W1, W2 = mat(bs, th[:k]), mat(bs, th[k:])
            g = [np.tensordot(np.stack(bs), x, ([1, 2], [0, 1])) for x in grads_G([W1, W2], W2 @ W1 @ C - M)]
            print(
                f"N={N}, {k} taps, n={n}: smallest defects",
                ["%.1e" % norm(found.fun) for found in tries[:3]],
                "start",
                np.round(th, 3),
                "|gradient|",
                [round(float(norm(x)), 5) for x in g],
                flush=True,
            )
