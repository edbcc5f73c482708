"""Losses: what is minimised, with its normalisation.

A loss of the outputs is a function of `F = X P^T (n, k_d)` and targets; a loss of the product is a function of
`P = W_d ... W_1 (k_d, k_0)` and takes no data. Formulas: `reference.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from . import reference, validate
from .validate import Array


class Loss(ABC):
    """What all losses share."""

    kind: ClassVar[str]
    of_product: ClassVar[bool] = False
    quadratic: ClassVar[bool] = False

    def targets(self, Y: Any, n: int, k_d: int, dtype: np.dtype[Any]) -> Array:
        """`Y` checked, as an `(n, k_d)` array of `dtype`."""
        if Y is None:
            raise ValueError(f"Y is None but the loss {self.kind!r} needs targets; pass Y of shape ({n}, {k_d})")
        values = validate.real_array("Y", Y, dtype)
        if values.ndim == 1 and k_d == 1:
            values = values.reshape(-1, 1)
        return validate.matrix("Y", values, dtype, rows=n, columns=k_d)

    @abstractmethod
    def factor(self, n: int, k_d: int) -> float:
        """What multiplies the sum, for `n` samples and `k_d` outputs."""

    @abstractmethod
    def objective(self, T: Array | None, factor: float) -> reference.Objective:
        """The function of the outputs `F (n, k_d)` that returns the loss and its gradient in `F`.

        For a loss of the product the samples are the identity: `F = P^T`.
        """


_MEANS: dict[str, Callable[[int, int], float]] = {
    "sum": lambda n, k: 1.0,
    "samples": lambda n, k: 1.0 / n,
    "entries": lambda n, k: 1.0 / (n * k),
}


@dataclass(frozen=True)
class Squared(Loss):
    """`a * sum ||f(x) - y||^2`, with `a = 1/2` (or 1 if not `half`) over the size of the mean.

    `reduction`: "sum", "samples" (mean over samples) or "entries" (mean over samples and outputs, as torch's MSELoss).
    The name "squared" is `Squared()`, "mse" is `Squared(half=False, reduction="entries")`.
    """

    half: bool = True
    reduction: str = "sum"
    kind: ClassVar[str] = "squared"
    quadratic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        validate.choice("reduction", self.reduction, _MEANS)

    def factor(self, n: int, k_d: int) -> float:
        return (0.5 if self.half else 1.0) * _MEANS[self.reduction](n, k_d)

    def objective(self, T: Array | None, factor: float) -> reference.Objective:
        return lambda F: reference.squared(F, T, factor)


@dataclass(frozen=True)
class _Mean(Loss):
    reduction: str = "mean"

    def __post_init__(self) -> None:
        validate.choice("reduction", self.reduction, ("mean", "sum"))

    def factor(self, n: int, k_d: int) -> float:
        return 1.0 / n if self.reduction == "mean" else 1.0


class _Signs(_Mean):
    def targets(self, Y: Any, n: int, k_d: int, dtype: np.dtype[Any]) -> Array:
        T = super().targets(Y, n, k_d, dtype)
        if not np.isin(T, (-1, 1)).all():
            bad = T[~np.isin(T, (-1, 1))][0]
            raise ValueError(f"Y holds {bad:g} but the loss {self.kind!r} wants labels -1 and 1; for labels 0 and 1 pass 2 * Y - 1")
        return T


@dataclass(frozen=True)
class Logistic(_Signs):
    """`sum log(1 + exp(-y f(x)))` over outputs, mean (or sum) over samples; labels -1 and 1."""

    kind: ClassVar[str] = "logistic"

    def objective(self, T: Array | None, factor: float) -> reference.Objective:
        return lambda F: reference.logistic(F, T, factor)


@dataclass(frozen=True)
class Exponential(_Signs):
    """`sum exp(-y f(x))` over outputs, mean (or sum) over samples; labels -1 and 1."""

    kind: ClassVar[str] = "exponential"

    def objective(self, T: Array | None, factor: float) -> reference.Objective:
        return lambda F: reference.exponential(F, T, factor)


@dataclass(frozen=True)
class CrossEntropy(_Mean):
    """`-sum y log softmax(f(x))` over classes, mean (or sum) over samples, as torch's CrossEntropyLoss.

    Targets: integer labels `(n,)` in `0..k_d-1`, or rows of probabilities `(n, k_d)`.
    """

    kind: ClassVar[str] = "cross_entropy"

    def targets(self, Y: Any, n: int, k_d: int, dtype: np.dtype[Any]) -> Array:
        labels = np.asarray(validate.plain("Y", Y)) if validate.is_vector(Y) else None
        if labels is not None and labels.dtype.kind in "iu":
            if len(labels) != n:
                raise ValueError(f"Y has {len(labels)} labels but X has {n} rows; pass one label a row")
            if labels.min(initial=0) < 0 or labels.max(initial=0) >= k_d:
                bad = int(labels[(labels < 0) | (labels >= k_d)][0])
                raise ValueError(f"Y holds the label {bad} but the network has {k_d} outputs; labels run from 0 to {k_d - 1}")
            return np.asarray(np.eye(k_d, dtype=dtype)[labels])
        if labels is not None and k_d > 1:
            raise ValueError(
                f"Y has shape {labels.shape} and dtype {labels.dtype}; integer labels (n,) or probabilities (n, {k_d}) were wanted"
            )
        T = super().targets(Y, n, k_d, dtype)
        sums = T.sum(axis=1, dtype=np.float64)
        if T.min() < 0 or np.abs(sums - 1).max() > 4 * k_d * np.finfo(dtype).eps:
            worst = int(np.argmax(np.abs(sums - 1) + (T.min(axis=1) < 0)))
            raise ValueError(
                f"Y[{worst}] sums to {sums[worst]:g} with least entry {T[worst].min():g}; each row must be probabilities that sum to 1"
            )
        return T

    def objective(self, T: Array | None, factor: float) -> reference.Objective:
        return lambda F: reference.cross_entropy(F, T, factor)


class _OfProduct(Loss):
    of_product: ClassVar[bool] = True

    def targets(self, Y: Any, n: int, k_d: int, dtype: np.dtype[Any]) -> Array:
        raise ValueError(f"the loss {self.kind!r} is a function of the product alone; pass X=None and Y=None")


def _values(name: str, value: Any, count: int) -> Array:
    array = validate.real_array(name, value)
    if array.shape != (count,):
        raise ValueError(f"{name} has shape {array.shape}; one value an observation was wanted, ({count},)")
    return validate.finite(name, array.astype(np.float64))


def _mean_of(half: bool, reduction: str, count: int) -> float:
    return (0.5 if half else 1.0) / (count if reduction == "mean" else 1)


@dataclass(frozen=True, eq=False)
class Entries(_OfProduct):
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

    def factor(self, n: int, k_d: int) -> float:
        return _mean_of(self.half, self.reduction, len(self.rows))

    def objective(self, T: Array | None, factor: float) -> reference.Objective:
        def of_outputs(F: Array) -> tuple[float, Array]:
            value, G = reference.entries(F.T, self.rows, self.cols, self.values.astype(F.dtype), factor)
            return value, G.T

        return of_outputs


@dataclass(frozen=True, eq=False)
class Sensing(_OfProduct):
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

    def factor(self, n: int, k_d: int) -> float:
        return _mean_of(self.half, self.reduction, len(self.matrices))

    def objective(self, T: Array | None, factor: float) -> reference.Objective:
        def of_outputs(F: Array) -> tuple[float, Array]:
            value, G = reference.sensing(F.T, self.matrices.astype(F.dtype), self.values.astype(F.dtype), factor)
            return value, G.T

        return of_outputs


@dataclass(frozen=True, eq=False)
class EndToEnd(_OfProduct):
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
            gradient = np.asarray(G, dtype=F.dtype)
            if gradient.shape != F.T.shape:
                raise ValueError(f"fn returned a gradient of shape {gradient.shape}; the product's shape {F.T.shape} was wanted")
            return float(value), gradient.T

        return of_outputs


NAMED: dict[str, Loss] = {
    "squared": Squared(),
    "mse": Squared(half=False, reduction="entries"),
    "logistic": Logistic(),
    "exponential": Exponential(),
    "cross_entropy": CrossEntropy(),
}


def resolve(loss: str | Loss) -> Loss:
    """The loss of that name, or the loss itself. Raises: ValueError for an unknown name."""
    if isinstance(loss, Loss):
        return loss
    return NAMED[validate.choice("loss", loss, NAMED)]
