"""Products of Toeplitz layers by their diagonals (kernels/stripes.pxd), in every chain of the step, against exact arithmetic.

Bounds. Beside what an entry sums, the way along its diagonal adds and takes off again products of entries that lie outside of that
sum. For two Toeplitz matrices these are products of any two of their parameters whose lags add up to that of the entry: fewer than
twice as many as a sum has, none larger than the largest parameters. So the chains of bounds are those of matrices that hold twice
the largest parameter everywhere, and every rank brings as many roundings more as a diagonal is long.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pytest

import linalign as la
from linalign.plan import structures
from tests.oracles.checks import DTYPES, check_gradients, check_steps, isas
from tests.oracles.structured_cases import StructuredCase, descent_of, structured_case, structured_engine

NETS = {
    "square": [la.Toeplitz(32, 32)] * 3,
    "circulant between, not of whole vectors": [la.Toeplitz(37, 37), la.Circulant(37), la.Toeplitz(37, 37)],
    "rectangular": [la.Toeplitz(20, 33), la.Toeplitz(33, 18), la.Toeplitz(18, 25)],
    "five of one": [la.Toeplitz(41, 41)] * 5,
    "tied by hand, behind a dense layer": [
        la.Dense(5, 24), la.Tied(np.arange(24)[:, None] - np.arange(24) + 23), la.Toeplitz(24, 17), la.Toeplitz(17, 19),
    ],
    "a sparse layer between": [la.Toeplitz(24, 19), la.Toeplitz(19, 19), la.Diagonal(19), la.Toeplitz(19, 21), la.Toeplitz(21, 17)],
}  # fmt: skip


@dataclass(frozen=True)
class StripedCase(StructuredCase):
    @cached_property
    def gamma(self):
        return 2 * self.depth * super().gamma

    def matrix(self, span, theta):
        W, size = span.matrix(theta)
        if isinstance(span.layer, (la.Dense, la.Diagonal)):
            return W, size
        return W, np.full_like(size, 2 * np.abs(theta).max())


@cache
def case_of(name, loss, dtype, metric="parameters"):
    case = structured_case(NETS[name], 45, loss, dtype, metric)
    return StripedCase(case.problem, case.metric, case.spans)


@pytest.fixture(autouse=True)
def small_matrices_too(monkeypatch):
    monkeypatch.setattr(structures, "STRIPES_WORTH", 2)
    monkeypatch.setattr(structures, "STRIPES_BYTES", 8)


every_net = pytest.mark.parametrize("name", NETS)
dtype = pytest.mark.parametrize("dtype", DTYPES)
# the identity as data, and samples that enter at the end of the chain
loss = pytest.mark.parametrize("loss", ["factorisation", "squared"])


@dtype
@loss
@every_net
def test_gradients(name, loss, dtype):
    case = case_of(name, loss, dtype)
    for pivot in range(case.depth + 1):
        shared = structured_engine(list(isas())[-1], pivot, threads=3)
        for make in (shared, *(structured_engine(isa, pivot) for isa in isas())):
            check_gradients(make, case)


@dtype
@loss
@every_net
def test_sweeps(name, loss, dtype):
    case = case_of(name, loss, dtype, "matrix")
    for isa in isas():
        check_steps(structured_engine(isa, 0), case, descent_of(case, weight_decay=0.3, update="cyclic"), steps=3)


def test_where_the_diagonals_are_used(monkeypatch):
    fast = [isa for isa in isas() if isa != "base"]

    def ranks(name, isa, pivot, update="simultaneous"):
        case = case_of(name, "factorisation", "float64")
        return structured_engine(isa, pivot)(case.problem, descent_of(case, update=update)).ranks()

    for isa in fast:
        assert ranks("square", isa, 0, "cyclic") == ([-1, 0, 2, 4], [4, 2, 0, -1], [-1, 4, 4, -1])
        assert ranks("square", isa, 0)[0] == [-1, 0, 2, 4]
        assert ranks("square", isa, 3)[1] == [4, 2, 0, -1]
        assert ranks("five of one", isa, 0)[0] == [-1, 0, 2, 4, 6, 8]
        assert ranks("five of one", isa, 0, "cyclic")[2] == [-1, 8, 8, 8, 8, -1]
        assert ranks("rectangular", isa, 3)[1] == [4, 2, 0, -1]
        # nothing above a dense or a sparse layer has stripes, nor below
        assert ranks("tied by hand, behind a dense layer", isa, 4)[1] == [-1, 4, 2, 0, -1]
        assert ranks("tied by hand, behind a dense layer", isa, 0)[0] == [-1] * 5
        assert ranks("a sparse layer between", isa, 0)[0] == [-1, 0, 2, -1, -1, -1]
    assert ranks("square", "base", 0, "cyclic") == ([-1] * 4,) * 3
    # sums of few terms do not repay a high rank
    monkeypatch.setattr(structures, "STRIPES_BYTES", 64)
    for isa in fast:
        assert ranks("five of one", isa, 0, "cyclic") == ([-1, 0, 2, 4, -1, -1], [-1, -1, 4, 2, 0, -1], [-1, -1, -1, -1, -1, -1])


@pytest.mark.parametrize("update", ["simultaneous", "cyclic"])
def test_wide_layers_descend_as_by_dense_products(update, monkeypatch):
    # wider than the tile's matrices, whose rows are padded; the same run without stripes is the check
    rng = np.random.default_rng(3)
    layers = [la.Toeplitz(230, 210), la.Toeplitz(210, 220), la.Circulant(220)]
    net = la.Network(layers, [rng.standard_normal(layer.param_shape) / np.sqrt(layer.size) for layer in layers])
    target = rng.standard_normal((220, 230)) / 15

    def losses():
        run = la.train(net, None, target, lr=1e-2, steps=20, update=update, metric="matrix", reduce="none")
        return run.loss, run.network.params

    (mine, ours), _ = losses(), monkeypatch.setattr(structures, "STRIPES_WORTH", 10**6)
    dense, theirs = losses()
    assert dense[-1] < 0.99 * dense[0]
    np.testing.assert_allclose(mine, dense, rtol=1e-12)
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a - b).max() <= 1e-12 * np.abs(b).max()
