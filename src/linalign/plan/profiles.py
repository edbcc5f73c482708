"""Profiles: what products cost on a processor, and where the kernels change over, as numbers that a calibration can replace.

A profile is chosen by CPUID among those written here, or read: from the file, or by the name, that LINALIGN_PROFILE gives, else from the
user's cache, where `python -m bench.calibrate` leaves that of this processor. One that cannot be read is said in a warning, and not used.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "LINALIGN_PROFILE"
ARM = platform.machine().lower() in ("aarch64", "arm64")
SETS = ("neon", "base") if ARM else ("avx512", "avx2", "base")
# who makes a product, in the order of `Profile.rates`
WAYS = ("by tile", "by BLAS", "by panels")
# what a number of a profile may be
TILE_STEP, LARGEST_TILE = 16, 256
LARGEST = 1e12


@dataclass(frozen=True)
class Rates:
    """Nanoseconds: `call + m n (k + half) / rate` of an m x n product of inner size k, and bytes over `bandwidth`.

    `half` is what the result costs: a gradient with few rows in flight is that above all. The bandwidth counts what leaves
    the second-level cache. float32 has twice the rate.
    """

    call: float
    rate: float
    half: float
    bandwidth: float
    cache: float = 1e6


@dataclass(frozen=True)
class Lanes:
    """Nanoseconds of a step of networks side by side, of whole vectors: `step`, and multiply-adds over `rate`; `entry` an output of a
    loss with exponentials, `gather` a number of a batch. cache : bytes of all lanes that the second-level cache holds. Those here are of a
    Sapphire Rapids, one thread, within 11 %.
    """

    step: float = 60.0
    rate: float = 3.8
    entry: float = 15.0
    gather: float = 8.0
    cache: int = 1_000_000


@dataclass(frozen=True)
class Profile:
    """The numbers of a processor.

    tiles : of each instruction set, the most columns of a result, and terms of its sums, that the register tile takes.
    panels : of each instruction set, the least rows, columns and terms of a product that goes by packed panels of the kernel's own, and
        not to BLAS; 0 for none.
    rates : of each instruction set, of the tile, of BLAS and of panels, in float64 on one thread.
    wake : multiply-adds of a product that repay a second thread. share : those of a step's largest that repay each thread more.
    cache : bytes of a layer that stay in the second-level cache beside few rows in flight.
    few : rows in flight below which threads do not share layers that steps write: of at most 2 `cache` bytes, and of more than 4.
    lanes : of networks side by side. origin : where it comes from, for `show_config`.
    """

    name: str
    tiles: dict[str, int]
    panels: dict[str, int]
    rates: dict[str, tuple[Rates, Rates, Rates]]
    wake: int = 150_000
    share: int = 75_000
    cache: int = 400_000
    few: tuple[int, int] = (0, 0)
    lanes: Lanes = field(default_factory=Lanes)
    origin: str = "shipped"

    def to_dict(self, cpu: str) -> dict[str, Any]:
        """As `read` takes it, for the processor of this name."""
        return {
            "name": self.name, "cpu": cpu, "wake": self.wake, "share": self.share, "cache": self.cache, "few": list(self.few),
            "lanes": asdict(self.lanes),
            "instruction sets": {
                isa: {"tile": self.tiles[isa], "panels": self.panels[isa]} | dict(zip(WAYS, map(asdict, self.rates[isa]), strict=True))
                for isa in SETS
            },
        }  # fmt: skip


# the baseline has no tile. Fitted on AMD EPYC, Zen 4, one thread, OpenBLAS 0.3.30; AVX2 with OPENBLAS_CORETYPE=Haswell; half of the
# products within 14 %. Rates are multiply-adds a nanosecond. Nobody has measured panels there
_TILES = {"avx512": 192, "avx2": 128, "base": 64}
_PANELS = dict.fromkeys(SETS, 0)
_ZEN4_BLAS, _HASWELL, _BASE = Rates(32, 26, 2.3, 20), Rates(71, 21, 2.0, 20), Rates(32, 26, 2.4, 20)
_RATES = {
    "avx512": (Rates(11, 26, 2.3, 20), _ZEN4_BLAS, _ZEN4_BLAS),
    "avx2": (Rates(11, 24, 1.8, 20), _HASWELL, _HASWELL),
    "base": (_BASE, _BASE, _BASE),
}
# nobody has measured an arm64: its vectors have a quarter of the length of AVX-512, and its tile holds half of the registers' worth
_ARM_TILES = {"neon": 64, "base": 64}
_ARM_BLAS, _ARM_BASE = Rates(71, 12, 2.0, 20), Rates(32, 12, 2.4, 20)
_ARM_RATES = {"neon": (Rates(11, 10, 1.8, 20), _ARM_BLAS, _ARM_BLAS), "base": (_ARM_BASE, _ARM_BASE, _ARM_BASE)}
# by `python -m bench.calibrate` on two cores of a virtual Sapphire Rapids or later, OpenBLAS 0.3.30 (SkylakeX): half of the products within
# 11 % of BLAS's and the tile's rates, 8 % of those by panels. What panels move is in their rate
_SAPPHIRE_BLAS = Rates(31.4, 29.4, 0.0, 18.5, 2**21)
_SAPPHIRE = _RATES | {
    "avx512": (Rates(9.3, 38.7, 2.95, 20, 2**21), _SAPPHIRE_BLAS, Rates(170, 35.4, 3.33, 20, LARGEST)),
    "base": (_SAPPHIRE_BLAS, _SAPPHIRE_BLAS, _SAPPHIRE_BLAS),
}
_X86 = {
    "zen4": Profile("zen4", _TILES, _PANELS, _RATES),
    "sapphire rapids": Profile(
        "sapphire rapids",
        _TILES | {"avx512": 160},
        _PANELS | {"avx512": 16},
        _SAPPHIRE,
        wake=262_144,
        share=131_072,
        cache=838_860,
        few=(16, 128),
    ),
    "avx2": Profile("avx2", _TILES, _PANELS, _RATES),
}
TABLES = {"arm64": Profile("arm64", _ARM_TILES, _PANELS, _ARM_RATES)} if ARM else _X86


def named(vendor: str, family: int, model: int, features: frozenset[str]) -> str:
    """Which table is that of a processor, or of the nearest one."""
    if ARM:
        return "arm64"
    # what came after Sapphire Rapids has its features; a virtual machine may hide the model
    if vendor == "GenuineIntel" and "avx512_fp16" in features:
        return "sapphire rapids"
    return "zen4" if vendor == "AuthenticAMD" and family >= 0x19 else "avx2"


def said(vendor: str, family: int, model: int, features: frozenset[str]) -> str:
    """A processor as a profile names it."""
    return " ".join([vendor or "unknown", f"family {family} model {model}", *sorted(features)])


def kept() -> Path | None:
    """Where the profile of this user's processor is kept, or would be; None where nobody has a home."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base, "linalign", "profile.json") if base and os.path.isabs(base) else None


def choose(cpu: tuple[str, int, int, frozenset[str]]) -> Profile:
    """The profile in use. Warns, in one line, of a file or a name that cannot be used, and goes on with a table."""
    table = TABLES[named(*cpu)]
    asked = os.environ.get(VARIABLE)
    if asked in TABLES:
        return TABLES[asked]
    if asked in ("", "shipped"):
        return table
    file = Path(asked) if asked is not None else kept()
    if file is None:
        return table
    try:
        return read(file, None if asked is not None else said(*cpu))
    except FileNotFoundError:
        if asked is None:
            return table
        why = "there is no such file, nor is it one of " + ", ".join(map(repr, TABLES))
    except (OSError, ValueError, RecursionError) as error:
        why = str(error).replace("\n", " ")
    whose = f"{VARIABLE} is {asked!r} but" if asked is not None else f"the profile {file} is not used:"
    warnings.warn(f"{whose} {why}; linalign goes on with its table {table.name!r}", RuntimeWarning, stacklevel=2)
    return table


def read(file: Path, cpu: str | None = None) -> Profile:
    """The profile in a file; `cpu`: the processor that it must be of. Raises: OSError, ValueError with what is wrong, in one line."""
    if file.stat().st_size > 2**20:
        raise ValueError("a profile is no larger than 1 MiB")
    found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, not an object")
    if cpu is not None and found.get("cpu") != cpu:
        raise ValueError(f"it is of {found.get('cpu')!r} and this is {cpu!r}: run python -m bench.calibrate here")
    tiles, panels, rates = {}, {}, {}
    sets = _part(found, "instruction sets")
    for isa in SETS:
        own = _part(sets, isa)
        tiles[isa] = int(_number(own, "tile", TILE_STEP, LARGEST_TILE))
        if tiles[isa] % TILE_STEP:
            raise ValueError(f"{isa} tile is {tiles[isa]}; a multiple of {TILE_STEP} was wanted")
        panels[isa] = int(_number(own, "panels", 0, LARGEST))
        by_tile, by_blas, by_panels = (_rates(_part(own, way)) for way in WAYS)
        rates[isa] = by_tile, by_blas, by_panels
    wake, share, cache = (int(_number(found, name, 1, LARGEST)) for name in ("wake", "share", "cache"))
    few = found.get("few", [0, 0])
    if not isinstance(few, list) or len(few) != 2:
        raise ValueError(f"'few' is {few!r}; two numbers were wanted")
    within, beyond = (int(_number({"few": rows}, "few", 0, LARGEST)) for rows in few)
    name = str(found.get("name", file.stem))
    return Profile(name, tiles, panels, rates, wake, share, cache, (within, beyond), _lanes(found), origin=str(file))


def _part(of: dict[str, Any], name: str) -> dict[str, Any]:
    found = of.get(name)
    if not isinstance(found, dict):
        raise ValueError(f"{name!r} is missing" if found is None else f"{name!r} is a {type(found).__name__}, not an object")
    return found


def _number(of: dict[str, Any], name: str, least: float, most: float) -> float:
    found = of.get(name)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found) or not least <= found <= most:
        raise ValueError(f"{name!r} is {found!r}; a number from {least:g} to {most:g} was wanted")
    return found


def _rates(of: dict[str, Any]) -> Rates:
    call, half = (float(_number(of, name, 0, 1e6)) for name in ("call", "half"))
    rate, bandwidth = (float(_number(of, name, 1e-3, 1e6)) for name in ("rate", "bandwidth"))
    return Rates(call, rate, half, bandwidth, float(_number(of, "cache", 1, LARGEST)))


def _lanes(of: dict[str, Any]) -> Lanes:
    """Those of a file, which may have none."""
    if "lanes" not in of:
        return Lanes()
    own = _part(of, "lanes")
    step, entry, gather = (float(_number(own, name, 0, 1e6)) for name in ("step", "entry", "gather"))
    return Lanes(step, float(_number(own, "rate", 1e-3, 1e6)), entry, gather, int(_number(own, "cache", 1, LARGEST)))
