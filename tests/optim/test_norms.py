"""Norms of gradients whose squares, or a rate over them, leave the precision: rules that go by norms take the steps that they take
with gradients of a usual size."""

from __future__ import annotations

import numpy as np
import pytest

import linalign as la

# powers of two: nothing is rounded otherwise
EXPONENTS = {np.float64: (-1000, -540, 0, 520, 1000), np.float32: (-119, -80, 0, 60, 110)}


def trained(exponent, dtype, implementation, rate=0, **options):
    """Steps along a loss that is linear in the product: its gradients are `2^exponent` times those of exponent 0. `rate`: of the learning
    rate, that power of the exponent."""
    rng = np.random.default_rng(0)
    net = la.Network.dense([3, 4, 2]).init("gaussian", rng=0, scale=0.5).astype(dtype)
    G = np.ldexp(rng.standard_normal((2, 3)).astype(dtype), exponent)
    loss = la.losses.EndToEnd(lambda P: (float(np.sum(P * G, dtype=np.float64)), G.astype(P.dtype)))
    return la.train(
        net, None, None, loss=loss, lr=float(np.ldexp(2.0**-6, rate * exponent)), steps=5, implementation=implementation, **options
    )


def same(runs):
    for run in runs[1:]:
        for theta, wanted in zip(run.network.params, runs[0].network.params, strict=True):
            np.testing.assert_array_equal(theta, wanted)
    assert np.abs(runs[0].network.params[0] - la.Network.dense([3, 4, 2]).init("gaussian", rng=0, scale=0.5).params[0]).max() > 1e-3


@pytest.mark.parametrize("implementation", ["kernel", "reference"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_normalised_step_is_the_same_whatever_the_length_of_the_gradient(dtype, implementation):
    same([trained(e, dtype, implementation, optimizer="normalized_gd") for e in EXPONENTS[dtype]])


@pytest.mark.parametrize("implementation", ["kernel", "reference"])
@pytest.mark.parametrize("options", [{"clip_norm": 0.25}, {"clip_norm": 0.25, "optimizer": "normalized_gd"}], ids=str)
def test_gradients_are_clipped_whatever_their_length(implementation, options):
    # from 2^60 on, the 1e-6 beside their norm is nothing
    same([trained(e, np.float64, implementation, **options) for e in (60, 300, 520, 1000)])


@pytest.mark.parametrize("implementation", ["kernel", "reference"])
def test_sam_climbs_as_far_whatever_the_length_of_the_gradient(implementation):
    rule = la.optim.SAM(0.05)
    same([trained(e, np.float64, implementation, rate=-1, optimizer=rule) for e in (60, 300, 520, 1000)])
