"""Losses: what is minimised, with its normalisation.

A loss of the outputs is a function of `F = X P^T (n, k_d)` and targets; a loss of the product is a function of
`P = W_d ... W_1 (k_d, k_0)` and takes no data. Formulas: `reference.py`.
"""

from __future__ import annotations

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


def resolve(loss: str | Loss) -> Loss:
    """The loss of that name, or the loss itself. Raises: ValueError for an unknown name."""
    if isinstance(loss, Loss):
        return loss
    return NAMED[validate.choice("loss", loss, NAMED)]
