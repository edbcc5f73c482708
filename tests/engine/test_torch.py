"""PyTorch as an oracle: gradients equal autograd's, training equals `torch.optim.SGD`'s."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import linalign as la
from tests.required import oracle

torch = oracle("torch")
pytestmark = pytest.mark.oracle

# Two float64 programs differ by at most about eps times the terms in a sum, here below 400, times the
# ratio of the sum of absolute values to the sum, which is moderate for the random data here: 4500 eps leaves room for ten.
GRADIENT = 1e-12
# 1,000 steps add up 1,000 such errors, each passed on by a map that contracts or nearly so.
TRAINED = 1e-9


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Objective:
    """A loss of linalign by name, the same in torch, and targets for it."""

    name: str
    torch: Callable[[Any, Any], Any]
    targets: Callable[[np.random.Generator, int, int], np.ndarray]


def _signs(rng: np.random.Generator, n: int, k: int) -> np.ndarray:
    return rng.choice([-1.0, 1.0], (n, k))


def _values(rng: np.random.Generator, n: int, k: int) -> np.ndarray:
    return rng.standard_normal((n, k))


def _probabilities(rng: np.random.Generator, n: int, k: int) -> np.ndarray:
    P = rng.random((n, k))
    return P / P.sum(axis=1, keepdims=True)


OBJECTIVES = {
    "squared": Objective("squared", lambda F, Y: 0.5 * ((F - Y) ** 2).sum(), _values),
    "mse": Objective("mse", lambda F, Y: torch.nn.functional.mse_loss(F, Y), _values),
    "labels": Objective("cross_entropy", lambda F, Y: torch.nn.functional.cross_entropy(F, Y), lambda rng, n, k: rng.integers(0, k, n)),
    "probabilities": Objective("cross_entropy", lambda F, Y: torch.nn.functional.cross_entropy(F, Y), _probabilities),
    "logistic": Objective("logistic", lambda F, Y: -torch.nn.functional.logsigmoid(Y * F).sum() / len(F), _signs),
    "huber": Objective(la.losses.Huber(0.7), lambda F, Y: torch.nn.functional.huber_loss(F, Y, delta=0.7), _values),
    "hinge": Objective("hinge", lambda F, Y: torch.relu(1 - Y * F).sum() / len(F), _signs),
    "squared hinge": Objective("squared_hinge", lambda F, Y: (torch.relu(1 - Y * F) ** 2).sum() / len(F), _signs),
    "exponential": Objective("exponential", lambda F, Y: torch.exp(-Y * F).sum() / len(F), _signs),
}

# widths, samples
SHAPES = {
    "all ones": ((1, 1, 1), 1),
    "one layer": ((6, 4), 9),
    "a 1 inside": ((5, 1, 7), 4),
    "one output": ((8, 6, 5, 1), 10),
    "one sample": ((4, 3, 2), 1),
    "primes": ((7, 5, 11, 3), 13),
    "wide": ((3, 41, 37, 2), 5),
    "tall": ((31, 2, 3, 29), 17),
    "few samples": ((40, 8, 3), 2),
    "deep": ((4,) * 9, 6),
    "beyond the tiles": ((96, 80, 70, 10), 120),
}
PIVOTS = [(shape, pivot) for shape, (widths, _) in SHAPES.items() for pivot in range(len(widths))]


def draw(shape: str, objective: Objective) -> tuple[la.Network, np.ndarray, np.ndarray]:
    """A network whose product keeps the size of its input, and data."""
    widths, n = SHAPES[shape]
    rng = np.random.default_rng(len(shape))
    net = la.Network.from_matrices([rng.standard_normal((b, a)) / np.sqrt(a) for a, b in pairwise(widths)])
    return net, rng.standard_normal((n, widths[0])), objective.targets(rng, n, widths[-1])


def outputs(weights: list[Any], X: Any) -> Any:
    for W in weights:
        X = torch.nn.functional.linear(X, W)
    return X


def by_autograd(net: la.Network, X: np.ndarray, Y: np.ndarray, objective: Objective) -> tuple[float, list[np.ndarray]]:
    weights = [torch.tensor(W, requires_grad=True) for W in net.matrices()]
    value = objective.torch(outputs(weights, torch.tensor(X)), torch.tensor(Y))
    return value.item(), [g.numpy() for g in torch.autograd.grad(value, weights)]


def apart(got: np.ndarray, want: np.ndarray) -> float:
    """The relative distance in the Frobenius norm; from zero only zero is at distance 0."""
    assert got.shape == want.shape
    distance, size = np.linalg.norm(got - want), np.linalg.norm(want)
    return float(distance / size) if size else float(np.inf if distance else 0)


@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize(("shape", "pivot"), PIVOTS)
def test_the_gradient_is_autograds(shape: str, pivot: int, kind: str) -> None:
    objective = OBJECTIVES[kind]
    net, X, Y = draw(shape, objective)
    value, grads = la.value_and_grad(net, X, Y, loss=objective.name, pivot=pivot)
    want, wanted = by_autograd(net, X, Y, objective)
    # the cross-entropy of a single class is zero whatever the network does; anything else must move it
    one_class = objective.name == "cross_entropy" and net.widths[-1] == 1
    assert all(np.any(g) != one_class for g in wanted)
    assert abs(value - want) <= GRADIENT * abs(want)
    assert max(map(apart, grads, wanted)) <= GRADIENT


def absolute_gradient(net: la.Network, X: np.ndarray, Y: np.ndarray, factor: float) -> list[np.ndarray]:
    """The gradient of `factor * sum (F - Y)^2` with every term of every sum made positive: what its rounding errors scale with."""
    W = [np.abs(M.astype(np.float64)) for M in net.matrices()]
    A = [np.abs(X.astype(np.float64))]
    for M in W:
        A.append(A[-1] @ M.T)
    D, grads = 2 * factor * (A[-1] + np.abs(Y)), []
    for M, below in zip(reversed(W), A[-2::-1], strict=True):
        grads.insert(0, D.T @ below)
        D = D @ M
    return grads


@pytest.mark.parametrize("kind", ["squared", "mse"])
@pytest.mark.parametrize(("shape", "pivot"), PIVOTS)
def test_the_float32_gradient_is_autograds_in_float64(shape: str, pivot: int, kind: str) -> None:
    objective = OBJECTIVES[kind]
    net, X, Y = draw(shape, objective)
    net, X, Y = net.astype(np.float32), X.astype(np.float32), Y.astype(np.float32)
    _, grads = la.value_and_grad(net, X, Y, loss=objective.name, pivot=pivot)
    _, wanted = by_autograd(net.astype(np.float64), X.astype(np.float64), Y.astype(np.float64), objective)
    n, widths = len(X), net.widths
    # whatever the order of the products, a term passes at most all sums up and down, the samples', and a few single roundings
    roundings = n + 2 * sum(widths) + len(widths) + 4
    sizes = absolute_gradient(net, X, Y, 0.5 if kind == "squared" else 1 / Y.size)
    for got, want, size in zip(grads, wanted, sizes, strict=True):
        assert got.dtype == np.float32
        assert np.all(np.abs(got - want) <= roundings * np.finfo(np.float32).eps * size)


@dataclass(frozen=True)
class Options:
    """Of gradient descent, in the names of both; numbers or one a layer."""

    lr: Any
    momentum: float = 0.0
    weight_decay: Any = 0.0

    def sgd(self, weights: list[Any]) -> Any:
        """torch's optimiser: one parameter group a layer."""
        d = len(weights)
        rates, decays = np.broadcast_to(self.lr, d).tolist(), np.broadcast_to(self.weight_decay, d).tolist()
        groups = [{"params": [W], "lr": a, "weight_decay": b} for W, a, b in zip(weights, rates, decays, strict=True)]
        return torch.optim.SGD(groups, lr=1.0, momentum=self.momentum)


OPTIONS = {
    "plain": Options(0.01),
    "momentum": Options(0.003, momentum=0.9),
    "decay": Options(0.01, weight_decay=0.02),
    "momentum and decay, one a layer": Options([0.004, 0.002, 0.001], momentum=0.8, weight_decay=[0.0, 0.05, 0.01]),
}


def by_sgd(
    net: la.Network, X: np.ndarray, Y: np.ndarray, objective: Objective, options: Options, steps: int
) -> tuple[list[Any], list[float]]:
    """The weights after `steps` steps, and the loss before each and after the last."""
    weights = [torch.tensor(W, requires_grad=True) for W in net.matrices()]
    data, targets, losses = torch.tensor(X), torch.tensor(Y), []
    optimiser = options.sgd(weights)
    for _ in range(steps):
        optimiser.zero_grad()
        value = objective.torch(outputs(weights, data), targets)
        value.backward()
        optimiser.step()
        losses.append(value.item())
    losses.append(objective.torch(outputs(weights, data), targets).item())
    return [W.detach().numpy() for W in weights], losses


@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize("how", OPTIONS)
def test_a_thousand_steps_are_those_of_sgd(how: str, kind: str) -> None:
    objective, options = OBJECTIVES[kind], OPTIONS[how]
    net, X, Y = draw("primes", objective)
    weights, losses = by_sgd(net, X, Y, objective, options, 1000)
    # a run that hardly moves would show nothing
    assert min(map(apart, weights, net.matrices())) > 0.01
    for choice in ({"reduce": "auto"}, {"reduce": "none"}, *({"reduce": "none", "pivot": p} for p in range(net.depth + 1))):
        run = la.train(
            net, X, Y, loss=objective.name, lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay,
            steps=1000, **choice,
        )  # fmt: skip
        assert max(map(apart, run.network.matrices(), weights)) <= TRAINED
        assert np.all(np.abs(run.loss - losses) <= TRAINED * np.abs(losses))


def test_a_thousand_steps_beyond_the_tiles() -> None:
    objective, options = OBJECTIVES["mse"], Options(0.02, momentum=0.9, weight_decay=1e-3)
    net, X, Y = draw("beyond the tiles", objective)
    weights, losses = by_sgd(net, X, Y, objective, options, 1000)
    assert min(map(apart, weights, net.matrices())) > 0.01
    run = la.train(net, X, Y, loss="mse", lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay, steps=1000)
    assert max(map(apart, run.network.matrices(), weights)) <= TRAINED
    assert np.all(np.abs(run.loss - losses) <= TRAINED * np.abs(losses))


def test_the_bures_wasserstein_loss_is_the_formula_of_matrix_roots() -> None:
    """`tr P P' + tr S - 2 tr (S^(1/2) P P' S^(1/2))^(1/2)`, with roots from torch's eigenvalues and its autograd."""

    def root(M: Any) -> Any:
        values, vectors = torch.linalg.eigh(M)
        return (vectors * values.sqrt()) @ vectors.T

    rng = np.random.default_rng(0)
    net = la.Network.dense([7, 5, 4]).init("gaussian", rng=1, scale=1.0)
    A = rng.standard_normal((4, 4))
    S = A @ A.T + np.eye(4)
    loss = la.losses.BuresWasserstein(S)
    weights, C = [torch.tensor(W, requires_grad=True) for W in net.matrices()], torch.tensor(S)
    P = weights[1] @ weights[0]
    half = root(C)
    want = torch.trace(P @ P.T) + torch.trace(C) - 2 * torch.trace(root(half @ P @ P.T @ half))
    wanted = [g.numpy() for g in torch.autograd.grad(want, weights)]
    for implementation in ("kernel", "reference"):
        value, grads = la.value_and_grad(net, None, loss=loss, implementation=implementation)
        # the roots of eigenvalues lose half of the digits that the smallest of them has beside the largest
        assert value == pytest.approx(want.item(), rel=1e-12)
        assert max(map(apart, grads, wanted)) <= 1e-10
    run = la.train(net, None, loss=loss, lr=0.02, steps=4000)
    reached = run.network.matrix() @ run.network.matrix().T
    # at the minimum, where the loss is zero, P P' is the covariance
    assert run.loss[-1] < 1e-8
    assert np.linalg.norm(reached - S) <= 1e-3 * np.linalg.norm(S)
