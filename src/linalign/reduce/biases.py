"""Biases: a network with biases as a linear chain on rows with a constant coordinate (T16.2). Not a choice: the kernels are linear.

Map: `W_i -> [W_i b_i; 0 1]`, `W_d -> [W_d b_d]`, `X -> [X 1]`. The parameters, and so the trajectory of every rule, are the same:
there is nothing to lift.
"""

from __future__ import annotations

import numpy as np

from ..layers.homogeneous import Homogeneous
from ..problem.facts import DataFacts
from ..problem.problem import Problem


def homogeneous(problem: Problem) -> Problem:
    """The same problem without biases; the problem itself if it has none. Cost: a copy of the data, once for all networks on them."""
    net = problem.net
    if not net.has_biases:
        return problem
    assert problem.X is not None
    layers = [Homogeneous(layer, i == net.depth - 1) for i, layer in enumerate(net.layers)]
    if problem.facts.homogeneous is None:
        ones = np.ones((len(problem.X), 1), dtype=problem.X.dtype)
        problem.facts.homogeneous = np.hstack([problem.X, ones]), DataFacts()
    X, facts = problem.facts.homogeneous
    chain = type(net)._adopt(tuple(layers), net.params)
    return Problem(chain, X, problem.T, problem.loss, problem.factor, problem.floor, facts, problem.batch, problem.ragged)
