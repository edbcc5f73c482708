"""Layers from words: `parse("conv 3x3, conv 3x3 valid 4 channels stride 2, dense 10", (8, 8))`, and the words of layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import validate
from . import (
    AntiCirculant,
    Biased,
    BlockDiagonal,
    Circulant,
    Conv1d,
    Conv2d,
    Dense,
    Diagonal,
    Hankel,
    Layer,
    Residual,
    Skew,
    Symmetric,
    Toeplitz,
)

GRAMMAR = """\
layers, from the inputs up, between commas:
  dense N                       every matrix with N outputs; the last layer may leave N out
  conv KxK [same | valid | circular] [N channels] [stride S]    on images (of the data, or --image HxW); same pads with zeros
  conv K ...                    the same on rows of numbers, along their length; on images K x K
  toeplitz N, hankel N          constant along diagonals, along antidiagonals
  circulant, anticirculant, symmetric, skew, diagonal     as many outputs as inputs
  blocks B [N]                  B equal blocks on the diagonal, to N outputs in all [as many as inputs]
  ... bias                      after any of these: and a number is added to each output, or channel
  residual ...                  before any with as many outputs as inputs: the identity is added"""

SQUARE: dict[str, Callable[[int], Layer]] = {
    "circulant": Circulant, "anticirculant": AntiCirculant, "symmetric": Symmetric, "skew": Skew, "diagonal": Diagonal,
}  # fmt: skip
RECTANGULAR: dict[str, Callable[[int, int], Layer]] = {"dense": Dense, "toeplitz": Toeplitz, "hankel": Hankel}
NAMES = (*RECTANGULAR, "conv", *SQUARE, "blocks")
SIZE = re.compile(r"(\d+)(?:x(\d+))?")


@dataclass
class _Place:
    """One item of the text, and what comes into it: `(channels, height, width)`, `(channels, length)` or `(n,)`."""

    number: int
    text: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        return int(np.prod(self.shape))

    def refuse(self, reason: str) -> ValueError:
        return ValueError(f"layer {self.number}, {self.text!r}: {reason}")


def parse(text: str, inputs: Sequence[int], outputs: int | None = None) -> list[Layer]:
    """The layers that the words describe.

    Parameters
    ----------
    text : as `GRAMMAR` has it
    inputs : the shape of one sample: `(n,)`, `(height, width)` or `(channels, height, width)`
    outputs : of the whole, for a last `dense` without a number, and checked where it is given

    Raises: ValueError naming the layer, what is wrong with it and what was wanted.
    """
    sizes = tuple(validate.integer(f"inputs[{i}]", k, least=1) for i, k in enumerate(inputs))
    if not 1 <= len(sizes) <= 3:
        raise ValueError(f"inputs is {sizes}; the shape of a sample was wanted: (n,), (height, width) or (channels, height, width)")
    shape = (1, *sizes) if len(sizes) == 2 else sizes
    items = [" ".join(item.lower().split()) for item in text.split(",")]
    found: list[Layer] = []
    for i, item in enumerate(items):
        place = _Place(i + 1, item, shape)
        words = item.split()
        if not words:
            raise place.refuse(f"there is nothing between two commas; one of {', '.join(NAMES)} was wanted")
        layer, shape = _layer(place, words, outputs if i == len(items) - 1 else None)
        found.append(layer)
    if outputs is not None and found[-1].shape[0] != outputs:
        last = _Place(len(items), items[-1], shape)
        raise last.refuse(f"has {found[-1].shape[0]} outputs but {outputs} were wanted; end with 'dense'")
    return found


def _layer(place: _Place, words: list[str], outputs: int | None) -> tuple[Layer, tuple[int, ...]]:
    """The layer and the shape of what it gives."""
    if words[0] == "residual" and len(words) > 1:
        layer, shape = _layer(place, words[1:], outputs)
        if layer.shape[0] != layer.shape[1]:
            raise place.refuse(f"has {layer.shape[1]} inputs and {layer.shape[0]} outputs; a residual layer needs as many of both")
        return Residual(layer), shape
    if words[-1] == "bias" and len(words) > 1:
        layer, shape = _layer(place, words[:-1], outputs)
        return Biased(layer), shape
    name, *rest = words
    if name not in NAMES:
        raise place.refuse(f"{name!r} is no structure; one of {', '.join(NAMES)} was wanted")
    try:
        if name == "conv":
            return _convolution(place, rest)
        if name in SQUARE:
            if rest:
                raise place.refuse(f"takes no {rest[0]!r}: it has as many outputs as inputs, {place.count}")
            # a diagonal layer scales each pixel, and images stay images
            return SQUARE[name](place.count), place.shape if name == "diagonal" else (place.count,)
        numbers = [_whole(place, word) for word in rest]
        if name == "blocks":
            return _blocks(place, numbers)
        if not numbers and outputs is not None:
            numbers = [outputs]
        if len(numbers) != 1:
            raise place.refuse(f"the number of outputs was wanted after {name!r}, such as '{name} 10'")
        return RECTANGULAR[name](place.count, numbers[0]), (numbers[0],)
    except TypeError as error:
        raise place.refuse(str(error)) from None


def _whole(place: _Place, word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise place.refuse(f"{word!r} is no whole number of at least 1")
    return int(word)


def _blocks(place: _Place, numbers: list[int]) -> tuple[Layer, tuple[int, ...]]:
    if len(numbers) not in (1, 2):
        raise place.refuse("the number of blocks was wanted, and the number of outputs may follow: 'blocks 4', 'blocks 4 32'")
    count, total = numbers[0], numbers[-1] if len(numbers) == 2 else place.count
    if place.count % count or total % count:
        raise place.refuse(f"{count} equal blocks do not divide {place.count} inputs and {total} outputs")
    return BlockDiagonal(((place.count // count, total // count),) * count), (total,)


def _convolution(place: _Place, words: list[str]) -> tuple[Layer, tuple[int, ...]]:
    if not words:
        raise place.refuse("the size of the kernel was wanted after 'conv', such as 'conv 3x3'")
    kernel = _size(place, words.pop(0))
    options: dict[str, Any] = {}
    while words:
        word = words.pop(0)
        if word in ("same", "valid", "circular"):
            key, value = "padding", word
        elif word in ("stride", "channels") and words:
            key, value = word, words.pop(0)
        elif word.isdecimal() and words and words[0] in ("channel", "channels"):
            key, value = "channels", word
            words.pop(0)
        else:
            raise place.refuse(f"cannot read {word!r}; same, valid or circular, 'N channels' and 'stride S' may follow the kernel")
        if key in options:
            raise place.refuse(f"has {key} twice")
        options[key] = value
    stride = _size(place, options.get("stride", "1"))
    channels = _whole(place, options.get("channels", "1"))
    shape = (1, *place.shape) if len(place.shape) == 1 else place.shape
    axes = len(shape) - 1
    if max(len(kernel), len(stride)) > axes:
        raise place.refuse(
            f"needs images but {place.count} numbers in a row come in; put convolutions before other layers, "
            "say what the images are (--image HxW), or pass one number for a kernel along the row"
        )
    try:
        if axes == 1:
            layer: Conv1d | Conv2d = Conv1d(shape[1], kernel[0], shape[0], channels, options.get("padding", "same"), stride[0])
            return layer, (channels, layer.shape[0] // channels)
        layer = Conv2d((shape[1], shape[2]), _both(kernel), shape[0], channels, options.get("padding", "same"), _both(stride))
        return layer, (channels, layer.axes[0].out, layer.axes[1].out)
    except ValueError as error:
        raise place.refuse(str(error)) from None


def _size(place: _Place, word: str) -> tuple[int, ...]:
    match = SIZE.fullmatch(word)
    numbers = tuple(int(part) for part in match.groups() if part is not None) if match else ()
    if not numbers or min(numbers) < 1:
        raise place.refuse(f"{word!r} is no size; a number such as 3 or two such as 3x3 were wanted")
    return numbers


def _both(size: tuple[int, ...]) -> tuple[int, int]:
    return (size[0], size[-1])


# ---- and back --------------------------------------------------------------------------------------------------------------


def spell(layers: Iterable[Layer]) -> str:
    """The words that `parse` turns into these layers; `repr` for those that have no words."""
    return ", ".join(_words(layer) for layer in layers)


def _words(layer: Layer) -> str:
    if isinstance(layer, Biased):
        return f"{_words(layer.layer)} bias"
    if isinstance(layer, Residual):
        return f"residual {_words(layer.layer)}"
    name = type(layer).__name__.lower()
    if name in RECTANGULAR:
        return f"{name} {layer.shape[0]}"
    if name in SQUARE:
        return name
    if isinstance(layer, (Conv1d, Conv2d)):
        return _conv_words(layer)
    if isinstance(layer, BlockDiagonal) and len({tuple(block) for block in layer.blocks}) == 1:
        return f"blocks {len(layer.blocks)} {layer.shape[0]}"
    return repr(layer)


def _conv_words(layer: Conv1d | Conv2d) -> str:
    axes = layer.axes if isinstance(layer, Conv2d) else layer.axes[1:]
    words = ["conv", "x".join(str(axis.kernel) for axis in axes)]
    if layer.padding != "same":
        words.append(layer.padding)
    if layer.out_channels > 1:
        words.append(f"{layer.out_channels} channels")
    if max(axis.stride for axis in axes) > 1:
        words.append("stride " + "x".join(str(axis.stride) for axis in axes))
    return " ".join(words)
