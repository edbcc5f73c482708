"""Training as PyTorch does it: autograd, torch's optimisers and schedulers, and rules that torch has not, written from their papers.

Nothing here is linalign's but the basis matrices of a constrained layer, which tests/layers holds to their definitions.
"""

import contextlib

import numpy as np
import pytest

import linalign as la
from linalign import optim
from linalign.optim import schedules

torch = pytest.importorskip("torch")


class Sign(torch.optim.Optimizer):
    """Bernstein et al. 2018, algorithms 1 and 2: a step of the sign of g, or of m = beta m + (1 - beta) g; decoupled decay."""

    def __init__(self, params, lr, momentum=0.0, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure):
        value = closure()
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].get("m", torch.zeros_like(p))
                m = self.state[p]["m"] = group["momentum"] * m + (1 - group["momentum"]) * p.grad
                p -= group["lr"] * (torch.sign(m) + group["weight_decay"] * p)
        return value


class OverOneNumber(torch.optim.Optimizer):
    """Steps lr g / c, where c comes from the Euclidean norm of the gradients of all parameters; decoupled decay."""

    def __init__(self, params, lr, divisor, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.divisor, self.norms = divisor, []

    @torch.no_grad()
    def step(self, closure):
        value = closure()
        self.norms.append(float(torch.cat([p.grad.ravel() for group in self.param_groups for p in group["params"]]).norm()))
        c = self.divisor(np.array(self.norms))
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * (p.grad / c + group["weight_decay"] * p)
        return value


def rms(alpha, eps):
    """Of GroupRMSprop: the root of the weighted mean of all squared norms so far, with weights alpha^age, and eps."""

    def divisor(norms):
        weights = alpha ** np.arange(len(norms))[::-1]
        return np.sqrt(np.sum(weights * norms**2) / np.sum(weights)) + eps

    return divisor


class Sam(torch.optim.Optimizer):
    """Foret et al. 2021, algorithm 1: the base optimiser, with the gradient at W + rho g / ||g||; the loss is that at W."""

    def __init__(self, params, rho, base):
        params = list(params)
        super().__init__(params, {"lr": 0.0})
        self.rho, self.base = rho, base(params)
        # a scheduler finds the rates of the base
        self.param_groups = self.base.param_groups

    def step(self, closure):
        value = closure()
        params = [p for group in self.param_groups for p in group["params"]]
        with torch.no_grad():
            here = [p.clone() for p in params]
            length = torch.cat([p.grad.ravel() for p in params]).norm() + 1e-12
            for p in params:
                p += self.rho * p.grad / length
        closure()
        with torch.no_grad():
            for p, old in zip(params, here, strict=True):
                p.copy_(old)
        self.base.step()
        return value


# options of linalign, the same in torch, and a rate that is stable
RULES = {
    "sgd": ({"momentum": 0.9, "weight_decay": 1e-3}, lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9, weight_decay=1e-3), 0.001),
    "nesterov": (
        {"optimizer": optim.SGD(0.9, nesterov=True, weight_decay=1e-3)},
        lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9, nesterov=True, weight_decay=1e-3),
        0.001,
    ),
    "dampening": (
        {"optimizer": optim.SGD(0.8, dampening=0.3, weight_decay=1e-2)},
        lambda p, lr: torch.optim.SGD(p, lr, momentum=0.8, dampening=0.3, weight_decay=1e-2),
        0.001,
    ),
    "adam": ({"optimizer": "adam"}, lambda p, lr: torch.optim.Adam(p, lr), 0.002),
    "adam-decay": (
        {"optimizer": optim.Adam((0.8, 0.99), eps=1e-3, weight_decay=0.01)},
        lambda p, lr: torch.optim.Adam(p, lr, betas=(0.8, 0.99), eps=1e-3, weight_decay=0.01),
        0.0005,
    ),
    "adamw": ({"optimizer": "adamw"}, lambda p, lr: torch.optim.AdamW(p, lr), 0.002),
    "rmsprop": (
        {"optimizer": optim.RMSprop(weight_decay=0.01, eps=1e-3)},
        lambda p, lr: torch.optim.RMSprop(p, lr, weight_decay=0.01, eps=1e-3),
        1e-4,
    ),
    "rmsprop-centred": (
        {"optimizer": optim.RMSprop(0.9, eps=1e-2, momentum=0.5, centered=True)},
        lambda p, lr: torch.optim.RMSprop(p, lr, alpha=0.9, eps=1e-2, momentum=0.5, centered=True),
        1e-4,
    ),
    "adagrad": (
        {"optimizer": optim.Adagrad(lr_decay=1e-3, weight_decay=0.01, initial=0.1)},
        lambda p, lr: torch.optim.Adagrad(p, lr, lr_decay=1e-3, weight_decay=0.01, initial_accumulator_value=0.1),
        0.02,
    ),
    "sign": ({"optimizer": optim.Sign(weight_decay=0.01)}, lambda p, lr: Sign(p, lr, weight_decay=0.01), 1e-4),
    "sign-momentum": ({"optimizer": optim.Sign(0.9)}, lambda p, lr: Sign(p, lr, 0.9), 1e-4),
    "group_rmsprop": (
        {"optimizer": optim.GroupRMSprop(0.95, weight_decay=0.01)},
        lambda p, lr: OverOneNumber(p, lr, rms(0.95, 1e-6), 0.01),
        1e-3,
    ),
    "normalized_gd": (
        {"optimizer": optim.NormalizedGD(weight_decay=0.01)},
        lambda p, lr: OverOneNumber(p, lr, lambda norms: norms[-1], 0.01),
        1e-3,
    ),
    "sam": (
        {"optimizer": optim.SAM(0.05, optim.SGD(0.8, weight_decay=0.01))},
        lambda p, lr: Sam(p, 0.05, lambda q: torch.optim.SGD(q, lr, momentum=0.8, weight_decay=0.01)),
        0.001,
    ),
    "sam-adam": ({"optimizer": optim.SAM(0.02, optim.Adam())}, lambda p, lr: Sam(p, 0.02, lambda q: torch.optim.Adam(q, lr)), 5e-4),
}


def dense(seed):
    return la.Network.dense([6, 5, 7, 4]).init("gaussian", rng=seed, scale=0.4)


def constrained(seed):
    layers = [la.Conv1d(6, 3), la.Toeplitz(6, 5), la.Masked(np.arange(20).reshape(4, 5) % 3 > 0)]
    return la.Network(layers).init("gaussian", rng=seed, scale=0.5)


def diagonal(seed):
    layers = [la.Diagonal(6), la.Diagonal(6), la.Dense(6, 4)]
    return la.Network(layers).init("gaussian", rng=seed, scale=0.5)


NETWORKS = {"dense": dense, "constrained": constrained, "diagonal": diagonal}

# of the outputs and their targets
LOSSES = {
    "squared": lambda F, Y: 0.5 * ((F - Y) ** 2).sum(),
    "mse": torch.nn.functional.mse_loss,
    "cross_entropy": torch.nn.functional.cross_entropy,
    "logistic": lambda F, Y: torch.nn.functional.softplus(-Y * F).sum() / len(Y),
    "exponential": lambda F, Y: torch.exp(-Y * F).sum() / len(Y),
    "huber": torch.nn.functional.huber_loss,
    "hinge": lambda F, Y: torch.relu(1 - Y * F).sum() / len(Y),
    "squared_hinge": lambda F, Y: (torch.relu(1 - Y * F) ** 2).sum() / len(Y),
}
SIGNS = ("logistic", "exponential", "hinge", "squared_hinge")


def _entries(rng):
    rows, columns = np.divmod(rng.choice(24, 15, replace=False), 6)
    values = rng.standard_normal(15)
    return la.losses.Entries(rows, columns, values), lambda P: 0.5 * ((P[rows, columns] - torch.tensor(values)) ** 2).sum()


def _sensing(rng):
    matrices, values = rng.standard_normal((9, 4, 6)) / 3, rng.standard_normal(9)
    A, b = torch.tensor(matrices), torch.tensor(values)
    return la.losses.Sensing(matrices, values), lambda P: 0.5 * ((torch.einsum("mij,ij->m", A, P) - b) ** 2).sum()


def _bures_wasserstein(rng):
    A = rng.standard_normal((4, 4))
    S = A @ A.T / 4 + np.eye(4)
    values, vectors = np.linalg.eigh(S)
    half, trace = torch.tensor(vectors * np.sqrt(values) @ vectors.T), float(np.trace(S))

    def value(P):
        return (P**2).sum() + trace - 2 * torch.linalg.eigvalsh(half @ P @ P.T @ half).sqrt().sum()

    return la.losses.BuresWasserstein(S), value


def _end_to_end(rng):
    target = rng.standard_normal((4, 6))
    T = torch.tensor(target)
    return la.losses.EndToEnd(lambda P: (float(np.sum((P - target) ** 4)), 4 * (P - target) ** 3)), lambda P: ((P - T) ** 4).sum()


# of the product: the loss, and the same in torch
OF_PRODUCT = {"entries": _entries, "sensing": _sensing, "bures_wasserstein": _bures_wasserstein, "end_to_end": _end_to_end}

# in linalign and in torch, around a rate
SCHEDULES = {
    "constant": (lambda lr: lr, None),
    "step": (lambda lr: schedules.Step(lr, 130, 0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 130, 0.5)),
    "multistep": (
        lambda lr: schedules.MultiStep(lr, [100, 350, 351], 0.3),
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [100, 350, 351], 0.3),
    ),
    "exponential": (lambda lr: schedules.Exponential(lr, 0.997), lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.997)),
    "cosine": (
        lambda lr: schedules.Cosine(lr, 700, lr / 10),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 700, o.param_groups[0]["lr"] / 10),
    ),
    "warmup": (lambda lr: schedules.Warmup(lr, 77, 0.1), lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=77)),
    "chained": (
        lambda lr: schedules.Chained([schedules.Warmup(lr, 50), schedules.Exponential(1.0, 0.998)]),
        lambda o: torch.optim.lr_scheduler.ChainedScheduler(
            [torch.optim.lr_scheduler.LinearLR(o, total_iters=50), torch.optim.lr_scheduler.ExponentialLR(o, 0.998)]
        ),
    ),
    "sequential": (
        lambda lr: schedules.Sequential([schedules.Warmup(lr, 60, 0.2), schedules.Cosine(lr, 300)], [60]),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o, [torch.optim.lr_scheduler.LinearLR(o, 0.2, total_iters=60), torch.optim.lr_scheduler.CosineAnnealingLR(o, 300)], [60]
        ),
    ),
}


def data(loss, n=12, seed=3):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 6))
    if loss == "cross_entropy":
        return X, rng.integers(4, size=n)
    return X, rng.choice([-1.0, 1.0], (n, 4)) if loss in SIGNS else rng.standard_normal((n, 4))


def drawn(n, batch, order, rng, steps):
    """The rows of every step, drawn as the documentation says."""
    g, left, found = np.random.default_rng(rng), [], []
    for _ in range(steps):
        if order == "replacement":
            found.append(g.integers(n, size=batch))
            continue
        if not len(left):
            left = g.permutation(n)
        found.append(left[:batch])
        left = left[batch:]
    return found


def basis(layer):
    """The basis matrices of a layer, `(size, out * in)`."""
    columns = []
    for k in range(layer.size):
        e = np.zeros(layer.size)
        e[k] = 1
        columns.append(layer.matrix(e.reshape(layer.param_shape)).ravel())
    return torch.tensor(np.array(columns))


@contextlib.contextmanager
def one_thread():
    """At these sizes torch's threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_torch(net, X, Y, loss, make, steps=1000, scheduler=None, batches=None, clip=None):
    """Parameters after so many steps, and the loss before each of them and after the last, which is that of all data.

    `make`: an optimiser of the parameters; `loss`: a name of `LOSSES`, or a function of the product.
    """
    params = [torch.tensor(theta.copy(), requires_grad=True) for theta in net.params]
    bases = [None if isinstance(layer, la.Dense) else basis(layer) for layer in net.layers]
    optimiser = make(params)
    schedule = None if scheduler is None else scheduler(optimiser)
    X, Y = (None, None) if callable(loss) else (torch.tensor(X), torch.tensor(Y))
    losses = []

    def value(rows):
        F = torch.eye(net.widths[0], dtype=torch.float64) if callable(loss) else X[rows]
        for theta, layer, B in zip(params, net.layers, bases, strict=True):
            F = F @ (theta if B is None else (theta.reshape(1, -1) @ B).reshape(layer.shape)).T
        return loss(F.T) if callable(loss) else LOSSES[loss](F, Y[rows])

    with one_thread():
        for t in range(steps):
            rows = slice(None) if batches is None else torch.as_tensor(batches[t])

            def again(rows=rows):
                optimiser.zero_grad()
                with torch.enable_grad():
                    now = value(rows)
                    now.backward()
                if clip is not None:
                    torch.nn.utils.clip_grad_norm_(params, clip)
                return float(now.detach())

            losses.append(optimiser.step(again))
            if schedule is not None:
                schedule.step()
        losses.append(float(value(slice(None)).detach()))
    return [theta.detach().numpy() for theta in params], np.array(losses)
