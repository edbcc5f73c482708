"""Minimum: an aligned and balanced global minimum of the squared loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .. import validate
from ..calls import called
from ..problem.network import Network
from ..scores.chain import norm as _norm
from ..validate import Array
from .rows import Rows, check

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class AlignedMinimum:
    """A global minimum that is strictly aligned and balanced, and the number that proves that it is one.

    network : float64 `Dense` layers.
    loss : its squared loss, half the sum of squares, computed from the network.
    optimum : the least squared loss of any network of these widths: the reduced-rank optimum.
    gap : `loss - optimum`, over half the sum of squares of Y: rounding.
    rank : of the end-to-end matrix.
    unique : whether the fitted values are those of every global minimum.
    """

    network: Network
    loss: float
    optimum: float
    gap: float
    rank: int
    unique: bool

    def __str__(self) -> str:
        widths = "-".join(map(str, self.network.widths))
        values = "unique" if self.unique else "not unique"
        return (
            f"aligned, balanced global minimum of {widths}, rank {self.rank}: loss {self.loss:.6e}, least possible {self.optimum:.6e} "
            f"(gap {self.gap:.1e} of the targets); the fitted values are {values}"
        )


@called
def aligned_minimum(widths: Sequence[int], X: Any, Y: Any, rcond: float | None = None) -> AlignedMinimum:
    r"""A strictly aligned, balanced global minimum of `1/2 ||X (W_d ... W_1)^T - Y||_F^2`, for any data and widths.

    With the thin SVDs `X = U_x S_x V_x^T` and `U_x^T Y = sum_j t_j a_j b_j^T`, the rank-m least-norm minimiser is
    `P^T = V_x S_x^{-1} sum_{j<=m} t_j a_j b_j^T`, `m = min(widths, rank)`; each layer gets the d-th root of its singular values.

    Parameters
    ----------
    widths : [k_0, ..., k_d]
    X : (n, k_0), or None for matrix factorisation
    Y : (n, k_d); for `X=None` the target `(k_d, k_0)`
    rcond : float, optional
        Singular values of X below `rcond` times the largest count as zero; by default `max(n, k_0)` times the rounding error.
        The norm of the minimiser grows as the inverse of the smallest one kept.

    Returns: AlignedMinimum. Raises: ValueError, TypeError if the data are malformed or do not fit the widths, or `rcond` not in [0, 1).
    Cost: the SVDs of X and of a `(rank X, k_d)` matrix, and QR of a `(k_0, m)` one.
    Source: docs/theory, T2.1 (algorithm A3); arXiv 2003.06340.
    """
    if isinstance(widths, Network):
        centred = ", and X and Y less their means, which is what biases add" if widths.has_biases else ""
        raise TypeError(f"widths is a Network; a list such as [64, 32, 10] was wanted: pass net.widths{centred}")
    sizes = [validate.integer(f"widths[{i}]", k, least=1) for i, k in enumerate(widths)]
    if len(sizes) < 2:
        raise ValueError(f"widths is {sizes}; at least two widths are needed, the inputs' and the outputs'")
    rows = check(X, Y, sizes[0], sizes[-1])
    if rcond is not None:
        validate.real("rcond", rcond, least=0.0, below=1.0)
    A, B, optimum, unique = reduced_rank(rows, min(sizes), rcond)
    depth, rank = len(sizes) - 1, A.shape[1]
    # P = B A^T, B orthonormal
    Q, R = np.linalg.qr(A)
    left, values, right = np.linalg.svd(R.T)
    bases = [Q @ right.T, *(np.eye(k, rank) for k in sizes[1:-1]), B @ left]
    entries = values ** (1.0 / depth)
    network = Network.from_matrices([(above * entries) @ below.T for below, above in pairwise(bases)])
    outputs = network.matrix().T if rows.data is None else rows.data
    for W in [] if rows.data is None else network.matrices():
        outputs = outputs @ W.T
    loss = 0.5 * _norm(outputs - rows.Y) ** 2
    size = 0.5 * _norm(rows.Y) ** 2
    return AlignedMinimum(network, loss, optimum, (loss - optimum) / size if size else 0.0, rank, unique)


def reduced_rank(rows: Rows, most: int, rcond: float | None = None) -> tuple[Array, Array, float, bool]:
    """The least-norm minimiser `P = B A^T` of rank r, at most `most`, its loss, and whether its fit is unique.

    Shapes: A (k_0, r), B (k_d, r) with orthonormal columns.
    """
    X, Y = rows.data, rows.Y
    Z, missed, columns = Y, 0.0, len(Y)
    if X is not None:
        columns = X.shape[1]
        U, s, Vt = np.linalg.svd(X, full_matrices=False)
        kept = s > (max(X.shape) * EPS if rcond is None else rcond) * s[0]
        U, s, Vt = U[:, kept], s[kept], Vt[kept]
        Z = U.T @ Y
        missed = _norm(Y - U @ Z) ** 2
    if not Z.size:
        return np.zeros((columns, 0)), np.zeros((Y.shape[1], 0)), 0.5 * _norm(Y) ** 2, True
    a, t, b = np.linalg.svd(Z, full_matrices=False)
    noise = max(Z.shape) * EPS * t[0]
    rank = min(most, int(np.count_nonzero(t > noise)))
    A = a[:, :rank] * t[:rank]
    optimum = 0.5 * (missed + float(np.sum(t[rank:] ** 2)))
    unique = rank == len(t) or bool(t[rank] <= noise) or bool(t[rank - 1] - t[rank] > noise)
    return A if X is None else (Vt.T / s) @ A, b[:rank].T, optimum, unique
