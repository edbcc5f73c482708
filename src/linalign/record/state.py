"""State: a run where it stands, as the recorder sees it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..engine.engines import CALLBACK_FAILED, Engine
from ..plan.planner import Work
from ..problem.network import Network
from ..problem.problem import Descent, Problem
from ..validate import Array
from .observers import Observer, observer


class State:
    """The run where it stands, for the recorder: quantities of the network as given."""

    def __init__(self, work: Work, engine: Engine, descent: Descent, threads: int = 1) -> None:
        """`threads`: how many factorisations may be made at a time."""
        self._threads = threads
        self._work, self._engine = work, engine
        self._moving = bool(descent.weight_decay.any())
        self._modes: tuple[Array, Array] | None = None
        self._observer: Observer | None = None
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
            self._observer = observer(self._work, self._moving, self._engine.params, self.matrices, lambda: self.step, self._threads,
                                      self._engine.alone, self.params)  # fmt: skip
        return self._observer

    def close(self) -> None:
        """End the threads that looked at the run; those of a run that failed finish no more than they have begun."""
        if self._observer is not None:
            self._observer.close()

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
