"""Batches: which rows of the data each step sees.

The rows are drawn by `g = numpy.random.default_rng(rng)`, so that anybody can draw them again:

- "shuffle": an epoch at a time, `p = g.permutation(n)`; a step takes the next `batch` entries of p, the last of an epoch what is left;
- "replacement": a step takes `g.integers(n, size=batch)`;
- an array `(steps, batch)` of row numbers: as they stand.
"""

from __future__ import annotations

import copy
import numbers
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import validate
from ..validate import Array

ORDERS = ("shuffle", "replacement")
# steps that are drawn at a time
BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Drawn:
    """The rows of some steps: step t sees `rows[t, :counts[t]]`; the rest of a line is 0."""

    rows: Array
    counts: Array


@dataclass(eq=False)
class Place:
    """Where drawing stands: the step, the generator, and what is left of an epoch."""

    step: int
    generator: np.random.Generator
    left: Array

    def copy(self) -> Place:
        """One that is drawn from by itself."""
        return Place(self.step, copy.deepcopy(self.generator), self.left)

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers and strings."""
        return {"step": self.step, "generator": plain(self.generator.bit_generator.state), "left": self.left.tolist()}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Place:
        """The place that `to_dict` wrote. Raises: ValueError, TypeError, KeyError for anything else, and for a generator of no NumPy."""
        name, left = fields["generator"]["bit_generator"], np.array(fields["left"], dtype=np.int64)
        kind = getattr(np.random, name, None)
        if not (isinstance(kind, type) and issubclass(kind, np.random.BitGenerator)):
            raise ValueError(f"the generator {name!r} is none of NumPy's")
        bits = kind(0)
        _alike("the generator", plain(bits.state), fields["generator"])
        bits.state = fields["generator"]
        if left.ndim != 1 or (left < 0).any():
            raise ValueError("what is left of an epoch is no list of rows")
        return cls(validate.integer("step", fields["step"], least=0), np.random.Generator(bits), left)


# where a generator stands in numbers that it has drawn: NumPy believes it, and reads there
POSITIONS = {"pos": 624, "buffer_pos": 4}


def _alike(name: str, pattern: Any, value: Any) -> None:
    """Raises: ValueError where a state of a generator is of another form than that of one of its kind."""
    if type(value) is not type(pattern):
        raise ValueError(f"{name} is {type(value).__name__}; {type(pattern).__name__} was wanted")
    if isinstance(pattern, dict):
        if list(pattern) != list(value):
            raise ValueError(f"{name} has {', '.join(map(str, value))}; {', '.join(pattern)} were wanted")
        for key, item in pattern.items():
            _alike(key, item, value[key])
    elif isinstance(pattern, list):
        if len(pattern) != len(value):
            raise ValueError(f"{name} has {len(value)} entries; {len(pattern)} were wanted")
        for one, other in zip(pattern, value, strict=True):
            _alike(name, one, other)
    elif isinstance(pattern, int) and not 0 <= value <= POSITIONS.get(name, 2**128 - 1):
        raise ValueError(f"{name} is {value}; 0 to {POSITIONS.get(name, 2**128 - 1)} was wanted")


def plain(state: Any) -> Any:
    """The state of a generator without arrays."""
    if isinstance(state, dict):
        return {key: plain(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, (np.ndarray, np.generic)) else state


class Batches:
    """The rows of every step, in any order of asking: steps that were drawn before are drawn again from where drawing began."""

    def __init__(self, n: int, batch: Any, order: Any, rng: Any, steps: int | None = None, begin: Place | None = None) -> None:
        """`batch`: a whole number, an array (steps,), or a function of the step, at most `most`; `begin`: where a run goes on.

        Raises: ValueError, TypeError.
        """
        self.n = n
        self.table: Array | None = None
        if not isinstance(order, str):
            self.table = _table(order, n, steps)
            self.most = self.table.shape[1]
            if batch is not None and batch != self.most:
                raise ValueError(f"batch is {batch!r} but order has {self.most} rows a step; leave batch out")
            return
        self.order = validate.choice("order", order, ORDERS)
        self._sizes = _sizes(batch, n, steps)
        self.most = int(batch) if isinstance(batch, numbers.Integral) else int(np.max(batch)) if not callable(batch) else n
        if rng is None and begin is None:
            raise ValueError(f"rng is None but order is {order!r}; pass a seed such as rng=0, so that the batches can be drawn again")
        if begin is not None and len(begin.left) and begin.left.max() >= n:
            raise ValueError(f"the run goes on with row {begin.left.max()} of an epoch but X has {n} rows; pass the data that it was of")
        self._begin = (begin or Place(0, validate.generator(rng), np.empty(0, dtype=np.int64))).copy()
        self._now = self._begin.copy()
        self._kept: list[Place] = []

    @property
    def ragged(self) -> bool:
        """Whether some step may see fewer rows than another."""
        if self.table is not None:
            return False
        return not isinstance(self._sizes, int) or (self.order == "shuffle" and self.n % self._sizes != 0)

    def _size(self, t: int) -> int:
        sizes = self._sizes
        if isinstance(sizes, int):
            return sizes
        return sizes(t) if callable(sizes) else int(sizes[t])

    def at(self, first: int, count: int) -> Drawn:
        """The rows of `count` steps from `first` on. Raises: ValueError where an array of sizes or rows ends."""
        if self.table is not None:
            if first + count > len(self.table):
                raise ValueError(f"order has {len(self.table)} lines but step {first + count} was asked for; pass one line a step")
            return Drawn(self.table[first : first + count], np.full(count, self.most, dtype=np.int64))
        if first != self._now.step:
            self._back(first)
        self._kept = [*self._kept[-7:], self._now.copy()]
        rows, counts = np.zeros((count, self.most), dtype=np.int64), np.empty(count, dtype=np.int64)
        if isinstance(self._sizes, int) and self.order == "replacement":
            rows[...] = self._now.generator.integers(self.n, size=rows.shape)
            counts[...] = self._sizes
            self._now.step += count
        elif isinstance(self._sizes, int):
            self._draw_epochs(self._sizes, rows, counts)
        else:
            for t, taken in enumerate(self._draw(count)):
                rows[t, : len(taken)], counts[t] = taken, len(taken)
        return Drawn(rows, counts)

    def place(self, step: int) -> Place | None:
        """Where drawing stands before `step`; None where the rows are given."""
        if self.table is not None:
            return None
        if step != self._now.step:
            self._back(step)
        return self._now.copy()

    def _draw(self, count: int) -> Iterator[Array]:
        now = self._now
        for _ in range(count):
            size = self._size(now.step)
            if self.order == "replacement":
                taken = now.generator.integers(self.n, size=size)
            else:
                if not len(now.left):
                    now.left = now.generator.permutation(self.n)
                taken, now.left = now.left[:size], now.left[size:]
            now.step += 1
            yield taken

    def _draw_epochs(self, size: int, rows: Array, counts: Array) -> None:
        """`_draw` of steps of one size, an epoch at a time."""
        now, t = self._now, 0
        while t < len(rows):
            if not len(now.left):
                now.left = now.generator.permutation(self.n)
            steps = min(-(-len(now.left) // size), len(rows) - t)
            taken, now.left = now.left[: steps * size], now.left[steps * size :]
            whole, rest = divmod(len(taken), size)
            rows[t : t + whole] = taken[: whole * size].reshape(whole, size)
            counts[t : t + whole] = size
            if rest:
                rows[t + whole, :rest], counts[t + whole] = taken[whole * size :], rest
            t += steps
        now.step += len(rows)

    def _back(self, first: int) -> None:
        """To where step `first` is drawn next."""
        places = [place for place in (self._begin, *self._kept) if place.step <= first]
        self._now = max(places, key=lambda place: place.step).copy()
        while self._now.step < first:
            for _ in self._draw(min(BLOCK, first - self._now.step)):
                pass


def _sizes(batch: Any, n: int, steps: int | None) -> Any:
    if batch is None:
        raise ValueError("batch is None but order is given; pass batch=32, or an array (steps, batch) of row numbers as order")
    if callable(batch):
        return lambda t: _size(f"batch({t})", batch(t), n)
    if isinstance(batch, numbers.Integral):
        return _size("batch", batch, n)
    if np.ndim(batch) > 1:
        raise ValueError(f"batch has shape {np.shape(batch)}; sizes are one a step: pass the rows of every step as order=, batch=None")
    sizes = [_size(f"batch[{t}]", size, n) for t, size in enumerate(np.asarray(batch).ravel().tolist())]
    if steps is not None and len(sizes) < steps:
        raise ValueError(f"batch has the sizes of {len(sizes)} steps but steps is {steps}; pass one size a step")
    return sizes


def _size(name: str, value: Any, n: int) -> int:
    size = validate.integer(name, value, least=1)
    if size > n:
        raise ValueError(f"{name} is {size} but X has {n} rows; a batch has at most so many")
    return size


def _table(order: Any, n: int, steps: int | None) -> Array:
    table = np.asarray(validate.plain("order", order))
    if table.ndim != 2 or table.dtype.kind not in "iu" or table.size == 0:
        wanted = "'shuffle', 'replacement' or an array (steps, batch) of row numbers was wanted"
        raise ValueError(f"order has shape {table.shape} and dtype {table.dtype}; {wanted}")
    if steps is not None and len(table) < steps:
        raise ValueError(f"order has the rows of {len(table)} steps but steps is {steps}; pass one line a step")
    if table.min() < 0 or table.max() >= n:
        bad = table[(table < 0) | (table >= n)][0]
        raise ValueError(f"order holds the row {bad} but X has {n} rows; rows run from 0 to {n - 1}")
    return np.ascontiguousarray(table, dtype=np.int64)
