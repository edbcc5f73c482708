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
from ..training.options import Options
from ..validate import Array
from .lanes import refusal

# bytes of a table of rates that is not worked out again
MOST_KEPT = 2**20


class Choice:
    """The options of some points, and what follows from them for any network."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.refusal = refusal(options)
        # of a rate that is found from each network, any stands for it here
        self._any = replace(options, lr=1.0) if options.lr_is_auto else options
        self._descents: dict[int, Descent] = {}
        self._tables: dict[int, Array] = {}
        rule = options.rule
        momentum = rule.momentum if isinstance(rule, SGD) else 0.0
        self.law = lanes.law(rule, momentum)
        self.momentum, self.limit = float(momentum), options.steps
        record = options.record or None
        # what no two lanes of a vector may differ in
        self.key: tuple[Any, ...] = (
            losses.resolve(options.loss), self.law, type(rule), None if self.law is None else lanes.numbers(rule), str(options.reduce),
            getattr(rule, "initial", None), None if record is None else (id(record), options.steps),
        )  # fmt: skip

    def descent(self, net: Network) -> Descent:
        """That of dense networks of the same depth. Raises: ValueError, TypeError where the options do not fit."""
        found = self._descents.get(net.depth)
        if found is None:
            found = self._descents[net.depth] = self._any.descent(net)
        return found

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

    def of(self, net: Network, given: Problem) -> tuple[Options, Descent]:
        """The options and the descent of one network, with the rate of its own if it has one. Raises: ValueError, TypeError."""
        if self._any is self.options:
            return self.options, self.descent(net)
        options = self.options.on(given.on(net))
        return options, options.descent(net)
