"""Scores of many chains at once: matrices with a leading axis, `[(m, k_1, k_0), (m, k_2, k_1), ...]`, an array with that axis back.

The formulas are those of `interfaces`, `interface` and `spectrum`, for small matrices: no shape is treated apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise

import numpy as np

from ..validate import Array
from .chain import noise
from .interface import SWITCH

Stacks = Sequence[Array]


def angles(stacks: Stacks) -> tuple[Array, Array]:
    """Sine and cosine of every interface, `(m, d - 1)` each. Source: docs/theory, section 1 (c')."""
    units = [_unit(W)[0] for W in stacks]
    sizes = [_norm(W) for W in units]
    sines, cosines = [np.empty((len(stacks[0]), len(stacks) - 1)) for _ in range(2)]
    for i in range(len(stacks) - 1):
        rounding = stacks[i].shape[1] * max(noise(stacks[i]), noise(stacks[i + 1]))
        sines[:, i], cosines[:, i] = _angle(units[i], units[i + 1], rounding * sizes[i] * sizes[i + 1])
    return sines, cosines


def _angle(W: Array, V: Array, floor: Array) -> tuple[Array, Array]:
    a, b = W.shape[2], V.shape[1]
    Z = V @ W
    Zt = _turned(Z)
    K = W @ (Zt @ V) if a <= b else (W @ Zt) @ V
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = _norm(K)
        sine = np.minimum(_norm(K - _turned(K)) / (np.sqrt(2.0) * whole), 1.0)
        far = np.minimum(_norm(Z @ Zt if b <= a else Zt @ Z) / whole, 1.0)
        cosine = np.where(sine < SWITCH, np.sqrt(1.0 - sine * sine), far)
    nothing = _norm(Z) <= floor
    return np.where(nothing, 0.0, sine), np.where(nothing, 1.0, cosine)


def balance(stacks: Stacks) -> Array:
    """`||W_{i+1}^T W_{i+1} - W_i W_i^T||_F`, `(m, d - 1)`."""
    found = np.empty((len(stacks[0]), len(stacks) - 1))
    units = [_unit(W) for W in stacks]
    for i, ((W, low), (V, high)) in enumerate(pairwise(units)):
        # one power of two for both: the difference has a scale
        most = np.maximum(low, high)
        W, V = (np.ldexp(A, (e - most)[:, None, None]) for A, e in ((W, low), (V, high)))
        with np.errstate(over="ignore"):
            found[:, i] = np.ldexp(_norm(_turned(V) @ V - W @ _turned(W)), 2 * most)
    return found


def product(stacks: Stacks) -> tuple[Array, Array]:
    """`W_d ... W_1 2^-e` with its largest entry in [1/2, 1), and e, for each."""
    whole, total = _unit(stacks[0])
    for W in stacks[1:]:
        factor, one = _unit(W)
        whole, two = _unit(factor @ whole)
        total = total + one + two
    return whole, total


def product_values(stacks: Stacks) -> Array:
    """Singular values of the products, largest first, `(m, min(k_0, k_d))`."""
    whole, exponent = product(stacks)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.ldexp(np.linalg.svd(whole, compute_uv=False), exponent[:, None]))


def product_rank(stacks: Stacks) -> Array:
    """The effective rank of the products, `(m,)`."""
    values = np.linalg.svd(product(stacks)[0], compute_uv=False)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = values / values.sum(axis=1, keepdims=True)
        entropy = -np.sum(np.where(shares > 0, shares * np.log(shares), 0.0), axis=1)
    return np.where(values[:, 0] == 0.0, 0.0, np.exp(entropy))


def layer_values(stacks: Stacks) -> Array:
    """Singular values of the layers, `(m, d, most)`; short rows end in nan."""
    found = [np.linalg.svd(np.asarray(W, dtype=np.float64), compute_uv=False) for W in stacks]
    table = np.full((len(stacks[0]), len(stacks), max(values.shape[1] for values in found)), np.nan)
    for i, values in enumerate(found):
        table[:, i, : values.shape[1]] = values
    return table


def modes(stacks: Stacks, U: Array, V: Array) -> Array:
    """`u_j^T W_d ... W_1 v_j`, `(m, r)`."""
    columns = reduce(lambda below, W: W @ below, stacks, V)
    return np.asarray(np.einsum("aj,maj->mj", U, columns))


def _turned(A: Array) -> Array:
    return A.swapaxes(1, 2)


def _norm(A: Array) -> Array:
    return np.asarray(np.sqrt(np.einsum("mij,mij->m", A, A)))


def _unit(W: Array) -> tuple[Array, Array]:
    """Each in float64 with its largest entry in [1/2, 1) by a power of two, and its exponent: exact."""
    W = np.asarray(W, dtype=np.float64)
    exponent = np.frexp(np.abs(W).max(axis=(1, 2)))[1]
    return np.ldexp(W, -exponent[:, None, None]), exponent
