"""The profile of this processor: `python -m bench.calibrate [--out FILE] [--quick]`, a minute or two on a machine that does nothing else.

Measures products by BLAS and by the register tile of every instruction set, and by two threads, and writes what `linalign.plan.profiles`
reads: by default to the user's cache, where the package finds it. Each product is the least of many short measurements that are spread
over the whole time; where two halves of these do not agree, the machine is at work with something else and nothing is written.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from linalign.files.whole import replacing
from linalign.plan import machine, profiles
from linalign.plan.profiles import Profile, Rates

from . import products
from .worker import Stage

Terms = tuple[int, int, int]
# square products, and thin ones of few rows in flight
SQUARE = (2, 3, 4, 5, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256)
THIN = ((2, 64), (4, 32), (4, 128), (10, 64), (10, 128), (32, 64), (32, 192), (32, 256), (100, 200), (100, 256), (300, 64), (300, 128))
# products whose factor does not fit in the second-level cache, with few rows: they say how fast it comes from beyond
BEYOND = ((4, 1000), (8, 800), (4, 1600))
# of what size two threads are tried, and by how much they must win
SHARED, WINS = (24, 32, 40, 48, 56, 64, 80, 96, 128), 0.9
# sizes up to which the tile is fitted, and from which BLAS is; the small ones say what a call costs
TILED, LARGE, CALLS = 128, 192, 16
# a tile that takes no more than this of BLAS's time, over the forms of a size, is as good
AS_GOOD = 1.02
# halves of the measurements may differ by this
STEADY = 0.15
# seconds of a measurement, and how many there are of each
SLICE, ROUNDS = 1e-3, 12


class Unsteady(RuntimeError):
    """The machine is at work with something else."""


def fit(times: Sequence[tuple[Terms, float]]) -> tuple[float, float, float, float]:
    """`call, rate, half` of the model by nonnegative least squares, and its median error; from `(m, n, k)` and nanoseconds.

    A product takes `call + (m n k + half m n) / rate`. Relative errors count: each equation is divided by its time.
    """
    A = np.array([np.array([1.0, m * n * k, m * n]) / t for (m, n, k), t in times])
    (call, inverse, thin), _ = nnls(A, np.ones(len(A)))
    error = float(np.median(np.abs(A @ [call, inverse, thin] - 1)))
    return call, 1 / inverse, thin / inverse, error


def terms(form: str, s: int, n: int) -> Terms:
    """Rows, columns and terms of a product with s rows in flight and a layer n x n."""
    return (n, n, s) if form == "TN" else (s, n, n)


def moved(m: int, n: int, k: int) -> float:
    """Bytes of the three matrices of a product."""
    return 8.0 * (m * n + n * k + m * k)


def measure(cases: Sequence[tuple[str, Terms, str]], rounds: int, repeats: dict[tuple[str, Terms, str], int]) -> list[list[float]]:
    """Nanoseconds of each product, `rounds` times, in turn: what disturbs one round disturbs all products, and no product always."""
    stage, found = Stage(), [[] for _ in cases]
    for _ in range(rounds):
        for case, times in zip(cases, found, strict=True):
            form, sizes, isa = case
            count = repeats.setdefault(case, 1)
            took = products.seconds(stage, form, sizes, "float64", isa, count)
            while took < SLICE / 2 and count < 10**7:
                count = repeats[case] = int(max(2 * count, min(50 * count, 1.2 * count * SLICE / max(took, 1e-9))))
                took = products.seconds(stage, form, sizes, "float64", isa, count)
            times.append(took / count * 1e9)
    return found


def least(times: Sequence[float], what: str) -> float:
    """The least. Raises: Unsteady where the least of every second one is far from that of the others."""
    halves = min(times[::2]), min(times[1::2] or times)
    if max(halves) > (1 + STEADY) * min(halves):
        raise Unsteady(f"{what} took {halves[0]:.0f} and {halves[1]:.0f} ns")
    return min(halves)


def largest_tile(tile: dict[tuple[str, int], float], blas: dict[tuple[str, int], float]) -> int:
    """The largest size, a multiple of 16, up to which the tile is as good as BLAS over the forms of a size."""
    best = profiles.TILE_STEP
    for n in sorted({n for _, n in tile}):
        shared = [form for form in products.FORMS if (form, n) in tile and (form, n) in blas]
        ratio = float(np.exp(np.mean([np.log(tile[form, n] / blas[form, n]) for form in shared])))
        if n > best and n % profiles.TILE_STEP == 0:
            if ratio > AS_GOOD:
                break
            best = n
    return min(best, profiles.LARGEST_TILE)


def rates(times: dict[tuple[str, int, int], float], by_tile: bool, cache: float) -> tuple[Rates, float]:
    """The model of a library from the times of its products `(form, s, n)`, and the median error."""
    near = [(form, s, n) for form, s, n in times if (n <= TILED and s <= 300 if by_tile else n >= LARGE or s == n <= CALLS)]
    call, rate, half, error = fit([(terms(*key), times[key]) for key in near if moved(*terms(*key)) <= cache])
    beyond = []
    for form, s, n in times:
        if (s, n) in BEYOND:
            (m, c, k), took = terms(form, s, n), times[form, s, n]
            rest = took - call - m * c * (k + half) / rate
            if rest > 0.1 * took:
                beyond.append(moved(m, c, k) / rest)
    bandwidth = float(np.median(beyond)) if beyond else 20.0
    return Rates(round(float(call), 1), round(float(rate), 2), round(float(half), 2), round(bandwidth, 1), cache), error


def second_thread(rounds: int) -> int | None:
    """Multiply-adds from which on two threads are faster than one; None where there is one processor, or no size at which they are."""
    if not machine.SHARES or (os.cpu_count() or 1) < 2:
        return None
    multiply, level = products.kernel().multiply, machine.LEVELS[machine.ISA]
    for n in SHARED:
        A, B, C = products.operands("NN", n, n, n, "float64")
        count, took = max(1, int(2e7 / n**3)), {1: [], 2: []}
        for _ in range(rounds):
            for threads, times in took.items():
                began = time.perf_counter()
                multiply(False, False, 1.0, A, B, 0.0, C, level=level, most=products.MOST, repeats=count, threads=threads, wake=1)
                times.append(time.perf_counter() - began)
        if min(took[2]) < WINS * min(took[1]):
            return n**3
    return None


def second_level_cache() -> float:
    """Bytes of it; a MiB where the system does not say."""
    try:
        return float(os.sysconf("SC_LEVEL2_CACHE_SIZE")) or 2.0**20
    except (ValueError, OSError, AttributeError):
        return 2.0**20


def calibrated(rounds: int = ROUNDS) -> tuple[Profile, list[str]]:
    """The profile of this processor, and a line a library of how well it fits. Raises: Unsteady."""
    table = profiles.TABLES[profiles.named(*machine.CPU)]
    levels = [isa for isa in profiles.SETS if machine.LEVELS[isa] <= machine.LEVELS[machine.available()]]
    shapes = [*((n, n) for n in SQUARE), *THIN, *BEYOND]
    keys = [
        (isa, form, s, n) for isa in levels for s, n in shapes for form in products.FORMS if isa == "base" or n <= profiles.LARGEST_TILE
    ]
    found = measure([(form, terms(form, s, n), isa) for isa, form, s, n in keys], rounds, {})
    best = {key: least(times, f"a product of {key}") for key, times in zip(keys, found, strict=True)}
    cache = second_level_cache()
    own = {isa: {(form, s, n): t for (of, form, s, n), t in best.items() if of == isa} for isa in levels}
    blas, error = rates(own["base"], False, cache)
    lines, made, tiles = [f"BLAS: {blas}, half of the products within {error:.0%}"], dict(table.rates), dict(table.tiles)
    made["base"] = blas, blas
    for isa in levels:
        if isa != "base":
            tile, error = rates(own[isa], True, cache)
            square = [{(form, n): t for (form, s, n), t in times.items() if s == n} for times in (own[isa], own["base"])]
            made[isa], tiles[isa] = (tile, blas), largest_tile(*square)
            lines.append(f"tile of {isa}, up to {tiles[isa]}: {tile}, half of the products within {error:.0%}")
    wake = second_thread(rounds)
    lines.append(f"a second thread: from {wake:,} multiply-adds on" if wake else "a second thread: no size at which it wins; as shipped")
    wake = wake or table.wake
    name = f"calibrated on {profiles.said(*machine.CPU)}"
    return replace(table, name=name, tiles=tiles, rates=made, wake=wake, share=wake // 2, cache=int(0.4 * cache)), lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m bench.calibrate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help=f"where to [{profiles.kept()}]; {profiles.VARIABLE} names it to the package")
    parser.add_argument("--quick", action="store_true", help="a third of the measurements")
    options = parser.parse_args(arguments)
    out = options.out or profiles.kept()
    if out is None:
        parser.error("there is no home to keep it in; pass --out")
    try:
        profile, lines = calibrated(ROUNDS // 3 if options.quick else ROUNDS)
    except Unsteady as error:
        parser.exit(
            1, f"{parser.prog}: this machine is at work with something else, {error}; nothing was written: try again when it rests\n"
        )
    print("\n".join(lines))
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as file:
        file.write((json.dumps(profile.to_dict(profiles.said(*machine.CPU)), indent=1) + "\n").encode())
    print(f"written to {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
