"""The table and its file."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .rows import Row

RESULTS = Path(__file__).parent / "results"


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s ", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def number(value: float) -> str:
    """Three digits, in full up to a million."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def verdict(row: Row) -> str:
    """What came of the row, in a few words."""
    if row.failed:
        return f"FAILED: {row.failed}"
    if row.skipped:
        return f"skipped: {row.skipped}"
    if row.ratio is None:
        return "no peer to compare with"
    if row.met:
        return "ok"
    if row.at_most:
        return "above the limit"
    # a fraction below one is wanted where the row is no comparison with a peer
    return "slower here" if row.ratio < 1 <= row.wanted else "short of the wanted ratio"


def notes(row: Row) -> str:
    """The row's note, the variants that were fastest, and what linalign does before the first step."""
    parts = [row.note] if row.note else []
    parts += [f"{name}: {times.how}" for name, times in row.times.items() if name not in ("linalign", "left", "right")]
    ours = row.times.get("linalign")
    if ours is not None and ours.fixed:
        parts.append(f"linalign: {duration(ours.overhead).strip()} a run besides the steps")
    return "; ".join(parts)


def table(about: dict[str, Any], rows: Sequence[Row], libraries: Sequence[str]) -> str:
    """Machine, one line a row, and a note a line where there is one. Times are medians of a step, or of a run where the row says so."""
    lines = [
        f"{about['cpu']}, {about['processors']} processors, at most {about['threads']} threads",
        f"{about['platform']}, Python {about['python']}",
        f"{about['date']}, load before {about['load before']:.2f}",
    ]
    lines += [
        f"{name} {about[name]['version']}".rstrip() + f": {', '.join(about[name]['pools']) or 'no BLAS of its own listed'}"
        for name in libraries
    ]
    width = max([len("step of"), *(len(row.name) for row in rows)])
    head = f"{'step of':<{width}}" + "".join(f"{name:>10}" for name in libraries) + f"{'iqr':>6}{'ratio':>9}{'wanted':>11}  verdict"
    lines += ["", head, "-" * len(head)]
    group = None
    for row in rows:
        if row.group != group:
            group = row.group
            lines.append(group)
        times = "".join(f"{duration(row.seconds[name]) if name in row.seconds else '':>10}" for name in libraries)
        spread = max((t.spread for t in row.times.values()), default=None)
        iqr = "" if spread is None else f"{spread:.0%}"
        ratio = "" if row.ratio is None else number(row.ratio)
        wanted = ("<= " if row.at_most else ">= ") + number(row.wanted)
        lines.append(f"{row.name:<{width}}{times}{iqr:>6}{ratio:>9}{wanted:>11}  {verdict(row)}")
    lines += ["", "ratio: the fastest peer's time over linalign's, unless the row says otherwise; iqr: the widest interquartile range"]
    lines += [f"{row.name.strip()}  --  {text}" for row in rows if row.ratio is not None for text in [notes(row)] if text]
    return "\n".join(lines)


def save(about: dict[str, Any], rows: Sequence[Row], settings: dict[str, Any], path: Path | None) -> Path:
    """Everything that was measured, as JSON; by default in bench/results/<date>-<cpu>.json."""
    if path is None:
        cpu = re.sub(r"[^a-z0-9]+", "-", about["cpu"].lower()).strip("-")
        path = RESULTS / f"{about['date'][:10]}-{cpu}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"machine": about, "settings": settings, "rows": [{**dataclasses.asdict(row), "met": row.met} for row in rows]}
    path.write_text(json.dumps(data, indent=1) + "\n")
    return path
