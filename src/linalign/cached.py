"""Cached: properties that are computed once for an object.

That of functools, up to Python 3.11, holds one lock for all objects of a class while it computes: threads wait for each other, and
the child of a fork waits for ever for one that it has not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class cached_property(Generic[T]):
    """A property that is computed when first asked for, and then kept in the object. Two threads may compute it at once."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function = function
        self._name = ""
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> cached_property[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object, owner: type) -> cached_property[T] | T:
        if instance is None:
            return self
        # the first to be there is the one for all: what it holds may be compared by identity
        found: T = instance.__dict__.setdefault(self._name, self._function(instance))
        return found
