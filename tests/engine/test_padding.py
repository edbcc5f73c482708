"""What stands right of the columns of short rows stays zero: products, norms and updates go over whole vectors."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import linalign as la
from tests.oracles.checks import descent, isas, kernel_engine, make_case

# sides of one, so that one row is in flight, and others that fill more or less of a vector
WIDTHS = [k for k in product((1, 2, 9), repeat=4) if 1 in k]


def padding(matrix):
    whole = np.lib.stride_tricks.as_strided(matrix, (len(matrix), matrix.strides[0] // matrix.itemsize))
    return whole[:, matrix.shape[1] :]


@pytest.mark.parametrize("isa", isas())
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_no_step_from_any_pivot_writes_beside_a_row(isa, momentum):
    values, seen = np.empty(3), 0
    for widths in WIDTHS:
        case = make_case(widths, 4)
        for pivot in range(4):
            chain = kernel_engine(isa, pivot)(case.problem, descent(3, lr=1e-3, momentum=momentum))
            chain.advance(3, values, -np.inf)
            chain.differentiate()
            chain.differentiate()
            for matrix in (*chain.params, *chain.gradients, *chain.velocities):
                seen += padding(matrix).size
                assert not padding(matrix).any(), (widths, pivot)
    assert seen or isa == "base"


@pytest.mark.parametrize(
    "options", [{"clip_norm": 0.1}, {"optimizer": "normalized_gd"}, {"optimizer": "sam"}, {"optimizer": "muon"}], ids=str
)
@pytest.mark.parametrize("widths", [(3, 1, 1, 10), (10, 1, 1, 2), (2, 9, 1, 9)], ids=str)
def test_norms_of_gradients_are_those_of_the_reference_from_every_pivot(widths, options):
    # 2e-5 off from the pivot 2 of the first, when the norm saw what an earlier product had left beside one row
    rng = np.random.default_rng(0)
    net = la.Network.dense(widths).init("gaussian", rng=0)
    X, Y = rng.standard_normal((4, widths[0])), rng.standard_normal((4, widths[-1]))
    how = {"lr": 1e-3, "steps": 3, "reduce": "none", **options}
    wanted = la.train(net, X, Y, implementation="reference", **how)
    for pivot in range(4):
        found = la.train(net, X, Y, pivot=pivot, **how)
        for a, b in zip(found.network.params, wanted.network.params, strict=True):
            # three steps of sums of some ten terms, through a matrix of Newton and Schulz at most
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
