"""Typed: values out of JSON, compared with the types that they are to have before anything is made of them."""

from __future__ import annotations

import dataclasses
import math
import types
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .damage import Damaged
from .npz import short

T = TypeVar("T")


class Fields:
    """An object of JSON whose fields are asked for one by one. Raises: Damaged, naming the field, what came and what was wanted."""

    def __init__(self, name: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise Damaged(f"{name} is {short(value)}; an object was wanted")
        self._name, self._value = name, value

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def get(self, key: str, kind: type[T]) -> T:
        """A field of exactly this type; of `float` a finite one, which a whole number is too."""
        value = self.any(key)
        wanted = (int, float) if kind is float else (kind,)
        if type(value) not in wanted or (kind is float and not finite(value)):
            raise Damaged(f"{key} of {self._name} is {short(value)}; {WORDS[kind]} was wanted")
        return float(value) if kind is float else value  # type: ignore[return-value]

    def whole(self, key: str, least: int = 0, most: int | None = None) -> int:
        """A whole number in a range."""
        value = self.get(key, int)
        if value < least or (most is not None and value > most):
            raise Damaged(f"{key} of {self._name} is {short(value)}; {least} to {'any' if most is None else most} was wanted")
        return value

    def items(self, key: str, kind: type[T]) -> list[T]:
        """A list with entries of exactly this type."""
        found = self.get(key, list)
        for i, value in enumerate(found):
            if type(value) is not kind:
                raise Damaged(f"{key}[{i}] of {self._name} is {short(value)}; {WORDS[kind]} was wanted")
        return found

    def any(self, key: str) -> Any:
        """A field of any type."""
        if key not in self._value:
            raise Damaged(f"{self._name} has no {key!r}")
        return self._value[key]


WORDS: dict[Any, str] = {
    int: "a whole number", float: "a finite number", str: "text", bool: "true or false", list: "a list", dict: "an object",
}  # fmt: skip


def finite(value: float) -> bool:
    """Whether it is a finite number as float64; a whole number may be too large for one."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def built(kind: Any, value: Any, name: str) -> Any:
    """A value of a type: a number, text, a dataclass by its annotations, a tuple of such, or None where it may be.

    Raises: Damaged, naming the place.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return built(next(one for one in arguments if one is not type(None)), value, name)
    if origin is tuple:
        if not isinstance(value, list):
            raise Damaged(f"{name} is {short(value)}; a list was wanted")
        return tuple(built(arguments[0], entry, f"{name}[{i}]") for i, entry in enumerate(value))
    if dataclasses.is_dataclass(kind):
        fields = Fields(name, value)
        hints = get_type_hints(kind)
        known = {item.name: item for item in dataclasses.fields(kind)}
        if unknown := [key for key in value if key not in known]:
            raise Damaged(f"{name} has {short(unknown[0])}, which is unknown")
        given = {
            key: built(hints[key], fields.any(key), f"{name}.{key}")
            for key, item in known.items()
            if key in value or (item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING)
        }
        return kind(**given)  # type: ignore[operator]
    # a number that is nan or infinite may be one that was measured
    if type(value) is not kind and not (kind is float and type(value) is int and finite(value)):
        raise Damaged(f"{name} is {short(value)}; {WORDS[kind] if kind is not float else 'a number'} was wanted")
    if kind is int and abs(value) >= 2**63:
        raise Damaged(f"{name} is {short(value)}; a whole number of 64 bits was wanted")
    return kind(value)
