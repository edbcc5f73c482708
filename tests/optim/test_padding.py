"""Lines of dense layers are padded to whole vectors; what stands there is no part of a norm."""

import numpy as np
import pytest

import linalign as la


@pytest.mark.parametrize("loss", ["logistic", "exponential", "huber", "squared"])
@pytest.mark.parametrize("widths", [[2, 8, 8, 1], [3, 5, 7, 1], [2, 3, 4, 1]])
def test_a_step_of_normalised_descent_has_the_length_of_the_learning_rate(widths, loss):
    X = np.random.default_rng(0).standard_normal((80, widths[0]))
    Y = np.sign(np.random.default_rng(1).standard_normal((80, 1)))
    net = la.Network.dense(widths).init("gaussian", scale=0.1, rng=2)
    run = la.train(net, X, Y, loss=loss, lr=0.002, steps=20, optimizer="normalized_gd", metric="parameters", record={"params": 1})
    steps = np.linalg.norm(np.diff(run.history["params"].values, axis=0), axis=1)
    # a step of 0.002 is the difference of weights below 1, each rounded to 1e-16: some 1e-13 relative, and as much for the norm
    assert np.abs(steps / 0.002 - 1).max() < 1e-11
