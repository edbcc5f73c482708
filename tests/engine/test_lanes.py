"""Networks side by side: every gradient within its bound, every rule as its twin, and no lane that depends on another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from linalign import optim, reference
from linalign.engine.lanes import UNFINISHED, Batch
from linalign.plan import lanes
from linalign.problem.problem import Problem, batched
from tests.oracles.checks import CONVERGED, DIVERGED, DTYPES, RUNNING, isas, make_case, use_isa

ISAS = [name for name in isas() if name in lanes.LONGEST]
SHAPES = [((5, 5, 5), 9), ((7, 6, 2), 3), ((2, 3, 11, 4), 6), ((3, 1, 6), 5), ((4, 9), 2), ((1, 1, 1, 1), 1), ((6, 13, 12), 7)]
NOTHING = np.empty(0, dtype=np.int64)
INF = np.inf

pytestmark = pytest.mark.skipif(not ISAS, reason="this processor has no vectors that are worth it")


def flat(params):
    return np.concatenate([theta.ravel() for theta in params])


def layers(row, shapes):
    ends = np.cumsum([a * b for a, b in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(row, ends[:-1]), shapes, strict=True)]


def batch(params, *, lr=0.01, decay=0.0, momentum=0.0, tol=-INF, limit=10, at=NOTHING, slots=0, losses=False, **scheduled):
    """Numbers are of all; arrays of each."""
    count, d = len(params), np.shape(lr)[-1] if np.ndim(lr) else 2
    spread = {"lr": lr, "decay": decay}
    both = {name: np.array(np.broadcast_to(value, (count, d)), dtype=np.float64, order="C") for name, value in spread.items()}
    one = {"momentum": momentum, "tol": tol}
    each = {name: np.array(np.broadcast_to(value, count), dtype=np.float64) for name, value in one.items()}
    return Batch(params=np.array(params, order="C"), **both, **each, limit=np.array(np.broadcast_to(limit, count), dtype=np.int64), at=at, slots=slots,
                 losses=losses, **scheduled)  # fmt: skip


def run(found, problem, layout, rule=None, law="descend"):
    for _ in found.slices(problem, layout, optim.SGD() if rule is None else rule, law):
        pass
    return found


def problems(loss, dtype):
    """Cases with dense data, a diagonal, or none, as reductions leave them."""
    for widths, n in SHAPES:
        case = make_case(widths, n, loss, dtype)
        yield case
        if loss == "squared":
            rng = np.random.default_rng(n)
            T = rng.standard_normal((widths[0], widths[-1])).astype(dtype)
            yield replace(case, problem=replace(case.problem, X=rng.uniform(0.5, 2, widths[0]).astype(dtype), T=T))
            yield replace(case, problem=replace(case.problem, X=None, T=T))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "loss", ["squared", "mse", "logistic", "logistic-sum", "cross_entropy-labels", "cross_entropy-probabilities", "cross_entropy-sum"]
)
@pytest.mark.parametrize("isa", ISAS)
def test_gradients_and_losses_are_within_their_bounds(isa, loss, dtype):
    with use_isa(isa):
        for case in problems(loss, dtype):
            problem = case.problem
            value, least, gradients, bounds = case.exact
            d, shapes = case.depth, [theta.shape for theta in problem.net.params]
            start = flat(problem.net.params)
            others = np.random.default_rng(1).standard_normal((lanes.width(problem.net.dtype) + 2, len(start))).astype(dtype)
            for layout in lanes.layouts(problem, 0):
                # a rate and a decay of 1 leave nothing but minus the gradient
                params = others.copy()
                params[[0, -1]] = start
                found = run(batch(params, lr=np.ones(d), decay=np.ones(d), limit=1, losses=True), problem, layout)
                for row in (found.params[0], found.params[-1]):
                    for W, G, bound in zip(layers(row, shapes), gradients, bounds, strict=True):
                        assert (np.abs(W + G) <= bound).all(), (layout, problem.net.widths)
                # sums of at most 25 squares are taken in the type of the network, all others in double
                assert abs(found.path[0, 0] - value) <= least + 26 * case.u * abs(value), layout
                assert found.path[0, 0] == found.path[-1, 0] == found.before[0]


RULES = {
    "descend": (optim.SGD(), {}),
    "heavy ball": (optim.SGD(0.5), {"momentum": 0.5}),
    "momentum": (optim.SGD(0.5, nesterov=True), {"momentum": 0.5}),
    "dampened": (optim.SGD(0.5, dampening=0.25), {"momentum": 0.5}),
    "adam": (optim.Adam(betas=(0.8, 0.9), eps=1e-3), {}),
    "adamw": (optim.AdamW(betas=(0.8, 0.9), eps=1e-3), {}),
    "rmsprop": (optim.RMSprop(alpha=0.8, eps=1e-3), {}),
    "rmsprop with momentum": (optim.RMSprop(alpha=0.8, eps=1e-3, momentum=0.5), {}),
    "centred": (optim.RMSprop(alpha=0.8, eps=1e-3, centered=True), {}),
    "centred with momentum": (optim.RMSprop(alpha=0.8, eps=1e-3, momentum=0.5, centered=True), {}),
    "adagrad": (optim.Adagrad(lr_decay=0.1, eps=1e-3, initial=0.01), {}),
    "sign": (optim.Sign(), {}),
    "sign of a mean": (optim.Sign(momentum=0.5), {}),
}
# by what a rounding of a gradient may grow within a rule that divides by a root: 0.1 / eps; v - m^2 is above v / 16 of 12 steps
DIVIDED = {
    "adam": 100,
    "adamw": 100,
    "rmsprop": 100,
    "rmsprop with momentum": 200,
    "centred": 1600,
    "centred with momentum": 3200,
    "adagrad": 100,
}


def small(dtype, count=11):
    """A stable problem: data and weights of norms of about one, so that an error of a step grows by less than 1 + 4 lr a step."""
    case = make_case((4, 6, 3), 8, "squared", dtype)
    X = case.problem.X / np.float32(8)
    problem = replace(case.problem, X=X, T=case.problem.T / np.float32(8))
    rng = np.random.default_rng(3)
    return problem, (rng.standard_normal((count, 4 * 6 + 6 * 3)) / 2).astype(dtype), [(6, 4), (3, 6)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "scheduled"), [*((name, False) for name in RULES), ("heavy ball", True), ("adam", True), ("sign", True)])
@pytest.mark.parametrize("isa", ISAS)
def test_rules_with_rates_and_decays_of_their_own_are_as_their_twins(isa, name, dtype, scheduled):
    rule, numbers = RULES[name]
    problem, params, shapes = small(dtype)
    law = lanes.law(rule, numbers.get("momentum", 0.0))
    count, steps = len(params), 3 if law == "sign" else 12
    rng = np.random.default_rng(4)
    lr, decay = rng.uniform(0.01, 0.1, (count, 2)), rng.uniform(0, 0.2, (count, 2))
    rates, given = np.broadcast_to(lr, (steps, count, 2)), {}
    if scheduled:
        schedule, table = rng.uniform(0, 0.1, (3, steps, 2)), rng.integers(0, 3, count)
        rates, given = schedule[table].swapaxes(0, 1), {"schedule": schedule, "table": table}
    with use_isa(isa):
        for layout in lanes.layouts(problem, rule.slots):
            found = run(
                batch(params, lr=lr, decay=decay, limit=steps, losses=True, slots=rule.slots, **numbers, **given),
                problem,
                layout,
                rule,
                law,
            )
            assert (found.steps == steps).all()
            assert (found.status == RUNNING).all()
            compared = 0
            for j in range(count):
                W, slots = [w.astype(np.float64) for w in layers(params[j], shapes)], None
                slots = rule.start(W)
                losses, least = [], np.inf
                for t in range(steps + 1):
                    value, G = reference.gradients(problem.net.layers, W, problem.X.astype(np.float64),
                                                   problem.loss.objective(problem.T.astype(np.float64), problem.factor))  # fmt: skip
                    losses.append(value)
                    if t < steps:
                        for i in range(2):
                            rule.update(W[i], G[i], slots.of(i), rates[t, j, i], decay[j, i], t + 1)
                            if law == "sign":
                                least = min(least, np.abs(slots.of(i)[0] if rule.slots else G[i]).min())
                # a step makes fewer than 60 roundings of numbers of size at most 4, and divides them by eps = 1e-3 at worst; 12 steps of
                # rates of at most 0.1 with derivatives below 4 let them grow by less than (1 + 0.4)^12 < 60
                bound = 60 * 60 * 4 * steps * np.finfo(dtype).eps * DIVIDED.get(name, 1)
                if law == "sign":
                    # where signs agree, what a step makes of them is the same
                    bound /= 60
                    if least < bound:
                        continue  # nobody can tell which it is
                compared += 1
                for mine, wanted in zip(layers(found.params[j], shapes), W, strict=True):
                    np.testing.assert_allclose(mine, wanted, rtol=0, atol=bound)
                np.testing.assert_allclose(found.path[j], losses, rtol=0, atol=bound * 4)
                for k, slot in enumerate(found.remembered):
                    for mine, wanted in zip(layers(slot[j], shapes), slots.arrays[k], strict=True):
                        np.testing.assert_allclose(mine, wanted, rtol=0, atol=bound)
            assert compared >= (1 if law == "sign" else count)


def test_the_twin_of_all_networks_at_once():
    problem, params, shapes = small(np.float64)
    count, rng = len(params), np.random.default_rng(5)
    lr, decay, momentum = rng.uniform(0.01, 0.1, (count, 2)), rng.uniform(0, 0.2, (count, 2)), rng.uniform(0, 0.9, count)
    found = run(batch(params, lr=lr, decay=decay, momentum=momentum, limit=12, losses=True), problem, lanes.layout(problem, 1),
                optim.SGD(0.5), "heavy ball")  # fmt: skip
    stacks = [np.array(stack) for stack in zip(*(layers(row, shapes) for row in params), strict=True)]
    objective = problem.loss.objective(problem.T, problem.factor)
    W, losses = reference.train_beside(stacks, problem.X, objective, 12, lr, momentum, decay)
    # as above
    bound = 60 * 60 * 4 * 12 * np.finfo(np.float64).eps
    np.testing.assert_allclose(found.path, losses, rtol=0, atol=4 * bound)
    np.testing.assert_allclose(found.params, np.concatenate([w.reshape(count, -1) for w in W], axis=1), rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_a_lane_does_not_depend_on_its_neighbours(name, dtype):
    rule, numbers = RULES[name]
    problem, params, _ = small(dtype, 37)
    law, layout = lanes.law(rule, numbers.get("momentum", 0.0)), lanes.layout(problem, rule.slots)
    rng = np.random.default_rng(6)
    start = run(batch(params, limit=0, slots=rule.slots, **numbers), problem, layout, rule, law).value
    given = {
        "lr": np.repeat(rng.choice([0.01, 0.1, 1e3], (37, 1)), 2, axis=1),
        "decay": rng.choice([0.0, 0.1], (37, 2)),
        "limit": rng.integers(0, 60, 37),
        "tol": np.where(rng.random(37) < 0.5, 0.98 * start, -INF),
        **numbers,
    }
    at = np.array([0, 1, 7, 30])
    whole = run(batch(params, **given, at=at, losses=True, slots=rule.slots), problem, layout, rule, law)
    # all ends are there: at the limit, at the start, below tol, beyond the finite numbers
    assert set(whole.status.tolist()) >= ({RUNNING, CONVERGED} | ({DIVERGED} if law in ("descend", "heavy ball", "momentum") else set()))
    for j in range(37):
        mine = {key: value[j : j + 1] if np.ndim(value) else value for key, value in given.items()}
        alone = run(batch(params[j : j + 1], **mine, at=at, losses=True, slots=rule.slots), problem, layout, rule, law)
        n, kept = int(alone.steps[0]), int(alone.taken[0])
        for field in ("params", "value", "before", "steps", "status", "taken"):
            np.testing.assert_array_equal(getattr(whole, field)[j], getattr(alone, field)[0])
        np.testing.assert_array_equal(whole.path[j, : n + 1], alone.path[0, : n + 1])
        assert kept == np.count_nonzero(at < n) if alone.status[0] != RUNNING or n else kept == 0
        np.testing.assert_array_equal(whole.kept[j, :kept], alone.kept[0, :kept])
        np.testing.assert_array_equal(whole.kept_value[j, :kept], whole.path[j, at[:kept]])
        if alone.status[0] == CONVERGED:
            assert whole.path[j, n] <= given["tol"][j]
            assert (whole.path[j, :n] > given["tol"][j]).all()
        if alone.status[0] == DIVERGED:
            assert not np.isfinite(whole.value[j])
            assert np.isfinite(whole.path[j, :n]).all()
            assert whole.before[j] == whole.path[j, n - 1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["mse", "logistic", "cross_entropy-labels"])
@pytest.mark.parametrize("isa", ISAS)
def test_a_step_on_a_batch_is_one_on_its_rows(isa, loss, dtype):
    with use_isa(isa):
        for widths, n in SHAPES:
            problem = make_case(widths, n, loss, dtype).problem
            rng, d, most = np.random.default_rng(n), len(widths) - 1, min(n, 4)
            count = lanes.width(problem.net.dtype) + 3
            params = rng.standard_normal((count, problem.net.size)).astype(dtype)
            order = rng.integers(0, n, (count, 1, most)).astype(np.int32)
            counts = rng.integers(1, most + 1, (count, 1)).astype(np.int32)
            drawn = rng.integers(0, count, count)
            for given in (drawn, np.zeros(count, dtype=np.int64)):  # rows of each, and the same for all
                seen = batched(problem, most, True)
                found = run(batch(params, lr=np.full(d, 0.1), limit=1, losses=True, order=order, counts=counts, drawn=given), seen,
                            lanes.layout(seen, 0))  # fmt: skip
                for j in range(count):
                    rows = order[given[j], 0, : counts[given[j], 0]]
                    alone = Problem(problem.net, problem.X[rows], problem.T[rows], problem.loss,
                                    problem.loss.factor(len(rows), widths[-1]))  # fmt: skip
                    first = lanes.layouts(alone, 0)[2]
                    wanted = run(batch(params[j : j + 1], lr=np.full(d, 0.1), limit=1, losses=True), alone, first)
                    # rows that are not there add zeros
                    np.testing.assert_array_equal(found.params[j], wanted.params[0])
                    # the sum of squares is taken tile by tile there
                    assert found.path[j, 0] == pytest.approx(wanted.path[0, 0], rel=26 * float(np.finfo(dtype).eps))


def test_stopped_between_slices():
    problem, params, _ = small(np.float64)
    found = batch(params, limit=np.array([5] + [10**9] * 10))
    stop = [False]
    for _ in found.slices(problem, lanes.layout(problem, 0), optim.SGD(), "descend", stop):
        stop[0] = True
    assert found.status[0] == RUNNING
    assert (found.status[1:] == UNFINISHED).all()
    assert found.seconds > 0


def test_every_slice_goes_on_where_the_last_one_ended():
    problem, params, _ = small(np.float64)
    whole = run(batch(params, limit=100), problem, lanes.layout(problem, 0))
    tiny = replace(lanes.layout(problem, 0), nanoseconds=1e9)
    # slices of a step, then of two, and so on
    parts = run(batch(params, limit=100), problem, tiny)
    np.testing.assert_array_equal(parts.params, whole.params)
    np.testing.assert_array_equal(parts.value, whole.value)


def test_what_is_refused():
    with use_isa("base"):
        assert lanes.width(np.dtype(np.float64)) == 1
        problem, params, _ = small(np.float64)
        with pytest.raises(ValueError, match="cannot be run side by side"):
            run(batch(params), problem, lanes.layout(problem, 0))
    assert lanes.law(optim.SAM(), 0.0) is None
    assert lanes.law(optim.Adam(eps=0.0), 0.0) is None
    # without momentum there is nothing to be dampened
    assert lanes.law(optim.SGD(dampening=0.5), 0.0) == "descend"


def test_targets_of_a_product_lie_as_it_does():
    # the transposed problem from the other end is the same, to the bit
    case = make_case((3, 5, 4), 3, "factorisation")
    problem = case.problem
    turned = Problem(type(problem.net).dense((4, 5, 3), [W.T.copy() for W in problem.net.params[::-1]]), None,
                     np.ascontiguousarray(problem.T.T), problem.loss, problem.factor)  # fmt: skip
    first, other = lanes.layouts(problem, 0)[0], lanes.layouts(turned, 0)[1]
    assert (first.widths, first.turned, other.widths, other.turned) == ((3, 5, 4), False, (3, 5, 4), True)
    mine = run(batch(flat(problem.net.params)[None], limit=20), problem, first)
    its = run(batch(flat(turned.net.params)[None], limit=20), turned, other)
    assert mine.value[0] == its.value[0]
    shapes = [(5, 3), (4, 5)]
    for W, V in zip(layers(mine.params[0], shapes), layers(its.params[0], [(5, 4), (3, 5)])[::-1], strict=True):
        np.testing.assert_array_equal(W, V.T)
