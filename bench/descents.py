"""Update rules and batches: problems that say by which rule they are trained and which rows each step sees, and their rows of the table."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import numpy as np

from . import check
from .rows import Entered, Itself, LeaveOut, Step, compare, trained
from .workloads import AUTO, Array, Case, Workload

# each as its own papers and PyTorch have it by default; linalign takes them by name
RULES: Mapping[str, Mapping[str, float]] = {
    "sgd": {},
    "adam": {"b1": 0.9, "b2": 0.999, "eps": 1e-8},
    "muon": {"momentum": 0.95, "weight_decay": 0.1, "steps": 5, "eps": 1e-7},
    "group_rmsprop": {"alpha": 0.99, "eps": 1e-6},
}
QUINTIC = (3.4445, -4.7750, 2.0315)
"""The coefficients of Muon's iteration."""
AGREEMENT = 1e-9


@dataclass(frozen=True)
class DescentCase(Case):
    """A problem with its rule, and `batch` rows a step; all of them if None."""

    rule: str = "sgd"
    batch: int | None = None
    seed: int = 0

    def order(self, steps: int) -> Array | None:
        """The rows of so many steps, `(steps, batch)`: those that linalign draws with replacement from this seed. The same for all."""
        if self.batch is None:
            return None
        return np.random.default_rng(self.seed).integers(len(self.X), size=(steps, self.batch))


@dataclass(frozen=True)
class Descent(Workload):
    """A workload with a rule, and `batch` rows a step."""

    rule: str = "sgd"
    batch: int | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: AUTO)

    peers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "numpy": ("numpy_descent",), "torch": ("torch_descent", "torch_descent_compiled"), "jax": ("jax_descent",),
        "linalign": ("linalign_descent",),
    }  # fmt: skip

    @property
    def rows(self) -> int:
        """Rows that a step sees."""
        return self.batch or self.n

    @property
    def terms(self) -> float:
        return self.rows + sum(self.widths)

    @property
    def products(self) -> float:
        return super().products * self.rows / self.n

    def tiny(self) -> Descent:
        return replace(super().tiny(), batch=self.batch and min(self.batch, 4))  # type: ignore[arg-type,return-value]

    def case(self) -> DescentCase:
        base = super().case()
        drawn = {kept.name: getattr(base, kept.name) for kept in fields(base)}
        return DescentCase(**drawn, rule=self.rule, batch=self.batch, seed=zlib.crc32(self.name.encode()))


@dataclass(frozen=True)
class DiagonalDescent(Descent):
    """`f(x) = sum_j v_j u_j x_j`: a diagonal layer and one output, as the studies of the bias of gradient noise have it."""

    peers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "numpy": ("numpy_diagonal",), "torch": ("torch_diagonal",), "jax": ("jax_diagonal",), "linalign": ("linalign_descent",),
    }  # fmt: skip

    @property
    def sizes(self) -> list[int]:
        return list(self.widths[:-1])

    def case(self) -> DescentCase:
        """A sparse target; u and v start alike but for noise."""
        k = self.widths[0]
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        X = rng.standard_normal((self.n, k)) / (np.sqrt(self.n) + np.sqrt(k))
        target = np.where(np.arange(k) < max(1, k // 20), 1.0, 0.0)
        weights = tuple(0.3 + 0.1 * rng.standard_normal(shape) for shape in ((k,), (1, k)))
        layers = (("Diagonal", (k,)), ("Dense", (k, 1)))
        return DescentCase(
            X, (X @ target)[:, None], weights, self.loss, self.lr, self.options, layers, self.rule, self.batch,
            zlib.crc32(self.name.encode()),
        )  # fmt: skip


def allowed(workload: Workload, start: Sequence[Array], once: Sequence[Array], steps: int) -> list[float]:
    """As `check.bounds` for SGD. Other rules divide by norms or by entries of any size: `AGREEMENT` of the first step."""
    if getattr(workload, "rule", "sgd") == "sgd":
        return check.bounds(workload, start, once, steps)
    return [AGREEMENT * float(np.linalg.norm(b - a)) for a, b in zip(start, once, strict=True)]


class DescentStep(Step):
    """A step by a rule of the workload's."""

    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        workload = self.workload
        return compare(entered, leave_out, workload.check_steps, workload.case().weights, workload, allowed)


class Reduced(Itself):
    """A step with every reduction that the rule keeps over one without: a share of its time, at most 1 if reducing pays."""

    def by_hand(self, workload: Workload) -> tuple[Any, Any, list[float]]:
        from .peers import numpy_descent

        case = workload.case()
        assert isinstance(case, DescentCase)
        first, last = trained(next(iter(numpy_descent.variants(case).values())), workload.check_steps)
        return case.weights, last, allowed(workload, case.weights, first, workload.check_steps)


def reduced(section: str, name: str, workload: Descent, **options: Any) -> Reduced:
    """The row of a workload against itself with `reduce="none"`."""
    sides = (("reduced", workload), ("unreduced", replace(workload, options={"reduce": "none"})))
    return Reduced(section, name, sides, **options)
