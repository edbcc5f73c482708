"""Training: plan, bind, run the loop in C, lift."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from . import validate
from .engine import CALLBACK_FAILED, CONVERGED, DIVERGED, RUNNING, ChainEngine, Engine, ReferenceEngine, bind, simultaneous
from .errors import DivergenceError
from .losses import Loss
from .network import Network
from .observe import Observer, observer
from .plan import Plan
from .planner import Work, follow, make_plan
from .problem import Descent, Problem, make_descent, make_problem
from .record import Recorder
from .run import Run
from .validate import Array

IMPLEMENTATIONS = ("kernel", "reference")
# the loop comes back to Python this often, for Ctrl-C and the progress bar
SLICE_SECONDS = 0.05
# a copy of the network is kept this often, so that a divergence can be traced back to its step
SNAPSHOT_SECONDS = 0.2
# below this many multiply-adds in its largest product a step gains nothing from a second BLAS thread
THREAD_WORTH = 96**3


class _State:
    """The run where it stands, for the recorder: quantities of the network as given."""

    def __init__(self, work: Work, engine: Engine, descent: Descent) -> None:
        self._work, self._engine = work, engine
        self._moving = bool(descent.weight_decay.any())
        self._modes: tuple[Array, Array] | None = None
        self._observer: Observer | None = None
        self._start: list[Array] | None = None
        self._lifted: tuple[int, list[Array]] | None = None
        self.step = 0

    @property
    def start(self) -> list[Array]:
        return [layer.matrix(theta) for layer, theta in self._layers(self._work.given.net.params)]

    def _layers(self, params: Any) -> Any:
        return zip(self._work.given.net.layers, params, strict=True)

    def params(self) -> list[Array]:
        """Lifted once a step, however many quantities ask."""
        if self._lifted is None or self._lifted[0] != self.step:
            self._lifted = self.step, self._work.lift(self._engine.params(), self.step)
        return self._lifted[1]

    def matrices(self) -> list[Array]:
        return [layer.matrix(theta) for layer, theta in self._layers(self.params())]

    def network(self) -> Network:
        return self._work.given.net.with_params(self.params())

    @property
    def observe(self) -> Observer:
        """What needs not the lifted network; its constants are worked out when first asked for."""
        if self._observer is None:
            self._observer = observer(self._work, self._moving, self._engine.params, self.matrices)
        return self._observer

    def loss(self) -> float:
        status, value = self._engine.value(-math.inf)
        if status == CALLBACK_FAILED:
            assert self._engine.error is not None
            raise self._engine.error
        return float(value) + self._work.floor

    def gradient_norm(self) -> float:
        # gradients lie in the subspaces that are run: the norm is the same
        return self._engine.gradient_norm()

    @property
    def modes(self) -> tuple[Array, Array]:
        if self._modes is None:
            self._modes = mode_bases(self._work.given)
        return self._modes


def mode_bases(problem: Problem) -> tuple[Array, Array]:
    """Thin singular vectors `(U, V)` of `-dL/dP` at `P = 0`: of `Y^T X`, up to scale, for the squared loss."""
    k_0, k_d = problem.net.widths[0], problem.net.widths[-1]
    objective = problem.loss.objective(problem.T, problem.factor)
    _, D = objective(np.zeros((problem.rows, k_d), dtype=problem.net.dtype))
    G = -(D.T if problem.X is None else D.T @ problem.X)
    if not G.any():
        G = np.eye(k_d, k_0)
    U, _, Vt = np.linalg.svd(np.asarray(G, dtype=np.float64), full_matrices=False)
    return U, Vt.T


class _Limits:
    """The runs that have limited the threads of BLAS."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.first: Any = None


_LIMITS = _Limits()


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def _largest_product(work: Work, rows: int) -> int:
    """Multiply-adds of the largest product of a step."""
    problem = work.problem
    sides = list(pairwise(problem.net.widths))
    if problem.X is not None and problem.X.ndim == 2:
        sides.append(problem.X.shape)
    return rows * max(a * b for a, b in sides)


def _limit(threads: int | None) -> Any:
    """At most so many BLAS threads, in every copy of BLAS that is loaded."""
    return contextlib.nullcontext() if threads is None else _blas().limit(limits=threads, user_api="blas")


def _threads(wanted: int | None, largest: int, implementation: str) -> Any:
    """BLAS threads during the loop: `wanted`, but one where the products are too small to gain from more."""
    return _limit(1 if implementation == "kernel" and largest < THREAD_WORTH else wanted)


@contextlib.contextmanager
def _interrupts() -> Iterator[list[bool]]:
    """Ctrl-C sets a flag that the loop reads between slices; a second one interrupts at once."""
    flag = [False]
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def handler(signum: int, frame: Any) -> None:
        if flag[0]:
            raise KeyboardInterrupt
        flag[0] = True

    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.default_int_handler:
        # somebody else handles Ctrl-C, or ignores it: leave that alone
        yield flag
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)


def _bar(progress: bool, total: int, unit: str = "step") -> Any:
    if not progress:
        return None
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError("progress=True needs tqdm; install it with: pip install linalign[cli]") from None
    return tqdm(total=total, unit=unit, unit_scale=True, dynamic_ncols=True)


class _Loop:
    """Slices of steps between recordings, with a snapshot to go back to."""

    def __init__(self, engine: Engine, state: _State, recorder: Recorder, steps: int, tol: float, progress: bool, size: int) -> None:
        """`size`: the steps of the first slice; the following ones are measured."""
        self.engine, self.state, self.recorder = engine, state, recorder
        self.steps, self.tol, self.progress, self.size = steps, tol, progress, size
        self.values: Array = np.empty(steps + 1)
        self.done = 0
        self.status = RUNNING
        self.interrupted = False
        self._kept: list[tuple[int, list[Array]]] = []

    def _snapshot(self) -> None:
        # and the one before: the loss may have left the finite numbers just here, which is seen after the next step
        self._kept = [*self._kept[-1:], (self.done, self.engine.snapshot())]
        self._kept_time = time.perf_counter()

    def _rewind(self, step: int) -> None:
        """Back to where `step` steps had been taken: from the snapshot, the same steps again."""
        self.done, kept = next(pair for pair in reversed(self._kept) if pair[0] <= step)
        self.engine.restore(kept)
        self.engine.advance(step - self.done, self.values[self.done :], -math.inf)
        self.done = step

    def _record(self, last: bool = False) -> None:
        """Record what is due; a network that has left the finite numbers is left to the loop to find."""
        if not self.recorder:
            return
        try:
            self.state.step = self.done
            with np.errstate(all="ignore"):
                self.recorder.take(self.done, self.state, last=last)
        except Exception:
            if all(np.isfinite(theta).all() for theta in self.engine.params()):
                raise

    def run(self, stop: list[bool] | None = None) -> None:
        bar = _bar(self.progress, self.steps)
        self._snapshot()
        with _interrupts() if stop is None else contextlib.nullcontext(stop) as interrupted:
            self._record()
            size = self.size
            while self.done < self.steps and not interrupted[0]:
                began = time.perf_counter()
                if began - self._kept_time > SNAPSHOT_SECONDS:
                    self._snapshot()
                count = min(size, self.recorder.next_after(self.done, self.steps) - self.done)
                self.status, took = self.engine.advance(count, self.values[self.done : self.done + count], self.tol)
                self.done += took
                if bar is not None:
                    bar.update(took)
                if self.status != RUNNING:
                    break
                spent = time.perf_counter() - began
                if count == size:
                    size = max(1, min(2 * size, int(size * SLICE_SECONDS / max(spent, 1e-9))))
                self._record()
            self.interrupted = interrupted[0] and self.done < self.steps
        if bar is not None:
            bar.close()
        if self.status == RUNNING:
            self.status, self.values[self.done] = self.engine.value(self.tol)
        if self.status in (RUNNING, CONVERGED):
            self._record(last=True)


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
    lr, weight_decay : number, or one a layer
    steps : int
        Steps to take; 0 evaluates the start.
    tol : float, optional
        Stop before the step at which the loss is at most this.
    metric : "matrix" (projected gradient descent) or "parameters" (gradient descent on the parameters)
        They are the same for dense layers.
    update : "simultaneous" (gradient descent) or "cyclic" (layers 1 to d in turn, each from the newest product)
    momentum : float in [0, 1)
    record : dict
        `{name: every}`; name one of `linalign.record.QUANTITIES` or a function of the network, every a number of steps,
        "log", or a list of steps. The last step is always recorded.
    reduce : "auto", "none", or a list of reductions
    pivot : "auto" or 0..d
        Where the identity enters the chain; all give the same gradient.
    threads : int, optional
        BLAS threads at most; products too small to gain always use one.
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
    workers = None if threads is None else validate.integer("threads", threads, least=1)
    settings = _settings(
        net.depth, lr=lr, steps=steps, tol=tol, metric=metric, update=update, momentum=momentum, weight_decay=weight_decay,
        record=record, implementation=implementation,
    )  # fmt: skip
    with _limit(workers):
        made, work = settings.plan(problem, reduce, pivot, plan)
    with _threads(workers, _largest_product(work, made.pivot.rows), made.implementation):
        return _execute(made, work, settings, progress=progress)


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
    count = validate.integer("steps", steps, least=0)
    target = -math.inf if tol is None else validate.real("tol", tol, least=0)
    return _Settings(descent, count, target, Recorder(record, count), validate.choice("implementation", implementation, IMPLEMENTATIONS))


def _first_slice(plan: Plan, work: Work) -> int:
    """Steps that surely take less than a slice: by the cost model where it knows what a step does, with room for its error."""
    if work.problem.loss.kind == "end_to_end" or plan.pivot.nanoseconds <= 0:
        return 1
    return max(1, int(SLICE_SECONDS * 1e9 / (8 * plan.pivot.nanoseconds)))


def _execute(plan: Plan, work: Work, settings: _Settings, *, progress: bool = False, stop: list[bool] | None = None) -> Run:
    """The run that was planned. `stop[0]` ends it from outside, in place of Ctrl-C. Raises: DivergenceError."""
    net, descent, recorder = work.given.net, settings.descent, settings.recorder
    engine = bind(work, descent, plan.implementation, plan.pivot)
    size = _first_slice(plan, work)
    loop = _Loop(engine, _State(work, engine, descent), recorder, settings.steps, settings.target, progress, size)
    began = time.perf_counter()
    loop.run(stop)
    if loop.status == CALLBACK_FAILED:
        assert engine.error is not None
        raise engine.error
    diverged_at = loop.done if loop.status == DIVERGED else None
    if diverged_at:
        loop._rewind(diverged_at - 1)
    seconds = time.perf_counter() - began
    params = work.lift(engine.params(), loop.done) if loop.done else net.params
    run = Run(
        network=net.with_params(params),
        excess=loop.values[: loop.done + 1].copy(),
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
        raise DivergenceError(_divergence(diverged_at, run), run)
    return run


def _divergence(step: int, run: Run) -> str:
    rates = np.unique(run.lr)
    lr = f"lr={rates[0]:g}" if len(rates) == 1 else f"lr between {rates[0]:g} and {rates[-1]:g}"
    if step == 0:
        return "the loss of the start is not finite, before any step; scale the start or the data down"
    return (
        f"training diverged: the loss was {run.loss[-1]:.3g} before step {step - 1} and not finite after it, with {lr}; "
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
    with _threads(None, _largest_product(work, plan.pivot.rows), implementation):
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

    `steps` is how long the run will be: a short one does not repay a search for reductions.
    Raises: ValueError, TypeError as `train`. Cost: the reductions are carried out, nothing is trained.
    """
    problem = make_problem(net, X, Y, loss)
    validate.choice("implementation", implementation, IMPLEMENTATIONS)
    descent = make_descent(net.depth, 1.0, momentum, 0.0, update, "matrix")
    count = None if steps is None else validate.integer("steps", steps, least=0)
    return make_plan(problem, descent, reduce=reduce, pivot=pivot, implementation=implementation, steps=count)[0]
