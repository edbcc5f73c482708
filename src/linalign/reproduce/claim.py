"""Claim: a statement, an experiment that could refute it, and the numbers that decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .setting import Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """One number and its bound, stated before the experiment. A nan is no number and passes no bound."""

    what: str
    value: float
    bound: float
    at_most: bool = True

    @property
    def passed(self) -> bool:
        if math.isnan(self.value):
            return False
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        return f"{self.what}: {self.value:.3g}, {'at most' if self.at_most else 'at least'} {self.bound:.3g} was wanted"


def at_most(what: str, value: Any, bound: float) -> Check:
    """The value must not be larger."""
    return Check(what, float(value), bound)


def at_least(what: str, value: Any, bound: float) -> Check:
    """The value must not be smaller."""
    return Check(what, float(value), bound, at_most=False)


@dataclass(frozen=True)
class Claim:
    """What is claimed and how it is tried.

    name : of its files. title : a line. statement : what the theory says. experiment : what is done, in words.
    measure : runs it, returns plain arrays; these are saved, and all that follows is made from them alone.
    judge : the checks. draw : the picture, on an empty figure. caption : what the picture shows.
    """

    name: str
    title: str
    statement: str
    experiment: str
    caption: str
    measure: Callable[[Setting], dict[str, Any]]
    judge: Callable[[Arrays], list[Check]]
    draw: Callable[[Figure, Arrays], None]
