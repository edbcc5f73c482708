"""An objective bound once: equal to the reference, in every layout; optimisers of SciPy; threads, pickles and bad input."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
import scipy.optimize

import linalign as la
from tests.oracles.layer_cases import LAYERS, NAMES

U = np.finfo(np.float64).eps


def draw(widths, n=9, dtype=np.float64, rng=0):
    r = np.random.default_rng(rng)
    net = la.Network.dense(widths).init("xavier", rng=rng, dtype=dtype)
    return net, r.standard_normal((n, widths[0])).astype(dtype), r.standard_normal((n, widths[-1])).astype(dtype)


def flat(arrays):
    return np.concatenate([a.ravel() for a in arrays])


def agrees(found, want, dtype=np.float64):
    """To the rounding of a few dozen products of numbers of size one."""
    return np.allclose(found, want, rtol=0, atol=500 * np.finfo(dtype).eps * max(1.0, float(np.max(np.abs(want)))))


TARGETS = {
    "squared": lambda Y: Y,
    "mse": lambda Y: Y,
    "logistic": lambda Y: np.sign(Y),
    "exponential": lambda Y: np.sign(Y),
    "cross_entropy": lambda Y: Y.argmax(axis=1),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduce", ["samples", "none"])
@pytest.mark.parametrize("loss", TARGETS)
@pytest.mark.parametrize("widths", [[3, 2], [5, 5, 5, 5], [20, 40, 7, 3], [6, 200, 4]])
def test_values_and_gradients_are_those_of_the_reference(widths, loss, reduce, dtype):
    net, X, Y = draw(widths, 30, dtype)
    T = TARGETS[loss](Y)
    objective = la.Objective(net, X, T, loss=loss, reduce=reduce)
    other = net.init("xavier", rng=7, dtype=dtype)
    for at in (net, other, net):
        value, gradients = la.value_and_grad(at, X, T, loss=loss, implementation="reference")
        for params in (at.params, list(at.params), flat(at.params)):
            found, slopes = objective.value_and_grad(params)
            assert agrees(found, value, dtype)
            assert isinstance(slopes, np.ndarray) == isinstance(params, np.ndarray)
            assert agrees(slopes if isinstance(slopes, np.ndarray) else flat(slopes), flat(gradients), dtype)
        assert agrees(objective.value(at.params), value, dtype)


@pytest.mark.parametrize("metric", ["parameters", "matrix"])
@pytest.mark.parametrize(
    "layer", [layer for layer in LAYERS if layer.size], ids=[n for n, layer in zip(NAMES, LAYERS, strict=True) if layer.size]
)
def test_constrained_layers_in_both_metrics(layer, metric):
    r = np.random.default_rng(1)
    net = la.Network([layer, la.Dense(layer.shape[0], 3)])
    net = net.with_params([r.standard_normal(each.param_shape) / 4 for each in net.layers])
    X, Y = r.standard_normal((40, layer.shape[1])), r.standard_normal((40, 3))
    value, gradients = la.value_and_grad(net, X, Y, implementation="reference")
    if metric == "matrix":
        gradients = [each.solve_gram(g) for each, g in zip(net.layers, gradients, strict=True)]
    found, slopes = la.Objective(net, X, Y, metric=metric).value_and_grad(net.params)
    scale = max(1.0, float(np.max(np.abs(flat(gradients)))))
    assert found == pytest.approx(value, rel=1e-12)
    assert np.allclose(flat(slopes), flat(gradients), rtol=0, atol=1e-11 * scale)


@pytest.mark.parametrize("layers", [[la.Conv2d((6, 6), 3)] * 2, [la.Conv2d((6, 6), 3, padding="circular"), la.Circulant(36)]], ids=str)
def test_chains_of_convolutions_on_their_moves(layers):
    r = np.random.default_rng(1)
    net = la.Network(layers).init("xavier", rng=0)
    X, Y = r.standard_normal((50, 36)), r.standard_normal((50, 36))
    objective = la.Objective(net, X, Y)
    value, gradients = la.value_and_grad(net, X, Y, implementation="reference")
    found, slopes = objective.value_and_grad(net.params)
    assert found == pytest.approx(value, rel=1e-11)
    assert all(np.allclose(a, b, rtol=0, atol=1e-10 * np.abs(b).max()) for a, b in zip(slopes, gradients, strict=True))


def test_a_loss_of_the_product_and_one_in_python():
    net, _, _ = draw([4, 3, 5])
    entries = la.losses.Entries([0, 2, 4], [1, 1, 3], [1.0, -1.0, 2.0])
    assert la.Objective(net, None, loss=entries).value(net.params) == pytest.approx(la.value_and_grad(net, None, loss=entries)[0])

    def fail(P):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        la.Objective(net, None, loss=la.losses.EndToEnd(fail)).value(net.params)


def test_out_is_written_and_returned_and_nothing_else_is():
    net, X, Y = draw([5, 4, 3])
    objective = la.Objective(net, X, Y)
    vector = objective.flat
    before, room = vector.copy(), np.full_like(vector, np.nan)
    assert objective.value_and_grad(vector, out=room)[1] is room
    assert np.array_equal(vector, before)
    lists = [np.full(theta.shape, np.nan) for theta in net.params]
    assert objective.gradient(net.params, out=lists) is lists
    assert np.array_equal(flat(lists), room)
    vector.flags.writeable = False
    objective.value(vector)


def test_layouts_are_copied():
    net, X, Y = draw([5, 4, 3])
    objective = la.Objective(net, X, Y)
    want = objective.value(net.params)
    assert objective.value([np.asfortranarray(theta) for theta in net.params]) == want
    doubled = np.repeat(objective.flat, 2)[::2]
    assert objective.value(doubled) == want
    assert objective.value([theta.tolist() for theta in net.params]) == want


def test_what_is_not_finite_is_returned_and_leaves_nothing_behind():
    net, X, Y = draw([5, 4, 3, 2])
    objective = la.Objective(net, X, Y)
    want, slopes = objective.value_and_grad(objective.flat)
    for bad in (1e200, np.inf, np.nan, 1e60):
        assert not objective.value(bad * objective.flat) < 1e100
        found, again = objective.value_and_grad(objective.flat)
        assert found == want
        assert np.array_equal(again, slopes)


@pytest.mark.parametrize(("method", "options"), [("L-BFGS-B", {"ftol": 0.0, "gtol": 1e-9}), ("BFGS", {"gtol": 1e-9})])
@pytest.mark.parametrize("seed", range(5))
def test_optimisers_of_scipy_reach_a_flat_place(seed, method, options):
    net, X, Y = draw([4, 5, 3], 30, rng=seed)
    objective = la.Objective(net, X, Y, loss="mse")
    found = scipy.optimize.minimize(**objective.scipy(), method=method, options={"maxiter": 5000, **options})
    # a line search sees no descent below the square root of the rounding of a loss of size one
    assert np.abs(objective.gradient(found.x)).max() < 4 * np.sqrt(U)
    least = np.mean((X @ np.linalg.lstsq(X, Y, rcond=None)[0] - Y) ** 2)
    assert found.fun == pytest.approx(least, rel=1e-8)


@pytest.mark.parametrize("seed", range(10))
def test_optimisers_of_scipy_see_the_excess_to_its_last_digit(seed):
    widths = [[4, 5, 3], [6, 4, 4, 2], [3, 8, 3], [5, 5, 5, 5], [10, 20, 5]][seed % 5]
    net, X, Y = draw(widths, 40, rng=seed)
    objective = la.Objective(net, X, Y, loss="mse")
    options = {"ftol": 0.0, "gtol": 1e-10, "maxiter": 20_000, "maxfun": 50_000}
    found = scipy.optimize.minimize(**objective.scipy(excess=True), method="L-BFGS-B", options=options)
    assert np.abs(objective.gradient(found.x)).max() <= 1e-10
    # SciPy's Newton-CG takes a curvature p.Hp of 3 eps for none, p being a gradient at first: it ends with the step that falls below
    found = scipy.optimize.minimize(**objective.scipy(excess=True, second=True), method="Newton-CG", options={"xtol": 1e-14})
    assert np.abs(objective.gradient(found.x)).max() < 2 * np.sqrt(3 * U)
    found = scipy.optimize.minimize(**objective.scipy(excess=True, second=True), method="trust-ncg", options={"gtol": 1e-10})
    assert np.abs(objective.gradient(found.x)).max() <= 1e-10


def test_products_with_the_hessian():
    net, X, Y = draw([4, 5, 3], 40)
    objective, r = la.Objective(net, X, Y, loss="mse"), np.random.default_rng(1)
    for _ in range(3):
        theta, v = objective.flat + 0.1 * r.standard_normal(objective.flat.size), r.standard_normal(objective.flat.size)
        want = la.hessian(objective.with_params(theta), X, Y, loss="mse") @ v
        for _ in range(2):
            assert np.array_equal(objective.hessian_product(theta, v), want)
        # a difference of gradients: off by the third derivative times the square of the step, and by rounding over it
        step = 1e-6
        slopes = [objective.gradient(theta + sign * step * v) for sign in (1, -1)]
        assert np.allclose(want, (slopes[0] - slopes[1]) / (2 * step), rtol=0, atol=1e-7)
    with pytest.raises(
        ValueError, match=r"^metric is 'matrix' but a Hessian is of the parameters; bind the objective with metric='parameters'$"
    ):
        la.Objective(net, X, Y, metric="matrix").hessian_product(theta, v)


def test_the_excess_is_the_loss_above_its_floor():
    net, X, Y = draw([4, 5, 3], 40)
    objective = la.Objective(net, X, Y)
    value, slopes = objective.value_and_grad(net.params)
    above, same = objective.excess_and_grad(net.params)
    least = np.sum((X @ np.linalg.lstsq(X, Y, rcond=None)[0] - Y) ** 2) / 2
    assert objective.floor == pytest.approx(least, rel=1e-12)
    assert above + objective.floor == value
    assert all(np.array_equal(a, b) for a, b in zip(slopes, same, strict=True))
    assert objective.value(net.params) == value
    assert la.Objective(net, X, Y, reduce="none").floor == 0.0


def test_the_rest_of_its_face():
    net, X, Y = draw([5, 4, 3])
    objective = la.Objective(net, X, Y)
    moved = objective.with_params(2 * objective.flat)
    assert all(np.array_equal(a, 2 * b) for a, b in zip(moved.params, net.params, strict=True))
    assert np.array_equal(objective.forward(X), net(X))
    assert np.array_equal(objective.forward(X, moved.params), moved(X))
    for twin in (pickle.loads(pickle.dumps(objective)), copy.copy(objective)):
        assert twin.value(net.params) == objective.value(net.params)
    assert repr(objective).startswith("Objective(Network(5-4-3, float64), squared loss, 5 rows, pivot ")


def test_a_second_thread_is_told_apart():
    net, _, _ = draw([3, 2])
    inside, go = threading.Event(), threading.Event()

    def wait(P):
        inside.set()
        go.wait(10)
        return 0.0, np.zeros_like(P)

    objective = la.Objective(net, None, loss=la.losses.EndToEnd(wait))
    other = threading.Thread(target=objective.value, args=(net.params,))
    other.start()
    assert inside.wait(10)
    with pytest.raises(RuntimeError, match="in use by another thread"):
        objective.value(net.params)
    go.set()
    other.join()
    assert objective.value(net.params) == 0.0


def test_one_object_a_thread():
    net, X, Y = draw([20, 30, 10], 50)
    want = la.Objective(net, X, Y).value_and_grad(la.Objective(net, X, Y).flat)
    found = []

    def work():
        own = la.Objective(net, X, Y)
        for _ in range(200):
            found.append(own.value_and_grad(own.flat))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 800
    assert all(value == want[0] and np.array_equal(slopes, want[1]) for value, slopes in found)


def test_bad_input_is_named():
    net, X, Y = draw([5, 4, 3])
    objective = la.Objective(net, X, Y)
    with pytest.raises(ValueError, match=r"params has shape \(3,\); a vector of 32 numbers was wanted"):
        objective.value(np.ones(3))
    with pytest.raises(ValueError, match="params has 1 arrays but the network has 2 layers"):
        objective.value([np.ones((4, 5))])
    with pytest.raises(ValueError, match=r"params\[1\] has shape \(4, 3\); \(3, 4\) was wanted"):
        objective.value([np.ones((4, 5)), np.ones((4, 3))])
    with pytest.raises(TypeError, match="params is float32 but"):
        objective.value(np.ones(32, dtype=np.float32))
    with pytest.raises(ValueError, match=r"out is shape \(3,\) and dtype float64; an array of shape \(32,\)"):
        objective.gradient(objective.flat, out=np.empty(3))
    frozen = np.empty(32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only or not C-contiguous"):
        objective.gradient(objective.flat, out=frozen)
    for options, match in [
        ({"metric": "theta"}, "metric"),
        ({"reduce": "auto"}, "reduce"),
        ({"threads": 0}, "threads"),
        ({"pivot": 9}, "pivot"),
    ]:
        with pytest.raises(ValueError, match=match):
            la.Objective(net, X, Y, **options)
