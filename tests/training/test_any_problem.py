"""Whole problems, drawn: the plan that is chosen, no reduction, and the reference are the same run (tests/oracles/drawn.py)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

import linalign as la
from tests.examples import examples
from tests.oracles.drawn import Drawn, check, problems


# each is three runs and the planning of one
@given(problem=problems())
@examples(80)
def test_the_plan_no_reduction_and_the_reference_are_the_same_run(problem):
    check(problem)


def small(**options):
    rng = np.random.default_rng(0)
    net = la.Network.dense([4, 3, 2]).init("gaussian", rng=0)
    return Drawn(net, rng.standard_normal((6, 4)), rng.standard_normal((6, 2)), "sgd", {"lr": 0.01, "steps": 5} | options)


def test_a_difference_is_seen(monkeypatch):
    problem = small()
    assert check(problem) == "run"
    true = la.Dense.grad
    with monkeypatch.context() as patch:
        # gradients of the reference that are off in their ninth digit
        patch.setattr(la.Dense, "grad", lambda self, D, A: true(self, D, A) * (1 + 1e-9))
        with pytest.raises(AssertionError, match="differ by"):
            check(problem)


def test_what_is_refused_and_what_diverges_is_said():
    assert check(small(metric="nothing")) == "refused"
    assert check(small(lr=1e6, steps=200)) == "diverged"
