"""The reference: it has every public name, each name an example, and every example runs."""

import doctest
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from sphinxext.examples import EXAMPLES
from sphinxext.names import INTEROP, NAMES

import linalign as la
from tests.required import oracle

DOCS = Path(__file__).parents[2] / "docs"
LISTED = [
    name if name.startswith("linalign.") else f"linalign.{name}"
    for names in re.findall(r"<!-- names:([^>]+) -->", (DOCS / "api" / "index.md").read_text(encoding="utf-8"))
    for name in names.split()
]
EVERY = {*NAMES, *INTEROP, *(f"{module}.{name}" for module, names in INTEROP.items() for name in names)}


def test_the_reference_has_every_public_name_once():
    assert sorted(LISTED) == sorted(EVERY)
    assert {f"linalign.{name}" for name in dir(la) if not name.startswith("_")} <= EVERY


def own_example(name):
    """The doctest of the docstring, if it has one."""
    text = inspect.getdoc(NAMES[name]) or ""
    return text if ">>>" in text else ""


def test_every_name_has_an_example():
    needed = {name for name, value in NAMES.items() if not inspect.ismodule(value)}
    assert {name for name in needed if not own_example(name)} <= set(EXAMPLES)
    assert not [name for name in EXAMPLES if name in NAMES and own_example(name)], "the docstring has one by now"
    assert set(EXAMPLES) <= EVERY


@pytest.mark.parametrize("name", sorted({*EXAMPLES, *(name for name in NAMES if own_example(name))}))
def test_example_runs(name):
    library = re.match(r"linalign\.interop\.(torch|jax)", name)
    if library and library[1] == "torch":
        oracle("torch")
    elif library:
        pytest.importorskip(library[1])
    text = EXAMPLES.get(name) or own_example(name)
    test = doctest.DocTestParser().get_doctest(text, {"np": np, "la": la, "__name__": "reference"}, name, None, 0)
    said = []
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append)
    assert result.attempted
    assert result.failed == 0, "".join(said)
