"""The loop over steps of one row each: the exact step within bounds that are derived, at every size, and wherever it is cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linalign as la
from linalign import optim
from linalign.engine import bind as kernel
from linalign.plan import machine
from tests.examples import examples
from tests.oracles.checks import CONVERGED, DIVERGED, DTYPES, RUNNING, check_steps, descent, isas, make_case, use_isa
from tests.oracles.structured_cases import descent_of, structured_case

# "mixed" has the tile of narrow matrices alone, for which there is no such loop, nor is there one of NEON
WITH_VECTORS = [name for name in isas() if machine.LEVELS.get(name, 0) > machine.LEVELS.get("neon", 0)]
pytestmark = pytest.mark.skipif(not WITH_VECTORS, reason="this processor has no vectors but the baseline's")
dtype = pytest.mark.parametrize("dtype", DTYPES)
isa = pytest.mark.parametrize("isa", WITH_VECTORS or [None])


class OneRow:
    """A chain whose steps see the first row of the data, each time."""

    def __init__(self, problem, how):
        problem = replace(problem, batch=1)
        assert machine.runs_one_row(problem, how, 0)
        self.chain = kernel.bind(kernel.first_rows(problem), how, 0, 1, alone=False)
        kernel.draw_from(self.chain, problem)
        self.params, self.velocities = self.chain.params, self.chain.velocities

    def advance(self, steps, values, tol, rates=None):
        self.seen = np.zeros((steps, 1), dtype=np.intp), np.ones(steps, dtype=np.intp)
        self.chain.schedule(0, rates, *self.seen, None)
        return self.chain.advance(steps, values, tol)


def chains(isa):
    def make(problem, how):
        with use_isa(isa):
            return OneRow(problem, how)

    return make


@given(widths=st.lists(st.integers(1, 40), min_size=2, max_size=6), isa=st.sampled_from(WITH_VECTORS or [None]), dtype=st.sampled_from(DTYPES),
       decay=st.sampled_from([0.0, 0.3]))  # fmt: skip
@examples(100)
def test_steps_of_dense_layers(widths, isa, dtype, decay):
    case = make_case(tuple(widths), 1, "squared", dtype)
    check_steps(chains(isa), case, descent(case.depth, weight_decay=decay), steps=2)


@pytest.mark.parametrize(
    "layers",
    [
        [la.Diagonal(100), la.Dense(100, 1)],
        [la.Diagonal(9), la.Diagonal(9), la.Diagonal(9)],
        [la.Dense(5, 17), la.Diagonal(17), la.Dense(17, 3)],
        [la.Diagonal(1), la.Dense(1, 33), la.Diagonal(33)],
    ],
    ids=str,
)
@dtype
@isa
def test_steps_of_diagonal_layers(isa, dtype, layers):
    case = structured_case(tuple(layers), 1, dtype=dtype)
    check_steps(chains(isa), case, descent_of(case, lr=0.02, weight_decay=0.1), steps=3)


@isa
def test_rates_change_from_step_to_step(isa):
    case = make_case((5, 4, 3), 1)
    engine, one, losses = chains(isa)(case.problem, descent(2)), [], np.empty(6)
    rates = np.linspace(0.01, 0.12, 12).reshape(6, 2)
    assert engine.advance(6, losses, -np.inf, rates) == (RUNNING, 6)
    for row in rates:
        alone = chains(isa)(replace(case.problem, net=case.problem.net if not one else one[-1]), descent(2, lr=row))
        alone.advance(1, np.empty(1), -np.inf)
        one.append(case.problem.net.with_params([theta.copy() for theta in alone.params]))
    for got, want in zip(engine.params, one[-1].params, strict=True):
        np.testing.assert_array_equal(got, want)


@isa
@dtype
def test_it_stops_where_it_should(isa, dtype):
    case, losses = make_case((5, 4, 3), 1, dtype=dtype), np.empty(50)
    assert chains(isa)(case.problem, descent(2)).advance(50, losses, -np.inf) == (RUNNING, 50)
    assert (np.diff(losses) < 0).all()
    assert chains(isa)(case.problem, descent(2)).advance(50, np.empty(50), losses[20]) == (CONVERGED, 20)
    status, done = chains(isa)(case.problem, descent(2, lr=1e9)).advance(50, losses, -np.inf)
    assert status == DIVERGED
    assert np.isfinite(losses[:done]).all()
    assert not np.isfinite(losses[done])


def problem():
    rng = np.random.default_rng(0)
    net = la.Network([la.Diagonal(20), la.Dense(20, 2)]).init("gaussian", rng=0, scale=0.5)
    return net, rng.standard_normal((30, 20)) / 4, rng.standard_normal((30, 2))


def test_a_run_that_is_cut_has_the_same_bits():
    net, X, Y = problem()
    how = {"lr": optim.schedules.Cosine(0.05, 900), "batch": 1, "rng": 3}
    whole = la.train(net, X, Y, steps=900, **how, record={"loss": 123})
    assert whole.plan.kernel == f"one row, {machine.ISA}"
    cut = la.resume(la.train(net, X, Y, steps=317, **how), X, Y, steps=583)
    np.testing.assert_array_equal(cut.loss[317:], whole.loss[317:])
    for a, b in zip(cut.network.params, whole.network.params, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "options", [{"momentum": 0.9}, {"optimizer": "adam"}, {"loss": "huber"}, {"batch": 2}, {"label_noise": 0.1}, {"pivot": 1}], ids=str
)
def test_what_it_does_not_do_goes_another_way(options):
    net, X, Y = problem()
    run = la.train(net, X, Y, **{"lr": 1e-3, "steps": 20, "batch": 1, "rng": 0} | options)
    assert not run.plan.kernel.startswith("one row")
    if "label_noise" in options:
        return  # the reference sees all rows, and draws as many labels
    other = la.train(net, X, Y, **{"lr": 1e-3, "steps": 20, "batch": 1, "rng": 0, "implementation": "reference"} | options)
    np.testing.assert_allclose(run.loss, other.loss, rtol=1e-12)


def test_alignment_is_scored_between_its_steps():
    rng = np.random.default_rng(1)
    net = la.Network.dense([6, 5, 4]).init("gaussian", rng=0, scale=0.5)
    X, Y = rng.standard_normal((30, 6)), rng.standard_normal((30, 4))
    how = {"lr": 1e-3, "steps": 50, "batch": 1, "rng": 0, "record": {"alignment": 7}}
    found, wanted = la.train(net, X, Y, **how), la.train(net, X, Y, **how, implementation="reference")
    assert found.plan.kernel.startswith("one row")
    np.testing.assert_allclose(found.history["alignment"].values, wanted.history["alignment"].values, rtol=1e-9)
