"""NumPy's file of one array: its header is read by a pattern, and its sizes are compared with the bytes there before memory is taken.

`numpy.load` evaluates the header as a Python literal, and answers damage with TokenError, SyntaxError, MemoryError or RecursionError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from .damage import Damaged, damage

Array = npt.NDArray[Any]

MAGIC = b"\x93NUMPY"
# bytes before the entries, at most; NumPy itself writes 128 unless there are hundreds of dimensions
LONGEST = 2**16
MOST_DIMENSIONS = 32
# "descr": "<f8", "fortran_order": False, "shape": (4, 2): in any order, as any writer spaces them; Python 2 wrote 4L
ENTRY = re.compile(
    r"""\s*(['"])(?P<key>descr|fortran_order|shape)\1\s*:\s*
        (?:(['"])(?P<descr>[^'"\\]{1,40})\3|(?P<order>True|False)|\((?P<shape>[\d\sL,]*)\))\s*(?:,|$)""",
    re.VERBOSE | re.ASCII,
)
KINDS = re.compile(r"[<>=|]?(?:[biufc]\d{1,2}|[SU]\d{1,9}|\?)", re.ASCII)
SIZES = re.compile(r"(?:\s*\d{1,19}L?\s*,)*(?:\s*\d{1,19}L?)?\s*", re.ASCII)


@dataclass(frozen=True)
class Header:
    """What the entries are, and where in the file they begin."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    start: int

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.start + self.dtype.itemsize * prod(self.shape)

    def array(self, content: Any) -> Array:
        """The array on the bytes of the whole file; no copy, but of one that another writer began at an odd place."""
        if self.size == self.start:
            return np.zeros(self.shape, dtype=self.dtype)
        entries = np.require(np.frombuffer(content, self.dtype, offset=self.start), requirements="A")
        return entries.reshape(self.shape, order="F" if self.fortran else "C")


def header(begin: bytes) -> Header:
    """The header of a file that begins with these bytes, `LONGEST` of them or all. Raises: Damaged."""
    if begin[:6] != MAGIC or len(begin) < 10:
        raise Damaged("no .npy array, it does not begin as one")
    wide = {1: 2, 2: 4, 3: 4}.get(begin[6])
    if wide is None:
        raise Damaged(f"version {begin[6]} of the .npy format; 1 to 3 are known")
    start = 8 + wide + int.from_bytes(begin[8 : 8 + wide], "little")
    if start > min(LONGEST, len(begin)):
        raise Damaged(f"a .npy header of {start} bytes; {min(LONGEST, len(begin))} are there or can be")
    with damage():
        text = begin[8 + wide : start].decode("utf-8" if begin[6] == 3 else "latin-1").strip()
        return Header(*_fields(text), start)


def array(content: bytes) -> Array:
    """The array of a whole file, read-only on its bytes. Raises: Damaged."""
    found = header(content[:LONGEST])
    if found.size != len(content):
        what = f"{'x'.join(map(str, found.shape)) or 'one'} of {found.dtype} need {found.size}"
        raise Damaged(f"{'truncated' if len(content) < found.size else 'too long'}, {len(content)} bytes; {what}")
    with damage():
        return found.array(content)


def _fields(text: str) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    if text[:1] != "{" or text[-1:] != "}":
        raise Damaged("a .npy header that is no dict")
    fields: dict[str, str] = {}
    inner, at = text[1:-1], 0
    while inner[at:].strip():
        found = ENTRY.match(inner, at)
        if found is None or found["key"] in fields:
            raise Damaged(_refused(inner))
        value = {"descr": found["descr"], "fortran_order": found["order"], "shape": found["shape"]}[found["key"]]
        if value is None:
            raise Damaged(_refused(inner))
        fields[found["key"]] = value
        at = found.end()
    if len(fields) < 3 or not SIZES.fullmatch(fields["shape"]):
        raise Damaged(_refused(inner))
    shape = tuple(int(size.strip(" \t\n\rL")) for size in fields["shape"].split(",") if size.strip())
    if len(shape) > MOST_DIMENSIONS:
        raise Damaged(f"an array of {len(shape)} dimensions; at most {MOST_DIMENSIONS} were wanted")
    if "O" in fields["descr"]:
        raise Damaged("pickled objects, which are never loaded; save plain arrays of numbers")
    if not KINDS.fullmatch(fields["descr"]):
        raise Damaged(f"entries of {fields['descr']!r}; plain numbers or text were wanted")
    return np.dtype(fields["descr"]), shape, fields["fortran_order"] == "True"


def _refused(text: str) -> str:
    if re.search(r"['\"]descr['\"]\s*:\s*\[", text):
        return "records of several fields; a plain array was wanted"
    return "a .npy header that cannot be read"
