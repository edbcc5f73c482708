"""Biases: a network with biases as a linear chain on rows with a constant coordinate (T16.2). Not a choice: the kernels are linear.

Map: `W_i -> [W_i b_i; 0 1]`, `W_d -> [W_d b_d]`, `X -> [X 1]`. The parameters, and so the trajectory of every rule, are the same:
there is nothing to lift.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..layers import Biased, Dense, Layer
from ..layers.homogeneous import Homogeneous, beside_ones, chain_of
from ..problem.facts import DataFacts
from ..problem.network import Network
from ..problem.problem import Problem
from ..validate import Array


def homogeneous(problem: Problem) -> Problem:
    """The same problem without biases; the problem itself if it has none. Cost: a copy of the data, once for all networks on them."""
    net = problem.net
    if not net.has_biases:
        return problem
    assert problem.X is not None
    if problem.facts.homogeneous is None:
        problem.facts.homogeneous = beside_ones(problem.X), DataFacts()
    X, facts = problem.facts.homogeneous
    chain = type(net)._adopt(tuple(chain_of(net.layers)), net.params)
    return Problem(chain, X, problem.T, problem.loss, problem.factor, problem.floor, facts, problem.batch, problem.ragged)


def within(layer: Layer) -> Layer:
    """What a layer of such a chain is without constant coordinate and bias; any other layer itself."""
    return layer.layer.unbiased if isinstance(layer, Homogeneous) else layer


def matrices(layers: Sequence[Layer], params: Sequence[Array]) -> list[Array]:
    """The matrices of the layers, without what the constant coordinate adds to those of such a chain."""
    plain = [layer.layer if isinstance(layer, Homogeneous) else layer for layer in layers]
    return [layer.matrix(theta) for layer, theta in zip(plain, params, strict=True)]


def separate(layers: Sequence[Layer], params: Sequence[Array]) -> tuple[list[Array], list[Array | None]]:
    """Weights and biases of dense layers, in float64; of a chain without biases, the parameters. Biases of None are absent."""
    weights: list[Array] = []
    biases: list[Array | None] = []
    for layer, theta in zip(layers, params, strict=True):
        inner, values, bias = layer.layer if isinstance(layer, Homogeneous) else layer, theta.astype(np.float64, copy=False), None
        if isinstance(inner, Biased):
            values, bias = inner.separate(values)
        weights.append(values)
        biases.append(bias)
    return weights, biases


def join(weights: Sequence[Array], biases: Sequence[Array | None]) -> list[Array]:
    """The parameters of such layers."""
    return [W if b is None else np.concatenate([W.ravel(), b]) for W, b in zip(weights, biases, strict=True)]


def resized(layers: Sequence[Layer], weights: Sequence[Array], biases: Sequence[Array | None], dtype: np.dtype[np.float64]) -> Network:
    """The network of dense layers with these weights and biases: a homogeneous chain if the layers given are one."""
    made: list[Layer] = []
    for layer, W, b in zip(layers, weights, biases, strict=True):
        dense: Layer = Dense(W.shape[1], W.shape[0])
        if isinstance(layer, Homogeneous):
            dense = Homogeneous(dense if b is None else Biased(dense), layer.last)
        made.append(dense)
    return Network._adopt(tuple(made), [theta.astype(dtype, copy=False) for theta in join(weights, biases)])
