"""State: a run where it stands, as recorded quantities see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..cached import cached_property
from ..engine.engine import CALLBACK_FAILED, Engine
from ..engine.engines import ChainEngine, simultaneous
from ..plan import cost
from ..plan.planner import Work
from ..problem.descent import Descent
from ..problem.network import Network
from ..problem.problem import Problem, whole
from ..reduce.biases import homogeneous, matrices
from ..scores.vector_scores import NAMES
from ..validate import Array
from .lifted import lifted
from .observer import Observer
from .observers import observer
from .validation import Validated


class State:
    """The run where it stands: what a recorded quantity may look at, of the network as given.

    A recorded function `fn(network, state)` may read

    step : steps taken.
    loss : the loss.
    validation_loss : the loss on the validation data.
    gradients : of the loss in the parameters of each layer. Costs a step on the data as given, once however many ask.
    gradient_norm : `sqrt(sum_i ||dL/dtheta_i||^2)`, which reductions do not make dearer.
    velocities : `momentum v_i + gradient + weight_decay theta_i` of the last step, zeros before the first; None without momentum.
    lr : the learning rate of each layer in the step to come, or in the last one.

    All of it is found when it is asked for, and is the caller's own. `due` are the quantities that are recorded at this step.
    """

    def __init__(self, work: Work, engine: Engine, descent: Descent, threads: int = 1, steps: int | None = None,
                 validated: Validated | None = None) -> None:  # fmt: skip
        """`threads`: how many factorisations may be made at a time; `steps`: how many the run may take; `validated`: the other loss."""
        self.work, self._engine, self._descent = work, engine, descent
        self.step, self._last = 0, None if steps is None else max(steps - 1, 0)
        self.due: Sequence[str] = ()
        self._threads, self._validated = threads, validated
        self._found: dict[str, Any] = {}

    def stands(self, step: int, due: Sequence[str] = ()) -> None:
        """The run has taken so many steps, and these quantities are recorded here."""
        self.step, self.due = step, due
        if self._found:
            self._found.clear()

    @property
    def lr(self) -> Array:
        """The learning rate of each layer, in the step to come."""
        # a schedule may end with the run
        step = self.step if self._last is None else min(self.step, self._last)
        found: Array = self._descent.rates.at(step, 1)[0]
        return found

    def _once(self, name: str, find: Callable[[], Any]) -> Any:
        """What was found at this step, however many quantities ask."""
        if name not in self._found:
            self._found[name] = find()
        return self._found[name]

    def params(self) -> list[Array]:
        """The parameters of each layer."""
        found: list[Array] | None = self._found.get("params")
        if found is None:
            found = self._found["params"] = self.work.lift(self._engine.params(), self.step)
        return found

    def matrices(self) -> list[Array]:
        """The matrix of each layer."""
        layers = self.work.given.net.layers
        return [layer.matrix(theta) for layer, theta in zip(layers, self.params(), strict=True)]

    def network(self) -> Network:
        """The network."""
        return self.work.given.net.with_params(self.params())

    def running(self) -> list[Array]:
        """The matrices of the network that is run in its place, biases apart; they may move with the run."""
        return matrices(self.work.problem.net.layers, self._engine.params())

    def use_one_thread(self) -> None:
        """The other threads of the loop are taken from now on."""
        self._engine.use_one_thread()

    @cached_property
    def observe(self) -> Observer:
        """Quantities that may need no lifted network; its constants are worked out when first asked for."""
        return observer(self, bool(self._descent.weight_decay.any()), self._threads)

    @cached_property
    def watched(self) -> Any:
        """The curvature along the run."""
        # whoever records none of it does not import it
        from .curvature import Watched

        return Watched(self.work, self._descent)

    @property
    def sharpness(self) -> float:
        """The largest eigenvalue of the Hessian of the loss, in the metric of the descent."""
        found: float = self._once("sharpness", lambda: self.watched.top(self))
        return found

    @property
    def edge(self) -> float:
        """`lr * sharpness / (2 (1 + momentum))` of the largest learning rate: above 1, gradient descent is not stable here."""
        return float(self.lr.max()) * self.sharpness / (2 * (1 + self._descent.momentum))

    def close(self) -> None:
        """End the threads that looked at the run; those of a run that failed finish no more than they have begun."""
        if "observe" in self.__dict__:
            self.observe.close()

    def vector_scores(self) -> dict[str, Any]:
        """All scores of singular vectors that are due, found together."""
        found: dict[str, Any] = self._once("vectors", lambda: self.observe.vector_scores([name for name in NAMES if name in self.due]))
        return found

    @property
    def loss(self) -> float:
        """The loss."""
        status, value = self._engine.value(-math.inf)
        if status == CALLBACK_FAILED:
            assert self._engine.error is not None
            raise self._engine.error
        return float(value) + self.work.floor

    @property
    def validation_loss(self) -> float:
        """The loss on the validation data. Raises: ValueError where there are none."""
        if self._validated is None:
            raise ValueError("validation is None, so that there is no validation_loss; pass validation=(X, Y)")
        return self._validated(self.params())

    @property
    def gradient_norm(self) -> float:
        """`sqrt(sum_i ||dL/dtheta_i||^2)` of the loss alone."""
        # gradients lie in the subspaces that are run: the norm is the same
        return self._engine.gradient_norm()

    @property
    def gradients(self) -> list[Array]:
        """`dL/dtheta_i` of the loss alone, of the network as given."""
        found: list[Array] = self._once("gradients", self._differentiate)
        return [gradient.copy() for gradient in found]

    def _differentiate(self) -> list[Array]:
        if self._engine.streams:
            # nothing is reduced, and the data are those of the step before
            return self._engine.streamed_gradients()
        problem, descent = homogeneous(whole(self.work.given).on(self.network())), simultaneous(self.work.given.net.depth)
        return ChainEngine(problem, descent, cost.choose(problem, descent)[0]).gradients()[2]

    @property
    def velocities(self) -> list[Array] | None:
        """The velocities of the parameters of the network as given."""
        moving = self._engine.velocities()
        if moving is None:
            return None
        return lifted(self.work, self._descent, [moving], self.step)[0]

    @cached_property
    def modes(self) -> tuple[Array, Array]:
        """The fixed bases `(U, V)`: singular vectors of minus the gradient in P at P = 0, `Y^T X` for the squared loss."""
        return mode_bases(self.work.given)


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
