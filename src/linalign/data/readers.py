"""Files of data, read into arrays: .npz, .npy, .csv and IDX, each gzipped or not. Nothing is ever unpickled.

`read(path, target)` gives `(inputs, targets)` as they stand in the file; `data.load` makes a data set of them. Every bad file
is a ValueError of one line that names the file, the place in it, what came and what was wanted.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..files import Damaged, check_regular, damage, npy
from ..files.npz import PIECE, Npz, check_unpacked, short
from ..validate import Array
from .columns import columns, is_index, label

Pair = tuple[Array, Array]

GZIP = b"\x1f\x8b"

# names of the arrays in an .npz, lower or upper case
PAIRS = (("x", "y"), ("x_train", "y_train"), ("data", "target"), ("images", "labels"), ("train_images", "train_labels"))
IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read(path: Path, target: Any = None) -> Pair:
    """Inputs `(n, ...)` and targets `(n,)` or `(n, k)` of one file, or of the IDX pair in a directory.

    `target`: a column of a .csv or .npy by index, of a .csv by name too, or a list of them; the name of an array in an .npz;
    the file of the labels of an .npy or IDX file. By default the last column, the usual names, and the labels next to the images.
    Raises: FileNotFoundError, ValueError.
    """
    if path.is_dir():
        path = _images_in(path)
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    if suffix == ".npz":
        return _npz(path, target)
    content = content_of(path)
    if suffix == ".npy":
        return _npy(path, content, target)
    if suffix in (".csv", ".tsv"):
        return _csv(path, content, target)
    if content[:2] == b"\0\0" or "idx" in path.name or "ubyte" in path.name:
        return _idx_pair(path, content, target)
    wanted = ".npz, .npy, a table (.csv, ...) or MNIST-style IDX was wanted (gzipped or not), or the name 'digits'"
    raise ValueError(f"{path}: unknown kind of file; {wanted}")


def content_of(path: Path) -> bytes:
    """The bytes of a file, unzipped. Raises: FileNotFoundError, ValueError for what is empty or broken."""
    _check_there(path)
    with path.open("rb") as file:
        content = _unzipped(path, file) if file.peek(2)[:2] == GZIP else file.read()
    if not content:
        raise ValueError(f"{path}: the file is empty")
    return content


def _check_there(path: Path) -> None:
    try:
        found = check_regular(path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; pass the path of a file") from None
    if found is None:
        raise FileNotFoundError(f"{path}: no such file; pass a path to .npz, .npy, .csv or IDX, or the name 'digits'")


def _unzipped(path: Path, file: IO[bytes]) -> bytes:
    """What a gzip file holds, piece by piece, so that one that unpacks to far more than it is long is left early."""
    pieces, after = [], 0
    try:
        with damage(), gzip.GzipFile(fileobj=file) as unzip:
            while piece := unzip.read(PIECE):
                pieces.append(piece)
                after += len(piece)
                check_unpacked(after, file.tell())
    except Damaged as error:
        raise ValueError(f"{path}: broken gzip file ({error}); fetch it again") from None
    return b"".join(pieces)


def _check_numbers(path: Path, name: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "biuf":
        raise ValueError(f"{path}: {name} has dtype {dtype}; real numbers were wanted")


# ---- NumPy's own files -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Damage inside is that of the file. Raises: ValueError."""
    try:
        with damage():
            yield
    except Damaged as error:
        if "pickled objects" in str(error):
            raise ValueError(f"{path}: holds pickled objects, which are never loaded; save plain arrays of numbers") from None
        raise ValueError(f"{path}: broken or truncated NumPy file ({error})") from None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A file to seek in; of one that is gzipped its contents in memory."""
    _check_there(path)
    with path.open("rb") as file:
        begin = file.peek(2)[:2]
        if not begin:
            raise ValueError(f"{path}: the file is empty")
        yield io.BytesIO(_unzipped(path, file)) if begin == GZIP else file


def _npz(path: Path, target: Any) -> Pair:
    with _opened(path) as file:
        if file.read(2) != b"PK":
            raise ValueError(f"{path}: no .npz file, it does not begin as one; write it with numpy.savez(path, X=X, Y=Y)")
        with _damaged(path):
            archive = Npz(file)
        x, y = _pair(path, archive.names, target)
        with _damaged(path):
            kinds = {name: archive.header(name).dtype for name in (x, y)}
        _check_numbers(path, x, kinds[x])
        with _damaged(path):
            return archive.read(x), archive.read(y)


def _pair(path: Path, arrays: list[str], target: Any) -> tuple[str, str]:
    """The names of inputs and targets. Raises: ValueError."""
    names = {name.lower(): name for name in arrays}
    pairs = [(names[x], names[y]) for x, y in PAIRS if x in names and y in names]
    if target is not None:
        if target not in arrays:
            raise ValueError(f"{path}: target is {target!r} but the arrays are {_named(arrays)}")
        inputs = [names[x] for x, _ in PAIRS if x in names and names[x] != target] or [n for n in arrays if n != target][:1]
        pairs = [(x, target) for x in inputs]
    if not pairs:
        wanted = ", ".join(f"{x}/{y}" for x, y in PAIRS)
        raise ValueError(f"{path}: has the arrays {_named(arrays) or 'none'}; a pair {wanted} was wanted")
    return pairs[0]


def _named(arrays: list[str]) -> str:
    """Names out of a file, in a line that is no longer than one."""
    shown = [name if name.isprintable() and len(name) <= 40 else short(name) for name in arrays[:20]]
    return ", ".join(shown) + (f" and {len(arrays) - 20} more" if len(arrays) > 20 else "")


def _npy_array(path: Path, content: bytes) -> Array:
    if content[:6] != npy.MAGIC:
        raise ValueError(f"{path}: no .npy file, it does not begin as one; write it with numpy.save(path, array)")
    with _damaged(path):
        return npy.array(content)


def _npy(path: Path, content: bytes, target: Any) -> Pair:
    array = _npy_array(path, content)
    if isinstance(target, (str, Path)) and not is_index(target):
        labels = _beside(path, target)
        _check_numbers(path, "the array", array.dtype)
        return array, _npy_array(labels, content_of(labels))
    _check_numbers(path, "the array", array.dtype)
    if array.ndim != 2 or array.shape[1] < 2:
        raise ValueError(f"{path}: shape {array.shape} has no column of targets; pass target= the .npy file of the targets")
    return _split(path, array, columns(path, target, array.shape[1], None))


def _beside(path: Path, name: str | Path) -> Path:
    """The file of that name, from here or next to `path`."""
    return Path(name) if Path(name).exists() else path.parent / name


# ---- columns ---------------------------------------------------------------------------------------------------------------


def _split(path: Path, table: Array, targets: list[int]) -> Pair:
    Y = table[:, targets]
    return np.delete(table, targets, axis=1), Y[:, 0] if len(targets) == 1 else Y


# ---- text ------------------------------------------------------------------------------------------------------------------


def _csv(path: Path, content: bytes, target: Any) -> Pair:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: line {content[: error.start].count(10) + 1} is no UTF-8 text; save the table as UTF-8") from None
    if "\0" in text:
        raise ValueError(
            f"{path}: line {text[: text.index(chr(0))].count(chr(10)) + 1} holds a NUL character; save the table as UTF-8 text"
        )
    body_lines = lines(path, text)
    try:
        number, first = next(body_lines)
    except StopIteration:
        raise ValueError(f"{path}: no lines with data") from None
    count = len(first)
    if count < 2:
        raise ValueError(f"{path}: line {number} has one column; at least one of inputs and one of targets are needed")
    named = target is not None and not all(map(is_index, target if isinstance(target, (list, tuple)) else [target]))
    # a header has no number among the inputs; a text in the target column alone is a label
    header = [cell.strip() for cell in first] if named else None
    targets = columns(path, target, count, header)
    inputs = [j for j in range(count) if j not in set(targets)]
    if header is None and not any(_is_number(first[j]) for j in inputs):
        header = [cell.strip() for cell in first]
    rows, numbers, labels = [], [], []
    body = body_lines if header else chain([(number, first)], body_lines)
    for number, cells in body:
        if len(cells) != count:
            raise ValueError(f"{path}: line {number} has {len(cells)} cells but the first line has {count}")
        try:
            rows.append(np.array([float(cells[j]) for j in inputs]))
        except ValueError:
            j = next(j for j in inputs if not _is_number(cells[j]))
            came = f"{cells[j]!r}, no number" if cells[j].strip() else "empty"
            raise ValueError(f"{path}: line {number}, {label(j, header)} is {came}; fill or drop the line or the column") from None
        labels.append([cells[j].strip() for j in targets])
        numbers.append(number)
    if not rows:
        raise ValueError(f"{path}: no lines after the header")
    X = np.array(rows)
    _check_finite(path, X, numbers, inputs, header)
    for i, row in enumerate(labels):
        if "" in row:
            raise ValueError(f"{path}: line {numbers[i]}, {label(targets[row.index('')], header)}, the target, is empty; drop the line")
    Y = np.array(labels)
    try:
        Y = Y.astype(np.float64)
    except ValueError:
        if len(targets) > 1:
            i, j = next((i, j) for i, row in enumerate(labels) for j, cell in enumerate(row) if not _is_number(cell))
            place = f"line {numbers[i]}, {label(targets[j], header)}"
            raise ValueError(f"{path}: {place} is {labels[i][j]!r}, no number; several targets must be numbers") from None
    else:
        _check_finite(path, Y, numbers, targets, header)
    return X, Y[:, 0] if len(targets) == 1 else Y


def lines(path: Path, text: str, delimiter: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not blank, with their numbers. The delimiter is by default the commonest of , ; and tab in the first one."""
    start = next((line for line in text.splitlines()[:1000] if line.strip()), "") if len(text) < 10**6 else text[: text.find("\n")]
    delimiter = max(",;\t", key=start.count) if delimiter is None else delimiter
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num}: {error}") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _check_finite(path: Path, table: Array, numbers: list[int], places: list[int], header: Sequence[str] | None) -> None:
    if not np.isfinite(table).all():
        i, j = np.argwhere(~np.isfinite(table))[0]
        raise ValueError(f"{path}: line {numbers[i]}, {label(places[j], header)} is {table[i, j]}; fill or drop the line or the column")


# ---- IDX, the format of MNIST ----------------------------------------------------------------------------------------------


def _images_in(folder: Path) -> Path:
    """The images file of an IDX pair in a directory; the training images if there are several."""
    found = sorted(p for p in folder.iterdir() if "images" in p.name and ("idx" in p.name or "ubyte" in p.name) and p.is_file())
    train = [p for p in found if p.name.startswith("train")] or found
    unzipped = [p for p in train if p.suffix != ".gz"] or train
    if not found:
        raise ValueError(f"{folder}: no IDX images here; a file such as train-images-idx3-ubyte, gzipped or not, was wanted")
    if len(unzipped) > 1:
        raise ValueError(f"{folder}: several IDX images ({', '.join(p.name for p in unzipped)}); pass the path of one")
    return unzipped[0]


def _idx_pair(path: Path, content: bytes, target: Any) -> Pair:
    images = _idx(path, content)
    if images.ndim < 2:
        raise ValueError(
            f"{path}: has {images.ndim} dimension; images have at least 2: pass the images' file, its labels are found beside it"
        )
    if target is None:
        stem = path.name.replace("images", "labels").replace("idx3", "idx1")
        names = [stem, stem.removesuffix(".gz"), stem + ".gz"]
        found = [path.with_name(name) for name in names if name != path.name and path.with_name(name).is_file()]
        if not found:
            raise ValueError(f"{path}: no labels beside it; {stem} was wanted, or pass target= their file")
        target = found[0]
    elif not isinstance(target, (str, Path)):
        raise ValueError(f"{path}: target is {target!r}; for IDX images it is the path of the labels' file")
    where = _beside(path, target)
    labels = _idx(where, content_of(where))
    if labels.ndim != 1:
        raise ValueError(f"{where}: has {labels.ndim} dimensions; labels have one")
    return images, labels


def _idx(path: Path, content: bytes) -> Array:
    """An IDX array: 0, 0, type, number of dimensions, each size as a big-endian uint32, then the entries."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES or content[3] == 0:
        raise ValueError(f"{path}: no IDX file, it begins with {content[:4].hex(' ')}; 00 00, a type (08 for bytes) and a rank were wanted")
    rank = content[3]
    if rank > npy.MOST_DIMENSIONS:
        raise ValueError(f"{path}: no IDX file, or a broken one: it has {rank} dimensions; at most {npy.MOST_DIMENSIONS} were wanted")
    start = 4 + 4 * rank
    if len(content) < start:
        raise ValueError(f"{path}: truncated, {len(content)} bytes; its header alone has {start}")
    shape = struct.unpack(f">{rank}I", content[4:start])
    kind = np.dtype(IDX_TYPES[content[2]])
    size = start + kind.itemsize * int(np.prod(shape, dtype=object))
    if len(content) != size:
        what = "truncated" if len(content) < size else "too long"
        sizes = "x".join(map(str, shape))
        raise ValueError(f"{path}: {what}, {len(content)} bytes; {sizes} entries of {kind.itemsize} need {size}")
    return np.frombuffer(content, kind, offset=start).reshape(shape) if size > start else np.zeros(shape, dtype=kind)
