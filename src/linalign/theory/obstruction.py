"""Obstruction: whether a constrained layer can keep fixed singular bases at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import validate
from ..calls import called
from ..linear_algebra import room
from ..scores.chain import norm as _norm
from ..validate import Array
from .rows import off_diagonal

# above this many parameters their images are not formed one by one
MOST = 2000


@dataclass(frozen=True, eq=False)
class Obstruction:
    """Whether the matrices of a layer can be diagonal in one pair of bases, and what that means; `print` it for plain words.

    diagonalisable : one pair of orthogonal bases makes every matrix of the layer rectangular diagonal (L6.1). Then layers with
        matching bases stay aligned for all data, losses and optimisers (T6.2).
    score : `o(S)` of a random pair of matrices, in [0, 1]; 0 exactly when diagonalisable, with probability one.
    commuting : the matrices are square, normal and commute: a chain of such layers is aligned at every instant, in bases that
        may move (T6.6, circulants).
    bases : `(U, V)` if diagonalisable, else None. residual : what they leave off the diagonal of a third random matrix.
    dimension : how many independent parameters the layer has; None where that was not computed.
    samples : from how many samples on alignment in fixed bases is impossible for generic data, from a start with full-rank
        neighbours: 1 if not diagonalisable (T6.3); None if it is possible for all data.
    reaching : from how many samples on the gradient can be any matrix of the layer (L6.4, invertible neighbours), as
        `(least, most)`; equal where it is known.
    witness : two parameter arrays whose matrices no pair of bases makes diagonal: start from the first, let the gradient be the
        second, and the first step leaves every pair of singular bases. None if diagonalisable.
    """

    diagonalisable: bool
    score: float
    commuting: bool
    bases: tuple[Array, Array] | None
    residual: float
    dimension: int | None
    samples: int | None
    reaching: tuple[int, int]
    witness: tuple[Array, Array] | None
    name: str

    def __str__(self) -> str:
        if self.diagonalisable:
            return (
                f"{self.name}: no obstruction (score {self.score:.1e}). One pair of bases makes every matrix of this layer diagonal "
                f"(residual {self.residual:.1e}); with matching bases in every layer alignment is kept for all data and losses (T6.2)"
            )
        least, most = self.reaching
        number = f"{least}" if least == most else f"{least} to {most}"
        lines = [
            f"{self.name}: obstructed (score {self.score:.1e} of at most 1). No pair of bases makes all its matrices diagonal (L6.1)",
            "alignment in fixed bases is lost at the first step for generic data, from 1 sample on, if the layers around it have full rank "
            "(T6.3); particular data can be an exception",
            f"from {number} sample{'s' if most > 1 else ''} on the gradient can be any matrix of the layer (L6.4)",
        ]
        if self.commuting:
            lines.append("its matrices are normal and commute: a chain of such layers is aligned at every instant, in moving bases (T6.6)")
        return "\n".join(lines)


@called
def obstruction(layer: Any, rng: Any = 0, tol: float = 1e-10) -> Obstruction:
    r"""Can a layer with this structure keep fixed singular bases under training?

    Matrices are diagonal in one pair of bases exactly when all products `A B^T` and `A^T B` are symmetric; for a linear space a
    random pair decides, by `o = sqrt(||A B^T - B A^T||^2 + ||A^T B - B^T A||^2) / (2 ||A|| ||B||)`.

    Parameters
    ----------
    layer : anything with `shape`, `param_shape` and `matrix(theta)`, such as a `linalign.Layer`
    rng : seed or numpy.random.Generator
    tol : float
        The score up to which the layer counts as diagonalisable.

    Returns: Obstruction. Raises: TypeError, ValueError if `layer` is none, or has an offset, a bias or no parameters; for `rng` or `tol`;
    MemoryError, before any work, if this machine has no room for its products.
    Cost: a few products and one SVD of an (out, in) matrix; up to 2000 parameters, as many matrices and their rank.
    Source: docs/theory, L6.1, T6.2, T6.3, L6.4, T6.6 (algorithm A6).
    """
    check_layer(layer)
    generator = validate.generator(rng)
    validate.real("tol", tol, above=0.0, below=1.0)
    out, inputs = layer.shape
    size = 8.0 * (6 * out * inputs + 3 * (out * out + inputs * inputs))
    room(f"layer, {out:,} x {inputs:,}, and the products of two of its matrices,", size, "ask of a smaller layer of this structure")
    thetas = [generator.standard_normal(layer.param_shape) for _ in range(3)]
    A, B, D = (np.asarray(layer.matrix(theta), dtype=np.float64) for theta in thetas)
    outer, inner = A @ B.T, A.T @ B
    score = float(np.hypot(_norm(outer - outer.T), _norm(inner - inner.T)) / (2 * _norm(A) * _norm(B)))
    free = score <= tol
    bases, residual = None, 0.0
    if free:
        U, _, Vt = np.linalg.svd(A)
        bases, residual = (U, Vt.T), off_diagonal(U.T @ D @ Vt.T) / _norm(D)
    dimension, reaching = _reaching(layer, generator)
    return Obstruction(
        diagonalisable=free,
        score=score,
        commuting=_commuting(A, B, tol),
        bases=bases,
        residual=residual,
        dimension=dimension,
        samples=None if free else 1,
        reaching=reaching,
        witness=None if free else (thetas[0], thetas[1]),
        name=repr(layer),
    )


def check_layer(layer: Any) -> None:
    """Raises: TypeError if this is no layer, ValueError if it has an offset, a bias or no parameters."""
    for name in ("shape", "param_shape", "matrix"):
        if not hasattr(layer, name):
            raise TypeError(f"layer is {type(layer).__name__}, without {name}; a layer such as linalign.Dense(64, 10) was wanted")
    if not np.prod(layer.param_shape):
        raise ValueError(f"layer is {layer!r}, which has no parameters: its singular bases never move; pass a layer that is trained")
    if getattr(layer, "linear", layer) is not layer:
        raise ValueError(f"layer is {layer!r}; the statements are proved for linear layers, without offset or bias: pass {layer.linear!r}")


def _commuting(A: Array, B: Array, tol: float) -> bool:
    if A.shape[0] != A.shape[1]:
        return False
    pairs = [(A @ B - B @ A, _norm(A) * _norm(B)), (A @ A.T - A.T @ A, _norm(A) ** 2), (A @ B.T - B.T @ A, _norm(A) * _norm(B))]
    return all(_norm(gap) <= tol * size for gap, size in pairs)


def _reaching(layer: Any, rng: np.random.Generator) -> tuple[int | None, tuple[int, int]]:
    """The dimension of the space, and the least n for which `A -> A X^T` is injective on it for a generic X `(n, in)`."""
    out, inputs = layer.shape
    count = int(np.prod(layer.param_shape))
    if count > MOST or count * out * inputs > 5e7:
        # the parameters are independent in all structures but wrapped convolutions; both bounds hold in any case
        return None, (1, inputs) if count < out * inputs else (inputs, inputs)
    basis = np.empty((count, out, inputs))
    for k in range(count):
        theta = np.zeros(count)
        theta[k] = 1.0
        basis[k] = layer.matrix(theta.reshape(layer.param_shape))
    dimension = int(np.linalg.matrix_rank(basis.reshape(count, -1)))
    X = rng.standard_normal((inputs, inputs))
    low, high = -(-dimension // out) - 1, inputs  # too few, enough
    while high - low > 1:
        middle = (low + high) // 2
        images = basis @ X[:middle].T
        if int(np.linalg.matrix_rank(images.reshape(count, -1))) == dimension:
            high = middle
        else:
            low = middle
    return dimension, (high, high)
