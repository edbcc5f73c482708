"""The suite's options, the parameters `row` and `library`, and what is put into pytest-benchmark's JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from . import machine, table
from .clock import worker_seconds
from .contest import Contest, Workers
from .entrants import Pace
from .rows import Row
from .worker import FIRST, Here, Worker

# seconds of the pause before a measurement, as a multiple of its least length, and the longest
PAUSE, LONGEST_PAUSE = 2.5, 0.25

UNMEASURED = pytest.StashKey[list[dict[str, Any]]]()
ABOUT = pytest.StashKey[dict[str, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bench", "the comparison of linalign with its peers")
    group.addoption("--threads", type=int, default=2, help="the most threads that any library may use (default: 2)")
    group.addoption("--no-compiler", action="store_true", help="leave out variants that need a C++ compiler, which take long to compile")
    group.addoption("--before", metavar="SRC", help="the src folder of another version of linalign, built in place, to take turns with")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[UNMEASURED] = []
    config.stash[ABOUT] = {"load before": os.getloadavg()[0], "libraries": {}}
    if config.getoption("threads") < 1:
        raise pytest.UsageError(f"--threads is {config.getoption('threads')}; at least 1 is needed")
    if not config.getoption("collectonly"):
        machine.pin(config.getoption("threads"))


# ---- rows and libraries ------------------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with `row` and `library` runs for every library of every row in its module's ROWS."""
    if not {"row", "library"} <= set(metafunc.fixturenames):
        return
    cases = []
    for row in metafunc.module.ROWS:
        before = ("before",) if metafunc.config.getoption("before") and row.has_before() else ()
        marks = [getattr(pytest.mark, name) for name in ("quick", "kernels") if getattr(row, name)]
        cases += [pytest.param(row.name, library, id=f"{row.id}-{library}", marks=marks) for library in (*row.libraries, *before)]
    metafunc.parametrize(("row", "library"), cases, indirect=["row"], scope="module")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Time is that of the workers, in every test of a row; and a row's tests follow each other, so that its libraries take turns.

    pytest would bring tests of the same library together, which as a parameter has the scope of the row.
    """
    places: dict[Any, int] = {}
    for item in items:
        found = _parameters(item)
        if found:
            item.add_marker(pytest.mark.benchmark(timer=worker_seconds))
            places.setdefault(item.module, len(places))  # type: ignore[attr-defined]
    rows = {module: [row.name for row in module.ROWS] for module in places}

    def place(item: pytest.Item) -> tuple[int, ...]:
        found = _parameters(item)
        if not found:
            return (len(places),)
        module = item.module  # type: ignore[attr-defined]
        row, library = found
        return places[module], rows[module].index(row.name), (*row.libraries, "before").index(library)

    items.sort(key=place)


def _parameters(item: pytest.Item) -> tuple[Row, str] | None:
    """The row and the library of a test, if it has them."""
    found = getattr(getattr(item, "callspec", None), "params", {})
    if not {"row", "library"} <= set(found):
        return None
    return next(row for row in item.module.ROWS if row.name == found["row"]), found["library"]


@pytest.fixture(scope="module")
def row(request: pytest.FixtureRequest) -> Iterator[Contest]:
    """The row under way, with the libraries whose tests are to run."""
    config = request.config
    row = next(row for row in request.module.ROWS if row.name == request.param)
    tests = [_parameters(item) for item in request.session.items if item.module is request.module]  # type: ignore[attr-defined]
    asked = [found[1] for found in tests if found and found[0] is row]
    kind = Here if row.in_process else Worker
    workers = Workers(config.getoption("threads"), not config.getoption("no_compiler"), config.getoption("before"), kind)
    contest = Contest(row, asked, workers, _pace(config))
    yield contest
    known = config.stash[ABOUT]["libraries"]
    known.update(contest.environments([library for library in FIRST if library in (*asked, "linalign") and library not in known]))
    contest.close()


def _pace(config: pytest.Config) -> Pace:
    """From pytest-benchmark's own options."""
    least, longest = (float(config.getoption(f"benchmark_{name}_time")) for name in ("min", "max"))
    return Pace(least, min(LONGEST_PAUSE, PAUSE * least), int(config.getoption("benchmark_min_rounds")), longest)


# ---- what is said of the run -------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Keep what was not measured and why: nothing is dropped from the table."""
    report = yield
    found = _parameters(item)
    if found and (report.failed or report.skipped) and report.when != "teardown":
        row, library = found
        why = report.longrepr[2] if report.skipped else call.excinfo.exconly().strip().splitlines()[0]
        item.config.stash[UNMEASURED].append(
            {**row.about(), "library": library, "role": row.role(library), "outcome": report.outcome, "why": why}
        )
    return report


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """What a figure depends on and what does not change between runs: `--benchmark-compare` warns where it differs."""
    kept = ("arch", "vendor_id_raw", "family", "model", "stepping", "count")
    machine_info["cpu"] = {key: value for key, value in (machine_info.get("cpu") or {}).items() if key in kept}
    machine_info["cpu"]["brand_raw"] = machine.cpu()
    machine_info["processors"] = machine.processors()
    machine_info["threads"] = config.getoption("threads")


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """The libraries' versions, and what was not measured."""
    about = config.stash[ABOUT]
    output_json["bench"] = {**about, "unmeasured": config.stash[UNMEASURED]}


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Our table, of the same JSON as would be saved."""
    session = config.pluginmanager.get_plugin("pytest-benchmark")
    if session is None or session.disabled or not (session.benchmarks or config.stash[UNMEASURED]):
        return
    found = config.hook.pytest_benchmark_generate_json(
        config=config, benchmarks=session.benchmarks, include_data=True, machine_info=session.get_machine_info(),
        commit_info=config.hook.pytest_benchmark_generate_commit_info(config=config),
    )  # fmt: skip
    config.hook.pytest_benchmark_update_json(config=config, benchmarks=session.benchmarks, output_json=found)
    terminalreporter.ensure_newline()
    terminalreporter.section("linalign and its peers", sep="=")
    terminalreporter.write_line(table.text(found))
