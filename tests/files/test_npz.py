"""Arrays in files: whatever NumPy writes is read to the bit, and what is damaged or made to hurt is refused before memory is taken."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linalign.files import Damaged, npy
from linalign.files.npz import DEFLATED, FREE, RATIO, Npz, check_unpacked, short
from tests.examples import examples

DTYPES = ["<f8", ">f8", "<f4", ">f2", "|b1", "|i1", "<i8", ">u2", "<c16", "<U5", "|S3", "<f16"]


def written(array, version=None):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version, allow_pickle=False)
    return buffer.getvalue()


def of(dtype, shape, seed=0):
    count = int(np.prod(shape))
    raw = np.random.default_rng(seed).integers(0, 100, size=count)
    return raw.astype(dtype).reshape(shape)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (4, 5), (2, 3, 4)])
@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read_to_the_bit(dtype, shape, pack):
    for array in (of(dtype, shape), np.asfortranarray(of(dtype, shape))):
        for version in ((1, 0), (2, 0), (3, 0), None):
            assert same(npy.array(written(array, version)), array)
        buffer = io.BytesIO()
        pack(buffer, first=array, other=np.arange(3))
        with Npz(buffer) as found:
            assert found.names == ["first", "other"]
            assert "first" in found
            header = found.header("first")
            assert (header.dtype, header.shape) == (array.dtype, array.shape)
            read = found.read("first")
        assert same(read, array)
        assert read.flags.writeable
        assert read.flags.aligned
        assert read.flags.f_contiguous or read.flags.c_contiguous


def test_headers_as_other_writers_space_them():
    entries = np.arange(6.0).tobytes()
    for text in (
        '{"shape":(2,3),"fortran_order":False,"descr":"<f8"}',
        "{ 'descr' : '<f8' ,\n 'fortran_order' : False , 'shape' : ( 2L , 3L , ) , }",
        "{'fortran_order': False, 'shape': (6,), 'descr': '=f8'}  \n",
    ):
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + entries
        assert np.array_equal(npy.array(content).ravel(), np.arange(6.0))


def npy_with(text, entries=b"", version=1):
    raw = text if isinstance(text, bytes) else text.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(raw)) + raw + entries


HEADERS = {
    "no literal": ("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3", "no dict"),  # numpy: TokenError
    "syntax": ("{'descr': '<f8' 'fortran_order': False, 'shape': (2,)}", "cannot be read"),  # numpy: SyntaxError
    "code": ("{'descr': '<f8', 'fortran_order': False, 'shape': (__import__('os').getpid(),)}", "cannot be read"),
    "depth": ("{" + "(" * 900 + "}", "cannot be read"),  # numpy: RecursionError or MemoryError
    "list": ("[1, 2]", "no dict"),
    "a field less": ("{'descr': '<f8', 'fortran_order': False}", "cannot be read"),
    "a field twice": ("{'descr': '<f8', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "cannot be read"),
    "other field": ("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), 'x': (1,)}", "cannot be read"),
    "negative": ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -3)}", "cannot be read"),
    "order": ("{'descr': '<f8', 'fortran_order': 1, 'shape': (1,)}", "cannot be read"),
    "shape of text": ("{'descr': '<f8', 'fortran_order': False, 'shape': '(1,)'}", "cannot be read"),
    "empty size": ("{'descr': '<f8', 'fortran_order': False, 'shape': (1,,2)}", "cannot be read"),
    "objects": ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "pickled objects, which are never loaded"),
    "records": ("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}", "records of several fields"),
    "dates": ("{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (1,)}", "plain numbers or text were wanted"),
    "no dtype": ("{'descr': '<f3', 'fortran_order': False, 'shape': (1,)}", "."),
    "65 dimensions": ("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1, " * 65 + ")}", "65 dimensions"),
    "petabytes": ("{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999, 2)}", "truncated, .* bytes"),
    "beyond counting": ("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "9999999999999999999, " * 9 + ")}", "truncated"),
    "nothing of much": ("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 9999999999999999999)}", "."),
    "long text": ("{'descr': '<U999999999', 'fortran_order': False, 'shape': (9,)}", "."),
}


@pytest.mark.parametrize(("text", "message"), HEADERS.values(), ids=HEADERS)
def test_headers_that_are_none(text, message):
    tracemalloc.start()
    with pytest.raises(Damaged, match=message) as caught:
        npy.array(npy_with(text, b"\0" * 8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert peak < 2**20


def test_versions_and_lengths():
    good = written(np.arange(4.0))
    for version in (0, 4, 255):
        with pytest.raises(Damaged, match=f"version {version} of the .npy format"):
            npy.array(good[:6] + bytes([version]) + good[7:])
    with pytest.raises(Damaged, match=r"header of 4294967307 bytes"):
        npy.array(good[:6] + b"\x02\x00" + b"\xff" * 4 + good[12:])
    with pytest.raises(Damaged, match=r"^truncated, 159 bytes; 4 of float64 need 160"):
        npy.array(good[:-1])
    with pytest.raises(Damaged, match=r"^too long, 161 bytes"):
        npy.array(good + b"\0")


@examples(300)
@given(st.data())
def test_any_byte_of_an_npy_may_be_another(data):
    good = written(np.arange(12.0).reshape(3, 4))
    broken = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, 127))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Damaged):
        assert npy.array(bytes(broken)).nbytes <= 96


# ---- zips ------------------------------------------------------------------------------------------------------------------


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer


def refused(buffer, message, name="a"):
    with pytest.raises(Damaged, match=message) as caught, Npz(buffer) as file:
        file.read(name)
    assert "\n" not in str(caught.value)


def patched(buffer, local, central, value):
    """A field of the one member's two headers, each at its own offset."""
    raw = bytearray(buffer.getvalue())
    raw[local : local + len(value)] = value
    at = raw.index(b"PK\x01\x02") + central
    raw[at : at + len(value)] = value
    return io.BytesIO(bytes(raw))


def test_zips_that_are_none():
    with pytest.raises(Damaged):
        Npz(io.BytesIO(b"PK\x03\x04 and nothing"))
    good = zipped(a=written(np.arange(4.0)))
    refused(patched(good, 6, 8, b"\x01\x00"), "it is encrypted")  # zipfile: RuntimeError
    for method in (1, 9, 12, 14, 99):  # zipfile: NotImplementedError, OSError, LZMAError
        refused(
            patched(good, 8, 10, struct.pack("<H", method)), f"packed by method {method}; numpy.savez and savez_compressed write 0 and 8"
        )
    refused(patched(good, 4, 6, b"\xff\x00"), ".")  # zipfile: NotImplementedError
    refused(patched(good, 14, 16, b"\0\0\0\0"), "Bad CRC-32")
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as file:
        file.writestr("a.npy", written(np.zeros(1)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a.npy", written(np.ones(1)))
    with pytest.raises(Damaged, match="'a' is there twice"):
        Npz(twice)
    with Npz(good) as file, pytest.raises(KeyError):
        file.read("b")


def test_what_unpacks_to_far_more_is_left_packed():
    many = FREE // 8 + 1
    header = written(np.empty(0)).replace(b"(0,)", f"({many},)".encode()).replace(b" " * (len(str(many)) - 1) + b"\n", b"\n")
    bomb = zipped(a=header + b"\0" * (8 * many))
    tracemalloc.start()
    refused(bomb, rf"unpack to {8 * many + 128:,} or more, over {RATIO} times as many; unpack it yourself if you trust it")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    # a member that says that it is larger than any member can be
    small = zipped(a=written(np.arange(4.0)))
    packed = struct.unpack("<I", small.getvalue()[18:22])[0]
    refused(patched(small, 22, 24, struct.pack("<I", 2**31)), f"^'a': {packed} bytes of .* cannot hold 2147483648$")
    check_unpacked(FREE, 1)
    check_unpacked(RATIO * FREE, FREE)
    # no stream of zlib's unpacks to more than is taken for possible
    assert len(zlib.decompress(squeezed := zlib.compress(bytes(2**22), 9))) <= DEFLATED * len(squeezed)


def test_members_that_nobody_asks_for_are_not_read():
    file = zipped(a=written(np.arange(4.0)), b=npy_with("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"evil"), c=b"")
    with Npz(file) as found:
        assert np.array_equal(found.read("a"), np.arange(4.0))
        for name in ("b", "c"):
            with pytest.raises(Damaged, match=f"^'{name}': "):
                found.read(name)


def test_names_lead_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["../outside", "/etc/absolute", "C:\\windows", "a/b", "n" * 60_000]
    with Npz(zipped(**{name: written(np.ones(2)) for name in names})) as found:
        assert found.names == names
        for name in names:
            assert found.read(name).tolist() == [1.0, 1.0]
    assert list(tmp_path.iterdir()) == []
    assert not (tmp_path.parent / "outside.npy").exists()
    assert len(short(names[-1])) < 100


def test_a_header_that_says_other_sizes_than_the_zip():
    array = written(np.arange(4.0))
    refused(zipped(a=array[:-8]), r"152 bytes for an array \(4,\) of float64, which has 160")
    refused(zipped(a=array + b"\0"), "161 bytes for an array")
    refused(zipped(a=array[:20]), "header")
    refused(zipped(a=b"hello"), "does not begin as one")
    refused(zipped(a=b""), "does not begin as one")
