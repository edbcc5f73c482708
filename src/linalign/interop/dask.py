"""dask: compress arrays that are larger than memory, block by block."""

from __future__ import annotations

from typing import Any

from ..problem.compressed import Compressed
from ..reduce.stream import compress, merge

# parts merged at a time
FAN = 8


def compress_dask(X: Any, Y: Any) -> Compressed:
    """Compress dask arrays by blocks of rows, merged in a tree; `linalign.compress` says what that means.

    Parameters
    ----------
    X, Y : dask arrays (n, k_0), (n, k_d), or Y (n,) for one output
        Split over rows as they are; blocks of columns are put together, and Y is split over rows as X.

    Raises: ImportError without dask; TypeError for anything but dask arrays; ValueError for unequal or unknown lengths, and as
    `linalign.compress`. Cost: `2 n (k_0 + k_d)^2` multiply-adds, on the scheduler that dask is set to; a worker holds a block.
    Source: docs/theory, T7.1.
    """
    try:
        import dask.array
        from dask.delayed import delayed
    except ImportError:
        raise ImportError("compress_dask needs dask; install it with: pip install 'dask[array]'") from None
    for name, array in (("X", X), ("Y", Y)):
        if not isinstance(array, dask.array.Array):
            raise TypeError(f"{name} is {type(array).__name__}; a dask array was wanted: use linalign.compress for arrays in memory")
    if X.ndim != 2 or Y.ndim not in (1, 2):
        raise ValueError(f"X has shape {X.shape} and Y {Y.shape}; (n, k_0) and (n, k_d) or (n,) were wanted")
    # unknown lengths are nan, which equals nothing
    if X.shape[0] != Y.shape[0]:
        raise ValueError(f"X has {X.shape[0]} rows and Y {Y.shape[0]}; equal, known lengths were wanted: use compute_chunk_sizes()")
    X = X.rechunk({1: -1})
    Y = Y.rechunk({0: X.chunks[0], **({1: -1} if Y.ndim == 2 else {})})
    rows = zip(X.to_delayed().ravel(), Y.to_delayed().ravel(), strict=True)
    parts = [delayed(_block)(x, y) for size, (x, y) in zip(X.chunks[0], rows, strict=True) if size]
    if not parts:
        raise ValueError(f"X is empty, shape {X.shape}; at least one row is needed")
    while len(parts) > 1:
        parts = [delayed(merge)(*parts[i : i + FAN]) for i in range(0, len(parts), FAN)]
    found: Compressed = parts[0].compute()
    return found


def _block(X: Any, Y: Any) -> Compressed:
    return compress([(X, Y)])
