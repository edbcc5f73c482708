"""Frames: tables in files as pandas reads them, csv of any dialect, parquet and spreadsheets."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..files.npz import check_zip
from ..files.parquet import check_chunks, texts
from . import dialect
from .readers import content_of, lines

BINARY = (".parquet", ".pq", ".xlsx", ".xls", ".ods")
SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".data", ".tab", *BINARY)
# beside what pandas takes for missing
EMPTY = ("?", ".", "-", "--", "*")


def read(
    path: Path, content: bytes, named: bool, targets: Callable[[int], Sequence[int]]
) -> tuple[Any, Sequence[str] | None, dialect.Dialect | None]:
    """A file as a frame with columns 0, 1, ..., the names if there are any, and how it was cut if it is a text.

    `named`: columns are asked for by name, so that there are names; `targets`: of so many columns, those of targets (`dialect.find`).
    Raises: ValueError in one line that names the file and the place; ImportError where the reader of a format is not installed.
    """
    import pandas as pd

    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    if suffix not in BINARY:
        return _text(path, content, named, targets)
    try:
        if content[:2] == b"PK":
            check_zip(content)
        frame = _parquet(content) if suffix in (".parquet", ".pq") else pd.read_excel(io.BytesIO(content))
    except ImportError as error:
        raise ImportError(f"{path}: {str(error).splitlines()[0]}") from None
    except Exception as error:  # of the many that readers raise
        raise ValueError(f"{path}: no {suffix} file, or a broken one ({(str(error) or type(error).__name__).splitlines()[0]})") from None
    if frame.index.name is not None or frame.index.dtype.kind not in "iu":
        frame = frame.reset_index()
    header = [str(name) for name in frame.columns]
    frame.columns = range(len(header))
    return frame, header, None


def _parquet(content: bytes) -> Any:
    import pandas as pd
    import pyarrow.parquet as pq

    found = pq.read_metadata(io.BytesIO(content))
    check_chunks(found, range(found.num_row_groups))
    words = texts(found)
    frame = pd.read_parquet(io.BytesIO(content), engine="pyarrow", read_dictionary=words)
    for name in words:
        if name in frame and isinstance(frame[name].dtype, pd.CategoricalDtype):
            frame[name] = frame[name].astype(object)
    return frame


def decoded(path: Path, content: bytes) -> str:
    """UTF-8, or UTF-16 with its mark, or Latin-1. Raises: ValueError for what is no text."""
    kind = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(kind)
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(f"{path}: line {line} holds a NUL character; save the table as UTF-8 text")
    return text


def _text(
    path: Path, content: bytes, named: bool, targets: Callable[[int], Sequence[int]]
) -> tuple[Any, Sequence[str] | None, dialect.Dialect]:
    import pandas as pd

    text = decoded(path, content)
    if not text.strip():
        raise ValueError(f"{path}: no lines with data")
    found = dialect.find(text, named, targets)
    how: dict[str, Any] = {"sep": r"\s+" if found.delimiter == " " else found.delimiter}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(text), header=None, names=range(found.count), index_col=False, skipinitialspace=True, decimal=found.decimal,
                na_values=list(EMPTY), skiprows=_before(text, found), low_memory=False, **how,
            )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError) as error:
        _ragged(path, text, found)
        raise ValueError(f"{path}: {str(error).splitlines()[0]}") from None
    if not len(frame):
        raise ValueError(f"{path}: no lines after the header")
    if frame[found.count - 1].isna().any():
        _ragged(path, text, found)
    return frame, found.header, found


def _before(text: str, found: dialect.Dialect) -> int:
    """How many lines stand before the first row."""
    wanted, seen = found.skipped + (found.header is not None), 0
    for i, line in enumerate(text.split("\n")):
        if seen == wanted:
            return i
        seen += bool(line.strip())
    return i + 1


def line_of(path: Path, found: dialect.Dialect, row: int) -> int:
    """The line of a row, as an editor counts."""
    text = decoded(path, content_of(path))
    at = row + found.skipped + (found.header is not None)
    separator = found.delimiter if found.delimiter != " " else "\t"
    return next((number for i, (number, _) in enumerate(lines(path, text, separator)) if i == at), at + 1)


def _ragged(path: Path, text: str, found: dialect.Dialect) -> None:
    """Raises: ValueError for the first line with another number of cells, or a quote that does not end."""
    if found.delimiter == " ":
        return
    count = found.count
    for seen, (number, cells) in enumerate(lines(path, text, found.delimiter)):
        header = seen == found.skipped and found.header is not None
        if seen >= found.skipped and not header and len(cells) != count:
            raise ValueError(f"{path}: line {number} has {len(cells)} cells but the first line has {count}")
