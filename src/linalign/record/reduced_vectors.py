"""Reduced vectors: the authors' scores of the network as given, from the small network that is run.

Where what is outside does not move (T8.1), layers above the first are direct sums: their vectors are those of the small layer in its
bases, and constant ones. So are those of the first layer, unless its constant part meets `S_1` (`mixed_layer`). Where that takes an
eigenproblem of its own size, and there are threads, the scores are promises: the run goes on while they are found.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .. import linear_algebra
from ..scores.chain import Matrices, norm
from ..scores.deferred import Later, Pool
from ..scores.singular_vectors import Kept, Side, Vectors, best, matched
from ..validate import Array
from .mixed_layer import MixedLayer, MixedStart, MixedVectors, mixed_layer

# from this many rows on the eigenproblem of a first layer takes longer than the steps between two records: it is solved beside them
WIDE = 400


@dataclass(frozen=True, eq=False)
class ConstantVectors:
    """Of a layer, what no step changes.

    U, V : the vectors of its constant part, orthogonal to `S_i` and to `S_{i-1}`. top : their largest value.
    above, below : bases of `S_i` and `S_{i-1}`; None is everything. count : vectors of the whole layer, a side.
    root : columns that stand beside the small layer, where constant inputs of the first layer go to `S_1`.
    """

    U: Array
    V: Array
    top: float
    above: Array | None
    below: Array | None
    count: int
    root: Array | None = None

    def left(self, inside: Array) -> Side:
        """All vectors of the outputs, those of the small layer given."""
        return self._side(self.above, inside, self.U)

    def right(self, inside: Array) -> Side:
        """All vectors of the inputs."""
        return self._side(self.below, inside, self.V)

    def nulls(self, inside: Array) -> int:
        """How many null vectors a thin decomposition has."""
        return self.count - int(inside.shape[1]) - int(self.U.shape[1])

    def _side(self, basis: Array | None, inside: Array, constant: Array) -> Side:
        return Side(np.hstack([inside if basis is None else basis @ inside, constant]), self.nulls(inside))


@dataclass(frozen=True, eq=False)
class At:
    """The vectors of the small layers at one place of the run; the first layer's left ones are `mixed`, if it is such a layer."""

    layers: tuple[Vectors, ...]
    mixed: MixedVectors | None


def constant_vectors(
    E: Array | None, above: Array | None, below: Array | None, shape: tuple[int, int], zero: float, inputs: Array | None = None
) -> ConstantVectors:
    """Those of a layer of this shape with the constant part `E`.

    `inputs`: the basis of the inputs that are run, if E is that of a first layer which takes others to outputs of its own, or to `S_1`.
    """
    m, n = shape
    none = ConstantVectors(np.zeros((m, 0)), np.zeros((n, 0)), 0.0, above, below, min(m, n))
    if E is None:
        return none
    root = None
    if inputs is not None:
        assert above is not None
        U, s, _ = np.linalg.svd(above.T @ E, full_matrices=False)
        live = s > 1e-13 * norm(E)
        root, below = U[:, live] * s[live], inputs
    up, down = complement(above, m), complement(below, n)
    if not up.shape[1] or not down.shape[1]:
        return ConstantVectors(none.U, none.V, 0.0, above, none.below, none.count, root)
    U, s, Vt = np.linalg.svd(up.T @ E @ down, full_matrices=False)
    live = s > zero * norm(E)
    return ConstantVectors(up @ U[:, live], down @ Vt[live].T, float(s[0]), above, none.below, none.count, root)


def complement(Q: Array | None, size: int) -> Array:
    """An orthonormal basis of what is orthogonal to the columns of Q; nothing if these are everything."""
    return np.zeros((size, 0)) if Q is None else linear_algebra.complement(Q)


def meets(E: Array, Q: Array | None) -> bool:
    """Whether the columns of E lie neither in the span of those of Q nor orthogonal to it, but across."""
    if Q is None:
        return True
    inside = Q.T @ E
    return norm((E - Q @ inside) @ inside.T) > 1e-13 * norm(E) ** 2


class ReducedScores:
    """The authors' scores, from the small layers. The largest of what stands beside them and what they hold says what counts as zero."""

    def __init__(
        self, start: Matrices, shapes: Sequence[tuple[int, int]], bases: Sequence[Array | None], outside: Sequence[Array | None],
        inputs: Array | None, zeros: Sequence[float], threads: int = 1, use_one_thread: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """`start`: the small layers at step 0; `bases`: `Q_0, ..., Q_d` as in `WidthLift`; `outside`: the constant parts.

        `inputs`: the inputs of the first layer that are run, if it has others; `zeros`: the share of a layer's largest value that counts as
        zero. `use_one_thread()` tells the loop that its other threads are taken.
        """
        self._start = [np.array(W, dtype=np.float64) for W in start]
        first, Q = outside[0], bases[1]
        self._mixed: MixedLayer | None = None
        if len(start) > 1 and first is not None and inputs is not None and meets(first, Q):
            self._mixed = mixed_layer(first, complement(inputs, shapes[0][1]), Q, zeros[0])
        self._constant = [
            constant_vectors(
                None if i == 0 and (self._mixed is not None or len(start) == 1) else E,
                bases[i + 1],
                bases[i],
                shape,
                zero,
                inputs if i == 0 else None,
            )
            for i, (E, shape, zero) in enumerate(zip(outside, shapes, zeros, strict=True))
        ]
        self._kept = [Kept(zero, constant.top) for zero, constant in zip(zeros, self._constant, strict=True)]
        # between what does not move on both sides of an interface
        self._met = [best(high.V, low.U) for low, high in pairwise(self._constant)]
        self._then: tuple[At, MixedStart | None] | None = None
        self._now: At | None = None
        self._pool: Pool | None = None
        if self._mixed is not None and threads > 1 and min(shapes[0]) >= WIDE:
            self._pool = Pool(threads)
            if use_one_thread is not None:
                use_one_thread()

    def take(self, weights: Matrices, names: Collection[str]) -> dict[str, Any]:
        """The scores of these names, of the network that these small layers stand for: numbers, or promises of them (`Later`)."""
        if len(self._constant) == 1:
            return dict.fromkeys(names, 1.0)
        if "invariance" in names and self._then is None:
            then = self._at(self._start, self._kept)
            self._then, self._now = (then, None if then.mixed is None else then.mixed.start()), then
        # what is run moves in place
        weights = [np.array(W, dtype=np.float64) for W in weights]
        if self._pool is not None:
            task = self._pool.submit(self._task, weights, tuple(names))
            return {name: Later(task, name) for name in names}
        self._now = self._at(weights, self._kept, self._now)
        return {name: self._score(name, self._now) for name in names}

    def close(self) -> None:
        """End the threads, without what they have not begun."""
        if self._pool is not None:
            self._pool.close()

    def _task(self, weights: Matrices, names: Collection[str]) -> dict[str, float]:
        """The scores of these weights, by a thread of its own: nothing that others use is written."""
        at = self._at(weights, map(copy, self._kept), self._then[0] if self._then is not None else None)
        return {name: self._score(name, at) for name in names}

    def _at(self, weights: Matrices, kept: Iterable[Kept], before: At | None = None) -> At:
        """The vectors of these small layers; those of `before` where they still are."""
        mixed = None
        if self._mixed is not None:
            old = None if before is None else before.mixed
            mixed = old if old is not None and not old.moved(weights[0]) else self._mixed.at(weights[0])
        found = []
        for i, (W, keep, constant) in enumerate(zip(weights, kept, self._constant, strict=True)):
            if i == 0 and mixed is not None:
                found.append(Vectors(Side(np.zeros((0, 0)), 0), Side(np.zeros((0, 0)), 0)))
            else:
                found.append(keep(W if constant.root is None else np.hstack([W, constant.root])))
        return At(tuple(found), mixed)

    def _score(self, name: str, at: At) -> float:
        upper = [constant.count for constant in self._constant[1:]]
        if name == "alignment_svd":
            return sum(self._interface(i, at) for i in range(len(upper))) / sum(upper)
        lower = [constant.count for constant in self._constant[:-1]]
        return sum(self._stayed(i, at) for i in range(len(self._constant))) / (sum(lower) + sum(upper))

    def _interface(self, i: int, at: At) -> float:
        low, high = self._constant[i], self._constant[i + 1]
        v = at.layers[i + 1].right.vectors
        if i == 0 and at.mixed is not None:
            return at.mixed.met_by(v, high.V, high.nulls(v))
        u = at.layers[i].left.vectors
        if high.nulls(v) or low.nulls(u):
            return matched(high.right(v), low.left(u))
        return best(v, u) + self._met[i]

    def _stayed(self, i: int, at: At) -> float:
        assert self._then is not None
        then, mixed = self._then
        constant, one, two = self._constant[i], at.layers[i], then.layers[i]
        total = 0.0
        if i < len(self._constant) - 1:
            if i == 0 and at.mixed is not None:
                assert mixed is not None
                total += at.mixed.still(mixed)
            else:
                total += self._same(one, two, constant, two.left.vectors, one.left.vectors, constant.left, constant.U)
        if i > 0:
            total += self._same(one, two, constant, two.right.vectors, one.right.vectors, constant.right, constant.V)
        return total

    @staticmethod
    def _same(
        now: Vectors, then: Vectors, constant: ConstantVectors, before: Array, after: Array, whole: Callable[[Array], Side], still: Array
    ) -> float:
        """How far the vectors of a side are those of the start."""
        if now is then:
            return float(constant.count)
        if constant.nulls(before) or constant.nulls(after):
            return matched(whole(before), whole(after))
        return best(before, after) + float(still.shape[1])
