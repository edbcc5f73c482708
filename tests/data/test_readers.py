"""Data sets: every source gives the right numbers, every bad file one clear line."""

from __future__ import annotations

import builtins
import gzip
import os
import pickle
import re
import struct
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from linalign import data
from linalign.data import readers, tables
from linalign.files.npz import FREE
from tests.required import oracle

X = np.array([[0.0, 4.0], [2.0, -8.0], [1.0, 6.0], [3.0, 5.0]])
LABELS = np.array([3, 7, 7, 3])
ONE_HOT = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])


def idx(array, code=8):
    kind = {8: ">u1", 12: ">i4", 13: ">f4"}[code]
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(kind).tobytes()


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def says(message, *args, **options):
    """The one line that loading raises contains the message."""
    with pytest.raises((ValueError, TypeError, OSError)) as error:
        data.load(*args, **options)
    text = str(error.value)
    assert message in text, text
    assert "\n" not in text
    return text


# ---- the digits ------------------------------------------------------------------------------------------------------------


def test_digits_are_scikit_learns():
    sklearn = pytest.importorskip("sklearn.datasets")
    raw = sklearn.load_digits()
    digits = data.load("digits")
    assert np.array_equal(digits.X, raw.data / 16)
    assert np.array_equal(digits.labels, raw.target)
    assert np.array_equal(digits.Y.argmax(axis=1), raw.target)
    assert np.array_equal(np.unique(digits.Y), [0, 1])
    assert (digits.Y.sum(axis=1) == 1).all()
    assert digits.classes == tuple("0123456789")
    assert digits.name == "digits"
    assert digits.shape == (8, 8)
    assert repr(digits) == "Dataset('digits', 1797 samples of 8x8, 10 classes, float64)"
    assert digits.X.flags.c_contiguous
    for array in (digits.X, digits.Y, digits.labels):
        assert not array.flags.writeable
    says("target is 3 but the digits have their own targets", "digits", target=3)


def test_digits_without_scikit_learn(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    original = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.split(".")[0] == "sklearn":
            raise ModuleNotFoundError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(
        ImportError, match=r"^the digits come with scikit-learn, which is not installed; pip install 'linalign\[datasets\]'$"
    ):
        data.load("digits")


# ---- scaling, limits, targets ----------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.npz"
    np.savez(path, X=X, Y=LABELS)
    return path


def test_scaling(table):
    assert np.array_equal(data.load(table).X, X / 8)
    assert np.array_equal(data.load(table, normalise="none").X, X)
    centred = data.load(table, normalise="none", centre=True).X
    assert np.array_equal(centred, X - [1.5, 1.75])  # exact: the means are dyadic
    assert np.array_equal(data.load(table, centre=True).X, centred / 9.75)
    standard = data.load(table, normalise="standard").X
    eps = np.finfo(float).eps
    assert np.abs(standard.mean(axis=0)).max() <= 8 * eps  # a sum of 4 numbers of size 2, divided by 4
    assert np.abs(standard.std(axis=0) - 1).max() <= 8 * eps
    single = data.load(table, dtype=np.float32)
    assert single.X.dtype == single.Y.dtype == np.float32
    assert np.array_equal(single.X, (X / 8).astype(np.float32))


def test_constant_and_zero_columns(tmp_path):
    values = np.column_stack([np.full(6, 0.1), np.zeros(6), np.arange(6.0)])
    np.savez(tmp_path / "c.npz", x=values, y=np.arange(6) % 2)
    standard = data.load(tmp_path / "c.npz", normalise="standard").X
    assert not standard[:, :2].any()  # 0.1 has no binary fraction: its mean is off by rounding, and must not be blown up
    assert standard[:, 2].std() == pytest.approx(1, abs=1e-15)
    np.savez(tmp_path / "z.npz", x=np.zeros((4, 2)), y=LABELS)
    assert not data.load(tmp_path / "z.npz").X.any()


def test_limit_keeps_all_classes(table):
    few = data.load(table, limit=1)
    assert few.X.shape == (1, 2)
    assert np.array_equal(few.Y, ONE_HOT[:1])
    assert few.classes == ("3", "7")
    assert np.array_equal(few.labels, [0])
    assert data.load(table, limit=99).X.shape == (4, 2)


def test_classification_or_regression(tmp_path):
    def loaded(targets, **options):
        np.savez(tmp_path / "t.npz", x=np.arange(float(len(targets)))[:, None], y=targets)
        return data.load(tmp_path / "t.npz", **options)

    assert loaded(LABELS).classes == ("3", "7")
    assert loaded(LABELS.astype(float)).classes == ("3", "7")
    assert loaded(LABELS[:, None]).classes == ("3", "7")
    assert loaded(np.array(["b", "a", "a", "b"])).classes == ("a", "b")
    assert np.array_equal(loaded(np.array([b"b", b"a"])).labels, [1, 0])
    assert loaded(np.array([True, False, True, True])).classes == ("0", "1")
    assert loaded(ONE_HOT).classes == ("0", "1")
    assert np.array_equal(loaded(ONE_HOT).labels, [0, 1, 1, 0])
    assert loaded(LABELS, task="regression").classes is None
    assert np.array_equal(loaded(LABELS, task="regression").Y, [[3], [7], [7], [3]])
    assert loaded(np.array([1, 2, 3, 4])).labels is None  # each value once: a quantity
    assert loaded(np.array([1, 2, 3, 4]), task="classification").classes == ("1", "2", "3", "4")
    assert loaded(np.array([0.5, 0.5, 1.0, 1.0])).labels is None
    assert loaded(np.array([0.5, 0.5, 1.0, 1.0]), task="classification").classes == ("0.5", "1.0")
    assert np.array_equal(loaded(X).Y, X)
    assert repr(loaded(X)) == "Dataset('t', 4 samples of 1, 2 targets, float64)"
    for targets, options, message in [
        (np.ones(4), {}, "all targets are 1.0; at least two classes are needed, or task='regression'"),
        (X, {"task": "classification"}, "the targets have shape (4, 2) and are not one-hot"),
        (np.arange(300), {"task": "classification"}, "300 classes for 300 samples; is this task='regression'?"),
        (np.array(["a", "b"]), {"task": "regression"}, "the targets are text of shape (2,); regression needs numbers"),
        (np.array([1.0, np.nan]), {}, "the target at [1] is not finite"),
        (np.array([1j, 2]), {}, "the targets have dtype complex128; numbers or text were wanted"),
    ]:
        np.savez(tmp_path / "t.npz", x=np.arange(float(len(targets)))[:, None], y=targets)
        says(message, tmp_path / "t.npz", **options)


# ---- .npz and .npy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("X", "Y"), ("x", "y"), ("X", "y"), ("x_train", "y_train"), ("data", "target"), ("images", "labels")])
def test_npz_names(tmp_path, names):
    np.savez_compressed(tmp_path / "a.npz", **{names[0]: X, names[1]: LABELS, "x_test": X[:1], "other": X})
    loaded = data.load(str(tmp_path / "a.npz"), normalise="none")
    assert np.array_equal(loaded.X, X)
    assert np.array_equal(loaded.Y, ONE_HOT)
    assert loaded.name == "a"


def test_npz_target_by_name(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=LABELS, z=X[:, 0] + 0.5)
    assert np.array_equal(data.load(tmp_path / "a.npz", target="z").Y[:, 0], X[:, 0] + 0.5)
    np.savez(tmp_path / "b.npz", foo=X, bar=LABELS)
    assert np.array_equal(data.load(tmp_path / "b.npz", target="bar").Y, ONE_HOT)
    says("has the arrays foo, bar; a pair x/y, x_train/y_train", tmp_path / "b.npz")
    says("target is 'baz' but the arrays are foo, bar", tmp_path / "b.npz", target="baz")


def test_images_are_flattened(tmp_path):
    images = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
    np.savez(tmp_path / "m.npz", x_train=images, y_train=LABELS)
    loaded = data.load(tmp_path / "m.npz")
    assert loaded.shape == (2, 3)
    assert np.array_equal(loaded.X, images.reshape(4, 6) / 23)


def test_npy(tmp_path):
    np.save(tmp_path / "t.npy", np.column_stack([X, LABELS]))
    assert np.array_equal(data.load(tmp_path / "t.npy", normalise="none").X, X)
    assert np.array_equal(data.load(tmp_path / "t.npy").Y, ONE_HOT)
    assert np.array_equal(data.load(tmp_path / "t.npy", target=0, task="regression").Y[:, 0], X[:, 0])
    assert np.array_equal(data.load(tmp_path / "t.npy", target=[0, 1]).Y, X)
    np.save(tmp_path / "x.npy", np.asfortranarray(X.astype(">f4")))
    np.save(tmp_path / "y.npy", LABELS)
    for target in ("y.npy", tmp_path / "y.npy", str(tmp_path / "y.npy")):
        loaded = data.load(tmp_path / "x.npy", target=target, normalise="none")
        assert np.array_equal(loaded.X, X)
        assert np.array_equal(loaded.Y, ONE_HOT)
        assert loaded.X.flags.c_contiguous
    write(tmp_path / "t.npy.gz", gzip.compress((tmp_path / "t.npy").read_bytes()))
    assert np.array_equal(data.load(tmp_path / "t.npy.gz").Y, ONE_HOT)
    says("target is column 5 but there are 3 columns, 0 to 2", tmp_path / "t.npy", target=5)
    says("shape (4,) has no column of targets; pass target=", tmp_path / "y.npy")


class Bomb:
    def __reduce__(self):
        return os.remove, ("/nonexistent-so-this-would-raise-FileNotFoundError",)


def test_nothing_is_unpickled(tmp_path):
    objects = np.array([Bomb(), 1], dtype=object)
    np.save(tmp_path / "o.npy", objects)
    np.savez(tmp_path / "o.npz", x=objects, y=LABELS)
    np.savez(tmp_path / "p.npz", x=X, y=objects)
    write(tmp_path / "q.npy", pickle.dumps(Bomb()))
    for name in ("o.npy", "o.npz", "p.npz"):
        says(f"{name}: holds pickled objects, which are never loaded", tmp_path / name)
    says("q.npy: no .npy file", tmp_path / "q.npy")


def test_bad_numpy_files(tmp_path):
    np.save(tmp_path / "a.npy", X)
    np.savez(tmp_path / "a.npz", x=X, y=LABELS)
    for name in ("a.npy", "a.npz"):
        content = (tmp_path / name).read_bytes()
        for keep in range(1, len(content)):  # wherever it was cut
            says("b." + name[2:] + ": ", write(tmp_path / ("b." + name[2:]), content[:keep]))
    says("broken or truncated NumPy file", write(tmp_path / "c.npy", (tmp_path / "a.npy").read_bytes()[:-1]))
    header = (tmp_path / "a.npy").read_bytes().replace(b"(4, 2)", b"(9999999999999, 2)")
    says("broken or truncated NumPy file", write(tmp_path / "d.npy", header))
    says("no .npz file, it does not begin as one", write(tmp_path / "e.npz", "X,Y"))
    says("the file is empty", write(tmp_path / "f.npz", ""))
    np.savez(tmp_path / "g.npz", x=X.astype(complex), y=LABELS)
    says("g.npz: x has dtype complex128; real numbers were wanted", tmp_path / "g.npz")
    np.savez(tmp_path / "h.npz", x=X.astype(str), y=LABELS)
    says("h.npz: x has dtype <U32; real numbers were wanted", tmp_path / "h.npz")
    np.savez(tmp_path / "i.npz", x=X, y=LABELS[:3])
    says("4 inputs but 3 targets; one a sample was wanted", tmp_path / "i.npz")
    np.savez(tmp_path / "j.npz", x=X[:0], y=LABELS[:0])
    says("the inputs have shape (0, 2); at least one sample and one column", tmp_path / "j.npz")
    np.savez(tmp_path / "k.npz", x=np.where(X == 6, np.inf, X), y=LABELS)
    says("k.npz: the inputs at [2, 1] are not finite", tmp_path / "k.npz")
    np.savez(tmp_path / "l.npz", x=X, y=np.float64(3))
    says("4 inputs but 1 targets", tmp_path / "l.npz")


def test_a_gzip_bomb_is_left_early(tmp_path):
    # a thousand times as long as the file: left once what came is much, and more than any table unpacks to
    for name in ("bomb.csv.gz", "bomb.npz"):
        path = write(tmp_path / name, gzip.compress(bytes(FREE + 2**21), 1))
        tracemalloc.start()
        text = says(f"{path}: broken gzip file (", path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert re.search(r"\(\d[\d,]* bytes unpack to 6[\d,]* or more, over 200 times as many; unpack it yourself if you trust it\)", text)
        assert peak < 2 * FREE
    squeezed = gzip.compress(np.random.default_rng(0).integers(0, 2, 50_000).astype("u1").tobytes())
    for cut in range(2, len(squeezed), 997):
        says("broken gzip file", write(tmp_path / "cut.npy.gz", squeezed[:cut]))


def test_headers_that_are_no_literals_and_zips_that_are_none(tmp_path):
    # numpy.load answers these with TokenError, SyntaxError, RecursionError, RuntimeError and NotImplementedError
    np.save(tmp_path / "a.npy", X)
    good = (tmp_path / "a.npy").read_bytes()
    for old, new in ((b"), }", b", (("), (b"'<f8'", b"'<f8 "), (b"(4, 2)", b"(((((("), (b"False", b"None ")):
        says("broken or truncated NumPy file", write(tmp_path / "b.npy", good.replace(old, new)))
    np.savez(tmp_path / "a.npz", x=X, y=LABELS)
    good = (tmp_path / "a.npz").read_bytes()
    for at, byte in ((6, 1), (8, 99), (4, 255)):
        broken = bytearray(good)
        for begin, more in ((b"PK\3\4", 0), (b"PK\1\2", 2)):
            found = broken.index(begin)
            broken[found + at + more] = byte
        says("broken or truncated NumPy file (", write(tmp_path / "b.npz", bytes(broken)))
    rng = np.random.default_rng(0)
    for name in ("a.npy", "a.npz"):
        good = (tmp_path / name).read_bytes()
        for _ in range(200):
            broken = bytearray(good)
            broken[rng.integers(len(good))] ^= 1 << rng.integers(8)
            text = f"{tmp_path}/c{name}: "
            try:
                data.load(write(tmp_path / f"c{name}", bytes(broken)))  # a bit of a number makes another number
            except ValueError as error:
                text = str(error)
            assert text.startswith(f"{tmp_path}/c{name}: ")
            assert "\n" not in text


def test_a_bomb_in_a_spreadsheet_is_left_packed(tmp_path):
    pytest.importorskip("pandas")
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("xl/workbook.xml", bytes(FREE + 1))
    says("bomb.xlsx: no .xlsx file, or a broken one (", path)
    says("over 200 times as many; unpack it yourself if you trust it)", path)


def test_arrays_are_not_copied_before_they_are_scaled(tmp_path):
    values = np.random.default_rng(0).standard_normal((2000, 500))
    np.savez(tmp_path / "a.npz", x=values, y=np.arange(2000.0))
    tracemalloc.start()
    x, _ = readers.read(tmp_path / "a.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(x, values)
    # one piece is unpacked at a time
    assert peak < values.nbytes + 4 * 2**20


# ---- .csv ------------------------------------------------------------------------------------------------------------------

PLAIN = "0,4,3\n2,-8,7\n1,6,7\n3,5,3\n"


@pytest.fixture(params=["plain", "pandas"])
def reader(request, monkeypatch):
    """Tables are read by pandas where it is installed, and those of numbers alone without it."""
    if request.param == "plain":
        monkeypatch.setattr(tables, "installed", lambda: False)
    else:
        pytest.importorskip("pandas")
    return request.param


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (PLAIN, {}),
        ("a,b,label\n" + PLAIN, {}),
        ("a,b,label\n" + PLAIN, {"target": "label"}),
        ("a,b,label\n" + PLAIN, {"target": 2}),
        ("a,b,label\n" + PLAIN, {"target": "-1"}),
        ("\ufeffa,b,label\r\n" + PLAIN.replace("\n", "\r\n"), {"target": "label"}),
        ("\n\n" + PLAIN.replace("\n", "\n\n"), {}),
        (PLAIN.replace(",", ";"), {}),
        (PLAIN.replace(",", "\t"), {}),
        ('"a, the first","b","label"\n' + PLAIN, {"target": "label"}),
        ("3,0,4\n7,2,-8\n7,1,6\n3,3,5", {"target": 0}),
        ("label,a,b\n3,0,4\n7,2,-8\n7,1,6\n3,3,5", {"target": "label"}),
        (PLAIN.replace("4", " 4.0e0 ").replace("-8", '"-8"'), {}),
    ],
)
def test_csv(reader, tmp_path, content, options):
    loaded = data.load(write(tmp_path / "t.csv", content), normalise="none", **options)
    assert np.array_equal(loaded.X, X)
    assert np.array_equal(loaded.Y, ONE_HOT)
    assert loaded.classes == ("3", "7")
    zipped = data.load(write(tmp_path / "t.csv.gz", gzip.compress(content.encode())), normalise="none", **options)
    assert np.array_equal(zipped.X, X)
    assert zipped.name == "t"


def test_csv_with_text_labels_and_several_targets(reader, tmp_path):
    text = data.load(write(tmp_path / "t.csv", "0,4,cat\n2,-8,dog\n1,6,dog\n3,5,cat\n"), normalise="none")
    assert text.classes == ("cat", "dog")
    assert np.array_equal(text.X, X)
    assert np.array_equal(text.Y, ONE_HOT)
    several = data.load(write(tmp_path / "s.csv", "a,b,c\n1,2,3\n4,5,6"), target=["a", "c"])
    assert np.array_equal(several.Y, [[1, 3], [4, 6]])
    assert data.load(write(tmp_path / "r.csv", "1,0.25\n2,0.5\n3,0.25\n4,0.5")).labels is None


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "t.csv: the file is empty"),
        ("\n \n", {}, "no lines with data"),
        ("a,b,c\n", {}, "no lines after the header"),
        ("1\n2\n", {}, "has one column; at least one of inputs and one of targets are needed"),
        ("1,2,3\n1,2\n", {}, "line 2 has 2 cells but the first line has 3"),
        ("a,b,c\n1,2,3\n\n1,2,3,4\n", {}, "line 4 has 4 cells but the first line has 3"),
        ("a,b,c\n1,x,3\n", {"text": "refuse"}, "line 2, column 1 (b) is 'x', no number; fill or drop the line or the column"),
        ("1,2,3\n1,x,3\n", {}, "line 2, column 1 is 'x', no number"),
        ("1,x,3\n1,2,3\n", {}, "line 1, column 1 is 'x', no number"),
        ("1,2,3\n1,,3\n", {}, "line 2, column 1 is empty; fill or drop"),
        ("1,2,3\n1,2,\n", {}, "line 2, column 2, the target, is empty; "),
        ("1,2,3\n1,nan,3\n", {}, "line 2, column 1 is "),
        ("1,2,3\n1,2,inf\n", {}, "line 2, column 2 is inf; fill or drop"),
        ("1,2,3\n1,1e999,3\n", {}, "line 2, column 1 is inf"),
        ("a,b,c\n1,2,3\n", {"target": "d"}, "target is 'd' but the columns are a, b, c"),
        ("a,a,c\n1,2,3\n", {"target": "a"}, "2 columns are named 'a'; pass target= the index of one"),
        ("1,2,3\n1,2,3\n", {"target": 3}, "target is column 3 but there are 3 columns, 0 to 2"),
        ("1,2,3\n", {"target": [0, 0]}, "target names a column twice: [0, 0]"),
        ("1,2,3\n", {"target": [0, 1, 2]}, "all 3 columns are targets; at least one of inputs is needed"),
        ("1,2,3\n1,b,4\n", {"target": [1, 2]}, "line 2, column 1 is 'b', no number; several targets must be numbers"),
        ("1,2,3\n1,2.5,3\n", {"target": 1.5}, "target is 1.5 but"),
        ('1,2\n"1,2\n', {}, "t.csv: line 2: unexpected end of data"),
        (b"1,2\n1,\0\n", {}, "line 2 holds a NUL character; save the table as UTF-8 text"),
    ],
)
def test_bad_csv(reader, tmp_path, content, options, message):
    says(message, write(tmp_path / "t.csv", content), **options)


# ---- IDX -------------------------------------------------------------------------------------------------------------------

IMAGES = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)


@pytest.mark.parametrize("zipped", ["", "images", "labels", "both"])
def test_idx(tmp_path, zipped):
    def put(name, array, gz):
        content = idx(array)
        return write(tmp_path / (name + ".gz" * gz), gzip.compress(content) if gz else content)

    images = put("train-images-idx3-ubyte", IMAGES, zipped in ("images", "both"))
    labels = put("train-labels-idx1-ubyte", LABELS, zipped in ("labels", "both"))
    put("t10k-images-idx3-ubyte", IMAGES[:1], False)
    for source, target in ((images, None), (tmp_path, None), (images, labels), (images, labels.name)):
        loaded = data.load(source, target=target)
        assert np.array_equal(loaded.X, IMAGES.reshape(4, 6) / 23)
        assert np.array_equal(loaded.Y, ONE_HOT)
        assert loaded.shape == (3, 2)


def test_idx_types(tmp_path):
    values = np.array([[1.5, -2.0], [0.25, 1e6]], dtype=np.float32)
    write(tmp_path / "a-images.idx3", idx(values, code=13))
    write(tmp_path / "a-labels.idx1", idx(np.array([0, 70000]), code=12))
    loaded = data.load(tmp_path / "a-images.idx3", normalise="none", task="classification")
    assert np.array_equal(loaded.X, values)
    assert loaded.classes == ("0", "70000")


def test_bad_idx(tmp_path):
    def images(content, labels=None):
        write(tmp_path / "a-labels-idx1-ubyte", labels or idx(LABELS))
        return write(tmp_path / "a-images-idx3-ubyte", content)

    good = idx(IMAGES)
    for keep in range(1, len(good)):  # wherever it was cut
        text = says("a-images-idx3-ubyte: ", images(good[:keep]))
        assert "truncated" in text or (keep < 4 and "no IDX file" in text)
    says("truncated, 39 bytes; 4x3x2 entries of 1 need 40", images(good[:-1]))
    says("truncated, 10 bytes; its header alone has 16", images(good[:10]))
    says("too long, 41 bytes; 4x3x2 entries of 1 need 40", images(good + b"x"))
    says("no IDX file, it begins with 00 00 07 03; 00 00, a type", images(b"\0\0\x07" + good[3:]))
    says("no IDX file, it begins with 89 50 4e 47", images(b"\x89PNG" + good[4:]))
    huge = good[:4] + struct.pack(">III", 2**32 - 1, 2**32 - 1, 2**32 - 1) + good[16:]
    says("4294967295x4294967295x4294967295 entries of 1 need 79228162458924105385300197391", images(huge))
    says("a-labels-idx1-ubyte: truncated", images(good, idx(LABELS)[:-1]))
    says("4 inputs but 3 targets", images(good, idx(LABELS[:3])))
    says("a-labels-idx1-ubyte: has 3 dimensions; labels have one", images(good, good))
    says("has 1 dimension; images have at least 2", images(idx(LABELS)))
    for rank in (33, 65, 255):  # numpy cannot reshape to these
        says(f"-images-idx3-ubyte: no IDX file, or a broken one: it has {rank} dimensions; at most 32 were wanted",
             images(bytes([0, 0, 8, rank]) + struct.pack(">I", 1) * rank + b"a"))  # fmt: skip
    says("the inputs have shape (0, 4294967295); at least", images(bytes([0, 0, 8, 2]) + struct.pack(">2I", 0, 2**32 - 1)))
    says("target is 3; for IDX images it is the path of the labels' file", images(good), target=3)
    says("nope: no such file", images(good), target="nope")
    (tmp_path / "a-labels-idx1-ubyte").unlink()
    says("no labels beside it; a-labels-idx1-ubyte was wanted, or pass target= their file", tmp_path / "a-images-idx3-ubyte")
    write(tmp_path / "b-images-idx3-ubyte", good)
    says("several IDX images (a-images-idx3-ubyte, b-images-idx3-ubyte); pass the path of one", tmp_path)
    (tmp_path / "empty").mkdir()
    says("no IDX images here; a file such as train-images-idx3-ubyte", tmp_path / "empty")


# ---- any file --------------------------------------------------------------------------------------------------------------


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing.csv: no such file; pass a path to .npz, .npy, .csv or IDX, or the name 'digits'"):
        data.load(tmp_path / "nothing.csv")
    says("unknown kind of file; .npz, .npy, a table (.csv, ...) or MNIST-style IDX was wanted", write(tmp_path / "a.json", "{}"))
    zipped = gzip.compress(PLAIN.encode() * 100)
    says("broken gzip file", write(tmp_path / "a.csv.gz", zipped[:-9]))
    says("broken gzip file", write(tmp_path / "b.csv.gz", zipped[:20] + b"\xff" * 30))
    says("source is list; 'digits' or a path was wanted", [[1, 2]])
    path = write(tmp_path / "b.csv", PLAIN)
    for given in (os.fsencode(path), os.fspath(path)):
        np.testing.assert_array_equal(data.load(given).X, data.load(path).X)
        np.testing.assert_array_equal(data.read(given).X, data.read(path).X)
    if os.geteuid():
        path = write(tmp_path / "secret.csv", PLAIN)
        path.chmod(0)
        says("secret.csv", path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "guess"}, "task is 'guess'; one of 'auto', 'classification', 'regression' was wanted"),
        ({"normalise": "l2"}, "normalise is 'l2'; one of 'unit', 'standard', 'none' was wanted"),
        ({"limit": 0}, "limit is 0; a whole number of at least 1 was wanted"),
        ({"dtype": np.float16}, "dtype is float16"),
        ({"upsample": 28}, "upsample is 28 but the samples of"),
    ],
)
def test_bad_options(table, options, message):
    says(message, table, **options)


# ---- sizes of images -------------------------------------------------------------------------------------------------------


def test_upsample_repeat_is_blocks():
    image = np.arange(1.0, 5.0).reshape(1, 4)
    got = data.upsample(image, 6, shape=(2, 2), method="repeat").reshape(6, 6)
    assert np.array_equal(got, np.kron(image.reshape(2, 2), np.ones((3, 3))))
    assert set(np.bincount(np.floor((np.arange(28) + 0.5) * 8 / 28).astype(int))) == {3, 4}  # 8 to 28: blocks of 3 and 4


@pytest.mark.parametrize("size", [28, 8, 5, (13, 4), 1])
@pytest.mark.parametrize("shape", [(8, 8), (3, 5), (1, 2)])
def test_upsample_bilinear_by_its_definition(shape, size):
    rng = np.random.default_rng(0)
    images = rng.random((3, *shape))
    H, W = size if isinstance(size, tuple) else (size, size)
    got = data.upsample(images.reshape(3, -1), size, shape=shape)
    assert got.shape == (3, H * W)

    def place(i, old, new):
        at = min(max((i + 0.5) * old / new - 0.5, 0), old - 1)
        low = min(int(at), max(old - 2, 0))
        return low, min(low + 1, old - 1), at - low

    want = np.empty((3, H, W))
    for i in range(H):
        a, b, s = place(i, shape[0], H)
        for j in range(W):
            c, d, t = place(j, shape[1], W)
            want[:, i, j] = (1 - s) * ((1 - t) * images[:, a, c] + t * images[:, a, d])
            want[:, i, j] += s * ((1 - t) * images[:, b, c] + t * images[:, b, d])
    # a mean of four numbers in [0, 1], its weights rounded at positions up to 8
    assert np.abs(got.reshape(3, H, W) - want).max() <= 32 * np.finfo(float).eps


def test_upsample_equals_torch():
    torch = oracle("torch")
    images = np.random.default_rng(1).random((2, 8, 8))
    want = torch.nn.functional.interpolate(torch.from_numpy(images)[:, None], size=(28, 28), mode="bilinear", align_corners=False)
    got = data.upsample(images.reshape(2, 64))
    assert np.abs(got.reshape(2, 28, 28) - want[:, 0].numpy()).max() <= 32 * np.finfo(float).eps


def test_upsample_in_load_and_dtypes():
    pytest.importorskip("sklearn")
    small, large = data.load("digits", limit=5, normalise="none"), data.load("digits", limit=5, upsample=28, normalise="none")
    assert large.shape == (28, 28)
    assert np.array_equal(large.X, data.upsample(small.X))
    assert data.upsample(small.X.astype(np.float32)).dtype == np.float32
    with pytest.raises(ValueError, match=r"X has shape \(5, 64\); 81 columns were wanted, not 64"):
        data.upsample(small.X, shape=(9, 9))
    with pytest.raises(ValueError, match="method is 'cubic'; one of 'bilinear', 'repeat' was wanted"):
        data.upsample(small.X, method="cubic")
    with pytest.raises(ValueError, match="size is 0; a whole number of at least 1"):
        data.upsample(small.X, 0)
    with pytest.raises(ValueError, match=r"size is \(1, 2, 3\); a whole number or a pair"):
        data.upsample(small.X, (1, 2, 3))
