"""The tests themselves: no case depends on another one, nothing acts because it is imported, and examples are those of the profile."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = {str(path.relative_to(TESTS)): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(TESTS.rglob("*.py"))}


def ends(call):
    """The last name of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


@pytest.mark.parametrize("name", FILES)
def test_no_generator_outlives_a_case(name):
    # what a test drew would be gone for the next one: all would depend on their order
    for node in FILES[name].body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Call):
            what = f"{name}:{node.lineno} keeps a generator for all tests of the file; give each case a seed (tests/oracles/draws.py)"
            assert ends(node.value) not in ("default_rng", "RandomState", "Generator"), what


@pytest.mark.parametrize("name", FILES)
def test_a_fixture_acts_on_its_own_file(name):
    # what is imported by name, and acts on every test that happens to stand beside it, is asked for by none of them
    shared = [file for file in FILES if not Path(file).name.startswith("test_")]
    fixtures = {
        node.name
        for file in shared
        for node in ast.walk(FILES[file])
        if isinstance(node, ast.FunctionDef) and any("fixture" in ast.unparse(d) for d in node.decorator_list)
    }
    assert fixtures
    for node in ast.walk(FILES[name]):
        if isinstance(node, ast.ImportFrom):
            assert not fixtures & {alias.name for alias in node.names}, f"{name}:{node.lineno} imports a fixture; put it into a conftest.py"
        if name in shared and isinstance(node, ast.Call) and ends(node) == "fixture":
            assert not any(word.arg == "autouse" for word in node.keywords), f"{name}:{node.lineno} acts on whoever is near"


@pytest.mark.parametrize("name", FILES)
def test_extended_precision_is_checked_to_be_one(name):
    # tests/oracles/extended.py is the one place that asserts it
    others = {"oracles/extended.py", "problem/test_validation.py", "test_suite.py"}
    if name not in others:
        assert "longdouble" not in ast.unparse(FILES[name]), f"{name} names longdouble; import LD from tests.oracles.extended"


@pytest.mark.parametrize("name", FILES)
def test_the_profile_says_how_many_examples(name):
    # a number of its own would be the same where many more are wanted
    if name not in ("examples.py", "test_suite.py"):
        assert "max_examples" not in ast.unparse(FILES[name]), f"{name} sets max_examples; use tests.examples.examples"


SHOW = """
from hypothesis import settings
from tests import examples
examples.load()
d = settings.default
print(d.derandomize, d.database is None, d.max_examples, examples.examples(30).max_examples, d.deadline)
"""


def shown(profile):
    env = {key: value for key, value in os.environ.items() if key not in ("LINALIGN_HYPOTHESIS", "CI")}
    env |= {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), env.get("PYTHONPATH", "")])}
    env |= {} if profile is None else {"LINALIGN_HYPOTHESIS": profile}
    return subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=False, env=env)


def test_examples_are_the_same_each_time_unless_others_are_asked_for():
    assert shown(None).stdout == shown("fixed").stdout == "True True 100 30 None\n"
    assert shown("explore").stdout == "False False 2000 600 None\n"
    failed = shown("more")
    assert failed.returncode == 1
    assert failed.stderr.endswith("ValueError: LINALIGN_HYPOTHESIS is 'more'; one of fixed, explore was wanted\n")
