"""Singular values of networks, of their layers, and the rank that these amount to."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..calls import called
from ..linear_algebra import leaving
from ..problem.network import Network
from ..validate import Array
from . import structured_svd as singular
from .chain import Matrices, Vector, along, chain_matrices, noise, norm, unit


@along
@called
def singular_values(net: Network | Iterable[Any]) -> Vector:
    """The singular values of `W_d ... W_1`, largest first, shape `(min(k_0, k_d),)`. Raises: as `alignment`."""
    return product_values(chain_matrices(net))


@called
def layer_singular_values(net: Network | Iterable[Any]) -> list[Vector]:
    """The singular values of each layer, largest first, each `(min(k_i, k_{i-1}),)`. Raises: as `alignment`."""
    return layer_values(chain_matrices(net))


@along
@called
def effective_rank(net: Network | Iterable[Any]) -> float:
    r"""`exp(-sum_j p_j log p_j)` with `p_j = s_j / sum_l s_l` over the singular values of `W_d ... W_1`; 0 if it is zero.

    Between 1 (rank one) and `min(k_0, k_d)` (all equal). Raises: as `alignment`. Source: Roy and Vetterli, 2007.
    """
    return product_rank(chain_matrices(net))


def product_of(matrices: Matrices) -> tuple[Array, int]:
    """`W_d ... W_1 2^-e` with its largest entry in [1/2, 1), and e; exactly zero where a factor leaves rounding alone.

    What `W P` is in exact arithmetic differs from what is computed by `k eps |W| |P|` of its k terms, and of factors that were turned
    (by a reduction, say) by as much again: a product no larger than that has no digit, and a direction of its own would be one of noise.
    """
    product, total = unit(np.asarray(matrices[0], dtype=np.float64))
    for W in matrices[1:]:
        factor, one = unit(np.asarray(W, dtype=np.float64))
        before = product
        product, two = unit(factor @ before)
        k, rounding = W.shape[1], 8 * noise(W) * W.shape[1]
        # entries are below 1 in both factors: most products are larger than their norms could ask for
        short = math.ldexp(0.5, two) <= rounding * k * math.sqrt(product.size)
        if short and math.ldexp(norm(product), two) <= rounding * norm(factor) * norm(before):
            return np.zeros_like(product), 0
        total += one + two
    return product, total


def product_values(matrices: Matrices) -> Vector:
    """`singular_values` of matrices that are known to fit."""
    product, exponent = product_of(matrices)
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(leaving.singular_values(product), exponent)


def layer_values(matrices: Matrices) -> list[Vector]:
    """`layer_singular_values` of matrices that are known to fit."""
    return [singular.values(np.asarray(W, dtype=np.float64)) for W in matrices]


def product_rank(matrices: Matrices) -> float:
    """`effective_rank` of matrices that are known to fit."""
    return entropy_rank(leaving.singular_values(product_of(matrices)[0]))


def entropy_rank(values: Vector) -> float:
    """`exp` of the entropy of the normalised values; 0 if all are zero."""
    if values[0] == 0.0:
        return 0.0
    shares = values / values.sum()
    shares = shares[shares > 0.0]
    return float(np.exp(-np.sum(shares * np.log(shares))))
