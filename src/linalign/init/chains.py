"""Starts that set the whole chain: `(widths, rng, *, options) -> [W_1, ..., W_d]`.

All three build the chain from modes: `W_i = sum over modes of (entry) q_i q_{i-1}^T` with orthonormal bases `q_i` at the vertices
(docs/theory, section 1), so that the start is aligned by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .. import validate
from ..linear_algebra import frame, signed_qr
from ..validate import Array

Lane = tuple[int, Array]  # the vertex where a mode starts, and its entry in each layer from there to where it ends
BASES = ("random", "identity")
# of a matrix with a side so many times the other no more singular vectors are made than values
LONG = 8


def balanced(widths: tuple[int, ...], rng: Any, *, matrix: Any, bases: Any = "random") -> list[Array]:
    """`W_i = Q_i Sigma^(1/d) Q_{i-1}^T` from the SVD `P = Q_d Sigma Q_0^T` of `matrix`, shape `(k_d, k_0)`.

    Then `W_d ... W_1 = P` and `W_{i+1}^T W_{i+1} = W_i W_i^T`, so the chain is strictly aligned (T1.3, corollary).
    `bases`: interior `Q_i` "random" (Haar) or "identity". Raises: ValueError if rank(P) is above the smallest width.
    Cost: one SVD of P. Source: Arora et al., arXiv 1810.02281, procedure 1.
    """
    depth = len(widths) - 1
    U, s, V = _svd(matrix, widths, whole=False)
    lanes = [(0, np.full(depth, value ** (1 / depth))) for value in s]
    return _assemble(widths, lanes, U, V, rng, bases)


def aligned(widths: tuple[int, ...], rng: Any, *, Y: Any, X: Any = None, singular_values: Any = 1.0, bases: Any = "random") -> list[Array]:
    """`W_i = Q_i S_i Q_{i-1}^T` with `S_i` rectangular diagonal, and `Q_0`, `Q_d` the bases of the data.

    `X (n, k_0)`, `Y (n, k_d)`; without X, `Y (k_d, k_0)` is the target of P. If `X^T X` and `(Y^T X)^T Y^T X` commute, the bases
    make `X^T X` and `Y^T X` diagonal (T3.2, algorithm A4) and gradient descent on the squared loss stays in them; the modes come in the
    order of the loss they explain, `s_j^2 / lambda_j`. If not, they are the right singular vectors of X and of Y, as the
    authors of arXiv 2003.06340 take them. Signs are such that no mode starts against its target, `u_j^T Y^T X v_j >= 0`.
    `singular_values`: the entries of the `S_i`, a number, one a mode `(r,)`, or `(d, r)`, `r = min k_i`; zero and negative
    values are allowed. `bases`: interior `Q_i` "random" (Haar) or "identity".
    Cost: SVDs of `(k_0 + k_d, k_0)` and `(n, k_d)` matrices, once; where k_0 or k_d is many times n + r, this sum stands in its place.
    Raises: ValueError, TypeError if shapes do not fit.
    """
    depth, r = len(widths) - 1, min(widths)
    inputs = None
    if X is None:
        outputs = validate.matrix("Y", Y, rows=widths[-1], columns=widths[0]).T
    else:
        inputs = validate.matrix("X", X, columns=widths[0])
        outputs = validate.matrix("Y", Y, rows=inputs.shape[0], columns=widths[-1])
    values = validate.finite("singular_values", validate.real_array("singular_values", singular_values)).astype(np.float64)
    if values.shape not in ((), (r,), (depth, r)):
        raise ValueError(
            f"singular_values has shape {values.shape}; a number, one a mode ({r},) or one a layer and mode ({depth}, {r}) was wanted"
        )
    V, U = _data_bases(inputs, outputs, r)
    lanes = [(0, column) for column in np.broadcast_to(values, (depth, r)).T]
    return _assemble(widths, lanes, U, V, rng, bases)


def lambda_balanced(
    widths: tuple[int, ...], rng: Any, *, lam: Any, matrix: Any = None, scale: Any = None, bases: Any = "random"
) -> list[Array]:
    """`W_{i+1}^T W_{i+1} - W_i W_i^T = lam_i I` at every interface, and `W_d ... W_1 = P`.

    P is `matrix`, or the end-to-end matrix of a gaussian start of that `scale` (1 if neither is given). `lam`: a number, or
    one an interface. Such a chain is aligned (T1.2: every Gram matrix at a vertex is a polynomial in `W_i W_i^T`), so it is made
    of modes. With `Lambda_i = lam_1 + ... + lam_i` a mode has the squared entries `x + Lambda_{i-1}`; one that reaches
    from inputs to outputs has `prod_i (x + Lambda_{i-1}) = p^2`, p its singular value in P. Modes at the special values
    `x = -Lambda_i` end or start inside the network and fill up the widths; where they cannot, no such chain exists.
    Two layers: lam > 0 needs `k_1 <= k_2` (`W_2^T W_2` is positive definite), lam < 0 needs `k_1 <= k_0`.
    Raises: ValueError if widths, rank and signs of lam cannot go together, naming the width. Cost: one SVD of P.
    Source: Braun et al. 2022; Domine et al., arXiv 2409.14623 (two layers).
    """
    depth = len(widths) - 1
    if depth < 2:
        raise ValueError("lambda_balanced relates neighbouring layers, but the network has one layer; use 'balanced' with matrix=")
    given = [lam] * (depth - 1) if np.ndim(lam) == 0 else list(lam)
    if len(given) != depth - 1:
        raise ValueError(f"lam has {len(given)} entries but the network has {depth - 1} interfaces; pass one number or one an interface")
    lams = np.array([validate.real(f"lam[{i}]", value) for i, value in enumerate(given)])
    if matrix is not None and scale is not None:
        raise ValueError("matrix and scale both set the end-to-end matrix; pass one of them")
    if matrix is None:
        end_to_end, matrix = validate.real("scale", 1.0 if scale is None else scale, above=0.0), np.eye(widths[0])
        for fan_in, fan_out in pairwise(widths):
            matrix = end_to_end ** (1 / depth) / np.sqrt(fan_in) * validate.generator(rng).standard_normal((fan_out, fan_in)) @ matrix
    U, s, V = _svd(matrix, widths)
    s = s[s > 0]
    levels = np.concatenate([[0.0], np.cumsum(lams)])
    # sums that differ by rounding only are ties: modes may end on them
    order = np.argsort(levels)
    for low, high in pairwise(order):
        if levels[high] - levels[low] <= 4 * depth * np.finfo(np.float64).eps * np.abs(lams).sum():
            levels[high] = levels[low]
    lanes: list[Lane] = [(0, _mode(levels - levels.min(), p)) for p in s]
    return _assemble(widths, lanes + _inner_lanes(widths, levels, lams, len(s)), U, V, rng, bases)


def _mode(gaps: Array, p: float) -> Array:
    """The entries `sqrt(z + gaps_i)` with product p, `min gaps = 0`, by Newton's method in log z.

    `sum_i log(e^w + gaps_i)` is convex and increasing in w with slope >= 1, so Newton falls to the root from the right.
    """
    target, w = 2 * np.log(p), 2 * np.log(p) / len(gaps)
    for _ in range(200):
        z = np.exp(w)
        step = (np.log(z + gaps).sum() - target) / (z / (z + gaps)).sum()
        w -= step
        if step <= np.finfo(np.float64).eps * max(1.0, abs(w)):
            break
    return np.asarray(np.sqrt(np.exp(w) + gaps))


def _inner_lanes(widths: tuple[int, ...], levels: Array, lams: Array, rank: int) -> list[Lane]:
    """The modes that end or start inside, so that every vertex i has `k_i` modes; `rank` modes pass through.

    A mode on vertices a..b needs `Lambda_j > v` for its layers and `Lambda = v` for the layers on either side, if any. Such
    intervals are nested or disjoint, so the number of modes through the smallest one around vertex i must be `k_i`.
    """
    d = len(levels)

    def refuse(reason: str) -> ValueError:
        return ValueError(
            f"lam = {np.array2string(lams, separator=', ', threshold=8)} is impossible for widths {'-'.join(map(str, widths))} "
            f"and an end-to-end matrix of rank {rank}: {reason}; change the widths, lam or the rank"
        )

    intervals = [(0, b, levels[b]) for b in range(1, d) if levels[b] < levels[:b].min()]
    for a in range(1, d):
        stops = np.flatnonzero(levels[a:] <= levels[a - 1])
        b = a + int(stops[0]) if stops.size else d
        if b == d or levels[b] == levels[a - 1]:
            intervals.append((a, b, levels[a - 1]))
    intervals.sort(key=lambda interval: interval[0] - interval[1])  # the outer ones first
    # the smallest interval around each vertex; there always is one, bounded by the layers where Lambda is smallest
    home: dict[int, tuple[int, int]] = {}
    for a, b, _ in intervals:
        home |= dict.fromkeys(range(max(a, 1), min(b, d - 1) + 1), (a, b))
    lanes: list[Lane] = []
    through = np.full(d + 1, rank)
    for a, b, v in intervals:
        own = [i for i in home if home[i] == (a, b)]
        if own and (odd := [i for i in own if widths[i] != widths[own[0]]]):
            raise refuse(f"widths[{own[0]}] is {widths[own[0]]} and widths[{odd[0]}] is {widths[odd[0]]}, but they must be equal")
        missing = widths[own[0]] - int(through[a]) if own else 0
        if missing < 0:
            raise refuse(f"widths[{own[0]}] is {widths[own[0]]} but must be at least {through[a]}")
        lanes += [(a, np.sqrt(levels[a:b] - v))] * missing
        through[a : b + 1] += missing
    for end in (0, d):
        if through[end] > widths[end]:
            raise refuse(f"widths[{end}] is {widths[end]} but must be at least {through[end]}")
    return lanes


def haar(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """A semi-orthogonal matrix, Haar distributed: QR of a gaussian with the signs of R fixed (Mezzadri, math-ph/0609050)."""
    if rows < columns:
        return haar(rng, columns, rows).T
    return signed_qr(rng.standard_normal((rows, columns)))[0]


def _svd(matrix: Any, widths: tuple[int, ...], whole: bool = True) -> tuple[Array, Array, Array]:
    """`U, s (r,), V` of the end-to-end matrix, `r = min k_i`, r columns at least, all if `whole`; ValueError if its rank is above r."""
    P = validate.matrix("matrix", matrix, rows=widths[-1], columns=widths[0]).astype(np.float64)
    rounding = np.finfo(np.asarray(matrix).dtype if np.asarray(matrix).dtype.kind == "f" else np.float64).eps
    U, s, Vt = np.linalg.svd(P, full_matrices=whole or max(P.shape) < LONG * min(P.shape))
    s[s <= max(P.shape) * rounding * s[0]] = 0.0
    rank, r = np.count_nonzero(s), min(widths)
    if rank > r:
        raise ValueError(
            f"matrix has rank {rank} but the narrowest layer has width {r}, and the product of the layers cannot have a higher rank; "
            f"widen the layer or pass a matrix of rank {r}"
        )
    return U, s[:r], Vt.T


def _triangle(matrix: Array) -> Array:
    """A matrix with the same Gram matrix and no more rows than columns."""
    return np.asarray(np.linalg.qr(matrix, mode="r")) if matrix.shape[0] > matrix.shape[1] else matrix


def _right_vectors(matrix: Array) -> Array:
    """All right singular vectors as columns, `(k, k)`."""
    return np.asarray(np.linalg.svd(_triangle(matrix))[2].T)


def _data_bases(X: Array | None, Y: Array, r: int) -> tuple[Array, Array]:
    """At least r columns each of V and U that make `X^T X` and `Y^T X` diagonal (algorithm A4); otherwise of the SVDs of X and Y.

    X of None is the identity. Where inputs or outputs are many, only the range of the data is looked at, and r directions beside it.
    """
    exact = Y.dtype == np.float64 and (X is None or X.dtype == np.float64)
    Y = Y.astype(np.float64, copy=False)
    k_0 = len(Y) if X is None else X.shape[1]
    spare = np.random.default_rng(0)
    inputs = frame([Y.T if X is None else X, spare.standard_normal((r, k_0))], k_0)
    outputs = frame([Y, spare.standard_normal((r, Y.shape[1]))], Y.shape[1])
    if inputs is not None:
        X, Y = (None, inputs.T @ Y) if X is None else (X @ inputs, Y)
    if outputs is not None:
        Y = Y @ outputs
    V, U = _whole_bases(np.eye(len(Y)) if X is None else X, Y, exact)
    return V if inputs is None else inputs @ V, U if outputs is None else outputs @ U


def _whole_bases(X: Array, Y: Array, exact: bool) -> tuple[Array, Array]:
    """All columns; `exact`: the data are no float32.

    Shapes: V (k_0, k_0), U (k_d, k_d).
    """
    # off-diagonals allowed, relative: 1e-10 as algorithm A4 has it; float32 data are themselves off by 6e-8
    tolerance = 1e-10 if exact else 1e-5
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    R, M, noise = _triangle(X), Y.T @ X, max(*X.shape, Y.shape[1]) * np.finfo(np.float64).eps
    size, strength = np.linalg.norm(X), np.linalg.norm(M)
    # the squared weights have a transcendental ratio, so no rational data make two modes coincide by accident
    V = _right_vectors(np.vstack([R / (size or 1.0), np.sqrt(np.pi / 2) * M / (strength or 1.0)]))
    s = np.linalg.norm(M @ V, axis=0)
    order = np.argsort(-s, kind="stable")
    V, s = V[:, order], s[order]
    modes = min(int(np.count_nonzero(s > noise * strength)), M.shape[0])
    U = signed_qr((M @ V)[:, :modes], "complete")[0]
    C, B = (R @ V).T @ (R @ V), U.T @ M @ V
    if _off_diagonal(C) <= tolerance * size**2 and _off_diagonal(B) <= tolerance * strength:
        length = np.sqrt(np.diagonal(C)[:modes])
        explained = np.divide(s[:modes], length, out=np.zeros(modes), where=length > noise * size)
        best = np.argsort(-explained, kind="stable")
        V[:, :modes], U[:, :modes] = V[:, best], U[:, best]
        return V, U
    V, U = _right_vectors(X), _right_vectors(Y)
    r = min(M.shape)
    U[:, :r] *= np.where(np.einsum("ij,ik,kj->j", U[:, :r], M, V[:, :r], optimize=True) < 0, -1.0, 1.0)
    return V, U


def _off_diagonal(matrix: Array) -> float:
    rest = matrix.copy()
    np.fill_diagonal(rest, 0.0)
    return float(np.linalg.norm(rest))


def _assemble(widths: tuple[int, ...], lanes: Sequence[Lane], U: Array, V: Array, rng: Any, bases: Any) -> list[Array]:
    """`W_i = sum over lanes of (entry) q_i q_{i-1}^T`; lane after lane takes the next free column of each basis it passes."""
    validate.choice("bases", bases, BASES)
    depth = len(widths) - 1
    used = [0] * (depth + 1)
    parts: list[list[tuple[int, int, float]]] = [[] for _ in range(depth)]
    for start, entries in lanes:
        for i in range(start, start + len(entries)):
            parts[i].append((used[i + 1], used[i], float(entries[i - start])))
        for i in range(start, start + len(entries) + 1):
            used[i] += 1
    inner = range(1, depth)
    frames = [np.eye(widths[i], used[i]) if bases == "identity" else haar(validate.generator(rng), widths[i], used[i]) for i in inner]
    Q = [V, *frames, U]
    matrices = []
    for i, part in enumerate(parts):
        to, source = [p[0] for p in part], [p[1] for p in part]
        matrices.append((Q[i + 1][:, to] * np.array([p[2] for p in part])) @ Q[i][:, source].T)
    return matrices
