"""Beside flow: a run of gradient descent next to gradient flow: closed forms where they are known, and how far descent is from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.integrate

from .. import validate
from ..curvature.operators import CurvatureOperator
from ..engine.engines import ChainEngine, simultaneous
from ..engine.flow import FlowEngine
from ..optim import SGD
from ..plan.planner import make_plan
from ..problem import metric
from ..problem.descent import make_descent
from ..problem.problem import Problem, make_problem
from ..theory.certify import certify
from ..theory.flow import riccati, two_layers
from ..theory.modes import Mode
from ..theory.riccati import BALANCED, imbalance
from ..validate import Array

if TYPE_CHECKING:
    from .run import Run

# of the integration of modes that have no elementary form, and of the flow beside a run
PRECISE = 1e-10
WHITE = 1e-9
# reductions whose lifts keep distances
ISOMETRIES = ["samples", "inputs", "width"]


@dataclass(frozen=True)
class Closed:
    """The flow from the start of a run in closed form: the loss, and the singular values end to end, largest first, at times."""

    statement: str
    loss: Callable[[Array], Array]
    singular_values: Callable[[Array], Array]


def given(run: Run, X: Any = None, Y: Any = None) -> tuple[Problem, float]:
    """The problem at the start of the run, and its learning rate. Raises: ValueError where no flow is beside it, with the reason."""
    kept = run.kept
    if kept is None or kept.origin:
        raise ValueError("the run does not know its start: a run as train returned it was wanted, from its first step on")
    asked = kept.asked()
    plain = {"momentum": 0.0, "optimizer": None, "batch": None, "label_noise": 0.0, "gradient_noise": 0.0, "stream": None}
    for name, value in plain.items():
        if asked.get(name, value) not in (value, "sgd") or name in kept.missing:
            raise ValueError(f"the run had {name}={asked.get(name)!r}; gradient flow is the limit of plain gradient descent on all data")
    if asked.get("update", "simultaneous") != "simultaneous" or np.any(np.asarray(asked.get("weight_decay", 0.0)) != 0):
        raise ValueError("the run had weight_decay or cyclic updates; gradient flow is the limit of plain gradient descent")
    if (not isinstance(asked.get("lr", 0.0), str) and np.ndim(asked.get("lr", 0.0)) > 1) or np.ptp(run.lr) or callable(asked.get("lr")):
        raise ValueError("the run had learning rates that differ; gradient flow is the limit of one for all layers")
    found = kept.find_given() if kept.find_given is not None else None
    if X is not None or Y is not None:
        loss = asked.get("loss", "squared")
        found = make_problem(run.network, X, Y, loss)
    if found is None:
        raise ValueError("the run was read from a file, which has no data; pass X and Y")
    return found.on(found.net.with_params(list(kept.start))), float(run.lr[0])


def closed_form(problem: Problem) -> Closed | str:
    """The closed form of the flow from here, or why there is none."""
    net = problem.net
    if problem.loss.kind != "squared" or not net.is_dense:
        return "closed forms are of dense layers and the squared loss"
    assert problem.T is not None
    X, Y = problem.X, problem.T if problem.X is not None else problem.T.T
    proof = certify(net, X, Y, problem.loss)
    if proof.start is not None and proof.start.separates:
        return _modes(proof.modes, proof.loss, net.depth, min(net.widths[0], net.widths[-1]))
    if net.depth != 2:
        return "the start is not aligned with the data, and has not two layers"
    first, second = (W.astype(np.float64) for W in net.params)
    C = np.eye(net.widths[0]) if X is None else X.T @ X
    scale = float(np.trace(C)) / len(C)
    if np.linalg.norm(C - scale * np.eye(len(C))) > WHITE * np.linalg.norm(C):
        return "the start is not aligned with the data, and these are not white"
    if imbalance(first, second)[1] > BALANCED:
        return "the start is not aligned with the data, and not balanced up to a multiple of the identity"
    target, rate = (problem.T.T if X is None else problem.T.T @ X / scale), 2 * problem.factor * scale
    begun = rate / 2 * float(np.sum((second @ first - target) ** 2))

    def product(times: Array) -> Array:
        return riccati(first, second, target, rate, times)

    return Closed(
        "T15.5",
        lambda times: proof.loss - begun + rate / 2 * np.sum((product(times) - target) ** 2, axis=(-2, -1)),
        lambda times: np.linalg.svd(product(times), compute_uv=False),
    )


def _modes(modes: tuple[Mode, ...], loss: float, depth: int, rank: int) -> Closed:
    def products(times: Array) -> Array:
        return np.array([_product(mode, times) for mode in modes]).reshape(len(modes), len(times))

    def value(times: Array) -> Array:
        found = np.full(len(times), loss)
        for mode, p in zip(modes, products(times), strict=True):
            found += mode.eigenvalue / 2 * ((p - mode.target) ** 2 - (mode.start - mode.target) ** 2)
        return found

    def values(times: Array) -> Array:
        found = np.zeros((len(times), max(rank, len(modes))))
        found[:, : len(modes)] = np.abs(products(times)).T
        return np.asarray(-np.sort(-found, axis=1)[:, :rank])

    return Closed("T15.3" if depth == 2 else "T15.4", value, values)


def _product(mode: Mode, times: Array) -> Array:
    """One mode along the flow: in elementary functions of two layers, else the one scalar equation that is left, integrated."""
    sigma = np.array(mode.factors)
    sigma[0] = np.copysign(sigma[0], mode.start) if mode.start else sigma[0]
    if not mode.eigenvalue or mode.case == "stuck":
        return np.full(len(times), mode.start)
    if len(sigma) == 2:
        a, b = two_layers(float(sigma[0]), float(sigma[1]), mode.target, mode.eigenvalue, times)
        return np.asarray(a * b)

    def slope(t: float, s: Array) -> Array:
        others = np.array([np.prod(np.delete(s, i)) for i in range(len(s))])
        return np.asarray(mode.eigenvalue * (mode.target - np.prod(s)) * others)

    if times[-1] == 0:
        return np.full(len(times), float(np.prod(sigma)))
    found = scipy.integrate.solve_ivp(slope, (0.0, times[-1]), sigma, method="DOP853", rtol=PRECISE, atol=1e-14, t_eval=times)
    return np.asarray(np.prod(found.y, axis=0))


@dataclass(frozen=True, eq=False)
class AgainstFlow:
    """How far gradient descent is from gradient flow at time `lr` times the step.

    steps, times : where they are compared. loss, flow_loss : of both.
    distance : `||theta - theta_flow||` over all parameters. predicted : what the first order in lr says of it (T15.7).
    """

    steps: Array
    times: Array
    loss: Array
    flow_loss: Array
    distance: Array
    predicted: Array

    def __repr__(self) -> str:
        return (
            f"AgainstFlow({self.steps[-1]} steps, to t = {self.times[-1]:.6g}: off by {self.distance[-1]:.3g}, "
            f"{self.predicted[-1]:.3g} predicted; loss {self.loss[-1]:.6g}, of the flow {self.flow_loss[-1]:.6g})"
        )


def against_flow(run: Run, X: Any = None, Y: Any = None, *, points: int = 20) -> AgainstFlow:
    """`Run.against_flow`."""
    count = validate.integer("points", points, least=1)
    problem, lr = given(run, X, Y)
    if run.plan.metric == "matrix" and metric.differ(problem.net):
        raise ValueError("the run had metric='matrix', whose flow is not of the loss in the parameters")
    descent = simultaneous(problem.net.depth)
    plan, work = make_plan(problem, descent, reduce=ISOMETRIES)
    steps = np.unique(np.linspace(0, run.steps, count + 1).round().astype(np.int64))
    engine = FlowEngine(work.problem, descent, plan.pivot)
    hessian, n = CurvatureOperator(work.problem, "parameters", False), len(engine.start)

    def slope(t: float, both: Array) -> Array:
        g = -engine.slope(t, both[:n])
        hessian.move(work.problem.net.with_params([part.copy() for part in engine.split(both[:n])]))
        # y' = -H y - H g / 2: the flow of L + lr / 4 ||grad L||^2 to first order in lr (T15.7)
        return np.concatenate([-g, -(hessian @ (both[n:] + g / 2))])

    size = float(np.abs(engine.start).max()) or 1.0
    found = scipy.integrate.solve_ivp(
        slope, (0.0, max(lr * float(steps[-1]), 1e-300)), np.concatenate([engine.start, np.zeros(n)]), method="DOP853", rtol=PRECISE,
        atol=PRECISE * size, t_eval=lr * steps.astype(np.float64),
    )  # fmt: skip
    walker = ChainEngine(work.problem, make_descent(problem.net.depth, lr, SGD(), "simultaneous", "parameters"), plan.pivot)
    losses, flows, distances = [], [], []
    here = 0
    for j, step in enumerate(steps):
        walker.advance(int(step) - here, np.empty(max(int(step) - here, 1)), -np.inf)
        here = int(step)
        theta = np.concatenate([part.ravel() for part in walker.params()])
        engine.stand(found.y[:n, j])
        losses.append(walker.value(-np.inf)[1] + work.floor)
        flows.append(engine.value(-np.inf)[1] + work.floor)
        distances.append(float(np.linalg.norm(theta - found.y[:n, j])))
    return AgainstFlow(steps, lr * steps, np.array(losses), np.array(flows), np.array(distances), lr * np.linalg.norm(found.y[n:], axis=0))
