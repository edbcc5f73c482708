"""Runs beside gradient flow: closed forms against the flow integrated, first-order distances, and where neither is to be had."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.integrate

import linalign as la
from linalign.training.beside_flow import closed_form, given
from tests.theory.test_riccati import balanced


def aligned(depth, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((20, 4))
    net = la.Network.dense([4, *([5] * (depth - 1)), 4])
    return net.init("aligned", X=X, Y=X, singular_values=0.3, rng=0), X, X


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("loss", ["squared", "mse"])
def test_aligned_starts_have_a_closed_form(loss, depth):
    net, X, Y = aligned(depth)
    run = la.train(net, X, Y, loss=loss, lr=1e-3, steps=300)
    found = closed_form(given(run)[0])
    assert not isinstance(found, str)
    times = np.linspace(0, 0.3, 7)
    flow = la.flow(net, X, Y, loss=loss, times=times, rtol=1e-11, record={"singular_values": 1})
    assert np.abs(found.loss(times) - flow.loss).max() <= 1e-8 * flow.loss[0]
    assert np.abs(found.singular_values(times) - flow.history["singular_values"].values).max() <= 1e-8


def test_white_data_have_one_too():
    rng = np.random.default_rng(0)
    W, V = balanced(rng, 5, 3, 4, 0.5)
    X = 1.3 * np.linalg.qr(rng.standard_normal((9, 5)))[0]
    Y = rng.standard_normal((9, 4))
    run = la.train(la.Network.from_matrices([W, V]), X, Y, lr=1e-3, steps=300)
    found = closed_form(given(run)[0])
    assert found.statement == "T15.5"
    times = np.linspace(0, 2, 5)
    flow = la.flow(la.Network.from_matrices([W, V]), X, Y, times=times, rtol=1e-11, record={"singular_values": 1})
    assert np.abs(found.loss(times) - flow.loss).max() <= 1e-8 * flow.loss[0]
    # the third of four values is the last that three hidden units have
    assert np.abs(found.singular_values(times) - flow.history["singular_values"].values).max() <= 1e-8


@pytest.mark.parametrize(
    ("widths", "loss", "reason"),
    [
        ((4, 3, 2), "logistic", "closed forms are of dense layers and the squared loss"),
        ((4, 3, 3, 2), "squared", "the start is not aligned with the data, and has not two layers"),
        ((4, 3, 2), "squared", "the start is not aligned with the data, and these are not white"),
    ],
)
def test_where_none_is_known_the_figure_says_why(widths, loss, reason):
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    net = la.Network.dense(widths).init("gaussian", rng=0, scale=0.3)
    run = la.train(net, rng.standard_normal((9, 4)), rng.choice([-1.0, 1.0], (9, 2)), loss=loss, lr=1e-3, steps=5)
    figure = run.plot(theory=True)
    assert figure.get_supxlabel() == f"no closed form of the flow is known here: {reason}"


def test_overlays_are_the_closed_form():
    pytest.importorskip("matplotlib")
    net, X, Y = aligned(2)
    run = la.train(net, X, Y, lr=1e-3, steps=200, record={"singular_values": 10})
    loss, values = run.plot(theory=True).axes
    drawn = {line.get_label(): line for line in loss.get_lines()}["gradient flow in closed form (T15.3)"]
    # descent at a thousandth of the flow's time is beside it to the first order
    assert np.abs(drawn.get_ydata() - np.interp(drawn.get_xdata(), np.arange(201), run.loss)).max() <= 0.05 * run.loss[0]
    assert sum(line.get_linestyle() == ":" for line in values.get_lines()) == 4


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_descent_is_off_by_the_first_order(loss):
    rng = np.random.default_rng(0)
    net = la.Network.dense([6, 5, 3]).init("gaussian", rng=0, scale=0.5)
    X, Y = rng.standard_normal((12, 6)), rng.choice([-1.0, 1.0], (12, 3))
    off = []
    for lr in (4e-3, 1e-3):
        run = la.train(net, X, Y, loss=loss, lr=lr, steps=round(0.4 / lr))
        found = run.against_flow(points=4)
        assert found.steps.tolist() == [round(share * run.steps) for share in (0, 0.25, 0.5, 0.75, 1)]
        assert found.loss == pytest.approx(run.loss[found.steps], rel=1e-9)
        flow = la.flow(net, X, Y, loss=loss, times=found.times, rtol=1e-10)
        assert found.flow_loss == pytest.approx(flow.loss, rel=1e-7)
        off.append(np.abs(found.distance[1:] - found.predicted[1:]) / found.predicted[1:])
        assert found.distance[0] == 0
    # what is left is of the next order in lr
    assert (off[1] <= 0.4 * off[0]).all()
    assert (off[1] <= 0.02).all()


def test_descent_is_of_order_one_to_the_flow_and_of_order_two_to_the_modified_flow():
    """T15.7: the flow of `L + lr / 4 ||grad L||^2`, whose slope is `-(g + lr / 2 H g)`, by SciPy."""
    rng = np.random.default_rng(0)
    net = la.Network.dense([4, 5, 3]).init("gaussian", rng=rng, scale=0.5)
    X, Y = rng.standard_normal((10, 4)) / 3, rng.standard_normal((10, 3))
    H = la.hessian(net, X, Y)

    def flat(parts):
        return np.concatenate([part.ravel() for part in parts])

    def modified(lr):
        def slope(t, theta):
            here = net.with_params([part.reshape(old.shape) for part, old in zip(np.split(theta, [20]), net.params, strict=True)])
            g = flat(la.value_and_grad(here, X, Y)[1])
            H.move(here)
            return -(g + lr / 2 * (H @ g))

        found = scipy.integrate.solve_ivp(slope, (0.0, 2.0), flat(net.params), method="DOP853", rtol=1e-11, atol=1e-12)
        return found.y[:, -1]

    counts = (100, 200, 400)
    there = [flat(la.train(net, X, Y, lr=2.0 / n, steps=n).network.params) for n in counts]
    for order, want in ((1, [modified(0.0)] * 3), (2, [modified(2.0 / n) for n in counts])):
        off = np.array([np.linalg.norm(a - b) for a, b in zip(there, want, strict=True)])
        # what is left of the next order halves with lr, and is some hundredths here
        assert np.abs(np.log2(off[:-1] / off[1:]) - order).max() < 0.03


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 0.5}, "the run had momentum=0.5; gradient flow is the limit of plain gradient descent on all data"),
        ({"weight_decay": 0.1}, "the run had weight_decay or cyclic updates"),
        ({"lr": [1e-3, 2e-3]}, "the run had learning rates that differ"),
    ],
)
def test_refusals(options, message, tmp_path):
    net, X, Y = aligned(2)
    run = la.train(net, X, Y, **{"lr": 1e-3, "steps": 5, **options})
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        run.against_flow()
    plain = la.train(net, X, Y, lr=1e-3, steps=5)
    back = la.load(plain.save(tmp_path / "run.npz"))
    with pytest.raises(ValueError, match="^the run was read from a file, which has no data; pass X and Y"):
        back.against_flow()
    assert back.against_flow(X, Y).distance == pytest.approx(plain.against_flow().distance, rel=1e-9)
