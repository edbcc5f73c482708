"""Scores of alignment in plain NumPy: how far neighbouring layers share singular vectors.

Every public function takes a `Network`, a sequence of matrices `[W_1, ..., W_d]` or a trajectory (see `spectrum`), of which it
returns an array with one entry a member, and computes in float64. Its twin with
a leading underscore takes matrices that are known to fit together, checks nothing, and is what the recorder calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import eigh

from .. import validate
from ..problem.network import Network
from ..validate import Array
from .singular_vectors import Scores
from .spectrum import Matrices, Vector, _check_fit, _matrices, _norm, _unit, along, snapshots
from .structured_svd import factors

# norms in this range can be raised to the eighth power, times eps^2, within the range of float64
SAFE = (1e-15, 1e15)
# layers that meet in at least so many units are first scored by sums that take half the work; these are trusted while what
# rounding has grown by is at most so much, so that they agree with the careful ones to some twelve digits
WIDE, TRUST = 64, 1e4
# matrices of this many rows and columns, of which at most this share of the entries is not zero, are multiplied as sparse ones
SPARSE_SIDE, SPARSE_SHARE = 128, 0.03
# rows that are looked at first: with so many times that share there, nobody counts the others
PROBED, CLEARLY = 16, 4


@along
def alignment(net: Network | Iterable[Any]) -> Vector:
    r"""One score in [0, 1] an interface; 1 is aligned: the two layers commute in the sense of T1.1.

    `||Z Z^T||_F / ||W_i Z^T W_{i+1}||_F` with `Z = W_{i+1} W_i`, and 1 where `Z = 0`. It is `|cos|` of the angle of Ji and
    Telgarsky where the layers have rank one, needs no singular vectors, and so means the same when singular values repeat.
    The score does not see the scale of a layer. It compares neighbours only: for more than two layers a score of 1
    everywhere is necessary but not sufficient, see `alignment_certificate`.

    `Z` counts as zero when it is no larger than the rounding error of its own computation, at the precision of the input.

    Returns: shape `(d - 1,)`. Cost: `2 k_{i-1} k_i k_{i+1} + k_i min(k_{i-1}, k_{i+1}) min(k_i, 4 min(k_{i-1}, k_{i+1}))`
    multiply-adds an interface, about.
    Raises: ValueError, TypeError if `net` is not a network with parameters, nor matrices that fit together.
    Source: theory note, section 1 (the cosine of c').
    """
    return _alignment(_matrices(net))


@along
def misalignment(net: Network | Iterable[Any], chain: bool = False) -> Vector:
    r"""The sine that belongs to `alignment`: accurate near 0, where the cosine is not; 0 is aligned.

    `||K - K^T||_F / (sqrt(2) ||K||_F)` with `K = W_i Z^T W_{i+1}`, `Z = W_{i+1} W_i`, and 0 where `Z = 0`.

    With `chain=True` entry `i` is the largest sine between `W_i` and any of the products `W_b ... W_{i+1}`, `b > i`. These
    are all the pairs of T1.2: they vanish together exactly when the chain is aligned.

    Returns: shape `(d - 1,)`. Cost: that of `alignment`; with `chain=True` that of d(d - 1)/2 interfaces.
    Raises: as `alignment`. Source: theory note, section 1 (c' and T1.2).
    """
    matrices = _matrices(net)
    return _chain_misalignment(matrices) if chain else _misalignment(matrices)


def alignment_svd(net: Network | Iterable[Any]) -> Any:
    r"""The score of the authors of arXiv 2003.06340: `mean_j max_l |v_{i+1,l} . u_{i,j}|`, averaged over the interfaces.

    `u_{i,j}` and `v_{i+1,l}` run over the thin singular vectors of `W_i` and `W_{i+1}`. Singular vectors that belong to a
    repeated singular value are arbitrary and the score is then noise; random layers do not score 0 (`alignment_baseline`).
    A single layer scores 1.

    Cost: a singular value decomposition a layer, or what its structure asks (`structured_svd`); along a trajectory only where
    vectors have turned. Raises: as `alignment`. Source: theory note, section 1 (`authors`).
    """
    members = snapshots(net)
    if members is not None:
        return _along_vectors(members, members[0], "alignment_svd")
    return _alignment_svd(_matrices(net))


@along
def alignment_top(net: Network | Iterable[Any]) -> Vector:
    r"""`|v_{i+1,1} . u_{i,1}|` an interface, of the singular vectors of the largest singular values (Ji and Telgarsky).

    1 where a layer is zero. Where the largest singular value repeats, its vectors are arbitrary and so is the score.

    Returns: shape `(d - 1,)`. Cost: of a layer, one Gram matrix of the small side and its largest eigenpair.
    Raises: as `alignment`. Source: theory note, section 1 (`top`).
    """
    return _alignment_top(_matrices(net))


def invariance(net: Network | Iterable[Any], start: Network | Iterable[Any] | None = None) -> Any:
    r"""How far the singular bases are still those of `start`: 1 where no singular vector has turned.

    The score of `alignment_svd` between `U_i` and `U_i` of `start` for `i < d` and between `V_i` and `V_i` of `start` for
    `i > 1`, averaged. A single layer scores 1. Its warnings hold here too.

    `start` may be left out for a trajectory, and is then its first member.

    Cost: a singular value decomposition of every layer of both. Raises: as `alignment`, and ValueError if the shapes differ.
    Source: theory note, section 1 (`invariance`).
    """
    members = snapshots(net)
    if start is None and members is None:
        raise ValueError("start is None but net is a single network; pass start=, or a trajectory")
    now = _matrices(net) if members is None else members[0]
    then = now if start is None else _matrices(start, "start")
    if [W.shape for W in now] != [W.shape for W in then]:
        raise ValueError(f"start has layers of shapes {[W.shape for W in then]} but net has {[W.shape for W in now]}; they must be equal")
    return _invariance(now, then) if members is None else _along_vectors(members, then, "invariance")


def _along_vectors(members: list[list[Array]], start: Matrices, name: str) -> Vector:
    """A score of `Scores` for each member; vectors that have not turned from one to the next are kept."""
    at = [0]
    scores = Scores(lambda: members[at[0]], start, lambda: at[0])
    found = []
    for at[0] in range(len(members)):
        found.append(getattr(scores, name)())
    return np.array(found)


@along
def balancedness(net: Network | Iterable[Any]) -> Vector:
    r"""`||W_{i+1}^T W_{i+1} - W_i W_i^T||_F` an interface: 0 is balanced, which implies aligned (not the other way).

    Returns: shape `(d - 1,)`. Cost: `k_i^2 (k_{i-1} + k_{i+1})` multiply-adds, or `2 k_i (k_{i-1} + k_{i+1})^2` where that is
    much less. Raises: as `alignment`. Source: theory note, section 1 (corollary of T1.3).
    """
    return _balancedness(_matrices(net))


def alignment_baseline(shapes: Network | Iterable[Any], rng: Any, draws: int = 10) -> dict[str, Any]:
    """What random layers score: the mean of every score over Gaussian layers of these shapes.

    Parameters
    ----------
    shapes : Network, or sequence of (k_i, k_{i-1})
        The shapes of the layers, `W_1`'s first.
    rng : seed or numpy.random.Generator
    draws : int
        How many networks are drawn.

    Returns: {"alignment": (d - 1,), "misalignment": (d - 1,), "alignment_svd": float, "alignment_top": (d - 1,), "invariance": float}.
    `invariance` is that of two independent draws. Balancedness is no score: it has the scale of the weights.
    Raises: ValueError, TypeError if the shapes do not fit together, or `rng` or `draws` is wrong.
    Source: theory note, section 1 ("always report the baseline").
    """
    sizes = _shapes(shapes)
    generator = validate.generator(rng)
    validate.integer("draws", draws, least=1)
    scores: dict[str, Callable[[Matrices], Any]] = {
        "alignment": _alignment,
        "misalignment": _misalignment,
        "alignment_svd": _alignment_svd,
        "alignment_top": _alignment_top,
    }
    totals: dict[str, Any] = dict.fromkeys([*scores, "invariance"], 0.0)
    for _ in range(draws):
        one, two = ([generator.standard_normal(size) for size in sizes] for _ in range(2))
        for name, score in scores.items():
            totals[name] = totals[name] + score(one)
        totals["invariance"] += _invariance(one, two)
    return {name: total / draws for name, total in totals.items()}


# Input.


def _shapes(shapes: Network | Iterable[Any]) -> list[tuple[int, int]]:
    if isinstance(shapes, Network):
        return [layer.shape for layer in shapes.layers]
    try:
        given = [tuple(shape) for shape in shapes]
    except TypeError:
        raise TypeError(f"shapes is {shapes!r}; a Network or the shapes (k_i, k_(i-1)) of its layers were wanted") from None
    if not given:
        raise ValueError("shapes is empty; the shape (k_i, k_(i-1)) of at least one layer was wanted")
    for i, shape in enumerate(given):
        if len(shape) != 2:
            raise ValueError(f"shapes[{i}] is {shape}; two numbers were wanted, (outputs, inputs)")
    sizes = [
        (validate.integer(f"shapes[{i}][0]", m, least=1), validate.integer(f"shapes[{i}][1]", k, least=1)) for i, (m, k) in enumerate(given)
    ]
    _check_fit("shapes", sizes)
    return sizes


# Scores of one interface.


def _noise(W: Array) -> float:
    """The relative rounding error that the entries of W carry."""
    return 1.2e-7 if W.itemsize == 4 else 2.3e-16


def _safe(W: Array) -> tuple[Array, float]:
    """W in float64, brought into a safe range by a power of two, and its norm. Exact: powers of two do not round."""
    W = np.asarray(W, dtype=np.float64)
    size = _norm(W)
    if SAFE[0] < size < SAFE[1] or not W.any():
        return W, size
    W, _ = _unit(W)
    return W, _norm(W)


def _thin(A: Array) -> Any:
    """A as it is best multiplied: of scipy.sparse where few entries are not zero, as in masks and convolutions."""
    if min(A.shape) < SPARSE_SIDE:
        return A
    probe = A[:: len(A) // PROBED]
    if np.count_nonzero(probe) > CLEARLY * SPARSE_SHARE * probe.size or np.count_nonzero(A) > SPARSE_SHARE * A.size:
        return A
    return sparse.csr_array(A)


def _made(A: Any) -> Any:
    """A product as it is best multiplied on: an array once it has filled in."""
    return A.toarray() if sparse.issparse(A) and A.nnz > SPARSE_SHARE * math.prod(A.shape) else A


def _size(A: Any) -> float:
    """The Frobenius norm of either kind."""
    return _norm(A.data if sparse.issparse(A) else A)


def _skew(W: Any, V: Any, Z: Any) -> tuple[float, float]:
    """`||K - K^T||_F` and `||K||_F` of `K = A B`, `A = W W^T`, `B = V^T V`, from `Z = V W`; W (k, a), V (b, k), sparse or not."""
    k, a, b = W.shape[0], W.shape[1], V.shape[0]
    if k < 64 or k <= 4 * min(a, b):
        K = W @ _made(Z.T @ V) if a <= b else _made(W @ Z.T) @ V
        return _size(K - K.T), _size(K)
    W, V, Z = (M.toarray() if sparse.issparse(M) else M for M in (W, V, Z))
    if a < b:  # the roles of A and B can be exchanged: K becomes its transpose
        W, V, Z = V.T, W.T, Z.T
    # B lives in the few columns of Q: K = G Q^T, and only the part of G outside Q has no partner in K^T
    Q, R = np.linalg.qr(V.T)
    G = (W @ Z.T) @ R.T
    inside = Q.T @ G
    outside = G - Q @ inside
    return math.hypot(_norm(inside - inside.T), math.sqrt(2.0) * _norm(outside)), _norm(G)


def _sums(W: Array, V: Array, more: Array | None = None) -> tuple[float, float, float, float]:
    """`||K||^2`, `tr K^2`, `||Z||^2` of `K = A B`, with `more` in `A = W W^T + more`, and how many times rounding may have grown.

    `tr K^2 = ||Z Z^T||^2`, and `||K - K^T||^2 / 2 = ||K||^2 - tr K^2`: enough for an angle that is neither near 0 nor 90 degrees.
    """
    k, a, b = W.shape[0], W.shape[1], V.shape[0]
    if more is None and a < b:  # the roles of A and B can be exchanged
        W, V, a, b = V.T, W.T, b, a
    if 2 * a * b + (0 if more is None else k * b) + 2 * b * b < k * (a + b) / 2 + k * k:
        H = W @ (W.T @ V.T)
        size = _norm(W) ** 2
        if more is not None:
            H += more @ V.T
            size += _norm(more)
        M, G, N = V @ V.T, H.T @ H, V @ H
        whole = float(np.vdot(G, M))
        grown = max(size * _norm(V) / (_norm(H) or 1.0), _norm(G) * _norm(M) / (whole or 1.0))
        return whole, float(np.vdot(N, N)), float(np.trace(N)), grown
    A, B = W @ W.T, V.T @ V
    if more is not None:
        A += more
    K = A @ B
    whole = float(np.vdot(K, K))
    return whole, float(np.einsum("ij,ji->", K, K)), float(np.vdot(A, B)), _norm(A) * _norm(B) / (math.sqrt(whole) or 1.0)


def _clear(whole: float, square: float, size: float, grown: float, floor: float) -> tuple[float, float] | None:
    """Sine and cosine from `_sums`; None where they have lost too many digits, or `||Z||` is not far above `floor`."""
    cosine = square / whole if whole > 0 else 0.0
    if not (grown <= TRUST * min(cosine, 1 - cosine) and size > TRUST**2 * floor**2):  # nan too
        return None
    return math.sqrt(1 - cosine), math.sqrt(cosine)


def _gram_norm(W: Any) -> float:
    """`||W W^T||_F`, by the smaller side; its root lies between the spectral and the Frobenius norm of W."""
    return _size(W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W)


def _angle(W: Any, V: Any, floor: float) -> tuple[float, float]:
    """The sine and cosine of the interface between W (k, a), below, and V (b, k), above; (0, 1) if `||V W|| <= floor`.

    The sine is the antisymmetric part of K; `tr(K K) = ||Z Z^T||^2` gives the cosine. Each is computed in the form that is
    accurate where it is small.
    """
    if W.shape[0] >= WIDE and not sparse.issparse(W) and not sparse.issparse(V):
        quick = _clear(*_sums(W, V), floor)
        if quick is not None:
            return quick
    Z = _made(V @ W)
    if _size(Z) <= floor:
        return 0.0, 1.0
    skew, whole = _skew(W, V, Z)
    sine = min(skew / (math.sqrt(2.0) * whole), 1.0)
    if sine < 0.7:
        return sine, math.sqrt(1.0 - sine * sine)
    return sine, min(_gram_norm(Z) / whole, 1.0)


def _angles(matrices: Matrices) -> list[tuple[float, float]]:
    safe = [(_thin(W), size) for W, size in map(_safe, matrices)]
    out = []
    for i in range(len(matrices) - 1):
        (W, size), (V, above) = safe[i], safe[i + 1]
        # |fl(Z) - Z| <= k u |V| |W|, and the entries themselves are known to u
        noise = W.shape[0] * max(_noise(matrices[i]), _noise(matrices[i + 1]))
        out.append(_angle(W, V, noise * size * above))
    return out


def _alignment(matrices: Matrices) -> Vector:
    return np.array([cosine for _, cosine in _angles(matrices)], dtype=np.float64)


def _misalignment(matrices: Matrices) -> Vector:
    return np.array([sine for sine, _ in _angles(matrices)], dtype=np.float64)


def _chain_misalignment(matrices: Matrices) -> Vector:
    units = [_unit(np.asarray(W, dtype=np.float64))[0] for W in matrices]
    sizes = [_norm(W) for W in units]
    # far below ||W||_F for a layer with many equal singular values, which would count as noise what is none
    spectral = [math.sqrt(_gram_norm(W)) for W in units]
    unit = [max(W.shape) * _noise(W) for W in matrices]
    worst = np.zeros(len(units) - 1)
    for i in range(len(units) - 1):
        V, error = units[i + 1], unit[i + 1] * sizes[i + 1]
        for b in range(i + 1, len(units)):
            if b > i + 1:
                error = spectral[b] * error + unit[b] * sizes[b] * _norm(V)
                V, exponent = _unit(units[b] @ V)
                error = math.ldexp(error, -exponent)
            floor = spectral[i] * error + unit[i] * sizes[i] * _norm(V)
            worst[i] = max(worst[i], _angle(units[i], V, floor)[0])
    return worst


def _matching(left: Array, right: Array) -> float:
    """`mean_j max_l |right_l . left_j|` over columns."""
    return float(np.abs(right.T @ left).max(axis=0).mean())


def _alignment_svd(matrices: Matrices) -> float:
    if len(matrices) == 1:
        return 1.0
    found = [factors(np.asarray(W, dtype=np.float64)) for W in matrices]
    return float(np.mean([_matching(low[0], high[2]) for low, high in pairwise(found)]))


def _top_vectors(W: Array) -> tuple[Array, Array]:
    """u_1 and v_1 of a matrix in the safe range that is not zero."""
    if max(W.shape) <= 64:
        U, _, Vt = np.linalg.svd(W, full_matrices=False)
        return U[:, 0], Vt[0]
    # The largest eigenvector of the Gram matrix is as accurate as that of the SVD: squaring widens the gap at the top
    wide = W.shape[0] <= W.shape[1]
    gram = W @ W.T if wide else W.T @ W
    small = eigh(gram, subset_by_index=[len(gram) - 1, len(gram) - 1])[1][:, 0]
    image = small @ W if wide else W @ small
    image = image / _norm(image)
    return (small, image) if wide else (image, small)


def _alignment_top(matrices: Matrices) -> Vector:
    safe = [_safe(W) for W in matrices]
    tops = [_top_vectors(W) if size else None for W, size in safe]
    scores = [1.0 if low is None or high is None else min(abs(float(high[1] @ low[0])), 1.0) for low, high in pairwise(tops)]
    return np.array(scores, dtype=np.float64)


def _invariance(matrices: Matrices, start: Matrices) -> float:
    if len(matrices) == 1:
        return 1.0
    now, then = ([factors(np.asarray(W, dtype=np.float64)) for W in Ws] for Ws in (matrices, start))
    scores = [_matching(a[0], b[0]) for a, b in zip(now[:-1], then[:-1], strict=True)]
    scores += [_matching(a[2], b[2]) for a, b in zip(now[1:], then[1:], strict=True)]
    return float(np.mean(scores))


def _balancedness(matrices: Matrices) -> Vector:
    out = np.empty(len(matrices) - 1)
    for i in range(len(out)):
        W, V = (np.asarray(M, dtype=np.float64) for M in matrices[i : i + 2])
        exponent = max(_unit(W)[1], _unit(V)[1])  # one power of two for both: the difference has a scale
        W, V = np.ldexp(W, -exponent), np.ldexp(V, -exponent)
        k, a, b = W.shape[0], W.shape[1], V.shape[0]
        if k >= 64 and k > 8 * (a + b):
            R = np.linalg.qr(np.hstack([W, V.T]))[1]
            W, V = R[:, :a], R[:, a:].T
        W, V = _thin(W), _thin(V)
        with np.errstate(over="ignore"):
            out[i] = np.ldexp(_size(V.T @ V - W @ W.T), 2 * exponent)
    return out
