"""NumPy's file of several arrays: a zip that is asked for one member at a time, each looked at before it is read.

Members that nobody asks for are not read. No name in the file is ever a path.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from math import prod
from types import TracebackType
from typing import IO, Any

import numpy as np

from . import npy
from .damage import Damaged, damage
from .npy import Array

# what is unpacked may be so many times as long as it was, or this long whatever it was
RATIO = 200
FREE = 2**26
# DEFLATE makes of one byte at most so many, and a few hundred of an empty stream
DEFLATED = 1032
# bytes that are unpacked at a time
PIECE = 2**20


class Npz:
    """The arrays of a file, by name: `with Npz(file) as found: found.header(name), found.read(name)`.

    The zip's own checksum of a member is compared as it is read. Raises: Damaged, naming the member; KeyError for one that is not there.
    """

    def __init__(self, file: IO[bytes]) -> None:
        with damage():
            self._size = file.seek(0, 2)
            file.seek(0)
            self._zip = zipfile.ZipFile(file)
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            name = info.filename.removesuffix(".npy")
            if name in self._members:
                raise Damaged(f"{short(name)} is there twice")
            self._members[name] = info

    def __enter__(self) -> Npz:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._zip.close()

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    @property
    def names(self) -> list[str]:
        """Of all members, as they stand in the file."""
        return list(self._members)

    def header(self, name: str) -> npy.Header:
        """What an array is, without its entries."""
        with self._open(name) as member:
            return self._header(name, member)[0]

    def read(self, name: str) -> Array:
        """An array of its own."""
        with self._open(name) as member:
            header, begin = self._header(name, member)
            entries = np.empty(prod(header.shape), dtype=header.dtype)
            content: Any = entries.view(np.uint8).data if entries.nbytes else memoryview(bytearray())
            at = len(begin) - header.start
            content[:at] = begin[header.start :]
            try:
                with damage():
                    # to the end and beyond: there the checksum is compared
                    while count := member.readinto(content[at : at + PIECE]):  # type: ignore[attr-defined]
                        at += count
                    if at < entries.nbytes or member.read(1):
                        raise Damaged("it is cut off")
                    return entries.reshape(header.shape, order="F" if header.fortran else "C")
            except Damaged as error:
                raise Damaged(f"{short(name)}: {error}") from None

    def _open(self, name: str) -> IO[bytes]:
        if name not in self._members:
            raise KeyError(name)
        info = self._members[name]
        try:
            check_packed(info, self._size)
            with damage():
                return self._zip.open(info)
        except Damaged as error:
            raise Damaged(f"{short(name)}: {error}") from None

    def _header(self, name: str, member: IO[bytes]) -> tuple[npy.Header, bytes]:
        """And the bytes that were read for it."""
        info = self._members[name]
        try:
            with damage():
                begin = member.read(12)
                if begin[:6] == npy.MAGIC and len(begin) == 12:
                    more = int.from_bytes(begin[8:10] if begin[6] == 1 else begin[8:12], "little")
                    begin += member.read(min(more, npy.LONGEST))
                header = npy.header(begin)
                if header.size != info.file_size:
                    raise Damaged(f"{info.file_size} bytes for an array {header.shape} of {header.dtype}, which has {header.size}")
                # of a header before no entries the end was not seen
                return header, begin[: header.size]
        except Damaged as error:
            raise Damaged(f"{short(name)}: {error}") from None


def check_packed(info: zipfile.ZipInfo, size: int) -> None:
    """Whether a member of a zip of so many bytes can be what it says. Raises: Damaged."""
    if info.flag_bits & 1:
        raise Damaged("it is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Damaged(f"it is packed by method {info.compress_type}; numpy.savez and savez_compressed write 0 and 8")
    most = info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else DEFLATED) + 1024
    if info.compress_size > size or info.file_size > most:
        raise Damaged(f"{info.compress_size} bytes of {size} cannot hold {info.file_size}")
    check_unpacked(info.file_size, info.compress_size)


def check_zip(content: bytes) -> None:
    """Whether what a zip holds, all together, may be unpacked. Raises: Damaged."""
    with damage(), zipfile.ZipFile(io.BytesIO(content)) as file:
        members = file.infolist()
    for info in members:
        check_packed(info, len(content))
    check_unpacked(sum(info.file_size for info in members), len(content))


def check_unpacked(after: int, before: int) -> None:
    """Whether so many bytes may come of so few. Raises: Damaged."""
    if after > FREE and after > RATIO * before:
        raise Damaged(f"{before:,} bytes unpack to {after:,} or more, over {RATIO} times as many; unpack it yourself if you trust it")


def short(name: Any) -> str:
    """A name from a file, for a message of one line."""
    shown = repr(name)
    return shown if len(shown) <= 80 else f"{shown[:60]}... ({len(shown)} characters)"
