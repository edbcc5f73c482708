"""Training: plan, bind, run the loop in C, lift."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import validate
from ..engine.engines import CALLBACK_FAILED, CONVERGED, DIVERGED, RUNNING, ChainEngine, ReferenceEngine, bind, simultaneous
from ..engine.threads import count, for_loop, for_plan
from ..losses import Loss
from ..plan.plan import Plan
from ..plan.planner import Work, follow, make_plan
from ..problem.network import Network
from ..problem.problem import Descent, Problem, make_descent, make_problem
from ..record.recorder import Recorder
from ..record.state import State
from ..validate import Array
from .certified_run import compare, prove, rate
from .errors import DivergenceError
from .loop import SLICE_SECONDS, Loop
from .run import Run

IMPLEMENTATIONS = ("kernel", "reference")
# steps are exact in float64, where log-spaced ones are found; the fastest take decades
MOST_STEPS = 2**53


def train(
    net: Network,
    X: Any,
    Y: Any = None,
    *,
    loss: str | Loss = "squared",
    lr: Any,
    steps: int,
    tol: float | None = None,
    metric: str = "matrix",
    update: str = "simultaneous",
    momentum: float = 0.0,
    weight_decay: Any = 0.0,
    record: Any = None,
    reduce: Any = "auto",
    pivot: Any = "auto",
    threads: int | None = None,
    progress: bool = False,
    implementation: str = "kernel",
    plan: Plan | None = None,
) -> Run:
    """Train a deep linear network by gradient descent on the full data.

    `W_i <- W_i - lr_i v_i`, `v_i <- momentum v_i + dL/dW_i + weight_decay_i W_i` (torch's SGD).

    Parameters
    ----------
    net : Network
        The start; not changed.
    X : array (n, k_0), Compressed, or None
        Rows are samples. None is matrix factorisation: Y is then the target of `W_d ... W_1`. Compressed holds its targets.
    Y : array (n, k_d), or integer labels (n,) for cross-entropy, or (k_d, k_0) if X is None; None for losses of the product.
    loss : str or linalign.losses.Loss
        "squared" (1/2 sum of squares), "mse" (mean over all entries), "logistic", "exponential", "cross_entropy".
    lr : number, one a layer, or "certified"
        "certified": the learning rate of `theory.certify` for matrices (T4.7), where it proves one; `run.certificate` then has
        what was promised beside what was measured.
    weight_decay : number, or one a layer
    steps : int
        Steps to take; 0 evaluates the start.
    tol : float, optional
        Stop before the step at which the loss is at most this.
    metric : "matrix" (projected gradient descent) or "parameters" (gradient descent on the parameters)
        They are the same for dense layers.
    update : "simultaneous" (gradient descent) or "cyclic" (layers 1 to d in turn, each from the newest product)
    momentum : float in [0, 1)
    record : dict
        `{name: every}`; name one of `linalign.record.QUANTITIES`, every a number of steps, "log", a list or a range of steps. The last
        step is always recorded. Functions of your own: `{function: every}` or `{name: (every, function)}`, called with the
        network, or with the network and the state where they take two (`linalign.record.State`: step, loss, gradients, ...).
    reduce : "auto", "none", or a list of reductions
    pivot : "auto" or 0..d
        Where the identity enters the chain; all give the same gradient.
    threads : int, optional
        Threads at most, by default as many as BLAS is set up for; products too small to gain use fewer.
    progress : bool
        Show a bar (needs tqdm).
    implementation : "kernel" or "reference" (plain NumPy, by backpropagation on the data as given)
    plan : Plan, optional
        A plan from `explain` or an earlier run of such a problem, followed instead of `reduce` and `pivot`.

    Returns
    -------
    Run

    Raises
    ------
    ValueError, TypeError
        Bad input, before any work.
    DivergenceError
        The loss left the finite numbers; `error.run` is the run up to the last finite loss.

    Cost: `explain` prints it. Source: theory note, sections 7 and 10.
    """
    problem = make_problem(net, X, Y, loss)
    proof = None
    if isinstance(lr, str):
        proof = prove(lr, net, X, Y, loss, update, momentum, weight_decay)
        lr = rate(proof)
    workers = None if threads is None else validate.integer("threads", threads, least=1)
    settings = _settings(
        net.depth, lr=lr, steps=steps, tol=tol, metric=metric, update=update, momentum=momentum, weight_decay=weight_decay,
        record=record, implementation=implementation,
    )  # fmt: skip
    with for_plan(workers, problem):
        made, work = settings.plan(problem, reduce, pivot, plan)
    with for_loop(workers, made.implementation):
        run = _execute(made, work, settings, progress=progress, threads=count(workers))
    return run if proof is None else replace(run, certificate=compare(proof, lr, run.excess, run.floor))


@dataclass(frozen=True, eq=False)
class _Settings:
    """The options of one run, checked. The recorder holds what the run records, so each run has its own."""

    descent: Descent
    steps: int
    target: float
    recorder: Recorder
    implementation: str

    def plan(self, problem: Problem, reduce: Any, pivot: Any, plan: Plan | None) -> tuple[Plan, Work]:
        """Raises: ValueError, TypeError for unknown reductions or pivots, or a plan that is for another problem."""
        if plan is not None:
            return follow(plan, problem, self.descent)
        return make_plan(problem, self.descent, reduce=reduce, pivot=pivot, implementation=self.implementation, steps=self.steps)


def _settings(
    depth: int, *, lr: Any, steps: Any, tol: Any, metric: Any, update: Any, momentum: Any, weight_decay: Any, record: Any,
    implementation: Any,
) -> _Settings:  # fmt: skip
    """Check the options that do not depend on the data. Raises: ValueError, TypeError naming the option."""
    descent = make_descent(depth, lr, momentum, weight_decay, update, metric)
    count = validate.integer("steps", steps, least=0, most=MOST_STEPS)
    target = -math.inf if tol is None else validate.real("tol", tol, least=0)
    return _Settings(descent, count, target, Recorder(record, count), validate.choice("implementation", implementation, IMPLEMENTATIONS))


def _first_slice(plan: Plan, work: Work) -> int:
    """Steps that surely take less than a slice: by the cost model where it knows what a step does, with room for its error."""
    if work.problem.loss.kind == "end_to_end" or plan.pivot.nanoseconds <= 0:
        return 1
    return max(1, int(SLICE_SECONDS * 1e9 / (8 * plan.pivot.nanoseconds)))


def _execute(plan: Plan, work: Work, settings: _Settings, *, progress: bool = False, stop: list[bool] | None = None,
             threads: int = 1) -> Run:  # fmt: skip
    """The run that was planned. `stop[0]` ends it from outside, in place of Ctrl-C. Raises: DivergenceError."""
    net, descent, recorder = work.given.net, settings.descent, settings.recorder
    engine = bind(work, descent, plan.implementation, plan.pivot, threads)
    size = _first_slice(plan, work)
    loop = Loop(engine, State(work, engine, descent, threads), recorder, settings.steps, settings.target, progress, size)
    began = time.perf_counter()
    loop.run(stop)
    if loop.status == CALLBACK_FAILED:
        assert engine.error is not None
        raise engine.error
    diverged_at = loop.done if loop.status == DIVERGED else None
    if diverged_at:
        loop.rewind(diverged_at - 1)
    seconds = time.perf_counter() - began
    # nobody else holds what was lifted, and the engine ends here
    params = work.lift(engine.params(), loop.done) if loop.done else net.params
    run = Run(
        network=Network._adopt(net.layers, [validate.finite(f"params[{i}]", theta) for i, theta in enumerate(params)]),
        excess=loop.losses.first(loop.done + 1),
        floor=work.floor,
        history=recorder.history(loop.done),
        steps=loop.done,
        converged=loop.status == CONVERGED,
        interrupted=loop.interrupted and loop.status == RUNNING,
        lr=descent.lr,
        plan=plan,
        seconds=seconds,
    )
    if diverged_at is not None:
        raise DivergenceError(_divergence(run, diverged_at == 0), run)
    return run


def _divergence(run: Run, at_start: bool) -> str:
    rates = np.unique(run.lr)
    lr = f"lr={rates[0]:g}" if len(rates) == 1 else f"lr between {rates[0]:g} and {rates[-1]:g}"
    if at_start:
        return "the loss of the start is not finite, before any step; scale the start or the data down"
    return (
        f"training diverged: the loss was {run.loss[-1]:.3g} before step {run.steps} and not finite after it, with {lr}; "
        f"lower lr (error.run holds the {run.steps} steps before)"
    )


def value_and_grad(net: Network, X: Any, Y: Any = None, *, loss: str | Loss = "squared", pivot: Any = "auto",
                   implementation: str = "kernel") -> tuple[float, list[Array]]:  # fmt: skip
    """The loss and its gradient in every layer's parameters, on the data as given.

    Returns `(value, [dL/dtheta_1, ...])`. Raises: ValueError, TypeError as `train`; ArithmeticError if the loss is not finite.
    Cost: one step. Source: theory note, section 10.
    """
    problem = make_problem(net, X, Y, loss)
    validate.choice("implementation", implementation, IMPLEMENTATIONS)
    descent = simultaneous(net.depth)
    plan, work = make_plan(problem, descent, reduce="none", pivot=pivot, implementation=implementation)
    with for_loop(None, implementation):
        if implementation == "reference":
            value, gradients = ReferenceEngine(problem, descent).gradients()
        else:
            engine = ChainEngine(problem, descent, plan.pivot)
            _, value, gradients = engine.gradients()
    if not math.isfinite(value):
        raise ArithmeticError(f"the loss is {value}; scale the network or the data down")
    return value + work.floor, [np.array(gradient, order="C") for gradient in gradients]


def explain(
    net: Network, X: Any, Y: Any = None, *, loss: str | Loss = "squared", update: str = "simultaneous", momentum: float = 0.0,
    reduce: Any = "auto", pivot: Any = "auto", implementation: str = "kernel", steps: int | None = None,
) -> Plan:  # fmt: skip
    """The plan that `train` would follow; `print(plan)` shows it as a table.

    The statements that it names, such as T8.1, are listed and proved in `docs/theory/` of the repository.
    `steps` is how long the run will be: a short one does not repay a search for reductions.
    Raises: ValueError, TypeError as `train`. Cost: the reductions are carried out, nothing is trained.
    """
    problem = make_problem(net, X, Y, loss)
    validate.choice("implementation", implementation, IMPLEMENTATIONS)
    descent = make_descent(net.depth, 1.0, momentum, 0.0, update, "matrix")
    count = None if steps is None else validate.integer("steps", steps, least=0, most=MOST_STEPS)
    return make_plan(problem, descent, reduce=reduce, pivot=pivot, implementation=implementation, steps=count)[0]
