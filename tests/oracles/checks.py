"""What the tests of the step share: cases, the 80-bit reference, derived error bounds, and the checks that the mutants must fail.

Bounds. An entry of any gradient is a sum of products of entries of the weights, the data and the residual. In whatever order the
matrices are multiplied and the sums are taken, each product carries at most K roundings, so with `u = eps / 2`

    |fl(G_i) - G_i| <= gamma_K S_i^T (|E| + dE)^T A_{i-1} + S_i^T dE^T A_{i-1},   gamma_K = K u / (1 - K u)

where `A_i = |X| |W_1|^T ... |W_i|^T` and `S_i = |W_d| ... |W_{i+1}|` are the chains of absolute values, E is the gradient in the
outputs and dE its error, which each loss derives from the error `gamma_K A_d` of the outputs. K counts the longest schedule there
is, an interior pivot: the chain above the pivot enters three times, the one below three times, X twice.
The exact values come from the formulas below in 80-bit arithmetic, which share no line with `reference.py`.
Nothing is fitted: a kernel that is right cannot fail, and one that loses a digit more than its schedule may is seen.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from linalign import Network, losses, reference
from linalign.engine import bind as kernel
from linalign.optim import SGD
from linalign.plan import machine
from linalign.plan.cost import pivots
from linalign.problem.descent import make_descent
from linalign.problem.problem import Problem, make_problem
from tests.oracles.extended import LD

DTYPES = (np.float64, np.float32)
RUNNING, CONVERGED, DIVERGED, CALLBACK_FAILED = (machine.STATUSES[name] for name in ("running", "converged", "diverged", "callback failed"))
U64 = 2.0**-53


def isas():
    """The instruction sets that this processor has, each with what goes to its tile and by panels; and one that is nobody's default."""
    best = machine.LEVELS[machine.available()]
    have = {name: (name, machine.TILES[level], machine.PROFILE.panels[name]) for name, level in machine.LEVELS.items() if level <= best}
    if best:
        # products of all but the smallest shapes go to BLAS, some of them over padded rows, or by panels
        have["mixed"] = (machine.available(), 16, 25)
    return have


@contextmanager
def use_isa(name):
    """Bind with this instruction set."""
    old = machine.ISA, machine.TILE, machine.PANELS
    machine.ISA, machine.TILE, machine.PANELS = isas()[name]
    try:
        yield
    finally:
        machine.ISA, machine.TILE, machine.PANELS = old


# ---- losses, one builder a way to ask for it -------------------------------------------------------------------------------
# each takes a generator, the widths and the number of samples and returns X, Y, loss


def _outputs(loss):
    return lambda rng, k, n: (rng.standard_normal((n, k[0])), rng.standard_normal((n, k[-1])), loss)


def _signs(loss):
    return lambda rng, k, n: (rng.standard_normal((n, k[0])), rng.choice([-1.0, 1.0], (n, k[-1])), loss)


def _labels(loss):
    return lambda rng, k, n: (rng.standard_normal((n, k[0])), rng.integers(k[-1], size=n), loss)


def _probabilities(loss):
    # eighths sum to one without a rounding in either precision
    return lambda rng, k, n: (rng.standard_normal((n, k[0])), rng.multinomial(8, [1 / k[-1]] * k[-1], size=n) / 8, loss)


def _factorisation(loss, targets):
    return lambda rng, k, n: (None, targets(rng, k), loss)


def _entries(**options):
    def build(rng, k, n):
        observed = rng.choice(k[-1] * k[0], max(1, k[-1] * k[0] // 2), replace=False)
        rows, cols = np.divmod(observed, k[0])
        return None, None, losses.Entries(rows, cols, rng.standard_normal(len(observed)), **options)

    return build


def _sensing(**options):
    def build(rng, k, n):
        return None, None, losses.Sensing(rng.standard_normal((5, k[-1], k[0])), rng.standard_normal(5), **options)

    return build


def _end_to_end(rng, k, n):
    target = rng.standard_normal((k[-1], k[0]))
    return None, None, losses.EndToEnd(lambda P: (0.5 * float(np.sum((P - target) ** 2)), P - target))


LOSSES = {
    "squared": _outputs("squared"),
    "mse": _outputs("mse"),
    "squared-full": _outputs(losses.Squared(half=False)),
    "squared-samples": _outputs(losses.Squared(reduction="samples")),
    "squared-full-samples": _outputs(losses.Squared(half=False, reduction="samples")),
    "squared-entries": _outputs(losses.Squared(reduction="entries")),
    "logistic": _signs("logistic"),
    "logistic-sum": _signs(losses.Logistic(reduction="sum")),
    "exponential": _signs("exponential"),
    "exponential-sum": _signs(losses.Exponential(reduction="sum")),
    "cross_entropy-labels": _labels("cross_entropy"),
    "cross_entropy-probabilities": _probabilities("cross_entropy"),
    "cross_entropy-sum": _labels(losses.CrossEntropy(reduction="sum")),
    "huber": _outputs("huber"),
    "huber-sum": _outputs(losses.Huber(0.5, reduction="sum")),
    "hinge": _signs("hinge"),
    "squared_hinge": _signs("squared_hinge"),
    "factorisation": _factorisation("squared", lambda rng, k: rng.standard_normal((k[-1], k[0]))),
    "factorisation-mse": _factorisation("mse", lambda rng, k: rng.standard_normal((k[-1], k[0]))),
    "factorisation-logistic": _factorisation("logistic", lambda rng, k: rng.choice([-1.0, 1.0], (k[-1], k[0]))),
    "factorisation-labels": _factorisation("cross_entropy", lambda rng, k: rng.integers(k[-1], size=k[0])),
    "entries": _entries(),
    "entries-mean": _entries(half=False, reduction="mean"),
    "sensing": _sensing(),
    "sensing-mean": _sensing(half=False, reduction="mean"),
    "end_to_end": _end_to_end,
}
QUADRATIC = [name for name in LOSSES if name.startswith(("squared", "mse", "factorisation", "entries", "sensing", "end"))]
QUADRATIC = [name for name in QUADRATIC if name not in ("factorisation-logistic", "factorisation-labels")]


def make_case(widths, n, loss="squared", dtype=np.float64, seed=0):
    """A random problem: weights of norm about one, standard normal data."""
    rng = np.random.default_rng([seed, n, *widths])
    net = Network.dense(widths, [rng.standard_normal((b, a)) / np.sqrt(a) for a, b in pairwise(widths)])
    X, Y, kind = LOSSES[loss](rng, widths, n)
    assert X is None or X.size == 1 or np.ptp(X) > 0, "a generator that draws a constant"
    # few labels may all be equal by chance; with one output there is one class, and nothing to learn
    assert Y is None or Y.size < 64 or widths[-1] == 1 or np.ptp(Y) > 0, "a generator that draws a constant"
    X, Y = (v.astype(dtype) if v is not None and v.dtype.kind == "f" else v for v in (X, Y))
    return Case(make_problem(net.astype(dtype), X, Y, kind))


# ---- the exact step and its bound ------------------------------------------------------------------------------------------


def chains(W, X):
    """`[X W_1^T ... W_i^T]` for i = 0..d and `[W_d ... W_{i+1}]` for i = 0..d."""
    below, above = [X], [np.eye(len(W[-1]), dtype=LD)]
    for w in W:
        below.append(below[-1] @ w.T)
    for w in reversed(W):
        above.insert(0, above[0] @ w)
    return below, above


def exact_loss(problem, F):
    """The loss of the outputs F (n, k_d) and its gradient in them, in 80 bits."""
    kind, f = problem.loss, LD(problem.factor)
    T = None if problem.T is None else problem.T.astype(LD)
    if kind.kind == "squared":
        return f * np.sum((F - T) ** 2), 2 * f * (F - T)
    if kind.kind == "logistic":
        return f * np.sum(np.log1p(np.exp(-T * F))), -f * T / (1 + np.exp(T * F))
    if kind.kind == "exponential":
        return f * np.sum(np.exp(-T * F)), -f * T * np.exp(-T * F)
    if kind.kind == "huber":
        r, delta = F - T, LD(kind.delta)
        return f * np.sum(np.where(abs(r) <= delta, r**2 / 2, delta * (abs(r) - delta / 2))), f * np.clip(r, -delta, delta)
    if kind.kind == "hinge":
        return f * np.sum(np.maximum(1 - T * F, 0)), -f * T * (T * F < 1)
    if kind.kind == "squared_hinge":
        return f * np.sum(np.maximum(1 - T * F, 0) ** 2), -2 * f * T * np.maximum(1 - T * F, 0)
    if kind.kind == "cross_entropy":
        total = np.sum(np.exp(F), axis=1, keepdims=True)
        return f * np.sum(T * (np.log(total) - F)), f * (np.exp(F) / total - T)
    P, G = F.T, np.zeros(F.T.shape, dtype=LD)
    if kind.kind == "entries":
        loss = LD(0)
        for row, column, value in zip(kind.rows, kind.cols, kind.values, strict=True):
            loss += f * (P[row, column] - value) ** 2
            G[row, column] = 2 * f * (P[row, column] - value)
        return loss, G.T
    if kind.kind == "sensing":
        loss = LD(0)
        for A, value in zip(kind.matrices.astype(LD), kind.values, strict=True):
            loss += f * (np.sum(A * P) - value) ** 2
            G += 2 * f * (np.sum(A * P) - value) * A
        return loss, G.T
    loss, G = kind.fn(P)
    return LD(loss), G.T


def exact_step(case, params, velocities, how):
    """One step in 80 bits, from the equations: the loss before it, parameters and velocities after it."""
    loss, _, gradients, _ = case.at(params)
    after, moved = list(params), list(velocities)
    for i in range(case.depth):
        if how.update == "cyclic":
            gradients = case.at(after)[2]
        moved[i] = LD(how.momentum) * velocities[i] + gradients[i] + LD(how.weight_decay[i]) * params[i]
        after[i] = params[i] - LD(how.lr[i]) * moved[i]
    return loss, after, moved


@dataclass(frozen=True)
class Case:
    """A problem, and its step in 80-bit arithmetic."""

    problem: Problem

    @property
    def widths(self):
        return self.problem.net.widths

    @property
    def depth(self):
        return len(self.widths) - 1

    @property
    def u(self):
        return float(np.finfo(self.problem.net.dtype).eps) / 2

    @cached_property
    def gamma(self):
        n, k = self.problem.rows, self.widths
        K = 3 * sum(k) + 2 * (n + k[0]) + k[-1] + len(k) + 8
        assert K * self.u < 0.1
        return K * self.u / (1 - K * self.u)

    @cached_property
    def X(self):
        X = self.problem.X
        if X is None:
            return np.eye(self.widths[0], dtype=LD)
        return np.diag(X.astype(LD)) if X.ndim == 1 else X.astype(LD)

    @cached_property
    def exact(self):
        """`at` the start."""
        return self.at(self.problem.net.params)

    def at(self, params):
        """The exact loss and gradients at `params`, and bounds on the error of any of the schedules.

        Returns `(loss, its bound, gradients, their bounds)`.
        """
        W = [theta.astype(LD) for theta in params]
        below, above = chains(W, self.X)
        F = below[-1]
        loss, E = exact_loss(self.problem, F)
        gradients = [above[i + 1].T @ E.T @ below[i] for i in range(self.depth)]
        below, above = chains([np.abs(w) for w in W], np.abs(self.X))
        dE, dL = self.output_errors(F, self.gamma * below[-1], loss, E)
        bounds = [self.gamma * above[i + 1].T @ (np.abs(E) + dE).T @ below[i] + above[i + 1].T @ dE.T @ below[i] for i in range(self.depth)]
        return loss, dL, gradients, bounds

    def output_errors(self, F, dF, loss, E):
        """`(dE, dL)`: bounds on the errors of the gradient in the outputs and of the loss, if the outputs are off by dF.

        The constants count roundings of the textbook formula in working precision, as the reference evaluates it; the kernel
        evaluates the transcendental functions in double, which is never worse.
        """
        problem, u = self.problem, self.u
        f, kind, size = problem.factor, problem.loss.kind, np.abs(E)
        terms = abs(loss)
        if kind in ("squared", "end_to_end"):
            f = 0.5 if kind == "end_to_end" else f
            # r = F - T, rounded once, then scaled
            dE = 2.02 * f * dF + 4 * u * size
            dr = (dF + 2 * u * size / (2 * f)) * 1.01
            dL = f * np.sum(2 * np.abs(E) / (2 * f) * dr + dr**2)
        elif kind == "logistic":
            # |d sigma| <= 1/4; exp(-log(1 + e^m)) magnifies a relative rounding by its argument, at most |m| + 1
            count = 10 + 3 * np.abs(F)
            dE = 1.01 * f * dF / 4 + count * u * size
            dL = np.sum((size + dE) * dF) + 8 * u * terms
        elif kind == "exponential":
            dE = size * np.expm1(dF) * 1.01 + 10 * u * size
            dL = np.sum(size * np.expm1(dF)) * 1.01 + 10 * u * terms
        elif kind == "huber":
            # the slope is Lipschitz with constant f, and r is rounded once
            dr = 1.01 * (dF + 2 * u * np.abs(F - problem.T.astype(LD)))
            dE = f * dr + 4 * u * size
            dL = np.sum((size + dE) * dr) + 8 * u * terms
        elif kind in ("hinge", "squared_hinge"):
            # a margin within its error of 1 may fall on either side
            dr = 1.01 * (dF + 2 * u * (1 + np.abs(F)))
            near = np.abs(1 - problem.T.astype(LD) * F) <= dr
            dE = (f * near if kind == "hinge" else 2 * f * dr) + 4 * u * size
            dL = np.sum((size + dE) * dr) + 8 * u * terms
        elif kind == "cross_entropy":
            reach = np.abs(F - F.max(axis=1, keepdims=True)).max(axis=1, keepdims=True)
            p = np.exp(F - F.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            count = 10 + F.shape[1] + 4 * reach
            dE = 1.01 * f * p * (np.expm1(2 * dF.max(axis=1, keepdims=True)) + count * u) + 4 * u * size
            dE += f * float(np.finfo(problem.net.dtype).tiny)
            dL = np.sum((size + dE) * dF) + f * np.sum(count * u)
        elif kind == "entries":
            # the reference rounds the observed values to working precision
            seen = np.zeros(F.shape, dtype=LD)
            seen[problem.loss.cols, problem.loss.rows] = np.abs(problem.loss.values) + 1e-300
            dE = np.where(seen > 0, 2.02 * f * (dF + u * seen), 0) + 4 * u * size
            dr = np.where(seen > 0, 1.01 * (dF + u * seen + u * size / (2 * f)), 0)
            dL = f * np.sum(size / f * dr + dr**2)
        elif kind == "sensing":
            m, M = len(problem.loss.matrices), np.abs(problem.loss.matrices.astype(LD))
            dF, many = dF.T, (F.size + m + 8) * u
            r = np.abs(np.einsum("jab,ab->j", problem.loss.matrices.astype(LD), F.T) - problem.loss.values)
            whole = np.einsum("jab,ab->j", M, np.abs(F.T)) + np.abs(problem.loss.values)
            dr = 1.01 * (np.einsum("jab,ab->j", M, dF) + many * whole)
            dE = (2.02 * f * np.einsum("j,jab->ab", dr + many * r, M)).T
            dL = f * np.sum(2 * r * dr + dr**2)
        else:
            raise AssertionError(f"no bound for the loss {kind!r}: derive one")
        # summed in double by the kernel and by both references
        return dE, float(dL) + 4 * (F.size + 10) * U64 * terms


# ---- engines ---------------------------------------------------------------------------------------------------------------


def descent(depth, lr=0.01, momentum=0.0, weight_decay=0.0, update="simultaneous"):
    return make_descent(depth, lr, SGD(momentum, weight_decay=weight_decay), update, "matrix")


class ReferenceEngine:
    """`linalign.reference` behind the interface of a `Chain`."""

    def __init__(self, problem, how):
        self.problem, self.how = problem, how
        self.layers, self.objective = problem.net.layers, problem.loss.objective(problem.T, problem.factor)
        self.params = [theta.copy() for theta in problem.net.params]
        self.velocities = [np.zeros_like(theta) for theta in self.params]

    def advance(self, steps, values, tol):
        how = self.how
        for t in range(steps):
            values[t], self.params, self.velocities = reference.step(
                self.layers, self.params, self.velocities, self.problem.X, self.objective,
                how.lr, how.momentum, how.weight_decay, how.update, how.metric,
            )  # fmt: skip
        return RUNNING, steps

    def differentiate(self):
        loss, self.gradients = reference.gradients(self.layers, self.params, self.problem.X, self.objective)
        return RUNNING, loss


def kernel_engine(isa, pivot=0):
    """A maker of chains: this instruction set, this pivot."""

    def make(problem, how):
        with use_isa(isa):
            return kernel.bind(problem, how, pivot, pivots(problem)[pivot].rows)

    return make


# ---- checks that real tests and mutants share ------------------------------------------------------------------------------


def check_gradients(make, case):
    """The loss and every gradient lie within the bound of the exact ones."""
    engine = make(case.problem, descent(case.depth))
    params = [theta.copy() for theta in engine.params]
    status, loss = engine.differentiate()
    assert status == RUNNING
    exact, dL, gradients, bounds = case.exact
    assert abs(loss - exact) <= dL, f"loss {loss!r}, exact {exact!r}, bound {float(dL):.1e}"
    for i, (found, wanted, bound) in enumerate(zip(engine.gradients, gradients, bounds, strict=True)):
        compare(f"gradient of layer {i + 1}", found, wanted, bound)
    for theta, before in zip(engine.params, params, strict=True):
        assert np.array_equal(theta, before), "asking for gradients changed the parameters"


def compare(what, found, wanted, bound):
    """Entry by entry: |found - wanted| <= bound."""
    assert found.shape == wanted.shape
    off = np.abs(found.astype(LD) - wanted) - bound
    if not (off <= 0).all():
        at = np.unravel_index(np.argmax(np.where(np.isnan(off), np.inf, off)), off.shape)
        error = abs(float(LD(found[at]) - wanted[at]))
        raise AssertionError(
            f"{what} at {tuple(map(int, at))}: {found[at]!r}, exact {float(wanted[at])!r}; error {error:.1e}, bound {float(bound[at]):.1e}"
        )


def check_steps(make, case, how, steps=3):
    """Every step, from where the engine stands, lies within the bound of the exact step from there.

    `v <- m v + G + w theta`, `theta <- theta - lr v`, all in 80 bits; the engine's own state is the exact start of the next step,
    so that the bound is that of one step however many are taken. A cyclic sweep is checked layer by layer, each from the
    engine's own new values of the layers before it.
    """
    engine = make(case.problem, how)
    velocities = [np.zeros_like(theta) for theta in engine.params]
    before = [theta.copy() for theta in engine.params]
    value = np.empty(1)
    for step in range(steps):
        status, took = engine.advance(1, value, -np.inf)
        assert (status, took) == (RUNNING, 1)
        after = [theta.copy() for theta in engine.params]
        assert any(not np.array_equal(a, b) for a, b in zip(after, before, strict=True)), "nothing moved"
        moved = [v.copy() for v in engine.velocities] or velocities
        exact, dL, gradients, bounds = case.at(before)
        assert abs(value[0] - exact) <= dL, f"loss before step {step}: {value[0]!r}, exact {exact!r}, bound {float(dL):.1e}"
        for i in range(case.depth):
            if how.update == "cyclic" and i:
                _, _, gradients, bounds = case.at([*after[:i], *before[i:]])
            compare_update(case, how, step, i, before, velocities, after, moved, gradients[i], bounds[i])
        before, velocities = after, moved


def compare_update(case, how, step, i, before, velocities, after, moved, gradient, bound):
    """One layer's update against the equation."""
    lr, decay, momentum = LD(how.lr[i]), LD(how.weight_decay[i]), LD(how.momentum)
    theta, v = before[i].astype(LD), velocities[i].astype(LD)
    wanted_v = momentum * v + gradient + decay * theta
    wanted = theta - lr * wanted_v
    # the scalars are rounded to working precision, and the sums may be taken in any order with those of the gradient
    spread = momentum * np.abs(v) + np.abs(gradient) + bound + decay * np.abs(theta)
    dv = 1.01 * (bound + (case.gamma + 4 * case.u) * spread)
    if how.momentum:
        compare(f"velocity of layer {i + 1} after step {step}", moved[i], wanted_v, dv)
    dtheta = 1.01 * (lr * dv + (case.gamma + 4 * case.u) * (np.abs(theta) + lr * spread))
    compare(f"layer {i + 1} after step {step}", after[i], wanted, dtheta)


def integer_case(widths, n, loss, dtype, seed=0):
    """Small integers: with step sizes that are powers of two every number of the first steps is exact, whatever the order."""
    rng = np.random.default_rng([seed, n, *widths])

    def small(*shape):
        return rng.integers(-2, 3, shape).astype(dtype)

    net = Network.dense(widths, [rng.integers(-1, 2, (b, a)).astype(dtype) for a, b in pairwise(widths)])
    X, Y, kind = small(n, widths[0]), small(n, widths[-1]), loss
    if loss == "factorisation":
        X, Y, kind = None, small(widths[-1], widths[0]), "squared"
    elif loss == "entries":
        rows, cols = np.divmod(np.arange(0, widths[-1] * widths[0], 2), widths[0])
        X, Y, kind = None, None, losses.Entries(rows, cols, rng.integers(-2, 3, len(rows)))
    elif loss == "sensing":
        X, Y, kind = None, None, losses.Sensing(rng.integers(-1, 2, (3, widths[-1], widths[0])), rng.integers(-2, 3, 3))
    elif loss == "end_to_end":
        target = small(widths[-1], widths[0])
        X, Y, kind = None, None, losses.EndToEnd(lambda P: (0.5 * float(np.sum((P - target) ** 2)), P - target))
    elif loss == "squared-full":
        kind = losses.Squared(half=False)
    return Case(make_problem(net, X, Y, kind))


INTEGER_LOSSES = ("squared", "squared-full", "factorisation", "entries", "sensing", "end_to_end")


def assert_exact(case, params, granules):
    """The premise of equality to the bit: no number of the step at `params` needs more digits than there are.

    If layer j holds multiples of `granules[j]`, every partial sum on the way to gradient i is a multiple of the granules of the
    residual's chain and of its own, returned for each i, and at most the chain of absolute values, which the bound is made of.
    """
    *_, bounds = case.at(params)
    whole = np.prod(granules)
    of_gradients = [whole * whole / g for g in granules]
    for granule, bound in zip(of_gradients, bounds, strict=True):
        assert float(bound.max()) / case.gamma / granule < 1 / case.u, "the numbers of this case are too long to be exact"
    return of_gradients


def check_integer_gradients(make, case):
    """Integers in: loss and gradients equal the exact ones to the bit."""
    params = [theta.astype(LD) for theta in case.problem.net.params]
    assert_exact(case, params, np.ones(case.depth))
    loss, _, gradients, _ = case.at(params)
    assert any(g.any() for g in gradients)
    engine = make(case.problem, descent(case.depth))
    assert engine.differentiate() == (RUNNING, loss)
    for i, (found, wanted) in enumerate(zip(engine.gradients, gradients, strict=True)):
        assert np.array_equal(found, wanted), f"gradient of layer {i + 1}"


def check_integer_steps(make, case, how, steps):
    """Integers in, powers of two for the rest: the parameters equal the exact ones to the bit after every step."""
    d = case.depth
    exact = [theta.astype(LD) for theta in case.problem.net.params]
    velocities = [np.zeros_like(theta) for theta in exact]
    granules, of_velocities = np.ones(d), np.ones(d)
    engine = make(case.problem, how)
    value = np.empty(1)
    for step in range(steps):
        loss, after, velocities = exact_step(case, exact, velocities, how)
        finer = granules.copy()
        for i in range(d):
            start = [*after[:i], *exact[i:]] if how.update == "cyclic" else exact
            of_gradients = assert_exact(case, start, finer if how.update == "cyclic" else granules)
            of_velocities[i] = min(of_gradients[i], (how.momentum or 1) * of_velocities[i], (how.weight_decay[i] or 1) * granules[i])
            finer[i] = how.lr[i] * of_velocities[i]
            assert float(np.abs(after[i]).max()) / finer[i] < 1 / case.u
        exact, granules = after, finer
        assert engine.advance(1, value, -np.inf) == (RUNNING, 1)
        assert value[0] == loss, f"loss before step {step}"
        for i, (found, wanted) in enumerate(zip(engine.params, exact, strict=True)):
            assert np.array_equal(found, wanted), f"layer {i + 1} after step {step}"
