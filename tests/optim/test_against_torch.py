"""Every rule and schedule against torch: a thousand steps, on dense and on constrained layers, for several losses."""

import numpy as np
import pytest

import linalign as la
from linalign import optim
from linalign.optim import schedules

torch = pytest.importorskip("torch")

STEPS = 1000
# roundings of a thousand steps, each relative to the largest weight; the runs are stable, so that they add up and are not magnified
TOLERANCE = 1e-9

RULES = {
    "sgd": ({"momentum": 0.9, "weight_decay": 1e-3}, lambda p: torch.optim.SGD(p, 0.001, momentum=0.9, weight_decay=1e-3), 0.001),
    "nesterov": (
        {"optimizer": optim.SGD(0.9, nesterov=True, weight_decay=1e-3)},
        lambda p: torch.optim.SGD(p, 0.001, momentum=0.9, nesterov=True, weight_decay=1e-3),
        0.001,
    ),
    "dampening": (
        {"optimizer": optim.SGD(0.8, dampening=0.3, weight_decay=1e-2)},
        lambda p: torch.optim.SGD(p, 0.001, momentum=0.8, dampening=0.3, weight_decay=1e-2),
        0.001,
    ),
    "adam": ({"optimizer": "adam"}, lambda p: torch.optim.Adam(p, 0.002), 0.002),
    "adam-decay": (
        {"optimizer": optim.Adam((0.8, 0.99), eps=1e-3, weight_decay=0.01)},
        lambda p: torch.optim.Adam(p, 0.0005, betas=(0.8, 0.99), eps=1e-3, weight_decay=0.01),
        0.0005,
    ),
    "adamw": ({"optimizer": "adamw"}, lambda p: torch.optim.AdamW(p, 0.002), 0.002),
    "rmsprop": (
        {"optimizer": optim.RMSprop(weight_decay=0.01, eps=1e-3)},
        lambda p: torch.optim.RMSprop(p, 1e-4, weight_decay=0.01, eps=1e-3),
        1e-4,
    ),
    "rmsprop-centred": (
        {"optimizer": optim.RMSprop(0.9, eps=1e-2, momentum=0.5, centered=True)},
        lambda p: torch.optim.RMSprop(p, 1e-4, alpha=0.9, eps=1e-2, momentum=0.5, centered=True),
        1e-4,
    ),
    "adagrad": (
        {"optimizer": optim.Adagrad(lr_decay=1e-3, weight_decay=0.01, initial=0.1)},
        lambda p: torch.optim.Adagrad(p, 0.02, lr_decay=1e-3, weight_decay=0.01, initial_accumulator_value=0.1),
        0.02,
    ),
}


def dense(seed):
    return la.Network.dense([6, 5, 7, 4]).init("gaussian", rng=seed, scale=0.4)


def constrained(seed):
    layers = [la.Conv1d(6, 3), la.Toeplitz(6, 5), la.Masked(np.arange(20).reshape(4, 5) % 3 > 0)]
    return la.Network(layers).init("gaussian", rng=seed, scale=0.5)


NETWORKS = {"dense": dense, "constrained": constrained}
LOSSES = {
    "squared": lambda F, Y: 0.5 * ((F - Y) ** 2).sum(),
    "mse": torch.nn.functional.mse_loss,
    "cross_entropy": torch.nn.functional.cross_entropy,
    "logistic": lambda F, Y: torch.nn.functional.softplus(-Y * F).sum() / len(Y),
    "huber": torch.nn.functional.huber_loss,
    "squared_hinge": lambda F, Y: (torch.relu(1 - Y * F) ** 2).sum() / len(Y),
}


def data(loss, n=12, seed=3):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 6))
    if loss == "cross_entropy":
        return X, rng.integers(4, size=n)
    return X, rng.choice([-1.0, 1.0], (n, 4)) if loss in ("logistic", "squared_hinge") else rng.standard_normal((n, 4))


def basis(layer):
    """The basis matrices of a layer, `(size, out * in)`."""
    columns = []
    for k in range(layer.size):
        e = np.zeros(layer.size)
        e[k] = 1
        columns.append(layer.matrix(e.reshape(layer.param_shape)).ravel())
    return torch.tensor(np.array(columns))


def in_torch(net, X, Y, loss, make, steps=STEPS, scheduler=None, batches=None, clip=None):
    """Autograd and torch's optimiser on the parameters."""
    params = [torch.tensor(theta.copy(), requires_grad=True) for theta in net.params]
    bases = [None if isinstance(layer, la.Dense) else basis(layer) for layer in net.layers]
    optimiser = make(params)
    schedule = None if scheduler is None else scheduler(optimiser)
    X, Y = torch.tensor(X), torch.tensor(Y)
    losses = []

    def value(rows):
        F = X[rows]
        for theta, layer, B in zip(params, net.layers, bases, strict=True):
            F = F @ (theta if B is None else (theta.reshape(1, -1) @ B).reshape(layer.shape)).T
        return LOSSES[loss](F, Y[rows])

    for t in range(steps):
        optimiser.zero_grad()
        now = value(slice(None) if batches is None else torch.as_tensor(batches[t]))
        now.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(params, clip)
        optimiser.step()
        if schedule is not None:
            schedule.step()
        losses.append(float(now.detach()))
    losses.append(float(value(slice(None)).detach()))
    return [theta.detach().numpy() for theta in params], np.array(losses)


def same(run, params, losses):
    scale = max(float(np.abs(theta).max()) for theta in params)
    for got, want in zip(run.network.params, params, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE * scale)
    np.testing.assert_allclose(run.loss, losses, rtol=TOLERANCE, atol=TOLERANCE * losses[0])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("net", NETWORKS)
@pytest.mark.parametrize("rule", RULES)
def test_a_thousand_steps_of_torch(rule, net, loss):
    options, make, lr = RULES[rule]
    start, (X, Y) = NETWORKS[net](1), data(loss)
    run = la.train(start, X, Y, loss=loss, lr=lr, steps=STEPS, metric="parameters", **options)
    same(run, *in_torch(start, X, Y, loss, make))


@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_muon_is_that_of_torch_without_its_bfloat16(adjust, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())
    start, (X, Y) = dense(1), data("mse")
    run = la.train(start, X, Y, loss="mse", lr=1e-3, steps=300, optimizer=optim.Muon(adjust_lr=adjust))
    same(run, *in_torch(start, X, Y, "mse", lambda p: torch.optim.Muon(p, lr=1e-3, adjust_lr_fn=adjust), steps=300))


SCHEDULES = {
    "step": (schedules.Step(0.01, 130, 0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 130, 0.5)),
    "multistep": (schedules.MultiStep(0.01, [100, 350, 351], 0.3), lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [100, 350, 351], 0.3)),
    "exponential": (schedules.Exponential(0.01, 0.997), lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.997)),
    "cosine": (schedules.Cosine(0.01, 400, 1e-3), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 400, 1e-3)),
    "warmup": (schedules.Warmup(0.01, 77, 0.1), lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=77)),
    "chained": (
        schedules.Chained([schedules.Warmup(0.01, 50), schedules.Exponential(1.0, 0.998)]),
        lambda o: torch.optim.lr_scheduler.ChainedScheduler(
            [torch.optim.lr_scheduler.LinearLR(o, total_iters=50), torch.optim.lr_scheduler.ExponentialLR(o, 0.998)]
        ),
    ),
    "sequential": (
        schedules.Sequential([schedules.Warmup(0.01, 60, 0.2), schedules.Cosine(0.01, 300)], [60]),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o, [torch.optim.lr_scheduler.LinearLR(o, 0.2, total_iters=60), torch.optim.lr_scheduler.CosineAnnealingLR(o, 300)], [60]
        ),
    ),
}


@pytest.mark.parametrize("rule", ["sgd", "adamw"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_those_of_torch(name, rule):
    schedule, scheduler = SCHEDULES[name]
    start, (X, Y) = dense(2), data("mse")
    made = {"sgd": lambda p: torch.optim.SGD(p, 0.01, momentum=0.5), "adamw": lambda p: torch.optim.AdamW(p, 0.01)}[rule]
    options = {"momentum": 0.5} if rule == "sgd" else {"optimizer": "adamw"}
    run = la.train(start, X, Y, loss="mse", lr=schedule, steps=400, **options)
    same(run, *in_torch(start, X, Y, "mse", made, steps=400, scheduler=scheduler))


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_clipping_is_that_of_torch(rule):
    options, make, lr = RULES[rule]
    start, (X, Y) = dense(4), data("squared")
    run = la.train(start, X, Y, lr=lr, steps=STEPS, clip_norm=0.7, **options)
    same(run, *in_torch(start, X, Y, "squared", make, clip=0.7))


def test_the_mean_of_the_weights_is_that_of_torch():
    start, (X, Y) = dense(5), data("mse")
    run = la.train(start, X, Y, loss="mse", lr=0.01, steps=200, optimizer="adam", average=0.95)
    params = [torch.tensor(theta.copy(), requires_grad=True) for theta in start.params]
    holder = torch.nn.ParameterList(params)
    mean = torch.optim.swa_utils.AveragedModel(holder, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.95))
    optimiser = torch.optim.Adam(holder.parameters(), 0.01)
    for _ in range(200):
        optimiser.zero_grad()
        F = torch.tensor(X)
        for theta in holder:
            F = F @ theta.T
        LOSSES["mse"](F, torch.tensor(Y)).backward()
        optimiser.step()
        mean.update_parameters(holder)
    for got, want in zip(run.average.params, mean.module, strict=True):
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=0, atol=1e-10)
