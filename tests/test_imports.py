"""Imports point one way: what is built on does not know what is built on it."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import linalign as la

SOURCE = Path(la.__file__).parent

# The rooms of the house from the ground up, as docs/architecture.md draws them. A module imports from its own room and from those
# above it in this list.
ROOMS = [
    ["validate"],
    ["calls", "cached", "files", "html", "reference", "linear_algebra", "_kernels"],
    ["losses", "layers"],
    ["optim"],
    ["init"],
    ["problem"],
    ["scores"],
    ["theory"],
    ["reduce"],
    ["plan"],
    ["engine"],
    ["curvature"],
    ["kernels"],
    ["record"],
    ["training"],
    ["sweeps"],
    ["data", "reproduce", "interop", "cli", "__main__", "__init__"],
]
RANK = {name: rank for rank, names in enumerate(ROOMS) for name in names}


def name_of(path):
    """`reduce.samples`, or `__init__` for the package itself."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


FILES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def only_for_types(tree):
    """Nodes under `if TYPE_CHECKING`, which import nothing when run."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    return {id(node) for block in blocks for node in ast.walk(block)}


def imports(name):
    """What a module imports, at its head or in a function: `(own modules, others)`."""
    path = FILES[name]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = only_for_types(tree)
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    package = [] if name == "__init__" else package
    own, others = set(), set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            others.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            others.add(node.module)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - (node.level - 1)] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                full = ".".join([*base, alias.name])
                own.add(full if full in FILES or base == ["_kernels"] else ".".join(base) or "__init__")
    return own - {name}, others


def rank_of(name):
    head = name.split(".")[0]
    assert head in RANK, f"{name} is a new room: say in ROOMS of this file what it may build on"
    return RANK[head]


@pytest.mark.parametrize("name", FILES)
def test_no_arrow_runs_back(name):
    own, others = imports(name)
    for imported in own:
        same = imported.split(".")[0] == name.split(".")[0]
        assert same or rank_of(imported) < rank_of(name) or rank_of(name) == len(ROOMS) - 1, (
            f"{name} imports {imported}, which is built on it"
        )
    if rank_of(name) < rank_of("cli"):
        assert not [other for other in others if other.split(".")[0] == "linalign"], f"{name} imports the package by its name"


def test_no_circle():
    left = {name: imports(name)[0] & set(FILES) for name in FILES}
    while left:
        ready = [name for name, needs in left.items() if not needs & set(left)]
        assert ready, f"these import each other: {sorted(left)}"
        for name in ready:
            del left[name]


def test_every_room_is_there():
    assert set(RANK) <= {name.split(".")[0] for name in FILES} | {"_kernels"}


def test_the_reference_imports_numpy_alone():
    own, others = imports("reference")
    assert not own
    assert others == {"__future__", "collections.abc", "typing", "numpy"}


def test_the_kernels_are_reached_by_few_doors():
    # this processor, the limits of BLAS, what binds a problem, and products by themselves: everything else asks these, so that what is compiled can be changed there
    doors = [name for name in FILES if any(found.startswith("_kernels") for found in imports(name)[0])]
    assert doors == ["engine.bind", "engine.lanes", "engine.threads", "kernels.projections", "kernels.stacks", "plan.machine"]


def test_the_top_shows_the_rooms():
    assert len(list(SOURCE.glob("*.py"))) <= 8


def test_no_property_holds_a_lock_while_it_is_computed():
    # see `cached`: that of functools does, up to Python 3.11
    for name, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "functools":
                assert "cached_property" not in {alias.name for alias in node.names}, name


HEAVY = ["matplotlib", "sklearn", "torch", "jax", "pandas", "tqdm", "dask", "pytest", "hypothesis"]


def test_importing_the_package_loads_the_kernels_and_little_else():
    # other rooms are imported when a name of theirs is asked for
    code = "import sys, linalign; print(*sorted({m.split('.')[1] for m in sys.modules if m.startswith('linalign.')}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "_kernels" in found.stdout.split()
    assert not {"training", "sweeps", "record", "theory", "scores", "interop", "data", "cli"} & set(found.stdout.split())


def test_training_imports_nothing_optional():
    code = f"import sys; from linalign import *; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=None)
    assert found.stdout.strip() == "[]"


def test_the_reference_runs_by_itself():
    # on its own, from its file: no kernel, no package
    code = f"""
import importlib.util, sys
import numpy as np
spec = importlib.util.spec_from_file_location("reference", {str(SOURCE / "reference.py")!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(module.squared(np.ones((2, 2)), np.zeros((2, 2)), 0.5)[0], [m for m in sys.modules if "linalign" in m or "scipy" in m])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "2.0 []"


# ---- the public names ------------------------------------------------------------------------------------------------------


def test_public_names_are_listed_alike():
    # once for type checkers, once with where they are at run time
    tree = ast.parse(FILES["__init__"].read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {(node.module, alias.name) for node in block.body for alias in node.names}
    assert typed == {(home[1:], name) for home, names in la.HOMES.items() for name in names} | {(None, name) for name in la.MODULES}
    assert set(la.__all__) == {name for _, name in typed}


def test_public_names():
    assert la.__all__ == sorted(la.__all__)
    for name in la.__all__:
        assert getattr(la, name).__doc__, f"linalign.{name} has no docstring"


def test_the_version_is_said_once_more_the_same():
    pyproject = SOURCE.parents[1] / "pyproject.toml"
    if not pyproject.exists():
        pytest.skip("the package is installed away from its pyproject.toml")
    assert re.search(r'^version = "(.*)"$', pyproject.read_text(), re.M)[1] == la.__version__


@pytest.mark.parametrize("stub", sorted(SOURCE.glob("_kernels/*.pyi")), ids=lambda path: path.stem)
def test_stubs_name_what_the_kernels_have(stub):
    module = importlib.import_module(f"linalign._kernels.{stub.stem}")
    tree = ast.parse(stub.read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            assert callable(getattr(module, node.name))
        elif isinstance(node, ast.ClassDef):
            members = {m.name for m in node.body if isinstance(m, ast.FunctionDef)}
            members |= {m.target.id for m in node.body if isinstance(m, ast.AnnAssign)}
            own = {name for name in vars(getattr(module, node.name)) if not name.startswith("_")}
            assert {name for name in members if not name.startswith("__")} == own
    named = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    public = {
        name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    }
    assert {name for name in named if not name.startswith("_")} == public
