"""Vectors: singular vectors of layers along a run, computed as rarely and as cheaply as is exact, and the two scores that need them.

A factorisation is kept as long as it is one of the matrix as it is now, to rounding: its residual says so. Otherwise it is
made anew, from the smallest symmetric eigenproblem that gives it to nearly the accuracy of a singular value decomposition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from . import singular
from .spectrum import Matrices, _norm
from .validate import Array

# from this many rows and columns on an eigenproblem is worth its overhead
LARGE = singular.LARGE
# a Gram matrix squares the spread of the singular values: what it loses is at most this factor's inverse
SPREAD = 3e-3
# a factorisation whose columns have residuals of at most this, relative to the mean singular value and by the root of the size, is
# kept: some ten times what LAPACK leaves, since rounding adds to it when values change their order
RESIDUAL = 1e-14
PROBES = 4
# products of more than the cube of this many multiply-adds are made in float32 first, unless more than so many entries a column
# then remain to be made again
SHORT, MANY = 256, 8
# a layer whose smaller side is at least this is factored beside the others, not after them
WORTH_A_THREAD = 256


@dataclass(frozen=True, eq=False)
class Factors:
    """Thin singular vectors: `W = U diag(s) V^T`, up to the order of the columns. `twins`: V is U, up to signs and order of rows."""

    U: Array
    s: Array
    V: Array
    twins: str = ""


def factor(W: Array) -> Factors:
    """Thin singular vectors of a float64 matrix.

    A symmetric matrix, and one that is symmetric when its rows are turned over (every square Toeplitz matrix, every
    convolution of one channel with its output of the size of its input), has those of a symmetric eigenproblem, exactly. Any
    other is factored by the Gram matrix of its small side where its singular values are of one size, else by LAPACK's SVD.
    """
    m, n = W.shape
    if min(m, n) < LARGE:
        return _plain(W)
    if m == n:
        H, turned = singular.symmetric(W)
        if H is not None:
            return Factors(*singular.of_symmetric(*symmetric_eigen(H), turned), "flipped" if turned else "same")
    found = _by_gram(W) if m >= n else _by_gram(W.T)
    if found is None:
        return _plain(W)
    return found if m >= n else Factors(found.V, found.s, found.U)


def _plain(W: Array) -> Factors:
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    return Factors(U, s, Vt.T)


def _by_gram(W: Array) -> Factors | None:
    """W (m, n) with m >= n; None if its singular values are too different."""
    values, V = symmetric_eigen(W.T @ W)
    if not values[0] > SPREAD**2 * values[-1]:
        return None
    s = np.sqrt(values)
    return Factors((W @ V) / s, s, V)


def symmetric_eigen(H: Array) -> tuple[Array, Array]:
    """Eigenvalues, increasing, and eigenvectors, by divide and conquer."""
    values, vectors = np.linalg.eigh(H)
    return values, vectors


class Kept:
    """The factors of a matrix that moves, made anew only when it has turned."""

    def __init__(self) -> None:
        self._found: Factors | None = None

    def __call__(self, W: Array) -> Factors:
        W = np.asarray(W, dtype=np.float64)
        if self._found is None or not self._still(W):
            self._found = factor(W)
        return self._found

    def forget(self) -> None:
        """The next factors are made anew."""
        self._found = None

    def _still(self, W: Array) -> bool:
        """Whether the old vectors are singular vectors of W, with new values: a few columns first, then all."""
        old = self._found
        assert old is not None
        r, limit = len(old.s), RESIDUAL * math.sqrt(max(W.shape)) * _norm(W) / math.sqrt(min(W.shape))
        some = np.linspace(0, r - 1, min(r, PROBES)).astype(int)
        if not _fits(W, old.U[:, some], old.V[:, some], limit):
            return False
        return r <= PROBES or _fits(W, old.U, old.V, limit)


def _fits(W: Array, U: Array, V: Array, limit: float) -> bool:
    """Whether `W V = U diag(s)` and `W^T U = V diag(s)` for some s, column by column, up to `limit`."""
    image = W @ V
    s = np.einsum("ij,ij->j", U, image)
    if np.sqrt(np.max(np.sum((image - U * s) ** 2, axis=0))) > limit:
        return False
    return bool(float(np.sqrt(np.max(np.sum((W.T @ U - V * s) ** 2, axis=0)))) <= limit)


# ---- matching of vectors ---------------------------------------------------------------------------------------------------


def best(A: Array, B: Array) -> float:
    """`sum_j max_l |a_l . b_j|` over the columns of A and of B, none longer than 1; 0 where there is nothing to match."""
    return float(largest(A, B).sum())


def largest(A: Array, B: Array, scale: float = 1.0) -> Array:
    """`max_l |a_l . b_j|` for every j, over columns none longer than 1 where those of A are multiplied by `scale`.

    Large products are made in float32, which costs half as much and finds the few that can be the largest of their column;
    these are made again in float64.
    """
    if A.shape[1] * B.size < SHORT**3 or not 1e-15 < scale < 1e15:  # float32 ends at 1e38
        return np.asarray(np.abs(A.T @ B).max(axis=0, initial=0.0))
    rough = A.T.astype(np.float32) @ B.astype(np.float32)
    np.abs(rough, out=rough)
    # each entry is a sum of k products of sizes that add up to 1 at most
    slack = 2.5 * (len(A) + 2) * float(np.finfo(np.float32).eps) / scale
    row, column = np.nonzero(rough >= rough.max(axis=0) - np.float32(slack))
    if len(row) > MANY * B.shape[1]:
        return np.asarray(np.abs(A.T @ B).max(axis=0))
    exact = np.abs(np.einsum("ik,ik->i", A.T[row], B.T[column]))
    found = np.zeros(B.shape[1])
    np.maximum.at(found, column, exact)
    return found


class _Ready:
    """What a pool would promise, at once."""

    def __init__(self, task: Callable[..., Any], *arguments: Any) -> None:
        self._found = task(*arguments)

    def result(self) -> Any:
        return self._found


def _quietly(task: Callable[..., Any], *arguments: Any) -> Any:
    with np.errstate(all="ignore"):
        return task(*arguments)


class Scores:
    """The two scores of the authors, along a run, from the matrices as they are."""

    def __init__(self, matrices: Callable[[], list[Array]], start: Matrices, step: Callable[[], int], threads: int = 1) -> None:
        """`step()` says where the run stands: what was found there serves both scores. `threads`: factorisations at a time."""
        self._matrices, self._step = matrices, step
        self._kept = [Kept() for _ in start]
        self._start = [np.asarray(W, dtype=np.float64) for W in start]
        self._first: list[Factors] | None = None
        self._at = -1
        self._factors: list[Any] = []
        self._found: dict[str, float] = {}
        # both scores were asked for at the last step
        self._both = False
        large = sum(min(W.shape) >= WORTH_A_THREAD for W in start) > 1
        self._pool = ThreadPoolExecutor(threads) if threads > 1 and large else None

    def _submit(self, task: Callable[..., Any], *arguments: Any) -> Any:
        return _Ready(task, *arguments) if self._pool is None else self._pool.submit(_quietly, task, *arguments)

    def alignment_svd(self) -> float:
        """`mean_j max_l |v_{i+1,l} . u_{i,j}|`, averaged over the interfaces."""
        return self._score("alignment_svd")

    def invariance(self) -> float:
        """The same between the vectors now and at the start."""
        return self._score("invariance")

    def _score(self, name: str) -> float:
        if len(self._start) == 1:
            return 1.0
        if self._at != self._step():
            self._both = len(self._found) == 2
            self._at, self._found = self._step(), {}
            if self._first is None and (self._at == 0 or name == "invariance" or self._both):
                self._first = [task.result() for task in [self._submit(keep, W) for keep, W in zip(self._kept, self._start, strict=True)]]
            self._factors = [self._submit(keep, W) for keep, W in zip(self._kept, self._matrices(), strict=True)]
        if name not in self._found:
            # tasks wait for factors only, which were handed out before them: no two wait for each other
            wanted = ("alignment_svd", "invariance") if self._both else (name,)
            parts = {key: [self._submit(part, i) for part, i in self._parts(key)] for key in wanted}
            for key, tasks in parts.items():
                self._found[key] = float(np.mean([score for task in tasks for score in task.result()]))
        return self._found[name]

    def _parts(self, name: str) -> list[tuple[Callable[[int], list[float]], int]]:
        if name == "alignment_svd":
            return [(self._interface, i) for i in range(len(self._start) - 1)]
        if self._first is None:
            self._first = [task.result() for task in [self._submit(Kept(), W) for W in self._start]]
        return [(self._turned, i) for i in range(len(self._start))]

    def _interface(self, i: int) -> list[float]:
        low, high = self._factors[i].result(), self._factors[i + 1].result()
        return [best(high.V, low.U) / low.U.shape[1]]

    def _turned(self, i: int) -> list[float]:
        """Of a layer's outputs, but for the last layer, and of its inputs, but for the first."""
        assert self._first is not None
        now, then, last = self._factors[i].result(), self._first[i], i == len(self._start) - 1
        if now is then:
            return [1.0] * ((not last) + (i > 0))
        left = [] if last else [best(then.U, now.U) / now.U.shape[1]]
        if i == 0:
            return left
        # twins have the same products on both sides, up to signs
        if left and now.twins == then.twins != "":
            return left * 2
        return [*left, best(then.V, now.V) / now.V.shape[1]]


# ---- in reduced coordinates ------------------------------------------------------------------------------------------------


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
    the first layer's outputs are too unless its constant part meets `S_1` (see `First`).
    """

    def __init__(
        self, small: Callable[[], list[Array]], start: Matrices, step: Callable[[], int], given: Matrices, bases: Sequence[Array | None],
        outside: Sequence[Array | None], inputs: tuple[Array, Array] | None,
    ) -> None:  # fmt: skip
        """`bases`: `Q_0, ..., Q_d` as in `WidthLift`; `outside`: the constant parts; `inputs`: `(E, V)` of the first layer, if any."""
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
        if self._first is not None:
            self._first.begin(self._start[0])

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

    def _vectors(self, weights: Matrices) -> tuple[list[Array | None], list[Array]]:
        """Left and right vectors of the small layers, None for a first layer that `First` knows."""
        left: list[Array | None] = []
        right = []
        for i, (W, keep, constant) in enumerate(zip(weights, self._kept, self._still, strict=True)):
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

    def _at(self) -> tuple[list[Array | None], list[Array]]:
        if self._now is None or self._now[0] != self._step():
            weights = [np.asarray(W, dtype=np.float64) for W in self._small()]
            if self._first is not None:
                self._first.update(weights[0])
            self._now = self._step(), *self._vectors(weights)
        return self._now[1:]

    def alignment_svd(self) -> float:
        """`mean_j max_l |v_{i+1,l} . u_{i,j}|`, averaged over the interfaces."""
        if self._d == 1:
            return 1.0
        left, right = self._at()
        scores = []
        for i in range(self._d - 1):
            U, V = left[i], right[i + 1]
            if U is None:
                assert self._first is not None
                total = self._first.match(V, self._still[1].V)
            else:
                total = best(V, U) + self._constant[i]
            scores.append(total / self._counts[i])
        return float(np.mean(scores))

    def invariance(self) -> float:
        """The same between the vectors now and at the start."""
        if self._d == 1:
            return 1.0
        left, right = self._at()
        if self._then is None:
            for keep in self._kept:
                keep.forget()
            self._then = self._vectors(self._start)
            self._now = None
            left, right = self._at()
        then_left, then_right = self._then
        scores = []
        for i in range(self._d):
            if i < self._d - 1:
                U, before = left[i], then_left[i]
                if U is None or before is None:
                    assert self._first is not None
                    scores.append(self._first.stayed() / self._counts[i])
                else:
                    scores.append((best(before, U) + self._still[i].U.shape[1]) / self._counts[i])
            if i > 0:
                scores.append((best(then_right[i], right[i]) + self._still[i].V.shape[1]) / self._counts[i])
        return float(np.mean(scores))
