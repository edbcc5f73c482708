"""Checks of what the caller passed in: one line that names the argument, what came, what was wanted and the fix."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# entries that are looked at one by one sooner than summed
SMALL = 4096
# letters of a value that is shown as it is
LONG = 60
# of BLAS
MOST_ROWS = 2**31 - 1
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def dtype(name: str, value: Any) -> np.dtype[Any]:
    """float32 or float64, or a TypeError."""
    try:
        kind: np.dtype[Any] = np.dtype(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}, which is no dtype; use numpy.float64 or numpy.float32") from None
    kind = kind.newbyteorder("=")
    if kind not in DTYPES:
        raise TypeError(f"{name} is {kind}; linalign computes in float64 or float32")
    return kind


def name_of(kind: np.dtype[Any]) -> str:
    """`str(kind)` of float32 and float64, which NumPy takes ten microseconds to make."""
    return "float32" if kind.itemsize == 4 else "float64"


def plain(name: str, value: Any) -> Any:
    """`value` itself; of a tensor of PyTorch an array on the same memory. Raises: TypeError for a tensor that has none."""
    # asked without an import: what has no such attribute is no tensor
    if isinstance(value, np.ndarray) or not hasattr(value, "requires_grad"):
        return value
    if value.device.type != "cpu":
        raise TypeError(f"{name} is a tensor on {value.device}; linalign computes on the CPU: pass {name}.cpu()")
    if value.requires_grad:
        raise TypeError(f"{name} is a tensor that requires grad, and autograd does not follow linalign: pass {name}.detach()")
    try:
        return value.numpy()
    except (TypeError, RuntimeError):
        raise TypeError(
            f"{name} is a tensor of {value.dtype}, {value.layout}; a dense one of torch.float64 or float32 was wanted"
        ) from None


def real_array(name: str, value: Any, wanted: np.dtype[Any] | None = None) -> Array:
    """`value` as a native, C-contiguous float array; integers and booleans become `wanted` (float64 by default).

    The result may share memory with `value`, a tensor of PyTorch too, and is never written to.
    """
    if type(value) is np.ndarray and value.dtype in DTYPES and (wanted is None or wanted == value.dtype) and value.flags.c_contiguous:
        return value
    given = plain(name, value)
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise ValueError(f"{name} is masked in {np.count_nonzero(given.mask)} entries; drop such rows, or pass {name}.filled(value)")
    if hasattr(given, "__getitem__") and hasattr(given, "tensors"):  # a TensorDataset, without an import
        raise TypeError(f"{name} is {type(given).__name__}; X and Y were wanted: X, Y = dataset.tensors")
    if hasattr(given, "dataset") and hasattr(given, "batch_size"):
        fix = f"X, Y = loader.dataset.tensors, or stack its rows, and pass batch={given.batch_size}"
        raise TypeError(f"{name} is {type(given).__name__}; X and Y were wanted: {fix}")
    if hasattr(given, "toarray") and not isinstance(given, np.ndarray):
        raise TypeError(f"{name} is a sparse matrix; a dense one was wanted: pass {name}.toarray()")
    try:
        array = np.asarray(given)
    except ValueError:
        raise ValueError(f"{name} is ragged: its rows differ in length; pass a rectangular array") from None
    if array.dtype.kind in "biu":
        array = array.astype(wanted or np.float64)
    elif array.dtype.kind == "c":
        raise TypeError(f"{name} is {array.dtype}; linalign is real: pass {name}.real, or real and imaginary parts stacked")
    elif _is_text(array):
        fix = "number classes with numpy.unique(Y, return_inverse=True)[1]" if name == "Y" else "convert it with .astype(float)"
        raise TypeError(f"{name} holds text; numbers were wanted: {fix}")
    elif array.dtype.kind == "O" and array.ndim == 0:
        raise TypeError(f"{name} is {type(value).__name__}; an array of numbers was wanted")
    elif array.dtype.kind != "f":
        raise TypeError(f"{name} has dtype {array.dtype}; numbers were wanted: convert it with .astype(float)")
    native = array.dtype.newbyteorder("=")
    if native not in DTYPES:
        raise TypeError(f"{name} is {native}; linalign computes in float64 or float32: convert it with .astype(np.float64)")
    if wanted is not None and native != wanted:
        cast = f"astype(np.{wanted})" if given is value else f"to(torch.{wanted})"
        raise TypeError(
            f"{name} is {native} but the network is {wanted}; nothing is converted silently: pass {name}.{cast} or net.astype(np.{native})"
        )
    array = np.asarray(array, dtype=native)
    # ascontiguousarray would turn a scalar into a vector
    return array if array.ndim == 0 else np.ascontiguousarray(array)


def writable(name: str, array: Any, shape: tuple[int, ...], wanted: np.dtype[Any]) -> Array:
    """An array that the kernels can write to, or that on the memory of a tensor. Raises: ValueError, TypeError for any other."""
    own = plain(name, array)
    if not isinstance(own, np.ndarray) or own.shape != shape or own.dtype != wanted:
        what = f"shape {own.shape} and dtype {own.dtype}" if isinstance(own, np.ndarray) else type(own).__name__
        raise ValueError(f"{name} is {what}; an array of shape {shape} and dtype {wanted} was wanted")
    if not own.flags.c_contiguous or not own.flags.writeable:
        raise ValueError(f"{name} is read-only or not C-contiguous; pass np.empty({shape}, {str(wanted)!r})")
    return own


def _is_text(array: Array) -> bool:
    """Whether entries are words, which are no numbers either."""
    if array.dtype.kind not in "US" and not (array.dtype.kind == "O" and any(isinstance(entry, str) for entry in array.flat)):
        return False
    try:
        array.astype(float)
    except (TypeError, ValueError):
        return True
    return False


def is_vector(value: Any) -> bool:
    """Whether `value` has one dimension; a ragged one has not."""
    try:
        return np.ndim(value) == 1
    except ValueError:
        return False


def finite(name: str, array: Array) -> Array:
    """`array`, if it has neither nan nor inf."""
    # of few numbers the sum of squares says it at once, unless it overflows; no thread of BLAS starts for so few
    if array.size <= SMALL and (math.isfinite(np.vdot(array, array)) or np.isfinite(array).all()):
        return array
    # nan and inf show in the sum, which needs no array of its own; where it overflows, every entry is looked at
    # a sum and no product: BLAS would start its threads here, and they spin on into the loop (threads.py)
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduce(array, axis=None)
    if not math.isfinite(total) and not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        place = ", ".join(map(str, where))
        raise ValueError(f"{name}[{place}] is {array[where]}; every entry must be finite: drop or fill such rows")
    return array


def matrix(name: str, value: Any, wanted: np.dtype[Any] | None = None, *, rows: int | None = None, columns: int | None = None) -> Array:
    """A finite, non-empty matrix of the wanted dtype and shape."""
    array = real_array(name, value, wanted)
    if array.ndim != 2:
        fix = f"{len(array)}, -1" if array.ndim > 2 else "rows, columns"
        raise ValueError(f"{name} has {array.ndim} dimensions, shape {array.shape}; a matrix was wanted: use {name}.reshape({fix})")
    for axis, (have, want) in enumerate(zip(array.shape, (rows, columns), strict=True) if rows is not None or columns is not None else ()):
        if want is not None and have != want:
            line = f"{name} has shape {array.shape}; {want} {('rows', 'columns')[axis]} were wanted, not {have}"
            raise ValueError(line + turned(name, array.shape, rows, columns))
    if array.size == 0:
        raise ValueError(f"{name} is empty, shape {array.shape}; at least one row and one column are needed")
    if max(array.shape) > MOST_ROWS:
        raise ValueError(f"{name} has shape {array.shape}; BLAS takes at most 2147483647 rows or columns")
    return finite(name, array)


def turned(name: str, shape: tuple[int, ...], rows: int | None, columns: int | None) -> str:
    """What to say of a matrix that would fit on its side; nothing of one that would not."""
    fits = len(shape) == 2 and rows in (None, shape[1]) and columns in (None, shape[0])
    return "" if not fits else f": rows are samples, pass {name}.T" if rows is None else f": pass {name}.T"


def brief(value: Any) -> str:
    """A value in a few words: as it is written, or its type and shape."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape and (hasattr(value, "dtype") or hasattr(value, "iloc")):
        return f"{type(value).__name__} of shape {tuple(shape)}"
    written = repr(value)
    return written if len(written) <= LONG and "\n" not in written else f"{type(value).__name__}"


def integer(name: str, value: Any, *, least: int, most: int | None = None) -> int:
    """A whole number of at least `least`, and at most `most`."""
    # the abstract classes of numbers take a microsecond to ask
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, numbers.Integral)):
        raise TypeError(f"{name} is {brief(value)}; a whole number of at least {least} was wanted")
    if value < least:
        raise ValueError(f"{name} is {value}; a whole number of at least {least} was wanted")
    number = int(value)
    if most is not None and number > most:
        raise ValueError(f"{name} is {number}; a whole number of at most {most} was wanted")
    return number


def real(name: str, value: Any, *, above: float | None = None, least: float | None = None, below: float | None = None) -> float:
    """A finite real number in the stated range."""
    if type(value) is not float and (isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real)):
        raise TypeError(f"{name} is {brief(value)}; a number was wanted")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}; a finite number was wanted")
    if above is not None and number <= above:
        raise ValueError(f"{name} is {number}; it must be greater than {above:g}")
    if least is not None and number < least:
        raise ValueError(f"{name} is {number}; it must be at least {least:g}")
    if below is not None and number >= below:
        raise ValueError(f"{name} is {number}; it must be less than {below:g}")
    return number


def per_layer(name: str, value: Any, depth: int, *, above: float | None = None, least: float | None = None) -> Array:
    """One float64 a layer from a number or a sequence of `depth` numbers."""
    if (isinstance(value, Sequence) and not isinstance(value, str)) or (isinstance(value, np.ndarray) and value.ndim):
        values = list(value)
        if len(values) != depth:
            raise ValueError(f"{name} has {len(values)} entries but the network has {depth} layers; pass one number or one a layer")
        return np.array([real(f"{name}[{i}]", v, above=above, least=least) for i, v in enumerate(values)])
    return np.array([real(name, value, above=above, least=least)] * depth)


def choice(name: str, value: Any, known: Iterable[str], hint: str = "") -> str:
    """One of the known names. The message for any other ends in `hint`, or in the name that is spelt most like it."""
    names = list(known)
    if not isinstance(value, str) or value not in names:
        near = difflib.get_close_matches(value.lower(), names, n=1, cutoff=0.75) if isinstance(value, str) and not hint else []
        line = f"{name} is {brief(value)}; one of {', '.join(map(repr, names))} was wanted"
        raise ValueError(line + (f": did you mean {near[0]!r}?" if near else hint))
    return value


def generator(rng: Any) -> np.random.Generator:
    """A NumPy generator from a seed or a generator; None is refused, so that every result can be had again."""
    if rng is None:
        raise ValueError("rng is None; pass a seed such as rng=0 or a numpy.random.Generator, so that the result can be had again")
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, (bool, np.bool_)) or not isinstance(rng, (numbers.Integral, np.random.SeedSequence)):
        raise TypeError(f"rng is {rng!r}; a seed such as rng=0 or a numpy.random.Generator was wanted")
    if isinstance(rng, numbers.Integral) and rng < 0:
        raise ValueError(f"rng is {rng}; a seed is a whole number of at least 0")
    return np.random.default_rng(rng)  # type: ignore[arg-type]
