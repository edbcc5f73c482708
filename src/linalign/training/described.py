"""Described: options of `train` as JSON and arrays, and back."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import losses, optim
from ..optim.batches import plain
from ..problem.stream import Stream
from ..record.functions import Sum
from ..reduce.reduction import Reduction
from ..validate import Array

# values of these classes are written by their fields
KNOWN: dict[str, type[Any]] = {
    kind.__name__: kind
    for module in (losses, optim, optim.schedules)
    for kind in vars(module).values()
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and not kind.__name__.startswith("_")
}


class Unwritable(TypeError):
    """What no file can hold, such as a function."""


def encode(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    """JSON of a value; its arrays go into `arrays`, under names that begin with `name`. Raises: Unwritable."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, (list, tuple)):
        items = [encode(item, f"{name}_{i}", arrays) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        arrays[name] = value
        return {"array": name}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        # arrays are called after places and not after keys, which may be any text, and one another's beginning
        return {"dict": {key: encode(item, f"{name}_{i}", arrays) for i, (key, item) in enumerate(value.items())}}
    kind = type(value)
    if KNOWN.get(kind.__name__) is kind:
        return {"type": kind.__name__, "fields": {item.name: encode(getattr(value, item.name), f"{name}_{i}", arrays)
                                                  for i, item in enumerate(dataclasses.fields(value))}}  # fmt: skip
    raise Unwritable(f"a file does not hold {kind.__name__}")


def arrays_of(value: Any) -> Iterator[Any]:
    """The names of the arrays that `decode` asks for; of what is no such value, anything."""
    if isinstance(value, list):
        for item in value:
            yield from arrays_of(item)
    elif isinstance(value, dict) and "array" in value:
        yield value["array"]
    elif isinstance(value, dict):
        for item in value.values():
            yield from arrays_of(item)


def decode(value: Any, arrays: Mapping[str, Array]) -> Any:
    """What `encode` wrote. Raises: KeyError, TypeError, ValueError if it did not."""
    if isinstance(value, list):
        return [decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if "range" in value:
        return range(*value["range"])
    if "tuple" in value:
        return tuple(decode(item, arrays) for item in value["tuple"])
    if "array" in value:
        return arrays[value["array"]]
    if "dict" in value:
        return {key: decode(item, arrays) for key, item in value["dict"].items()}
    return KNOWN[value["type"]](**{key: decode(item, arrays) for key, item in value["fields"].items()})


def same(old: Any, new: Any) -> bool:
    """Whether two options mean the same, as far as one can tell: functions are compared by identity."""
    old, new = (value.source if isinstance(value, Stream) else value for value in (old, new))
    if old is new:
        return True
    if dataclasses.is_dataclass(old) and type(old) is type(new):
        return all(same(getattr(old, item.name), getattr(new, item.name)) for item in dataclasses.fields(old))
    if callable(old) or callable(new) or old is None or new is None:
        return False
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return list(old) == list(new) and all(same(old[key], new[key]) for key in old)
    try:
        return bool(np.array_equal(np.asarray(old), np.asarray(new)))
    except (TypeError, ValueError):
        return False


# ------------------------------------------------------------------ what can be compared in another session, but not be had again
def describe(name: str, value: Any) -> Any:
    """A value as JSON, the same in every session; arrays by their digest. Raises: TypeError if it has no such form."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, (list, tuple)):
        return [describe(f"{name}[{i}]", item) for i, item in enumerate(value)]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return {"array": digest(value)}
    if isinstance(value, Mapping):
        return [[describe(name, key), describe(f"{name}[{key!r}]", item)] for key, item in value.items()]
    if isinstance(value, Stream):
        return describe(name, value.source)
    if isinstance(value, Sum):
        return {"sum": describe(name, value.fn), "each": value.each}
    if isinstance(value, np.random.Generator):
        return {"generator": plain(value.bit_generator.state)}
    if isinstance(value, (optim.Rule, Reduction)) and not dataclasses.is_dataclass(value):
        return {"type": type(value).__qualname__, **{key: describe(f"{name}.{key}", item) for key, item in sorted(vars(value).items())}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: describe(f"{name}.{field.name}", getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if callable(value) and hasattr(value, "__qualname__"):
        return {"function": f"{value.__module__}.{value.__qualname__}"}
    raise TypeError(f"{name} is {type(value).__name__}, which no file can hold; use numbers, strings, lists or arrays, or pass no path")


def digest(array: Any) -> str:
    """SHA-256 of dtype, shape and contents."""
    values = np.asarray(array)
    found = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()
