"""What is recorded along a run, and when: `train(..., record={name: every})`, read from `run.history[name]`.

`every` is a number of steps, "log" (about twenty a decade), or a list of steps; the last step is always recorded. Names, and the shape
of a record of a network with layers `W_i (k_i, k_{i-1})`, i = 1..d:

loss                  ()         the loss
validation_loss       ()         the loss on the data that `train(..., validation=(X, Y))` was given
gradient_norm         ()         `sqrt(sum_i ||dL/dtheta_i||^2)`
layer_gradient_norms  (d,)       `||dL/dtheta_i||` of each layer; costs a step on the data as given
alignment             (d - 1,)   cosine of each interface, `linalign.alignment`; 1 is aligned
misalignment          (d - 1,)   its sine, accurate near 0; 0 is aligned
alignment_svd         ()         the authors' score: best partner of every vector of an upper layer, `linalign.alignment_svd`
alignment_top         (d - 1,)   `|v_{i+1,1} . u_{i,1}|` of the top singular vectors
invariance            ()         the authors' score: best partner now of every vector of the start, `linalign.invariance`
top_invariance        ()         top singular vectors against those of the start, with their signs, `linalign.top_invariance`
balancedness          (d - 1,)   `||W_{i+1}^T W_{i+1} - W_i W_i^T||_F`
singular_values       (r,)       of the product `W_d ... W_1`, r = min(k_0, k_d), largest first
layer_singular_values (d, m)     of each layer, m the most a layer has; short rows end in nan
nuclear_norm          ()         their sum for the product, `sum_j s_j`
effective_rank        ()         `exp` of the entropy of the normalised singular values of the product
sharpness             ()         largest eigenvalue of the Hessian of the loss, in the metric of the descent, `linalign.sharpness`
edge                  ()         `lr * sharpness / (2 (1 + momentum))`: gradient descent is stable below 1
hessian_eigenvalues   (6,)       the three smallest and the three largest
gauss_newton_top      ()         largest eigenvalue of Gauss-Newton's part of the Hessian
ntk_trace             ()         trace of the neural tangent kernel on the data, `linalign.ntk_trace`
kernel_distance       ()         how far it has turned since the start, `linalign.kernel_distance`; 0 is lazy
modes                 (r,)       `u_j^T W_d ... W_1 v_j` in the singular bases of minus the gradient at P = 0 (`Y^T X` for squared loss)
params                (size,)    all parameters, one layer after the other; scores take such a run as a trajectory

Where singular values repeat, vectors are a choice, and `alignment_svd`, `alignment_top`, `invariance` and `top_invariance` are scores of
that which was made: it may be another one after a reduction. `alignment` and `misalignment` depend on none.

Functions of your own: `{function: every}` or `{name: (every, function)}`, called with the network, or with the network and a `State`
where they take two arguments. `Sum(function)` in place of a function is the running sum of its answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..scores import spectrum
from ..scores.vector_scores import top_alignment
from ..validate import Array
from .state import State


def table() -> str:
    """The lines of the names above, for other pages of help."""
    return "\n".join(line for line in (__doc__ or "").splitlines() if line.split(" ")[0] in QUANTITIES)


def _layer_singular_values(state: State) -> Array:
    """Rows are layers; short rows are filled with nan."""
    values = spectrum.layer_values(state.matrices())
    table = np.full((len(values), max(map(len, values))), np.nan)
    for row, found in zip(table, values, strict=True):
        row[: len(found)] = found
    return table


# those that ask for second derivatives, or for the tangent kernel
CURVATURES = ("sharpness", "edge", "hessian_eigenvalues", "gauss_newton_top", "ntk_trace", "kernel_distance")

QUANTITIES: dict[str, Callable[[State], Any]] = {
    "loss": lambda state: state.loss,
    "validation_loss": lambda state: state.validation_loss,
    "gradient_norm": lambda state: state.gradient_norm,
    # in double: the squares of a float32 gradient leave its range from 1e19 on
    "layer_gradient_norms": lambda state: np.array([np.linalg.norm(gradient.astype(np.float64)) for gradient in state.gradients]),
    "alignment": lambda state: np.array([cosine for _, cosine in state.observe.angles()]),
    "misalignment": lambda state: np.array([sine for sine, _ in state.observe.angles()]),
    "alignment_svd": lambda state: state.vector_scores()["alignment_svd"],
    "alignment_top": lambda state: top_alignment(state.matrices()),
    "invariance": lambda state: state.vector_scores()["invariance"],
    "top_invariance": lambda state: state.observe.top_invariance(),
    "balancedness": lambda state: state.observe.balancedness(),
    "singular_values": lambda state: state.observe.singular_values(),
    "layer_singular_values": _layer_singular_values,
    "nuclear_norm": lambda state: np.sum(state.observe.singular_values()),
    "effective_rank": lambda state: state.observe.effective_rank(),
    "sharpness": lambda state: state.sharpness,
    "edge": lambda state: state.edge,
    "hessian_eigenvalues": lambda state: state.watched.ends(state),
    "gauss_newton_top": lambda state: state.watched.top(state, part=True),
    "ntk_trace": lambda state: state.watched.factors(state).trace(),
    "kernel_distance": lambda state: state.watched.distance(state),
    "modes": lambda state: state.observe.modes(*state.modes),
    "params": lambda state: np.concatenate([theta.ravel() for theta in state.params()]),
}
