"""Minibatches: drawn as is written down, equal to torch on the same rows, and reduced where rows may be."""

import numpy as np
import pytest

import linalign as la
from linalign.optim import schedules
from linalign.optim.batches import Batches
from tests.oracles.descents import RULES, constrained, data, dense, drawn, in_torch, torch


@pytest.mark.parametrize("order", ["shuffle", "replacement"])
@pytest.mark.parametrize("batch", [1, 3, 7, 12])
def test_rows_are_drawn_as_is_written_down(order, batch):
    wanted = drawn(12, batch, order, 5, 200)
    batches, at = Batches(12, batch, order, 5), 0
    for count in (1, 2, 60, 37, 100):
        found = batches.at(at, count)
        for t in range(count):
            np.testing.assert_array_equal(found.rows[t, : found.counts[t]], wanted[at + t])
        at += count
    # and again, from steps that were drawn long before
    for at in (150, 3, 199):
        found = batches.at(at, 1)
        np.testing.assert_array_equal(found.rows[0, : found.counts[0]], wanted[at])


@pytest.mark.parametrize("order", ["shuffle", "replacement"])
@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_the_reference_takes_the_steps_of_torch(rule, loss, order):
    # the kernel is compared in test_against_torch.py
    options, make, lr = RULES[rule]
    start, (X, Y) = dense(1), data(loss)
    rows = drawn(len(X), 5, order, 7, 300)
    run = la.train(start, X, Y, loss=loss, lr=lr, steps=300, batch=5, order=order, rng=7, implementation="reference", **options)
    params, losses = in_torch(start, X, Y, loss, lambda p: make(p, lr), steps=300, batches=rows)
    for got, want in zip(run.network.params, params, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-9 * np.abs(want).max())
    np.testing.assert_allclose(run.loss, losses, rtol=1e-8, atol=1e-9 * losses[0])


@pytest.mark.parametrize("batch", [1, 4, 12])
def test_constrained_layers_and_rows_that_are_given(batch):
    options, make, lr = RULES["adamw"]
    start, (X, Y) = constrained(2), data("mse")
    rows = np.random.default_rng(1).integers(12, size=(300, batch))
    run = la.train(start, X, Y, loss="mse", lr=lr, steps=300, order=rows, metric="parameters", **options)
    params, losses = in_torch(start, X, Y, "mse", lambda p: make(p, lr), steps=300, batches=rows)
    for got, want in zip(run.network.params, params, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-9 * np.abs(want).max())
    np.testing.assert_allclose(run.loss, losses, rtol=1e-9)


@pytest.mark.parametrize("widths", [(20, 12, 9, 3), (30, 12, 2)])
@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.9, "weight_decay": 0.1}, {"optimizer": "group_rmsprop"}, {"optimizer": la.optim.Muon(form="polar")}]
)
def test_inputs_and_widths_shrink_under_batches(widths, options):
    rng = np.random.default_rng(0)
    net = la.Network.dense(list(widths)).init("orthogonal", rng=1, scale=0.5)
    X, Y = rng.standard_normal((40, 2)) @ rng.standard_normal((2, widths[0])) / 5, rng.standard_normal((40, widths[-1]))
    how = {"lr": 0.003, "steps": 60, "batch": 7, "rng": 3, "record": {"loss": 20}} | options
    reduced = la.train(net, X, Y, reduce=["inputs", "width"], **how)
    assert {"inputs", "width"} <= {r.name for r in reduced.plan.reductions if r.applied}
    assert not any(r.applied for r in reduced.plan.reductions if r.name in ("samples", "split"))
    plain = la.train(net, X, Y, reduce="none", **how)
    np.testing.assert_allclose(reduced.loss, plain.loss, rtol=1e-9)
    for got, want in zip(reduced.network.params, plain.network.params, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-9)
    np.testing.assert_allclose(reduced.history["loss"].values, plain.history["loss"].values, rtol=1e-9)
    np.testing.assert_allclose(reduced.history["loss"].values[-1], 0.5 * np.sum((reduced.network(X) - Y) ** 2), rtol=1e-9)


def test_outputs_do_not_shrink_under_batches_by_moments_alone():
    # Y^T X lies in a line, Y does not: with all rows the outputs shrink (T8.2), with batches they may not (T12.1)
    rng = np.random.default_rng(0)
    X, V = np.linalg.qr(rng.standard_normal((8, 2)))[0], np.linalg.qr(rng.standard_normal((6, 6)))[0]
    outside = np.linalg.qr(np.hstack([X, rng.standard_normal((8, 6))]))[0][:, 2:]
    Y = X @ np.ones((2, 1)) @ V[:1] + outside[:, :4] @ V[1:5]
    net = la.Network.dense([2, 5, 6], [np.zeros((5, 2)), np.zeros((6, 5))])
    net = la.Network.dense([2, 5, 6], [np.eye(5, 2), np.outer(V[0], np.ones(5)) / 5])
    how = {"lr": 0.05, "steps": 30, "batch": 3, "rng": 0}
    run, plain = la.train(net, X, Y, **how), la.train(net, X, Y, reduce="none", **how)
    for got, want in zip(run.network.params, plain.network.params, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


def test_sizes_may_change_and_schedules_with_them():
    start, (X, Y) = dense(3), data("mse")
    sizes = [2] * 30 + [5] * 30 + [12] * 30
    run = la.train(start, X, Y, loss="mse", lr=schedules.Cosine(0.01, 90), steps=90, batch=sizes, rng=2, momentum=0.5)
    g, left, rows = np.random.default_rng(2), [], []
    for size in sizes:
        if not len(left):
            left = g.permutation(12)
        rows.append(left[:size])
        left = left[size:]
    params, losses = in_torch(
        start, X, Y, "mse", lambda p: torch.optim.SGD(p, 0.01, momentum=0.5), steps=90, batches=rows,
        scheduler=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 90),
    )  # fmt: skip
    np.testing.assert_allclose(run.loss, losses, rtol=1e-10)
    again = la.train(start, X, Y, loss="mse", lr=schedules.Cosine(0.01, 90), steps=90, batch=lambda t: sizes[t], rng=2, momentum=0.5)
    np.testing.assert_array_equal(run.loss, again.loss)
    assert len(params) == 3


def test_a_whole_batch_is_the_whole():
    start, (X, Y) = dense(3), data("mse")
    run = la.train(start, X, Y, loss="mse", lr=0.01, steps=50, batch=12, rng=0)
    plain = la.train(start, X, Y, loss="mse", lr=0.01, steps=50)
    np.testing.assert_allclose(run.loss, plain.loss, rtol=1e-11)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"batch": 13, "rng": 0}, ValueError, "batch is 13 but X has 12 rows"),
        ({"batch": 0, "rng": 0}, ValueError, "batch is 0; a whole number of at least 1"),
        ({"batch": 2.5, "rng": 0}, TypeError, "batch is 2.5|batch"),
        ({"batch": 4}, ValueError, "rng is None but order is 'shuffle'"),
        ({"batch": 4, "rng": 0, "order": "sorted"}, ValueError, "order is 'sorted'; one of 'shuffle', 'replacement'"),
        ({"order": np.zeros((3, 2), dtype=int)}, ValueError, "order has the rows of 3 steps but steps is 5"),
        ({"order": np.full((5, 2), 12)}, ValueError, "order holds the row 12 but X has 12 rows"),
        ({"order": np.zeros(5, dtype=int)}, ValueError, "order has shape"),
        ({"batch": [1, 2], "rng": 0}, ValueError, "batch has the sizes of 2 steps but steps is 5"),
        ({"batch": 3, "rng": 0, "lr": np.full((4, 1), 0.1)}, ValueError, "lr has the rates of 4 steps but steps is 5"),
        ({"batch": 3, "rng": 0, "lr": lambda t: float("nan")}, ValueError, "is nan; a finite number was wanted"),
    ],
)  # fmt: skip
def test_bad_input(options, error, text):
    start, (X, Y) = dense(3), data("mse")
    with pytest.raises(error, match=text):
        la.train(start, X, Y, **{"lr": 0.01, "steps": 5, **options})


def test_batches_need_rows():
    net = dense(3)
    with pytest.raises(ValueError, match="X is None but batch is given"):
        la.train(net, None, np.ones((4, 6)), lr=0.01, steps=5, batch=2, rng=0)
