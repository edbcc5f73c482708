"""The benchmark suite without a clock: every row's libraries agree on a tiny size, nothing wrong is timed, nothing is dropped."""

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from bench import clock, table
from bench.check import WrongResult
from bench.contest import Contest, Workers
from bench.entrants import Entrant, Pace, Sample
from bench.rows import Row, Step
from bench.worker import Here
from bench.workloads import Workload, compressed

import linalign

ROOT = Path(__file__).parents[1]
MODULES = sorted(path.stem for path in (ROOT / "bench").glob("test_*.py"))
RESULTS = sorted((ROOT / "bench" / "results").glob("*.json"))
FAST = Pace(least=0.0, settle=0.0, least_rounds=3, row_seconds=0.0)


def rows():
    """Every row but products of the kernels, which differ in size alone: of these the quick ones."""
    every = [(name, row) for name in MODULES for row in importlib.import_module(f"bench.{name}").ROWS]
    chosen = [(name, row) for name, row in every if name != "test_products" or row.quick]
    return [pytest.param(row, id=f"{name.removeprefix('test_')}-{row.id}") for name, row in chosen]


# ---- rows --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", rows())
def test_the_libraries_of_a_row_agree_on_a_tiny_size(row):
    for needed in row.needs:
        pytest.importorskip(needed, reason=f"{needed} is not installed: linalign's part in this row needs it")
    here = [name for name in row.libraries if name not in ("torch", "jax", "pyfaust")]
    contest = Contest(row.tiny(), here, Workers(1, compiler=False, kind=Here), None)
    contest.check()
    assert not contest.missing
    assert not contest.failed
    # every variant of every library was compared, but for products at the rate of BLAS, which have no result
    compared = {how.partition(": ")[0] for how in contest.agreement}
    assert compared >= set(here) - {"dgemm", *row.reference}
    assert all(0 <= error <= 1 for error in contest.agreement.values())


def test_torch_agrees_on_tiny_dense_networks():
    pytest.importorskip("torch", reason="torch is not installed: the benchmark's PyTorch variants are not compared")
    row = Step("a section", Workload("tiny", (5, 4, 3), 7, 1e-2))
    contest = Contest(row, ["torch", "linalign"], Workers(1, compiler=False, kind=Here), None)
    contest.check()
    assert len([how for how in contest.agreement if how.startswith("torch: ")]) == 4
    assert contest.left_out["torch"] == {"torch_compiled": "torch.compile: left out, as compilers are with --no-compiler"}


def test_rows_have_names_of_their_own_and_say_what_they_are_for():
    everything = [row for name in MODULES for row in importlib.import_module(f"bench.{name}").ROWS]
    assert len({(row.section, row.name) for row in everything}) == len(everything)
    assert len({(row.section, row.id) for row in everything}) == len(everything)
    assert all(row.shows for row in everything)
    quick = {row.section for row in everything if row.quick}
    assert quick == {row.section for row in everything}


def test_rows_compressed_by_hand_have_the_same_gradient():
    case = Workload("tall", (4, 3, 2), 50, 1e-2).case()
    small = compressed(case)
    assert small.X.shape == (4, 4)
    P = case.weights[1] @ case.weights[0]
    G, H = ((c.X @ P.T - c.Y).T @ c.X for c in (case, small))
    # two sums of 50 terms, each rounded once more by the factorisation
    size = np.abs(case.X @ P.T - case.Y).T @ np.abs(case.X)
    assert np.all(np.abs(G - H) <= 400 * np.finfo(float).eps * (size + np.linalg.norm(case.X) * np.linalg.norm(case.Y)))


# ---- a contest ---------------------------------------------------------------------------------------------------------------


class Scripted(Entrant):
    """Measurements from a list; keeps the order in which libraries are measured."""

    def __init__(self, library, seconds, log):
        super().__init__(Here(library, 1), "scripted")
        self.library, self.left, self.log = library, list(seconds), log

    def calibrate(self, pace):
        return self.left[0]

    def sample(self):
        self.log.append(self.library)
        found = self.left.pop(0)
        if isinstance(found, Exception):
            raise found
        return Sample(found, besides=0.5)

    @property
    def lasts(self):
        return 0.0


class Fake(Row):
    """A row of scripted entrants."""

    section = "fakes"

    def __init__(self, scripts, wrong=None):
        super().__init__(aim=2.0)
        object.__setattr__(self, "scripts", scripts)
        object.__setattr__(self, "wrong", wrong)
        object.__setattr__(self, "log", [])

    name = property(lambda self: "a fake")
    libraries = property(lambda self: tuple(self.scripts))

    def tiny(self):
        return self

    def enter(self, library, workers):
        found = self.scripts[library]
        if isinstance(found, Exception):
            raise found
        return [Scripted(library, seconds, self.log) for seconds in found], {}

    def check(self, entered, leave_out):
        if self.wrong:
            raise WrongResult(self.wrong)
        return {f"{library}: {who.how}": 0.25 for library, entrants in entered.items() for who in entrants}


class Benchmark:
    """What a contest uses of pytest-benchmark's fixture."""

    enabled = True

    def __init__(self):
        self.group, self.extra_info, self.data = None, {}, []

    def pedantic(self, target, setup=None, rounds=1):
        for _ in range(rounds):
            arguments, _ = setup() if setup else ((), {})
            start = clock.worker_seconds()
            target(*arguments)
            self.data.append(clock.worker_seconds() - start)


def contest(row, pace=FAST):
    return Contest(row, row.libraries, Workers(1, kind=Here), pace)


def test_libraries_take_turns_and_each_test_gets_its_own_measurements():
    row = Fake({"numpy": [[0.1, 0.2, 0.3]], "torch": [[1e-9, 2e-9, 3e-9]], "linalign": [[7.0, 8.0, 9.0]]})
    under_way = contest(row)
    found = {}
    for library in row.libraries:
        found[library] = Benchmark()
        under_way.time(found[library], library)
    # exactly: the clock begins each round at zero
    assert {library: benchmark.data for library, benchmark in found.items()} == {
        "numpy": [0.1, 0.2, 0.3],
        "torch": [1e-9, 2e-9, 3e-9],
        "linalign": [7.0, 8.0, 9.0],
    }
    assert row.log == ["numpy", "torch", "linalign", "torch", "linalign", "numpy", "linalign", "numpy", "torch"]
    about = found["linalign"].extra_info
    assert about["role"] == "ours"
    assert about["besides"] == [0.5] * 3
    assert about["agreement"] == {"linalign: scripted, 1 thread": 0.25}
    assert found["numpy"].group == "fakes: a fake"


def test_the_fastest_variant_is_the_one_that_is_timed():
    row = Fake({"numpy": [[0.1] * 9, [0.05] * 9, [0.2] * 9]})
    under_way = contest(row)
    benchmark = Benchmark()
    under_way.time(benchmark, "numpy")
    assert benchmark.data == [0.05] * 3


def test_a_row_whose_check_fails_is_not_timed():
    row = Fake({"numpy": [[0.1] * 9], "linalign": [[0.1] * 9]}, wrong="linalign: layer 1 is off")
    under_way = contest(row)
    for library in row.libraries:
        with pytest.raises(WrongResult, match="layer 1 is off"):
            under_way.time(Benchmark(), library)
    assert row.log == []


def test_wrong_weights_fail_the_row(monkeypatch):
    from bench.peers import numpy_loop

    right = numpy_loop.Loop.weights
    monkeypatch.setattr(numpy_loop.Loop, "weights", lambda self: [1.0001 * W for W in right(self)])
    row = Step("a section", Workload("tiny", (5, 4, 3), 7, 1e-2))
    with pytest.raises(WrongResult, match="is off by"):
        Contest(row, ["linalign"], Workers(1, kind=Here), None).check()


def test_a_library_that_is_not_there_is_skipped_and_the_rest_is_timed():
    row = Fake({"numpy": [[0.1] * 9], "jax": ModuleNotFoundError("No module named 'jax'")})
    under_way = contest(row)
    with pytest.raises(pytest.skip.Exception, match="jax is not to be had here: No module named 'jax'"):
        under_way.time(Benchmark(), "jax")
    benchmark = Benchmark()
    under_way.time(benchmark, "numpy")
    assert benchmark.data == [0.1] * 3


def test_a_library_that_breaks_on_the_way_fails_alone():
    row = Fake({"numpy": [[0.1] * 9], "torch": [[0.1, RuntimeError("out of memory")]]})
    under_way = contest(row)
    benchmark = Benchmark()
    under_way.time(benchmark, "numpy")
    assert benchmark.data == [0.1] * 3
    with pytest.raises(RuntimeError, match="out of memory"):
        under_way.time(Benchmark(), "torch")


# ---- the table ---------------------------------------------------------------------------------------------------------------


def entry(library, role, data, **more):
    about = {
        "section": "s",
        "row": "r",
        "aim": 2.0,
        "at_most": False,
        "shows": "why",
        "headline": "a row",
        "library": library,
        "role": role,
    }
    return {
        "extra_info": {**about, "how": "at its best", **more},
        "stats": {"median": float(np.median(data)), "iqr": 0.0, "min": min(data), "data": data},
    }


def file(*benchmarks, unmeasured=()):
    machine = {"cpu": {"brand_raw": "a cpu"}, "processors": 2, "threads": 2, "system": "Linux", "release": "6", "python_version": "3.11"}
    return {
        "machine_info": machine,
        "commit_info": {"id": "abc", "dirty": True},
        "datetime": "2026-01-01T00:00:00",
        "benchmarks": list(benchmarks),
        "bench": {"unmeasured": list(unmeasured), "libraries": {}},
    }


def only(found):
    ((_, entries),) = table.rows(found).items()
    return table.lines("r", entries)


def test_the_ratio_is_to_the_fastest_peer():
    (line,) = only(file(entry("numpy", "peer", [4.0]), entry("torch", "peer", [3.0]), entry("linalign", "ours", [1.0, 1.0, 9.0])))
    assert line.ratio == 3.0
    assert line.verdict == "ok"


@pytest.mark.parametrize(("peer", "word"), [(0.5, "slower here"), (1.5, "short of its aim"), (2.0, "ok")])
def test_rows_that_lose_stay_and_say_so(peer, word):
    found = file(entry("numpy", "peer", [peer]), entry("linalign", "ours", [1.0]))
    assert only(found)[0].verdict == word
    assert word in table.text(found)


def test_what_was_not_measured_is_said():
    gone = {"section": "s", "row": "r", "library": "jax", "role": "peer", "outcome": "skipped", "why": "Skipped: jax is not to be had here"}
    failed = {**gone, "library": "linalign", "role": "ours", "outcome": "failed", "why": "WrongResult: layer 1 is off"}
    (line,) = only(file(entry("numpy", "peer", [1.0]), unmeasured=[gone, failed]))
    assert line.ratio is None
    assert line.verdict == "jax left out: jax is not to be had here; linalign FAILED: WrongResult: layer 1 is off"
    (line,) = only(file(unmeasured=[gone, failed]))
    assert "FAILED" in line.verdict


def test_linalign_against_itself_is_the_median_of_neighbours():
    pair = [
        entry("recorded", "ours", [2.0, 30.0, 4.0], at_most=True, aim=1.5),
        entry("not recorded", "base", [1.0, 10.0, 4.0], at_most=True, aim=1.5),
    ]
    (line,) = only(file(*pair))
    assert line.ratio == 2.0
    assert line.verdict == "above its limit"


def test_the_share_of_the_rate_of_products():
    found = file(
        entry("numpy", "peer", [1.0]),
        entry("linalign", "ours", [2.0], operations=8e9),
        entry("dgemm", "yardstick", [1.0, 0.8], operations=8e9, aim=0.85),
    )
    lines = only(found)
    # 4 GFLOP/s of at best 10
    assert lines[1].ratio == pytest.approx(0.4)
    assert lines[1].verdict == "short of its aim"


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_saved_results_are_complete(path):
    found = json.loads(path.read_text())
    text = table.text(found)
    assert table.rows(found)
    for _, name in table.rows(found):
        assert name in text
    for bench in found["benchmarks"]:
        stats, about = bench["stats"], bench["extra_info"]
        assert stats["median"] == pytest.approx(float(np.median(stats["data"])), rel=1e-12)
        assert all(error <= 1 for error in about["agreement"].values())


def test_the_page_has_the_table_of_the_file_it_names():
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    named = re.search(r"<!-- python -m bench\.table (.+?) --markdown -->\n(.*?)\n\n", text, re.DOTALL)
    assert named, "docs/benchmarks.md does not say how its table was made"
    files = [ROOT / name for name in named[1].split()]
    assert named[2] == table.markdown(table.columns(files))


def test_the_readme_has_the_figures_of_the_page():
    def rows(name, heading):
        lines = (ROOT / name).read_text(encoding="utf-8").split(heading)[1].splitlines()
        start = next(k for k, line in enumerate(lines) if line.startswith("| problem"))
        stop = next(k for k in range(start, len(lines)) if not lines[k].startswith("|"))
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:stop] if not line.startswith("|---")]

    (_, *processors), *found = rows("README.md", "How many times as fast")
    (_, *columns), *page = rows("docs/benchmarks.md", "## In short")
    assert found
    cells = {name: dict(zip(columns, row, strict=True)) for name, *row in page}
    for name, *row in found:
        for processor, ratio in zip(processors, row, strict=True):
            # the newest file of a processor that has this row
            newest = next(cell for column, cell in cells[name].items() if column.startswith(processor) and cell)
            assert newest.startswith(f"**{ratio}** "), (name, processor, newest)


# ---- the suite itself --------------------------------------------------------------------------------------------------------


def suite(*options):
    """Run the suite in a process of its own."""
    if importlib.util.find_spec("pytest_benchmark") is None:
        pytest.skip("pytest-benchmark is not installed: the suite itself is not run")
    # of this run's own options and workers the other one is not told
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    # the package that is tested, which may be one that was installed
    package = Path(linalign.__file__).parents[1]
    env = {**outside, "PYTHONPATH": os.pathsep.join([str(package), str(ROOT)])}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tests_of_a_row_follow_each_other(tmp_path):
    out = suite("bench/test_loop.py", "bench/test_itself.py", "--collect-only", "-q", f"--benchmark-storage=file://{tmp_path}")
    names = [line.partition("::")[2] for line in out.splitlines() if "::" in line]
    every = [row for name in ("test_loop", "test_itself") for row in importlib.import_module(f"bench.{name}").ROWS]
    assert sorted(names) == sorted(f"test_step[{row.id}-{library}]" for row in every for library in row.libraries)
    by_row = [next(row.id for row in every if name in {f"test_step[{row.id}-{library}]" for library in row.libraries}) for name in names]
    changes = [a for a, b in pairwise(by_row) if a != b]
    assert len(changes) == len(every) - 1


def test_the_suite_writes_what_the_table_reads(tmp_path):
    saved = tmp_path / "found.json"
    out = suite(
        "bench/test_products.py", "--benchmark-only", "-m", "quick", "-k", "NN", "--benchmark-min-time=0.001",
        f"--benchmark-json={saved}", f"--benchmark-storage=file://{tmp_path / 'storage'}",
    )  # fmt: skip
    found = json.loads(saved.read_text())
    measured = {bench["extra_info"]["library"] for bench in found["benchmarks"]}
    missing = {about["library"] for about in found["bench"]["unmeasured"]}
    assert measured | missing == {"blas", "tile-avx512", "tile-avx2"}
    assert all(bench["options"]["timer"] == "worker_seconds" for bench in found["benchmarks"])
    assert "float64 NN 16 x 16 x 16" in out
    assert table.text(found).splitlines()[0] in out
