"""Scores in reduced coordinates: the two scores of the network as given, from the small network that is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..scores.deferred import Later, Pool
from ..scores.singular_vectors import SPREAD, Kept, best, factor, largest, symmetric_eigen
from ..scores.spectrum import Matrices, _norm
from ..validate import Array

# from this many rows on the eigenproblem of a first layer takes longer than the steps between two records: it is solved beside them
WIDE = 400


@dataclass(frozen=True, eq=False)
class Still:
    """What of a layer no step changes: its vectors in the complements of `S_i` and `S_{i-1}`, and how many are inside.

    A thin factorisation of the whole has `count` columns. Where the two parts have fewer, null vectors make up for it.
    """

    U: Array
    V: Array
    inside_U: int
    inside_V: int


def still(E: Array | None, above: Array | None, below: Array | None, shape: tuple[int, int]) -> Still:
    """The constant vectors of a layer of this shape, `E` its constant part; `above` and `below` span `S_i`, `S_{i-1}`, None: everything."""
    m, n = shape
    a, b = m if above is None else above.shape[1], n if below is None else below.shape[1]
    c, e = m - a, n - b
    more = min(m, n) - min(a, b) - min(c, e)
    if c and e:
        up, down = _rest(above, m), _rest(below, n)
        U, _, Vt = np.linalg.svd(np.zeros((c, e)) if E is None else up.T @ E @ down, full_matrices=more > 0)
        left, right = up @ U[:, : min(c, e) + (more if c > e else 0)], down @ Vt[: min(c, e) + (more if e > c else 0)].T
    else:
        left = _rest(above, m)[:, :more] if c and more else np.zeros((m, 0))
        right = _rest(below, n)[:, :more] if e and more else np.zeros((n, 0))
    return Still(left, right, min(a, b) + (more if a > b else 0), min(a, b) + (more if b > a else 0))


def _rest(Q: Array | None, size: int) -> Array:
    """An orthonormal basis of what is orthogonal to the columns of Q; nothing if these are everything."""
    if Q is None:
        return np.zeros((size, 0))
    return np.linalg.qr(Q, mode="complete")[0][:, Q.shape[1] :]


def _with_nulls(U: Array, count: int) -> Array:
    """U, or as many columns, null vectors among them."""
    if count <= U.shape[1]:
        return U
    return np.hstack([U, np.linalg.qr(U, mode="complete")[0][:, U.shape[1] : count]])


class First:
    """The left vectors of `W_1 = Q W^ V^T + E`, where no step changes E and its rows are orthogonal to V, but its columns meet those of Q.

    The small side's Gram matrix gives them where the singular values are of one size, else an SVD. They are not formed: what is
    asked for are products with other vectors.
    """

    def __init__(self, E: Array, V: Array, Q: Array | None) -> None:
        k_1, k_0 = E.shape
        self._Q = Q
        self._by_inputs = k_0 < k_1
        # E in coordinates of its own inputs, or of any inputs if there are more of these than outputs
        B: Array = E @ _rest(V, k_0) if self._by_inputs else np.asarray(np.linalg.qr(E.T, mode="r")).T
        self._QB = B if Q is None else Q.T @ B
        self._gram = B.T @ B if self._by_inputs else B @ B.T
        self._B = B
        if self._by_inputs:
            self._whole = np.zeros((k_0, k_0))
            self._whole[V.shape[1] :, V.shape[1] :] = self._gram
        self._count = min(k_1, k_0)
        self._W: Array | None = None

    def update(self, W: Array) -> bool:
        """The vectors for this `W^`; False if the old ones will do."""
        if self._W is not None and _norm(W - self._W) <= 2e-16 * _norm(W):
            return False
        self._W = W.copy()  # what is run moves in place
        self._U: Array | None = None
        if self._by_inputs:
            r = W.shape[1]
            whole, low = self._whole, W.T @ self._QB
            whole[:r, :r], whole[:r, r:], whole[r:, :r] = W.T @ W, low, low.T
            values, z = symmetric_eigen(whole)
            if values[0] > SPREAD**2 * values[-1]:
                self._values, self._unit = np.sqrt(values), z
                self._z = z / self._values
                return True
        else:
            part = W if self._Q is None else self._Q @ W
            values, U = symmetric_eigen(part @ part.T + self._gram)
            at = max(len(values) - self._count, 0)
            if values[at] > SPREAD**2 * values[-1]:
                self._U = U[:, at:]
                return True
        whole = np.hstack([W if self._Q is None else self._Q @ W, self._B])
        self._U = np.linalg.svd(whole, full_matrices=False)[0][:, : self._count]
        return True

    def moved(self, W: Array) -> First:
        """These vectors for another `W^`, in arrays of their own; what does not move is shared."""
        other = copy(self)
        if self._by_inputs:
            other._whole, other._then = self._whole.copy(), (self._then[0], self._then[1].copy())
        other.update(W)
        return other

    def begin(self, W: Array) -> None:
        """The vectors at the start, which `stayed` compares with."""
        self.update(W)
        self._before = self.vectors()
        if self._by_inputs:
            # what of these products moves is written over the first rows
            rest = self._B.T @ self._before
            images = np.vstack([np.zeros((W.shape[1], rest.shape[1])), rest])
            self._then = (self._before if self._Q is None else self._Q.T @ self._before), images

    def vectors(self) -> Array:
        """U_1 itself."""
        if self._U is None:
            assert self._W is not None
            self._U = np.hstack([self._W if self._Q is None else self._Q @ self._W, self._B]) @ self._z
        return self._U

    def match(self, inside: Array, outside: Array) -> float:
        """`sum_j max_l |v_l . u_j|`, v the columns of `inside`, in the basis Q, and those of `outside`, orthogonal to Q."""
        if self._U is not None:
            return best(np.hstack([inside if self._Q is None else self._Q @ inside, outside]), self._U)
        assert self._W is not None
        rows = [np.hstack([inside.T @ self._W, inside.T @ self._QB])]
        if outside.shape[1]:
            rows.append(np.hstack([np.zeros((outside.shape[1], self._W.shape[1])), outside.T @ self._B]))
        return float(np.abs(np.vstack(rows) @ self._z).max(axis=0, initial=0.0).sum())

    def stayed(self) -> float:
        """`sum_j max_l |u_l(0) . u_j|`."""
        if self._U is not None:
            return best(self._before, self._U)
        assert self._W is not None
        low, images = self._then
        np.matmul(self._W.T, low, out=images[: self._W.shape[1]])
        # images are no longer than the largest value, and the columns of z are unit vectors over the values
        top = 1.0 / float(self._values[-1])
        return float(np.sum(largest(images, self._unit, top) / self._values))


class SmallScores:
    """The two scores of the network as given, from the small network, where what is outside does not move (T8.1).

    Layers above the first are direct sums, so their vectors are those of the small layer in its bases and constant ones, and
    the first layer's outputs are too unless its constant part meets `S_1` (see `First`). Where that takes an eigenproblem of its own
    size, and there are threads, the scores are promises: the run goes on while they are found.
    """

    def __init__(
        self, small: Callable[[], list[Array]], start: Matrices, step: Callable[[], int], given: Matrices, bases: Sequence[Array | None],
        outside: Sequence[Array | None], inputs: tuple[Array, Array] | None,
        threads: int = 1, alone: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """`bases`: `Q_0, ..., Q_d` as in `WidthLift`; `outside`: the constant parts; `inputs`: `(E, V)` of the first layer, if any.

        `alone()` tells the loop that its other threads are taken.
        """
        self._small, self._step, self._bases = small, step, bases
        self._start = [np.asarray(W, dtype=np.float64) for W in start]
        self._d = len(given)
        self._counts = [min(W.shape) for W in given]
        self._kept = [Kept() for _ in given]
        self._root: Array | None = None
        self._first: First | None = None
        self._still = [still(E, bases[i + 1], bases[i], W.shape) for i, (E, W) in enumerate(zip(outside, given, strict=True))]
        if inputs is not None:
            self._join(*inputs, given[0].shape)
        # between what does not move on both sides of an interface
        self._constant = [best(high.V, low.U) for low, high in pairwise(self._still)]
        self._now: tuple[int, list[Array | None], list[Array]] | None = None
        self._then: tuple[list[Array | None], list[Array]] | None = None
        self._pool: Pool | None = None
        self._when, self._asked, self._tasks = -1, set[str](), dict[str, Any]()
        if self._first is not None:
            self._first.begin(self._start[0])
            if threads > 1 and min(given[0].shape) >= WIDE:
                self._then = self._vectors(self._start, self._kept)
                self._pool = Pool(threads)
                if alone is not None:
                    alone()

    def close(self) -> None:
        """End the threads, without what they have not begun."""
        if self._pool is not None:
            self._pool.close()

    def _join(self, E: Array, V: Array, shape: tuple[int, int]) -> None:
        """The first layer has a constant part on inputs that the data do not reach."""
        Q = self._bases[1]
        size = _norm(E)
        inside = E if Q is None else Q.T @ E
        rest = None if Q is None else E - Q @ inside
        if Q is None or (rest is not None and _norm(rest @ inside.T) > 1e-13 * size**2):
            if self._d > 1:
                self._first = First(E, V, Q)
            return
        # a direct sum: the small layer beside what of E is inside, and what of it is outside
        U, s, _ = np.linalg.svd(inside, full_matrices=False)
        live = s > 1e-13 * size
        self._root = U[:, live] * s[live]
        m, n = shape
        up = _rest(Q, m)
        count = min(m, n)
        # what can have a value above 0 comes first; nulls only where that is too little
        within = min(Q.shape[1], self._start[0].shape[1] + self._root.shape[1], count)
        out = min(up.shape[1], count - within)
        B = up.T @ E @ _rest(V, n)
        outer = factor(B)
        found = _with_nulls(outer.U[:, np.argsort(-outer.s, kind="stable")], out) if out else np.zeros((up.shape[1], 0))
        self._still[0] = Still(up @ found[:, :out], np.zeros((n, 0)), count - out, 0)

    def _vectors(self, weights: Matrices, kept: Iterable[Kept]) -> tuple[list[Array | None], list[Array]]:
        """Left and right vectors of the small layers, None for a first layer that `First` knows."""
        left: list[Array | None] = []
        right = []
        for i, (W, keep, constant) in enumerate(zip(weights, kept, self._still, strict=True)):
            if i == 0 and self._first is not None:
                left.append(None)
                right.append(np.zeros((0, 0)))
                continue
            if i == 0 and self._root is not None:
                W = np.hstack([W, self._root])
            found = keep(W)
            left.append(_with_nulls(found.U, constant.inside_U))
            right.append(_with_nulls(found.V, constant.inside_V))
        return left, right

    def alignment_svd(self) -> float | Later:
        """`mean_j max_l |v_{i+1,l} . u_{i,j}|`, averaged over the interfaces."""
        return self._score("alignment_svd")

    def invariance(self) -> float | Later:
        """The same between the vectors now and at the start."""
        return self._score("invariance")

    def _score(self, name: str) -> float | Later:
        if self._d == 1:
            return 1.0
        if self._pool is not None:
            return self._later(name, self._pool)
        if name == "invariance" and self._then is None:
            for keep in self._kept:
                keep.forget()
            self._then = self._vectors(self._start, self._kept)
            self._now = None
        return self._find(name, self._first, *self._at())

    def _at(self) -> tuple[list[Array | None], list[Array]]:
        if self._now is None or self._now[0] != self._step():
            weights = [np.asarray(W, dtype=np.float64) for W in self._small()]
            if self._first is not None:
                self._first.update(weights[0])
            self._now = self._step(), *self._vectors(weights, self._kept)
        return self._now[1:]

    def _later(self, name: str, pool: Pool) -> Later:
        """One task a step, for all that was asked for at the last one."""
        before = set[str]()
        if self._when != self._step():
            before, self._when, self._asked, self._tasks = self._asked, self._step(), set(), {}
        self._asked.add(name)
        if name not in self._tasks:
            names = {name} | before
            # what is run moves in place
            weights = [np.array(W, dtype=np.float64) for W in self._small()]
            self._tasks |= dict.fromkeys(names, pool.submit(self._task, weights, names))
        return Later(self._tasks[name], name)

    def _task(self, weights: Matrices, names: set[str]) -> dict[str, float]:
        """The scores of these weights, by a thread of its own: nothing that others use is written."""
        assert self._first is not None
        first = self._first.moved(weights[0])
        left, right = self._vectors(weights, map(copy, self._kept))
        return {name: self._find(name, first, left, right) for name in names}

    def _find(self, name: str, first: First | None, left: list[Array | None], right: list[Array]) -> float:
        return self._turned(first, left, right) if name == "invariance" else self._met(first, left, right)

    def _met(self, first: First | None, left: list[Array | None], right: list[Array]) -> float:
        scores = []
        for i in range(self._d - 1):
            U, V = left[i], right[i + 1]
            if U is None:
                assert first is not None
                total = first.match(V, self._still[1].V)
            else:
                total = best(V, U) + self._constant[i]
            scores.append(total / self._counts[i])
        return float(np.mean(scores))

    def _turned(self, first: First | None, left: list[Array | None], right: list[Array]) -> float:
        assert self._then is not None
        then_left, then_right = self._then
        scores = []
        for i in range(self._d):
            if i < self._d - 1:
                U, before = left[i], then_left[i]
                if U is None or before is None:
                    assert first is not None
                    scores.append(first.stayed() / self._counts[i])
                else:
                    scores.append((best(before, U) + self._still[i].U.shape[1]) / self._counts[i])
            if i > 0:
                scores.append((best(then_right[i], right[i]) + self._still[i].V.shape[1]) / self._counts[i])
        return float(np.mean(scores))
