"""The profile of this processor: `python -m bench.calibrate [--out FILE] [--seconds S] [--quick]`, a minute or two on a quiet machine.

Measures products by BLAS, by the register tile and by the packed panels of every instruction set, and by two threads, and writes what
`linalign.plan.profiles` reads: by default to the user's cache, where the package finds it. Every product is measured once a round, all in
turn, after others that bring the processor to the frequency of such work; what counts is the lower quartile of its rounds. Those whose
two halves do not agree have further rounds; where many never do, the machine is at work with something else and nothing is written.

With `--seconds` it stops after so many, and keeps its measurements in `FILE.part`; the same call goes on from there until it is done.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls
from threadpoolctl import threadpool_limits

from linalign.files.whole import replacing
from linalign.plan import machine, profiles
from linalign.plan.profiles import Profile, Rates

from . import products

Terms = tuple[int, int, int]
# square products, and thin ones of few rows in flight
SQUARE = (2, 3, 4, 5, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256)
THIN = ((2, 64), (4, 32), (4, 128), (10, 64), (10, 128), (32, 64), (32, 192), (32, 256), (100, 200), (100, 256), (300, 64), (300, 128))
# products whose factor does not fit in the second-level cache, with few rows: they say how fast it comes from beyond
BEYOND = ((4, 1000), (8, 800), (4, 1600))
# those that may go by panels, beside the squares
PANELS = ((16, 512), (32, 256), (32, 512), (48, 384), (64, 300), (64, 512), (96, 384), (128, 512), (384, 384), (512, 512), (768, 768))
# of what size two threads are tried, and by how much they must win
SHARED, WINS = (24, 32, 40, 48, 56, 64, 80, 96, 128), 0.9
# sizes up to which the tile is fitted, and from which BLAS is; the small ones say what a call costs
TILED, LARGE, CALLS = 128, 192, 16
# a mean logarithm of times that is no larger than another by more than this is as good
AS_GOOD = 1e-3
# the quartiles of halves of the rounds may differ by this, but for those of a share of the products
STEADY, STRAY = 0.15, 0.05
# seconds of a measurement, and of the work before a round; rounds, and how many times as many an unsteady product may have
SLICE, WARM, ROUNDS, PATIENCE = 1e-3, 0.1, 12, 3


class Unsteady(RuntimeError):
    """The machine is at work with something else."""


class Case(NamedTuple):
    """A product of `form` with `s` rows in flight and a layer n x n, by one library: `way` is "blas", "tile" or "panels"."""

    isa: str
    way: str
    form: str
    s: int
    n: int
    threads: int = 1

    @property
    def sizes(self) -> Terms:
        return terms(self.form, self.s, self.n)


def terms(form: str, s: int, n: int) -> Terms:
    """Rows, columns and terms of a product with s rows in flight and a layer n x n."""
    return (n, n, s) if form == "TN" else (s, n, n)


def moved(m: int, n: int, k: int) -> float:
    """Bytes of the three matrices of a product."""
    return 8.0 * (m * n + n * k + m * k)


def cases() -> list[Case]:
    """All that is measured."""
    levels = [isa for isa in profiles.SETS if machine.LEVELS[isa] <= machine.LEVELS[machine.available()]]
    square, forms = [(n, n) for n in SQUARE], products.FORMS
    found = [Case("base", "blas", form, s, n) for s, n in dict.fromkeys([*square, *THIN, *BEYOND, *PANELS]) for form in forms]
    for isa in levels[:-1]:
        found += [Case(isa, "tile", form, s, n) for s, n in [*square, *THIN] for form in forms]
        found += [Case(isa, "panels", form, s, n) for s, n in [*square, *PANELS] if n > profiles.TILE_STEP for form in forms]
    if machine.SHARES and (os.cpu_count() or 1) > 1:
        way = "tile" if machine.LEVELS[machine.ISA] else "blas"
        found += [Case(machine.ISA, way, "NN", n, n, threads) for n in SHARED for threads in (1, 2)]
    return list(dict.fromkeys(found))


@cache
def operands(form: str, sizes: Terms) -> tuple[Any, Any, Any]:
    """Those of a product, the same each time."""
    return products.operands(form, *sizes, "float64")


def seconds(case: Case, repeats: int) -> float:
    """Seconds of so many products."""
    ta, tb = products.FORMS[case.form]
    A, B, C = operands(case.form, case.sizes)
    beta, alpha = (1.0, 1e-9) if case.form == "TN" else (0.0, 1.0)
    level = machine.LEVELS["base" if case.way == "blas" else case.isa]
    most, least = (profiles.TILE_STEP, 2) if case.way == "panels" else (products.MOST, 0)
    how = {"level": level, "most": most, "least": least, "threads": case.threads, "wake": 1, "cache": int(0.4 * second_level_cache())}
    return float(products.kernel().multiply(ta, tb, alpha, A, B, beta, C, repeats=repeats, **how))


def once(case: Case, count: int) -> tuple[float, int]:
    """Nanoseconds of a product whose factors are as near as they can be, and how many of them make a measurement."""
    seconds(case, max(2, count // 2))
    took = seconds(case, count)
    while took < SLICE / 2 and count < 10**7:
        count = int(max(2 * count, min(50 * count, 1.2 * count * SLICE / max(took, 1e-9))))
        took = seconds(case, count)
    return took / count * 1e9, count


def warm() -> None:
    """Work until the processor has the frequency that it keeps at such work."""
    until = time.perf_counter() + WARM
    while time.perf_counter() < until:
        seconds(Case("base", "blas", "NN", 256, 256), 4)


def measure(times: dict[Case, list[float]], rounds: int, until: float) -> bool:
    """Add rounds, in turn, to the products that have fewer than `rounds`; whether all have them when the clock says `until`."""
    counts = dict.fromkeys(times, 1)
    with threadpool_limits(1, "blas"):
        while due := [case for case, found in times.items() if len(found) < rounds]:
            if time.perf_counter() > until:
                return False
            warm()
            for case in due:
                took, counts[case] = once(case, counts[case])
                times[case].append(took)
    return True


def quartile(times: Sequence[float]) -> float:
    """The lower quartile: the least is that of a moment at a frequency that does not last."""
    return sorted(times)[len(times) // 4]


def unsteady(times: Sequence[float]) -> bool:
    """Whether two halves of the rounds do not agree."""
    halves = quartile(times[::2]), quartile(times[1::2] or times)
    return max(halves) > (1 + STEADY) * min(halves)


def settled(times: dict[Case, list[float]], rounds: int, until: float) -> bool:
    """Measure all, and again what is unsteady; whether that is done. Raises: Unsteady where too many remain so."""
    if not measure(times, rounds, until):
        return False
    for more in range(2, PATIENCE + 1):
        again = {case: found for case, found in times.items() if unsteady(found)}
        if not measure(again, more * rounds, until):
            return False
    left = [case for case, found in times.items() if unsteady(found)]
    if len(left) > STRAY * len(times):
        one = times[left[0]]
        raise Unsteady(f"{len(left)} of {len(times)} products, as one of {left[0].sizes}: {min(one):.0f} to {max(one):.0f} ns")
    return True


# ---- what follows from the times -------------------------------------------------------------------------------------------


def fit(times: Sequence[tuple[Terms, float]]) -> tuple[float, float, float, float]:
    """`call, rate, half` of the model by nonnegative least squares, and its median error; from `(m, n, k)` and nanoseconds.

    A product takes `call + (m n k + half m n) / rate`. Relative errors count: each equation is divided by its time.
    """
    A = np.array([np.array([1.0, m * n * k, m * n]) / t for (m, n, k), t in times])
    (call, inverse, thin), _ = nnls(A, np.ones(len(A)))
    error = float(np.median(np.abs(A @ [call, inverse, thin] - 1)))
    return call, 1 / inverse, thin / inverse, error


Times = dict[tuple[str, int, int], float]
"""Nanoseconds of products `(form, s, n)`."""


def change_over(ours: Times, others: Times, size: Callable[[str, int, int], int]) -> dict[int, float]:
    """If we make the products up to each size, and others the larger ones: the mean of the logarithms of all times."""
    shared = [key for key in ours if key in others]
    return {
        at: float(np.mean([np.log((ours if size(*key) <= at else others)[key]) for key in shared]))
        for at in sorted({0, *(size(*key) for key in shared)})
    }


def largest_tile(tile: Times, others: Times) -> int:
    """The size, a multiple of 16, up to which the tile had best be used: of square products, in all forms."""
    square = {key: t for key, t in tile.items() if key[1] == key[2]}
    found = change_over(square, others, lambda form, s, n: n)
    good = [at for at in found if at % profiles.TILE_STEP == 0 and at and found[at] <= min(found.values()) + AS_GOOD]
    return min(max(good, default=profiles.TILE_STEP), profiles.LARGEST_TILE)


def least_panels(panels: Times, blas: Times, tile: int) -> int:
    """The least side from which on panels had best be used beyond the tile, whatever the shape; 0 where BLAS is better throughout."""
    beyond = {key: t for key, t in panels.items() if max(terms(*key)[1:]) > tile}
    found = change_over(blas, beyond, lambda *key: min(terms(*key)))
    if not beyond or found[max(found)] <= min(found.values()):
        return 0
    last = min(found, key=lambda at: found[at])
    return min(side for side in (min(terms(*key)) for key in beyond) if side > last)


def rates(times: Times, near: Any, cache: float) -> tuple[Rates, float]:
    """The model of a library from the times of its products `(form, s, n)`, those that are `near`, and the median error."""
    call, rate, half, error = fit([(terms(*key), times[key]) for key in times if near(*key) and moved(*terms(*key)) <= cache])
    beyond = []
    for form, s, n in times:
        if (s, n) in BEYOND:
            (m, c, k), took = terms(form, s, n), times[form, s, n]
            rest = took - call - m * c * (k + half) / rate
            if rest > 0.1 * took:
                beyond.append(moved(m, c, k) / rest)
    bandwidth = float(np.median(beyond)) if beyond else 20.0
    return Rates(round(float(call), 1), round(float(rate), 2), round(float(half), 2), round(bandwidth, 1), cache), error


def second_thread(best: dict[Case, float]) -> int | None:
    """Multiply-adds from which on two threads are faster than one; None where nobody shares, or there is no size at which they are."""
    for n in SHARED:
        alone, two = (next((t for case, t in best.items() if case.threads == count and (case.form, case.s, case.n) == ("NN", n, n)
                            and case.isa == machine.ISA), None) for count in (1, 2))  # fmt: skip
        if alone is not None and two is not None and two < WINS * alone:
            return n**3
    return None


def second_level_cache() -> float:
    """Bytes of it; a MiB where the system does not say."""
    try:
        said = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text().strip()
        return float(said.removesuffix("K")) * 2**10 if said.endswith("K") else 2.0**20
    except (OSError, ValueError):
        return 2.0**20


def calibrated(best: dict[Case, float]) -> tuple[Profile, list[str]]:
    """The profile of this processor from the nanoseconds of all products, and a line a library of how well it fits."""
    table = profiles.TABLES[profiles.named(*machine.CPU)]
    cache = second_level_cache()

    def by(isa: str, way: str) -> Times:
        return {(c.form, c.s, c.n): t for c, t in best.items() if (c.isa, c.way, c.threads) == (isa, way, 1)}

    own = by("base", "blas")
    blas, error = rates(own, lambda form, s, n: n >= LARGE or s == n <= CALLS, cache)
    lines, made, tiles, panels = [f"BLAS: {blas}, half of the products within {error:.0%}"], dict(table.rates), dict(table.tiles), {}
    made["base"], panels["base"] = (blas, blas, blas), 0
    for isa in profiles.SETS[:-1]:
        panels[isa] = table.panels[isa]
        small, large = by(isa, "tile"), by(isa, "panels")
        if not small:
            continue
        tile, error = rates(small, lambda form, s, n: n <= TILED and s <= 300, cache)
        tiles[isa] = largest_tile(small, {key: min(t, large.get(key, t)) for key, t in own.items()})
        lines.append(f"tile of {isa}, up to {tiles[isa]}: {tile}, half of the products within {error:.0%}")
        panels[isa] = least_panels(large, own, tiles[isa])
        # all that is moved is hidden behind the sums, or in their rate
        packed, error = rates(large, lambda form, s, n, least=panels[isa] or LARGE: min(s, n) >= least, np.inf)
        packed = replace(packed, cache=profiles.LARGEST)
        lines.append(f"panels of {isa}, from {panels[isa] or 'nowhere'} on: {packed}, half of the products within {error:.0%}")
        made[isa] = tile, blas, packed
    wake = second_thread(best)
    lines.append(f"a second thread: from {wake:,} multiply-adds on" if wake else "a second thread: no size at which it wins; as shipped")
    wake = wake or table.wake
    name = f"calibrated on {profiles.said(*machine.CPU)}"
    return replace(table, name=name, tiles=tiles, panels=panels, rates=made, wake=wake, share=wake // 2, cache=int(0.4 * cache)), lines


# ---- the command -----------------------------------------------------------------------------------------------------------


def kept(part: Path, asked: Sequence[Case]) -> dict[Case, list[float]]:
    """The measurements so far: of an earlier call on this processor, if there is one."""
    times: dict[Case, list[float]] = {case: [] for case in asked}
    with contextlib.suppress(FileNotFoundError):
        found = json.loads(part.read_text())
        if found["cpu"] == profiles.said(*machine.CPU):
            times |= {Case(*case): list(took) for case, took in found["times"] if Case(*case) in times}
    return times


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m bench.calibrate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help=f"where to [{profiles.kept()}]; {profiles.VARIABLE} names it to the package")
    parser.add_argument("--seconds", type=float, default=np.inf, help="stop after so many; the same call goes on")
    parser.add_argument("--quick", action="store_true", help="a third of the measurements")
    options = parser.parse_args(arguments)
    out = options.out or profiles.kept()
    if out is None:
        parser.error("there is no home to keep it in; pass --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    part, rounds = out.with_name(out.name + ".part"), ROUNDS // 3 if options.quick else ROUNDS
    times = kept(part, cases())
    try:
        done = settled(times, rounds, time.perf_counter() + options.seconds)
    except Unsteady as error:
        part.unlink(missing_ok=True)
        parser.exit(
            1, f"{parser.prog}: this machine is at work with something else, {error}; nothing was written: try again when it rests\n"
        )
    if not done:
        with replacing(part) as file:
            file.write(json.dumps({"cpu": profiles.said(*machine.CPU), "times": list(times.items())}).encode())
        print(
            f"{sum(map(len, times.values()))} of at least {rounds * len(times)} measurements, in {part}; the same call goes on from there"
        )
        return 0
    profile, lines = calibrated({case: quartile(found) for case, found in times.items()})
    print("\n".join(lines))
    with replacing(out) as file:
        file.write((json.dumps(profile.to_dict(profiles.said(*machine.CPU)), indent=1) + "\n").encode())
    part.unlink(missing_ok=True)
    print(f"written to {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
