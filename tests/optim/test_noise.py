"""Noise: drawn as is written down, the same for any number of threads, and of the law of noise on the labels as given."""

import re

import numpy as np
import pytest

import linalign as la
from linalign.optim.noise import Noise, key
from tests.training.test_resume import assert_same_bits, problem

STEPS = 60


def draw(rng, kind, j, shape):
    k = np.random.default_rng(rng).integers(2**63, size=2)
    return np.random.Generator(np.random.Philox(key=k.astype(np.uint64), counter=[0, 0, kind, j])).standard_normal(shape)


def labels(rng, rows, outputs, steps):
    s = max(1, 4096 // (rows * outputs))
    return np.concatenate([draw(rng, 0, j, (s, rows, outputs)) for j in range(-(-steps // s))])[:steps]


def test_noise_is_drawn_as_is_written_down():
    noise = Noise(0.5, 0.25, key(7))
    wanted = 0.5 * labels(7, 30, 3, 500)
    for first, count in ((0, 500), (3, 1), (44, 3), (45, 200), (499, 1)):
        np.testing.assert_array_equal(noise.on_labels(first, count, 30, 3), wanted[first : first + count])
    shapes = [(4, 3), (7,), (2, 4)]
    for t in (0, 1, 400):
        flat = 0.25 * draw(7, 1, t, 27)
        np.testing.assert_array_equal(np.concatenate([xi.ravel() for xi in noise.on_gradients(t, shapes)]), flat)
    generator = np.random.default_rng(7)
    assert key(generator) == key(7)
    assert generator.random() == np.random.default_rng(7).random()


def descend(net, X, targets, lr, momentum=0.0, gradient=None, factor=0.5, rule=None):
    """Heavy-ball steps on `factor ||X P^T - T_t||^2`, and the losses before them."""
    params, v, found = [np.array(W) for W in net.params], [np.zeros(W.shape) for W in net.params], []
    for t, T in enumerate(targets):
        rows = [X]
        for W in params:
            rows.append(rows[-1] @ W.T)
        D = rows[-1] - T
        found.append(factor * np.sum(D**2))
        D, gradients = 2 * factor * D, []
        for i in reversed(range(len(params))):
            gradients.insert(0, D.T @ rows[i])
            D = D @ params[i]
        if gradient is not None:
            xi = np.split(gradient(t), np.cumsum([W.size for W in params])[:-1])
            gradients = [G + part.reshape(G.shape) for G, part in zip(gradients, xi, strict=True)]
        for i, G in enumerate(gradients):
            v[i] = momentum * v[i] + G
            params[i] = params[i] - lr * v[i]
    return params, found


def assert_near(run, params, losses):
    np.testing.assert_allclose(run.loss[:-1], losses, rtol=1e-9)
    for mine, wanted in zip(run.network.params, params, strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())


@pytest.mark.parametrize("pivot", ["auto", 0, 1, 2, 3])
@pytest.mark.parametrize("implementation", ["kernel", "reference"])
def test_label_noise_of_all_rows(implementation, pivot):
    net, X, Y = problem()
    options = {"lr": 1e-3, "momentum": 0.9, "steps": STEPS, "label_noise": 0.5, "rng": 7, "implementation": implementation}
    run = la.train(net, X, Y, reduce="none", pivot=pivot, **options)
    params, losses = descend(net, X, Y + 0.5 * labels(7, 30, 3, STEPS), 1e-3, 0.9)
    assert_near(run, params, losses)
    # the last entry is without noise
    assert run.loss[-1] == pytest.approx(0.5 * np.sum((run.network(X) - Y) ** 2), rel=1e-12)


@pytest.mark.parametrize("reduce", [["samples"], ["samples", "inputs"], "auto"], ids=str)
@pytest.mark.parametrize("loss", ["squared", "mse"])
def test_label_noise_of_rows_that_are_left(loss, reduce):
    # on the compressed rows it is that of a problem of so few rows: exactly the draws, and by T7.1 the law of noise on all of them
    net, X, Y = problem()
    factor = 0.5 if loss == "squared" else 1 / Y.size
    lr = 1e-3 / factor
    run = la.train(net, X, Y, loss=loss, lr=lr, steps=STEPS, label_noise=0.5, rng=7, reduce=reduce, record={"loss": STEPS})
    applied = [row.name for row in run.plan.reductions if row.applied]
    assert applied == (["samples"] if reduce == ["samples"] else ["samples", "inputs"])
    U = np.linalg.svd(X)[0][:, :6]
    # noise on the thirty labels whose part in the range of X is that of the run, whatever the basis of the six rows
    noise = 0.5 * labels(7, 6, 3, STEPS)
    plain = la.train(net, X, Y, loss=loss, lr=lr, steps=STEPS, reduce=reduce)
    assert run.floor == plain.floor
    assert not np.array_equal(run.loss, plain.loss)
    found = []
    for flip in np.ndindex(*([2] * 6)):
        turned = U * (1 - 2 * np.array(flip))
        params, losses = descend(net, X, [Y + turned @ xi for xi in noise], lr, factor=factor)
        found.append(np.abs(run.network.params[0] - params[0]).max() / np.abs(params[0]).max())
        if found[-1] < 1e-9:
            np.testing.assert_allclose(run.loss[:-1], losses, rtol=1e-9)
    # singular vectors have a sign that is nobody's
    assert min(found) < 1e-9
    assert run.history["loss"].values[-1] == pytest.approx(factor * np.sum((run.network(X) - Y) ** 2), rel=1e-12)
    assert "labels" in str(run.plan)
    assert "T7.1: the same law" in str(run.plan)


def test_the_law_is_that_of_noise_on_all_labels():
    # mean and spread of a step over many draws, of all rows and of those that are left
    net, X, Y = problem(widths=(8, 4, 2))
    rows, left = [], []
    for rng in range(400):
        options = {"lr": 1e-2, "steps": 1, "label_noise": 1.0, "rng": rng}
        rows.append(la.train(net, X, Y[:, :2], reduce="none", **options).network.matrix())
        left.append(la.train(net, X, Y[:, :2], reduce=["samples"], **options).network.matrix())
    rows, left = np.array(rows), np.array(left)
    spread = rows.std(axis=0)
    # four standard errors of a mean, and of a standard deviation
    assert (np.abs(rows.mean(axis=0) - left.mean(axis=0)) < 4 * spread * np.sqrt(2 / 400)).all()
    assert (np.abs(left.std(axis=0) / spread - 1) < 4 * np.sqrt(1 / 400)).all()


@pytest.mark.parametrize("options", [{"optimizer": "adam"}, {"optimizer": "muon"}, {"update": "cyclic"}, {"loss": la.losses.Huber(1.0)},
                                     {"optimizer": "sam"}, {"lr": lambda t: 1e-3 / (1 + t)}],
                         ids=["adam", "muon", "cyclic", "huber", "sam", "schedule"])  # fmt: skip
@pytest.mark.parametrize("batch", [{}, {"batch": 7}], ids=str)
def test_noise_with_rules_batches_and_losses(batch, options):
    # the kernel against the reference, with labels and gradients that have noise
    net, X, Y = problem()
    for noise in ({"label_noise": 0.5}, {"gradient_noise": 0.1}, {"label_noise": 0.5, "gradient_noise": 0.1}):
        how = {"lr": 1e-3, "steps": STEPS, "rng": 3, "reduce": "none", **batch, **options, **noise}
        mine, theirs = (la.train(net, X, Y, implementation=implementation, **how) for implementation in ("kernel", "reference"))
        np.testing.assert_allclose(mine.loss, theirs.loss, rtol=1e-9)
        np.testing.assert_allclose(mine.network.matrix(), theirs.network.matrix(), rtol=0, atol=1e-9)
        silent = la.train(net, X, Y, **{**how, "label_noise": 0.0, "gradient_noise": 0.0})
        assert not np.allclose(mine.loss[1:], silent.loss[1:], rtol=1e-6)


def test_gradient_noise():
    net, X, Y = problem()
    run = la.train(net, X, Y, lr=1e-3, momentum=0.5, steps=STEPS, gradient_noise=0.1, rng=7)
    assert [row.name for row in run.plan.reductions if row.applied] == ["samples"]
    assert "gradients" in str(run.plan)
    params, losses = descend(net, X, [Y] * STEPS, 1e-3, 0.5, lambda t: 0.1 * draw(7, 1, t, net.size))
    assert_near(run, params, losses)


def test_label_noise_of_a_factorisation():
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((3, 5))
    net = la.Network.dense([5, 4, 3]).init("gaussian", rng=0, scale=0.5)
    run = la.train(net, None, Y, lr=1e-2, steps=STEPS, label_noise=0.5, rng=7)
    params, losses = descend(net, np.eye(5), Y.T + 0.5 * labels(7, 5, 3, STEPS), 1e-2)
    assert_near(run, params, losses)


@pytest.mark.parametrize("options", [{}, {"batch": 7}, {"reduce": "none", "optimizer": "adam"}, {"gradient_noise": 0.1}], ids=str)
def test_noise_is_the_same_for_any_threads_and_where_a_run_goes_on(tmp_path, options):
    net, X, Y = problem()
    options = {"lr": 1e-3, "label_noise": 0.5, "rng": np.random.default_rng(7), **options}
    run = la.train(net, X, Y, steps=STEPS, threads=1, **options)
    np.testing.assert_array_equal(run.loss, la.train(net, X, Y, steps=STEPS, threads=2, **options).loss)
    cut = la.train(net, X, Y, steps=STEPS - 23, threads=1, **options)
    options["rng"].random()
    for there in (cut, la.load(cut.save(tmp_path / "run.npz"))):
        assert_same_bits(run, la.resume(there, X, Y, steps=23, threads=1))


def test_recording_leaves_the_noise_alone():
    net, X, Y = problem()
    options = {"lr": 1e-3, "label_noise": 0.5, "rng": 7, "steps": STEPS}
    for how in ({}, {"reduce": "none"}, {"update": "cyclic"}, {"implementation": "reference"}):
        silent = la.train(net, X, Y, **options, **how)
        watched = la.train(net, X, Y, **options, **how, record={"loss": 1, "gradient_norm": 3, "alignment": 2})
        np.testing.assert_array_equal(silent.loss, watched.loss)


def test_bad_input_in_one_line():
    net, X, Y = problem()
    wrong = [
        ({"label_noise": -1.0}, ValueError, "label_noise is -1.0; it must be at least 0"),
        ({"gradient_noise": "1"}, TypeError, "gradient_noise is '1'; a number was wanted"),
        ({"label_noise": 1.0, "rng": None}, ValueError,
         "rng is None; pass a seed such as rng=0 or a numpy.random.Generator, so that the result can be had again"),
        ({"label_noise": 1.0, "loss": "logistic"}, ValueError,
         "label_noise is 1.0 but the targets of the loss 'logistic' are no numbers to add it to"),
    ]  # fmt: skip
    for options, kind, message in wrong:
        with pytest.raises(kind, match=f"^{re.escape(message)}$"):
            la.train(net, X, np.sign(Y), **{"lr": 1e-3, "steps": 5, "rng": 0, **options})
