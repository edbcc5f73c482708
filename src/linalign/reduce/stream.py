"""Streaming: data of any length to rank(X) rows (T7.1).

The state is a factor of `[X, Y - X P^T]` for a fixed map P; what a block of rows comes to is stacked below it and factored again.
The nearer P is to the least-squares map, the less of the rounding of Y enters the factor. No Gram matrix is the end of it (`tall.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .. import validate
from ..calls import called
from ..linear_algebra import tall
from ..linear_algebra.waited import interruptible
from ..problem.compressed import Compressed
from ..validate import Array
from . import samples
from .samples import BLOCK, CENTRED, RANK_TOLERANCE

# rows are gathered until there are this many times the columns of [X, Y], so that small chunks cost no more than large ones
ROWS_A_COLUMN = 4
# a second pass is made where it shrinks what is factored by at least this
WORTH_A_PASS = 10.0

Chunks = Iterable[Any] | Callable[[], Iterable[Any]]


@called
def compress(chunks: Chunks, Y: Any = None) -> Compressed:
    """Data of any length as rank(X) rows that give every quadratic loss the same value, gradients and trajectory.

    `||X P^T - Y||^2 = ||X' P^T - Y'||^2 + c` for every P; for losses that are means, the number of rows is kept.

    Parameters
    ----------
    chunks : iterable of pairs (X, Y), or a function without arguments that returns one; or X itself, with its targets as Y
        X (n_j, k_0) and Y (n_j, k_d), or Y (n_j,) for one output; classes as one-hot rows. Any n_j. Or Compressed parts,
        which are merged.

    Returns: Compressed, to be passed in place of X with `Y=None`.

    Data that can be read again (a list, a function that returns a fresh iterator, any iterable that is no iterator) are read
    a second time if the first block of rows was not typical of the rest. An iterator is read once: the factor is then centred
    at the least-squares map of its first block, and if that is far from the map of all the data, a loss of 1e-16 of the data
    (residuals of 1e-8) is right to 1e-8 relative only; a map of the first block that is typical loses nothing.

    Raises: ValueError, TypeError if chunks are empty, not pairs, not finite, differ in columns, or differ when read again.
    Cost: of a pass `n (k_0 + k_d)^2 / 2` multiply-adds or, where columns nearly depend on each other, up to four times as many; memory of
    one block, the larger of a chunk and 4 (k_0 + k_d) rows.
    Source: docs/theory, T7.1, streaming and centred form.
    """
    if Y is not None:
        return _whole(*_pair(0, (chunks, Y), None, None))
    if isinstance(chunks, str) or hasattr(chunks, "shape"):
        raise TypeError(f"chunks is {type(chunks).__name__} but Y is missing; pass linalign.compress(X, Y), or an iterable of pairs (X, Y)")
    first = _open(chunks)
    again = first is not chunks
    start = next(first, None)
    if start is None:
        raise ValueError("chunks is empty; at least one pair (X, Y) was wanted")
    if isinstance(start, Compressed):
        return merge(start, *_parts(first))
    state = _Pass(_blocks(start, first), None)
    if again and state.centred() * WORTH_A_PASS < state.rest():
        second = _open(chunks)
        better = _Pass(_blocks(next(second), second), state.least_squares())
        if better.n != state.n or abs(better.probed - state.probed) > 1e-8 * state.probed:
            raise ValueError(f"chunks gave {state.n} rows, and read again {better.n} other ones; pass the same rows twice, or an iterator")
        state = better
    return state.finish()


def merge(*parts: Compressed) -> Compressed:
    """The compressed data of all parts' rows together.

    Raises: ValueError if parts differ in columns, TypeError if one is not Compressed. Cost: that of `compress` on their rows.
    """
    for i, part in enumerate(parts):
        if not isinstance(part, Compressed):
            raise TypeError(f"part {i} is {type(part).__name__}; Compressed was wanted, as compress returns")
        for what, a, b in (("inputs", part.X, parts[0].X), ("outputs", part.Y, parts[0].Y)):
            if a.shape[1] != b.shape[1]:
                raise ValueError(f"part {i} has {a.shape[1]} {what} but part 0 has {b.shape[1]}; merge parts of the same data")
    if not parts:
        raise ValueError("there are no parts; at least one Compressed was wanted")
    if len(parts) == 1:
        return parts[0]
    X, Y = np.vstack([part.X for part in parts]), np.vstack([part.Y for part in parts])
    X_small, Y_small, constant = samples.compress(X, Y)
    before = squares(X, Y)
    after = squares(X_small, Y_small) + constant
    residual = max(abs(after - before) / before if before else after, *(part.residual for part in parts))
    return Compressed(X_small, Y_small, constant + sum(p.constant for p in parts), sum(p.n for p in parts), residual)


def probe(k: int, m: int) -> Array:
    """The map `P^T (k, m)` at which the squares are checked: any will do, so long as it is always the same."""
    return np.asarray(np.random.default_rng(0).standard_normal((k, m)) / np.sqrt(k))


def squares(X: Array, Y: Array) -> float:
    """`||X P^T - Y||^2` at the probe."""
    P = probe(X.shape[1], Y.shape[1])
    return sum(float(np.sum((rows @ P - targets) ** 2)) for rows, targets in tall.blocks(X, Y))


def _whole(X: Array, Y: Array) -> Compressed:
    """Data that are there as a whole."""
    X_small, Y_small, constant = samples.compress(X, Y)
    before, after = squares(X, Y), squares(X_small, Y_small) + constant
    return Compressed(X_small, Y_small, constant, len(X), abs(after - before) / before if before else after)


class _Pass:
    """One pass over all rows."""

    def __init__(self, blocks: Iterator[tuple[Array, Array]], P: Array | None) -> None:
        """P (k, m): the centre, transposed; that of the first block if None."""
        self.n, self.probed, self.constant = 0, 0.0, 0.0
        for X, Y in blocks:
            X, Y = X.astype(np.float64, copy=False), Y.astype(np.float64, copy=False)
            k = X.shape[1]
            if P is None:
                P = _fit(samples.triangle(X, Y), k)
            if not self.n:
                R = np.empty((0, k + Y.shape[1]))
            rows, rest, constant = samples.shrunk(X, Y, P)
            R = samples.triangle(np.vstack([R[:, :k], rows]), np.vstack([R[:, k:], rest]))
            self.constant += constant
            self.n += len(X)
            self.probed += squares(X, Y)
        assert P is not None
        self.P, self.R, self.k = P, R, k

    def rest(self) -> float:
        """`||Y - X P||`."""
        return float(np.hypot(np.linalg.norm(self.R[:, self.k :]), np.sqrt(self.constant)))

    def centred(self) -> float:
        """`||Y - X P||` at the least-squares map."""
        R = self.R
        inside = R[:, self.k :] - R[:, : self.k] @ _fit(R, self.k)
        return float(np.hypot(np.linalg.norm(inside), np.sqrt(self.constant)))

    def least_squares(self) -> Array:
        return np.asarray(self.P + _fit(self.R, self.k))

    def finish(self) -> Compressed:
        """Down to rank(X) rows."""
        X, rest, constant = samples.compress(self.R[:, : self.k], self.R[:, self.k :])
        constant += self.constant
        Y = X @ self.P + rest
        here = squares(X, Y) + constant
        residual = abs(here - self.probed) / self.probed if self.probed else here
        return Compressed(X, Y, constant, self.n, residual)


def _fit(R: Array, k: int) -> Array:
    """The least-squares map (k, m) of a triangular factor of `[X, Y]`, in the directions where it is no larger than the data."""
    U, s, Vt = interruptible(np.linalg.svd, R[:, :k], full_matrices=False)
    rotated = U.T @ R[:, k:]
    r = int(np.count_nonzero(s > RANK_TOLERANCE * s[0]))
    near = np.linalg.norm(rotated[:r], axis=1) * s[0] <= CENTRED * np.linalg.norm(R[:, k:]) * s[:r]
    return np.asarray(Vt[:r][near].T @ (rotated[:r][near] / s[:r][near, None]))


# ------------------------------------------------------------------ what the caller passed in
def _open(chunks: Any) -> Iterator[Any]:
    try:
        return iter(chunks() if callable(chunks) else chunks)
    except TypeError:
        what = type(chunks).__name__
        raise TypeError(f"chunks is {what}; an iterable of pairs (X, Y), or a function that returns one, was wanted") from None


def _parts(rest: Iterator[Any]) -> Iterator[Compressed]:
    for i, part in enumerate(rest, 1):
        if not isinstance(part, Compressed):
            raise TypeError(f"chunks[{i}] is {type(part).__name__} but chunks[0] is Compressed; pass pairs only, or Compressed parts only")
        yield part


def _blocks(start: Any, rest: Iterator[Any]) -> Iterator[tuple[Array, Array]]:
    """Pairs in float64, checked, of at least a few rows a column each but the last."""
    gathered: list[tuple[Array, Array]] = []
    k: int | None = None
    m: int | None = None
    rows = 0
    i, chunk = 0, start
    while chunk is not None:
        X, Y = _pair(i, chunk, k, m)
        k, m = X.shape[1], Y.shape[1]
        gathered.append((X, Y))
        rows += len(X)
        if rows >= min(ROWS_A_COLUMN * (k + m), BLOCK):
            yield _stack(gathered)
            gathered, rows = [], 0
        i, chunk = i + 1, next(rest, None)
    if gathered:
        yield _stack(gathered)


def _stack(pairs: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    return pairs[0] if len(pairs) == 1 else (np.vstack([X for X, _ in pairs]), np.vstack([Y for _, Y in pairs]))


def _pair(i: int, chunk: Any, k: int | None, m: int | None) -> tuple[Array, Array]:
    if not isinstance(chunk, (tuple, list)) or len(chunk) != 2:
        raise TypeError(f"chunks[{i}] is {type(chunk).__name__}; a pair (X, Y) was wanted")
    X = validate.matrix(f"chunks[{i}] X", chunk[0], columns=k)
    Y = validate.real_array(f"chunks[{i}] Y", chunk[1])
    Y = validate.matrix(f"chunks[{i}] Y", Y.reshape(-1, 1) if Y.ndim == 1 else Y, rows=len(X), columns=m)
    return X, Y
