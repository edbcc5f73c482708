"""Stacked: recorded quantities of many networks at once, from their matrices with a leading axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cached import cached_property
from ..problem.problem import Problem
from ..scores import stacks
from ..validate import Array
from .state import mode_bases


@dataclass(frozen=True, eq=False)
class Stack:
    """Networks as given, where they stand: `matrices[i] (m, k_i, k_{i-1})`, and their losses `(m,)`; `problem` has the data of all."""

    matrices: list[Array]
    loss: Array
    problem: Problem

    @cached_property
    def angles(self) -> tuple[Array, Array]:
        """Sine and cosine of every interface."""
        return stacks.angles(self.matrices)

    @cached_property
    def singular_values(self) -> Array:
        """Of the products."""
        return stacks.product_values(self.matrices)


STACKED: Mapping[str, Callable[[Stack], Array]] = {
    "loss": lambda stack: stack.loss,
    "alignment": lambda stack: stack.angles[1],
    "misalignment": lambda stack: stack.angles[0],
    "balancedness": lambda stack: stacks.balance(stack.matrices),
    "singular_values": lambda stack: stack.singular_values,
    "layer_singular_values": lambda stack: stacks.layer_values(stack.matrices),
    "nuclear_norm": lambda stack: np.sum(stack.singular_values, axis=1),
    "effective_rank": lambda stack: stacks.product_rank(stack.matrices),
    "modes": lambda stack: stacks.modes(stack.matrices, *mode_bases(stack.problem)),
    "params": lambda stack: np.concatenate([W.reshape(len(W), -1) for W in stack.matrices], axis=1),
}
"""The quantities of `quantities.QUANTITIES` that are found for all networks at once."""
# those that are of biases too, and not of the matrices alone
OF_BIASES = ("balancedness", "params")


def stackable(record: Any, biases: bool = False) -> str | None:
    """Why not all that is recorded can be found so, of networks with or without biases; None if it can."""
    for key in record or {}:
        if key not in STACKED or (biases and key in OF_BIASES):
            whose = " with biases" if biases else ""
            return f"record has {getattr(key, '__name__', repr(key))}, which is found of one network{whose} at a time"
    return None
