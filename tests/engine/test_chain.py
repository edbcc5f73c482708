"""The compiled step against the reference: every loss, pivot, update order, precision, instruction set and kind of shape."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linalign import reference
from linalign._kernels import _product
from linalign.engine import bind as kernel
from linalign.plan import machine
from tests.examples import examples
from tests.oracles.checks import (
    CONVERGED,
    DIVERGED,
    DTYPES,
    INTEGER_LOSSES,
    LD,
    LOSSES,
    RUNNING,
    Case,
    ReferenceEngine,
    check_gradients,
    check_integer_gradients,
    check_integer_steps,
    check_steps,
    compare,
    descent,
    integer_case,
    isas,
    kernel_engine,
    make_case,
    use_isa,
)

SHAPES = {
    # sides of one
    "ones": ((1, 1, 1), 1),
    "one layer of one": ((1, 1), 3),
    "one layer": ((5, 3), 7),
    "one input": ((1, 4, 3), 6),
    "one output": ((6, 4, 1), 9),
    "one hidden": ((5, 1, 4, 3), 7),
    "one hidden, last": ((5, 4, 1, 3), 2),
    "one sample": ((4, 3, 5, 2), 1),
    # primes, wide, tall, more and fewer samples than inputs
    "primes": ((7, 13, 11, 5), 17),
    "primes, few samples": ((13, 7, 5), 11),
    "as many samples as inputs": ((6, 5, 4), 6),
    "wide": ((2, 37, 3), 5),
    "tall": ((37, 2, 5), 3),
    "deep": ((4, 3, 4, 5, 3, 4, 2), 6),
    # one less and one more than whole vectors of 4, 8 and 16 and rows of 4 and 8 of the tile
    "vectors": ((16, 8, 4, 16), 8),
    "vectors - 1": ((15, 7, 3, 15), 7),
    "vectors + 1": ((17, 9, 5, 17), 9),
    "two vectors": ((32, 31, 33, 32), 33),
    # buffers are reused with short and long rows
    "long and short": ((40, 3, 34, 7, 40), 5),
    # long rows, and both sides of what goes to the tile where all but the smallest products go to BLAS
    "63 to 65": ((63, 64, 65), 64),
    "65 samples": ((3, 64, 4), 65),
    "above": ((66, 5, 67), 3),
    "16 and 17": ((16, 16, 17), 17),
    "above the tile": ((3, 193, 2, 192), 4),
}
# one shape a kind of schedule for the losses
LOSS_SHAPES = {
    "many samples": ((5, 7, 3, 4), 11),
    "few samples": ((9, 4, 6, 3), 5),
    "to one output": ((4, 3, 1), 9),
    "one layer": ((4, 3), 6),
}


@cache
def case_of(widths, n, loss, dtype):
    return make_case(widths, n, loss, dtype)


isa = pytest.mark.parametrize("isa", isas())
dtype = pytest.mark.parametrize("dtype", DTYPES)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@dtype
@isa
def test_gradients_of_every_shape(isa, dtype, shape):
    case = case_of(*shape, "squared", dtype)
    for pivot in range(case.depth + 1):
        check_gradients(kernel_engine(isa, pivot), case)


@pytest.mark.parametrize("shape", LOSS_SHAPES.values(), ids=LOSS_SHAPES)
@pytest.mark.parametrize("loss", LOSSES)
@dtype
@isa
def test_gradients_of_every_loss(isa, dtype, loss, shape):
    case = case_of(*shape, loss, dtype)
    for pivot in range(case.depth + 1):
        check_gradients(kernel_engine(isa, pivot), case)


@pytest.mark.parametrize("shape", LOSS_SHAPES.values(), ids=LOSS_SHAPES)
@pytest.mark.parametrize("loss", LOSSES)
@dtype
def test_gradients_of_the_reference(dtype, loss, shape):
    check_gradients(ReferenceEngine, case_of(*shape, loss, dtype))


@pytest.mark.parametrize("shape", LOSS_SHAPES.values(), ids=LOSS_SHAPES)
@pytest.mark.parametrize("loss", LOSSES)
@dtype
def test_pivots_of_the_reference(dtype, loss, shape):
    case = case_of(*shape, loss, dtype)
    for p in range(1, case.depth + 1):

        class PivotReference(ReferenceEngine):
            pivot = p

            def differentiate(self):
                loss, self.gradients = reference.pivot_gradients(self.layers, self.params, self.problem.X, self.objective, self.pivot)
                return RUNNING, loss

        check_gradients(PivotReference, case)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_bound_is_tight_enough_to_mean_something(shape):
    # a bound that allows for everything would pass everything
    for dtype, share in ((np.float64, 1e-9), (np.float32, 0.2)):
        loss, dL, gradients, bounds = case_of(*shape, "squared", dtype).exact
        assert dL < share * abs(loss)
        for gradient, bound in zip(gradients, bounds, strict=True):
            assert np.linalg.norm(bound.astype(float)) < share * np.linalg.norm(gradient.astype(float))


# momentum, weight decay, one rate for all or one a layer
HOW = {
    "plain": {},
    "rates": {"lr": "a layer"},
    "decay": {"weight_decay": 0.3},
    "decays": {"lr": "a layer", "weight_decay": "a layer"},
    "momentum": {"momentum": 0.9},
    "momentum and decay": {"momentum": 0.5, "weight_decay": 0.3},
    "all a layer": {"lr": "a layer", "momentum": 0.9, "weight_decay": "a layer"},
    # the old weights vanish: 1 - lr * decay = 0
    "forgetting": {"lr": 2.0**-7, "weight_decay": 2.0**7},
}
STEP_SHAPES = {
    "many samples": ((5, 7, 3, 4), 11),
    "few samples": ((9, 4, 6, 3), 5),
    "one sample": ((4, 3, 5, 2), 1),
    "one hidden": ((5, 1, 4, 3), 7),
    "one output": ((6, 4, 1), 9),
    "one layer": ((5, 3), 7),
    "deep": ((4, 3, 4, 5, 3, 4), 6),
    "vectors + 1": ((17, 9, 5, 17), 9),
    "above": ((66, 5, 67), 3),
}


def options(name, depth, update):
    """The options of that name; "a layer" stands for a different number in each."""
    found = {key: np.linspace(0.004, 0.016, depth) if value == "a layer" else value for key, value in HOW[name].items()}
    return descent(depth, update=update, **found)


@pytest.mark.parametrize("update", ["simultaneous", "cyclic"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("shape", STEP_SHAPES.values(), ids=STEP_SHAPES)
@dtype
@isa
def test_steps_of_every_update(isa, dtype, shape, how, update):
    case = case_of(*shape, "squared", dtype)
    for pivot in range(case.depth + 1) if update == "simultaneous" else [0]:
        check_steps(kernel_engine(isa, pivot), case, options(how, case.depth, update), steps=2)


@pytest.mark.parametrize("update", ["simultaneous", "cyclic"])
@pytest.mark.parametrize("shape", LOSS_SHAPES.values(), ids=LOSS_SHAPES)
@pytest.mark.parametrize("loss", LOSSES)
@dtype
@isa
def test_steps_of_every_loss(isa, dtype, loss, shape, update):
    case = case_of(*shape, loss, dtype)
    for pivot in range(case.depth + 1) if update == "simultaneous" else [0]:
        check_steps(kernel_engine(isa, pivot), case, options("momentum and decay", case.depth, update), steps=2)


@pytest.mark.parametrize("update", ["simultaneous", "cyclic"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("loss", LOSSES)
@dtype
def test_steps_of_the_reference(dtype, loss, how, update):
    case = case_of((5, 7, 3, 4), 11, loss, dtype)
    check_steps(ReferenceEngine, case, options(how, case.depth, update), steps=2)


# ---- diagonal data, as the inputs reduction makes them ---------------------------------------------------------------------


def diagonal_case(widths, loss, dtype):
    case = case_of(widths, widths[0], loss, dtype)
    x = np.random.default_rng(7).standard_normal(widths[0]).astype(dtype)
    return Case(replace(case.problem, X=x))


@pytest.mark.parametrize("update", ["simultaneous", "cyclic"])
@pytest.mark.parametrize(
    "widths", [(5, 7, 3, 4), (9, 4, 6, 3), (5, 1, 4, 3), (6, 4, 1), (1, 3, 2), (5, 3), (17, 9, 5, 17), (66, 5, 67)], ids=str
)
@dtype
@isa
def test_diagonal_data(isa, dtype, widths, update):
    case = diagonal_case(widths, "squared", dtype)
    for pivot in range(case.depth + 1) if update == "simultaneous" else [0]:
        make = kernel_engine(isa, pivot)
        if update == "simultaneous":
            check_gradients(make, case)
        check_steps(make, case, options("momentum and decay", case.depth, update), steps=2)
        check_steps(make, case, options("plain", case.depth, update), steps=2)


# ---- chains that fit in registers: a loop of their own ----------------------------------------------------------------------


# vectors of NEON are too short for them
WITH_LOOPS = [name for name in isas() if name != "base" and "neon" not in machine.LEVELS]


def in_registers(isa):
    """A maker of chains from pivot 0 with the rows of the data in flight, that fit in registers."""

    def make(problem, how):
        with use_isa(isa):
            assert machine.runs_in_registers(problem, how, 0, problem.rows)
            return kernel.bind(problem, how, 0, problem.rows)

    return make


@given(
    widths=st.lists(st.integers(1, 16), min_size=2, max_size=6), n=st.integers(1, 16), data=st.sampled_from(["rows", "diagonal", "identity"]),
    isa=st.sampled_from(WITH_LOOPS or [None]), dtype=st.sampled_from(DTYPES),
    how=st.sampled_from(["plain", "rates", "decays", "forgetting"]),
)  # fmt: skip
@examples(150)
def test_chains_in_registers(widths, n, data, isa, dtype, how):
    if isa is None:
        pytest.skip("this processor has no such loops")
    lanes = 64 // np.dtype(dtype).itemsize
    widths, n = tuple(min(k, lanes) for k in widths), min(n, lanes)
    case = make_case(widths, n if data == "rows" else widths[0], "squared", dtype)
    if data == "diagonal":
        case = Case(replace(case.problem, X=np.random.default_rng(7).standard_normal(widths[0]).astype(dtype)))
    elif data == "identity":
        case = Case(replace(case.problem, X=None))
    check_gradients(in_registers(isa), case)
    check_steps(in_registers(isa), case, options(how, case.depth, "simultaneous"), steps=3)


@dtype
@pytest.mark.parametrize("isa", WITH_LOOPS)
def test_both_copies_of_a_layer_stay_the_same_to_the_bit(isa, dtype):
    # each call begins by transposing the layers: a copy that had drifted would show
    case = case_of((7, 5, 8, 3, 6), 7, "squared", dtype)
    ends = []
    for strides in ([1] * 60, [60], [7, 53]):
        chain = in_registers(isa)(case.problem, descent(4, lr=0.01, weight_decay=0.1))
        losses = np.empty(60)
        for i, stride in enumerate(strides):
            chain.advance(stride, losses[sum(strides[:i]) :], -np.inf)
        ends.append([losses, *(theta.copy() for theta in chain.params), np.array(chain.value(-np.inf)[1])])
    assert ends[0][0][-1] < 0.9 * ends[0][0][0]
    for other in ends[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(ends[0], other, strict=True))


@dtype
@pytest.mark.parametrize("isa", WITH_LOOPS)
def test_chains_in_registers_stop_where_they_should(isa, dtype):
    case = case_of((4, 3, 4), 4, "squared", dtype)
    chain, losses = in_registers(isa)(case.problem, descent(2, lr=0.01)), np.empty(50)
    assert chain.advance(50, losses, -np.inf) == (RUNNING, 50)
    again, other = in_registers(isa)(case.problem, descent(2, lr=0.01)), np.empty(50)
    assert again.advance(50, other, losses[20]) == (CONVERGED, 20)
    assert np.array_equal(other[:21], losses[:21])
    assert again.value(losses[20]) == (CONVERGED, losses[20])
    wild = in_registers(isa)(case.problem, descent(2, lr=1e9))
    status, done = wild.advance(50, losses, -np.inf)
    assert status == DIVERGED
    assert done < 50
    assert np.isfinite(losses[:done]).all()
    assert not np.isfinite(losses[done])


# ---- integers: equal to the bit --------------------------------------------------------------------------------------------

INTEGER_SHAPES = {"square": ((4, 4, 4, 4), 4), "many samples": ((5, 3, 4), 9), "one": ((3, 1, 3), 2), "vectors + 1": ((9, 17, 3), 5)}


@pytest.mark.parametrize("shape", INTEGER_SHAPES.values(), ids=INTEGER_SHAPES)
@pytest.mark.parametrize("loss", INTEGER_LOSSES)
@dtype
@isa
def test_integer_gradients_are_exact(isa, dtype, loss, shape):
    case = integer_case(*shape, loss, dtype)
    check_integer_gradients(ReferenceEngine, case)
    for pivot in range(case.depth + 1):
        check_integer_gradients(kernel_engine(isa, pivot), case)


@pytest.mark.parametrize("update", ["simultaneous", "cyclic"])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.5, "weight_decay": 0.25}], ids=["plain", "momentum and decay"])
@pytest.mark.parametrize("loss", INTEGER_LOSSES)
@dtype
@isa
def test_integer_steps_are_exact(isa, dtype, loss, options, update):
    # as many steps as the digits suffice for: of two layers, two steps in double, one in single, one cyclic sweep in either
    case = integer_case((4, 2, 3), 2, loss, dtype)
    how = descent(2, lr=2.0**-4, update=update, **options)
    steps = 2 if dtype is np.float64 and update == "simultaneous" else 1
    check_integer_steps(ReferenceEngine, case, how, steps)
    for pivot in range(case.depth + 1) if update == "simultaneous" else [0]:
        check_integer_steps(kernel_engine(isa, pivot), case, how, steps)


# ---- any network ------------------------------------------------------------------------------------------------------------


@given(
    widths=st.lists(st.integers(1, 20), min_size=2, max_size=6),
    n=st.integers(1, 20),
    loss=st.sampled_from(sorted(LOSSES)),
    dtype=st.sampled_from(DTYPES),
    isa=st.sampled_from(sorted(isas())),
    seed=st.integers(0, 10**6),
)
@examples(200)
def test_every_pivot_gives_the_gradient_of_any_network(widths, n, loss, dtype, isa, seed):
    case = make_case(widths, n, loss, dtype, seed)
    for pivot in range(case.depth + 1):
        check_gradients(kernel_engine(isa, pivot), case)


# ---- one product ------------------------------------------------------------------------------------------------------------

SIDES = [1, 2, 3, 4, 5, 7, 8, 9, 11, 15, 16, 17, 23, 24, 25, 31, 33, 48, 63, 64, 65]


# on both sides of the widest matrices of the tile, and many rows
WIDE = [
    (5, 192, 192),
    (5, 193, 192),
    (9, 192, 193),
    (40, 128, 129),
    (40, 129, 128),
    (400, 10, 64),
    (310, 14, 75),
    (300, 30, 17),
    (193, 9, 3),
    (6, 130, 3),
]


def operand(rng, rows, columns, dtype, most):
    array = machine._machine.buffer(rows, columns, dtype, most)
    array[...] = rng.standard_normal((rows, columns))
    return array


def padding_of(array):
    """What stands right of the columns."""
    whole = np.lib.stride_tricks.as_strided(array, (len(array), array.strides[0] // array.itemsize))
    return whole[:, array.shape[1] :]


@pytest.mark.parametrize("tb", [False, True])
@pytest.mark.parametrize("ta", [False, True])
@dtype
@isa
def test_products(isa, dtype, ta, tb):
    """`|fl(C) - C| <= gamma_{k+3} (|alpha| |A| |B| + |beta| |C|)`; with beta = 0 what was in C is not read; the padding stays zero."""
    rng = np.random.default_rng([ta, tb])
    name, tile, least = isas()[isa]
    # every side with itself, and three hundred drawn at random
    sizes = [(s, s, s) for s in SIDES] + WIDE + [tuple(rng.choice(SIDES, 3).tolist()) for _ in range(300)]
    u = np.finfo(dtype).eps / 2
    for m, n, k in sizes:
        A, B = operand(rng, *((k, m) if ta else (m, k)), dtype, tile), operand(rng, *((n, k) if tb else (k, n)), dtype, tile)
        C, alpha, beta = operand(rng, m, n, dtype, tile), *((1.0, 0.0), (-0.5, 1.0), (2.0, 0.25))[(m + n + k) % 3]
        left, right, before = ((M.T if t else M).astype(LD) for M, t in ((A, ta), (B, tb), (C, False)))
        if beta == 0:
            C[...] = np.nan
        _product.multiply(ta, tb, alpha, A, B, beta, C, level=machine.LEVELS[name], most=tile, least=least)
        exact = alpha * left @ right + beta * before
        size = abs(alpha) * np.abs(left) @ np.abs(right) + abs(beta) * np.abs(before)
        compare(f"{m} x {k} by {k} x {n}", C, exact, (k + 3) * u / (1 - (k + 3) * u) * size)
        for array in (A, B, C):
            assert not padding_of(array).any()


@isa
def test_products_of_integers_are_exact(isa):
    rng = np.random.default_rng(0)
    name, tile, least = isas()[isa]
    for dtype in DTYPES:
        for m, n, k in (rng.choice(SIDES, 3).tolist() for _ in range(100)):
            A, B, C = operand(rng, k, m, dtype, tile), operand(rng, n, k, dtype, tile), operand(rng, m, n, dtype, tile)
            for array in (A, B, C):
                array[...] = rng.integers(-9, 10, array.shape)
            exact = 2 * A.T.astype(LD) @ B.T.astype(LD) - C
            _product.multiply(True, True, 2.0, A, B, -1.0, C, level=machine.LEVELS[name], most=tile, least=least)
            assert np.array_equal(C, exact)


@pytest.mark.parametrize("threads", [2, 3, 4, 6, 7])
@isa
def test_shared_products_of_integers_are_exact(isa, threads):
    """Every grid of blocks, with threads left over; the tile's rows and those of BLAS, all large enough to be shared."""
    rng = np.random.default_rng(threads)
    name, tile, least = isas()[isa]
    for dtype in DTYPES:
        for m, n, k in [
            (64, 64, 64),
            (60, 53, 61),
            (300, 9, 80),
            (9, 300, 80),
            (130, 130, 20),
            (1, 500, 400),
            (500, 1, 400),
            (70, 200, 33),
        ]:
            for ta, tb in product((False, True), repeat=2):
                A, B = operand(rng, *((k, m) if ta else (m, k)), dtype, tile), operand(rng, *((n, k) if tb else (k, n)), dtype, tile)
                C = operand(rng, m, n, dtype, tile)
                for array in (A, B, C):
                    array[...] = rng.integers(-9, 10, array.shape)
                exact = 2 * (A.T if ta else A).astype(LD) @ (B.T if tb else B).astype(LD) - C
                _product.multiply(
                    ta, tb, 2.0, A, B, -1.0, C, level=machine.LEVELS[name], most=tile, least=least, threads=threads,
                )  # fmt: skip
                assert np.array_equal(C, exact), (m, n, k, ta, tb)
                assert not padding_of(C).any()


@pytest.mark.parametrize("tb", [False, True])
@pytest.mark.parametrize("ta", [False, True])
@dtype
def test_products_by_panels_and_of_few_rows_have_the_same_bits_by_any_number_of_threads(dtype, ta, tb):
    """The terms of a sum are cut by their number alone, wherever the blocks of the threads and the panels end."""
    rng = np.random.default_rng([ta, tb])
    level = machine.LEVELS[machine.available()]
    if not level:
        pytest.skip("the baseline has no vectors")
    # sides that end a vector, a panel and a piece of packed terms early, at their ends, and late
    sizes = [(70, 65, 193), (64, 96, 384), (129, 49, 385), (26, 290, 25), (200, 100, 800)]
    # and rows that meet a matrix where it lies; more of them its transpose, and a matrix their own
    turned = [(15, 131, 77), (301, 11, 200), (133, 15, 90)] if tb and not ta else []
    for m, n, k in [*sizes, (10, 290, 130), (7, 65, 193), (12, 131, 64), (2, 33, 300), (5, 3, 70), *turned]:
        A, B = operand(rng, *((k, m) if ta else (m, k)), dtype, 16), operand(rng, *((n, k) if tb else (k, n)), dtype, 16)
        start, found = operand(rng, m, n, dtype, 16), []
        # the last: pieces of one panel, whatever the cache
        for threads, fits in (1, 400_000), (2, 400_000), (3, 400_000), (7, 400_000), (1, 1):
            C = operand(rng, m, n, dtype, 16)
            C[...] = start
            _product.multiply(ta, tb, 0.7, A, B, 1.3, C, level=level, most=16, least=25, threads=threads, wake=1, cache=fits)
            assert not padding_of(C).any()
            found.append(C)
        for other in found[1:]:
            assert np.array_equal(found[0], other), (m, n, k)


# ---- the chain's own interface ---------------------------------------------------------------------------------------------


@isa
def test_a_chain_goes_on_where_it_stands(isa):
    # the same steps in one call or in many, with looks in between, are the same to the bit
    case = case_of((5, 7, 3, 4), 11, "squared", np.float64)
    for update in ("simultaneous", "cyclic"):
        how, make = options("all a layer", case.depth, update), kernel_engine(isa, 2 if update == "simultaneous" else 0)
        once, often = make(case.problem, how), make(case.problem, how)
        whole, parts = np.empty(9), np.empty(9)
        assert once.advance(9, whole, -np.inf) == (RUNNING, 9)
        for start, stop in ((0, 1), (1, 4), (4, 9)):
            assert often.advance(stop - start, parts[start:stop], -np.inf) == (RUNNING, stop - start)
            status, value = often.value(-np.inf)
            if update == "simultaneous":
                assert often.differentiate() == (status, value)
        assert np.array_equal(whole, parts)
        assert once.value(-np.inf)[1] == value
        for a, b in zip(once.params + once.velocities, often.params + often.velocities, strict=True):
            assert np.array_equal(a, b)


@isa
def test_chains_of_different_instruction_sets_live_side_by_side(isa):
    case = case_of((5, 7, 3, 4), 11, "squared", np.float64)
    how = options("plain", case.depth, "simultaneous")
    alone, chain = np.empty(5), kernel_engine(isa, 1)(case.problem, how)
    kernel_engine(isa, 1)(case.problem, how).advance(5, alone, -np.inf)
    values = np.empty(5)
    for step, other in enumerate([*isas(), *isas()][:5]):
        kernel_engine(other, 0)(case.problem, how).value(-np.inf)
        chain.advance(1, values[step : step + 1], -np.inf)
    assert np.array_equal(values, alone)


def test_a_chain_refuses_what_it_cannot_do():
    case = case_of((5, 7, 3, 4), 11, "squared", np.float64)
    chain = kernel_engine("base")(case.problem, options("plain", 3, "simultaneous"))
    with pytest.raises(ValueError, match="values has room for 3 losses; 4 steps were asked for"):
        chain.advance(4, np.empty(3), -np.inf)
    assert chain.advance(0, np.empty(0), -np.inf) == (RUNNING, 0)
    with pytest.raises(ValueError, match=re.escape("6 rows in flight do not fit pivot 0 of widths [5, 7, 3, 4] on 11 rows of data")):
        kernel.bind(case.problem, options("plain", 3, "cyclic"), 0, 6)
    with pytest.raises(ValueError, match=re.escape("5 rows in flight do not fit pivot 1 of widths [5, 7, 3, 4] on 11 rows of data")):
        kernel.bind(case.problem, options("plain", 3, "simultaneous"), 1, 5)
    cyclic = kernel_engine("base")(case.problem, options("plain", 3, "cyclic"))
    with pytest.raises(ValueError, match="a cyclic chain has no single gradient; bind a simultaneous one"):
        cyclic.differentiate()


def test_a_chain_copies_what_it_is_given():
    case = case_of((5, 7, 3, 4), 11, "squared", np.float64)
    chain = kernel_engine(next(iter(isas())))(case.problem, options("plain", 3, "simultaneous"))
    for theta, mine in zip(case.problem.net.params, chain.params, strict=True):
        assert np.array_equal(theta, mine)
        assert not np.shares_memory(theta, mine)


# ---- the instruction set ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in isas() if name in machine.LEVELS])
def test_linalign_isa_chooses_the_instruction_set(monkeypatch, name):
    monkeypatch.setenv("LINALIGN_ISA", name)
    assert machine.isa() == name


def test_unknown_and_missing_instruction_sets_are_refused(monkeypatch):
    monkeypatch.delenv("LINALIGN_ISA", raising=False)
    assert machine.isa() == machine.available()
    monkeypatch.setenv("LINALIGN_ISA", "sse9")
    with pytest.raises(ValueError, match="LINALIGN_ISA is 'sse9'; one of 'base', 'avx2', 'avx512' was wanted"):
        machine.isa()
    monkeypatch.setattr(machine._machine, "detect", lambda: 3)
    monkeypatch.setenv("LINALIGN_ISA", "avx512")
    with pytest.raises(ValueError, match="LINALIGN_ISA is 'avx512' but this processor has at most 'avx2'; unset it"):
        machine.isa()
