"""Complement: the Hessian of a network outside the subspaces that are run in its place (T13.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
import scipy.sparse.linalg

from ..problem.problem import Problem
from ..reduce.width import WidthLift
from ..validate import Array


class Complement(scipy.sparse.linalg.LinearOperator):  # type: ignore[misc]
    """What `c_i`, out of the subspaces, and `b_j`, back into them, make of the loss to second order: `[0 K^T; K J^T J]` on `(c, b)`.

    `(K c)_j = B_j H_{j-1}^T` with `H_i = W'_i H_{i-1} + c_i P_{i-1}`, `P_i` the product of the first i layers that are run, `B_j` that of
    the last `d - j`, transposed, times `dL/dP`, and `W'` the layers outside, which stand still. `J`, where outputs are outside too
    (T8.2), is `H_d` on the data. `part`: Gauss-Newton's, J alone.
    """

    def __init__(self, lift: WidthLift, problem: Problem, part: bool) -> None:
        """`problem`: the one that is run. Cost: a basis of every complement, `k_i^2 dim S_i` multiply-adds."""
        self._problem, self._part = problem, part
        sides = [len(W) for W in lift.original]
        self._outside = [_complement(Q, k) for Q, k in zip(lift.bases[1:], sides, strict=True)]
        # W'_i, of the start; the first is never met
        self._still: list[Array] = [np.zeros((0, 0))]
        for above, below, W in zip(self._outside[1:], self._outside, lift.original[1:], strict=False):
            self._still.append(above.T @ W.astype(np.float64) @ below)
        self._sizes = [Q.shape[1] for Q in self._outside]
        self._depth = len(sides)
        small = problem.net.widths
        self._c = [(e, small[i]) for i, e in enumerate(self._sizes)]
        self._b = [(small[j + 1], self._sizes[j - 1]) for j in range(1, self._depth)]
        size = sum(a * b for a, b in (*self._c, *self._b))
        super().__init__(dtype=np.dtype(np.float64), shape=(size, size))

    def move(self, params: Sequence[Array], factors: Array) -> None:
        """Stand where the network that is run has these parameters, and what is outside is its start times these factors."""
        problem, d = self._problem, self._depth
        W = [theta.astype(np.float64, copy=False) for theta in params]
        self._chain = [f * still for f, still in zip(factors, self._still, strict=True)]
        self._before = [np.eye(W[0].shape[1])]
        for i in range(d - 1):
            self._before.append(W[i] @ self._before[-1])
        F = (W[-1] @ self._before[-1]).T
        X = problem.X
        if X is not None:
            F = X[:, None] * F if X.ndim == 1 else X @ F
        D = problem.loss.objective(problem.T, problem.factor)(F.astype(problem.net.dtype))[1].astype(np.float64)
        G = D.T if X is None else D.T * X if X.ndim == 1 else D.T @ X
        # B_j = W_{j+1}^T ... W_d^T G, j = 1..d, the last is G
        self._after = [G]
        for i in reversed(range(1, d)):
            self._after.insert(0, W[i].T @ self._after[0])
        self._moment = 2 * problem.factor * (np.eye(G.shape[1]) if X is None else np.diag(X**2) if X.ndim == 1 else X.T @ X)

    def bound(self) -> float:
        """A number that no eigenvalue exceeds in size: blocks by their norms. Cost: some products of what is run."""
        d = self._depth
        inner = [float(np.linalg.norm(W, 2)) if W.size else 0.0 for W in self._chain]
        K = J = 0.0
        for i in range(d):
            if not self._sizes[i]:
                continue
            through = 1.0
            for j in range(i + 1, d):
                # B_{j+1} P_i^T, and the layers between
                if not self._part:
                    K += (through * float(np.linalg.norm(self._after[j] @ self._before[i].T))) ** 2
                through *= inner[j]
            if self._sizes[-1]:
                seen = self._before[i] @ self._moment @ self._before[i].T
                J += through**2 * float(np.linalg.norm(seen))
        return float(np.sqrt(K)) + J

    def _matvec(self, vector: Array) -> Array:
        d = self._depth
        parts = _split(np.asarray(vector, dtype=np.float64).ravel(), [*self._c, *self._b])
        c, b = parts[:d], parts[d:]
        H = [c[0]]
        for i in range(1, d):
            H.append(self._chain[i] @ H[-1] + c[i] @ self._before[i])
        # back, from what is seen of H_d to c
        M = H[-1] @ self._moment
        onto: list[Array] = [np.empty(0)] * d
        for i in reversed(range(d)):
            onto[i] = M @ self._before[i].T
            if i:
                M = self._chain[i].T @ M
                if not self._part:
                    M = M + b[i - 1].T @ self._after[i]
        into = [np.zeros(shape) if self._part else self._after[j] @ H[j - 1].T for j, shape in enumerate(self._b, start=1)]
        return np.concatenate([part.ravel() for part in (*onto, *into)])

    def _adjoint(self) -> Complement:
        return self

    def toarray(self) -> Array:
        """The matrix."""
        full: Array = self @ np.eye(self.shape[0])
        return np.asarray((full + full.T) / 2)


def _complement(Q: Array | None, k: int) -> Array:
    """An orthonormal basis of what Q leaves, `(k, k - dim)`."""
    if Q is None:
        return np.zeros((k, 0))
    whole: Array = scipy.linalg.qr(Q.astype(np.float64), mode="full")[0]
    return whole[:, Q.shape[1] :]


def _split(flat: Array, shapes: Sequence[tuple[int, int]]) -> list[Array]:
    found, at = [], 0
    for shape in shapes:
        found.append(flat[at : at + shape[0] * shape[1]].reshape(shape))
        at += shape[0] * shape[1]
    return found
