"""Parquet: what the footer of a file promises, looked at before anything is unpacked."""

from __future__ import annotations

from typing import Any

from .damage import Damaged
from .npz import FREE, check_unpacked

# a run of equal cells is a few bytes however long it is: one byte of a file may stand for so many bytes of cells, or `FREE` in all
CELLS = 2000


def check_chunks(metadata: Any, groups: Any, columns: Any = None) -> None:
    """Whether these row groups may be unpacked, or these columns of them. Raises: Damaged.

    `metadata`: of pyarrow. Counted are the bytes of pages, and eight a cell.
    """
    packed = unpacked = cells = 0
    for i in groups:
        group = metadata.row_group(i)
        for j in range(group.num_columns):
            chunk = group.column(j)
            if columns is None or chunk.path_in_schema in columns:
                packed += max(chunk.total_compressed_size, 0)
                unpacked += max(chunk.total_uncompressed_size, 0)
                cells += 8 * max(chunk.num_values, group.num_rows)
    check_unpacked(unpacked, packed)
    if cells > FREE and cells > CELLS * packed:
        raise Damaged(f"{packed:,} bytes are {cells // 8:,} cells, over {CELLS} times as many bytes; read it yourself if you trust it")


def texts(metadata: Any) -> list[str]:
    """The columns of text: read as indices into the texts, as they stand in the file, one text met often takes its room once."""
    schema = metadata.schema
    found = [schema.column(j) for j in range(metadata.num_columns)]
    return [c.path for c in found if c.physical_type == "BYTE_ARRAY" and c.logical_type.type in ("STRING", "NONE")]
