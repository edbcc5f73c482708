"""Plan: which problem is run instead of the one given, from which pivot, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from .. import html
from ..problem.metric import UNSAID
from .cost import Pivot


@dataclass(frozen=True)
class Reduction:
    """One exact reduction, applied or not, and why. `residual` is the measured error of its precondition."""

    name: str
    applied: bool
    what: str
    why: str
    residual: float | None = None


@dataclass(frozen=True)
class Plan:
    """What will run, how much it costs, and why; `str(plan)` is the table.

    `macs` are multiply-adds a step of the plan; `macs_before` of backpropagation on the problem as given. `layers` are the
    structures, as `repr` writes them. The statements that a plan names, such as T8.1, are listed and proved in `docs/theory/` of
    the repository; `linalign.theory.statements` has them by number.
    """

    widths: tuple[int, ...]
    layers: tuple[str, ...]
    parameters: int
    rows: int
    dtype: str
    loss: str
    update: str
    implementation: str
    reductions: tuple[Reduction, ...]
    widths_after: tuple[int, ...]
    rows_after: int
    pivot: Pivot
    pivot_why: str
    rejected: tuple[Pivot, ...]
    macs: int
    macs_before: int
    kernel: str
    kernel_why: str
    workspace: int
    rule: str = "sgd"
    batch: int | None = None
    noise: tuple[str, ...] = ()
    metric: str = "parameters"
    metric_why: str = ""
    curvature: str = ""
    """Of which network the curvature is found, and why that is the one as given; empty where none is recorded."""

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain numbers and strings."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Plan:
        """The plan that `to_dict` wrote."""
        return cls(**{
            "metric": UNSAID,
            **fields,
            "widths": tuple(fields["widths"]),
            "layers": tuple(fields["layers"]),
            "widths_after": tuple(fields["widths_after"]),
            "reductions": tuple(Reduction(**r) for r in fields["reductions"]),
            "noise": tuple(fields.get("noise", ())),
            "pivot": Pivot(**fields["pivot"]),
            "rejected": tuple(Pivot(**p) for p in fields["rejected"]),
        })  # fmt: skip

    def __repr__(self) -> str:
        return f"Plan({_chain(self.widths)} as {_chain(self.widths_after)}, pivot {self.pivot.at}, {self.macs:,} multiply-adds a step)"

    def _rows(self) -> list[tuple[str, str, str]]:
        """What the table says: of what, what, and why."""
        rows = [("given", f"{_chain(self.widths)}, {self.rows} rows", f"{self.loss} loss, {self.update} updates, {self.dtype}")]
        kinds = [layer.partition("(")[0] for layer in self.layers]
        if set(kinds) != {"Dense"}:
            rows.append(("layers", _counted(kinds), f"{self.parameters:,} parameters"))
        if self.rule != "sgd":
            rows.append(("rule", self.rule, "decides what becomes of a gradient, and which reductions hold"))
        if self.metric_why:
            rows.append(("metric", self.metric, self.metric_why))
        if "stream" in self.noise:
            rows.append(("stream", f"{self.batch} rows a step", "every step has data of its own"))
        elif self.batch is not None:
            rows.append(("batches", f"{self.batch} rows a step", "reductions that need all rows at every step are off"))
        if "label_noise" in self.noise:
            fewer = any(r.applied and r.name == "samples" for r in self.reductions)
            law = "T7.1: the same law, as rotations keep it, less a part that no network sees" if fewer else "drawn anew at every step"
            rows.append(("labels", "noise on the rows that are run", law))
        if "gradient_noise" in self.noise:
            rows.append(("gradients", "noise on every entry", "the rule is in NumPy, on gradients of the kernel"))
        for r in self.reductions:
            check = f"; checked to {r.residual:.0e}" if r.residual is not None else ""
            rows.append((r.name, r.what if r.applied else "not used", r.why + check))
        if self.curvature:
            of, _, why = self.curvature.partition(": ")
            rows.append(("curvature", of, why))
        rows.append(("run", f"{_chain(self.widths_after)}, {self.rows_after} rows", f"{self.macs:,} multiply-adds a step"))
        p = self.pivot
        rows.append(("pivot", f"{p.at} of {len(self.widths) - 1}, {p.rows} rows in flight", self.pivot_why))
        rows.append(("kernel", self.kernel, f"{self.kernel_why}; workspace {_bytes(self.workspace)}"))
        if self.rejected:
            others = ", ".join(f"{q.at} ({q.macs:,})" for q in self.rejected)
            rows.append(("not used", "other pivots", f"multiply-adds a step: {others}"))
        return rows

    @property
    def _head(self) -> str:
        gain = self.macs_before / max(self.macs, 1)
        return f"plan: {self.macs:,} multiply-adds a step; backpropagation as given takes {self.macs_before:,}, {gain:.3g} times as many"

    def _repr_html_(self) -> str:
        return html.page(html.text(self._head), html.table(self._rows()))

    def __str__(self) -> str:
        rows = self._rows()
        named = max(len(name) for name, _, _ in rows)
        what = max(len(text) for _, text, _ in rows)
        return "\n".join([self._head, *(f"  {name:<{named}}  {text:<{what}}  {why}".rstrip() for name, text, why in rows)])


def _chain(widths: tuple[int, ...]) -> str:
    return "-".join(map(str, widths))


def _counted(kinds: list[str]) -> str:
    """Equal neighbours once: `2 Conv2d, Dense`."""
    runs = [(kind, len(list(run))) for kind, run in groupby(kinds)]
    return ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in runs)


def _bytes(count: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 10_000 or unit == "MB":
            return f"{count:,} {unit}"
        count = round(count / 1000)
    raise AssertionError
