"""Data sets: real data from a name or a file, as the matrices that training takes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import validate
from ..calls import called
from ..files import Name, named
from ..validate import Array
from . import frames, readers, tables
from .tables import Table

TEXTS, MISSING = tables.TEXTS, tables.MISSING
NORMALISATIONS = ("unit", "standard", "none")
TASKS = ("auto", "classification", "regression")
MOST_CLASSES = 100


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and targets, rows are samples; the arrays are read-only.

    X : `(n, k_0)`
    Y : `(n, k_d)`; one-hot for classes, in the order of `classes`
    labels : `(n,)`, the index of each sample's class, or None for regression
    classes : the names of the classes, or None
    name : of the data set, for titles
    shape : of one sample before it was flattened, such as `(8, 8)`
    notes : what was done to a table to make it numbers, a line each
    scaling : `(shift, by)`, what was subtracted from the columns of the inputs, and what they were then divided by (inf: made 0)
    """

    X: Array
    Y: Array
    labels: Array | None
    classes: tuple[str, ...] | None
    name: str
    shape: tuple[int, ...]
    notes: tuple[str, ...] = ()
    scaling: tuple[Array, Array] | None = None

    def __repr__(self) -> str:
        kind = f"{len(self.classes)} classes" if self.classes else f"{self.Y.shape[1]} targets"
        return f"Dataset({self.name!r}, {self.X.shape[0]} samples of {'x'.join(map(str, self.shape))}, {kind}, {self.X.dtype})"


@called
def read(
    path: Name, *, target: Any = None, columns: Any = None, text: str = "onehot", missing: str = "refuse", targets: bool = True,
) -> Table:  # fmt: skip
    """A table as people have them, as numbers: csv of any dialect, parquet, Excel; .npz, .npy and IDX files as they are.

    path : to a .csv, .tsv, .txt or .dat (any of tab ; | , and spaces between cells, decimal points or commas, with or without a header,
        UTF-8, UTF-16 or Latin-1, gzipped or not), .parquet (needs pyarrow) or .xlsx, .xls, .ods (needs the reader that pandas names)
    target : a column by name or index, or a list of them; by default the last one that says something of its rows
    columns : the inputs, a list of names or indices; by default all others
    text : "onehot" makes a column of 0 and 1 of each value of a text, "drop" leaves such columns out, "refuse" refuses them
    missing : "refuse" refuses missing values, "drop" drops their rows, "mean" fills numbers with the mean of their column (a missing text
        is no class); rows without a target are dropped
    targets : False where there are none, and all columns are inputs

    Dates become days since 1970-01-01. Left out are names of rows (a text that differs in every row; a first column that counts them),
    columns that are the same in every row, and text with more values than `min(100, n / 2)`. `table.notes` says all that was done.

    Returns: Table, with `X (n, k)`, `Y`, names of inputs and targets. Needs pandas for tables: `pip install 'linalign[cli]'`; without it
    a .csv of numbers alone is read. Raises: FileNotFoundError; ValueError, TypeError, ImportError in one line that names file and place.
    """
    validate.choice("text", text, tables.TEXTS)
    validate.choice("missing", missing, tables.MISSING)
    return _read(Path(named(path)).expanduser(), tables.Options(target, columns, text, missing, targets))


def _read(path: Path, options: tables.Options) -> Table:
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    plain = suffix not in frames.SUFFIXES or path.is_dir()
    if not plain and (tables.installed() or suffix not in (".csv", ".tsv")):
        if not tables.installed():
            raise ImportError(f"{path}: such tables are read by pandas, which is not installed; pip install 'linalign[cli]'")
        return tables.read(path, readers.content_of(path), options)
    if options.columns is not None:
        need = "" if plain else ", and for it pandas: pip install 'linalign[cli]'"
        raise ValueError(f"{path}: columns is {options.columns!r}, which is for tables, such as a .csv{need}")
    X, Y = readers.read(path, options.target)
    return Table(X, Y if options.targets else None, (), (), ())


@called
def load(
    source: Name,
    *,
    target: Any = None,
    columns: Any = None,
    text: str = "onehot",
    missing: str = "refuse",
    autoencode: bool = False,
    task: str = "auto",
    normalise: str = "unit",
    centre: bool = False,
    limit: int | None = None,
    upsample: int | tuple[int, int] | None = None,
    dtype: Any = np.float64,
) -> Dataset:
    """A data set from a name or a file.

    source : "digits" (scikit-learn's 1797 handwritten digits of 8 x 8, bundled with it); or a path to an .npz (arrays X and Y, x
        and y, x_train and y_train, data and target, images and labels), .npy, a table (`read`: .csv and other text, .parquet, Excel) or
        MNIST-style IDX file of images (or their directory), gzipped or not
    target : where the targets are. A column of a table (name or index) or .npy (index), or a list of columns, by default the last;
        the name of an array in an .npz; the file of the labels for .npy and IDX, by default the labels beside the images
    columns, text, missing : of tables; see `read`
    autoencode : the targets are the inputs, Y = X; all columns of a table are inputs then
    task : "classification" makes one-hot rows of the values, "regression" takes them as numbers; "auto" is classification for text
        and for whole numbers of at most 100 different values, each met twice on average
    centre : subtract the mean of each column of X
    normalise : "unit" divides X by its largest absolute entry; "standard" makes each column mean 0 and standard deviation 1
        (constant columns 0); "none" leaves it
    limit : use the first `limit` samples
    upsample : images to this size, bilinearly, before anything else; see `upsample`

    Returns: Dataset. Nothing is unpickled. Raises: ValueError, TypeError, FileNotFoundError, and ImportError without scikit-learn
    for "digits", each in one line that names the file and the place.
    """
    kind = validate.dtype("dtype", dtype)
    validate.choice("task", task, TASKS)
    validate.choice("normalise", normalise, NORMALISATIONS)
    if limit is not None:
        validate.integer("limit", limit, least=1)
    if not isinstance(source, (str, bytes, os.PathLike)):
        raise TypeError(f"source is {type(source).__name__}; 'digits' or a path was wanted (arrays need no loading: pass them as X and Y)")
    validate.choice("text", text, tables.TEXTS)
    validate.choice("missing", missing, tables.MISSING)
    notes: tuple[str, ...] = ()
    targets: Array | None
    if source == "digits":
        if target is not None:
            raise ValueError(f"target is {target!r} but the digits have their own targets; leave it out")
        name, (inputs, targets) = "digits", _digits()
    else:
        source = named(source)
        path = Path(source).expanduser()
        name = path.name.split(".")[0] or path.resolve().name
        table = _read(path, tables.Options(target, columns, text, missing, not autoencode))
        inputs, targets, notes = table.X, table.Y, table.notes
    if inputs.ndim < 2 or inputs.size == 0:
        raise ValueError(f"{source}: the inputs have shape {inputs.shape}; at least one sample and one column were wanted")
    labels: Array | None = None
    classes: tuple[str, ...] | None = None
    Y = np.empty((len(inputs), 0))
    if not autoencode:
        assert targets is not None
        count = len(targets) if targets.ndim else 1
        if len(inputs) != count:
            raise ValueError(f"{source}: {len(inputs)} inputs but {count} targets; one a sample was wanted")
        labels, classes, Y = _targets(source, targets, task)
    images = inputs[:limit].astype(np.float64)
    if not np.isfinite(images).all():
        where = ", ".join(str(i) for i in np.argwhere(~np.isfinite(images))[0])
        raise ValueError(f"{source}: the inputs at [{where}] are not finite; fill or drop such samples")
    if upsample is not None:
        if images.ndim != 3:
            raise ValueError(f"upsample is {upsample!r} but the samples of {source} have shape {images.shape[1:]}; images were wanted")
        images = _resized(images, upsample, "bilinear")
    rows = images.reshape(len(images), -1)
    scaling = _scaling(rows, centre, normalise)
    X = np.ascontiguousarray(_scaled(rows, scaling), dtype=kind)
    labels = None if labels is None else labels[:limit]
    Y = X if autoencode else np.ascontiguousarray(Y[:limit], dtype=kind)
    for array in (X, Y, labels):
        if array is not None:
            array.flags.writeable = False
    return Dataset(X, Y, labels, classes, name, images.shape[1:], notes, scaling)


@called
def upsample(X: Any, size: int | tuple[int, int] = 28, *, shape: tuple[int, int] = (8, 8), method: str = "bilinear") -> Array:
    """Images in the rows of `X (n, h w)`, of `shape (h, w)`, at another size: `(n, H W)`.

    "bilinear" takes the samples at pixel centres and repeats the border (torch's `interpolate(align_corners=False)`); "repeat"
    takes the nearest pixel, so that every pixel becomes a block. Both are linear in the image: `A image B^T`.
    Raises: ValueError, TypeError if the columns of X are not the pixels of `shape`.
    """
    validate.choice("method", method, ("bilinear", "repeat"))
    h, w = (validate.integer(f"shape[{i}]", k, least=1) for i, k in enumerate(shape))
    rows = validate.matrix("X", X, columns=h * w)
    return _resized(rows.reshape(-1, h, w), size, method).reshape(len(rows), -1).astype(rows.dtype)


def _digits() -> readers.Pair:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError("the digits come with scikit-learn, which is not installed; pip install 'linalign[datasets]'") from None
    bunch = load_digits()
    return bunch.images, bunch.target


def _targets(source: Any, targets: Array, task: str) -> tuple[Array | None, tuple[str, ...] | None, Array]:
    """Labels, the names of the classes (both None for regression), and Y `(n, k_d)`."""
    text = targets.dtype.kind in "US"
    if not text and targets.dtype.kind not in "biuf":
        raise ValueError(f"{source}: the targets have dtype {targets.dtype}; numbers or text were wanted")
    if not text and not np.isfinite(targets).all():
        where = ", ".join(str(i) for i in np.argwhere(~np.isfinite(targets))[0])
        raise ValueError(f"{source}: the target at [{where}] is not finite; drop such samples")
    if targets.ndim == 0 or (targets.ndim == 2 and targets.shape[1] == 1):
        targets = targets.reshape(-1)
    if targets.ndim == 1:
        values, labels = np.unique(targets, return_inverse=True)
        whole = text or bool((values == np.round(values)).all())
        few = text or len(values) <= min(MOST_CLASSES, len(targets) // 2)
        if task == "classification" or (task == "auto" and whole and few):
            if len(values) < 2:
                raise ValueError(f"{source}: all targets are {values[0]}; at least two classes are needed, or task='regression'")
            if len(values) > len(targets) // 2 and len(values) > MOST_CLASSES:
                raise ValueError(f"{source}: {len(values)} classes for {len(targets)} samples; is this task='regression'?")
            names = tuple(str(int(v)) if not text and whole else str(v) for v in values)
            return labels.astype(np.int64), names, np.eye(len(values))[labels]
    if text:
        raise ValueError(f"{source}: the targets are text of shape {targets.shape}; regression needs numbers")
    if (targets.ndim != 2 and targets.ndim != 1) or targets.size == 0:
        raise ValueError(f"{source}: the targets have shape {targets.shape}; one or more numbers a sample were wanted")
    Y = targets.reshape(len(targets), -1).astype(np.float64)
    one_hot = Y.shape[1] > 1 and bool(np.isin(Y, (0, 1)).all() and (Y.sum(axis=1) == 1).all())
    if task == "classification" and not one_hot:
        raise ValueError(f"{source}: the targets have shape {targets.shape} and are not one-hot; one class a sample was wanted")
    if one_hot and task != "regression":
        return Y.argmax(axis=1), tuple(map(str, range(Y.shape[1]))), Y
    return None, None, Y


def _scaling(X: Array, centre: bool, normalise: str) -> tuple[Array, Array]:
    """What is subtracted from the columns, and what they are then divided by."""
    shift = X.mean(axis=0) if centre or normalise == "standard" else np.zeros(X.shape[1])
    by = np.ones(X.shape[1])
    if normalise == "standard":
        moved = X - shift
        by = moved.std(axis=0)
        # a constant column is its mean up to rounding
        live = by > len(X) * np.finfo(np.float64).eps * np.abs(moved).max(axis=0, initial=0)
        by = np.where(live, by, np.inf)
    elif normalise == "unit":
        top = np.abs(X - shift).max()
        by *= top if top > 0 else 1.0
    return shift, by


def _scaled(X: Array, scaling: tuple[Array, Array]) -> Array:
    shift, by = scaling
    return np.asarray(np.divide(X - shift, by, out=np.zeros_like(X), where=np.isfinite(by)))


def beside(
    data: Dataset, source: str | Path, *, target: Any = None, columns: Any = None, text: str = "onehot", missing: str = "refuse",
    autoencode: bool = False,
) -> Dataset:  # fmt: skip
    """Other samples of what `data` are samples of, such as those to validate with: scaled as they are, with their classes.

    Arguments as for `load`. Raises: as `load`; ValueError for other columns, or a class that `data` has not.
    """
    task = "auto" if autoencode else "regression" if data.labels is None else "classification"
    found = load(source, target=target, columns=columns, text=text, missing=missing, autoencode=autoencode, task=task, normalise="none")
    if found.X.shape[1] != data.X.shape[1]:
        raise ValueError(f"{source}: the inputs have {found.X.shape[1]} columns but those of {data.name} have {data.X.shape[1]}")
    assert data.scaling is not None
    dtype = data.X.dtype
    X = np.ascontiguousarray(_scaled(found.X, data.scaling), dtype=dtype)
    if autoencode:
        return Dataset(X, X, None, None, found.name, found.shape, found.notes, data.scaling)
    if data.classes is None or found.labels is None or found.classes is None:
        if found.Y.shape[1] != data.Y.shape[1]:
            raise ValueError(f"{source}: there are {found.Y.shape[1]} targets but {data.name} has {data.Y.shape[1]}")
        return Dataset(X, found.Y.astype(dtype), None, None, found.name, found.shape, found.notes, data.scaling)
    if unknown := [name for name in found.classes if name not in data.classes]:
        raise ValueError(f"{source}: the class {unknown[0]!r} is none of the {len(data.classes)} classes of {data.name}")
    labels = np.array([data.classes.index(name) for name in found.classes])[found.labels]
    Y = np.eye(len(data.classes), dtype=dtype)[labels]
    return Dataset(X, Y, labels, data.classes, found.name, found.shape, found.notes, data.scaling)


def _resized(images: Array, size: int | tuple[int, int], method: str) -> Array:
    """`A image B^T` for every image, `A (H, h)` and `B (W, w)` the weights of the old pixels in the new ones."""
    sizes = size if isinstance(size, (tuple, list)) else (size, size)
    if len(sizes) != 2:
        raise ValueError(f"size is {size!r}; a whole number or a pair (height, width) was wanted")
    A, B = (_weights(old, validate.integer("size", new, least=1), method) for old, new in zip(images.shape[1:], sizes, strict=True))
    return np.asarray(np.einsum("Hh,nhw,Ww->nHW", A, images, B, optimize=True))


def _weights(old: int, new: int, method: str) -> Array:
    centres = (np.arange(new) + 0.5) * old / new
    if method == "repeat":
        return np.asarray(np.eye(old)[np.floor(centres).astype(int)])
    at = np.clip(centres - 0.5, 0, old - 1)
    # the hat function of each old pixel at the new centres
    return np.asarray(np.clip(1 - np.abs(at[:, None] - np.arange(old)), 0, None))
