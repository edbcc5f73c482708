"""Scores of singular vectors: how far neighbouring layers share them, and how far they are still those of the start.

These are the scores of the authors of arXiv 2003.06340. Vectors are those of thin singular value decompositions `W_i = U_i S_i V_i^T`,
`min(k_i, k_{i-1})` of them a layer, null vectors among them. Three things to know:

- where a singular value repeats, its vectors are a choice, and the score is that of whichever was made. Null vectors, those of the value
  zero, are chosen one by one to match (`singular_vectors.matched`), so that the scores of layers of low rank do not depend on the library
  or on how a run was reduced. Other values that repeat are left to the decomposition: of a start of identities or orthogonal layers the
  scores with and without `reduce` may differ by most of their range, and neither is wrong. `alignment` depends on no such choice.
- random layers do not score 0: see `alignment_baseline`.
- a layer of more vectors than the one below it cannot match them all. The alignment of an exactly aligned chain is
  `sum_i min(r_i, r_{i+1}) / sum_i r_{i+1}`, `r_i = min(k_i, k_{i-1})`: 1 where these do not grow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..calls import called
from ..problem.network import Network
from ..validate import Array
from .chain import Matrices, Vector, along, chain_matrices, noise, safe, snapshots
from .deferred import Pool
from .singular_vectors import Kept, Vectors, matched, top_pair, zero

NAMES = ("alignment_svd", "invariance")
# a layer whose smaller side is at least this is factored beside the others, not after them
WORTH_A_THREAD = 256


@called
def alignment_svd(net: Network | Iterable[Any]) -> Any:
    r"""The authors' score of alignment: `max_j |v_{i+1,l} . u_{i,j}|`, its mean over the vectors `v_{i+1,l}` of all upper layers.

    The sum runs over all interfaces and all l, and is divided by their number, 64 + 10 = 74 for 784-1024-64-10. What it means where
    singular values repeat, and when it can be 1, is said at the head of this module. A single layer scores 1.

    Returns: a number. Cost: a singular value decomposition a layer, or what its structure asks (`structured_svd`); along a trajectory
    only where vectors have turned. Raises: as `alignment`. Source: docs/theory, section 1 (`authors`).
    """
    return _scored(net, None, "alignment_svd")


@called
def invariance(net: Network | Iterable[Any], start: Network | Iterable[Any] | None = None) -> Any:
    r"""The authors' score of invariance: how far the singular vectors of `start` are still there, 1 where none has turned.

    For every vector of `U_1 .. U_{d-1}` and `V_2 .. V_d` of `start`, the largest `|.|` of its products with the vectors of the same
    side of the same layer of `net`; the mean over all of them, 784 + 64 + 64 + 10 = 922 for 784-1024-64-10. A single layer scores 1.
    What is said at the head of this module of values that repeat holds here too.

    `start` may be left out for a trajectory, and is then its first member.

    Returns: a number. Cost: a singular value decomposition of every layer of both. Raises: as `alignment`, and ValueError if the
    shapes differ. Source: docs/theory, section 1 (`authors`).
    """
    return _scored(net, _start(net, start), "invariance")


@along
@called
def alignment_top(net: Network | Iterable[Any]) -> Vector:
    r"""`|v_{i+1,1} . u_{i,1}|` an interface, of the singular vectors of the largest singular values (Ji and Telgarsky).

    1 where a layer is zero. Where the largest singular value repeats, its vectors are arbitrary and so is the score.

    Returns: shape `(d - 1,)`. Cost: of a layer, one Gram matrix of the small side and its largest eigenpair.
    Raises: as `alignment`. Source: docs/theory, section 1 (`top`).
    """
    return top_alignment(chain_matrices(net))


@called
def top_invariance(net: Network | Iterable[Any], start: Network | Iterable[Any] | None = None) -> Any:
    r"""The authors' score of networks with one output: the top singular vectors against those of `start`, with their signs.

    The mean over the 2 d terms `u_{i,1}(start) . u_{i,1}` and `v_{i,1}(start) . v_{i,1}` of all layers. Only the two vectors of a layer
    together may change their sign; of the two ways that with the larger sum is taken, so the score is in [0, 1]. A layer that is zero, in
    either, has turned nothing. Where the largest singular value repeats, its vectors are arbitrary and so is the score.

    `start` may be left out for a trajectory, and is then its first member.

    Returns: a number. Cost: as `alignment_top`, of both. Raises: as `invariance`. Source: docs/theory, section 1 (`top`, `authors`).
    """
    members, then = snapshots(net), _start(net, start)
    first = tops(then)
    if members is None:
        return kept_tops(tops(chain_matrices(net)), first)
    return np.array([kept_tops(tops(member), first) for member in members])


def _start(net: Any, start: Any) -> list[Array]:
    """The matrices that `net` is compared with. Raises: ValueError where there are none, or of other shapes."""
    members = snapshots(net)
    if start is None and members is None:
        raise ValueError("start is None but net is a single network; pass start=, or a trajectory")
    now = chain_matrices(net) if members is None else members[0]
    then = now if start is None else chain_matrices(start, "start")
    if [W.shape for W in now] != [W.shape for W in then]:
        raise ValueError(f"start has layers of shapes {[W.shape for W in then]} but net has {[W.shape for W in now]}; they must be equal")
    return then


def _scored(net: Any, start: Matrices | None, name: str) -> Any:
    members = snapshots(net)
    given = [chain_matrices(net)] if members is None else members
    scores = VectorScores(given[0] if start is None else start)
    found = np.array([scores.take(member, (name,))[name] for member in given])
    return float(found[0]) if members is None else found


# ---- the top vectors -------------------------------------------------------------------------------------------------------

Tops = list[tuple[Array, Array] | None]


def tops(matrices: Matrices) -> Tops:
    """`(u_1, v_1)` of each layer; None for one that is zero."""
    return [top_pair(W) if size else None for W, size in map(safe, matrices)]


def top_alignment(matrices: Matrices) -> Vector:
    """`alignment_top` of matrices that are known to fit."""
    pairs = pairwise(tops(matrices))
    scores = [1.0 if low is None or high is None else min(abs(float(high[1] @ low[0])), 1.0) for low, high in pairs]
    return np.array(scores, dtype=np.float64)


def kept_tops(now: Tops, then: Tops) -> float:
    """`top_invariance`, from the top vectors of both."""
    total = 0.0
    for one, two in zip(now, then, strict=True):
        total += 2.0 if one is None or two is None else min(abs(float(one[0] @ two[0]) + float(one[1] @ two[1])), 2.0)
    return total / (2 * len(now))


# ---- all vectors, along a run ----------------------------------------------------------------------------------------------


class _Ready:
    """What a pool would promise, at once."""

    def __init__(self, task: Callable[..., Any], *arguments: Any) -> None:
        self._found = task(*arguments)

    def result(self) -> Any:
        return self._found


class VectorScores:
    """The authors' scores of a chain that moves, from its matrices; vectors that have not turned are kept."""

    def __init__(self, start: Matrices, threads: int = 1) -> None:
        """`start` is what invariance compares with. `threads`: factorisations at a time."""
        self._start = start
        self._kept = [Kept(zero(W.shape, noise(W))) for W in start]
        self._then: list[Vectors] | None = None
        large = sum(min(W.shape) >= WORTH_A_THREAD for W in start) > 1
        self._pool = Pool(threads) if threads > 1 and large else None

    def take(self, matrices: Matrices, names: Collection[str]) -> dict[str, float]:
        """The scores of these names, of these matrices."""
        if len(self._kept) == 1:
            return dict.fromkeys(names, 1.0)
        if "invariance" in names and self._then is None:
            self._then = self._vectors(self._start)
        now = self._vectors(matrices)
        parts: dict[str, list[Any]] = {}
        if "alignment_svd" in names:
            parts["alignment_svd"] = [self._submit(matched, high.right, low.left) for low, high in pairwise(now)]
        if "invariance" in names:
            assert self._then is not None
            parts["invariance"] = [self._submit(_stayed, *pair) for pair in _sides(now, self._then)]
        counts = {"alignment_svd": aligned_count(now), "invariance": stayed_count(now)}
        return {name: sum(part.result() for part in found) / counts[name] for name, found in parts.items()}

    def close(self) -> None:
        """End the threads, without what they have not begun."""
        if self._pool is not None:
            self._pool.close()

    def _vectors(self, matrices: Matrices) -> list[Vectors]:
        tasks = [self._submit(keep, safe(W)[0]) for keep, W in zip(self._kept, matrices, strict=True)]
        return [task.result() for task in tasks]

    def _submit(self, task: Callable[..., Any], *arguments: Any) -> Any:
        return _Ready(task, *arguments) if self._pool is None else self._pool.submit(task, *arguments)


def aligned_count(layers: Sequence[Vectors]) -> int:
    """Vectors of the upper layers."""
    return sum(layer.right.count for layer in layers[1:])


def stayed_count(layers: Sequence[Vectors]) -> int:
    """Vectors that invariance looks at: outputs but of the last layer, inputs but of the first."""
    return sum(layer.left.count for layer in layers[:-1]) + aligned_count(layers)


def _sides(now: Sequence[Vectors], then: Sequence[Vectors]) -> list[tuple[Vectors, Vectors, bool, bool]]:
    """Every layer now and at the start, and which of its sides count."""
    last = len(now) - 1
    return [(one, two, i < last, i > 0) for i, (one, two) in enumerate(zip(now, then, strict=True))]


def _stayed(now: Vectors, then: Vectors, left: bool, right: bool) -> float:
    """The sum over the vectors of the start, of the sides that count."""
    if now is then:
        return float(left * then.left.count + right * then.right.count)
    # twins have the same products on both sides, up to signs
    if left and right and now.twins == then.twins != "":
        return 2 * matched(then.left, now.left)
    return (matched(then.left, now.left) if left else 0.0) + (matched(then.right, now.right) if right else 0.0)
