"""Benchmarks as pictures and tables, from the files of `bench/results`: every row, those that lose too.

`<!-- benchmarks -->` becomes a part for each file, the newest first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .markdown import ROOT

sys.path.insert(0, str(ROOT))

from bench.table import Line, duration, fastest, header, lines, number, rows

RESULTS = ROOT / "bench" / "results"
MARK = "<!-- benchmarks -->"
NO_BREAK = "\N{NO-BREAK SPACE}"
COLOURS = {"numpy": "#4c78a8", "torch": "#e45756", "jax": "#54a24b", "pyfaust": "#b279a2", "linalign": "#f58518"}
MARKERS = {"numpy": "o", "torch": "s", "jax": "^", "pyfaust": "D", "linalign": "o"}


def measured(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def by_section(found: dict[str, Any]) -> dict[str, list[tuple[Line, list[Line], str]]]:
    """Of each section its rows: the line of the comparison, those below it, and the fastest peer's name."""
    sections: dict[str, list[tuple[Line, list[Line], str]]] = {}
    for (section, name), entries in rows(found).items():
        if "form" not in entries[0].about:
            head, *below = lines(name, entries)
            best = fastest(entries)
            sections.setdefault(section, []).append((head, below, best.library if best else ""))
    return sections


def picture(found: dict[str, Any], path: Path, ink: str) -> None:
    """Times of all libraries, a line a row, on one logarithmic axis; a row where linalign is slower has its name in red."""
    from matplotlib.figure import Figure

    places: list[tuple[str, Line | None]] = []
    for section, group in by_section(found).items():
        shown = [head for head, _, best in group if best and "linalign" in head.times]
        if shown:
            places += [(section, None), *((head.label.strip(), head) for head in shown)]
    figure = Figure(figsize=(7, 0.24 * len(places) + 1))
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    for y, (_, head) in enumerate(places):
        if head is not None:
            axes.plot([min(head.times.values()), max(head.times.values())], [y, y], color=ink, alpha=0.25, lw=1, zorder=1)
            for library, seconds in head.times.items():
                size = 7 if library == "linalign" else 5
                axes.plot(seconds, y, MARKERS[library], color=COLOURS[library], ms=size, zorder=3 if library == "linalign" else 2)
    axes.set_xscale("log")
    axes.tick_params(which="both", color=ink, labelcolor=ink)
    axes.set_yticks(range(len(places)), [label for label, _ in places], fontsize=9)
    for tick, (_, head) in zip(axes.get_yticklabels(), places, strict=True):
        slower = head is not None and head.ratio is not None and head.ratio < 1
        tick.set_color("#d62728" if slower else ink)
        tick.set_fontweight("bold" if head is None else "normal")
    axes.set_ylim(len(places) - 0.5, -1)
    axes.set_xlabel("seconds: a step, unless the row says what of", color=ink)
    axes.grid(axis="x", color=ink, alpha=0.15)
    for spine in axes.spines.values():
        spine.set_visible(False)
    handles = [axes.plot([], [], MARKERS[name], color=COLOURS[name], label=name)[0] for name in COLOURS]
    axes.legend(handles=handles, ncols=len(handles), loc="lower left", bbox_to_anchor=(0, 1), frameon=False, labelcolor=ink)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def cells(head: Line, best: str) -> str:
    """A row of the table."""
    ours = duration(head.times["linalign"]) if "linalign" in head.times else ""
    # a number is not parted from its unit
    theirs = f"{best}, {duration(head.times[best]).replace(' ', NO_BREAK)}" if best else ""
    ratio = "" if head.ratio is None else number(head.ratio)
    return "| " + " | ".join([head.label.strip().replace("|", "\\|"), ours, theirs, ratio, head.verdict.replace("|", "\\|")]) + " |"


def part(path: Path) -> str:
    """What the page says of one file."""
    found = measured(path)
    text = [f"## {path.stem}", "", *(f"- {line}" for line in header(found)), ""]
    for scheme in ("light", "dark"):
        text += [f"![Times of all rows and libraries](auto_bench/{path.stem}-{scheme}.svg){{.only-{scheme}}}", ""]
    for section, group in by_section(found).items():
        text += [
            f"### {section[0].upper()}{section[1:]}",
            "",
            "| row | linalign | fastest peer | times as fast | verdict |",
            "|---|---|---|---|---|",
        ]
        for head, below, best in group:
            text += [cells(head, best), *(cells(line, "") for line in below)]
        text.append("")
    return "\n".join([*text, f"All of it, with how each peer was written: `python -m bench.table bench/results/{path.name}`.", ""])


def draw(app: Any) -> None:
    """The pictures, where a file is newer than its own."""
    folder = Path(app.srcdir) / "auto_bench"
    folder.mkdir(exist_ok=True)
    for path in RESULTS.glob("*.json"):
        for scheme, ink in (("light", "#222832"), ("dark", "#ced6dd")):
            made = folder / f"{path.stem}-{scheme}.svg"
            if not made.exists() or made.stat().st_mtime < path.stat().st_mtime:
                picture(measured(path), made, ink)


def read(app: Any, docname: str, source: list[str]) -> None:
    if MARK in source[0]:
        files = sorted(RESULTS.glob("*.json"), reverse=True)
        for path in files:
            app.env.note_dependency(str(path))
        source[0] = source[0].replace(MARK, "\n".join(part(path) for path in files))


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", draw)
    app.connect("source-read", read, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
