"""Factored: a Hessian between the matrices that it can make, of a network with few outputs and wide layers (T13.7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import scipy.sparse.linalg

from ..layers import Dense
from ..problem.network import Network
from ..problem.problem import Problem
from ..reduce import samples
from ..validate import Array

# from so many parameters on, and where at most this share of them are left, it saves more than its calls take
LEAST, SHARE = 10_000, 0.25
# an orthonormal basis of rows, and what makes these rows of it
Frame = tuple[Array, Array]
# left rows (r, k_i) and right rows (r, k_{i-1}) of `left^T right`, or left alone: the matrix itself
Pair = tuple[Array, Array | None]


class FactoredHessian(scipy.sparse.linalg.LinearOperator):  # type: ignore[misc]
    """`E^T H E` with the same eigenvalues as H but for zeros: from the pivot d, `(H V)_i = Z'_i^T R_{i-1} + Z_i^T R'_{i-1}`.

    With k_d rows each, `Z_i = L Q` and `R_{i-1} = M S`, rows of Q and S orthonormal, layer i is `V = Q^T b + (a - a Q^T Q)^T S`, and a
    vector holds all a `(k_d, k_i)` and b `(k_d, k_{i-1})`: E is an isometry but for directions that it sends to zero, and its range holds
    that of H. V is never formed. Gauss-Newton's part has no a. Layers that would hold no fewer numbers are held as they are.

    Cost of a product: `2 k_d` multiply-adds a parameter. Source: docs/theory, T13.7.
    """

    def __init__(self, problem: Problem, part: bool) -> None:
        """Precondition: `pays(problem)`."""
        if problem.X is not None and problem.quadratic and problem.X.ndim == 2:
            problem = samples.reduce(problem)[0]
        self.network, self._problem, self._part = problem.net, problem, part
        self._whole = [rows is None for rows in _rows(problem.net.widths)]
        size = sum(_sizes(problem.net.widths, part))
        super().__init__(dtype=problem.net.dtype, shape=(size, size))
        self.move(problem.net)

    def move(self, network: Network, vectors: dict[str, Array] | None = None) -> None:
        """Stand at this network; vectors of that dictionary are given the coordinates that they have there."""
        carried = {} if vectors is None else {name: list(self._pairs(v)) for name, v in vectors.items()}
        self.network, self._W = network, network.params
        # what is not finite is found by whoever multiplies
        with np.errstate(over="ignore", invalid="ignore"):
            self._stand()
            for name, pairs in carried.items():
                assert vectors is not None
                vectors[name] = self._coordinates(pairs)

    def _stand(self) -> None:
        problem = self._problem
        self._Z = [np.eye(self.network.widths[-1], dtype=self.dtype)]
        for W in reversed(self._W):
            self._Z.insert(0, self._Z[0] @ W)
        self._F = self._on_data(self._Z[0])
        self._second = problem.loss.second(problem.T, problem.factor)
        self._R = [self._to_inputs(problem.loss.objective(problem.T, problem.factor)(self._F)[1])]
        for W in self._W[:-1]:
            self._R.append(self._R[-1] @ W.T)
        self._above = [None if whole else _frame(Z) for whole, Z in zip(self._whole, self._Z[1:], strict=True)]
        self._below = [None if whole else _frame(R) for whole, R in zip(self._whole, self._R, strict=True)]

    def _on_data(self, Z: Array) -> Array:
        """`X Z^T`, `(n, k_d)`."""
        X = self._problem.X
        return np.ascontiguousarray(Z.T) if X is None else X[:, None] * Z.T if X.ndim == 1 else X @ Z.T

    def _to_inputs(self, E: Array) -> Array:
        """`E^T X`, `(k_d, k_0)`."""
        X = self._problem.X
        return np.ascontiguousarray(E.T) if X is None else E.T * X if X.ndim == 1 else E.T @ X

    def _layers(self, vector: Array) -> Iterator[tuple[Array | None, Array]]:
        """`(a, b)` of every layer, `(None, V)` of one that is held as it is."""
        at, k = 0, self.network.widths
        for i, (above, below) in enumerate(zip(self._above, self._below, strict=True)):
            if above is None or below is None:
                yield None, vector[at : at + k[i] * k[i + 1]].reshape(k[i + 1], k[i])
                at += k[i] * k[i + 1]
                continue
            Q, S = above[0], below[0]
            a = None
            if not self._part:
                a = vector[at : at + len(S) * k[i + 1]].reshape(len(S), k[i + 1])
                at += a.size
            b = vector[at : at + len(Q) * k[i]].reshape(len(Q), k[i])
            at += b.size
            yield a, b

    def _matvec(self, vector: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            return self._product(vector)

    def _product(self, vector: Array) -> Array:
        parts = list(self._layers(np.asarray(vector, dtype=self.dtype).ravel()))
        d = len(parts)
        dZ: list[Array | None] = [None] * (d + 1)
        for i in reversed(range(d)):
            above, b = self._above[i], parts[i][1]
            # Z V, of which a has no part
            met = self._Z[i + 1] @ b if above is None else above[1] @ b
            behind = dZ[i + 1]
            dZ[i] = met if behind is None else met + behind @ self._W[i]
        first = dZ[0]
        assert first is not None
        dR = self._to_inputs(self._second(self._F, self._on_data(first)))
        found = []
        for i, (a, b) in enumerate(parts):
            above, below, seen = self._above[i], self._below[i], None if self._part else dZ[i + 1]
            if above is None or below is None:
                H = self._Z[i + 1].T @ dR
                found.append(H if seen is None else H + seen.T @ self._R[i])
            else:
                (Q, L), (S, M) = above, below
                back = L.T @ dR
                if seen is not None:
                    inside = seen @ Q.T
                    found.append(M.T @ (seen - inside @ Q))
                    back = back + (inside.T @ M) @ S
                found.append(back)
            if i + 1 < d:
                dR = dR @ self._W[i].T
                if not self._part:
                    dR = dR + self._met_below(i, a, b)
        return np.concatenate([part.ravel() for part in found])

    def _met_below(self, i: int, a: Array | None, b: Array) -> Array:
        """`R_{i-1} V^T`."""
        above, below = self._above[i], self._below[i]
        if above is None or below is None or a is None:
            return np.asarray(self._R[i] @ b.T)
        Q, (S, M) = above[0], below
        return np.asarray(M @ (a + (S @ b.T - a @ Q.T) @ Q))

    def _pairs(self, vector: Array) -> Iterator[Pair]:
        """The matrices that a vector stands for."""
        for (a, b), above, below in zip(self._layers(vector), self._above, self._below, strict=True):
            if above is None or below is None:
                yield b, None
            elif a is None:
                yield above[0], b
            else:
                yield np.vstack([above[0], _outside(a, above[0])]), np.vstack([b, below[0]])

    def _coordinates(self, pairs: Sequence[Pair]) -> Array:
        """`E^T` of matrices."""
        found = []
        for (left, right), above, below in zip(pairs, self._above, self._below, strict=True):
            if above is None or below is None or right is None:
                found.append(left)
                continue
            if not self._part:
                found.append(_outside((below[0] @ right.T) @ left, above[0]))
            found.append((above[0] @ left.T) @ right)
        return np.concatenate([part.ravel() for part in found])

    def _adjoint(self) -> FactoredHessian:
        return self

    def toarray(self) -> Array:
        """The matrix."""
        full: Array = self @ np.eye(self.shape[0], dtype=self.dtype)
        return np.asarray((full + full.T) / 2)


def pays(problem: Problem) -> bool:
    """Whether the Hessian is to be looked at in this way."""
    net = problem.net
    dense = all(type(layer) is Dense for layer in net.layers)
    return dense and net.size >= LEAST and sum(_sizes(net.widths, False)) <= SHARE * net.size


def _rows(widths: tuple[int, ...]) -> list[tuple[int, int] | None]:
    """How many rows Q and S of a layer have; None where the layer itself is no larger."""
    found: list[tuple[int, int] | None] = []
    for m, k in pairwise(widths):
        q, s = min(widths[-1], k), min(widths[-1], m)
        found.append((q, s) if q * m + s * k < m * k else None)
    return found


def _sizes(widths: tuple[int, ...], part: bool) -> list[int]:
    """How many coordinates a layer has."""
    found = []
    for (m, k), rows in zip(pairwise(widths), _rows(widths), strict=True):
        found.append(m * k if rows is None else rows[0] * m + (0 if part else rows[1] * k))
    return found


def _frame(A: Array) -> Frame:
    """`Q, L` with `A = L Q`."""
    Q, R = np.linalg.qr(A.T)
    return np.ascontiguousarray(Q.T), R.T


def _outside(A: Array, Q: Array) -> Array:
    """`A (I - Q^T Q)`."""
    return np.asarray(A - (A @ Q.T) @ Q)
