"""dask and parquet: compress data that are larger than memory, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..files import Damaged, named
from ..files.parquet import check_chunks
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
    return _merged(parts)


def compress_parquet(paths: Any, target: Any, *, columns: Any = None, parallel: bool = False) -> Compressed:
    """Compress the columns of parquet files by row groups, in one pass; `linalign.compress` says what that means.

    Parameters
    ----------
    paths : path, or list of paths
        Of parquet files with the same columns.
    target : str or list of str
        The columns that are Y.
    columns : list of str, optional
        Those that are X, by default all others, in their order in the first file.
    parallel : bool
        Whether row groups are compressed on the scheduler that dask is set to, a cluster for instance, whose workers must see the files;
        else one after the other, here, and without dask.

    Raises: ImportError without pyarrow; OSError for a file that cannot be read; ValueError for columns that there are not, that are no
    numbers or have missing values, and as `linalign.compress`.
    Cost: `2 n (k_0 + k_d)^2` multiply-adds; memory of one row group, on each worker. Source: docs/theory, T7.1.
    """
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise ImportError("compress_parquet needs pyarrow; install it with: pip install pyarrow") from None
    files = [named(path) for path in (paths if isinstance(paths, (list, tuple)) else [paths])]
    if not files:
        raise ValueError("paths is empty; at least one parquet file was wanted")
    groups, names, found = [], None, {}
    for file in files:
        with parquet.ParquetFile(file) as opened:
            own = opened.schema_arrow.names
            names = own if names is None else names
            found[file] = opened.metadata, opened.schema_arrow
            groups += [(file, i) for i in range(opened.metadata.num_row_groups) if opened.metadata.row_group(i).num_rows]
    assert names is not None
    outputs = [target] if isinstance(target, str) else list(target)
    inputs = [name for name in names if name not in outputs] if columns is None else list(columns)
    for what, asked in (("target", outputs), ("columns", inputs)):
        if unknown := [name for name in asked if name not in names]:
            raise ValueError(f"{what} names {unknown[0]!r} but the columns of {files[0]} are {', '.join(names)}")
        if not asked:
            raise ValueError(f"{what} is empty; at least one of {', '.join(names)} was wanted")
    if not groups:
        raise ValueError(f"{files[0]} has no rows; at least one was wanted")
    for file, (_, schema) in found.items():
        _check_kinds(file, schema, [*inputs, *outputs])
    for file, i in groups:
        try:
            check_chunks(found[file][0], [i], {*inputs, *outputs})
        except Damaged as error:
            raise ValueError(f"{file}: row group {i}: {error}") from None
    if not parallel:
        # read once: reading again would cost as much as all of the rest
        return compress(_row_group(file, i, inputs, outputs) for file, i in groups)
    return _merged([_delayed()(_compressed_group)(file, i, inputs, outputs) for file, i in groups])


def _check_kinds(file: str, schema: Any, names: list[str]) -> None:
    """Raises: ValueError for what is no number."""
    import pyarrow

    for name in names:
        kind = schema.field(name).type if name in schema.names else None
        if kind is None:
            raise ValueError(f"{file}: has no column {name!r} but {', '.join(schema.names)}; files with the same columns were wanted")
        if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_boolean(kind)):
            raise ValueError(f"{file}: column {name!r} is {kind}; numbers were wanted: leave it out of columns")


def _row_group(file: str, i: int, inputs: list[str], outputs: list[str]) -> tuple[Any, Any]:
    """X and Y of a row group, float64. Raises: ValueError for missing values."""
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(file) as opened:
        table = opened.read_row_group(i, columns=[*inputs, *outputs])
    found = []
    for names in (inputs, outputs):
        block = np.empty((table.num_rows, len(names)))
        for j, name in enumerate(names):
            column = table.column(name)
            if column.null_count:
                raise ValueError(f"{file}: column {name!r} has {column.null_count:,} missing values in row group {i}; fill or drop them")
            block[:, j] = column.to_numpy()
        found.append(block)
    return found[0], found[1]


def _compressed_group(file: str, i: int, inputs: list[str], outputs: list[str]) -> Compressed:
    return compress([_row_group(file, i, inputs, outputs)])


def _delayed() -> Any:
    try:
        from dask.delayed import delayed
    except ImportError:
        raise ImportError("parallel=True needs dask; install it with: pip install 'dask[array]'") from None
    return delayed


def _merged(parts: list[Any]) -> Compressed:
    """Compressed parts that are delayed, merged in a tree and computed."""
    together = _delayed()(merge)
    while len(parts) > 1:
        parts = [together(*parts[i : i + FAN]) for i in range(0, len(parts), FAN)]
    found: Compressed = parts[0].compute()
    return found


def _block(X: Any, Y: Any) -> Compressed:
    return compress([(X, Y)])
