"""Every rule, schedule, order of the rows and loss against torch, or papers' formulas in torch: a thousand steps, on layers of all kinds."""

from itertools import combinations

import numpy as np
import pytest

import linalign as la
from linalign import optim
from tests import required
from tests.oracles.descents import (
    LOSSES,
    NETWORKS,
    OF_PRODUCT,
    RULES,
    SCHEDULES,
    data,
    dense,
    drawn,
    in_torch,
    one_thread,
    torch,
)  # fmt: skip

pytestmark = pytest.mark.oracle

STEPS = 1000
# roundings of a thousand steps, each relative to the largest weight; the runs are stable, so that they add up and are not magnified
TOLERANCE = 1e-9
ORDERS = ("all", "shuffle", "replacement", "table")


def cases():
    """Each rule with each loss; nets, schedules and orders go round, so that each meets all the others."""
    found = []
    for i, rule in enumerate(RULES):
        for j, loss in enumerate([*LOSSES, *OF_PRODUCT]):
            net = list(NETWORKS)[(i + j) % 3]
            schedule = list(SCHEDULES)[(3 * i + 5 * j) % len(SCHEDULES)]
            order = "all" if loss in OF_PRODUCT else ORDERS[(i + j // 2) % 4]
            found.append((rule, loss, net, schedule, order))
    return found


def test_every_two_meet():
    # rules, losses, networks, schedules and orders; a loss of the product has no rows
    names = [list(RULES), [*LOSSES, *OF_PRODUCT], list(NETWORKS), list(SCHEDULES), list(ORDERS)]
    for a, b in combinations(range(5), 2):
        met = {(case[a], case[b]) for case in cases()}
        wanted = {(x, y) for x in names[a] for y in names[b] if not (x in OF_PRODUCT and y in ORDERS[1:])}
        assert not wanted - met


def same(run, params, losses):
    scale = max(float(np.abs(theta).max()) for theta in params)
    for got, want in zip(run.network.params, params, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE * scale)
    np.testing.assert_allclose(run.loss, losses, rtol=TOLERANCE, atol=TOLERANCE * losses[0])


@pytest.mark.parametrize(("rule", "loss", "net", "schedule", "order"), cases())
def test_a_thousand_steps_of_torch(rule, loss, net, schedule, order):
    options, make, lr = RULES[rule]
    rate, scheduler = SCHEDULES[schedule]
    start = NETWORKS[net](1)
    if loss in OF_PRODUCT:
        ours, theirs = OF_PRODUCT[loss](np.random.default_rng(5))
        X, Y = None, None
    else:
        ours, theirs, (X, Y) = loss, loss, data(loss)
    rows, how = None, {}
    if order == "table":
        rows = np.random.default_rng(4).integers(12, size=(STEPS, 4))
        how = {"order": rows}
    elif order != "all":
        rows, how = drawn(len(X), 5, order, 7, STEPS), {"batch": 5, "order": order, "rng": 7}
    run = la.train(start, X, Y, loss=ours, lr=rate(lr), steps=STEPS, metric="parameters", **how, **options)
    same(run, *in_torch(start, X, Y, theirs, lambda p: make(p, lr), STEPS, scheduler, rows))


@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_muon_is_that_of_torch_without_its_bfloat16(adjust, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())
    start, (X, Y) = dense(1), data("mse")
    run = la.train(start, X, Y, loss="mse", lr=1e-3, steps=STEPS, optimizer=optim.Muon(adjust_lr=adjust))
    same(run, *in_torch(start, X, Y, "mse", lambda p: torch.optim.Muon(p, lr=1e-3, adjust_lr_fn=adjust), STEPS))


@pytest.mark.parametrize("rule", ["sgd", "adam", "sign-momentum", "normalized_gd"])
def test_clipping_is_that_of_torch(rule):
    options, make, lr = RULES[rule]
    start, (X, Y) = dense(4), data("squared")
    run = la.train(start, X, Y, lr=lr, steps=STEPS, clip_norm=0.7, **options)
    same(run, *in_torch(start, X, Y, "squared", lambda p: make(p, lr), clip=0.7))


def test_the_mean_of_the_weights_is_that_of_torch():
    start, (X, Y) = dense(5), data("mse")
    run = la.train(start, X, Y, loss="mse", lr=0.01, steps=STEPS, optimizer="adam", average=0.95)
    params = [torch.tensor(theta.copy(), requires_grad=True) for theta in start.params]
    holder = torch.nn.ParameterList(params)
    mean = torch.optim.swa_utils.AveragedModel(holder, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.95))
    optimiser = torch.optim.Adam(holder.parameters(), 0.01)
    with one_thread():
        for _ in range(STEPS):
            optimiser.zero_grad()
            F = torch.tensor(X)
            for theta in holder:
                F = F @ theta.T
            LOSSES["mse"](F, torch.tensor(Y)).backward()
            optimiser.step()
            mean.update_parameters(holder)
    for got, want in zip(run.average.params, mean.module, strict=True):
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["sign", "normalized_gd", "sam"])
def test_a_thousand_steps_of_optax(name):
    # what torch has not, by a program that nobody here wrote; its loop is compiled, which takes a second
    optax = required.oracle("optax")
    jax = pytest.importorskip("jax")
    rule, lr, theirs = {
        "sign": (optim.Sign(), 1e-4, optax.sign_sgd(1e-4)),
        "normalized_gd": (optim.NormalizedGD(), 1e-3, optax.chain(optax.normalize_by_update_norm(eps=0.0), optax.scale(-1e-3))),
        "sam": (
            optim.SAM(0.05), 1e-2,
            optax.contrib.sam(optax.sgd(1e-2), optax.chain(optax.contrib.normalize(), optax.sgd(0.05)), sync_period=2, opaque_mode=True),
        ),
    }[name]  # fmt: skip
    start, (X, Y) = dense(3), data("mse")
    run = la.train(start, X, Y, loss="mse", lr=lr, steps=STEPS, optimizer=rule)
    with jax.enable_x64(True):

        def value(W):
            F = jax.numpy.array(X)
            for w in W:
                F = F @ w.T
            return ((F - Y) ** 2).mean()

        def step(carry, _):
            W, state = carry
            extra = {"grad_fn": lambda W, _: jax.grad(value)(W)} if name == "sam" else {}
            update, state = theirs.update(jax.grad(value)(W), state, W, **extra)
            return (optax.apply_updates(W, update), state), value(W)

        W = [jax.numpy.array(w) for w in start.matrices()]
        (W, _), losses = jax.jit(lambda: jax.lax.scan(step, (W, theirs.init(W)), length=STEPS))()
        same(run, [np.array(w) for w in W], np.array([*losses, value(W)]))
