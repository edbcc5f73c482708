"""The whole computation in plain NumPy, one equation a function: the specification.

The kernels compute the same numbers faster; tests compare the two. Nothing here is clever, and nothing but NumPy is
imported. `layers` are objects with `apply`, `adjoint`, `grad`, `matrix` and `solve_gram` (`layers/base.py`), `params` their
parameters, `X (n, k_0)` rows of samples or None for the identity. Notation of docs/theory, section 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = Any  # a NumPy array; numpy.typing would be a second import for a name
Params = list[Array]
Objective = Callable[[Array], tuple[float, Array]]
Second = Callable[[Array, Array], Array]


# ------------------------------------------------------------------ losses of the outputs F = X P^T (n, k_d)
def squared(F: Array, T: Array, factor: float) -> tuple[float, Array]:
    """`factor * sum (F - T)^2` and its gradient in F."""
    residual = F - T
    return factor * float(np.sum(np.square(residual, dtype=np.float64))), (2 * factor) * residual


def logistic(F: Array, T: Array, factor: float) -> tuple[float, Array]:
    """`factor * sum log(1 + exp(-T F))`, labels T in {-1, 1}, and its gradient in F."""
    margin = T * F
    return factor * float(np.sum(np.logaddexp(0, -margin), dtype=np.float64)), -factor * T * np.exp(-np.logaddexp(0, margin))


def exponential(F: Array, T: Array, factor: float) -> tuple[float, Array]:
    """`factor * sum exp(-T F)`, labels T in {-1, 1}, and its gradient in F."""
    power = np.exp(-T * F)
    return factor * float(np.sum(power, dtype=np.float64)), -factor * T * power


def huber(F: Array, T: Array, factor: float, delta: float) -> tuple[float, Array]:
    """`factor * sum h(F - T)`, `h(r) = r^2 / 2` up to `|r| = delta` and `delta (|r| - delta / 2)` beyond, and its gradient in F."""
    residual = F - T
    slope = np.clip(residual, -delta, delta)
    return factor * float(np.sum(slope * (residual - slope / 2), dtype=np.float64)), factor * slope


def hinge(F: Array, T: Array, factor: float) -> tuple[float, Array]:
    """`factor * sum max(0, 1 - T F)`, labels T in {-1, 1}, and a subgradient in F: 0 at margin 1."""
    gap = 1 - T * F
    return factor * float(np.sum(np.maximum(gap, 0), dtype=np.float64)), -factor * T * (gap > 0)


def squared_hinge(F: Array, T: Array, factor: float) -> tuple[float, Array]:
    """`factor * sum max(0, 1 - T F)^2`, labels T in {-1, 1}, and its gradient in F."""
    gap = np.maximum(1 - T * F, 0)
    return factor * float(np.sum(np.square(gap, dtype=np.float64))), (-2 * factor) * T * gap


def cross_entropy(F: Array, T: Array, factor: float) -> tuple[float, Array]:
    """`-factor * sum T log softmax(F)` over rows, T rows of probabilities, and its gradient in F."""
    shifted = F - F.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    return -factor * float(np.sum(T * log_softmax, dtype=np.float64)), factor * (np.exp(log_softmax) - T)


# ------------------------------------------------------------------ their second derivatives along V (docs/theory, T13.1)
def squared_second(F: Array, V: Array, T: Array, factor: float) -> Array:
    """`2 factor V`."""
    return (2 * factor) * V


def huber_second(F: Array, V: Array, T: Array, factor: float, delta: float) -> Array:
    """`factor V` where `|F - T| <= delta`, else 0."""
    return factor * V * (np.abs(F - T) <= delta)


def logistic_second(F: Array, V: Array, T: Array, factor: float) -> Array:
    """`factor s (1 - s) V`, `s = 1 / (1 + exp(T F))`."""
    margin = T * F
    return factor * V * np.exp(-np.logaddexp(0, margin) - np.logaddexp(0, -margin))


def exponential_second(F: Array, V: Array, T: Array, factor: float) -> Array:
    """`factor exp(-T F) V`."""
    return factor * V * np.exp(-T * F)


def hinge_second(F: Array, V: Array, T: Array, factor: float) -> Array:
    """0: the loss is piecewise linear."""
    return np.zeros_like(V)


def squared_hinge_second(F: Array, V: Array, T: Array, factor: float) -> Array:
    """`2 factor V` where `T F < 1`, else 0."""
    return (2 * factor) * V * (T * F < 1)


def cross_entropy_second(F: Array, V: Array, T: Array, factor: float) -> Array:
    """`factor (p V - p (p . V))` a row, `p = softmax(F)`; rows of T sum to 1."""
    p = np.exp(F - F.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    weighted = p * V
    return factor * (weighted - p * weighted.sum(axis=1, keepdims=True))


def difference(objective: Objective, F: Array, V: Array) -> Array:
    """`(G(F + h V) - G(F - h V)) / 2h` of the gradient G, with h such that rounding and the third derivative weigh the same."""
    size = float(np.linalg.norm(V))
    if size == 0:
        return np.zeros_like(V)
    h = float(np.finfo(F.dtype).eps) ** (1 / 3) * max(1.0, float(np.linalg.norm(F))) / size
    return (objective(F + h * V)[1] - objective(F - h * V)[1]) / (2 * h)


# ------------------------------------------------------------------ losses of the product P = W_d ... W_1 (k_d, k_0)
def entries(P: Array, rows: Array, columns: Array, values: Array, factor: float) -> tuple[float, Array]:
    """`factor * sum_j (P[rows_j, columns_j] - values_j)^2` and its gradient in P."""
    residual = P[rows, columns] - values
    G = np.zeros_like(P)
    np.add.at(G, (rows, columns), (2 * factor) * residual)
    return factor * float(np.sum(np.square(residual, dtype=np.float64))), G


def bures_wasserstein(P: Array, C: Array, trace: float, factor: float) -> tuple[float, Array]:
    """`factor * (||P||^2 + trace - 2 ||C^T P||_*)`, `trace = ||C||^2`, and its gradient in P: `2 factor (P - C U V^T)`."""
    U, s, Vt = np.linalg.svd(C.T @ P, full_matrices=False)
    value = float(np.sum(np.square(P, dtype=np.float64))) + trace - 2 * float(np.sum(s, dtype=np.float64))
    return factor * value, (2 * factor) * (P - C @ (U @ Vt))


def sensing(P: Array, matrices: Array, values: Array, factor: float) -> tuple[float, Array]:
    """`factor * sum_j (<A_j, P> - values_j)^2`, `matrices (m, k_d, k_0)`, and its gradient in P."""
    residual = np.einsum("jab,ab->j", matrices, P) - values
    return factor * float(np.sum(np.square(residual, dtype=np.float64))), (2 * factor) * np.einsum("j,jab->ab", residual, matrices)


# ------------------------------------------------------------------ the network
def forward(layers: Sequence[Any], params: Params, X: Array) -> list[Array]:
    """`A_0 = X, A_i = A_{i-1} W_i^T`: every activation."""
    A = [X]
    for layer, theta in zip(layers, params, strict=True):
        A.append(layer.apply(theta, A[-1]))
    return A


def backward(layers: Sequence[Any], params: Params, D: Array) -> list[Array]:
    """`D_d = D, D_{i-1} = D_i W_i`: what D, at the outputs, is behind every layer, `D_1` first."""
    found = [D]
    for layer, theta in zip(reversed(layers[1:]), reversed(params[1:]), strict=True):
        found.insert(0, layer.adjoint(theta, found[0]))
    return found


def end_to_end(layers: Sequence[Any], params: Params) -> Array:
    """`P = W_d ... W_1`."""
    return forward(layers, params, np.eye(layers[0].shape[1], dtype=params[0].dtype))[-1].T


def gradients(layers: Sequence[Any], params: Params, X: Array | None, objective: Objective) -> tuple[float, Params]:
    """Backpropagation: `D_d = dL/dF`, `grad_i = <A_k, D_i^T A_{i-1}>`, `D_{i-1} = D_i W_i`.

    `objective(F)` is the loss and its gradient in the outputs.
    """
    A = forward(layers, params, np.eye(layers[0].shape[1], dtype=params[0].dtype) if X is None else X)
    value, D = objective(A[-1])
    return value, [layer.grad(D_i, A_i) for layer, D_i, A_i in zip(layers, backward(layers, params, D), A, strict=False)]


def pivot_gradients(layers: Sequence[Any], params: Params, X: Array | None, objective: Objective, pivot: int) -> tuple[float, Params]:
    """The same gradients from the pivot `p >= 1`, `k_p` rows in flight (docs/theory, section 10).

    Upper `A_p = I, A_i = A_{i-1} W_i^T`; lower `Z_p = I, Z_{i-1} = Z_i W_i`; they meet in the residual.
    """
    p, d = pivot, len(layers)
    eye = np.eye(layers[p - 1].shape[0], dtype=params[0].dtype)
    A = forward(layers[p:], params[p:], eye)
    Z = [eye]
    for i in reversed(range(p)):
        Z.insert(0, layers[i].adjoint(params[i], Z[0]))
    H = Z[0].T if X is None else X @ Z[0].T
    value, E = objective(H @ A[-1])
    D, R = H.T @ E, A[-1] @ (E.T if X is None else E.T @ X)
    grads: list[Array] = [None] * d
    for i in reversed(range(p, d)):
        grads[i] = layers[i].grad(D, A[i - p])
        D = layers[i].adjoint(params[i], D)
    for i in range(p):
        grads[i] = layers[i].grad(Z[i + 1], R)
        R = layers[i].apply(params[i], R)
    return value, grads


def tangent(layer: Any, direction: Array, A: Array) -> Array:
    """`A V^T` with `V` the derivative of the layer's matrix along `direction`: of an affine layer, without its fixed part."""
    if not layer.size:
        return np.zeros((len(A), layer.shape[0]), dtype=A.dtype)
    moved = layer.apply(direction, A)
    return moved if layer.offset is None else moved - A @ layer.offset.T.astype(A.dtype)


def cotangent(layer: Any, direction: Array, D: Array) -> Array:
    """`D V`, the same."""
    if not layer.size:
        return np.zeros((len(D), layer.shape[1]), dtype=D.dtype)
    moved = layer.adjoint(direction, D)
    return moved if layer.offset is None else moved - D @ layer.offset.astype(D.dtype)


def _sum(*terms: Array | None) -> Array | None:
    """The sum of those that are not None, which stands for zero."""
    given = [term for term in terms if term is not None]
    return sum(given[1:], start=given[0]) if given else None


def hessian_product(
    layers: Sequence[Any], params: Params, V: Params, X: Array | None, objective: Objective,
    second: Second, pivot: int = 0, part: bool = False,
) -> Params:  # fmt: skip
    """The derivative of the gradients along V, from any pivot; `part`: Gauss-Newton's, without what has an undifferentiated E (T13.1).

    Upper, from `A_p = I` (X at p = 0): `A'_i = A_{i-1} V_i^T + A'_{i-1} W_i^T`; lower `Z'_{i-1} = Z_i V_i + Z'_i W_i`. With
    `E' = second(F, F')` the chains of errors follow the same way, and `(H V)_i = <A_k, D'_i^T A_{i-1} + D_i^T A'_{i-1}>`.
    """
    p, d, dtype = pivot, len(layers), params[0].dtype
    X = np.eye(layers[0].shape[1], dtype=dtype) if X is None else X
    A: list[Any] = [None] * (d + 1)
    Z, dA, dZ = list(A), list(A), list(A)
    Z[p] = np.eye(layers[p - 1].shape[0] if p else layers[0].shape[1], dtype=dtype)
    A[p] = Z[p] if p else X
    for i in range(p, d):
        A[i + 1] = layers[i].apply(params[i], A[i])
        dA[i + 1] = _sum(tangent(layers[i], V[i], A[i]), None if dA[i] is None else layers[i].apply(params[i], dA[i]))
    for i in reversed(range(p)):
        Z[i] = layers[i].adjoint(params[i], Z[i + 1])
        dZ[i] = _sum(cotangent(layers[i], V[i], Z[i + 1]), None if dZ[i + 1] is None else layers[i].adjoint(params[i], dZ[i + 1]))
    if p:
        H, dH = X @ Z[0].T, X @ dZ[0].T
        F, dF = H @ A[d], _sum(dH @ A[d], None if dA[d] is None else H @ dA[d])
    else:
        F, dF = A[d], dA[d]
    dE, E = second(F, dF), None if part else objective(F)[1]
    D, dD = (E, dE) if not p else (None if E is None else H.T @ E, _sum(H.T @ dE, None if E is None else dH.T @ E))
    R = None if E is None or not p else A[d] @ E.T @ X
    dR = _sum(A[d] @ dE.T @ X, None if E is None or dA[d] is None else dA[d] @ E.T @ X) if p else None
    found: list[Array] = [None] * d

    def both(i: int, first: Array, second: Array, more: Array | None, most: Array | None) -> Array:
        whole = layers[i].grad(first, second)
        return whole if more is None or most is None else whole + layers[i].grad(more, most)

    for i in reversed(range(p, d)):
        found[i] = both(i, dD, A[i], D, dA[i])
        dD = _sum(layers[i].adjoint(params[i], dD), None if D is None else cotangent(layers[i], V[i], D))
        D = None if D is None else layers[i].adjoint(params[i], D)
    for i in range(p):
        found[i] = both(i, Z[i + 1], dR, dZ[i + 1], R)
        dR = _sum(layers[i].apply(params[i], dR), None if R is None else tangent(layers[i], V[i], R))
        R = None if R is None else layers[i].apply(params[i], R)
    return found


# ------------------------------------------------------------------ products by themselves (linalign.kernels)
def stack_forward(weights: Sequence[Array], X: Array) -> Array:
    """`F = X W_1^T ... W_d^T`."""
    for W in weights:
        X = X @ W.T
    return X


def stack_backward(weights: Sequence[Array], X: Array, D: Array) -> tuple[list[Array], Array]:
    """The gradients of `<D, F>` in every weight and in X: `grad_i = D_i^T A_{i-1}`, `D_{i-1} = D_i W_i`."""
    A = [X]
    for W in weights:
        A.append(A[-1] @ W.T)
    grads: list[Array] = []
    for i in reversed(range(len(weights))):
        grads.insert(0, D.T @ A[i])
        D = D @ weights[i]
    return grads, D


def project(layer: Any, M: Array) -> Array:
    """`argmin_theta ||M - B - sum_k theta_k A_k||`: the coordinates, and the Gram matrix solved for them (T5.1)."""
    free = M if layer.offset is None else M - layer.offset.astype(M.dtype)
    return layer.solve_gram(layer.coordinates(free))


# ------------------------------------------------------------------ training
def update(theta: Array, velocity: Array, gradient: Array, lr: float, momentum: float, weight_decay: float) -> tuple[Array, Array]:
    """Heavy ball in torch's convention: `v <- m v + g + w theta`, `theta <- theta - lr v`."""
    velocity = momentum * velocity + gradient + weight_decay * theta
    return theta - lr * velocity, velocity


def step(
    layers: Sequence[Any], params: Params, velocities: Params, X: Array | None, objective: Objective,
    lr: Array, momentum: float, weight_decay: Array, order: str, metric: str,
) -> tuple[float, Params, Params]:  # fmt: skip
    """One step: all layers from one gradient ("simultaneous") or layer 1 to d, each from the newest ("cyclic").

    `metric`: "parameters" descends along `<A_k, G>`, "matrix" along the projection of `G`, `Gram^-1 <A_k, G>` (T5.1).

    Returns the loss before the step, the new parameters and velocities.
    """
    value, grads = gradients(layers, params, X, objective)
    new, moved = list(params), list(velocities)
    for i in range(len(layers)):
        if order == "cyclic" and i:
            grads = gradients(layers, new, X, objective)[1]
        gradient = layers[i].solve_gram(grads[i]) if metric == "matrix" else grads[i]
        new[i], moved[i] = update(params[i], velocities[i], gradient, float(lr[i]), momentum, float(weight_decay[i]))
    return value, new, moved


def train(
    layers: Sequence[Any], params: Params, X: Array | None, objective: Objective, steps: int,
    lr: Array, momentum: float, weight_decay: Array, order: str, metric: str,
) -> tuple[Params, Array]:  # fmt: skip
    """`steps` steps; the parameters, and the loss before each step and after the last."""
    velocities = [np.zeros_like(theta) for theta in params]
    losses = []
    for _ in range(steps):
        value, params, velocities = step(layers, params, velocities, X, objective, lr, momentum, weight_decay, order, metric)
        losses.append(value)
    return params, np.array([*losses, gradients(layers, params, X, objective)[0]])


def slope(
    layers: Sequence[Any], params: Params, X: Array | None, objective: Objective, weight_decay: Array, metric: str = "parameters"
) -> Params:
    """The right side of gradient flow, `dtheta_i/dt = -dL/dtheta_i - weight_decay_i theta_i`; in "matrix" `G_i^-1` times the gradient."""
    found = gradients(layers, params, X, objective)[1]
    if metric == "matrix":
        found = [layer.solve_gram(g) for layer, g in zip(layers, found, strict=True)]
    return [-g - decay * theta for g, decay, theta in zip(found, weight_decay, params, strict=True)]


def train_beside(
    weights: Params, X: Array, objective: Objective, steps: int, lr: Array, momentum: Array, weight_decay: Array
) -> tuple[Params, Array]:
    """Dense networks on the same data, all at once: `weights[i] (m, k_i, k_{i-1})`, rates and decays `(m, d)`, `momentum (m,)`.

    Returns the weights after so many steps, and the losses `(m, steps + 1)` before each and after the last.
    """
    W = [weight.copy() for weight in weights]
    V = [np.zeros_like(weight) for weight in weights]
    losses = np.empty((len(W[0]), steps + 1))
    for t in range(steps + 1):
        A = [np.broadcast_to(X, (len(W[0]), *X.shape))]
        for weight in W:
            A.append(A[-1] @ weight.swapaxes(1, 2))
        losses[:, t], errors = zip(*map(objective, A[-1]), strict=True)
        if t == steps:
            break
        D = np.array(errors)
        for i in reversed(range(len(W))):
            G, D = D.swapaxes(1, 2) @ A[i], D @ W[i]
            V[i] = momentum[:, None, None] * V[i] + G + weight_decay[:, i, None, None] * W[i]
            W[i] = W[i] - lr[:, i, None, None] * V[i]
    return W, losses
