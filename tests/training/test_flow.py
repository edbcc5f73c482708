"""Gradient flow: closed forms, SciPy's integrator on gradients in plain NumPy, conserved quantities, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.integrate

import linalign as la
from linalign import reference
from linalign.engine.engines import simultaneous
from linalign.engine.flow import FlowEngine, following
from linalign.engine.steps import InKernel, InNumpy, Tolerances, method_of
from linalign.plan import cost
from linalign.problem.problem import make_problem
from linalign.reduce.biases import homogeneous


def plainly(net, X, Y, times, loss="squared", metric="parameters", weight_decay=0.0):
    """The parameters at each time: DOP853 at 1e-12 on backpropagation in NumPy, without any reduction."""
    problem = homogeneous(make_problem(net, X, Y, loss))
    objective = problem.loss.objective(problem.T, problem.factor)
    layers, shapes = problem.net.layers, [theta.shape for theta in net.params]
    ends = np.cumsum([theta.size for theta in net.params])[:-1]

    def slope(t, flat):
        params = [part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True)]
        decay = np.broadcast_to(weight_decay, len(layers))
        return np.concatenate([g.ravel() for g in reference.slope(layers, params, problem.X, objective, decay, metric)])

    start = np.concatenate([theta.ravel() for theta in net.params])
    found = scipy.integrate.solve_ivp(slope, (0, times[-1]), start, method="DOP853", rtol=1e-12, atol=1e-13, t_eval=times)
    assert found.success
    return found.y.T


# neither orthogonal nor of one length
BASIS = np.random.default_rng(1).standard_normal((4, 5, 5)) / 3
NETWORKS = {
    "dense": ([la.Dense(5, 4), la.Dense(4, 3)], {}),
    "unreduced": ([la.Dense(5, 4), la.Dense(4, 3)], {"reduce": "none"}),
    "wide": ([la.Dense(12, 30), la.Dense(30, 3)], {"reduce": ["samples", "inputs", "width"]}),
    "three layers": ([la.Dense(5, 6), la.Dense(6, 4), la.Dense(4, 3)], {}),
    "biases": ([la.Dense(5, 4, bias=True), la.Dense(4, 3, bias=True)], {}),
    "convolution": ([la.Conv1d(5, 3), la.Dense(5, 3)], {}),
    "convolution, matrix": ([la.Conv1d(5, 3), la.Dense(5, 3)], {"metric": "matrix"}),
    "other method": ([la.Dense(5, 4), la.Dense(4, 3)], {"method": "RK45"}),
    "decay": ([la.Dense(12, 30), la.Dense(30, 3)], {"weight_decay": 0.3, "reduce": ["samples", "inputs", "width"]}),
    "decay, unreduced": ([la.Dense(5, 4), la.Dense(4, 3)], {"weight_decay": [0.3, 0.1], "reduce": "none"}),
    "basis, matrix": ([la.Subspace(BASIS), la.Dense(5, 3)], {"metric": "matrix", "weight_decay": 0.1}),
    "decay, matrix": ([la.Conv1d(5, 3), la.Dense(5, 3)], {"weight_decay": [0.2, 0.1], "metric": "matrix"}),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("loss", ["squared", "logistic", "cross_entropy"])
def test_the_flow_is_scipys_on_plain_gradients(loss, name):
    layers, options = NETWORKS[name]
    rng = np.random.default_rng(0)
    net = la.Network(layers).init("gaussian", rng=rng, scale=0.3)
    n = 8
    X = rng.standard_normal((n, net.widths[0])) / 3
    Y = {"squared": rng.standard_normal((n, 3)), "logistic": rng.choice([-1.0, 1.0], (n, 3)), "cross_entropy": rng.integers(0, 3, n)}[loss]
    times = np.array([0.0, 0.7, 2.0, 5.0])
    want = plainly(net, X, Y, times, loss, options.get("metric", "parameters"), options.get("weight_decay", 0.0))
    found = la.flow(net, X, Y, times=times, loss=loss, rtol=1e-11, record={"params": 1}, **options)
    assert found.end == "done"
    assert np.array_equal(found.times, times)
    # the error of a step is 1e-11 of the parameters; the flow contracts or grows by little up to here
    assert np.abs(found.history["params"].values - want).max() <= 1e-9 * max(1.0, np.abs(want).max())
    flat = np.concatenate([theta.ravel() for theta in found.network.params])
    assert np.abs(flat - want[-1]).max() <= 1e-9 * max(1.0, np.abs(want).max())
    for j, row in enumerate(want):
        parts = np.split(row, np.cumsum([theta.size for theta in net.params])[:-1])
        here = net.with_params([part.reshape(theta.shape) for part, theta in zip(parts, net.params, strict=True)])
        assert found.loss[j] == pytest.approx(la.value_and_grad(here, X, Y, loss=loss)[0], rel=1e-8)
    if np.ndim(options.get("weight_decay", 0.0)):
        assert np.isnan(found.drift).all()
    elif name != "biases":
        assert found.drift.max() <= 1e-8


@pytest.mark.parametrize(
    ("a", "b", "q"), [(0.1, 0.1, 1.0), (0.5, -0.2, 2.0), (0.3, 0.0, -1.0), (-0.4, 0.1, 0.0), (0.3, -0.3, 1.0), (1e-4, 3e-4, 3.0)]
)
def test_one_mode_of_two_layers(a, b, q):
    times = np.linspace(0, 4, 9)
    net = la.Network.from_matrices([[[a]], [[b]]])
    # X' X = 2
    found = la.flow(net, [[1.0], [1.0]], [[q], [q]], times=times, rtol=1e-11, record={"params": 1})
    first, second = la.theory.flow.two_layers(a, b, q, 2.0, times)
    want = np.stack([first, second], axis=1)
    assert np.abs(found.history["params"].values - want).max() <= 1e-8


@pytest.mark.parametrize("depth", [2, 3, 4, 6])
def test_the_time_of_a_balanced_mode(depth):
    start, q, rate = 0.05, 2.0, 1.5
    net = la.Network.from_matrices([[[start ** (1 / depth)]]] * depth)
    values = np.array([0.1, 0.5, 1.0, 1.9])
    times = la.theory.flow.balanced_time(depth, start, values, q, rate)
    found = la.flow(net, [[np.sqrt(rate)]], [[np.sqrt(rate) * q]], times=times, rtol=1e-11, record={"singular_values": 1})
    assert found.history["singular_values"].values.ravel() == pytest.approx(values, rel=1e-8)


def test_descent_is_first_order_in_the_learning_rate():
    rng = np.random.default_rng(0)
    net = la.Network.dense([4, 5, 3]).init("gaussian", rng=rng, scale=0.5)
    X, Y = rng.standard_normal((10, 4)) / 3, rng.standard_normal((10, 3))
    flow = la.flow(net, X, Y, times=[2.0], rtol=1e-12).network.matrix()
    errors = [np.linalg.norm(la.train(net, X, Y, lr=2.0 / n, steps=n).network.matrix() - flow) for n in (200, 400, 800)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.abs(orders - 1).max() < 0.02


def test_ends():
    rng = np.random.default_rng(0)
    net = la.Network.dense([4, 5, 3]).init("gaussian", rng=rng, scale=0.5)
    X, Y = rng.standard_normal((10, 4)), rng.standard_normal((10, 3))
    times = np.linspace(0, 1000, 1001)
    found = la.flow(net, X, Y, times=times, steady=1e-5)
    assert found.end == "steady"
    assert len(found.times) < 1001
    assert len(found.loss) == len(found.times)
    _, grads = la.value_and_grad(found.network, X, Y)
    assert np.sqrt(sum(np.sum(g**2) for g in grads)) <= 1.1e-5
    found = la.flow(net, X, Y, times=times, stop=lambda network, t: t >= 3)
    assert (found.end, found.times[-1]) == ("stopped", 3.0)
    with pytest.warns(RuntimeWarning, match="max_steps is 5 but"):
        found = la.flow(net, X, Y, times=times, max_steps=5)
    assert (found.end, found.steps) == ("gave up", 5)
    assert "gave up" in repr(found)
    # beyond the finite numbers: the exponential loss of a product that grows without bound does not, a start that overflows does
    with np.errstate(all="ignore"):
        found = la.flow(net.with_params([theta * 1e200 for theta in net.params]), X, Y, times=[0.0, 1.0])
    assert found.end == "diverged"


def test_a_slope_that_cannot_get_so_small_is_said():
    net = la.Network.from_matrices([[[0.5]], [[1.0]]])
    with pytest.warns(
        RuntimeWarning, match=r"^steady is 1e-30 but steps with rtol=1e-08 may leave a slope of .*; pass a smaller rtol, or steady="
    ):
        found = la.flow(net, [[1.0]], [[1.0]], times=[0.0, 200.0], steady=1e-30)
    assert found.end == "done"
    # far from a minimum there is nothing to say
    assert la.flow(net, [[1.0]], [[1.0]], times=[0.0, 0.1], steady=1e-30).end == "done"


def test_decay_takes_what_no_gradient_meets():
    rng = np.random.default_rng(3)
    net = la.Network.dense([6, 4, 2]).init("gaussian", rng=rng)
    X, Y = rng.standard_normal((3, 6)), rng.standard_normal((3, 2))
    found = la.flow(net, X, Y, times=[0.0, 1.5], weight_decay=[0.4, 0.4], rtol=1e-10, reduce=["inputs"])
    outside = np.linalg.svd(X)[2][3:]
    np.testing.assert_allclose(found.network.params[0] @ outside.T, np.exp(-0.6) * net.params[0] @ outside.T, rtol=1e-12)
    # the norms' difference decays twice as fast (T15.2)
    assert found.drift.max() < 1e-8
    assert np.isnan(la.flow(net, X, Y, times=[0.0, 1.5], weight_decay=[0.4, 0.1]).drift).all()
    with pytest.raises(ValueError, match=re.escape("weight_decay")):
        la.flow(net, X, Y, times=[1.0], weight_decay=-1)


def test_what_a_loss_raises_is_raised():
    def broken(P):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        la.flow(la.Network.dense([2, 2]).init("gaussian", rng=0), None, loss=la.losses.EndToEnd(broken), times=[1.0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"times": []}, ValueError, "times has shape (0,); a vector of times was wanted, such as np.linspace(0, 10, 101)"),
        ({"times": [0, 2, 1]}, ValueError, "times[2] is 1 after 2; times must be ascending"),
        ({"times": [-1.0]}, ValueError, "times[0] is -1; the flow begins at time 0"),
        ({"times": [0, np.nan]}, ValueError, "times[1] is nan"),
        ({"method": "Euler"}, ValueError, "method is 'Euler'; one of 'DOP853', 'RK45' was wanted"),
        ({"rtol": 0.0}, ValueError, "rtol is 0.0; it must be greater than 0"),
        ({"metric": "L2"}, ValueError, "metric is 'L2'"),
        ({"reduce": ["split"]}, ValueError, "reduce has 'split', whose parts would have steps of their own; leave it out"),
        ({"stop": 3}, TypeError, "stop is int; a function of the network was wanted"),
        ({"max_steps": 0}, ValueError, "max_steps is 0; a whole number of at least 1 was wanted"),
    ],
)
def test_refusals(options, error, message):
    net = la.Network.dense([2, 2]).init("gaussian", rng=0)
    with pytest.raises(error, match="^" + re.escape(message)):
        la.flow(net, np.eye(2), np.eye(2), **{"times": [1.0], **options})
    with pytest.raises(TypeError, match="tolerances of a flow need float64"):
        la.flow(net.astype(np.float32), np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), times=[1.0])


def test_refusals_of_the_closed_forms():
    with pytest.raises(ValueError, match=re.escape("times holds -1; the flow begins at time 0")):
        la.theory.flow.two_layers(1.0, 1.0, 1.0, 1.0, [-1.0])
    with pytest.raises(ValueError, match="value holds 3; numbers from start, 0.1, up to but not the target, 2, were wanted"):
        la.theory.flow.balanced_time(3, 0.1, [3.0], 2.0, 1.0)


def engines(net, X, Y, loss="squared", metric="parameters", weight_decay=0.0, count=2):
    """Some engines of one flow, unreduced."""
    problem = homogeneous(make_problem(net, X, Y, loss))
    pivot = cost.choose(problem, simultaneous(net.depth, metric))[0]
    decay = np.broadcast_to(np.asarray(weight_decay, dtype=float), (net.depth,))
    return [FlowEngine(problem, following(net.depth, metric, decay), pivot) for _ in range(count)]


@pytest.mark.parametrize("method", ["DOP853", "RK45"])
@pytest.mark.parametrize("rtol", [1e-4, 1e-9])
def test_steps_of_layers_of_one_parameter_are_scipys(method, rtol):
    """Norms of layers are then sizes of entries: the same first step, steps, states and dense output."""
    net = la.Network.from_matrices([[[0.7]], [[-0.2]], [[0.5]]])
    mine, other = engines(net, [[1.0], [0.5]], [[2.0], [1.0]])
    ours = mine.solver(method, 10.0, rtol, rtol)
    theirs = getattr(scipy.integrate, method)(other.slope, 0.0, other.start, 10.0, rtol=rtol, atol=rtol)
    assert isinstance(ours, InKernel)
    assert ours.length == pytest.approx(theirs.h_abs, rel=1e-12)
    # later the estimate of the error is itself a rounding error
    while theirs.t < 2:
        assert ours.advance(np.inf, 1, -1.0) == ("steps", 1)
        theirs.step()
        # the error of a step, some rtol, is a difference of numbers of size one: its rounding over rtol is that of a step, and adds up
        assert ours.t == pytest.approx(theirs.t, rel=1e-4)
        inside, want = ours.dense(), theirs.dense_output()
        for share in (0.01, 0.3, 0.9, 0.99):
            t = theirs.t_old + share * (theirs.t - theirs.t_old)
            assert np.abs(inside(t) - want(t)).max() <= 1e-8
    assert mine.evaluations == other.evaluations


KINDS = {
    "dense": (lambda: la.Network.dense([5, 6, 4, 3]), {}),
    "padded": (lambda: la.Network.dense([5, 17, 3]), {"weight_decay": [0.2, 0.0]}),
    "biases": (lambda: la.Network([la.Dense(5, 4, bias=True), la.Dense(4, 3, bias=True)]), {}),
    "convolution": (lambda: la.Network([la.Conv1d(5, 3), la.Dense(5, 3)]), {"metric": "matrix", "weight_decay": 0.1}),
    "toeplitz": (lambda: la.Network([la.Toeplitz(5, 4), la.Dense(4, 3)]), {"metric": "matrix"}),
    "nothing to train": (lambda: la.Network([la.Fixed(np.eye(5)[:4]), la.Dense(4, 3)]), {}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["DOP853", "RK45"])
def test_steps_in_the_kernel_are_those_in_numpy(method, kind):
    """The same control of the step by the norms of layers, what is outside and decays among them."""
    make, options = KINDS[kind]
    rng = np.random.default_rng(0)
    net = make().init("gaussian", rng=rng, scale=0.5)
    X, Y = rng.standard_normal((9, 5)) / 3, rng.standard_normal((9, 3))
    mine, other = engines(net, X, Y, **options)
    here = mine.squares(mine.split(mine.start))
    ours = mine.solver(method, 10.0, 1e-7, 1e-8, here + 0.3)
    counted = here > 0
    decay = np.broadcast_to(options.get("weight_decay", 0.0), (net.depth,))
    tolerances = Tolerances(1e-7, 1e-8, np.full(counted.sum(), 0.3), np.asarray(decay)[counted])
    theirs = InNumpy(
        other.slope, lambda flat: other.squares(other.split(flat))[counted], other.start, method_of(method), 10.0, tolerances
    )  # fmt: skip
    assert isinstance(ours, InKernel)
    assert ours.length == pytest.approx(theirs.length, rel=1e-10)
    for _ in range(15):
        assert ours.advance(10.0, 1, -1.0) == theirs.advance(10.0, 1, -1.0)
        # rounding over rtol, as above
        assert ours.t == pytest.approx(theirs.t, rel=1e-5)
        t = theirs.t - 0.4 * theirs._span
        assert np.abs(ours.dense()(t) - theirs.dense()(t)).max() <= 1e-6
        if theirs.t == 10:
            break
    assert mine.evaluations == other.evaluations


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_a_reduced_flow_takes_the_steps_of_the_whole_one(loss):
    """T15.6: the errors of layers are those of what is run, and what is not run is in their norms."""
    rng = np.random.default_rng(0)
    net = la.Network.dense([40, 60, 50, 3]).init("gaussian", rng=rng, scale=0.5)
    X, Y = rng.standard_normal((4, 40)) / 5, rng.standard_normal((4, 3))
    Y = np.sign(Y) if loss == "logistic" else Y
    for method in ("DOP853", "RK45"):
        found = la.flow(net, X, Y, times=[0.0, 1.0, 4.0], loss=loss, reduce=["samples", "inputs", "width"], method=method)
        whole = la.flow(net, X, Y, times=[0.0, 1.0, 4.0], loss=loss, reduce="none", method=method)
        assert "width     not used" not in str(found.plan)
        assert (found.steps, found.evaluations) == (whole.steps, whole.evaluations)
        # the lengths of the steps are the same but for rounding over rtol
        assert found.loss == pytest.approx(whole.loss, rel=1e-8)


def test_the_number_of_steps_does_not_grow_with_width():
    """The same flow in wider layers: units that are copies of others, times orthogonal matrices, in place of one each."""
    rng = np.random.default_rng(0)
    W = [rng.standard_normal((4, 5)) / 2, rng.standard_normal((3, 4)) / 2]
    X, Y = rng.standard_normal((9, 5)) / 3, rng.standard_normal((9, 3))
    Q = np.linalg.qr(rng.standard_normal((64, 4)))[0]
    few, many = (
        la.flow(la.Network.from_matrices(Ws), X, Y, times=[5.0], reduce="none") for Ws in (W, [Q @ W[0], W[1] @ Q.T])
    )  # fmt: skip
    assert (few.steps, few.evaluations) == (many.steps, many.evaluations)


def test_a_slope_that_leaves_the_finite_numbers_shortens_the_step():
    net = la.Network.from_matrices([[[1.0]], [[1.0]]])
    engine, other = engines(net, [[1.0]], [[-1.0]], "exponential")
    # a tolerance that accepts whatever is finite: each step is ten times the one before, until the exponential overflows
    solver = engine.solver("DOP853", 1e6, 1e-8, 1e300)
    taken = 0
    while engine.evaluations <= 2 + 12 * taken:
        assert solver.advance(np.inf, 1, -1.0) == ("steps", 1)
        taken += 1
    assert taken < 20
    assert np.isfinite(solver.state()).all()
    # with one that does not, the flow
    solver = engine.solver("DOP853", 10.0, 1e-8, 1e-8)
    assert solver.advance(10.0, 10_000, -1.0)[0] == "reached"
    plain = scipy.integrate.solve_ivp(other.slope, (0, 10.0), other.start, method="DOP853", rtol=1e-10, atol=1e-10)
    assert np.abs(solver.state() - plain.y[:, -1]).max() <= 1e-6


def test_a_flow_that_gives_up_says_where_and_keeps_what_was_done():
    net = la.Network.from_matrices([[[0.5]], [[1.0]]])
    with pytest.warns(
        RuntimeWarning,
        match=r"^max_steps is 200 but times\[1\] is 1e\+06, and the flow is at .*, with steps of .* and a slope of .*; "
        "pass steady= to end at a steady state, or a larger max_steps$",
    ):
        found = la.flow(net, [[1.0]], [[1.0]], times=[0.0, 1e6], max_steps=200)
    assert (found.end, found.steps, list(found.times)) == ("gave up", 200, [0.0])
    # steps near the minimum are some two over the curvature, a^2 + b^2
    assert 100 < found.time < 1000
    assert found.network.matrix()[0, 0] == pytest.approx(1.0, abs=1e-6)
    assert f"Flow(to t = {found.time:.6g}, loss 0.125 -> 0.125 at 0, gave up, " in repr(found)
    ended = la.flow(net, [[1.0]], [[1.0]], times=[1e6], steady=1e-5)
    assert (ended.end, len(ended.times)) == ("steady", 0)
    assert 0 < ended.time < 100
    assert repr(ended).startswith(f"Flow(to t = {ended.time:.6g}, steady, ")


def test_a_loss_in_python_is_followed_and_may_raise():
    calls = []

    def loss(P):
        calls.append(1)
        if len(calls) > 200:
            raise RuntimeError("enough")
        return float(np.sum((P - 2) ** 2)), 2 * (P - 2)

    net = la.Network.from_matrices([[[0.5]], [[0.5]]])
    found = la.flow(net, None, times=[0, 0.5], loss=la.losses.EndToEnd(loss), rtol=1e-6)
    assert found.evaluations > 10
    calls[:] = [1] * 195
    with pytest.raises(RuntimeError, match="enough"):
        la.flow(net, None, times=[0, 50.0], loss=la.losses.EndToEnd(loss), rtol=1e-6)
