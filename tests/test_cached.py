"""Cached properties: computed once for an object, and the first of two threads to be there is the one for both."""

from __future__ import annotations

import threading

import numpy as np

from linalign.cached import cached_property


class Squares:
    def __init__(self, number):
        self.number, self.computed = number, 0

    @cached_property
    def square(self):
        """The square."""
        self.computed += 1
        return np.array(self.number**2)


def test_it_is_computed_once_for_an_object():
    two, three = Squares(2), Squares(3)
    assert "square" not in vars(two)
    assert (two.square, three.square, two.square) == (4, 9, 4)
    assert two.square is two.square
    assert (two.computed, three.computed) == (1, 1)
    del two.square
    assert two.square == 4
    assert two.computed == 2


def test_the_class_has_the_property_itself():
    assert isinstance(Squares.square, cached_property)
    assert Squares.square.__doc__ == "The square."


def test_two_threads_compute_it_at_once_and_find_the_same():
    barrier = threading.Barrier(2)

    class Slow:
        @cached_property
        def object(self):
            barrier.wait(20)  # a lock would keep the other from coming here
            return [threading.get_ident()]

    slow, found = Slow(), []
    threads = [threading.Thread(target=lambda: found.append(slow.object)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] is found[1] is slow.object
