"""JAX: an objective as a function of JAX, differentiable and under `jit`.

>>> import jax, numpy as np, linalign as la
>>> jax.config.update("jax_enable_x64", True)
>>> from linalign.interop.jax import as_function
>>> net = la.Network.dense([4, 3, 2]).init("xavier", rng=0)
>>> X = np.random.default_rng(0).standard_normal((50, 4))
>>> loss = as_function(la.Objective(net, X, X[:, :2], loss="mse"))
>>> value, gradients = jax.jit(jax.value_and_grad(loss))(list(net.params))
>>> [g.shape for g in gradients]
[(3, 4), (2, 3)]
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np

try:
    import jax
except ImportError:
    raise ImportError("linalign.interop.jax needs JAX; install it with: pip install 'linalign[jax]'") from None

from ..training.objective import Objective


def as_function(objective: Objective) -> Callable[[Any], Any]:
    """`theta -> L(theta)` of an objective for JAX: `grad`, `value_and_grad`, `jit`, `lax.scan` and optimisers of JAX take it.

    Parameters
    ----------
    objective : linalign.Objective
        Copied, once for each thread that JAX calls it from.

    The function takes one flat vector or a sequence of arrays, one a layer, and returns a scalar of the objective's dtype. A call is one
    call of the kernel on the host (`jax.pure_callback`); a gradient comes with its value. First derivatives in reverse mode only;
    `vmap` takes one after the other.
    Raises: TypeError for anything but an objective, or for one in float64 where JAX computes in float32; ValueError for arrays that do
    not fit, when traced. Cost: that of `Objective.value_and_grad` and of a callback of JAX, some tens of microseconds.
    """
    if not isinstance(objective, Objective):
        raise TypeError(f"objective is {type(objective).__name__}; a linalign.Objective was wanted")
    dtype, shapes, own = objective.dtype, [theta.shape for theta in objective.params], threading.local()
    size = objective.flat.size
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise TypeError(
            "objective is float64 but JAX is set to float32; call jax.config.update('jax_enable_x64', True), or use net.astype('float32')"
        )

    def bound() -> Objective:
        if not hasattr(own, "objective"):
            own.objective = copy(objective)
        found: Objective = own.objective
        return found

    def value_of(params: Any) -> Any:
        return np.asarray(bound().value(_arrays(params)), dtype)

    def both_of(params: Any) -> Any:
        value, gradient = bound().value_and_grad(_arrays(params))
        return np.asarray(value, dtype), gradient if isinstance(gradient, np.ndarray) else type(params)(gradient)

    result: Any = jax.ShapeDtypeStruct
    scalar = result((), dtype)

    @jax.custom_vjp
    def loss(params: Any) -> Any:
        return jax.pure_callback(value_of, scalar, params, vmap_method="sequential")

    def forward(params: Any) -> Any:
        like = jax.tree_util.tree_map(lambda theta: result(theta.shape, dtype), params)
        return jax.pure_callback(both_of, (scalar, like), params, vmap_method="sequential")

    def backward(gradient: Any, slope: Any) -> Any:
        return (jax.tree_util.tree_map(lambda theta: slope * theta, gradient),)

    loss.defvjp(forward, backward)

    def of(params: Any) -> Any:
        """The loss at these parameters."""
        given = list(params) if isinstance(params, (list, tuple)) else params
        for name, theta, wanted in _named(given, shapes, size):
            if np.shape(theta) != wanted:
                raise ValueError(f"{name} has shape {np.shape(theta)}; {wanted} was wanted")
            if theta.dtype != dtype:
                raise TypeError(f"{name} is {theta.dtype} but the objective is {dtype}; pass {name}.astype({str(dtype)!r})")
        return loss(params)

    return of


def _named(given: Any, shapes: list[tuple[int, ...]], size: int) -> list[tuple[str, Any, tuple[int, ...]]]:
    """Every array that was given, by its name, with the shape that it is to have."""
    if not isinstance(given, list):
        return [("params", given, (size,))]
    if len(given) != len(shapes):
        raise ValueError(f"params has {len(given)} arrays but the network has {len(shapes)} layers; pass one array a layer")
    return [(f"params[{i}]", theta, shape) for i, (theta, shape) in enumerate(zip(given, shapes, strict=True))]


def _arrays(params: Any) -> Any:
    """What JAX hands to the host, as NumPy has it."""
    return [np.asarray(theta) for theta in params] if isinstance(params, (list, tuple)) else np.asarray(params)
