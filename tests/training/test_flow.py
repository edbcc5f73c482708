"""Gradient flow: closed forms, SciPy's integrator on gradients in plain NumPy, conserved quantities, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.integrate

import linalign as la
from linalign import reference
from linalign.engine.engines import simultaneous
from linalign.engine.flow import Compiled, FlowEngine
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
    found = la.flow(net, X, Y, times=times, steady=1e-6)
    assert found.end == "steady"
    assert len(found.times) < 1001
    assert len(found.loss) == len(found.times)
    _, grads = la.value_and_grad(found.network, X, Y)
    assert np.sqrt(sum(np.sum(g**2) for g in grads)) <= 1.1e-6
    found = la.flow(net, X, Y, times=times, stop=lambda network, t: t >= 3)
    assert (found.end, found.times[-1]) == ("stopped", 3.0)
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


@pytest.mark.parametrize("method", ["DOP853", "RK45"])
@pytest.mark.parametrize("rtol", [1e-4, 1e-9])
def test_steps_in_the_kernel_are_scipys(method, rtol):
    """The same coefficients and the same control of the step: states and dense output to rounding, which the flow carries along."""
    rng = np.random.default_rng(0)
    net = la.Network.dense([5, 6, 4, 3]).init("gaussian", rng=rng, scale=0.5)
    X, Y = rng.standard_normal((9, 5)) / 3, rng.standard_normal((9, 3))
    problem = make_problem(net, X, Y, "squared")
    descent = simultaneous(3)
    pivot = cost.choose(problem, descent)[0]
    mine, other = FlowEngine(problem, descent, pivot), FlowEngine(problem, descent, pivot)
    ours = mine.solver(method, 10.0, rtol, rtol)
    theirs = getattr(scipy.integrate, method)(other.slope, 0.0, other.start, 10.0, rtol=rtol, atol=rtol)
    assert isinstance(ours, Compiled)
    for _ in range(25):
        assert ours.advance(np.inf, 1, -1.0) == ("steps", 1)
        theirs.step()
        # the error of a step, some rtol, is a difference of numbers of size one: its rounding, over rtol, is that of the step's length
        assert ours.t == pytest.approx(theirs.t, rel=1e-6)
        inside, want = ours.dense(), theirs.dense_output()
        for share in (0.01, 0.3, 0.9, 0.99):
            t = theirs.t_old + share * (theirs.t - theirs.t_old)
            assert np.abs(inside(t) - want(t)).max() <= 1e-8
    assert mine.evaluations == pytest.approx(other.evaluations, abs=3)


def test_a_slope_that_leaves_the_finite_numbers_shortens_the_step():
    net = la.Network.from_matrices([[[1.0]], [[1.0]]])
    descent = simultaneous(2)
    problem = make_problem(net, [[1.0]], [[-1.0]], "exponential")
    pivot = cost.choose(problem, descent)[0]
    engine = FlowEngine(problem, descent, pivot)
    solver = engine.solver("DOP853", 10.0, 1e-8, 1e-8)
    # so long a step that the exponential overflows
    solver._stepper = engine.stepper(*_again(solver, engine, 1e300))
    why, taken = solver.advance(1e-3, 10_000, -1.0)
    assert why == "reached"
    assert taken > 0
    plain = scipy.integrate.solve_ivp(engine.slope, (0, solver.t), engine.start, method="DOP853", rtol=1e-10, atol=1e-10)
    assert np.abs(solver.state() - plain.y[:, -1]).max() <= 1e-6


def _again(solver, engine, length):
    """The arguments of the stepper, with another first step."""
    begun = solver._method
    kind, stages = type(begun), begun.n_stages
    A = np.zeros((stages + 3, stages + 4))
    A[: stages - 1, : kind.A.shape[1]], A[stages - 1, :stages], A[stages:] = kind.A[1:], kind.B, kind.A_EXTRA
    return A, np.array([kind.E5, kind.E3]), stages, 3, 7.0, engine.start, begun.f, length, 1e-8, 1e-8


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
