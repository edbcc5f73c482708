"""Flow: gradient flow, the limit of small learning rates, integrated with error control on the reduced problem."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import validate
from ..cached import cached_property
from ..calls import called
from ..engine.engine import DIVERGED
from ..engine.flow import APART, SLICE, FlowEngine, Following, following
from ..engine.steps import Solver
from ..engine.threads import count, for_loop, for_plan
from ..files import Name
from ..losses import Loss
from ..plan.plan import Plan
from ..plan.planner import make_plan
from ..problem.metric import METRICS
from ..problem.network import Network
from ..problem.problem import make_problem
from ..record.functions import takes_state
from ..record.recorder import History, Recorder
from ..record.state import State
from ..reduce.offsets import OffsetLift
from ..validate import Array
from .execute import adopt
from .loop import interrupts

METHODS = ("DOP853", "RK45")
# about as many gradients as a flow takes, by which a plan sees whether a search for a smaller network pays: seen were 1,000 to 20,000
GRADIENTS = 10_000


@dataclass(frozen=True, eq=False)
class Flow:
    """What `flow` returns.

    network : at `time`: the last of those that were asked for, or where the flow ended before it.
    time : as said.
    times : those of the times asked for that were reached, `(m,)`.
    excess : the loss above `floor` at each, `(m,)`; `loss` is their sum.
    history : what was recorded, at places in `times`.
    drift : the most that `||theta_{i+1}||^2 - ||theta_i||^2` moved, (d - 1,); the flow keeps it where layers are linear without biases
        (of the matrices in the metric "matrix", T15.2), so that it measures the error of the integration. Relative to the larger norm;
        under weight decay times `exp(2 weight_decay t)`, and nan between layers that decay by different numbers.
    evaluations, steps : gradients that were computed, steps that the integrator took.
    end : "done", "steady", "stopped", "interrupted", "gave up" (more than `max_steps`) or "diverged".
    plan : what was run instead of the problem as given.
    """

    network: Network
    time: float
    times: Array
    excess: Array
    floor: float
    history: dict[str, History]
    drift: Array
    evaluations: int
    steps: int
    end: str
    plan: Plan
    seconds: float

    @cached_property
    def loss(self) -> Array:
        """The loss at each of `times`."""
        return self.excess + self.floor

    def plot(self, path: Name | None = None, *, data: str | None = None) -> Any:
        """A figure of the loss over time and of what was recorded, as `Run.plot`. Raises: ImportError without matplotlib."""
        from .plot import plot_flow

        return plot_flow(self, path, data=data)

    def to_pandas(self, *names: str) -> Any:
        """The loss at each of `times` and what was recorded, as a DataFrame by time, as `Run.to_pandas`.

        Raises: ImportError without pandas; KeyError for what was not recorded.
        """
        from .frame import of_flow

        return of_flow(self, names)

    def __repr__(self) -> str:
        seen = f", loss {self.loss[0]:.6g} -> {self.loss[-1]:.6g} at {self.times[-1]:.6g}" if len(self.times) else ""
        return f"Flow(to t = {self.time:.6g}{seen}, {self.end}, {self.evaluations:,} gradients, {self.seconds:.3g} s)"


@called
def flow(
    net: Network, X: Any, Y: Any = None, *, times: Any, loss: str | Loss = "squared", metric: str = "parameters",
    weight_decay: Any = 0.0, rtol: float = 1e-8, atol: float | None = None, method: str = "DOP853", record: Any = None,
    reduce: Any = "auto", steady: float | None = None, stop: Callable[..., Any] | None = None, max_steps: int = 100_000,
    threads: int | None = None,
) -> Flow:  # fmt: skip
    """Gradient flow `dtheta_i/dt = -dL/dtheta_i - weight_decay_i theta_i`, by a Runge-Kutta method with error control.

    Parameters
    ----------
    net, X, Y, loss, threads : as in `linalign.train`; float64.
    times : array (m,), ascending, the first at least 0
        Where the loss and what is recorded are wanted; the flow begins at time 0. The method's own dense output gives them.
    metric : "parameters", or "matrix", the flow of matrices projected on the layers' subspaces.
    weight_decay : number, or one a layer
        Decay of the flow: what no gradient meets is `exp(-weight_decay t)` times its start.
    rtol, atol : tolerances of a step: a layer may be off by `atol + rtol ||W_i||`, Frobenius norms, in the mean over layers. atol is rtol
        times the norm of the largest layer of the start if None. A reduced problem takes the steps of the one as given (T15.6).
    method : "DOP853" (Dormand-Prince of order 8) or "RK45" (order 5), with SciPy's coefficients and control of the step.
    record : dict, as in `linalign.train`; steps are places in `times`.
    reduce : "auto", "none", or a list of reductions. All hold for the flow (T15.1) but "split", whose parts would have steps of their own.
    steady : float, optional
        End where the norm of the right side is at most this. A warning says where the errors of the steps keep it above.
    stop : function, optional
        Called with the network at each of `times`, and with the time if it takes two arguments; ends the flow if its answer is true.
    max_steps : of the integrator; a flow that needs more ends there with what was done, and says so. Near a minimum a step is no longer
        than some six over the largest curvature, whatever the tolerance: for long times pass `steady`.

    Returns
    -------
    Flow

    Raises
    ------
    ValueError, TypeError
        Bad input, before any work; what a loss or function in Python raises.

    Cost: 12 gradients a step (RK45: 6), on the reduced problem. Source: docs/theory, section 15.

    Examples
    --------
    >>> import linalign as la, numpy as np
    >>> net = la.Network.from_matrices([[[0.1]], [[0.1]]])
    >>> found = la.flow(net, [[1.0]], [[1.0]], times=[0, 5.0])  # p(t) = e^2t / (e^2t - 1 + 1 / p_0)
    >>> bool(abs(found.network.matrix()[0, 0] - np.exp(10) / (np.exp(10) + 99)) < 1e-7)
    True
    """
    problem = make_problem(net, X, Y, loss)
    if net.dtype != np.float64:
        raise TypeError(f"net is {net.dtype} but tolerances of a flow need float64; pass net.astype(np.float64)")
    at = _times(times)
    validate.choice("metric", metric, METRICS)
    validate.choice("method", method, METHODS)
    validate.real("rtol", rtol, above=0)
    absolute = None if atol is None else validate.real("atol", atol, above=0)
    if steady is not None:
        validate.real("steady", steady, least=0)
    most = validate.integer("max_steps", max_steps, least=1)
    if stop is not None and not callable(stop):
        raise TypeError(f"stop is {type(stop).__name__}; a function of the network was wanted")
    workers = None if threads is None else validate.integer("threads", threads, least=1)
    recorder = Recorder(record, len(at) - 1)
    descent = following(net.depth, metric, validate.per_layer("weight_decay", weight_decay, net.depth, least=0))
    if isinstance(reduce, str):
        validate.choice("reduce", reduce, ("auto", "none"))
    elif APART in reduce:
        raise ValueError(f"reduce has {APART!r}, whose parts would have steps of their own; leave it out")
    with for_plan(workers, problem):
        plan, work = make_plan(problem, descent, reduce=reduce, steps=GRADIENTS)
    with for_loop(workers, plan.implementation):
        engine = FlowEngine(work.problem, descent, plan.pivot, count(workers))
        state = State(work, engine, descent, count(workers))
        found = _Integration(engine, state, recorder, at, stop, steady, descent)
        return found.run(method, rtol, absolute, most, plan)


class _Integration:
    """One flow, from time 0 on."""

    def __init__(
        self, engine: FlowEngine, state: State, recorder: Recorder, at: Array, stop: Any, steady: float | None, descent: Following,
    ) -> None:  # fmt: skip
        self.engine, self.state, self.recorder, self.at, self.steady, self.descent = engine, state, recorder, at, steady, descent
        self.stop = None if stop is None else _asked(stop)
        self.reached, self.steps, self.losses = 0, 0, np.empty(len(at))
        self.last = engine.start
        self.norms: list[Array] = []

    def run(self, method: str, rtol: float, atol: float | None, most: int, plan: Plan) -> Flow:
        began = time.perf_counter()
        last = max(float(self.at[-1]), np.finfo(np.float64).tiny)
        work, engine = self.state.work, self.engine
        # a layer that starts beside its offset is measured with it
        moved = any(isinstance(lift, OffsetLift) for lift in work.lifts)
        squares = engine.squares(engine.split(engine.start)) if moved else engine.squares(work.given.net.params, work.given.net.layers)
        if atol is None:
            atol = rtol * (float(np.sqrt(squares.max(initial=0.0))) or 1.0)
        solver = engine.solver(method, last, rtol, atol, squares)
        with interrupts() as interrupted, np.errstate(all="ignore"):
            end = self._visit(0.0, lambda t: self.engine.start)
            while end is None and self.reached < len(self.at):
                if interrupted[0]:
                    end = "interrupted"
                elif self.steps == most:
                    end = "gave up"
                else:
                    end = self._go_on(solver, min(most - self.steps, SLICE))
            if end in ("gave up", "interrupted") and self.reached < len(self.at):
                self._stand_at(solver)
            if self.steady is not None and end in (None, "gave up"):
                self._hint(solver, rtol, atol)
            elif end == "gave up":
                self._hint_at_steady(solver, most)
        return self._result(end or "done", plan, time.perf_counter() - began)

    def _go_on(self, solver: Solver, most: int) -> str | None:
        """Steps up to the next time, and a look at all times that they passed."""
        why, taken = solver.advance(float(self.at[self.reached]), most, -1.0 if self.steady is None else self.steady)
        self.steps += taken
        if why == "diverged":
            # no step is small enough
            return "diverged"
        if self.at[self.reached] > solver.t:
            end = None
        elif self.at[self.reached] < solver.t:
            inside, state = solver.dense(), solver.state()
            end = self._visit(solver.t, lambda t: state if t == solver.t else inside(t))
        else:
            end = self._visit(solver.t, lambda t: solver.state())
        if end is None and why == "steady":
            self._stand_at(solver)
            return "steady"
        return end

    def _stand_at(self, solver: Solver) -> None:
        """The flow ends where the method has come to."""
        self.last = solver.state()
        self.descent.clock[0] = solver.t

    def _hint_at_steady(self, solver: Solver, most: int) -> None:
        here = float(np.linalg.norm(self.engine.slope(solver.t, solver.state())))
        warnings.warn(
            f"max_steps is {most} but times[{self.reached}] is {self.at[self.reached]:g}, and the flow is at {solver.t:.6g}, with steps of "
            f"{solver.length:.2g} and a slope of {here:.1g}; pass steady= to end at a steady state, or a larger max_steps",
            RuntimeWarning, stacklevel=5,
        )  # fmt: skip

    def _hint(self, solver: Solver, rtol: float, atol: float) -> None:
        """Say so where the errors that are allowed keep the slope above what is called steady.

        Near a minimum a step is as long as stability lets it be, some six over the largest curvature, and the state is off by what is
        allowed: the slope by that times the curvature.
        """
        state = solver.state()
        here = float(np.linalg.norm(self.engine.slope(solver.t, state)))
        allowed = atol + rtol * np.sqrt(self.engine.squares(self.engine.split(state)))
        left = 6 / max(solver.length, np.finfo(np.float64).tiny) * float(np.linalg.norm(allowed))
        if here <= left and self.steady is not None and self.steady < left:
            warnings.warn(
                f"steady is {self.steady:g} but steps with rtol={rtol:g} may leave a slope of {left:.1g}, and here it is {here:.1g}; "
                f"pass a smaller rtol, or steady={left:.1g}",
                RuntimeWarning, stacklevel=5,
            )  # fmt: skip

    def _visit(self, until: float, where: Callable[[float], Array]) -> str | None:
        """Look at the network at all the times up to this one."""
        while self.reached < len(self.at) and self.at[self.reached] <= until:
            j = self.reached
            self.last = np.array(where(float(self.at[j])))
            self.descent.clock[0] = float(self.at[j])
            self.engine.stand(self.last)
            self.state.stands(j)
            status, self.losses[j] = self.engine.value(-np.inf)
            if status == DIVERGED:
                return "diverged"
            self.recorder.take(j, self.state, last=j == len(self.at) - 1)
            self.norms.append(self._norms())
            self.reached += 1
            if self.stop is not None and self.stop(self.state.network(), float(self.at[j])):
                return "stopped"
        return None

    def _norms(self) -> Array:
        """`||theta_i||^2`, or of the matrices in their metric."""
        matrix = self.descent.metric == "matrix"
        return np.array([float(np.sum(a**2)) for a in (self.state.matrices() if matrix else self.state.params())])

    def _result(self, end: str, plan: Plan, seconds: float) -> Flow:
        self.recorder.settle()
        work, net = self.state.work, self.state.work.given.net
        norms = np.array(self.norms) if self.norms else np.zeros((1, net.depth))
        decay, passed = self.descent.weight_decay, self.at[: len(norms), None]
        # decay that both layers have takes its share of the difference; of two that decay apart nothing is kept (T15.2)
        gaps = np.diff(norms, axis=1) * np.exp(2 * decay[:-1] * passed)
        gaps[:, decay[1:] != decay[:-1]] = np.nan
        sizes = np.maximum(norms[:, 1:], norms[:, :-1]).max(axis=0, initial=0)
        drift = np.abs(gaps - gaps[0]).max(axis=0, initial=0) / np.where(sizes > 0, sizes, 1.0)
        return Flow(
            network=adopt(net, work.lift([part.copy() for part in self.engine.split(self.last)], self.reached)),
            time=self.descent.clock[0], times=self.at[: self.reached].copy(), excess=self.losses[: self.reached].copy(), floor=work.floor,
            history=self.recorder.history(max(self.reached - 1, 0)), drift=drift, evaluations=self.engine.evaluations, steps=self.steps,
            end=end, plan=plan, seconds=seconds,
        )  # fmt: skip


def _times(times: Any) -> Array:
    """Checked. Raises: ValueError, TypeError."""
    at = validate.finite("times", validate.real_array("times", times).astype(np.float64))
    if at.ndim != 1 or not len(at):
        raise ValueError(f"times has shape {at.shape}; a vector of times was wanted, such as np.linspace(0, 10, 101)")
    if at[0] < 0:
        raise ValueError(f"times[0] is {at[0]:g}; the flow begins at time 0")
    falls = np.flatnonzero(np.diff(at) <= 0)
    if len(falls):
        i = int(falls[0]) + 1
        raise ValueError(f"times[{i}] is {at[i]:g} after {at[i - 1]:g}; times must be ascending")
    return at


def _asked(stop: Callable[..., Any]) -> Callable[[Network, float], Any]:
    """A function of the network, or of the network and the time, as one of both."""
    return stop if takes_state(stop) else lambda network, t: stop(network)
