"""Quantities: what can be recorded along a run by name, each a function of the state of the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..scores import spectrum
from ..scores.vector_scores import top_alignment
from ..validate import Array
from .state import State


def _layer_singular_values(state: State) -> Array:
    """Rows are layers; short rows are filled with nan."""
    values = spectrum.layer_values(state.matrices())
    table = np.full((len(values), max(map(len, values))), np.nan)
    for row, found in zip(table, values, strict=True):
        row[: len(found)] = found
    return table


QUANTITIES: dict[str, Callable[[State], Any]] = {
    "loss": lambda state: state.loss,
    "gradient_norm": lambda state: state.gradient_norm,
    "alignment": lambda state: np.array([cosine for _, cosine in state.observe.angles()]),
    "misalignment": lambda state: np.array([sine for sine, _ in state.observe.angles()]),
    "alignment_svd": lambda state: state.vector_scores()["alignment_svd"],
    "alignment_top": lambda state: top_alignment(state.matrices()),
    "invariance": lambda state: state.vector_scores()["invariance"],
    "top_invariance": lambda state: state.observe.top_invariance(),
    "balancedness": lambda state: state.observe.balancedness(),
    "singular_values": lambda state: state.observe.singular_values(),
    "layer_singular_values": _layer_singular_values,
    "effective_rank": lambda state: state.observe.effective_rank(),
    "modes": lambda state: state.observe.modes(*state.modes),
    "params": lambda state: np.concatenate([theta.ravel() for theta in state.params()]),
}
