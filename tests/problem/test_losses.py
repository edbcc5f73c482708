"""Losses: values by hand, normalisations, extreme outputs, and the message of every refusal."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linalign as la
from linalign import losses
from tests.oracles.checks import LOSSES, chains, exact_loss, make_case
from tests.oracles.extended import LD

# two samples, two outputs: F = X W^T is [[1, 2], [3, -1]]
X = np.array([[1.0, 0.0], [0.0, 1.0]])
NET = la.Network.from_matrices([np.array([[1.0, 3.0], [2.0, -1.0]])])
Y = np.array([[0.0, 2.5], [1.0, 1.0]])
SIGNS = np.array([[1, -1], [-1, 1]])
# residuals [[1, -1/2], [2, -2]]: squares 1 + 1/4 + 4 + 4
SQUARES = 9.25


def soft(x):
    return math.log1p(math.exp(-abs(x))) + max(-x, 0.0)


def entropy(row, label):
    return math.log(sum(math.exp(f) for f in row)) - row[label]


MARGINS = [1.0, -2.0, -3.0, -1.0]
CASES = {
    "squared": ("squared", Y, SQUARES / 2),
    "mse": ("mse", Y, SQUARES / 4),
    "sum": (losses.Squared(half=False), Y, SQUARES),
    "half of the mean over samples": (losses.Squared(reduction="samples"), Y, SQUARES / 4),
    "mean over samples": (losses.Squared(half=False, reduction="samples"), Y, SQUARES / 2),
    "half of the mean over entries": (losses.Squared(reduction="entries"), Y, SQUARES / 8),
    "logistic": ("logistic", SIGNS, sum(map(soft, MARGINS)) / 2),
    "logistic, sum": (losses.Logistic(reduction="sum"), SIGNS, sum(map(soft, MARGINS))),
    "exponential": ("exponential", SIGNS, sum(math.exp(-m) for m in MARGINS) / 2),
    "exponential, sum": (losses.Exponential(reduction="sum"), SIGNS, sum(math.exp(-m) for m in MARGINS)),
    # residuals 1, -1/2, 2, -2
    "huber": ("huber", Y, (1 / 2 + 1 / 8 + 3 / 2 + 3 / 2) / 4),
    "huber of another width": (losses.Huber(0.5, reduction="sum"), Y, 0.5 * (0.75 + 0.25 + 1.75 + 1.75)),
    "huber, samples": (losses.Huber(4.0, reduction="samples"), Y, SQUARES / 4),
    "hinge": ("hinge", SIGNS, (0 + 3 + 4 + 2) / 2),
    "hinge, sum": (losses.Hinge(reduction="sum"), SIGNS, 9),
    "squared_hinge": ("squared_hinge", SIGNS, (9 + 16 + 4) / 2),
    "squared_hinge, sum": (losses.SquaredHinge(reduction="sum"), SIGNS, 29),
    "cross_entropy": ("cross_entropy", np.array([1, 0]), (entropy([1, 2], 1) + entropy([3, -1], 0)) / 2),
    "cross_entropy, sum": (losses.CrossEntropy(reduction="sum"), np.array([1, 0]), entropy([1, 2], 1) + entropy([3, -1], 0)),
    "cross_entropy, probabilities": (
        "cross_entropy", np.array([[0.25, 0.75], [1, 0]]),
        (0.25 * entropy([1, 2], 0) + 0.75 * entropy([1, 2], 1) + entropy([3, -1], 0)) / 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("implementation", ["kernel", "reference"])
@pytest.mark.parametrize("name", CASES)
def test_values_by_hand(name, implementation):
    loss, targets, wanted = CASES[name]
    value, _ = la.value_and_grad(NET, X, targets, loss=loss, implementation=implementation)
    assert value == pytest.approx(wanted, rel=4e-16 * 10)  # ten roundings
    assert la.train(NET, X, targets, loss=loss, lr=1.0, steps=0, implementation=implementation).loss[0] == pytest.approx(wanted, rel=1e-14)


# the product is [[1, 3], [2, -1]]
PRODUCT = {
    # residuals 3 - 5, 2 - 0
    "entries": (losses.Entries([0, 1], [1, 0], [5, 0]), (4 + 4) / 2),
    "entries, mean": (losses.Entries([0, 1], [1, 0], [5, 0], half=False, reduction="mean"), (4 + 4) / 2),
    "entries, sum": (losses.Entries([0, 1], [1, 0], [5, 0], half=False), 8),
    # <A_1, P> = 1 - 1 = 0, <A_2, P> = 6
    "sensing": (losses.Sensing([[[1, 0], [0, 1]], [[0, 2], [0, 0]]], [3, 5]), (9 + 1) / 2),
    "sensing, mean": (losses.Sensing([[[1, 0], [0, 1]], [[0, 2], [0, 0]]], [3, 5], half=False, reduction="mean"), (9 + 1) / 2),
    # P = [[1, 3], [2, -1]], and S = I: ||P||^2 + 2 - 2 ||P||_*, (||P||_*)^2 = ||P||^2 + 2 |det P|
    "Bures-Wasserstein": (losses.BuresWasserstein(np.eye(2)), 15 + 2 - 2 * math.sqrt(15 + 14)),
    "end to end": (losses.EndToEnd(lambda P: (float(P[0, 0] + 2 * P[1, 1]), np.array([[1.0, 0], [0, 2]]))), 1 - 2),
}


@pytest.mark.parametrize("implementation", ["kernel", "reference"])
@pytest.mark.parametrize("name", PRODUCT)
def test_values_of_losses_of_the_product_by_hand(name, implementation):
    loss, wanted = PRODUCT[name]
    # singular values are right to some roundings of their sum, the others exactly
    rel = 1e-14 if loss.kind == "bures_wasserstein" else 0
    assert la.value_and_grad(NET, None, loss=loss, implementation=implementation)[0] == pytest.approx(wanted, rel=rel, abs=0)


@pytest.mark.parametrize("implementation", ["kernel", "reference"])
def test_gradients_of_losses_of_the_product_by_hand(implementation):
    for loss, wanted in (
        (PRODUCT["entries"][0], [[0, -2], [2, 0]]),
        (PRODUCT["entries, sum"][0], [[0, -4], [4, 0]]),
        (PRODUCT["sensing"][0], [[-3, 2], [0, -3]]),
        (PRODUCT["end to end"][0], [[1, 0], [0, 2]]),
    ):
        assert np.array_equal(la.value_and_grad(NET, None, loss=loss, implementation=implementation)[1][0], wanted)


def test_matrix_factorisation_by_hand():
    # 1/2 ||P - Y||^2, Y in the shape of the product
    target = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    net = la.Network.from_matrices([np.array([[1.0, 2.0, 3.0]]), np.array([[1.0], [0.0]])])
    value, grads = la.value_and_grad(net, None, target)
    residual = np.array([[0.0, 1.0, 3.0], [0.0, -1.0, -2.0]])
    assert value == np.sum(residual**2) / 2
    assert np.array_equal(grads[0], [[0, 1, 3]])
    assert np.array_equal(grads[1], residual @ np.array([[1.0], [2.0], [3.0]]))


def test_names_are_shorthand_for_objects():
    for name, loss in (
        ("squared", losses.Squared()), ("mse", losses.Squared(half=False, reduction="entries")), ("logistic", losses.Logistic()),
        ("exponential", losses.Exponential()), ("cross_entropy", losses.CrossEntropy()), ("huber", losses.Huber()),
        ("hinge", losses.Hinge()), ("squared_hinge", losses.SquaredHinge()),
    ):  # fmt: skip
        assert losses.resolve(name) == loss
        assert losses.resolve(loss) is loss


def test_one_output_takes_a_vector_of_targets():
    net = la.Network.dense([3, 1]).init("gaussian", rng=0)
    inputs = np.random.default_rng(0).standard_normal((5, 3))
    y = np.array([1.0, -1, 1, 1, -1])
    for loss in ("squared", "logistic"):
        assert la.value_and_grad(net, inputs, y, loss=loss)[0] == la.value_and_grad(net, inputs, y[:, None], loss=loss)[0]


def test_labels_are_rows_of_the_identity():
    net = la.Network.dense([3, 4]).init("gaussian", rng=0)
    inputs, labels = np.random.default_rng(0).standard_normal((5, 3)), np.array([3, 0, 1, 1, 2])
    for kind in (np.int64, np.uint8, np.int16):
        by_label = la.value_and_grad(net, inputs, labels.astype(kind), loss="cross_entropy")
        by_row = la.value_and_grad(net, inputs, np.eye(4)[labels], loss="cross_entropy")
        assert by_label[0] == by_row[0]
        assert np.array_equal(by_label[1][0], by_row[1][0])


# ---- extreme outputs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pivot", [0, 1])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_large_outputs_do_not_overflow(dtype, pivot):
    # margins of -1000 and 1000: log(1 + e^1000) is 1000, log(1 + e^-1000) is 0; the softmax is one-hot
    net = la.Network.from_matrices([np.array([[1000.0], [-1000.0]])]).astype(dtype)
    one = np.ones((1, 1), dtype=dtype)
    value, (grad,) = la.value_and_grad(net, one, np.array([[1, 1]]), loss="logistic", pivot=pivot)
    assert value == 1000
    assert np.array_equal(grad, [[0], [-1]])
    value, (grad,) = la.value_and_grad(net, one, [1], loss="cross_entropy", pivot=pivot)
    assert value == 2000
    assert np.array_equal(grad, [[1], [-1]])
    value, (grad,) = la.value_and_grad(net, one, [0], loss="cross_entropy", pivot=pivot)
    assert value == 0
    assert not grad.any()


def test_an_exponential_that_overflows_is_said_to():
    net = la.Network.from_matrices([np.array([[1000.0]])])
    with pytest.raises(ArithmeticError, match="the loss is inf; scale the network or the data down"):
        la.value_and_grad(net, np.ones((1, 1)), [-1], loss="exponential")


@pytest.mark.parametrize("implementation", ["kernel", "reference"])
@pytest.mark.parametrize("loss", ["logistic", "exponential"])
def test_small_losses_keep_their_digits(loss, implementation):
    # separated data: the loss falls to 1e-30 and is still right, because log1p and not log(1 + .) is used
    net = la.Network.from_matrices([np.array([[70.0], [-70.0]])])
    inputs, targets = np.array([[1.0], [1.1]]), np.array([[1, -1], [1, -1]])
    value, (grad,) = la.value_and_grad(net, inputs, targets, loss=loss, implementation=implementation)
    # log(1 + x) to first order, two outputs a sample; the argument of the exponential is rounded: 77 roundings at most
    assert value == pytest.approx(math.exp(-70) + math.exp(-77), rel=1e-13)
    slope = (math.exp(-70) + 1.1 * math.exp(-77)) / 2
    assert grad.ravel() == pytest.approx([-slope, slope], rel=1e-13)


# ---- derivatives -----------------------------------------------------------------------------------------------------------


def value_at(problem, weights):
    below, _ = chains(weights, problem.X if problem.X is not None else np.eye(len(weights[0][0]), dtype=LD))
    return exact_loss(problem, below[-1])[0]


@given(st.sampled_from(sorted(LOSSES)), st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_gradients_are_central_differences(loss, seed, pivot):
    """`(L(W + h V) - L(W - h V)) / 2h = <G, V> + O(h^2)`, in 80 bits; exact for h = 1 where the loss is quadratic in a layer."""
    rng = np.random.default_rng(seed)
    k = [int(width) for width in rng.integers(1, 6, 4)]
    case = make_case(k, int(rng.integers(1, 8)), loss, seed=seed % 1000)
    problem = case.problem
    value, grads = la.value_and_grad(problem.net, problem.X, targets_as_given(problem), loss=problem.loss, pivot=pivot)
    exact, dL, _, bounds = case.exact
    assert abs(value - exact) <= dL
    quadratic = problem.loss.kind in ("squared", "entries", "sensing", "end_to_end")
    h = LD(1) if quadratic else LD(2) ** -20
    weights = [theta.astype(LD) for theta in problem.net.params]
    for i, grad in enumerate(grads):
        V = rng.standard_normal(grad.shape).astype(LD)
        ends = [value_at(problem, [*weights[:i], weights[i] + sign * h * V, *weights[i + 1 :]]) for sign in (1, -1)]
        difference = (ends[0] - ends[1]) / (2 * h)
        spread = np.sum(bounds[i] * np.abs(V))
        below, above = chains(weights, case.X)
        change = np.abs(below[i] @ V.T @ above[i + 1].T)
        # the two values are rounded, relative to themselves or (cross-entropy) to the outputs; fn of "end_to_end" in double
        size = abs(ends[0]) + problem.factor * np.sum(np.abs(below[-1]) + change)
        rounding = size * (1e-16 if problem.loss.kind == "end_to_end" else 1000 * np.finfo(LD).eps)
        # a third derivative is at most the third power of the change of the outputs, times the loss itself if that is exponential
        size = np.exp(np.abs(below[-1]) + change) if problem.loss.kind == "exponential" else LD(1)
        third = 0 if quadratic else h**2 * problem.factor * 8 * np.sum(change.sum(axis=1, keepdims=True) ** 3 * size)
        assert abs(difference - np.sum(grad * V)) <= spread + rounding / h + third + kinks(problem, below[-1], change, h)


def kinks(problem, F, change, h):
    """What a central difference may miss where a derivative jumps within h of the outputs."""
    kind, T = problem.loss.kind, problem.T
    if kind == "hinge":
        return 2 * problem.factor * np.sum(np.where(np.abs(1 - T * F) <= h * change, change, 0))
    return 2 * problem.factor * h * np.sum(change**2) if kind in ("huber", "squared_hinge") else 0


def targets_as_given(problem):
    if problem.T is None:
        return None
    return problem.T.T if problem.X is None else problem.T


# ---- refusals --------------------------------------------------------------------------------------------------------------

THREE = la.Network.dense([2, 3]).init("gaussian", rng=0)
DATA = np.arange(8.0).reshape(4, 2)


def refuse(error, message, net, X, Y, loss, **options):
    """Both entries refuse, before any work, with these words."""
    for call in (lambda: la.value_and_grad(net, X, Y, loss=loss), lambda: la.train(net, X, Y, loss=loss, lr=0.1, steps=1)):
        with pytest.raises(error, match="^" + re.escape(message) + "$"):
            call()


@pytest.mark.parametrize(
    ("loss", "Y", "message"),
    [
        ("tukey", None, "loss is 'tukey'; one of 'squared', 'mse', 'logistic', 'exponential', 'cross_entropy', 'huber', 'hinge', 'squared_hinge' was wanted"),
        (None, None, "loss is None; one of 'squared', 'mse', 'logistic', 'exponential', 'cross_entropy', 'huber', 'hinge', 'squared_hinge' was wanted"),
        ("squared", None, "Y is None but the loss 'squared' needs targets; pass Y of shape (4, 3)"),
        ("squared", np.zeros((4, 2)), "Y has shape (4, 2); 3 columns were wanted, not 2"),
        ("mse", np.zeros((5, 3)), "Y has shape (5, 3); 4 rows were wanted, not 5"),
        ("logistic", np.eye(4, 3), "Y holds 0 but the loss 'logistic' wants labels -1 and 1; for labels 0 and 1 pass 2 * Y - 1"),
        ("exponential", 2 * np.ones((4, 3)), "Y holds 2 but the loss 'exponential' wants labels -1 and 1; for labels 0 and 1 pass 2 * Y - 1"),
        ("cross_entropy", [0, 1, 3, 1], "Y holds the label 3 but the network has 3 outputs; labels run from 0 to 2"),
        ("cross_entropy", [0, -1, 2, 1], "Y holds the label -1 but the network has 3 outputs; labels run from 0 to 2"),
        ("cross_entropy", [0, 1, 2], "Y has 3 labels but X has 4 rows; pass one label a row"),
        (
            "cross_entropy", [0.0, 1.0, 2.0, 0.0],
            "Y has shape (4,) and dtype float64; integer labels (n,) or probabilities (n, 3) were wanted: pass Y.astype(int)",
        ),
        (
            "cross_entropy", np.full((4, 3), 0.25),
            "Y[0] sums to 0.75 with least entry 0.25; each row must be probabilities that sum to 1",
        ),
        (
            "cross_entropy", np.array([[1, 0, 0], [1.5, -0.5, 0], [0, 1, 0], [0, 0, 1.0]]),
            "Y[1] sums to 1 with least entry -0.5; each row must be probabilities that sum to 1",
        ),
        ("cross_entropy", None, "Y is None but the loss 'cross_entropy' needs targets; pass Y of shape (4, 3)"),
    ],
)  # fmt: skip
def test_refusals_of_targets(loss, Y, message):
    refuse(ValueError, message, THREE, DATA, Y, loss)


def test_losses_of_the_product_take_no_data():
    observed = losses.Entries([0], [1], [2.0])
    refuse(
        ValueError,
        "X was given but the loss 'entries' is a function of the product alone; pass X=None, Y=None",
        THREE,
        DATA,
        None,
        observed,
    )
    refuse(
        ValueError,
        "Y was given but the loss 'entries' is a function of the product alone; pass X=None, Y=None",
        THREE,
        None,
        DATA,
        observed,
    )


def test_losses_of_the_product_must_fit_it():
    refuse(
        ValueError, "rows holds 3 but the product is 3 x 2; rows run from 0 to 2", THREE, None, None, losses.Entries([0, 3], [1, 0], [1, 1])
    )
    refuse(
        ValueError, "cols holds 2 but the product is 3 x 2; cols run from 0 to 1", THREE, None, None, losses.Entries([0, 1], [2, 0], [1, 1])
    )
    refuse(ValueError, "covariance is 2 x 2 but the network has 3 outputs", THREE, None, None, losses.BuresWasserstein(np.eye(2)))
    refuse(ValueError, "matrices are 2 x 3 but the product is 3 x 2", THREE, None, None, losses.Sensing(np.ones((4, 2, 3)), np.ones(4)))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: losses.Squared(reduction="mean"), ValueError, "reduction is 'mean'; one of 'sum', 'samples', 'entries' was wanted"),
        (lambda: losses.Logistic(reduction="entries"), ValueError, "reduction is 'entries'; one of 'mean', 'sum' was wanted"),
        (lambda: losses.Entries([0], [0], [1.0], reduction="none"), ValueError, "reduction is 'none'; one of 'sum', 'mean' was wanted"),
        (
            lambda: losses.Entries([0.5], [0], [1.0]), ValueError,
            "rows has shape (1,) and dtype float64; a non-empty vector of whole numbers was wanted",
        ),
        (lambda: losses.Entries([], [], []), ValueError, "rows has shape (0,) and dtype float64; a non-empty vector of whole numbers was wanted"),
        (lambda: losses.Entries([0], [-2], [1.0]), ValueError, "cols holds -2; an index is at least 0"),
        (lambda: losses.Entries([0, 1], [0], [1.0]), ValueError, "rows has 2 entries but cols has 1; pass one of each an observation"),
        (lambda: losses.Entries([0, 1], [0, 1], [1.0]), ValueError, "values has shape (1,); one value an observation was wanted, (2,)"),
        (
            lambda: losses.Entries([1, 0, 1], [2, 0, 2], [1.0, 2, 3]), ValueError,
            "rows and cols name an entry twice; pass each observed entry once, for instance with its mean value",
        ),
        (lambda: losses.Entries([0], [0], [np.nan]), ValueError, "values[0] is nan; every entry must be finite: drop or fill such rows"),
        (lambda: losses.Sensing(np.ones((2, 3)), [1.0]), ValueError, "matrices has shape (2, 3); a non-empty stack (m, k_d, k_0) was wanted"),
        (lambda: losses.Sensing(np.ones((2, 3, 1)), [1.0]), ValueError, "values has shape (1,); one value an observation was wanted, (2,)"),
        (
            lambda: losses.Sensing(np.full((1, 1, 2), np.inf), [1.0]), ValueError,
            "matrices[0, 0, 0] is inf; every entry must be finite: drop or fill such rows",
        ),
        (lambda: losses.Huber(0.0), ValueError, "delta is 0.0; it must be greater than 0"),
        (
            lambda: losses.BuresWasserstein(np.ones((2, 3))), ValueError,
            "covariance has shape (2, 3) and is not symmetric; pass a covariance, such as np.cov(Y.T)",
        ),
        (
            lambda: losses.BuresWasserstein(np.diag([1.0, -1.0])), ValueError,
            "covariance has the eigenvalue -1; none may be below 0",
        ),
        (
            lambda: losses.EndToEnd(3), TypeError,
            "fn is int; a function of the product that returns its value and gradient was wanted",
        ),
    ],
)  # fmt: skip
def test_refusals_of_losses(make, error, message):
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        make()


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda P: 1.0, TypeError, "fn returned float; a pair (value, gradient) was wanted"),
        (lambda P: (1.0, P, P), TypeError, "fn returned tuple; a pair (value, gradient) was wanted"),
        (lambda P: (1.0, P.T), ValueError, "fn returned a gradient of shape (2, 3); the product's shape (3, 2) was wanted"),
    ],
)
@pytest.mark.parametrize("implementation", ["kernel", "reference"])
def test_refusals_of_answers(implementation, answer, error, message):
    for call in (la.value_and_grad, lambda *args, **kw: la.train(*args, lr=0.1, steps=2, **kw)):
        with pytest.raises(error, match=re.escape(message)):
            call(THREE, None, loss=losses.EndToEnd(answer), implementation=implementation)


def test_the_product_is_the_callers_to_keep():
    seen = []

    def fn(P):
        seen.append(P)
        G = P.copy()
        P[...] = 7.0  # does not disturb the run
        return 0.5 * float(np.sum(G**2)), G

    kept = la.train(THREE, None, loss=losses.EndToEnd(fn), lr=0.1, steps=3)
    clean = la.train(THREE, None, loss=losses.EndToEnd(lambda P: (0.5 * float(np.sum(P**2)), P)), lr=0.1, steps=3)
    assert np.array_equal(kept.loss, clean.loss)
    assert len({id(P) for P in seen}) == len(seen) == 4
    assert all(P.flags.c_contiguous and P.shape == (3, 2) for P in seen)
