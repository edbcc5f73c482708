"""Weighted, centred rows, dense or sparse, as the rank(X) rows that they amount to."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse

from ..problem.compressed import Compressed
from ..reduce.stream import compress
from ..validate import Array

# rows that are read at a time from sparse data
BLOCK = 4096
# compressed data sets that are kept, for a search over the options of a fit that meets the same data again
KEPT = 8
_KNOWN: OrderedDict[bytes, Compressed] = OrderedDict()


def compressed(X: Any, Y: Array, x_mean: Array, y_mean: Array, root: Array) -> Compressed:
    """The rows `root (X - x_mean)` and `root (Y - y_mean)` compressed; those of the last few data sets are kept."""
    key = hashlib.blake2b(repr((X.shape, X.dtype.str, Y.dtype.str)).encode())
    for part in [X.data, X.indices, X.indptr] if scipy.sparse.issparse(X) else [X]:
        key.update(np.ascontiguousarray(part).tobytes())
    for part in (Y, x_mean, y_mean, root):
        key.update(part.tobytes())
    found = _KNOWN.get(key.digest())
    if found is None:
        found = _KNOWN[key.digest()] = compress(_blocks(X, Y, x_mean, y_mean, root))
        while len(_KNOWN) > KEPT:
            _KNOWN.popitem(last=False)
    return found


def _blocks(X: Any, Y: Array, x_mean: Array, y_mean: Array, root: Array) -> Iterator[tuple[Array, Array]]:
    for at in range(0, len(Y), BLOCK):
        part = slice(at, at + BLOCK)
        rows = X[part].toarray() if scipy.sparse.issparse(X) else X[part]
        yield (rows - x_mean) * root[part], (Y[part] - y_mean) * root[part]
