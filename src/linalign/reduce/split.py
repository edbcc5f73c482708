"""Split: an orthogonal direct sum of independent blocks (T8.3); aligned parts become scalars, one a layer and mode.

Precondition: a quadratic loss, dense layers, data `diag(x)` or the identity, and orthonormal bases in which every layer, C
and M are block diagonal. Blocks evolve by themselves; the loss is their sum and a constant. Lift: sum of the blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..linear_algebra.waited import interruptible
from ..problem.descent import Descent
from ..problem.network import Network
from ..problem.problem import Problem
from ..validate import Array
from . import blocks, canonical
from .blocks import Bases, moments, times
from .reduction import TOO_SHORT, Budget, Found, Reduction, Refused, off
from .width import RESIDUAL_TOLERANCE

# modes, and blocks, that differ by less than this share are one, run once
SAME = 1e-13


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


def split(problem: Problem, parts: list[Bases], residual: float) -> Split:
    """The parts as problems of their own; `residual` is how nearly layers and moments decouple in their bases."""
    assert problem.T is not None
    x, _ = moments(problem)
    T = problem.T.astype(np.float64, copy=False)
    weights = [theta.astype(np.float64, copy=False) for theta in problem.net.params]
    scales = [float(np.linalg.norm(A)) or 1.0 for A in (*weights, x, T)]
    made: list[Part] = []
    known: list[_Known] = []
    reached = np.zeros((len(x), 0))
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
        new = _aligned(bases, small, s, targets) if part.aligned else _block(problem, bases, small, s, targets)
        if new.content is not None:
            rest -= samples @ (targets * np.eye(*targets.shape) if part.aligned else targets) @ bases[-1].T
        if not isinstance(new.content, Problem) or not _joined(known, new, small, s, targets, scales):
            made.append(new)
        reached = np.hstack([reached, samples[:, s > 0]])
    # parts that decouple in C = X^T X do so in X only if they share no samples: where X is ill-conditioned, C does not tell
    residual = max(residual, float(np.linalg.norm(reached.T @ reached - np.eye(reached.shape[1]))))
    floor = problem.floor + problem.factor * float(np.sum(rest**2))
    modes = sum(part.content.sigma.shape[1] for part in made if isinstance(part.content, Modes))
    blocks = tuple(part.content.net.widths for part in made if isinstance(part.content, Problem))
    return Split(made, floor, residual, modes, blocks)


# a block that is run, its canonical coordinates and its arrays in them
_Known = tuple[Part, list[Array], list[Array]]


def _joined(known: list[_Known], new: Part, small: list[Array], s: Array, targets: Array, scales: list[float]) -> bool:
    """Whether the block equals a known one up to its bases; then it is one more place of that one."""
    R = canonical.rotations(small, s, targets, scales)
    arrays = canonical.form(small, s, targets, R)
    for part, R_known, arrays_known in known:
        if _same(arrays, arrays_known, scales):
            part.places.append([B @ r @ r_known.T for B, r, r_known in zip(new.places[0], R, R_known, strict=True)])
            return True
    known.append((new, R, arrays))
    return False


def _same(arrays: list[Array], others: list[Array], scales: list[float]) -> bool:
    """Whether layers, data and targets agree, up to the rounding of the whole problem they were taken from."""
    return all(
        a.shape == b.shape and np.linalg.norm(a - b) <= SAME * np.linalg.norm(b) + 4 * np.finfo(np.float64).eps * scale
        for a, b, scale in zip(arrays, others, scales, strict=True)
    )


def _columns(x: Array, B: Array) -> tuple[Array, Array]:
    """`diag(x) B = samples * s` with unit columns: of modes, they are orthogonal."""
    XB = x[:, None] * B
    s = np.linalg.norm(XB, axis=0)
    return XB / np.where(s > 0, s, 1.0), s


def _rotate(x: Array, B: Array) -> tuple[Array, Array, Array]:
    """Thin singular value decomposition of `diag(x) B`."""
    samples, s, Vt = interruptible(np.linalg.svd, x[:, None] * B, full_matrices=False)
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
    d, below = len(small), [np.eye(len(s))]
    for W in small:
        below.append(times(W, below[-1]))
    if below[-1].any():
        return True
    G = targets.T * s
    for i in reversed(range(d)):
        if times(G, below[i].T).any():
            return True
        G = times(small[i].T, G)
    return False


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


class SplitReduction(Reduction):
    """T8.3."""

    name = "split"
    needs_quadratic = True
    needs_dense = slice(None)

    def seek(self, problem: Problem, descent: Descent, budget: Budget) -> Found | Refused:
        if problem.X is not None and problem.X.ndim != 1:
            return Refused("needs the data diagonal (inputs)")
        if blocks.search_cost(problem.net.widths) > budget.affordable(sum(problem.net.widths)):
            return TOO_SHORT
        parts, residual = blocks.find(problem)
        if not parts:
            return Refused("the network and the data are one block")
        found = split(problem, parts, residual)
        if no := off(found.residual, RESIDUAL_TOLERANCE, "nearly independent blocks,"):
            return no
        if why := budget.too_little_apart(problem, found):
            return Refused(why)
        return Found(problem, describe(found), "T8.3: independent parts, equal ones run once", found.residual, split=found)


def describe(found: Split) -> str:
    """The parts in words."""
    named = []
    for part in found.parts:
        if isinstance(part.content, Problem):
            copies = f"{len(part.places)} x " if len(part.places) > 1 else ""
            named.append(copies + "-".join(map(str, part.content.net.widths)))
    modes = sum(len(p.index) for p in found.parts if p.index is not None)
    if modes:
        distinct = f" ({found.modes} distinct)" if found.modes != modes else ""
        named.append(f"{modes} scalar modes{distinct}")
    return ", ".join(named) or "nothing moves"
