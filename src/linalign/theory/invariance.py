"""Invariance: whether a data set lets gradient descent keep fixed singular bases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..cached import cached_property
from ..calls import called
from ..linear_algebra import Basis, signed_qr
from ..problem.network import Network
from ..scores.chain import chain_matrices as _matrices
from ..scores.chain import norm as _norm
from ..scores.interface import gram_norm
from ..validate import Array
from .frame import framed
from .rows import Rows, check, check_weights, joint_eigenbasis, off_diagonal, tolerance, without_biases
from .start import Start, examine

CASES = {
    "factorisation": "no inputs: the end-to-end matrix itself is fitted, and C = I",
    "autoencoding": "the targets are the inputs: M = C",
    "whitened": "the inputs are white: C is a multiple of I",
    "one_output": "one output: M is a row; the condition says that it is zero or an eigenvector of C",
    "one_sample": "one sample: C and M have rank one and share their vector",
    "orthogonal_classes": "one-hot labels, classes in orthogonal subspaces: the outputs are problems of their own",
}


@dataclass(frozen=True, eq=False)
class InvarianceCondition:
    """Whether alignment can be an invariant of gradient descent on these data, squared loss; `print` it for plain words.

    `C = X^T X`, `M = Y^T X`.

    holds : orthogonal `V (k_0, k_0)`, `U (k_d, k_d)` exist with `V^T C V` and `U^T M V` diagonal (T3.2). Then every start that
        is strictly aligned in `V, Q_1, ..., Q_{d-1}, U` stays so, for every depth, learning rate and number of steps.
    cases : which special cases the data are, names of `linalign.theory.invariance.CASES`.
    inputs, outputs : V and U; the best found where the condition does not hold. Columns by decreasing `|M v_j|`. Made when asked for where
        inputs or outputs are many times the samples: `input_basis.columns (k_0, r)` and `output_basis.columns` are those that data and
        network reach, the others are any.
    eigenvalues, targets : `lambda_j = (V^T C V)_{jj} (k_0,)`, `s_j = (U^T M V)_{jj} >= 0`, `(min(k_0, k_d),)`.
    residual : the larger of `||offdiag V^T C V||_F / ||C||_F` and `||offdiag U^T M V||_F / ||M||_F`.
    commutator : `sqrt(2) ||[C, M^T M]||_F / (||C||_F ||M^T M||_F)`, in [0, 1]; 0 exactly when the condition holds.
    triples : how many joint triples `C v = lambda v`, `M v = s u`, `M^T u = s v` exist side by side. Where the condition fails,
        a network with a layer no wider than this, or a start with no more modes, can still stay aligned (T3.3).
    any_loss : one output: a rank-one aligned start stays aligned for every loss and all data, `V_1` alone moves (T3.5).
    weak : `M C^k M^T`, `k = 0, 1, ...` commute pairwise (T3.6): with `V_1` free to move and U and the interior bases fixed, the
        starts with inputs `weak_inputs` stay aligned. None where M has rank below `k_d`, which T3.6 leaves open.
    weak_outputs, weak_inputs : U `(k_d, k_d)` and the columns `M^T u_j / |M^T u_j|`, `(k_0, k_d)`, of T3.6; None unless `weak`.
    start : the verdict on a given network (T3.3), if one was given.
    """

    holds: bool
    cases: tuple[str, ...]
    input_basis: Basis
    output_basis: Basis
    eigenvalues: Array
    targets: Array
    residual: float
    commutator: float
    triples: int
    any_loss: bool
    weak: bool | None
    weak_residual: float
    weak_outputs: Array | None
    weak_inputs: Array | None
    start: Start | None
    tol: float

    @cached_property
    def inputs(self) -> Array:
        """V `(k_0, k_0)`. Raises: MemoryError if this machine has no room for it."""
        return self.input_basis.whole("inputs")

    @cached_property
    def outputs(self) -> Array:
        """U `(k_d, k_d)`. Raises: MemoryError if this machine has no room for it."""
        return self.output_basis.whole("outputs")

    def __str__(self) -> str:
        if self.holds:
            lines = [f"alignment can be an invariant here: C and M^T M commute (residual {self.residual:.1e}, tolerance {self.tol:.0e})"]
        else:
            lines = [
                f"alignment in fixed bases is no invariant here: C and M^T M do not commute ({self.commutator:.1e} on a scale of 0 to 1)"
            ]
            most = min(len(self.input_basis), len(self.output_basis))
            if self.triples:
                lines.append(f"only {self.triples} of {most} modes can keep their singular vectors: starts of at most that rank can")
        lines += [f"{name}: {CASES[name]}" for name in self.cases]
        if self.any_loss:
            lines.append("a rank-one aligned start stays aligned whatever the loss; only the input vector of the first layer turns (T3.5)")
        elif self.weak and not self.holds:
            words = f"the outputs decouple, M C^k M^T commute (T3.6, residual {self.weak_residual:.1e})"
            lines.append(f"with the input basis free to turn it is one: {words}")
        if self.start is not None:
            lines.append(str(self.start))
        return "\n".join(lines)


@called
def invariance_condition(X: Any, Y: Any, net: Network | Iterable[Any] | None = None, tol: float | None = None) -> InvarianceCondition:
    r"""Can alignment be an invariant of gradient descent with the squared loss on these data?

    It can, for every start aligned with the data, exactly when `[X^T X, (Y^T X)^T (Y^T X)] = 0`.

    Parameters
    ----------
    X : (n, k_0), or None for matrix factorisation
    Y : (n, k_d); for `X=None` the target `(k_d, k_0)` of the end-to-end matrix
    net : Network or sequence of matrices, optional
        Then this start is judged as well: may it keep its own bases on these data?
    tol : float, optional
        The relative residual at which an equation counts as true: 1e-10, or 1e-5 where the data are float32.

    Returns: InvarianceCondition. Raises: ValueError, TypeError for data or networks that are malformed or do not fit together.
    Cost: `n (k_0 + k_d)^2 + 30 (k_0 + k_d)^3`, about; where k_0 or k_d is many times n and the width of the layer there, their sum
    stands in its place. The scales of X and Y do not matter.
    Source: docs/theory, T3.2, T3.3, T3.5, T3.6 and the special cases after them (algorithm A4); arXiv 2003.06340.
    """
    without_biases(net)
    matrices = None if net is None else _matrices(net)
    check_weights(matrices or [])
    sizes = (None, None) if matrices is None else (matrices[0].shape[1], matrices[-1].shape[0])
    given = check(X, Y, *sizes)
    limit = tolerance(tol, given.precision)
    frame = framed(given.compressed(), matrices or [])
    rows = frame.rows
    C, M = rows.C, rows.M
    c, m, m2 = rows.c, rows.m, _norm(M.T @ M) or 1.0
    V, U, residual = _bases(rows, limit)
    eigenvalues = np.einsum("ij,ij->j", rows.X @ V, rows.X @ V)
    targets = np.diag(U.T @ M @ V).copy()
    K = (M @ (C / c)).T @ M / m2
    weak, weak_residual, weak_outputs = _weak(C / c, M / m, limit, frame.beyond[1])
    weak_inputs = None if weak_outputs is None else (M.T @ weak_outputs) / np.linalg.norm(M.T @ weak_outputs, axis=0)
    if weak_inputs is not None and weak_outputs is not None:
        weak_inputs, weak_outputs = frame.lift(weak_inputs, weak_outputs)
    input_basis, output_basis = frame.bases(V, U)
    start = None
    if frame.matrices is not None:
        start = examine(frame.matrices, rows, tolerance(tol, max(rows.precision, _precision(frame.matrices))))
        inputs, outputs = frame.lift(start.inputs, start.outputs)
        start = replace(start, inputs=inputs, outputs=outputs)
    return InvarianceCondition(
        holds=residual <= limit,
        cases=tuple(_cases(given, limit)),
        input_basis=input_basis,
        output_basis=output_basis,
        # outside the data C is zero, or for the identity one
        eigenvalues=np.append(eigenvalues, np.full(frame.beyond[0], 1.0 if given.factorisation else 0.0)),
        targets=np.append(targets, np.zeros(min(frame.widths) - len(targets))),
        residual=residual,
        commutator=float(np.sqrt(2.0) * _norm(K - K.T)),
        triples=_triples(C / c, M / m, V, frame.beyond, limit),
        any_loss=len(M) == 1,
        weak=weak,
        weak_residual=weak_residual,
        weak_outputs=weak_outputs,
        weak_inputs=weak_inputs,
        start=start,
        tol=limit,
    )


def _precision(matrices: list[Array]) -> float:
    return max(float(np.finfo(W.dtype).eps) for W in matrices)


def _bases(rows: Rows, limit: float) -> tuple[Array, Array, float]:
    """V and U that diagonalise C and M as nearly as possible, and what is left off the diagonals."""
    C, M = rows.C, rows.M
    best: tuple[Array, Array, float] | None = None
    for seed in range(3):
        V = joint_eigenbasis([rows.X, M], len(C), np.random.default_rng(seed))
        V = V[:, np.argsort(-np.linalg.norm(M @ V, axis=0), kind="stable")]
        # graded: the columns of M V are orthogonal if the condition holds, and the large ones come first
        U = signed_qr(M @ V, "complete")[0]
        residual = max(off_diagonal(V.T @ C @ V) / rows.c, off_diagonal(U.T @ M @ V) / rows.m)
        if best is None or residual < best[2]:
            best = (V, U, residual)
        if best[2] <= limit / 10:
            break
    assert best is not None
    return best


def _triples(C: Array, M: Array, V: Array, beyond: tuple[int, int], limit: float) -> int:
    """How many joint triples exist side by side: a zero of M needs a partner among the `k_d - rank M` vectors that M misses.

    `beyond`: dimensions of inputs and outputs that C and M leave out, where both are zero, or C is as it is elsewhere.
    """
    size = np.linalg.norm(M @ V, axis=0)
    lam = np.einsum("ij,ij->j", V, C @ V)
    good = np.linalg.norm(C @ V - V * lam, axis=0) <= limit
    T = M.T @ M
    square = np.einsum("ij,ij->j", V, T @ V)
    good &= np.linalg.norm(T @ V - V * square, axis=0) <= limit
    moving = size > limit
    values = np.linalg.svd(M, compute_uv=False)
    spare = len(M) + beyond[1] - int(np.count_nonzero(values > limit))
    return int(np.count_nonzero(good & moving)) + min(int(np.count_nonzero(good & ~moving)) + beyond[0], spare)


def _weak(C: Array, M: Array, limit: float, beyond: int) -> tuple[bool | None, float, Array | None]:
    """T3.6: do the `M C^k M^T` commute? Two random polynomials of C in place of all powers; their commutator is a polynomial
    in the coefficients, so that it vanishes by chance with probability zero. Chebyshev polynomials, which stay bounded. `beyond`:
    dimensions of the outputs that M leaves out.
    """
    k = len(C)
    values, vectors = np.linalg.eigh(C)
    angle = np.arccos(np.clip(2 * values / (values[-1] or 1.0) - 1, -1.0, 1.0))
    waves = np.cos(np.outer(angle, np.arange(k)))
    rng = np.random.default_rng(0)
    N = M @ vectors
    first, second = ((N * (waves @ rng.standard_normal(k))) @ N.T for _ in range(2))
    U = np.linalg.eigh(first / (_norm(first) or 1.0))[1]
    residual = max(off_diagonal(U.T @ H @ U) / (_norm(H) or 1.0) for H in (first, second))
    full = not beyond and len(M) <= k and bool(np.linalg.svd(M, compute_uv=False)[-1] > limit)
    if residual > limit:
        return False, residual, None
    return (True, residual, U) if full else (None, residual, None)


def _cases(given: Rows, limit: float) -> list[str]:
    X, Y = given.data, given.Y
    names = []
    if X is None:
        names.append("factorisation")
    elif X.shape == Y.shape and _norm(Y - X) <= limit * _norm(X):
        names.append("autoencoding")
    if X is not None and _whitened(X, limit):
        names.append("whitened")
    if Y.shape[1] == 1:
        names.append("one_output")
    if given.count == 1 and X is not None:
        names.append("one_sample")
    if X is not None and Y.shape[1] > 1 and _orthogonal_classes(X, Y):
        names.append("orthogonal_classes")
    return names


def _whitened(X: Array, limit: float) -> bool:
    """Whether `||C - tr(C)/k I|| <= limit ||C||`; with fewer rows than columns it is by far not, unless all is zero."""
    n, k = X.shape
    if n < k:
        return not X.any()
    C = X.T @ X
    return _norm(C - np.eye(k) * np.trace(C) / k) <= limit * _norm(C)


def _orthogonal_classes(X: Array, Y: Array) -> bool:
    if not (np.isin(Y, (0.0, 1.0)).all() and (Y.sum(axis=1) == 1.0).all()):
        return False
    # the squared norm of the products between classes: ||C||^2 less those within them
    within = sum(gram_norm(X[row]) ** 2 for row in (Y.T == 1.0))
    whole = gram_norm(X) ** 2
    return bool(whole - within <= 1e-12 * whole)
