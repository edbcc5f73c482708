"""Split: an orthogonal direct sum of independent blocks (T8.3); aligned parts become scalars, one a layer and mode.

Precondition: a quadratic loss, dense layers, data `diag(x)` or the identity, and orthonormal bases in which every layer, C
and M are block diagonal. Blocks evolve by themselves; the loss is their sum and a constant. Lift: sum of the blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ..network import Network
from ..problem import Problem
from ..validate import Array
from .width import RESIDUAL_TOLERANCE, Subspace

# directions with less than this share of the largest image are taken for zero while bases are sought; then all is verified
NOISE = 1e-13
# modes that differ by less than this share are one mode, run once
SAME = 1e-13
# the directions that tell blocks apart come from random combinations: some tell them apart better than others
TRIES = 4
GOOD = 1e-14
# more blocks than this are not sought one by one
MOST_BLOCKS = 16
# a part whose gradient is below this share of the largest possible never moves
STILL = 1e-14


@dataclass(frozen=True, eq=False)
class Bases:
    """An invariant part: one orthonormal basis `(k_i, m_i)` a vertex; `aligned` if the layers are diagonal in them."""

    vertices: list[Array]
    aligned: bool


@dataclass(frozen=True, eq=False)
class Modes:
    """Aligned modes: `sigma (d, r)`, loss `factor * sum weight (x p - y)^2`; mode j stands for `weight_j` identical ones."""

    sigma: Array
    x: Array
    y: Array
    weight: Array


@dataclass(frozen=True, eq=False)
class Part:
    """A block to run, how often it occurs, and where its copies go: one list of bases a copy."""

    content: Problem | Modes | None
    """None: the block has no gradient and keeps its start."""
    places: list[list[Array]]
    start: list[Array]
    index: Array | None = None
    """For modes: which run mode each original mode is."""


@dataclass(frozen=True, eq=False)
class Split:
    """The parts, the loss that no part changes, and how nearly the bases decouple."""

    parts: list[Part]
    floor: float
    residual: float
    modes: int
    """Scalars a layer that are run."""
    blocks: tuple[tuple[int, ...], ...]
    """Widths of the matrix blocks that are run."""


class _Sum:
    """The maps of a problem: layers, `C = X^T X` and `M = T^T X`, scaled to norm one."""

    def __init__(self, weights: list[Array], x: Array, M: Array) -> None:
        self.weights = weights
        self.x, self.M = x, M
        self.C_scaled = (x / (np.linalg.norm(x) or 1.0)) ** 2
        self.M_scaled = M / (np.linalg.norm(M) or 1.0)
        self.scaled = [W / (np.linalg.norm(W) or 1.0) for W in weights]
        self.sizes = [weights[0].shape[1], *(W.shape[0] for W in weights)]


def _generated(maps: _Sum, seeds: list[tuple[int, Array]]) -> list[Array]:
    """The smallest part that holds the seeds `(vertex, columns)`: closed under all maps and their transposes."""
    d = len(maps.weights)
    spaces = [Subspace(k) for k in maps.sizes]
    waiting: list[tuple[int, Array]] = []

    def put(i: int, B: Array) -> None:
        if spaces[i].basis is None:
            return
        new = spaces[i].add(B, 1e-10)
        if new is None:
            new = np.eye(spaces[i].size)
        if new.shape[1]:
            waiting.append((i, new))

    for i, B in seeds:
        put(i, B)
    while waiting:
        i, new = waiting.pop(0)
        if i < d:
            put(i + 1, maps.scaled[i] @ new)
        if i:
            put(i - 1, maps.scaled[i - 1].T @ new)
        if i == 0:
            put(0, maps.C_scaled[:, None] * new)
            put(d, maps.M_scaled @ new)
        if i == d:
            put(0, maps.M_scaled.T @ new)
    return [np.eye(space.size) if space.basis is None else space.basis for space in spaces]


def _complement(Q: Array) -> Array:
    """An orthonormal basis of what is orthogonal to the columns of Q."""
    full = scipy.linalg.qr(Q, check_finite=False)[0] if Q.shape[1] else np.eye(Q.shape[0])
    return full[:, Q.shape[1] :]


def _restrict(maps: _Sum, bases: list[Array]) -> tuple[list[Array], Array, Array]:
    """Layers, C and M in these bases; what is rounding beside the whole is zero."""

    def clean(part: Array, whole: float) -> Array:
        return part if np.linalg.norm(part) > NOISE * whole else np.zeros_like(part)

    weights = [clean(bases[i + 1].T @ W @ bases[i], float(np.linalg.norm(W))) for i, W in enumerate(maps.weights)]
    C = clean((bases[0].T * maps.x**2) @ bases[0], float(np.linalg.norm(maps.x**2)))
    return weights, C, clean(bases[-1].T @ maps.M @ bases[0], float(np.linalg.norm(maps.M)))


def _joint_basis(weights: list[Array], C: Array, M: Array, seed: int = 0) -> Array:
    """A joint eigenbasis of C, M^T M and the Gram matrices of the products, if there is one (T1.2, T3.2)."""
    rng = np.random.default_rng(seed)
    L = np.linalg.cholesky(C + 1e-300 * np.eye(len(C))).T if np.linalg.eigvalsh(C)[0] > 0 else np.real(scipy.linalg.sqrtm(C))
    blocks, product = [L, M], np.eye(len(C))
    for W in weights:
        product = W @ product
        blocks.append(product)
    rows = [B * (rng.uniform(1, 2) / np.linalg.norm(B)) for B in blocks if np.linalg.norm(B) > 0]
    s, Vt = np.linalg.svd(np.vstack(rows))[1:]
    V = Vt.T
    # where the Gram matrices do not tell directions apart, M^T P may
    S = M.T @ product
    start = 0
    while start < len(C):
        stop = start + 1
        while stop < len(C) and s[start] - s[stop] <= 1e-9 * s[0]:
            stop += 1
        if stop - start > 1:
            block = V[:, start:stop].T @ (S + S.T) @ V[:, start:stop]
            V[:, start:stop] = V[:, start:stop] @ np.linalg.eigh(block)[1]
        start = stop
    return V


def _sweep(weights: list[Array], M: Array, Q0: Array) -> tuple[list[Array], int]:
    """Bases that carry each column of Q0 through the layers; survivors, those that reach the end, come first."""
    alive = np.ones(Q0.shape[1], dtype=bool)
    Z = Q0
    for W in weights:
        Z = W @ Z
        norms = np.linalg.norm(Z, axis=0)
        alive &= norms > NOISE * np.linalg.norm(W)
        Z = Z / np.where(norms > 0, norms, 1.0)
    Q = Q0[:, np.concatenate([np.flatnonzero(alive), np.flatnonzero(~alive)])]
    r = min(int(alive.sum()), min(len(W) for W in weights))
    bases = [Q]
    for W in weights:
        U, R = np.linalg.qr(W @ bases[-1][:, :r])
        U = U * np.where(np.diag(R) < 0, -1.0, 1.0)
        bases.append(np.hstack([U, _complement(U)]))
    return bases, r


def _modes_in(weights: list[Array], C: Array, M: Array) -> tuple[list[Array], int]:
    """Bases of the first r directions at every vertex that are modes, exactly; r = 0 if there are none."""
    for Q0 in (np.eye(len(C)), _joint_basis(weights, C, M)):
        bases, r = _sweep(weights, M, Q0)
        if r and _mode_residual(weights, C, M, bases, r) <= RESIDUAL_TOLERANCE:
            return bases, r
    return [], 0


def _mode_residual(weights: list[Array], C: Array, M: Array, bases: list[Array], r: int) -> float:
    """How far the first r directions are from modes: off-diagonal parts of the layers, C and M in their rows and columns."""
    worst = 0.0
    everything = [(W, bases[i + 1], bases[i]) for i, W in enumerate(weights)] + [(C, bases[0], bases[0]), (M, bases[-1], bases[0])]
    for A, left, right in everything:
        scale = float(np.linalg.norm(A))
        if scale == 0:
            continue
        columns, rows = left.T @ (A @ right[:, :r]), (left[:, :r].T @ A) @ right
        columns[np.arange(r), np.arange(r)] = 0
        rows[np.arange(r), np.arange(r)] = 0
        worst = max(worst, float(np.linalg.norm(columns)) / scale, float(np.linalg.norm(rows)) / scale)
    return worst


def _cores(maps: _Sum, seed: int) -> list[list[Array]]:
    """Parts generated by single directions that the targets see, largest target first; empty if there is only one part."""
    found: list[list[Array]] = []
    rest = [np.eye(k) for k in maps.sizes]
    while len(found) < MOST_BLOCKS and min(B.shape[1] for B in rest) > 0:
        weights, C, M = _restrict(maps, rest)
        if not M.any():
            break
        V = _joint_basis(weights, C, M, seed)
        q = V[:, [int(np.argmax(np.linalg.norm(M @ V, axis=0)))]]
        part = _generated(maps, [(0, rest[0] @ q)])
        if [B.shape[1] for B in part] == [B.shape[1] for B in rest]:
            found.append(part)
            return found
        found.append(part)
        rest = [_complement(np.hstack([core[i] for core in found])) for i in range(len(maps.sizes))]
    return found


def find(problem: Problem) -> tuple[list[Bases], float]:
    """Invariant parts that together are everything, and how nearly they decouple; empty if there is only one.

    Cost: a few factorisations of every layer, and as many again a block.
    """
    weights = [theta.astype(np.float64, copy=False) for theta in problem.net.params]
    x, M = _data(problem)
    maps = _Sum(weights, x, M)
    best: tuple[list[Bases], float] = [], 0.0
    for seed in range(TRIES):
        parts = _parts(maps, seed)
        if not parts:
            break
        residual = _residual(maps, parts)
        if not best[0] or residual < best[1]:
            best = parts, residual
        if residual <= GOOD:
            break
    return best


def _parts(maps: _Sum, seed: int) -> list[Bases]:
    """Parts that together are everything; empty if there is only one and it is not aligned."""
    bases, r = _modes_in(maps.weights, np.diag(maps.x**2), maps.M)
    parts: list[Bases] = []
    if r:
        parts.append(Bases([Q[:, :r] for Q in bases], True))
        rest = [Q[:, r:] for Q in bases]
    else:
        cores = _cores(maps, seed)
        if not cores or [B.shape[1] for B in cores[0]] == maps.sizes:
            return []
        parts += [Bases(core, False) for core in cores]
        rest = [_complement(np.hstack([core[i] for core in cores])) for i in range(len(maps.sizes))]
        if min(B.shape[1] for B in rest):
            inner, r = _modes_in(*_restrict(maps, rest))
            if r:
                inner = [B @ Q for B, Q in zip(rest, inner, strict=True)]
                parts.append(Bases([Q[:, :r] for Q in inner], True))
                rest = [Q[:, r:] for Q in inner]
    if max(B.shape[1] for B in rest):
        parts.append(Bases(rest, False))
    return [] if len(parts) == 1 and not parts[0].aligned else parts


def _residual(maps: _Sum, parts: list[Bases]) -> float:
    """What of the layers, C and M lies between the parts, relative to each."""
    worst = 0.0
    d = len(maps.weights)
    C = np.diag(maps.x**2)
    for A, up, down in [(W, i + 1, i) for i, W in enumerate(maps.weights)] + [(C, 0, 0), (maps.M, d, 0)]:
        scale = float(np.linalg.norm(A))
        if scale:
            kept = sum(p.vertices[up] @ (p.vertices[up].T @ A @ p.vertices[down]) @ p.vertices[down].T for p in parts)
            worst = max(worst, float(np.linalg.norm(A - kept)) / scale)
    return worst


def _data(problem: Problem) -> tuple[Array, Array]:
    """`x` with X = diag(x), and `M = T^T X`."""
    assert problem.T is not None
    T = problem.T.astype(np.float64, copy=False)
    x = np.ones(problem.net.widths[0]) if problem.X is None else problem.X.astype(np.float64, copy=False)
    return x, T.T * x


def split(problem: Problem, parts: list[Bases], residual: float) -> Split:
    """The parts as problems of their own."""
    assert problem.T is not None
    x, _ = _data(problem)
    T = problem.T.astype(np.float64, copy=False)
    weights = [theta.astype(np.float64, copy=False) for theta in problem.net.params]
    made: list[Part] = []
    rest = T.copy()
    for part in parts:
        bases = part.vertices
        samples, s, V = _rotate(x, bases[0])
        if part.aligned:
            samples, s = _columns(x, bases[0])
        else:
            bases = [bases[0] @ V, *bases[1:]]
        targets = samples.T @ T @ bases[-1]
        small = [bases[i + 1].T @ W @ bases[i] for i, W in enumerate(weights)]
        made.append(_aligned(bases, small, s, targets) if part.aligned else _block(problem, bases, small, s, targets))
        if made[-1].content is not None:
            rest -= samples @ (targets * np.eye(*targets.shape) if part.aligned else targets) @ bases[-1].T
    made = _merge(made)
    floor = problem.floor + problem.factor * float(np.sum(rest**2))
    modes = sum(part.content.sigma.shape[1] for part in made if isinstance(part.content, Modes))
    blocks = tuple(part.content.net.widths for part in made if isinstance(part.content, Problem))
    return Split(made, floor, residual, modes, blocks)


def _columns(x: Array, B: Array) -> tuple[Array, Array]:
    """`diag(x) B = samples * s` with unit columns: of modes, they are orthogonal."""
    XB = x[:, None] * B
    s = np.linalg.norm(XB, axis=0)
    return XB / np.where(s > 0, s, 1.0), s


def _rotate(x: Array, B: Array) -> tuple[Array, Array, Array]:
    """Thin singular value decomposition of `diag(x) B`."""
    samples, s, Vt = np.linalg.svd(x[:, None] * B, full_matrices=False)
    return samples, s, Vt.T


def _aligned(bases: list[Array], small: list[Array], s: Array, targets: Array) -> Part:
    sigma = np.array([np.diag(W) for W in small])
    y = np.diag(targets).copy()
    table = np.vstack([sigma, s, y])
    scale = np.abs(table).max(axis=1, keepdims=True)
    scale[-1] = max(scale[-1, 0], float(np.max(s * np.abs(sigma.prod(axis=0)))))  # y is compared with x p
    key = np.round(table / np.where(scale > 0, scale, 1.0) / SAME)
    _, first, index = np.unique(key, axis=1, return_index=True, return_inverse=True)
    index = index.reshape(-1)
    weight = np.bincount(index, minlength=len(first)).astype(np.float64)
    return Part(Modes(sigma[:, first], s[first], y[first], weight), [bases], small, index)


def _block(problem: Problem, bases: list[Array], small: list[Array], s: Array, targets: Array) -> Part:
    content: Problem | None = None
    if min(B.shape[1] for B in bases) and _moves(small, s, targets):
        dtype = problem.net.dtype
        X = None if problem.X is None else s.astype(dtype)
        net = Network.from_matrices([W.astype(dtype) for W in small])
        content = Problem(net, X, np.ascontiguousarray(targets).astype(dtype), problem.loss, problem.factor)
    return Part(content, [bases], small)


def _moves(small: list[Array], s: Array, targets: Array) -> bool:
    """Whether the block can ever move: not if its product is zero and no layer sees the targets.

    Such a block has no gradient however its layers decay, and its loss is a constant.
    """
    product, d = np.eye(len(s)), len(small)
    below = [product]
    for W in small:
        product = W @ product
        below.append(product)
    norms = [float(np.linalg.norm(W)) for W in small]
    if np.linalg.norm(product) > STILL * np.prod(norms):
        return True
    G = targets.T * s
    scale = float(np.linalg.norm(G))
    for i in reversed(range(d)):
        if np.linalg.norm(G @ below[i].T) > STILL * scale * np.prod(norms[:i] + norms[i + 1 :]):
            return True
        G = small[i].T @ G
    return False


def _merge(parts: list[Part]) -> list[Part]:
    """Equal blocks are one part with several places."""
    kept: list[Part] = []
    for part in parts:
        for other in kept:
            if _same(part.content, other.content):
                other.places.extend(part.places)
                break
        else:
            kept.append(part)
    return kept


def _same(a: Problem | Modes | None, b: Problem | Modes | None) -> bool:
    if not (isinstance(a, Problem) and isinstance(b, Problem)) or a.net.widths != b.net.widths:
        return False
    arrays = [*zip(a.net.params, b.net.params, strict=True), (a.T, b.T)]
    if a.X is not None:
        arrays.append((a.X, b.X))
    return all(np.linalg.norm(u - v) <= SAME * np.linalg.norm(v) for u, v in arrays)  # type: ignore[operator,arg-type]


def lift(found: Split, states: list[list[Array]], dtype: np.dtype[np.float64]) -> list[Array]:
    """The layers from the parameters of every part: matrices of a block, or `[sigma]` of modes."""
    total: list[Array] = []
    for part, state in zip(found.parts, states, strict=True):
        for bases in part.places:
            for i in range(len(bases) - 1):
                if isinstance(part.content, Modes):
                    sigma = state[0].astype(np.float64)[i][part.index]
                    W = (bases[i + 1] * sigma) @ bases[i].T
                else:
                    W = bases[i + 1] @ state[i].astype(np.float64) @ bases[i].T
                if i < len(total):
                    total[i] += W
                else:
                    total.append(W)
    return [np.asarray(W.astype(dtype)) for W in total]
