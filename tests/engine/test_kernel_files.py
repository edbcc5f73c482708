"""The sources of the kernels: which file builds on which, and the numbers that Python reads from them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import linalign as la
from linalign import losses
from linalign.engine import bind
from linalign.engine.engines import simultaneous
from linalign.plan import machine, structures
from linalign.scores import interface
from tests.oracles.checks import make_case

SOURCE = Path(la.__file__).parents[2] / "kernels"

# from the ground up, as kernels/README.md draws them; a file builds on those of the lines above it in this list
ORDER = [
    ["types", "handover"],
    ["memory", "blas", "layer"],
    ["products", "arrays"],
    ["border"],
    ["structured", "stripes", "stack", "loss", "score", "evaluation"],
    ["engine", "second"],
    ["workspace", "rows", "batch", "blocks", "optimiser"],
    ["registers", "one_row", "constrained", "observed", "rule", "outputs"],
    ["descend", "tiles"],
    ["samples", "pivot", "sweep"],
    ["loop", "direction"],
    ["_chain", "_curvature", "_flow", "_modes", "_machine", "_limits", "_product", "_stack", "_projection", "_lanes"],
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}

pytestmark = pytest.mark.skipif(not SOURCE.exists(), reason="the package is installed away from its kernels")


def test_kernels_build_on_what_is_below_them():
    files = {path.stem: path for path in [*SOURCE.glob("*.pxd"), *SOURCE.glob("*.pyx")]}
    assert set(files) - set(RANK) == set(), "say in ORDER of this file what they may build on"
    for name, path in files.items():
        for found in re.findall(r"^from (\w+) cimport", path.read_text(), re.M):
            if found in files:
                assert RANK[found] < RANK[name], f"{path.name} cimports {found}, which is built on it"


def test_kernel_files_are_short():
    for path in [*SOURCE.glob("*.p*"), *SOURCE.glob("include/*.h")]:
        assert len(path.read_text().splitlines()) <= 450, path.name


def test_nothing_asks_for_the_gil_where_there_are_checks():
    # a build with Cython's checks (tests/sanitizers) refuses `self.a += b` and `self.a[i] += b` where there is no GIL
    for path in SOURCE.glob("*.pyx"):
        inside = None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            indent = len(line) - len(line.lstrip())
            if line.strip() and inside is not None and indent <= inside:
                inside = None
            if inside is not None:
                assert not re.match(r"\s*self\.\w+(\[.*\])? (\+|-|\*|/|//)= ", line), f"{path.name}:{number}: write self.a = self.a + b"
            elif re.match(r"\s*cdef .*\) noexcept nogil:$", line):
                inside = indent


def test_python_and_c_know_the_same_kinds():
    assert set(machine.KINDS) == set(structures.KINDS)
    kinds = {loss.kind for loss in vars(losses).values() if isinstance(loss, type) and isinstance(getattr(loss, "kind", None), str)}
    # one is in NumPy alone
    assert set(machine.LOSSES) == kinds - {"bures_wasserstein"}
    for numbers in (machine.KINDS, machine.LOSSES, machine.STATUSES, machine.RULES, machine.LEVELS):
        assert len(set(numbers.values())) == len(numbers)
    assert machine.STATUSES["running"] == 0


def test_arrays_of_another_type_are_refused(monkeypatch):
    net = la.Network([la.layers.Toeplitz(4, 3)]).init("gaussian", rng=0)
    problem = make_case((3, 4), 5).problem
    problem = type(problem)(net, problem.X, problem.T, problem.loss, problem.factor, problem.floor)
    true = structures.runs
    for kind in (np.int64, np.float32):
        monkeypatch.setattr(structures, "runs", lambda index, sign, kind=kind: true(index, sign)._replace(row=np.arange(4, dtype=kind)))
        with pytest.raises(TypeError, match=f"an array is of type {np.dtype(kind)}; 'i' was wanted"):
            bind.bind(problem, simultaneous(1), 0, 5)


def test_the_loop_and_python_take_the_cosine_from_the_sine_up_to_the_same_angle():
    found = re.search(r"if sine < ([0-9.]+):", (SOURCE / "score.pxd").read_text())
    assert found is not None
    assert float(found.group(1)) == interface.SWITCH
