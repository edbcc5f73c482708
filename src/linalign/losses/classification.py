"""Losses of classes: of the margin `y f(x)` with labels -1 and 1, and cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import validate
from ..validate import Array
from .base import Mean


class Signs(Mean):
    """Of the margin `y f(x)`; labels -1 and 1."""

    @staticmethod
    def of_classes(k_d: int) -> str:
        return f"2 * {Mean.of_classes(k_d)} - 1"

    def targets(self, Y: Any, n: int, k_d: int, dtype: np.dtype[Any]) -> Array:
        T = super().targets(Y, n, k_d, dtype)
        if not np.isin(T, (-1, 1)).all():
            bad = T[~np.isin(T, (-1, 1))][0]
            raise ValueError(f"Y holds {bad:g} but the loss {self.kind!r} wants labels -1 and 1; for labels 0 and 1 pass 2 * Y - 1")
        return T


@dataclass(frozen=True)
class Logistic(Signs):
    """`sum log(1 + exp(-y f(x)))` over outputs, mean (or sum) over samples; labels -1 and 1."""

    kind: ClassVar[str] = "logistic"
    formula: ClassVar[str] = "logistic"


@dataclass(frozen=True)
class Exponential(Signs):
    """`sum exp(-y f(x))` over outputs, mean (or sum) over samples; labels -1 and 1."""

    kind: ClassVar[str] = "exponential"
    formula: ClassVar[str] = "exponential"


@dataclass(frozen=True)
class Hinge(Signs):
    """`sum max(0, 1 - y f(x))` over outputs, mean (or sum) over samples; labels -1 and 1. The slope at margin 1 is 0."""

    kind: ClassVar[str] = "hinge"
    formula: ClassVar[str] = "hinge"


@dataclass(frozen=True)
class SquaredHinge(Signs):
    """`sum max(0, 1 - y f(x))^2` over outputs, mean (or sum) over samples; labels -1 and 1."""

    kind: ClassVar[str] = "squared_hinge"
    formula: ClassVar[str] = "squared_hinge"


@dataclass(frozen=True)
class CrossEntropy(Mean):
    """`-sum y log softmax(f(x))` over classes, mean (or sum) over samples, as torch's CrossEntropyLoss.

    Targets: integer labels `(n,)` in `0..k_d-1`, or rows of probabilities `(n, k_d)`.
    """

    kind: ClassVar[str] = "cross_entropy"
    formula: ClassVar[str] = "cross_entropy"

    def targets(self, Y: Any, n: int, k_d: int, dtype: np.dtype[Any]) -> Array:
        labels = self._labels(validate.plain("Y", Y), n, k_d)
        if labels is not None and labels.dtype.kind in "iu":
            if len(labels) != n:
                raise ValueError(f"Y has {len(labels)} labels but X has {n} rows; pass one label a row")
            if labels.min(initial=0) < 0 or labels.max(initial=0) >= k_d:
                bad = int(labels[(labels < 0) | (labels >= k_d)][0])
                raise ValueError(f"Y holds the label {bad} but the network has {k_d} outputs; labels run from 0 to {k_d - 1}")
            return np.asarray(np.eye(k_d, dtype=dtype)[labels])
        if labels is not None and k_d > 1:
            fix = ": pass Y.astype(int)" if labels.dtype.kind == "f" and bool((labels == np.round(labels)).all()) else ""
            raise ValueError(
                f"Y has shape {labels.shape} and dtype {labels.dtype}; integer labels (n,) or probabilities (n, {k_d}) were wanted{fix}"
            )
        T = super().targets(Y, n, k_d, dtype)
        sums = T.sum(axis=1, dtype=np.float64)
        if T.min() < 0 or np.abs(sums - 1).max() > 4 * k_d * np.finfo(dtype).eps:
            worst = int(np.argmax(np.abs(sums - 1) + (T.min(axis=1) < 0)))
            raise ValueError(
                f"Y[{worst}] sums to {sums[worst]:g} with least entry {T[worst].min():g}; each row must be probabilities that sum to 1"
            )
        return T

    @staticmethod
    def _labels(Y: Any, n: int, k_d: int) -> Array | None:
        """Y if it is a vector. Raises: TypeError for text, ValueError for a column of labels."""
        array = np.asarray(Y) if validate.is_vector(Y) else None
        if array is not None and (array.dtype.kind in "US" or (array.dtype.kind == "O" and all(isinstance(y, str) for y in array))):
            raise TypeError("Y holds text; integer labels were wanted: names, Y = numpy.unique(Y, return_inverse=True)")
        if array is None and k_d > 1 and getattr(Y, "shape", None) == (n, 1):
            raise ValueError(f"Y has shape {(n, 1)}; integer labels (n,) or probabilities (n, {k_d}) were wanted: pass Y[:, 0]")
        return array
