"""Section 1: pairwise commutators suffice where the interior singular values are simple.

Run: OPENBLAS_NUM_THREADS=1 python docs/theory/checks/section01_pairwise.py
"""

import numpy as np
from common import align_bases, criterion, orth

rng = np.random.default_rng(12)
m = 0
mp = 0
mr = 0
for _ in range(200):  # interior layers with simple nonzero singular values, rank deficient, null spaces rotated at random
    d = int(rng.integers(3, 6))
    ks = rng.integers(2, 7, d + 1)
    Ws = []
    Uprev = None
    for i in range(d):
        k, l = ks[i + 1], ks[i]
        r = int(rng.integers(1, min(k, l) + 1))
        V = orth(rng, l) if Uprev is None else Uprev
        s = np.sort(rng.uniform(0.5, 2, r))[::-1] if 0 < i < d - 1 else rng.choice([1.0, 2.0], r)
        if Uprev is not None:
            # choose r of the columns of the joint basis at random for the nonzero part
            V = Uprev[:, rng.permutation(l)]
        U = orth(rng, k)
        Ws.append(U[:, :r] * s @ V[:, :r].T)
        N = U[:, r:]
        U = np.hstack([U[:, :r], N @ orth(rng, k - r)]) if k > r else U  # null space freely rotated
        Uprev = U
    mp = max(mp, criterion(Ws, "pair"))
    m = max(m, criterion(Ws))
    mr = max(mr, align_bases(Ws)[2])
print("pairwise commuting chains with simple interior nonzero singular values: pairwise %.1e, (E) %.1e, residual %.1e" % (mp, m, mr))
