"""The public names, each with the page of the reference that describes it, and the one list of what counts as public.

A name is described once, under the shortest path that leads to it: `linalign.Conv2d`, not `linalign.layers.Conv2d`.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from types import ModuleType
from typing import Any

import linalign

# modules whose names are public, beside those of the package itself
MODULES = ("curvature", "data", "kernels", "layers", "losses", "optim", "optim.schedules", "record", "theory", "theory.flow")
# what joins other libraries, by name; those that are not installed are missing, and then no site is built
INTEROP = {
    "linalign.interop.torch": ("from_torch", "to_torch", "train_torch", "update_torch_", "chain", "Structure"),
    "linalign.interop.jax": ("as_function",),
    "linalign.interop.sklearn": ("DeepLinearRegressor", "DeepLinearClassifier", "DeepLinearAutoencoder"),
    "linalign.interop.dask": ("compress_dask", "compress_parquet"),
}
MISSING: list[str] = []
# tables and helpers that other modules import; of no use to a caller
INNER = {"layers": {"describe", "from_description"}, "losses": {"Signs", "resolve"}, "optim": {"chosen", "resolve"}}


def own(module: ModuleType) -> list[str]:
    """Public names of a module: those that it lists, or the classes and functions that it defines."""
    listed = getattr(module, "__all__", None)
    if listed is None:
        listed = [name for name, value in vars(module).items() if getattr(value, "__module__", "").startswith(module.__name__)]
    inner = INNER.get(module.__name__.removeprefix("linalign."), set())
    return [name for name in listed if not name.startswith("_") and name not in inner and described(getattr(module, name))]


def described(value: Any) -> bool:
    """Whether it has a description of its own: a class or a function."""
    return inspect.isclass(value) or inspect.isroutine(value)


def collected() -> dict[str, Any]:
    """Full name to object."""
    found: dict[str, Any] = {f"linalign.{name}": getattr(linalign, name) for name in sorted(linalign.__all__)}
    seen = {id(value) for value in found.values()}
    for name in MODULES:
        module = import_module(f"linalign.{name}")
        found.setdefault(f"linalign.{name}", module)
        for inner in own(module):
            value = getattr(module, inner)
            if id(value) not in seen:
                seen.add(id(value))
                found[f"linalign.{name}.{inner}"] = value
    for name, inner in INTEROP.items():
        try:
            module = import_module(name)
        except ImportError:
            MISSING.append(name)
            continue
        found[name] = module
        found.update({f"{name}.{one}": getattr(module, one) for one in inner})
    return found


NAMES = collected()


def page_of(name: str) -> str:
    """The page that describes it. `flow` and `Flow` are one name to some file systems."""
    twin = inspect.isroutine(NAMES[name]) and any(other != name and other.lower() == name.lower() for other in NAMES)
    return f"api/generated/{name}-function" if twin else f"api/generated/{name}"


def name_of(docname: str) -> str:
    """The name that a page describes."""
    return docname.rpartition("/")[2].removesuffix("-function")


def summary(name: str) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(NAMES[name]) or "").split("\n")[0]
