"""Constrained layers in the checks of the step (`checks.py`): the same exact formulas, by the basis matrices of each layer.

Bounds, beside those of `checks.py`. An entry of `W = sum_k theta_k A_k` is a sum of products itself, so that each time that a layer
enters a chain of products it brings as many roundings as entries share a parameter in it, and two of its basis; a coordinate
`<A_k, G>` sums entries of G, at most all of them. The bounds are those of the chains of `|theta_k| |A_k|`, and K counts these
roundings too. In the metric of the matrix a coordinate is divided by its multiplicity, or taken with the dual basis, which was
worked out in double: what that loses goes with the condition of the Gram matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import numpy as np

import linalign as la
from linalign.engine import bind as kernel
from linalign.optim import SGD
from linalign.plan import structures
from linalign.plan.cost import pivots
from linalign.problem.descent import make_descent
from linalign.problem.problem import make_problem
from tests.oracles.checks import LOSSES, U64, Case, chains, exact_loss, exact_step, use_isa
from tests.oracles.extended import LD
from tests.oracles.layer_cases import Span


@dataclass(frozen=True)
class StructuredCase(Case):
    """`at` gives the direction of the metric: the coordinates of the gradient, or those of its projection."""

    metric: str = "parameters"
    spans: tuple[Span, ...] = field(default=(), compare=False)

    @cached_property
    def gamma(self):
        n, k = self.problem.rows, self.widths
        K = 3 * sum(k) + 2 * (n + k[0]) + k[-1] + len(k) + 8
        for span in self.spans:
            shared = int(np.count_nonzero(span.basis, axis=0).max(initial=0))
            K += 3 * (shared + 2) + int(np.prod(span.layer.shape)) + 4
        assert K * self.u < 0.1
        return K * self.u / (1 - K * self.u)

    def at(self, params):
        W, size = zip(*(self.matrix(span, theta) for span, theta in zip(self.spans, params, strict=True)), strict=True)
        below, above = chains(W, self.X)
        F = below[-1]
        loss, E = exact_loss(self.problem, F)
        gradients = [above[i + 1].T @ E.T @ below[i] for i in range(self.depth)]
        below, above = chains(size, np.abs(self.X))
        dE, dL = self.output_errors(F, self.gamma * below[-1], loss, E)
        bounds = [self.gamma * above[i + 1].T @ (np.abs(E) + dE).T @ below[i] + above[i + 1].T @ dE.T @ below[i] for i in range(self.depth)]
        # twice: the sums over the entries are roundings of their own
        found = [self.direction(span, G, 2 * bound) for span, G, bound in zip(self.spans, gradients, bounds, strict=True)]
        return loss, dL, [g for g, _ in found], [b for _, b in found]

    def matrix(self, span, theta):
        """The matrix of a layer, and what bounds its entries in the chains of bounds."""
        return span.matrix(theta)

    def direction(self, span, G, bound):
        basis = span.basis
        if self.metric == "matrix" and len(basis):
            found = metric_of(span.layer, span.dtype)
            vectors = found.dual
            # the dual basis in double, then rounded to working precision
            slack = 8 * basis[0].size * U64 * found.condition * np.abs(vectors).max(axis=(1, 2), keepdims=True) + 2 * self.u * np.abs(
                vectors
            )
            bound = np.tensordot(np.abs(vectors) + slack, bound, 2) + np.tensordot(slack, np.abs(G), 2)
        else:
            vectors, bound = basis, np.tensordot(np.abs(basis), bound + 2 * self.u * np.abs(G), 2)
        shape = span.layer.param_shape
        return np.tensordot(vectors, G, 2).reshape(shape), bound.reshape(shape)


@dataclass(frozen=True)
class Metric:
    """`dual (r, out, in)`, `<A_k, dual_l> = 1 if k == l else 0`: exact where the `A_k` share no entry, in double elsewhere."""

    dual: np.ndarray
    condition: float

    @classmethod
    def of(cls, span):
        if np.count_nonzero(span.basis, axis=0).max(initial=0) <= 1:
            return cls(span.basis / np.sum(span.basis**2, axis=(1, 2), keepdims=True), 1.0)
        return cls(np.tensordot(np.linalg.inv(span.gram.astype(float)).astype(LD), span.basis, 1), span.condition)


def structured_case(layers, n, loss="squared", dtype=np.float64, metric="parameters", seed=0):
    """A random problem on these layers: rows of every matrix of norm about one, standard normal data."""
    rng = np.random.default_rng([seed, n, *(layer.size for layer in layers)])
    params = []
    for layer in layers:
        theta = rng.standard_normal(layer.param_shape)
        rows = np.linalg.norm(layer.matrix(theta), axis=1).max()
        params.append((theta / (rows or 1.0) if theta.size else theta).astype(dtype))
    net = la.Network(layers, params)
    X, Y, kind = LOSSES[loss](rng, net.widths, n)
    X, Y = (v.astype(dtype) if v is not None and v.dtype.kind == "f" else v for v in (X, Y))
    return StructuredCase(make_problem(net, X, Y, kind), metric, spans_of(layers, dtype))


@cache
def span_of(layer, dtype):
    """They are dear: one a layer and precision."""
    span = Span(layer, dtype)
    span.dtype = dtype
    return span


@cache
def metric_of(layer, dtype):
    return Metric.of(span_of(layer, dtype))


def spans_of(layers, dtype):
    return tuple(span_of(layer, dtype) for layer in layers)


def integer_structured_case(layers, n, dtype, metric="parameters", seed=0):
    """Small integers: every number of a gradient is exact, whatever the order."""
    rng = np.random.default_rng([seed, n])
    params = [rng.integers(-1, 2, layer.param_shape).astype(dtype) for layer in layers]
    net = la.Network(layers, params)
    X, Y = (rng.integers(-2, 3, (n, k)).astype(dtype) for k in (net.widths[0], net.widths[-1]))
    return StructuredCase(make_problem(net, X, Y, "squared"), metric, spans_of(layers, dtype))


def structured_engine(isa, pivot=0, threads=1):
    """A maker of chains: this instruction set, this pivot, convolutions shared by so many threads however small."""

    def make(problem, how):
        worth = structures.SHARES_WORTH
        structures.SHARES_WORTH = 0 if threads > 1 else worth
        try:
            with use_isa(isa):
                return kernel.bind(problem, how, pivot, pivots(problem)[pivot].rows, threads)
        finally:
            structures.SHARES_WORTH = worth

    return make


def descent_of(case, lr=0.01, momentum=0.0, weight_decay=0.0, update="simultaneous"):
    return make_descent(case.depth, lr, SGD(momentum, weight_decay=weight_decay), update, case.metric)


# ---- whole runs ------------------------------------------------------------------------------------------------------------


def curvature(case, params):
    """`||H||`, H the second derivative of the loss in the parameters: by powers, and differences in 80 bits; a tenth is added."""
    plain = replace(case, metric="parameters")

    def gradient(at):
        return np.concatenate([g.ravel() for g in plain.at(at)[2]])

    def moved(v, by):
        ends = np.cumsum([theta.size for theta in params])
        return [theta.astype(LD) + by * part.reshape(theta.shape) for theta, part in zip(params, np.split(v, ends[:-1]), strict=True)]

    v = np.random.default_rng(0).standard_normal(sum(theta.size for theta in params)).astype(LD)
    size = LD(0)
    for _ in range(20):
        v = v / np.linalg.norm(v.astype(float))
        v = (gradient(moved(v, LD(1e-6))) - gradient(moved(v, LD(-1e-6)))) / LD(2e-6)
        size = np.linalg.norm(v.astype(float))
    return 1.1 * float(size)


def drift(case, how, steps):
    """`(parameters, losses)`: how far two programs that start alike may be apart after so many steps, in any parameter and loss.

    Every step of either lies within the bound of one exact step from where it stands, as `check_steps` has it. What is off by then
    is multiplied by the derivative of the later steps: `dv <- momentum dv + (||H|| + decay) dtheta`, `dtheta <- dtheta + lr dv`, with
    ||H|| and the bounds of a step the largest of the start and of the end of the exact run.
    """
    start = [theta.astype(LD) for theta in case.problem.net.params]
    end, velocities = start, [np.zeros_like(theta) for theta in start]
    largest = LD(0)
    for _ in range(steps):
        _, end, velocities = exact_step(case, end, velocities, how)
        largest = max(largest, *(np.abs(v).max(initial=0) for v in velocities))
    lr, momentum, decay = max(how.lr), how.momentum, max(how.weight_decay)
    norm = max(curvature(case, params) for params in (start, end))
    if case.metric == "matrix":  # the gradient is divided by the Gram matrix
        norm /= min([1.0, *(float(np.linalg.eigvalsh(span.gram.astype(float))[0]) for span in case.spans if len(span.basis))])
    rounding = [0.0, 0.0]
    slope = loss_off = 0.0
    for params in (start, end):
        _, dL, gradients, bounds = case.at(params)
        size = max(np.abs(theta).max(initial=0) for theta in params)
        # as in `compare_update`, for the longest velocity there is; all entries together
        count = np.sqrt(sum(theta.size for theta in params))
        worst = max(float(b.max(initial=0)) for b in bounds)
        dv = 1.01 * count * (worst + (case.gamma + 4 * case.u) * (2 * float(largest) + worst + decay * float(size)))
        dtheta = 1.01 * (lr * dv + count * (case.gamma + 4 * case.u) * (float(size) + 2 * lr * float(largest)))
        rounding = [max(rounding[0], dv), max(rounding[1], dtheta)]
        slope = max(slope, float(np.sqrt(sum(np.sum(g.astype(float) ** 2) for g in gradients))))
        loss_off = max(loss_off, float(dL))
    off_v = off = 0.0
    for _ in range(steps):
        off_v = momentum * off_v + (norm + decay) * off + 2 * rounding[0]
        off = off + lr * off_v + 2 * rounding[1]
    return off, 2 * loss_off + slope * off + norm * off**2
