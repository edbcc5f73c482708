"""Chains of different instruction sets in one process: each has the functions of its own, and computes what it computes alone."""

from __future__ import annotations

import threading
from itertools import combinations

import numpy as np
import pytest

from linalign.layers import BlockDiagonal, Conv2d, Dense, Masked, Toeplitz
from linalign.plan import machine
from tests.oracles.checks import descent, isas, make_case
from tests.oracles.structured_cases import descent_of, structured_case, structured_engine

STEPS = 40
PAIRS = list(combinations([name for name in isas() if name in machine.LEVELS], 2))
PATTERN = np.random.default_rng(0).random((24, 40)) < 0.3


def dense(widths, n, **how):
    case = make_case(widths, n)
    return case, descent(case.depth, lr=0.001, **how)


def structured(layers, n, loss="squared", **how):
    case = structured_case(layers, n, loss)
    return case, descent_of(case, lr=0.001, **how)


# each with the pivot that it is taken from: every table of functions has a part in one of them
PROBLEMS = {
    "in registers": (*dense((5, 5, 5, 5), 5), 0),
    "by products": (*dense((20, 33, 17, 9), 12), 2),
    "one row in flight": (*dense((40, 30, 1), 12), 2),
    "with velocities": (*dense((12, 20, 9), 12, momentum=0.5), 0),
    "cyclic": (*dense((12, 20, 9), 12, update="cyclic"), 0),
    "convolutions": (*structured([Conv2d((9, 8), 3, 1, 2), Dense(144, 7)], 10), 0),
    "sparse": (*structured([Masked(PATTERN), Dense(24, 7)], 37), 0),
    "blocks": (*structured([BlockDiagonal([(9, 12), (8, 5)]), Dense(17, 6)], 10), 0),
    "along diagonals": (*structured([Toeplitz(64, 64)] * 3, 64, "factorisation", update="cyclic"), 0),
}


def bound(problem, isa):
    case, how, pivot = PROBLEMS[problem]
    return structured_engine(isa, pivot)(case.problem, how)


def trained(chain):
    """Losses, and parameters after the last step."""
    values = np.empty(STEPS)
    assert chain.advance(STEPS, values, -np.inf) == (0, STEPS)
    return [values, *(theta.copy() for theta in chain.params)]


def same(found, wanted):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.skipif(not PAIRS, reason="this processor has one instruction set")
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_two_instruction_sets_at_once_compute_what_each_computes_alone(problem, pair):
    alone = [trained(bound(problem, isa)) for isa in pair]
    # bound before the other is, run after it
    chains = [bound(problem, isa) for isa in pair]
    same(trained(chains[0]), alone[0])
    same(trained(chains[1]), alone[1])
    chains = [bound(problem, isa) for isa in pair]
    found, start = [None, None], threading.Barrier(2)

    def run(which):
        start.wait()
        found[which] = trained(chains[which])

    threads = [threading.Thread(target=run, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for which in range(2):
        same(found[which], alone[which])


@pytest.mark.skipif(not PAIRS, reason="this processor has one instruction set")
@pytest.mark.parametrize("problem", PROBLEMS)
def test_binding_in_one_thread_leaves_the_loop_of_another_alone(problem):
    low, high = PAIRS[-1]
    alone, chain, found = trained(bound(problem, low)), bound(problem, low), []
    thread = threading.Thread(target=lambda: found.append(trained(chain)))
    thread.start()
    for _ in range(20):
        bound(problem, high).value(-np.inf)
    thread.join()
    same(found[0], alone)


def test_the_instruction_sets_do_not_agree_to_the_bit():
    # what the tests above would not see if they did
    if PAIRS:
        low, high = PAIRS[-1]
        assert any(
            not np.array_equal(a, b)
            for problem in PROBLEMS
            for a, b in zip(trained(bound(problem, low)), trained(bound(problem, high)), strict=True)
        )
