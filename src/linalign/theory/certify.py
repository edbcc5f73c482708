"""Certify: with what learning rate gradient descent converges from a given start, how fast, and to what."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import html, losses, validate
from ..calls import called
from ..layers import Dense
from ..losses import Loss, Squared
from ..problem.network import Network
from ..scores.chain import chain_matrices as _matrices
from ..scores.chain import norm as _norm
from ..validate import Array
from . import edge
from .frame import framed
from .minimum import reduced_rank
from .modes import CASES, MOVING, Mode, certify_mode, steps_within, tau_star
from .rows import Rows, check, check_weights, tolerance, without_biases
from .start import Start, examine


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is proved about gradient descent from one start on one data set; `print` it for plain words.

    certified : the start splits into modes that move on their own, and each of them is proved to converge.
    reason : the condition that fails, or the statements that apply.
    lr : the certified learning rate: with it, or any smaller one, every mode converges monotonically, without overshoot
        (after at most one change of sign, T4.5). It is proved for exact arithmetic, so for the scalar recursions of the modes.
    lr_matrix : the robust learning rate for gradient descent on the matrices, at most `lr`. Rounding errors leave the modes; this
        one damps them near the limit (T4.7: a local condition there, not a proof for the whole way). `lr="certified"` is this one.
    rate : with `lr_matrix`, the error `|q_j - p_j|` of every moving mode shrinks by `1 - rate` a step at least, once those that
        have to cross zero have done so; 0 where a mode fades without a linear rate.
    loss, limit, optimum : the loss at the start, the loss it converges to, and the least loss of any network of these widths.
    modes : the modes, each with its own learning rate and case.
    start : the conditions that were checked.
    least_sharpness : with one output and data of full rank, a sharpness that no global minimiser is below (T13.6): none is stable with a
        learning rate above `2 / least_sharpness`; else None.

    Where nothing is certified `lr`, `lr_matrix`, `rate` and `limit` are None.
    """

    certified: bool
    reason: str
    lr: float | None
    lr_matrix: float | None
    rate: float | None
    loss: float
    limit: float | None
    optimum: float
    modes: tuple[Mode, ...]
    start: Start | None
    least_sharpness: float | None = None

    @property
    def edges(self) -> tuple[float, ...]:
        """The learning rate above which each mode is not stable where it fits its target, `2 / (lambda d |q|^(2 - 2/d))` (T13.5)."""
        return tuple(mode.edge for mode in self.modes)

    @property
    def global_minimum(self) -> bool:
        """The limit is the least loss of any network of these widths, up to 1e-9 of the loss at the start."""
        return self.limit is not None and self.limit - self.optimum <= 1e-9 * self.loss

    def steps(self, epsilon: float, lr: float | None = None) -> int:
        """Steps after which the loss is proved to be within `epsilon` of `limit`, with `lr` (by default `lr_matrix`).

        Raises: ValueError if nothing is certified, `epsilon` is not positive, or `lr` is larger than the certified one;
        OverflowError if the start is so near a saddle that its rate underflows.
        Source: docs/theory, T4.6, and T4.5 for modes that cross zero.
        """
        validate.real("epsilon", epsilon, above=0.0)
        if self.lr is None or self.lr_matrix is None:
            raise ValueError(f"no number of steps is certified: {self.reason}")
        step = self.lr_matrix if lr is None else validate.real("lr", lr, above=0.0)
        if step > self.lr:
            raise ValueError(f"lr is {step:g}; the certificate holds up to {self.lr:g}: pass a smaller lr")
        return 0 if math.isinf(step) else steps_within(self.modes, step, epsilon)

    def _repr_html_(self) -> str:
        return html.page(html.text(*str(self).splitlines()))

    def __str__(self) -> str:
        if self.lr is None or self.lr_matrix is None or self.rate is None or self.limit is None:
            return f"nothing is certified: {self.reason}"
        kinds = {case: sum(mode.case == case for mode in self.modes) for case in CASES}
        lines = [
            f"certified learning rate {self.lr:.6g} for the modes in exact arithmetic, {self.lr_matrix:.6g} for matrices in floating point",
            f"linear rate with the latter: errors shrink by a factor of {1 - self.rate:.6g} a step or faster"
            if self.rate > 0
            else "no linear rate: " + ("nothing moves" if not any(mode.case in MOVING for mode in self.modes) else "a mode fades"),
            f"loss {self.loss:.6e} -> {self.limit:.6e}, "
            + ("the global minimum" if self.global_minimum else f"above the global minimum {self.optimum:.6e}"),
        ]
        lines += [f"{count} mode{'s' if count > 1 else ''}: {CASES[case]}" for case, count in kinds.items() if count]
        return "\n".join(lines)


@called
def certify(net: Network | Iterable[Any], X: Any, Y: Any, loss: str | Loss = "squared", tol: float | None = None) -> Certificate:
    r"""The certified learning rate, linear rate and number of steps of gradient descent from `net` on these data.

    Where the start and the data share their singular vectors, each mode is a product `p = sigma_1 ... sigma_d` that descends on
    `lambda/2 (p - q)^2` alone, and `lr <= 1 / (lambda Gamma)` is proved to take it to q, with Gamma from `tau_star`. Where a
    condition fails the certificate says which one and offers nothing.

    Parameters
    ----------
    net : Network of Dense layers, or sequence of matrices
    X : (n, k_0), or None for matrix factorisation
    Y : (n, k_d); for `X=None` the target `(k_d, k_0)` of the end-to-end matrix
    loss : "squared", "mse" or a `losses.Squared`
    tol : float, optional
        The relative residual at which a condition counts as met: 1e-10, or 1e-5 in float32.

    Returns: Certificate, for gradient descent with one learning rate for all layers, no momentum, no weight decay.
    Raises: ValueError, TypeError for input that is malformed or does not fit together, or a loss that is not the squared one.
    Cost: that of `invariance_condition`, and `O(d k^3)`.
    Source: docs/theory, T4.1 to T4.7 (algorithm A5), L3.1, T3.3, T13.5, T13.6, T16.4.
    """
    without_biases(net)
    matrices = _matrices(net)
    kind = losses.resolve(loss)
    if not isinstance(kind, Squared):
        raise ValueError(f"loss is {loss!r}; only the squared loss is certified: 'squared', 'mse' or linalign.losses.Squared(...)")
    check_weights(matrices)
    given = check(X, Y, matrices[0].shape[1], matrices[-1].shape[0])
    precision = max(given.precision, *(float(np.finfo(W.dtype).eps) for W in matrices))
    limit = tolerance(tol, precision)
    scale = 2.0 * kind.factor(given.count, matrices[-1].shape[0])  # how many times half the sum of squares the loss is
    most = min(W.shape[0] for W in [matrices[0].T, *matrices])
    frame = framed(given.compressed(), matrices)
    rows, matrices = frame.rows, frame.matrices or []
    P = np.linalg.multi_dot([W.astype(np.float64) for W in reversed(matrices)]) if len(matrices) > 1 else matrices[0].astype(np.float64)
    value = 0.5 * scale * _norm(_fit(rows, P)) ** 2
    optimum = scale * reduced_rank(rows, most)[2]
    # of data that leave inputs out, minimisers differ
    flattest = edge.least_sharpness(rows, scale, len(matrices)) if frame.inputs is None or rows.data is None else None
    least = None if flattest is None else flattest[0]
    if isinstance(net, Network):
        for i, layer in enumerate(net.layers):
            # a fixed matrix plus a dense layer descends as a dense one that starts at the sum (T16.4)
            if not isinstance(layer.linear, Dense):
                reason = f"layers[{i}] is {layer!r}; the statements are proved for Dense layers"
                return Certificate(False, reason, None, None, None, value, None, optimum, (), None, least)
    start = examine(matrices, rows, limit)
    inputs, outputs = frame.lift(start.inputs, start.outputs)
    lifted = replace(start, inputs=inputs, outputs=outputs)
    if not start.separates:
        reason = f"{start.reason} (residual {start.residual:.1e}, tolerance {limit:.0e})"
        return Certificate(False, reason, None, None, None, value, None, optimum, (), lifted, least)
    modes = _modes(start, rows, P, scale, limit)
    for j, mode in enumerate(modes):
        if math.isnan(mode.lr):
            reason = f"mode {j} {CASES[mode.case]}"
            return Certificate(False, reason, None, None, None, value, None, optimum, modes, lifted, least)
    lr = min((mode.lr for mode in modes), default=math.inf)
    lr_matrix = min(lr, _robust(start, modes, rows, [W.astype(np.float64) for W in matrices], scale))
    moving = [mode for mode in modes if mode.case in MOVING]
    rate = min((lr_matrix * mode.eigenvalue * mode.speed for mode in moving), default=0.0)
    # what moves arrives: P changes by (q - p) u v^T
    change = np.array([mode.target - mode.start if mode.case in MOVING else 0.0 for mode in modes])
    end = P + (start.outputs * change) @ start.inputs.T
    final = 0.5 * scale * _norm(_fit(rows, end)) ** 2
    reason = "the start and the data share their singular vectors, and every mode converges: T4.2 to T4.5"
    return Certificate(True, reason, lr, lr_matrix, rate, value, final, optimum, modes, lifted, least)


def _fit(rows: Rows, P: Array) -> Array:
    """`X P^T - Y`."""
    return (P.T if rows.data is None else rows.data @ P.T) - rows.Y


def _modes(start: Start, rows: Rows, P: Array, scale: float, limit: float) -> tuple[Mode, ...]:
    c, m = rows.c, rows.m
    noise = limit * (float(np.linalg.norm(P, 2)) * c + m)
    out = []
    for j in range(start.factors.shape[1]):
        eigenvalue, target, factors = float(start.eigenvalues[j]), float(start.targets[j]), start.factors[:, j]
        product = float(np.prod(factors))
        # M = Y^T X: where the data have no variance they have no target either
        flat = eigenvalue <= max(limit**2, 1e-26) * c
        target = 0.0 if abs(target) <= 1e-3 * limit * m else target  # a target of the size of rounding has no sign
        fitted = flat or abs(product * eigenvalue - target) <= 1e-3 * noise
        out.append(certify_mode(0.0 if flat else scale * eigenvalue, 0.0 if flat else target / eigenvalue, factors, fitted))
    return tuple(out)


def _robust(start: Start, modes: tuple[Mode, ...], rows: Rows, matrices: list[Array], scale: float) -> float:
    """`1 / max_{j,l} lambda_l Gamma_{jl}` over all pairs, at the largest values that the factors take on their way (T4.7).

    `Gamma_{jl} = sum_i prod_{m>i} y_{mj} prod_{m<i} y_{ml}`. What lies outside the modes does not move; all of it counts as one
    more output and one more input, with its norms for factors.
    """
    d, r = start.factors.shape
    y = start.factors**2
    for j, mode in enumerate(modes):
        if mode.case in MOVING and mode.target:
            y[:, j] = np.maximum(y[:, j], y[:, j] + tau_star(y[:, j], mode.target))
    above, below = np.ones((d, r + 1)), np.ones((d, r + 1))  # prod_{m>i} y_m, prod_{m<i} y_m
    for i in range(d - 1):
        below[i + 1, :r] = below[i, :r] * y[i]
        above[d - 2 - i, :r] = above[d - 1 - i, :r] * y[d - 1 - i]
    V, U = start.inputs, start.outputs
    low, high = np.eye(len(V)) - V @ V.T, np.eye(len(U)) - U @ U.T
    for i in range(d):
        below[i, r] = np.linalg.norm(low, 2) ** 2
        low = matrices[i] @ low
    for i in reversed(range(d)):
        above[i, r] = np.linalg.norm(high, 2) ** 2
        high = matrices[i].T @ high
    outside = np.eye(len(V)) - V @ V.T
    eigenvalues = scale * np.append(start.eigenvalues, np.linalg.norm(rows.X @ outside, 2) ** 2)
    top = float(np.max((above.T @ below) * eigenvalues, initial=0.0))
    return 1.0 / top if top > 0 else math.inf
