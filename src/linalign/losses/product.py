"""Losses of the product `P = W_d ... W_1`: observed entries, functionals, a distance of covariances, any function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import reference, validate
from ..validate import Array
from .base import Loss


class OfProduct(Loss):
    """Takes no data; `check(k_d, k_0)` is asked before any work."""

    of_product: ClassVar[bool] = True

    def targets(self, Y: Any, n: int, k_d: int, dtype: np.dtype[Any]) -> Array:
        raise ValueError(f"the loss {self.kind!r} is a function of the product alone; pass X=None and Y=None")


def _values(name: str, value: Any, count: int) -> Array:
    array = validate.real_array(name, value)
    if array.shape != (count,):
        raise ValueError(f"{name} has shape {array.shape}; one value an observation was wanted, ({count},)")
    return validate.finite(name, array.astype(np.float64))


def _short(loss: Entries | Sensing) -> str:
    """One line: nobody reads thousands of numbers."""
    return f"{type(loss).__name__}({len(loss.values)} values, half={loss.half}, reduction={loss.reduction!r})"


def _mean_of(half: bool, reduction: str, count: int) -> float:
    return (0.5 if half else 1.0) / (count if reduction == "mean" else 1)


@dataclass(frozen=True, eq=False)
class Entries(OfProduct):
    """Matrix completion: `a * sum_j (P[rows_j, cols_j] - values_j)^2`, `a = 1/2` (1 if not `half`), over m if "mean".

    Shapes: `rows`, `cols`, `values` `(m,)`; `P (k_d, k_0)`. Pass `X=None, Y=None`.
    Raises: ValueError for unequal lengths, negative or repeated indices.
    """

    rows: Any
    cols: Any
    values: Any
    half: bool = True
    reduction: str = "sum"
    kind: ClassVar[str] = "entries"

    def __post_init__(self) -> None:
        validate.choice("reduction", self.reduction, ("sum", "mean"))
        for name in ("rows", "cols"):
            index = np.asarray(validate.plain(name, getattr(self, name)))
            if index.dtype.kind == "b":
                raise TypeError(f"{name} is boolean; whole numbers were wanted, of a mask: rows, cols = np.nonzero(mask), values = M[mask]")
            if index.ndim != 1 or index.dtype.kind not in "iu" or index.size == 0:
                raise ValueError(f"{name} has shape {index.shape} and dtype {index.dtype}; a non-empty vector of whole numbers was wanted")
            if index.min() < 0:
                raise ValueError(f"{name} holds {index.min()}; an index is at least 0")
            object.__setattr__(self, name, index.astype(np.intp))
        if len(self.rows) != len(self.cols):
            raise ValueError(f"rows has {len(self.rows)} entries but cols has {len(self.cols)}; pass one of each an observation")
        if len(np.unique(np.stack([self.rows, self.cols]), axis=1).T) < len(self.rows):
            raise ValueError("rows and cols name an entry twice; pass each observed entry once, for instance with its mean value")
        object.__setattr__(self, "values", _values("values", self.values, len(self.rows)))

    def check(self, k_d: int, k_0: int) -> None:
        """That the indices lie in the product. Raises: ValueError."""
        for name, index, size in (("rows", self.rows, k_d), ("cols", self.cols, k_0)):
            if index.max() >= size:
                raise ValueError(f"{name} holds {index.max()} but the product is {k_d} x {k_0}; {name} run from 0 to {size - 1}")

    def __repr__(self) -> str:
        return _short(self)

    def factor(self, n: int, k_d: int) -> float:
        return _mean_of(self.half, self.reduction, len(self.rows))

    def objective(self, T: Array | None, factor: float) -> reference.Objective:
        def of_outputs(F: Array) -> tuple[float, Array]:
            value, G = reference.entries(F.T, self.rows, self.cols, self.values.astype(F.dtype), factor)
            return value, G.T

        return of_outputs

    def second(self, T: Array | None, factor: float) -> reference.Second:
        # of a quadratic: its gradient, where nothing was observed to differ from 0
        return lambda F, V: reference.entries(V.T, self.rows, self.cols, np.zeros(len(self.rows), V.dtype), factor)[1].T


@dataclass(frozen=True, eq=False)
class Sensing(OfProduct):
    """Matrix sensing: `a * sum_j (<A_j, P> - values_j)^2`, `a = 1/2` (1 if not `half`), over m if "mean".

    Shapes: `matrices (m, k_d, k_0)`, `values (m,)`. Pass `X=None, Y=None`. Raises: ValueError for other shapes.
    """

    matrices: Any
    values: Any
    half: bool = True
    reduction: str = "sum"
    kind: ClassVar[str] = "sensing"

    def __post_init__(self) -> None:
        validate.choice("reduction", self.reduction, ("sum", "mean"))
        stack = validate.real_array("matrices", self.matrices)
        if stack.ndim != 3 or stack.size == 0:
            raise ValueError(f"matrices has shape {stack.shape}; a non-empty stack (m, k_d, k_0) was wanted")
        object.__setattr__(self, "matrices", validate.finite("matrices", stack.astype(np.float64)))
        object.__setattr__(self, "values", _values("values", self.values, len(stack)))

    def check(self, k_d: int, k_0: int) -> None:
        """That the matrices have the product's shape. Raises: ValueError."""
        if self.matrices.shape[1:] != (k_d, k_0):
            raise ValueError(f"matrices are {self.matrices.shape[1]} x {self.matrices.shape[2]} but the product is {k_d} x {k_0}")

    def __repr__(self) -> str:
        return _short(self)

    def factor(self, n: int, k_d: int) -> float:
        return _mean_of(self.half, self.reduction, len(self.matrices))

    def objective(self, T: Array | None, factor: float) -> reference.Objective:
        def of_outputs(F: Array) -> tuple[float, Array]:
            value, G = reference.sensing(F.T, self.matrices.astype(F.dtype), self.values.astype(F.dtype), factor)
            return value, G.T

        return of_outputs

    def second(self, T: Array | None, factor: float) -> reference.Second:
        return lambda F, V: reference.sensing(V.T, self.matrices.astype(V.dtype), np.zeros(len(self.matrices), V.dtype), factor)[1].T


@dataclass(frozen=True, eq=False)
class EndToEnd(OfProduct):
    """Any loss of the product: `fn(P)` returns the value and the gradient in `P (k_d, k_0)`.

    It is called once a step with a fresh array. Pass `X=None, Y=None`.
    Raises: TypeError if `fn` cannot be called; whatever `fn` raises passes through.
    """

    fn: Callable[[Array], tuple[float, Array]]
    kind: ClassVar[str] = "end_to_end"

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise TypeError(f"fn is {type(self.fn).__name__}; a function of the product that returns its value and gradient was wanted")

    def check(self, k_d: int, k_0: int) -> None:
        """Nothing to check before the first call."""

    def factor(self, n: int, k_d: int) -> float:
        return 1.0

    def objective(self, T: Array | None, factor: float) -> reference.Objective:
        def of_outputs(F: Array) -> tuple[float, Array]:
            answer = self.fn(F.T.copy())
            if not isinstance(answer, tuple) or len(answer) != 2:
                raise TypeError(f"fn returned {type(answer).__name__}; a pair (value, gradient) was wanted")
            value, G = answer
            if np.ndim(value):
                raise ValueError(f"fn returned a value of shape {np.shape(value)}; a number was wanted, then its gradient")
            gradient = np.asarray(G, dtype=F.dtype)
            if gradient.shape != F.T.shape:
                raise ValueError(f"fn returned a gradient of shape {gradient.shape}; the product's shape {F.T.shape} was wanted")
            return float(value), gradient.T

        return of_outputs


@dataclass(frozen=True, eq=False)
class BuresWasserstein(OfProduct):
    """`tr P P^T + tr S - 2 tr (S^(1/2) P P^T S^(1/2))^(1/2)`: the squared 2-Wasserstein distance of N(0, P P^T) from N(0, S).

    `covariance`: S (k_d, k_d), symmetric, no eigenvalue below 0. With `S = C C^T` the last term is twice the nuclear norm of `C^T P`, so
    that the gradient is `2 P - 2 C U V^T` with its singular vectors; where a singular value is 0 it is one of many subgradients.
    Pass `X=None, Y=None`. Cost: a singular value decomposition of `C^T P` a step, in NumPy.
    Raises: ValueError, TypeError. Source: Brechet, Papagiannouli, An, Montufar, 2023 (arXiv 2303.03027).
    """

    covariance: Any
    kind: ClassVar[str] = "bures_wasserstein"

    def __post_init__(self) -> None:
        S = validate.matrix("covariance", self.covariance).astype(np.float64)
        if S.shape[0] != S.shape[1] or not np.allclose(S, S.T, rtol=1e-10, atol=1e-10 * float(np.abs(S).max())):
            raise ValueError(f"covariance has shape {S.shape} and is not symmetric; pass a covariance, such as np.cov(Y.T)")
        values, vectors = np.linalg.eigh((S + S.T) / 2)
        if values[0] < -1e-10 * max(values[-1], 0.0):
            raise ValueError(f"covariance has the eigenvalue {values[0]:.3g}; none may be below 0")
        object.__setattr__(self, "covariance", S)
        object.__setattr__(self, "_root", vectors * np.sqrt(np.maximum(values, 0.0)))

    def check(self, k_d: int, k_0: int) -> None:
        """That the covariance is one of the outputs. Raises: ValueError."""
        if len(self.covariance) != k_d:
            raise ValueError(f"covariance is {len(self.covariance)} x {len(self.covariance)} but the network has {k_d} outputs")

    def factor(self, n: int, k_d: int) -> float:
        return 1.0

    def objective(self, T: Array | None, factor: float) -> reference.Objective:
        root, trace = self._root, float(np.trace(self.covariance))  # type: ignore[attr-defined]

        def of_outputs(F: Array) -> tuple[float, Array]:
            value, G = reference.bures_wasserstein(F.T, root.astype(F.dtype), trace, factor)
            return value, G.T

        return of_outputs
