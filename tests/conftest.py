"""Settings of every test, and what a run says of the oracles that it did not have."""

import signal

import pytest

from tests import examples, required

pytest.register_assert_rewrite("tests.oracles")
examples.load()

# a whole run compares with programs that nobody here wrote in at least so many tests
LEAST_ORACLE_TESTS = 600


def pytest_configure(config):
    # a shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "oracle: compares with a program that nobody here wrote (tests/required.py)")
    config.addinivalue_line("markers", "exploring: does more under `make explore` (tests.examples.times)")


def pytest_collection_modifyitems(config, items):
    # xdist collects in each of its processes, and the names must be the same there
    named = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if named:
        raise pytest.UsageError(f"{named[0]} is named after an address; pass ids=")
    whole = config.args in ([], ["tests"]) or [str(arg) for arg in config.args] == [str(config.rootpath / "tests")]
    count = sum(item.get_closest_marker("oracle") is not None for item in items)
    if required.REQUIRED and whole and count < LEAST_ORACLE_TESTS:
        raise pytest.UsageError(f"{count} tests compare with oracles; at least {LEAST_ORACLE_TESTS} were wanted")


def pytest_terminal_summary(terminalreporter):
    left = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []) if isinstance(report.longrepr, tuple)]
    names = sorted({name for name in required.ORACLES for reason in left if f"oracle {name}:" in reason})
    if names:
        count = sum("oracle " in reason for reason in left)
        wanted = " ".join(required.ORACLES[name] for name in names)
        terminalreporter.write_line(
            f"left out: {count} tests or files of them against {', '.join(names)}; to have them: pip install {wanted}"
        )
