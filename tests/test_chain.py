"""The compiled step against the reference: every loss, pivot, update order, precision, instruction set and kind of shape."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from checks import (
    DTYPES,
    INTEGER_LOSSES,
    LOSSES,
    ReferenceEngine,
    check_gradients,
    check_integer_gradients,
    check_integer_steps,
    check_steps,
    descent,
    integer_case,
    isas,
    kernel_engine,
    make_case,
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
    # both sides of the largest side and of the largest volume of the tile
    "63 to 65": ((63, 64, 65), 64),
    "65 samples": ((3, 64, 4), 65),
    "above": ((66, 5, 67), 3),
    "24": ((24, 24, 24), 24),
    "24 and 25": ((24, 25, 24), 24),
    "48 and 49": ((48, 48, 49), 48),
}
# one shape a kind of schedule for the losses
LOSS_SHAPES = {"many samples": ((5, 7, 3, 4), 11), "few samples": ((9, 4, 6, 3), 5), "to one output": ((4, 3, 1), 9), "one layer": ((4, 3), 6)}


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
