"""Products of a stack of weights: equal to the reference from every pivot, in every layout; nothing else is written."""

from __future__ import annotations

import doctest
import threading
from itertools import pairwise

import numpy as np
import pytest

import linalign as la
from linalign import kernels, reference
from linalign._kernels import _stack
from linalign.kernels.stacks import KEPT, choose, stack_of, work
from linalign.plan import machine

WIDTHS = [
    (3, 2),
    (1, 1, 1),
    (5, 5, 5, 5),
    (10, 45, 45, 10),
    (7, 3, 9, 1, 4),
    (16, 32, 16),
    (200, 3, 210, 8),
    (300, 64, 10),
    (4, 6, 5, 7, 3, 8),
]
LEVELS = [level for name, level in machine.LEVELS.items() if level <= machine.LEVELS[machine.available()]]


def draw(widths, n, dtype=np.float64, seed=0):
    r = np.random.default_rng(seed)
    weights = [r.standard_normal((b, a)).astype(dtype) for a, b in pairwise(widths)]
    return weights, r.standard_normal((n, widths[0])).astype(dtype), r.standard_normal((n, widths[-1])).astype(dtype)


def reference_and_bound(weights, X, D):
    """Outputs, gradients and the gradient in X by the reference in float64, each with a bound of an entry's error.

    A product of several matrices in any order, each sum in any order, is off by at most eps times the terms of all its sums times the
    product of the absolute values.
    """

    def all_of(weights, X, D):
        gradients, inputs = reference.stack_backward(weights, X, D)
        return [reference.stack_forward(weights, X), *gradients, inputs]

    eps = np.finfo(X.dtype).eps
    terms = len(X) + sum(W.shape[1] + 2 for W in weights) + weights[-1].shape[0]
    exact = all_of([W.astype(np.float64) for W in weights], X.astype(np.float64), D.astype(np.float64))
    sizes = all_of([np.abs(W).astype(np.float64) for W in weights], np.abs(X).astype(np.float64), np.abs(D).astype(np.float64))
    return exact, [2 * terms * eps * size for size in sizes]


def hold(found, exact, bounds):
    for a, b, bound in zip(found, exact, bounds, strict=True):
        assert (np.abs(a - b) <= bound).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 7, 33, 250])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_every_pivot_and_instruction_set(widths, n, dtype):
    weights, X, D = draw(widths, n, dtype)
    exact, bounds = reference_and_bound(weights, X, D)
    for level in LEVELS:
        for threads in (1, 3):
            for pivot in (_stack.BY_ROWS, *range(len(widths))):
                stack = _stack.Fused(widths, n, dtype == np.float32, pivot, level=level, most=machine.TILES[level], threads=threads)
                # what is not written shows
                for tape in (None, np.full(stack.tape, np.nan, dtype)):
                    F, inputs = np.full_like(D, np.nan), np.full_like(X, np.nan)
                    G = [np.full_like(W, np.nan) for W in weights]
                    stack.forward(weights, X, F, tape)
                    stack.backward(weights, X, D, G, inputs, tape)
                    hold([F, *G, inputs], exact, bounds)
                    for k in range(len(weights)):
                        alone = [np.empty_like(W) if i == k else None for i, W in enumerate(weights)]
                        stack.backward(weights, X, D, alone, None, tape)
                        assert np.array_equal(alone[k], G[k])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_the_functions(widths, dtype):
    weights, X, D = draw(widths, 40, dtype)
    before = [array.copy() for array in (*weights, X, D)]
    exact, bounds = reference_and_bound(weights, X, D)
    F, inputs = kernels.forward(weights, X), np.empty_like(X)
    hold([F, *kernels.backward(weights, X, D, inputs=inputs), inputs], exact, bounds)
    tape = kernels.tape(weights, X)
    assert np.array_equal(kernels.forward(weights, X, tape=tape), F)
    again = kernels.backward(weights, X, D, tape=tape)
    assert all(np.array_equal(a, b) for a, b in zip(again, kernels.backward(weights, X, D), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(before, (*weights, X, D), strict=True))
    assert F.dtype == dtype


def test_layouts():
    weights, X, D = draw((6, 5, 4), 9)
    F, G = kernels.forward(weights, X), kernels.backward(weights, X, D)
    turned = [np.asfortranarray(W) for W in weights]
    doubled = np.repeat(X, 2, axis=0)[::2]
    for other in (weights, turned, tuple(weights), [W.tolist() for W in weights]):
        for rows in (X, np.asfortranarray(X), doubled, X.tolist()):
            assert np.array_equal(kernels.forward(other, rows), F)
            assert all(np.array_equal(a, b) for a, b in zip(kernels.backward(other, rows, np.asfortranarray(D)), G, strict=True))
    for array in (*weights, X, D):
        array.flags.writeable = False
    assert np.array_equal(kernels.forward(weights, X), F)
    assert np.array_equal(kernels.backward(weights, X, D)[0], G[0])


def test_out_is_written_and_returned():
    weights, X, D = draw((6, 5, 4), 9)
    F, G = kernels.forward(weights, X), kernels.backward(weights, X, D)
    out = np.full((9, 4), np.nan)
    assert kernels.forward(weights, X, out=out) is out
    assert np.array_equal(out, F)
    room = [np.full(W.shape, np.nan) for W in weights]
    assert kernels.backward(weights, X, D, out=room) is room
    assert np.array_equal(room[1], G[1])
    some = kernels.backward(weights, X, D, out=[None, room[1]])
    assert some[0] is None
    # where the arrays need a copy, too
    out.fill(np.nan)
    assert kernels.forward(weights, np.asfortranarray(X), out=out) is out
    assert np.array_equal(out, F)
    assert kernels.backward(weights, np.asfortranarray(X), D, out=room) is room


def test_a_step_by_these_is_one_of_train():
    net = la.Network.dense([10, 45, 45, 10]).init("xavier", rng=0)
    r = np.random.default_rng(1)
    X, Y = r.standard_normal((128, 10)), r.standard_normal((128, 10))
    weights = [W.copy() for W in net.params]
    for _ in range(100):
        for W, G in zip(weights, kernels.backward(weights, X, (kernels.forward(weights, X) - Y) / 128), strict=True):
            W -= 0.05 * G
    run = la.train(net, X, Y, loss=la.losses.Squared(reduction="samples"), lr=0.05, steps=100, metric="parameters")
    for W, theta in zip(weights, run.network.params, strict=True):
        assert np.abs(W - theta).max() < 1e-11


def test_the_pivot_is_the_one_with_the_least_work():
    assert choose((10, 45, 45, 10), 128) == 0
    assert choose((784, 1024, 64, 10), 256) == 3
    assert choose((1000,) * 5, 1000) == _stack.BY_ROWS
    assert choose((5, 5, 5, 5), 5) == _stack.BY_ROWS
    assert choose((300, 2, 300), 1000) == _stack.BY_ROWS
    assert choose((300, 2, 300), 1) == _stack.BY_ROWS
    assert choose((50, 300, 2, 300, 50), 400) == 2
    # forward and backward of rows: each product three times
    assert work((3, 4, 5), 7, _stack.BY_ROWS) == 3 * 7 * (12 + 20)
    # W_2 W_1 by rows of W_2, and the data by the product
    assert work((3, 4, 5), 7, 2) == 3 * 5 * (12 + 7 * 3)


def test_stacks_are_kept_for_a_while():
    weights, X, _ = draw((4, 3), 6)
    first = stack_of(weights, X)
    assert stack_of(weights, X) is first
    for n in range(1, KEPT + 6):
        kernels.forward(*draw((4, 3), n)[:2])
    assert stack_of(weights, draw((4, 3), KEPT + 5)[1]) is stack_of(weights, draw((4, 3), KEPT + 5)[1])


def test_threads_do_not_meet():
    weights, X, D = draw((30, 40, 20), 50)
    want, found = kernels.backward(weights, X, D), []

    def work():
        found.extend(kernels.backward(weights, X, D) for _ in range(100))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 400
    assert all(np.array_equal(a, b) for G in found for a, b in zip(G, want, strict=True))


def test_what_is_not_finite_leaves_nothing_behind():
    weights, X, D = draw((5, 7, 3), 4)
    want = kernels.backward(weights, X, D)
    bad = [np.full_like(W, np.inf) for W in weights]
    with np.errstate(all="ignore"):
        assert np.isnan(kernels.forward(bad, X)).all()
        kernels.backward(bad, X, D)
    assert all(np.array_equal(a, b) for a, b in zip(kernels.backward(weights, X, D), want, strict=True))


BAD = [
    (lambda w, X, D: kernels.forward([], X), ValueError, r"^weights is empty; at least one matrix \(k_1, k_0\) was wanted$"),
    (lambda w, X, D: kernels.forward(w, X[0]), ValueError, r"^X has shape \(6,\); a matrix \(n, k_0\) was wanted$"),
    (lambda w, X, D: kernels.forward(w[::-1], X), ValueError, r"^weights\[0\] has shape \(4, 5\); a matrix with 6 columns was wanted"),
    (lambda w, X, D: kernels.forward([w[0], w[0]], X), ValueError, r"^weights\[1\] has shape \(5, 6\); a matrix with 5 columns was wanted"),
    (lambda w, X, D: kernels.forward([w[0], w[1].astype("f")], X), TypeError, r"^weights\[1\] is float32 but X is float64; use one dtype for all$"),
    (lambda w, X, D: kernels.forward(w, X.astype(complex)), TypeError, r"^X is complex128; linalign is real"),
    (lambda w, X, D: kernels.forward(w, X, out=np.empty((9, 5))), ValueError, r"^out is shape \(9, 5\) and dtype float64; an array of shape \(9, 4\)"),
    (lambda w, X, D: kernels.forward(w, X, out=np.empty((9, 8))[:, ::2]), ValueError, r"^out is read-only or not C-contiguous; pass np\.empty\(\(9, 4\), 'float64'\)$"),
    (lambda w, X, D: kernels.forward(w, X, tape=np.empty(3)), ValueError, r"^tape is shape \(3,\)"),
    (lambda w, X, D: kernels.backward(w, X, D[:3]), ValueError, r"^D has shape \(3, 4\); 9 rows were wanted, not 3$"),
    (lambda w, X, D: kernels.backward(w, X, D, out=[np.empty((5, 6))]), ValueError, r"^out has 1 arrays but there are 2 weights"),
    (lambda w, X, D: kernels.backward(w, X, D, out=[None, np.empty((5, 6))]), ValueError, r"^out\[1\] is shape \(5, 6\)"),
    (lambda w, X, D: kernels.backward(w, X, D, inputs=np.empty((9, 5))), ValueError, r"^inputs is shape \(9, 5\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[str(k) for k in range(len(BAD))])
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(*draw((6, 5, 4), 9))


def test_the_example_of_the_docstring():
    assert doctest.testmod(kernels).failed == 0
