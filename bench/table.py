"""Our table, from JSON files of pytest-benchmark's: `python -m bench.table FILE ... [--markdown]`.

One line a row, losing and missing ones too; the ratio is the fastest peer's median over linalign's. `--markdown` prints the
rows with a headline for docs/benchmarks.md, a column for each file. Products of the kernels have a grid of their own, by BLAS and
by the tile.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PEERS = ("numpy", "torch", "jax", "pyfaust")
COLUMNS = (*PEERS, "linalign")
# equal versions in turn differ by this much
NOISE = 0.97
LABELS = {"linalign-plain": 'reduce="none"', "before": "the version before, in turn", "dgemm": "as a share of this machine's dgemm rate"}


@dataclass
class Entry:
    """One library's part of a row: what pytest-benchmark has of it, or why there is nothing."""

    about: dict[str, Any]
    stats: dict[str, Any] = field(default_factory=dict)

    @property
    def library(self) -> str:
        return str(self.about["library"])

    @property
    def role(self) -> str:
        return str(self.about["role"])

    @property
    def median(self) -> float:
        return float(self.stats["median"])

    @property
    def spread(self) -> float:
        """The interquartile range over the median."""
        return float(self.stats["iqr"]) / self.median

    @property
    def besides(self) -> float | None:
        """Seconds of the call besides the loop."""
        found = self.about.get("besides")
        return statistics.median(found) if found else None


@dataclass
class Line:
    """One line of the table. `times` by column."""

    label: str
    times: dict[str, float] = field(default_factory=dict)
    spread: float | None = None
    ratio: float | None = None
    aim: float | None = None
    at_most: bool = False
    trouble: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """What came of it, in a few words."""
        if self.ratio is None:
            return self.trouble or "no peer"
        kept = self.aim is None or (self.ratio <= self.aim if self.at_most else self.ratio >= self.aim)
        if self.at_most:
            word = "ok" if kept else "above its limit"
        elif self.ratio < 1 <= (self.aim or 1):
            word = "slower here"
        else:
            word = "ok" if kept else "short of its aim"
        return f"{word}; {self.trouble}" if self.trouble else word


# ---- from the file to lines --------------------------------------------------------------------------------------------------


def rows(found: dict[str, Any]) -> dict[tuple[str, str], list[Entry]]:
    """The entries of each (section, row), in the order of the file; what was not measured behind."""
    grouped: dict[tuple[str, str], list[Entry]] = {}
    for bench in found["benchmarks"]:
        if "role" in bench["extra_info"]:
            entry = Entry(bench["extra_info"], bench["stats"])
            grouped.setdefault((entry.about["section"], entry.about["row"]), []).append(entry)
    for about in found.get("bench", {}).get("unmeasured", ()):
        grouped.setdefault((about["section"], about["row"]), []).append(Entry(about))
    return grouped


def fastest(entries: Sequence[Entry]) -> Entry | None:
    """The fastest peer."""
    return min((e for e in entries if e.role == "peer" and e.stats), key=lambda e: e.median, default=None)


def in_turn(above: Entry, below: Entry) -> float:
    """The median of the ratios of measurements that are neighbours in time, so that a drift of the machine falls out."""
    first, second = above.stats.get("data"), below.stats.get("data")
    if not first or not second:
        return above.median / below.median
    return statistics.median(a / b for a, b in zip(first, second, strict=False))


def lines(name: str, entries: Sequence[Entry]) -> list[Line]:
    """The lines of a row: the comparison, and what stands below it."""
    about = entries[0].about
    trouble = "; ".join(f"{e.library} {_outcome(e)}" for e in entries if not e.stats)
    measured = [e for e in entries if e.stats]
    ours = [e for e in measured if e.role == "ours"]
    head = Line(name, aim=about.get("aim"), at_most=bool(about.get("at_most")), trouble=trouble)
    found = [head]
    head.times = {e.library: e.median for e in measured if e.role == "peer"}
    head.spread = max((e.spread for e in measured if e.role in ("peer", "base")), default=None)
    if about.get("shows"):
        head.notes.append(about["shows"])
    head.notes += [f"{e.library}: {e.about['how']}" for e in measured if e.role == "peer"]
    notes = dict.fromkeys(e.about["note"] for e in measured if e.about.get("note"))
    head.notes += [f"{', '.join(e.library for e in measured if e.about.get('note') == note)}: {note}" for note in notes]
    head.notes += [f"{e.library} without {how}: {why}" for e in measured for how, why in e.about.get("left_out", {}).items()]
    for i, entry in enumerate(ours):
        line = head if i == 0 else Line(f"  {LABELS.get(entry.library, entry.library)}", aim=about.get("aim"), at_most=head.at_most)
        if i:
            found.append(line)
        line.times["linalign"] = entry.median
        line.spread = max(entry.spread, line.spread or 0.0)
        line.ratio = _ratio(entry, measured)
        if entry.besides is not None and not head.at_most:
            line.notes.append(f"linalign: {duration(entry.besides).strip()} a run besides the steps")
    for entry in measured if ours else ():
        line = Line(f"  {LABELS.get(entry.library, entry.library)}", spread=entry.spread)
        if entry.role == "before":
            line.times, line.ratio, line.aim = {"linalign": entry.median}, in_turn(entry, ours[0]), NOISE
        elif entry.role == "yardstick":
            rate, speed = entry.about["operations"] / entry.stats["min"], ours[0].about["operations"] / ours[0].median
            line.ratio, line.aim = speed / rate, entry.about["aim"]
            line.notes.append(f"{speed / 1e9:.1f} of {rate / 1e9:.1f} GFLOP/s, the best of a plain product in the same rounds")
        else:
            continue
        found.append(line)
    return found


def _outcome(entry: Entry) -> str:
    if entry.about["outcome"] == "failed":
        return f"FAILED: {entry.about['why']}"
    return f"left out: {entry.about['why'].removeprefix('Skipped: ')}"


def _ratio(entry: Entry, measured: Sequence[Entry]) -> float | None:
    base = next((e for e in measured if e.role == "base"), None)
    if base is not None:
        return in_turn(entry, base)
    best = fastest(measured)
    return None if best is None else best.median / entry.median


# ---- words -------------------------------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s ", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def number(value: float) -> str:
    """Three digits, in full up to a million."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def header(found: dict[str, Any]) -> list[str]:
    """Machine, date, commit and libraries."""
    machine, bench, commit = found["machine_info"], found.get("bench", {}), found.get("commit_info", {})
    changed = " and changes that are not committed" if commit.get("dirty") else ""
    load = bench.get("load before")
    about = [
        f"{machine['cpu']['brand_raw']}, {machine['processors']} processors, at most {machine['threads']} threads",
        f"{machine['system']} {machine['release']}, Python {machine['python_version']}",
        f"{found['datetime'][:19]}, commit {str(commit.get('id', 'unknown'))[:12]}{changed}"
        + ("" if load is None else f", load before {load:.2f}"),
    ]
    for name, library in bench.get("libraries", {}).items():
        said = f"absent, {library['absent']}" if library.get("absent") else ", ".join(library["pools"]) or "no BLAS of its own listed"
        about.append(f"{name} {library['version']}".rstrip() + f": {said}")
    return [*about, *bench.get("remarks", ())]


def text(found: dict[str, Any]) -> str:
    """The whole table. Times are medians, of a step unless the row says what of."""
    by_section: dict[str, list[Line]] = {}
    for (section, name), entries in rows(found).items():
        if "form" not in entries[0].about:
            by_section.setdefault(section, []).extend(lines(name, entries))
    every = [line for group in by_section.values() for line in group]
    out = header(found)
    if every:
        columns = [name for name in COLUMNS if any(name in line.times for line in every)]
        width = max([len("median"), *(len(line.label) for line in every)])
        head = f"{'median':<{width}}" + "".join(f"{name:>10}" for name in columns) + f"{'iqr':>6}{'ratio':>9}{'aim':>11}  verdict"
        out += ["", head, "-" * len(head)]
        for section, group in by_section.items():
            out += [section, *(_formatted(line, columns, width) for line in group)]
        out += [
            "",
            "ratio: the fastest peer's median over linalign's, or where linalign is compared with itself its median over that of its base;",
            "iqr: the widest interquartile range; aim: the ratio that the row is to keep, at least or at most",
            *(f"{line.label.strip()}  --  {'; '.join(line.notes)}" for line in every if line.notes),
        ]
    return "\n".join([*out, *grids(found)])


def grids(found: dict[str, Any]) -> list[str]:
    """Products of the kernels: a grid for each float type and instruction set, a line for each size, a column for each form."""
    times: dict[tuple[str, str], dict[tuple[int, ...], dict[str, str]]] = {}
    for entries in rows(found).values():
        base = next((e for e in entries if e.stats and e.library == "blas" and "form" in e.about), None)
        for entry in entries if base else ():
            if entry.stats and entry is not base:
                cell = f"{base.median * 1e9:9.0f} / {entry.median * 1e9:6.0f} ({base.median / entry.median:4.1f})"
                grid = times.setdefault((entry.about["dtype"], entry.library), {})
                grid.setdefault(tuple(entry.about["sizes"]), {})[entry.about["form"]] = cell
    out = []
    for (dtype, library), grid in times.items():
        forms = list(dict.fromkeys(form for cells in grid.values() for form in cells))
        out += ["", f"{library}, {dtype}: nanoseconds by BLAS / by the tile (ratio)"]
        out.append(f"{'m x n x k':>16}" + "".join(f"{form:>26}" for form in forms))
        out += [
            f"{' x '.join(map(str, sizes)):>16}" + "".join(f"{cells.get(form, ''):>26}" for form in forms) for sizes, cells in grid.items()
        ]
    return out


def _formatted(line: Line, columns: Sequence[str], width: int) -> str:
    times = "".join(f"{duration(line.times[name]) if name in line.times else '':>10}" for name in columns)
    iqr = "" if line.spread is None else f"{line.spread:.0%}"
    ratio = "" if line.ratio is None else number(line.ratio)
    aim = "" if line.aim is None else ("<= " if line.at_most else ">= ") + number(line.aim)
    return f"{line.label:<{width}}{times}{iqr:>6}{ratio:>9}{aim:>11}  {line.verdict}"


def markdown(files: Mapping[str, dict[str, Any]]) -> str:
    """The rows with a headline, a column for each processor, as a table for docs/benchmarks.md: how many times as fast, and the times."""
    table: dict[str, dict[str, str]] = {}
    for processor, found in files.items():
        for (_, name), entries in rows(found).items():
            headline = entries[0].about.get("headline")
            if headline:
                table.setdefault(headline, {})[processor] = _cell(name, entries)
    out = [f"| problem | {' | '.join(files)} |", "|---|" + "---|" * len(files)]
    out += [f"| {headline} | {' | '.join(cells.get(name, '') for name in files)} |" for headline, cells in table.items()]
    return "\n".join(" ".join(row.split()) for row in out)


def _cell(name: str, entries: Sequence[Entry]) -> str:
    line, best = lines(name, entries)[0], fastest(entries)
    if line.ratio is None or best is None:
        return line.verdict
    without = ", ".join(entry.library for entry in entries if entry.role == "peer" and not entry.stats)
    missing = f"; without {without}" if without else ""
    times = f"{duration(line.times['linalign']).strip()}; {best.library} {duration(best.median).strip()}{missing}"
    return f"**{number(line.ratio)}** ({times})"


def columns(paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """What was found, by processor, as names of files have it: `<date>-<processor>-<commit>.json`; with the commit where two are of one."""
    names = []
    for path in paths:
        words = path.stem.split("-")[3:-1]
        names.append(" ".join(word.upper() if word in ("amd", "epyc") else word.capitalize() for word in words) or path.stem)
    keys = [f"{name}, {path.stem.split('-')[-1]}" if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]
    return {key: json.loads(path.read_text()) for key, path in zip(keys, paths, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.table", description="The table of a file that `pytest bench --benchmark-json` wrote.")
    parser.add_argument("file", type=Path, nargs="+")
    parser.add_argument("--markdown", action="store_true", help="the rows of docs/benchmarks.md, a column for each file")
    options = parser.parse_args()
    found = columns(options.file)
    print(markdown(found) if options.markdown else "\n\n".join(text(one) for one in found.values()))


if __name__ == "__main__":
    main()
