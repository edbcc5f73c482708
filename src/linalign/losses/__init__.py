"""Losses: what is minimised, with its normalisation.

`train(..., loss=name)` for these, of outputs `f = f(x)` and targets y, a row a sample, n samples, k outputs:

"squared"        `1/2 sum (f - y)^2`                              `Squared()`
"mse"            `sum (f - y)^2 / (n k)`, as torch's MSELoss      `Squared(half=False, reduction="entries")`
"cross_entropy"  `-sum y log softmax(f) / n`, or labels 0..k-1    `CrossEntropy()`
"logistic"       `sum log(1 + exp(-y f)) / n`, y = -1 or 1        `Logistic()`
"exponential"    `sum exp(-y f) / n`, y = -1 or 1                 `Exponential()`
"hinge"          `sum max(0, 1 - y f) / n`, y = -1 or 1           `Hinge()`
"squared_hinge"  `sum max(0, 1 - y f)^2 / n`, y = -1 or 1         `SquaredHinge()`
"huber"          `sum h(f - y) / (n k)`, h(r) = r^2 / 2 up to     `Huber()`
                 |r| = 1, |r| - 1/2 beyond, as torch's HuberLoss

`train(net, None, None, loss=...)` for these, of the product `P = W_d ... W_1 (k_d, k_0)`:

`Entries(rows, cols, values)`   `1/2 sum_j (P[rows_j, cols_j] - values_j)^2`: matrix completion
`Sensing(matrices, values)`     `1/2 sum_j (<A_j, P> - values_j)^2`: linear measurements
`BuresWasserstein(S)`           `tr P P^T + tr S - 2 tr (S^(1/2) P P^T S^(1/2))^(1/2)`
`EndToEnd(fn)`                  `fn(P)`, which returns the value and its gradient

The classes take other normalisations (`half`, `reduction`, `delta`). A loss of your own: subclass `Loss`, docs/extending.md.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

from .. import validate
from .base import Loss
from .classification import CrossEntropy, Exponential, Hinge, Logistic, Signs, SquaredHinge
from .product import BuresWasserstein, EndToEnd, Entries, Sensing
from .regression import Huber, Squared

__all__ = [
    "NAMED", "BuresWasserstein", "CrossEntropy", "EndToEnd", "Entries", "Exponential", "Hinge", "Huber", "Logistic", "Loss", "Sensing",
    "Signs", "Squared", "SquaredHinge", "resolve",
]  # fmt: skip

NAMED: dict[str, Loss] = {
    "squared": Squared(),
    "mse": Squared(half=False, reduction="entries"),
    "logistic": Logistic(),
    "exponential": Exponential(),
    "cross_entropy": CrossEntropy(),
    "huber": Huber(),
    "hinge": Hinge(),
    "squared_hinge": SquaredHinge(),
}


# what other libraries call them, in small letters without "loss" and what joins words
ELSEWHERE = {"meansquarederror": "mse", "l2": "mse", "ce": "cross_entropy", "crossentropy": "cross_entropy", "softmargin": "logistic"}


def resolve(loss: str | Loss) -> Loss:
    """The loss of that name, or the loss itself. Raises: ValueError for an unknown name."""
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str) and loss in NAMED:
        return NAMED[loss]
    return NAMED[validate.choice("loss", loss, NAMED, _meant(loss))]


def _meant(loss: Any) -> str:
    """How the message about something that is no loss ends: a loss that is called so elsewhere, or where a function goes."""
    word = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    key = re.sub("[^a-z0-9]", "", word.lower()).removesuffix("loss")
    known = {name.replace("_", ""): name for name in NAMED} | ELSEWHERE
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    if near:
        return f": did you mean {known[near[0]]!r}?"
    return ": a function of the product goes into linalign.losses.EndToEnd(fn), one of the outputs into a Loss" if callable(loss) else ""
