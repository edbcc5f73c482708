"""Flight: a group of networks under way, from what each starts with to what each came to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.engine import CONVERGED, DIVERGED, RUNNING
from ..engine.lanes import UNFINISHED, Batch
from ..plan.planner import LARGEST, make_plan
from ..problem.descent import Descent
from ..record.recorder import History
from ..record.stacked import STACKED, Stack
from ..training.automatic_rate import hint
from ..training.execute import divergence
from ..training.lane import Lane, last_rates
from ..training.options import Options
from ..training.run import Run
from ..validate import Array
from .choice import Choice
from .group import Group, Setup, due
from .journal import Outcome
from .lanes import named, names

if TYPE_CHECKING:
    from .job import Job


def _stack(arrays: Sequence[Array]) -> Array:
    """Arrays of one shape with a leading axis; `np.array` looks at each of them for longer."""
    return np.concatenate(arrays).reshape(len(arrays), *arrays[0].shape)


def _separate(thetas: Sequence[Array], widths: Sequence[int]) -> tuple[list[Array], list[Array]]:
    """Stacks of weights, and of biases, from those of the parameters of layers that have both."""
    sizes = [(b, a) for a, b in pairwise(widths)]
    weights = [theta[:, : b * a].reshape(-1, b, a) for theta, (b, a) in zip(thetas, sizes, strict=True)]
    return weights, [theta[:, b * a :] for theta, (b, a) in zip(thetas, sizes, strict=True)]


def _beside(weights: Sequence[Array], biases: Sequence[Array]) -> list[Array]:
    """Stacks of `[W b; 0 1]`, the last of `[W b]` (T16.2)."""
    found = []
    for i, (W, b) in enumerate(zip(weights, biases, strict=True), 1):
        count, out, inputs = W.shape
        M = np.zeros((count, out + (i < len(weights)), inputs + 1), dtype=W.dtype)
        M[:, :out, :inputs], M[:, :out, inputs], M[:, out:, inputs] = W, b, 1
        found.append(M)
    return found


def _apart(layers: Sequence[Array]) -> list[tuple[Array, Array]]:
    """Weights and biases of such stacks."""
    own = [*(M[:, :-1] for M in layers[:-1]), layers[-1]]
    return [(M[:, :, :-1], M[:, :, -1]) for M in own]


class Flight:
    """A group under way."""

    def __init__(self, job: Job, setup: Setup, group: Group) -> None:
        self.job, self.setup, self.group = job, setup, group
        self.options = group.choice.options
        alike = self._alike
        own = self._own(alike)
        self.descents = [descent for _, descent in own]
        self.asked = [options for options, _ in own]
        self.starts = [_stack(layers) for layers in zip(*[net.params for net in group.nets], strict=True)]
        biases: list[Array] = []
        if setup.layout.carried:
            self.starts, biases = _separate(self.starts, group.nets[0].widths)
        self.at, self.schedules = due(self.options)
        self.small = self.starts
        if setup.inputs is not None:
            # what overflows is seen below
            with np.errstate(over="ignore", invalid="ignore"):
                first = self.starts[0].astype(np.float64, copy=False) @ setup.inputs
                self.small = [first.astype(self.starts[0].dtype, copy=False), *self.starts[1:]]
        if setup.layout.carried:
            self.small = _beside(self.small, biases)
        self.shapes = [stack.shape[1:] for stack in self.small]
        count = len(group.nets)
        # thousands may have the same options
        several, times = (1, count) if alike else (count, 1)
        choices = group.choices[:several]
        self.batch = Batch(
            params=np.concatenate([stack.reshape(count, -1) for stack in self.small], axis=1),
            lr=_stack([descent.lr for descent in self.descents[:several]]).repeat(times, axis=0),
            decay=_stack([descent.weight_decay for descent in self.descents[:several]]).repeat(times, axis=0),
            momentum=np.array([choice.momentum for choice in choices]).repeat(times),
            tol=np.array([choice.options.target for choice in choices], dtype=np.float64).repeat(times),
            limit=np.array([choice.limit for choice in choices], dtype=np.int64).repeat(times),
            at=self.at,
            slots=self.descents[0].rule.slots if job.keep_runs else 0,
            losses=job.keep_runs,
            **self._scheduled(),
            **self._drawn(),
        )  # fmt: skip
        self.law = group.choice.law or ""

    @property
    def _alike(self) -> bool:
        """Whether all networks have the same options, and the same descent."""
        choices = self.group.choices
        return choices.count(choices[0]) == len(choices) and not choices[0].of_each

    def _own(self, alike: bool) -> list[tuple[Options, Descent]]:
        """The options and the descent of each network."""
        choices, nets, given = self.group.choices, self.group.nets, self.setup.given
        if alike:
            return [choices[0].of(nets[0], given)] * len(nets)
        return [choice.of(net, given) for choice, net in zip(choices, nets, strict=True)]

    def _distinct(self) -> tuple[list[Choice], Array]:
        """The choices of this group, and which of them each network is of."""
        distinct = list({id(choice): choice for choice in self.group.choices}.values())
        numbered = {id(choice): number for number, choice in enumerate(distinct)}
        return distinct, np.array([numbered[id(choice)] for choice in self.group.choices], dtype=np.int64)

    def _scheduled(self) -> dict[str, Array]:
        """The rates of every step, and whose are whose, where they change."""
        distinct, whose = self._distinct()
        found = [choice.table(self.group.nets[0]) for choice in distinct]
        tables = [table for table in found if table is not None]
        if not tables:
            return {}
        schedule = np.zeros((len(tables), max(map(len, tables)), tables[0].shape[1]))
        for into, table in zip(schedule, tables, strict=True):
            into[: len(table)] = table
        return {"schedule": schedule, "table": whose}

    def _drawn(self) -> dict[str, Array]:
        """The rows of every step, and whose are whose, where steps see batches."""
        if self.setup.whole is None:
            return {}
        distinct, whose = self._distinct()
        found = [choice.drawn(self.setup.work.problem.rows) for choice in distinct]
        lines = max(len(rows) for rows, _ in found)
        order = np.zeros((len(found), lines, self.setup.layout.rows), dtype=np.int32)
        counts = np.zeros((len(found), lines), dtype=np.int32)
        for number, (rows, taken) in enumerate(found):
            order[number, : len(rows)], counts[number, : len(rows)] = rows, taken
        return {"order": order, "counts": counts, "drawn": whose}

    def _finish(self, ended: Array) -> None:
        """Of those that took all their steps on batches: their loss is that of all rows."""
        batch, whole = self.batch, self.setup.whole
        assert whole is not None
        which = np.flatnonzero(ended & (batch.status == RUNNING))
        if not len(which):
            return
        value = whole.values(self._small(batch.params[which]))
        batch.value[which] = value
        batch.status[which] = np.where(
            np.isfinite(value), np.where(value + self.setup.work.floor <= batch.tol[which], CONVERGED, RUNNING), DIVERGED
        )
        if batch.path is not None:
            batch.path[which, batch.steps[which]] = value

    def _small(self, params: Array) -> list[Array]:
        """The layers of networks as they are run, from rows of them."""
        ends = np.cumsum([a * b for a, b in self.shapes])[:-1]
        return [part.reshape(-1, *shape) for part, shape in zip(np.split(params, ends, axis=1), self.shapes, strict=True)]

    def outcomes(self, stop: list[bool] | None, alone: list[tuple[int, Any]]) -> Iterator[Outcome]:
        """Those of the networks that have ended, slice by slice; what is to be looked at by itself goes to `alone`."""
        tasks, batch = self.group.tasks, self.batch
        # of these sums may overflow on the way, which the planner knows how to avoid
        large = ~(np.abs(batch.params).max(axis=1).astype(np.float64) <= LARGEST)
        alone += [tasks[j] for j in np.flatnonzero(large)]
        batch.limit[large] = 0
        waiting = ~large
        for _ in batch.slices(self.setup.work.problem, self.setup.layout, self.group.choice.options.rule, self.law, stop):
            ended = waiting & (batch.status != UNFINISHED)
            if ended.any():
                waiting &= ~ended
                if self.setup.whole is not None:
                    self._finish(ended)
                # the start diverged, or the end has no numbers: a run by itself says what there is to be said
                diverged = batch.diverged
                odd = ended & np.where(diverged, batch.steps == 0, ~np.isfinite(batch.params).all(axis=1))
                alone += [tasks[j] for j in np.flatnonzero(odd)]
                which = np.flatnonzero(ended & ~odd)
                try:
                    found = self._ended(which, diverged)
                except Exception:  # of a score, which then fails in the row of its run alone
                    alone += [tasks[j] for j in which]
                    continue
                yield from found

    def _ended(self, which: Array, diverged: Array) -> list[Outcome]:
        batch, floor = self.batch, self.setup.work.floor
        histories = self._histories(which, diverged) if self.schedules else None
        share = batch.seconds / max(int(np.sum(batch.steps[batch.status != UNFINISHED])), 1)
        steps = np.where(diverged, batch.steps - 1, batch.steps)
        excess = np.where(diverged, batch.before, batch.value)
        columns = [column[which].tolist() for column in (steps, batch.converged, excess, diverged)]
        found = []
        for at, (j, taken, converged, loss, gone) in enumerate(zip(which.tolist(), *columns, strict=True)):
            index = self.group.tasks[j][0]
            history = {} if histories is None else histories[at]
            seconds = share * taken
            error = f"DivergenceError: {self._diverged(j, taken, loss + floor)}" if gone else None
            run = Pending(self, j, taken, converged, history, seconds) if self.job.keep_runs else None
            found.append(Outcome(index, taken, converged, loss + floor, loss, floor, seconds, error, history, run))
        return found

    def _diverged(self, j: int, steps: int, loss: float) -> str:
        descent, lr = self.descents[j], last_rates(self.descents[j], steps)
        seen = self.setup.work.problem.batch
        fix = hint(self.setup.given.on(self.group.nets[j]), descent.rule, descent.metric, descent.lr, seen)
        return divergence(lr, steps, loss, fix)

    # ---- what is recorded ------------------------------------------------------------------------------------------------------
    def _histories(self, which: Array, diverged: Array) -> list[dict[str, History]]:
        """What was recorded of these networks, a dict each."""
        batch, records = self.batch, len(self.at)
        there = np.zeros((len(which), records + 1), dtype=bool)
        there[:, :records] = np.arange(records) < batch.taken[which, None]
        there[:, records] = ~diverged[which]
        steps = np.concatenate([np.broadcast_to(self.at, (len(which), records)), batch.steps[which, None]], axis=1)
        params = np.concatenate([batch.kept[which], batch.params[which, None]], axis=1)
        kept_value = batch.kept_value[which]
        if self.setup.whole is not None and "loss" in self.schedules and records:
            kept_value = self.setup.whole.values(self._small(batch.kept[which].reshape(len(which) * records, -1))).reshape(
                len(which), records
            )
        value = np.concatenate([kept_value, batch.value[which, None]], axis=1) + self.setup.work.floor
        found: list[dict[str, History]] = [{} for _ in which]
        stacks: dict[bytes, Stack] = {}
        for name, plan in self.schedules.items():
            due = there.copy()
            due[:, :records] &= np.isin(self.at, plan.within(0, self.options.steps), assume_unique=True)
            key = due.tobytes()
            if key not in stacks:
                rows = np.nonzero(due)
                stacks[key] = Stack(self._given(params[rows], which[rows[0]], steps[rows]), value[rows], self.setup.given)
            values, at = STACKED[name](stacks[key]), steps[due]
            ends = np.cumsum(due.sum(axis=1))
            for j, (first, last) in enumerate(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)):
                found[j][name] = History(at[first:last], values[first:last])
        return found

    def _given(self, params: Array, which: Array, steps: Array) -> list[Array]:
        """The layers of networks as given, from rows of what is run: of which network, and after how many steps."""
        layers = self._small(params)
        if self.setup.layout.carried:
            layers = [W for W, _ in _apart(layers)]
        V = self.setup.inputs
        if V is not None:
            outside = self.starts[0].astype(np.float64, copy=False) - (self.starts[0].astype(np.float64, copy=False) @ V) @ V.T
            beside = outside[which]
            if any(descent.weight_decay[0] for descent in self.descents):
                beside = beside * self._factors(which, steps)[:, None, None]
            dtype = self.starts[0].dtype
            layers[0] = (beside + layers[0].astype(np.float64, copy=False) @ V.T).astype(dtype, copy=False)
        return layers

    def _factors(self, which: Array, steps: Array) -> Array:
        """What decay has made of what lies outside of the data."""
        known: dict[tuple[int, int], float] = {}
        found = np.empty(len(which))
        for row, (j, step) in enumerate(zip(which.tolist(), steps.tolist(), strict=True)):
            key = id(self.descents[j]), step
            if key not in known:
                factors = self.descents[j].factors(step)
                assert factors is not None
                known[key] = float(factors[0])
            found[row] = known[key]
        return found

    # ---- runs ------------------------------------------------------------------------------------------------------------------
    def run(self, j: int, steps: int, converged: bool, history: dict[str, History], seconds: float) -> Run:
        """The run of network j."""
        batch, net, descent, options = self.batch, self.group.nets[j], self.descents[j], self.asked[j]
        assert batch.path is not None
        params, slots = batch.params[j], [slot[j] for slot in batch.remembered]
        if batch.diverged[j]:
            params, slots = self._before(j, steps)
        made, work = make_plan(
            options.seen(self.setup.given.on(net)), descent, reduce=names(self.setup.given, options.reduce), steps=options.steps
        )
        lane = Lane(self._layers(params), [self._layers(slot) for slot in slots], batch.path[j, : steps + 1].copy(), history, steps,
                    converged, seconds)  # fmt: skip
        return lane.run(named(made, self.job.lanes.width), work, descent, options)

    def _before(self, j: int, steps: int) -> tuple[Array, list[Array]]:
        """Where network j stood after so many steps: taken once more."""
        batch = self.batch
        again = Batch(
            np.concatenate([stack[j].ravel() for stack in self.small])[None], batch.lr[j : j + 1], batch.decay[j : j + 1],
            batch.momentum[j : j + 1], np.full(1, -np.inf), np.full(1, steps, dtype=np.int64), np.empty(0, dtype=np.int64),
            len(batch.remembered), schedule=batch.schedule, table=None if batch.table is None else batch.table[j : j + 1],
            order=batch.order, counts=batch.counts, drawn=None if batch.drawn is None else batch.drawn[j : j + 1],
        )  # fmt: skip
        for _ in again.slices(self.setup.work.problem, self.setup.layout, self.options.rule, self.law):
            pass
        return again.params[0], [slot[0] for slot in again.remembered]

    def _layers(self, row: Array) -> list[Array]:
        """The parameters of the problem that is run, from a row of what is run."""
        layers = self._small(row[None])
        if self.setup.layout.carried:
            return [np.concatenate([W[0].ravel(), b[0]]) for W, b in _apart(layers)]
        return [layer[0].copy() for layer in layers]


@dataclass(frozen=True, eq=False)
class Pending:
    """A run that is made when somebody asks for it."""

    flight: Flight
    j: int
    steps: int
    converged: bool
    history: dict[str, History]
    seconds: float

    def __call__(self) -> Run:
        return self.flight.run(self.j, self.steps, self.converged, self.history, self.seconds)
