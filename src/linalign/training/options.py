"""Options: what a run is asked to do, checked before any work and before there is a network."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

from .. import losses, optim, validate
from ..cached import cached_property
from ..losses import Loss
from ..optim import Rule, rates
from ..optim.batches import Batches, Place
from ..optim.noise import Key, Noise, key
from ..plan.plan import Plan
from ..plan.planner import Work, check_reduce, follow, make_plan
from ..problem.compressed import Compressed
from ..problem.descent import NOISY, UPDATES, Descent, make_descent
from ..problem.metric import METRICS
from ..problem.network import Network
from ..problem.problem import Problem, batched
from ..record.recorder import Recorder
from ..record.validation import Validated, validation
from . import automatic_rate

IMPLEMENTATIONS = ("kernel", "reference")
# steps are exact in float64, where log-spaced ones are found; the fastest take decades
MOST_STEPS = 2**53


@dataclass(frozen=True, eq=False, kw_only=True)
class Options:
    """The options of `train` of the same names, for any network: a value that runs may share.

    Raises: ValueError, TypeError naming the option. What depends on the depth is checked by `descent`.
    """

    loss: str | Loss = "squared"
    lr: Any
    steps: int
    tol: float | None = None
    metric: str = "parameters"
    update: str = "simultaneous"
    momentum: float = 0.0
    weight_decay: Any = 0.0
    optimizer: Any = None
    clip_norm: float | None = None
    average: float | None = None
    batch: Any = None
    order: Any = "shuffle"
    rng: Any = None
    record: Any = None
    reduce: Any = "auto"
    pivot: Any = "auto"
    implementation: str = "kernel"
    plan: Plan | None = None
    validation: Any = None
    stop: Any = None
    label_noise: float = 0.0
    gradient_noise: float = 0.0
    stream: Any = None

    def __post_init__(self) -> None:
        losses.resolve(self.loss)
        check_reduce(self.reduce)
        validate.integer("steps", self.steps, least=0, most=MOST_STEPS)
        if self.tol is not None:
            validate.real("tol", self.tol, least=0)
        if self.lr_is_auto:
            automatic_rate.check(self.rule, self.stream is not None)
            automatic_rate.curvature_of(losses.resolve(self.loss))
        else:
            rates.check(self.lr, self.steps)
        validate.choice("update", self.update, UPDATES)
        validate.choice("metric", self.metric, METRICS)
        validate.choice("implementation", self.implementation, IMPLEMENTATIONS)
        self.rule.check((), self.update, self.metric)
        if self.record is not None:
            Recorder(self.record, self.steps)
        if self.label_noise or self.gradient_noise:
            self._check_noise()
        if self.stream is not None and (self.batch is not None or not isinstance(self.order, str)):
            raise ValueError("batch or order is given but stream has the data of every step; leave them out")
        if self.validation is not None:
            validation(self.validation)
        elif self.record and "validation_loss" in self.record:
            raise ValueError("record has 'validation_loss' but validation is None; pass validation=(X, Y)")
        if self.stop is not None:
            if not callable(self.stop):
                raise TypeError(f"stop is {self.stop!r}; a function of the state, or of the network and the state, was wanted")
            if not self.record:
                raise ValueError('stop is given but record is empty; it is called where something is recorded: pass record={"loss": 100}')

    @cached_property
    def rule(self) -> Rule:
        """The update rule that the options mean. Raises: ValueError, TypeError naming the option."""
        return optim.chosen(self.optimizer, self.momentum, self.weight_decay, self.clip_norm, self.average)

    def _check_noise(self) -> None:
        kind = losses.resolve(self.loss)
        if self.label_noise and not kind.real_targets:
            raise ValueError(f"label_noise is {self.label_noise!r} but the targets of the loss {kind.kind!r} are no numbers to add it to")
        for name in ("label_noise", "gradient_noise"):
            validate.real(name, getattr(self, name), least=0)
        key(self.rng)

    def noise(self, known: Key | None = None) -> Noise | None:
        """The noise of one run, or of the rest of one, which knows what it is drawn by."""
        if not (self.label_noise or self.gradient_noise):
            return None
        return Noise(float(self.label_noise), float(self.gradient_noise), known or key(self.rng))

    def validated(self, net: Network) -> Validated | None:
        """The loss on the validation data. Raises: ValueError, TypeError where they do not fit the network."""
        found = validation(self.validation)
        return None if found is None else found.of(net, losses.resolve(self.loss))

    @property
    def target(self) -> float:
        """The loss at which the run ends."""
        return -math.inf if self.tol is None else float(self.tol)

    @property
    def lr_is_auto(self) -> bool:
        """Whether the learning rate is found from the problem."""
        return isinstance(self.lr, str) and self.lr == automatic_rate.AUTO

    def on(self, problem: Problem) -> Options:
        """The same options with the learning rate of this problem. Raises: ValueError where "auto" knows none."""
        if not self.lr_is_auto:
            return self
        batches = self.batches(problem.rows)
        return replace(self, lr=automatic_rate.of_problem(problem, self.rule, self.metric, None if batches is None else batches.most))

    @property
    def batched(self) -> bool:
        """Whether steps see batches of the rows."""
        return self.batch is not None or not isinstance(self.order, str) or self.stream is not None

    def batches(self, rows: int, begin: Place | None = None) -> Batches | None:
        """The batches of one run on so many rows, or of the rest of one. Raises: ValueError, TypeError where they do not fit."""
        if not self.batched or self.stream is not None:
            return None
        return Batches(rows, self.batch, self.order, self.rng, self.steps, begin)

    def check_rows(self, X: Any) -> None:
        """That rows of the data are there to be drawn. Raises: ValueError."""
        if isinstance(X, Compressed) and self.batched:
            raise ValueError("batch or order is given but X is Compressed, whose rows are no samples; pass the full X and Y, or stream=")

    def recorder(self) -> Recorder:
        """What one run records; each has its own."""
        return Recorder(self.record, self.steps)

    def descent(self, net: Network) -> Descent:
        """The descent of a network. Raises: ValueError, TypeError where the options do not fit its layers."""
        found = make_descent(net.depth, self.lr, self.rule, self.update, self.metric, self.steps)
        if self.label_noise or self.gradient_noise or self.stream is not None:
            found = replace(found, noisy=tuple(name for name in NOISY if getattr(self, name)))
        found.rule.check(net.layers, self.update, self.metric)
        if self.validation is not None:
            self.validated(net)
        return found

    def seen(self, problem: Problem) -> Problem:
        """The problem as its steps see it: rows at a time, where they see batches."""
        if self.stream is not None:
            return batched(problem, problem.rows, False)
        batches = self.batches(problem.rows)
        return problem if batches is None else batched(problem, batches.most, batches.ragged)

    def planned(self, problem: Problem, descent: Descent) -> tuple[Plan, Work]:
        """Raises: ValueError, TypeError for a pivot that there is not, or a plan that is for another problem."""
        problem = self.seen(problem)
        if self.plan is not None:
            return follow(self.plan, problem, descent)
        return make_plan(problem, descent, reduce=self.reduce, pivot=self.pivot, implementation=self.implementation, steps=self.steps)


DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(Options)}
"""Every option and its default; `REQUIRED` for those without."""
REQUIRED = MISSING
