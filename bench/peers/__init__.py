"""One file a library, each written as its own users would write it at its best.

A peer file has `variants(case) -> {name: function that builds a Runner}`; the fastest variant stands for the peer.
All compute full-batch gradient descent with one learning rate, and skip the gradient in the inputs; those named `descent` and
`diagonal` take the rule and the rows of each step from the case.
"""

from __future__ import annotations

from typing import Protocol

from ..workloads import Array


class Runner(Protocol):
    """A training under way."""

    def prepare(self, steps: int) -> None:
        """Whatever has to be done once before `run(steps)`, such as compiling."""

    def run(self, steps: int) -> None:
        """Take that many steps from the present weights; all work is done on return."""

    def weights(self) -> list[Array]:
        """The present weights, `(k_i, k_{i-1})`, or the parameters of constrained layers."""
