"""The same bits: whatever the threads, where slices of the loop end, what is looked at, how the arrays lie, and where a run was cut.

Products that threads share are the exception, and docs/reliability.md says so: BLAS ends its blocks elsewhere, and a convolution or a
sparse layer adds up one gradient a thread. There the bound is the one that every number of threads keeps to the exact gradient.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

import linalign as la
from linalign.layers import Conv2d, Masked
from linalign.plan import machine
from linalign.training import loop
from tests.examples import examples
from tests.oracles.checks import RUNNING, descent, make_case
from tests.oracles.drawn import problems
from tests.oracles.draws import mask
from tests.oracles.structured_cases import structured_case, structured_engine


def bits(run, history=True):
    """All numbers of a run, by name."""
    found = {"loss": run.loss} | {f"layer {i + 1}": theta for i, theta in enumerate(run.network.params)}
    found |= {} if run.average is None else {f"mean of layer {i + 1}": theta for i, theta in enumerate(run.average.params)}
    return found | ({name: np.asarray(kept.values) for name, kept in run.history.items()} if history else {})


def same(found, wanted, history=True):
    found, wanted = bits(found, history), bits(wanted, history)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, wanted[name], err_msg=name)


def spread(array):
    """The same numbers with gaps between them."""
    if array is None:
        return None
    wide = np.zeros([2 * side for side in array.shape], dtype=array.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def sliced(problem, seconds, **changed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SLICE_SECONDS", seconds)
        patch.setattr(loop, "SNAPSHOT_SECONDS", seconds)
        return problem.outcome(**changed)


# each is some ten runs of at most a dozen steps
@given(problem=problems())
@examples(25)
def test_any_problem(problem):
    run = problem.outcome()
    if not isinstance(run, la.Run):
        return
    same(sliced(problem, 1e-9), run)
    for threads in (1, 2, 4):
        same(problem.outcome(threads=threads), run)
    for record in (None, {"loss": 1}, {"alignment": 2, "params": 3, "singular_values": "log"}):
        same(problem.outcome(record=record), run, history=False)
    same(replace(problem, X=spread(problem.X), Y=spread(problem.Y)).outcome(), run)
    if problem.X is not None:
        same(replace(problem, X=np.asfortranarray(problem.X)).outcome(), run)
    steps = problem.options["steps"]
    for cut in {0, steps // 2, steps} if steps else ():
        # with the plan of the whole: a shorter run may not repay the search for one
        first = problem.outcome(steps=cut, plan=run.plan, reduce="auto", pivot="auto")
        same(la.resume(first, problem.X, problem.Y, steps=steps - cut), run)


@pytest.mark.parametrize("others", [{}, {"params": 3}, {"balancedness": 1}], ids=str)
def test_what_is_scored_on_the_way_does_not_depend_on_where_slices_end(others):
    # the loop and NumPy differ in the last digit of a score: which of them took it went by the time that steps took
    rng = np.random.default_rng(0)
    net, X, Y = la.Network.dense([5, 6, 4, 3]).init("gaussian", rng=0), rng.standard_normal((11, 5)), rng.standard_normal((11, 3))
    found = []
    for seconds in (0.05, 1e-9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "SLICE_SECONDS", seconds)
            run = la.train(net, X, Y, lr=1e-3, steps=200, record={"alignment": 1, "misalignment": 1} | others)
        found.append(run)
    same(found[1], found[0])
    alone = la.train(net, X, Y, lr=1e-3, steps=200, record={"misalignment": 1})
    np.testing.assert_array_equal(alone.history["misalignment"].values, found[0].history["misalignment"].values)


# one of each loop in C: registers, rows, one row, batches and schedules, a rule that sees all gradients first, cyclic
LOOPS = {
    "registers": {},
    "rows": {"widths": [5, 30, 20, 3]},
    "one row": {"rows": 1},
    "batches": {"batch": 4, "rng": 0, "lr": lambda step: 1e-3 * 0.99**step},
    "adam": {"optimizer": "adam"},
    "cyclic": {"update": "cyclic"},
    "float32": {"dtype": np.float32},
}


@pytest.mark.parametrize("name", LOOPS)
def test_the_score_of_the_last_step_has_the_bits_that_it_has_on_the_way(name):
    options = dict(LOOPS[name])
    rng, dtype = np.random.default_rng(0), options.pop("dtype", np.float64)
    k, n = options.pop("widths", [5, 6, 4, 3]), options.pop("rows", 11)
    net = la.Network.dense(k).init("gaussian", rng=0).astype(dtype)
    X, Y = rng.standard_normal((n, k[0])).astype(dtype), rng.standard_normal((n, k[-1])).astype(dtype)
    options = {"lr": 1e-3, "record": {"alignment": 5, "misalignment": 1}} | options
    long = la.train(net, X, Y, steps=60, **options)
    for steps in (0, 1, 7, 40, 41):
        # the plan of the long one: a shorter run may not repay the search for one
        run = la.train(net, X, Y, steps=steps, plan=long.plan, **options)
        np.testing.assert_array_equal(run.history["misalignment"].values, long.history["misalignment"].values[: steps + 1])
        assert run.history["alignment"].steps[-1] == steps
        if steps % 5 == 0:
            np.testing.assert_array_equal(run.history["alignment"].values, long.history["alignment"].values[: steps // 5 + 1])


def test_a_run_with_a_bar_has_the_bits_of_one_without(capsys):
    pytest.importorskip("tqdm")
    rng = np.random.default_rng(1)
    net, X, Y = la.Network.dense([5, 6, 3]).init("gaussian", rng=0), rng.standard_normal((9, 5)), rng.standard_normal((9, 3))
    runs = [la.train(net, X, Y, lr=1e-3, steps=500, record={"alignment": 7}, progress=progress) for progress in (False, True)]
    same(*runs)
    assert capsys.readouterr().err


def test_a_sweep_has_the_bits_of_its_runs():
    rng = np.random.default_rng(2)
    X, Y = rng.standard_normal((9, 5)), rng.standard_normal((9, 3))

    def make(rng):
        return la.Network.dense([5, 6, 3]).init("gaussian", rng=rng)

    options = {"lr": 1e-3, "steps": 300, "record": {"alignment": 9}}
    for threads in (1, 2, 4):
        swept = la.sweep(make, X, Y, grid={"rng": range(5)}, threads=threads, keep_runs=True, **options)
        for seed, run in enumerate(swept.runs):
            same(run, la.train(make(seed), X, Y, **options))


# ---- what threads share ------------------------------------------------------------------------------------------------------

# products of over 150,000 multiply-adds, or layers of many samples whose gradients threads add up
SHARED = {
    "dense": lambda: make_case((60, 70, 50), 64),
    "convolution": lambda: structured_case([Conv2d((8, 8), 3, 1, 3)], 33),
    "sparse": lambda: structured_case([Masked(mask(0, 0.3, 20, 24))], 64),
}


@pytest.mark.parametrize("name", SHARED)
def test_threads_that_share_products_stay_within_twice_the_bound(name):
    case, isa = SHARED[name](), machine.available()
    _, dL, _, bounds = case.exact
    for pivot in range(case.depth + 1):
        found = {}
        for threads in (1, 2, 4, 4):
            engine = structured_engine(isa, pivot, threads)(case.problem, descent(case.depth))
            status, loss = engine.differentiate()
            assert status == RUNNING
            gradients = [g.copy() for g in engine.gradients]
            for other_loss, others in found.values():
                assert abs(loss - other_loss) <= 2 * dL
                for a, b, bound in zip(gradients, others, bounds, strict=True):
                    assert (np.abs(a - b) <= 2 * bound).all()
            if threads in found:
                # as many threads have the same bits, however they took turns
                assert loss == found[threads][0]
                for a, b in zip(gradients, found[threads][1], strict=True):
                    np.testing.assert_array_equal(a, b)
            found[threads] = loss, gradients
