"""What the commands share: refusals, the options of the data and of the network, and how these are said."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

import linalign as la

from .. import data as datasets
from ..data import Dataset
from ..layers import words as layer_spec

HIDDEN = "32,16"
STARTS = ("gaussian", "xavier", "orthogonal", "identity", "zero", "aligned")

DATA = """\
data: "digits" (scikit-learn's 1797 handwritten digits of 8 x 8, bundled with it) or a file, gzipped or not:
  .npz   arrays X and Y (or x/y, x_train/y_train, data/target, images/labels)
  .npy   a matrix with the target in its last column, or --target FILE.npy
  .csv, .tsv, .txt, .dat, .parquet, .xlsx, .xls, .ods   a table, as pandas reads it: the target is the last column, or --target COLUMN;
         text becomes columns of 0 and 1, dates numbers; names of rows and constants are left out; what was done is said
  IDX    MNIST's format: the file of the images (its labels are found beside it), or their directory"""


class Stop(Exception):
    """A refusal: one line and an exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """What the library refuses, in one line, with status 2."""
    try:
        yield
    except OSError as error:
        place = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        raise Stop(place, 2) from None
    except (ValueError, TypeError, ImportError, ArithmeticError) as error:
        raise Stop(str(error), 2) from None
    except MemoryError as error:
        raise Stop(f"not enough memory ({error}); use fewer --steps, --limit or smaller widths", 1) from None


def whole(option: str, text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise Stop(f"{option} is {text!r}; a whole number was wanted", 2) from None


def numbers(option: str, text: str) -> float | list[float]:
    """A number, or a list of them."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise Stop(f"{option} is {text!r}; a number, or one a layer such as 0.1,0.1,0.01, was wanted", 2) from None
    return values if len(values) > 1 else values[0]


def add_data_options(command: argparse.ArgumentParser) -> None:
    """DATA and how to read it."""
    command.add_argument("data", metavar="DATA", help='"digits", or a path to a table, .npz, .npy or IDX (see below)')
    add = command.add_argument_group("data").add_argument
    add(
        "--target", metavar="T", help="column of a table (name, or index from 0) or .npy, array of an .npz, or file of labels [last column]"
    )
    add("--columns", metavar="C,C,...", help="columns of a table that are inputs, by name or index [all but the target]")
    add("--text", choices=datasets.TEXTS, default="onehot", help="columns of text in a table: 0 and 1 for each value, or ... [onehot]")
    add(
        "--missing", choices=datasets.MISSING, default="refuse", help="missing values in a table: refuse, drop rows, column's mean [refuse]"
    )
    add("--task", choices=datasets.TASKS, default="auto", help="what the targets are [auto: classes if text or few whole numbers]")
    add("--autoencode", action="store_true", help="the targets are the inputs: Y = X [no]")
    add("--normalise", choices=datasets.NORMALISATIONS, default="unit", help="X over its largest entry; or columns of mean 0, sd 1 [unit]")
    add("--centre", action="store_true", help="subtract the mean of each column of X [no]")
    add("--limit", type=int, metavar="N", help="use the first N samples [all]")


def add_network_options(command: argparse.ArgumentParser) -> None:
    """The widths and the start."""
    add = command.add_argument_group("network").add_argument
    add("--hidden", metavar="K,K,...", help=f"widths of the hidden layers; 'none' for a single layer [{HIDDEN}]")
    add("--widths", metavar="K,K,...", help="all widths, inputs and outputs too, instead of --hidden")
    add("--layers", metavar="L, L, ...", help="with a structure, instead of widths: 'conv 3x3, conv 3x3 valid, dense 10' (see below)")
    add("--image", metavar="HxW", help="the inputs are images of this size, for --layers [as the data say]")
    add("--init", default="gaussian", metavar="KIND", help=f"start: {', '.join(STARTS)}; or one a layer, K,K,... [gaussian]")
    add("--scale", type=float, metavar="S", help="size of the end-to-end matrix at the start; smaller: sharper stages, later "
        "[1e-5 up to three layers, else 1e-3]")  # fmt: skip
    add("--dtype", choices=("float64", "float32"), default="float64", help="[float64]")
    add("--rng", type=int, default=0, metavar="SEED", help="seed of the start, and of batches [0]")


def load(options: argparse.Namespace) -> Dataset:
    """The data that the options describe. Raises: as `data.load`."""
    return datasets.load(
        options.data, target=options.target, columns=None if options.columns is None else options.columns.split(","), text=options.text,
        missing=options.missing, autoencode=options.autoencode, task=options.task, normalise=options.normalise, centre=options.centre,
        limit=options.limit, dtype=options.dtype,
    )  # fmt: skip


def network(options: argparse.Namespace, data: Dataset) -> la.Network:
    """The layers that the options describe, without parameters."""
    k_0, k_d = data.X.shape[1], data.Y.shape[1]
    given = [name for name in ("hidden", "widths", "layers") if getattr(options, name) is not None]
    if len(given) > 1:
        raise Stop(f"--{given[0]} and --{given[1]} both set the {'widths' if options.layers is None else 'layers'}; pass one of them", 2)
    if options.layers is not None:
        return la.Network(layer_spec.parse(options.layers, image(options, data), k_d))
    if options.image is not None:
        raise Stop("--image says what convolutions see and has no meaning without --layers; leave it out", 2)
    if options.widths is not None:
        widths = [whole("--widths", k) for k in options.widths.split(",")]
        if widths[0] != k_0 or widths[-1] != k_d:
            raise Stop(f"--widths is {options.widths} but the data have {k_0} inputs and {k_d} outputs; it must begin and end so", 2)
    else:
        hidden = HIDDEN if options.hidden is None else options.hidden
        widths = [k_0, *([] if hidden in ("none", "") else [whole("--hidden", k) for k in hidden.split(",")]), k_d]
    return la.Network.dense(widths)


def image(options: argparse.Namespace, data: Dataset) -> tuple[int, ...]:
    """The shape of a sample, as convolutions see it."""
    if options.image is None:
        return data.shape if len(data.shape) <= 3 else (data.X.shape[1],)
    match = re.fullmatch(r"(?:(\d+)x)?(\d+)x(\d+)", options.image)
    if match is None:
        raise Stop(f"--image is {options.image!r}; a height and a width such as 28x28, or 3x32x32 with channels, were wanted", 2)
    shape = tuple(int(part) for part in match.groups() if part is not None)
    if int(np.prod(shape)) != data.X.shape[1]:
        raise Stop(f"--image is {options.image}, {int(np.prod(shape))} pixels, but the data have {data.X.shape[1]} inputs", 2)
    return shape


def described(net: la.Network) -> str:
    """The network in a few words: its widths, or its layers if one of them has a structure."""
    if net.is_dense:
        return "-".join(map(str, net.widths))
    return f"{net.widths[0]} inputs, {layer_spec.spell(net.layers)}"


def start(options: argparse.Namespace, data: Dataset) -> la.Network:
    """The network that the options describe. `--scale` is end to end: a kind whose scale is a layer's gets its d-th root."""
    net = network(options, data)
    kinds = options.init.split(",")
    if unknown := [kind for kind in kinds if kind not in STARTS]:
        raise Stop(f"--init is {unknown[0]!r}; one of {', '.join(STARTS)} was wanted (the others take a matrix: use Network.init)", 2)
    if options.scale is not None and not {"gaussian", "orthogonal", "identity", "aligned"} & set(kinds):
        raise Stop(f"--scale has no meaning for --init {options.init}; leave it out", 2)
    scale = options.scale if options.scale is not None else 1e-5 if net.depth <= 3 else 1e-3
    if not 0 < scale < np.inf:
        raise Stop(f"--scale is {scale}; a number above 0 was wanted", 2)
    root = scale ** (1 / net.depth)
    own = {"gaussian": scale, "orthogonal": root, "identity": root}
    if kinds == ["aligned"]:
        return net.init("aligned", X=data.X, Y=data.Y, singular_values=root, rng=options.rng, dtype=options.dtype)
    each: dict[str, Any] = {}
    if len(kinds) > 1 and any(kind in own for kind in kinds):
        each = {"scale": [own.get(kind) for kind in kinds]}
    elif kinds[0] in own:
        each = {"scale": own[kinds[0]]}
    return net.init(kinds if len(kinds) > 1 else kinds[0], rng=options.rng, dtype=options.dtype, **each)


def describe(data: Dataset) -> str:
    """The data in one line."""
    kind = f"{len(data.classes)} classes" if data.classes else f"{data.Y.shape[1]} targets"
    lines = [f"{data.name}: {len(data.X):,} samples of {'x'.join(map(str, data.shape))}, {kind}", *data.notes]
    return "\n           ".join(lines)
