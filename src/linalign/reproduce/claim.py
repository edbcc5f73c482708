"""Claim: a statement, an experiment that could refute it, and the numbers that decide."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import Damaged, damage
from ..files.npz import Npz
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
class Comparison:
    """Measured values beside a published one. Not part of the verdict: images and draws differ, so what falls outside is shown."""

    what: str
    published: str
    values: Any
    low: float
    high: float

    @property
    def middle(self) -> float:
        """The median of the values."""
        return float(np.median(np.asarray(self.values, dtype=np.float64)))

    @property
    def within(self) -> bool:
        """Whether the median lies in the band."""
        return self.low <= self.middle <= self.high


@dataclass(frozen=True)
class Claim:
    """What is claimed and how it is tried.

    name : of its files. title : a line. statement : what the theory says. experiment : what is done, in words.
    measure : runs it, returns plain arrays; these are saved, and all that follows is made from them alone.
    judge : the checks. draw : the picture, on an empty figure. caption : what the picture shows. compare : values beside published ones.
    heading : whose setting the picture shows, over it; empty where its parts say so themselves.
    """

    name: str
    title: str
    statement: str
    experiment: str
    caption: str
    measure: Callable[[Setting], dict[str, Any]]
    judge: Callable[[Arrays], list[Check]]
    draw: Callable[[Figure, Arrays], None]
    compare: Callable[[Arrays], list[Comparison]] = lambda arrays: []
    heading: str = "A setting of ours, made to try this claim"


@dataclass(frozen=True)
class Verdict:
    """A claim after its experiment."""

    claim: Claim
    checks: tuple[Check, ...]
    seconds: float
    comparisons: tuple[Comparison, ...] = ()

    @property
    def confirmed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    def __str__(self) -> str:
        failed = [check for check in self.checks if not check.passed]
        if self.confirmed:
            return f"confirmed      {self.claim.title} ({len(self.checks)} checks, {self.seconds:.1f} s)"
        return f"NOT confirmed  {self.claim.title}: " + ("; ".join(map(str, failed)) or "nothing was checked")


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays of a claim, and how they came about."""
    try:
        with open(path, "rb") as handle, Npz(handle) as file, damage():
            arrays = {name: file.read(name) for name in file}
            return arrays, json.loads(str(arrays.pop("about")))
    except Damaged as error:
        raise ValueError(f"{path}: holds no measurements of a claim ({error})") from None
