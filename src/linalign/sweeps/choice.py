"""Choice: the options of some points of a grid, and what follows from them for any network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .. import losses
from ..optim import SGD
from ..plan import lanes
from ..problem.descent import Descent
from ..problem.network import Network
from ..problem.problem import Problem
from ..record.stacked import stackable
from ..training.options import Options
from ..validate import Array
from .lanes import MOST_DRAWN, MOST_RATES, refusal

# bytes of a table of rates, or of rows, that is not worked out again
MOST_KEPT = 2**20


class Choice:
    """The options of some points, and what follows from them for any network."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.refusal = refusal(options)
        # of a rate that is found from each network, any stands for it here
        self._any = replace(options, lr=1.0) if options.lr_is_auto else options
        self._descents: dict[tuple[int, bool], Descent] = {}
        self._shares: dict[tuple[int, bool], tuple[Any, ...] | None] = {}
        self._tables: dict[int, Array] = {}
        self._drawn: dict[int, tuple[Array, Array]] = {}
        rule = options.rule
        momentum = rule.momentum if isinstance(rule, SGD) else 0.0
        self.law = lanes.law(rule, momentum)
        self.momentum, self.limit = float(momentum), options.steps
        self.most = _most(options)
        record = options.record or None
        # what no two lanes of a vector may differ in
        self.key: tuple[Any, ...] = (
            losses.resolve(options.loss), self.law, type(rule), None if self.law is None else lanes.numbers(rule), str(options.reduce),
            getattr(rule, "initial", None), _batch(options), self.most, None if record is None else (id(record), options.steps),
        )  # fmt: skip

    def descent(self, net: Network) -> Descent:
        """That of dense networks of the same depth, with biases or without. Raises: ValueError, TypeError where the options do not fit."""
        key = net.depth, net.has_biases
        found = self._descents.get(key)
        if found is None:
            found = self._descents[key] = self._any.descent(net)
        return found

    def shares(self, net: Network) -> tuple[Any, ...] | None:
        """What no two dense networks of a vector may differ in; None if those of this depth run by themselves.

        Raises: ValueError, TypeError where the options do not fit.
        """
        key = net.depth, net.has_biases
        if key not in self._shares:
            constant = self.descent(net).rates.constant is not None
            rates = 0 if constant else self.limit * net.depth
            alone = self.refusal is not None or rates > MOST_RATES or self.limit * self.most > MOST_DRAWN
            alone = alone or (net.has_biases and stackable(self.options.record, biases=True) is not None)
            self._shares[key] = None if alone else (*self.key, constant, net.has_biases)
        return self._shares[key]

    def table(self, net: Network) -> Array | None:
        """The rates of every step, `(steps, d)`, where they change; None where they do not. Raises: ValueError of a step that has none."""
        rates = self.descent(net).rates
        if rates.constant is not None:
            return None
        found = self._tables.get(net.depth)
        if found is None:
            found = np.concatenate([np.empty((0, net.depth)), *rates.blocks(self.limit)])
            if found.nbytes <= MOST_KEPT:
                self._tables[net.depth] = found
        return found

    def drawn(self, rows: int) -> tuple[Array, Array]:
        """The rows that each step sees, `(steps, batch)`, of so many, and how many of them it takes, `(steps,)`; int32.

        Raises: ValueError where an array of sizes or rows ends.
        """
        found = self._drawn.get(rows)
        if found is None:
            batches = self.options.batches(rows)
            assert batches is not None
            whole = batches.at(0, self.limit)
            found = whole.rows.astype(np.int32), whole.counts.astype(np.int32)
            if found[0].nbytes <= MOST_KEPT:
                self._drawn[rows] = found
        return found

    @property
    def of_each(self) -> bool:
        """Whether each network has a rate of its own."""
        return self._any is not self.options

    def of(self, net: Network, given: Problem) -> tuple[Options, Descent]:
        """The options and the descent of one network, with the rate of its own if it has one. Raises: ValueError, TypeError."""
        if not self.of_each:
            return self.options, self.descent(net)
        options = self.options.on(given.on(net))
        return options, options.descent(net)


def _batch(options: Options) -> Any:
    """Of batches, all but what they are drawn by."""
    if not options.batched:
        return None
    return (options.batch if isinstance(options.batch, int) else id(options.batch), options.order) if isinstance(options.order, str) else ()


def _most(options: Options) -> int:
    """The most rows that a step sees, where it sees a batch whose size does not wait to be asked for."""
    if not options.batched or options.stream is not None or callable(options.batch):
        return 0
    return int(np.max(options.batch) if isinstance(options.order, str) else np.shape(options.order)[1])
