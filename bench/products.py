"""One matrix product as the loop makes it, by BLAS and by the register tile of every instruction set, on one thread.

The one file of the suite that reaches behind linalign's public interface: the kernel's own products cannot be had otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from threadpoolctl import threadpool_limits

from . import check
from .entrants import Entrant, Pace, Sample
from .rows import Entered, LeaveOut, Row
from .worker import Stage, Worker

if TYPE_CHECKING:
    from .contest import Workers

# rows times a matrix, rows times its transpose, and the gradient of a layer, which is added to it
FORMS = {"NN": (False, False), "NT": (False, True), "TN": (True, False)}
# the instruction set whose tile it is; the baseline has BLAS alone
SETS = {"blas": "base", "tile-avx512": "avx512", "tile-avx2": "avx2"}
# seconds of a measurement at least
LEAST = 1e-3
# all of these sizes go to the tile, whatever the loop would do
MOST = 256


def kernel() -> Any:
    """What multiplies."""
    from linalign._kernels import _product

    return _product


def _machine() -> Any:
    from linalign._kernels import _machine

    return _machine


def operands(form: str, m: int, n: int, k: int, dtype: str) -> tuple[Any, Any, Any]:
    """The factors and the result of a product of this form, in the kernel's buffers."""
    ta, tb = FORMS[form]
    rng, buffer = np.random.default_rng(0), _machine().buffer

    def draw(rows: int, columns: int) -> np.ndarray:
        out = buffer(rows, columns, np.dtype(dtype), MOST)
        out[...] = rng.standard_normal((rows, columns))
        return out

    return draw(*((k, m) if ta else (m, k))), draw(*((n, k) if tb else (k, n))), draw(m, n)


def seconds(stage: Stage, form: str, sizes: tuple[int, int, int], dtype: str, isa: str, repeats: int) -> float:
    """Seconds of so many products `C (m, n)` with sums of k terms, one after the other, less those of one: the call has buffers to make."""
    ta, tb = FORMS[form]
    A, B, C = operands(form, *sizes, dtype)
    beta, alpha = (1.0, 1e-9) if form == "TN" else (0.0, 1.0)
    multiply, level, took = kernel().multiply, _machine().LEVELS[isa], []
    with threadpool_limits(1, "blas"):
        for count in (1, repeats + 1):
            began = time.perf_counter()
            multiply(ta, tb, alpha, A, B, beta, C, level=level, most=MOST, repeats=count)
            took.append(time.perf_counter() - began)
    return took[1] - took[0]


def difference(stage: Stage, form: str, sizes: tuple[int, int, int], dtype: str, isa: str) -> tuple[float, float]:
    """How far a product is from exact arithmetic at most, and the bound: k + 2 roundings of the sum of absolute values."""
    ta, tb = FORMS[form]
    A, B, C = operands(form, *sizes, dtype)
    left, right = (np.asarray(M, dtype=np.longdouble) for M in (A.T if ta else A, B.T if tb else B))
    want, size = left @ right, np.abs(left) @ np.abs(right)
    with threadpool_limits(1, "blas"):
        kernel().multiply(ta, tb, 1.0, A, B, 0.0, C, level=_machine().LEVELS[isa], most=MOST)
    worst = float(np.max(np.abs(C - want) / size))
    return worst, (sizes[2] + 2) * float(np.finfo(dtype).eps)


class Timed(Entrant):
    """So many products in the kernel's loop that they take the time of a measurement."""

    def __init__(self, process: Worker, row: Product, library: str) -> None:
        super().__init__(process, library)
        self.row, self.isa, self.took = row, SETS[library], 0.0

    def calibrate(self, pace: Pace) -> float:
        while True:
            one = self.sample().seconds
            if self.took >= pace.least / 2:
                return one
            guess = int(1.2 * pace.least / one) if one > 0 else 0
            self.steps = max(4 * self.steps, min(50 * self.steps, guess))

    def sample(self) -> Sample:
        self.took = float(self.process.call(seconds, self.row.form, self.row.terms, self.row.dtype, self.isa, self.steps))
        return Sample(self.took / self.steps)

    @property
    def lasts(self) -> float:
        return self.took


@dataclass(frozen=True)
class Product(Row):
    """`m x n x k`: `m` rows in flight meet a layer of k inputs and n outputs; as NN, NT, or the gradient TN of such a layer."""

    dtype: str
    form: str
    sizes: tuple[int, int, int]

    section: ClassVar[str] = "products of the kernels, one thread"
    unit: ClassVar[str] = "a product"
    kernels: ClassVar[bool] = True
    in_process: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"{self.dtype} {self.form} {' x '.join(map(str, self.sizes))}"

    @property
    def terms(self) -> tuple[int, int, int]:
        """Rows, columns and terms of the product itself: the gradient of a layer has the rows in flight inside."""
        m, n, k = self.sizes
        return (n, k, m) if self.form == "TN" else (m, n, k)

    @property
    def libraries(self) -> tuple[str, ...]:
        return tuple(SETS)

    def tiny(self) -> Product:
        return replace(self, sizes=tuple(min(s, 20) for s in self.sizes))

    def pace(self, pace: Pace) -> Pace:
        """A product takes nanoseconds to a millisecond; the call around them takes some 50 us."""
        return replace(pace, least=max(LEAST, pace.least / 50), settle=0.0)

    def role(self, library: str) -> str:
        return "peer" if library == "blas" else "ours"

    def enter(self, library: str, workers: Workers) -> tuple[list[Entrant], dict[str, str]]:
        if _machine().LEVELS[SETS[library]] > _machine().detect():
            return [], {library: f"this processor has no {library.removeprefix('tile-')}"}
        return [Timed(workers.get(library, 1), self, library)], {}

    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        errors = {}
        for library, entrants in entered.items():
            for who in entrants:
                worst, bound = who.process.call(difference, self.form, self.terms, self.dtype, SETS[library])
                if not worst <= bound:
                    raise check.WrongResult(f"{library}: {self.name} is off by {worst:.1e} of its size; the bound is {bound:.1e}")
                errors[f"{library}: {who.how}"] = worst / bound
        return errors

    def details(self, library: str, chosen: Mapping[str, Entrant]) -> dict[str, Any]:
        return {"form": self.form, "sizes": list(self.sizes), "dtype": self.dtype}
