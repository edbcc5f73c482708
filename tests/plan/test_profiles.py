"""Profiles: a table by CPUID, a file that a calibration left, and what is said of a bad one; never a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from bench import calibrate

from linalign.plan import machine, profiles
from linalign.plan.profiles import TABLES, Rates

CPU = ("GenuineIntel", 6, 143, frozenset({"avx512_fp16", "amx"}))


@pytest.fixture(autouse=True)
def no_profile(monkeypatch, tmp_path):
    monkeypatch.delenv(profiles.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("cpu", "name"),
    [
        (CPU, "sapphire rapids"),
        # a virtual machine with another model
        (("GenuineIntel", 6, 167, frozenset({"avx512_fp16"})), "sapphire rapids"),
        (("GenuineIntel", 6, 85, frozenset()), "avx2"),
        (("AuthenticAMD", 0x19, 0x11, frozenset()), "zen4"),
        (("AuthenticAMD", 0x17, 0x31, frozenset()), "avx2"),
        (("", 0, 0, frozenset()), "avx2"),
    ],
)
def test_a_table_is_chosen_by_the_processor(cpu, name):
    assert profiles.choose(cpu) is TABLES[name]


def test_this_processor_is_known_to_the_kernels():
    vendor, family, model, features = machine.CPU
    assert family >= 0
    assert model >= 0
    assert features <= {"avx512_fp16", "amx"}
    assert (vendor == "") == (family == 0)


def written(path, **changes):
    found = TABLES["zen4"].to_dict(profiles.said(*CPU)) | {"name": "mine", "wake": 1234} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    return path


def test_a_profile_is_read_from_where_it_is_named_or_kept(monkeypatch, tmp_path):
    written(profiles.kept())
    found = profiles.choose(CPU)
    assert (found.name, found.wake, found.origin) == ("mine", 1234, str(profiles.kept()))
    assert found.rates == TABLES["zen4"].rates
    assert (found.tiles, found.panels) == (TABLES["zen4"].tiles, TABLES["zen4"].panels)
    monkeypatch.setenv(profiles.VARIABLE, "shipped")
    assert profiles.choose(CPU) is TABLES["sapphire rapids"]
    monkeypatch.setenv(profiles.VARIABLE, "zen4")
    assert profiles.choose(CPU) is TABLES["zen4"]
    # one that is named may be of another processor
    monkeypatch.setenv(profiles.VARIABLE, str(written(tmp_path / "other.json", cpu="another", wake=7)))
    assert profiles.choose(CPU).wake == 7


def broken(part, value):
    found = TABLES["zen4"].to_dict("x")
    *way, last = part
    at = found
    for name in way:
        at = at[name]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return json.dumps(found)


def test_a_profile_may_say_nothing_of_lanes(tmp_path):
    found = json.loads(written(tmp_path / "mine.json").read_text())
    assert found["lanes"]["rate"] == profiles.Lanes().rate
    found["lanes"]["rate"] = 1.5
    (tmp_path / "with.json").write_text(json.dumps(found))
    assert profiles.read(tmp_path / "with.json").lanes == profiles.Lanes(rate=1.5)
    assert found["few"] == [0, 0]
    del found["lanes"], found["few"]
    (tmp_path / "without.json").write_text(json.dumps(found))
    without = profiles.read(tmp_path / "without.json")
    assert (without.lanes, without.few) == (profiles.Lanes(), (0, 0))


SET = ("instruction sets", "avx512")
BAD = {
    "": "Expecting value",
    "{": "Expecting property name",
    "[]": "it holds a list, not an object",
    "{}": "'instruction sets' is missing",
    "[" * 100_000: "recursion",
    broken(("wake",), None): "'wake' is None; a number from 1 to 1e+12 was wanted",
    broken(("share",), 0): "'share' is 0;",
    broken(("cache",), "large"): "'cache' is 'large';",
    broken(SET, None): "'avx512' is missing",
    broken((*SET, "tile"), 100): "avx512 tile is 100; a multiple of 16 was wanted",
    broken((*SET, "tile"), 10**6): "'tile' is 1000000; a number from 16 to 256 was wanted",
    broken((*SET, "tile"), True): "'tile' is True;",
    broken((*SET, "panels"), -1): "'panels' is -1;",
    broken((*SET, "by tile"), [1]): "'by tile' is a list, not an object",
    broken((*SET, "by panels"), None): "'by panels' is missing",
    broken((*SET, "by BLAS", "rate"), 0): "'rate' is 0;",
    broken((*SET, "by BLAS", "call"), float("nan")): "'call' is nan;",
    broken((*SET, "by BLAS", "half"), float("inf")): "'half' is inf;",
    broken(("lanes", "rate"), 0): "'rate' is 0;",
    broken(("lanes",), [1]): "'lanes' is a list, not an object",
    broken(("few",), 16): "'few' is 16; two numbers were wanted",
    broken(("few",), [16, -1]): "'few' is -1; a number from 0 to 1e+12 was wanted",
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:40])
def test_a_bad_profile_is_one_line_and_the_table(text, monkeypatch, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(text)
    monkeypatch.setenv(profiles.VARIABLE, str(path))
    with pytest.warns(RuntimeWarning, match="linalign goes on with its table 'sapphire rapids'") as caught:
        assert profiles.choose(CPU) is TABLES["sapphire rapids"]
    (said,) = {str(warning.message) for warning in caught}
    assert BAD[text] in said
    assert "\n" not in said
    assert said.startswith(f"LINALIGN_PROFILE is {str(path)!r} but ")


@pytest.mark.parametrize("name", ["nowhere.json", "zen 4", "."])
def test_what_is_no_file_is_said(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(profiles.VARIABLE, name)
    with pytest.warns(RuntimeWarning, match="^LINALIGN_PROFILE is "):
        assert profiles.choose(CPU) is TABLES["sapphire rapids"]


def test_what_a_calibration_left_on_another_processor_is_said_and_not_used():
    written(profiles.kept(), cpu="another")
    with pytest.warns(RuntimeWarning, match="it is of 'another' and this is 'GenuineIntel family 6 model 143 amx avx512_fp16': run python"):
        assert profiles.choose(CPU) is TABLES["sapphire rapids"]


def test_nobody_without_a_home_is_asked_for_one(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert profiles.kept() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert profiles.choose(CPU) is TABLES["sapphire rapids"]


def test_the_package_uses_it_and_says_so(tmp_path):
    path = written(tmp_path / "mine.json", wake=10**9, share=10**9)
    code = "import linalign as la; from linalign.engine import bind; la.show_config(); print(bind.SHARE_WORTH)"
    run = subprocess.run([sys.executable, "-c", code], env={**os.environ, profiles.VARIABLE: str(path)}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert f"profile          mine, {path}; this processor is " in run.stdout
    assert run.stdout.rstrip().endswith("1000000000")


# ---- the calibration -------------------------------------------------------------------------------------------------------


def model(rates, m, n, k):
    """What a product takes, in nanoseconds, by the model."""
    time, moved = rates.call + m * n * (k + rates.half) / rates.rate, 8 * (m * n + n * k + m * k)
    return time + (moved / rates.bandwidth if moved > rates.cache else 0.0)


def measured_as(noise=lambda: 1.0, **rates):
    """`calibrate.once` of a machine that does what the model says."""

    def once(case, count):
        halved = 2 if case.threads == 2 and case.n >= 48 else 1
        return noise() * model(rates[case.way], *case.sizes) / halved, count

    return once


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(calibrate, "warm", lambda: None)
    monkeypatch.setattr(calibrate, "second_level_cache", lambda: 1e6)


def test_it_finds_the_constants_of_a_machine_that_is_as_the_model_says(quick, monkeypatch, tmp_path, capsys):
    # a tile that wins by its calls and loses by its rate, and panels that lose by theirs
    tile, blas = Rates(10.0, 20.0, 2.0, 15.0, 1e6), Rates(400.0, 20.5, 1.0, 12.0, 1e6)
    panels = Rates(2e5, 25.0, 3.0, 20.0, profiles.LARGEST)
    monkeypatch.setattr(calibrate, "once", measured_as(tile=tile, blas=blas, panels=panels))
    out = tmp_path / "made" / "profile.json"
    assert calibrate.main(["--out", str(out), "--quick"]) == 0
    found = profiles.read(out, profiles.said(*machine.CPU))
    if machine.SHARES and (os.cpu_count() or 1) > 1:
        assert (found.wake, found.share) == (48**3, 48**3 // 2)
    assert found.cache == 400_000
    for isa in profiles.SETS[:-1]:
        if machine.LEVELS[isa] <= machine.LEVELS[machine.available()]:
            made, other, packed = found.rates[isa]
            for name in ("call", "rate", "half"):
                assert getattr(made, name) == pytest.approx(getattr(tile, name), rel=0.02, abs=0.06)
                assert getattr(other, name) == pytest.approx(getattr(blas, name), rel=0.05, abs=0.06)
                assert getattr(packed, name) == pytest.approx(getattr(panels, name), rel=0.02, abs=0.06)
            assert other.bandwidth == pytest.approx(blas.bandwidth, rel=0.05)
            # the models cross between 64 and 96, 0.99 and 1.03; and those of panels and BLAS between 224 and 256, 1.01 and 0.92
            assert found.tiles[isa] == 64
            assert found.panels[isa] == 256
    assert f"written to {out}" in capsys.readouterr().out


def test_it_goes_on_where_it_stopped(quick, monkeypatch, tmp_path, capsys):
    rates = Rates(10.0, 20.0, 2.0, 15.0)
    now, out = iter(np.arange(0.0, 1e3, 0.4)), tmp_path / "profile.json"
    monkeypatch.setattr(calibrate.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(calibrate, "once", measured_as(tile=rates, blas=rates, panels=rates))
    counts = []
    for _ in range(9):
        assert calibrate.main(["--out", str(out), "--quick", "--seconds", "0.9"]) == 0
        said = capsys.readouterr().out
        if out.exists():
            break
        counts.append(int(said.split()[0]))
        assert f"measurements, in {out}.part; the same call goes on from there" in said
    # a look at the clock a round, of which there are four
    assert counts
    assert counts == sorted(set(counts))
    assert not (tmp_path / "profile.json.part").exists()
    assert profiles.read(out).rates["base"][1].call == pytest.approx(rates.call, abs=0.06)


def test_a_busy_machine_writes_nothing(quick, monkeypatch, tmp_path, capsys):
    rng = np.random.default_rng(0)
    rates = Rates(10.0, 20.0, 2.0, 15.0)
    monkeypatch.setattr(calibrate, "once", measured_as(lambda: rng.uniform(1, 9), tile=rates, blas=rates, panels=rates))
    out = tmp_path / "profile.json"
    with pytest.raises(SystemExit) as caught:
        calibrate.main(["--out", str(out), "--quick"])
    assert caught.value.code == 1
    assert "this machine is at work with something else" in capsys.readouterr().err
    assert not out.exists()


def test_products_are_measured():
    for way in ("blas", "tile", "panels"):
        if way == "blas" or machine.LEVELS[machine.ISA]:
            took, count = calibrate.once(calibrate.Case(machine.ISA, way, "NT", 20, 20), 1)
            assert count >= 1
            assert 0 < took < 1e7
