"""Convolutions as modules of PyTorch, where the two agree on what is padded."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch.nn.utils import skip_init

from ...layers import Conv1d, Conv2d
from ...layers.axis import Axis

MODULES = {Conv1d: torch.nn.Conv1d, Conv2d: torch.nn.Conv2d}


def images(layer: Conv1d | Conv2d) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The images that go in and come out: channels, then height and width or length."""
    axes = layer.axes[1:] if isinstance(layer, Conv1d) else layer.axes
    return (layer.in_channels, *(axis.size for axis in axes)), (layer.out_channels, *(axis.out for axis in axes))


def padded(padding: str, axis: Axis) -> int | None:
    """How many entries torch has to add at either end for this padding; None where no number does it."""
    left = Axis(axis.size, axis.kernel, axis.stride, padding).left
    return left if (axis.size + 2 * left - axis.kernel) // axis.stride + 1 == axis.out else None


def to_module(layer: Conv1d | Conv2d, bias: bool, dtype: Any) -> Any | None:
    """The module, without weights; None where torch has none (an even kernel that moves by more than one, padded)."""
    axes = layer.axes[1:] if isinstance(layer, Conv1d) else layer.axes
    added = [padded(layer.padding, axis) for axis in axes]
    strides = tuple(axis.stride for axis in axes)
    padding: Any = tuple(added)
    if layer.padding == "valid" or set(strides) == {1}:
        padding = "valid" if layer.padding == "valid" else "same"
    elif None in added:
        return None
    make, mode = cast(Any, skip_init), "circular" if layer.padding == "circular" else "zeros"
    return make(
        MODULES[type(layer)], layer.in_channels, layer.out_channels, tuple(axis.kernel for axis in axes), stride=strides, padding=padding,
        padding_mode=mode, bias=bias, dtype=dtype,
    )  # fmt: skip


def from_module(place: str, module: Any, shape: tuple[int, ...]) -> Conv1d | Conv2d:
    """The layer of a Conv1d or Conv2d on images of a shape. Raises: ValueError, naming the place, where there is none."""
    kind: Any = Conv1d if isinstance(module, torch.nn.Conv1d) else Conv2d
    what = f"{place} is a {kind.__name__}"
    dimensions = 2 if kind is Conv1d else 3
    if len(shape) != dimensions or shape[0] != module.in_channels:
        wanted = ("channels", "length") if kind is Conv1d else ("channels", "height", "width")
        raise ValueError(
            f"{what} of {module.in_channels} channels but is given {shape}; ({', '.join(wanted)}) was wanted: use an Unflatten"
        )
    if module.groups != 1 or any(d != 1 and k != 1 for d, k in zip(module.dilation, module.kernel_size, strict=True)):
        raise ValueError(f"{what} with groups={module.groups}, dilation={module.dilation}; 1 was wanted of either")
    axes = list(zip(shape[1:], module.kernel_size, module.stride, strict=True))
    sizes = (shape[1], module.kernel_size[0]) if kind is Conv1d else (shape[1:], tuple(module.kernel_size))
    stride = module.stride[0] if kind is Conv1d else tuple(module.stride)
    for padding in _candidates(module):
        added = tuple(padded(padding, Axis(*axis, padding)) for axis in axes)
        if isinstance(module.padding, str) or module.padding == added:
            try:
                return cast("Conv1d | Conv2d", kind(*sizes, module.in_channels, module.out_channels, padding, stride))
            except ValueError as error:
                raise ValueError(f"{what}: {error}") from None
    raise ValueError(
        f"{what} with kernel_size={module.kernel_size}, stride={module.stride}, padding={module.padding!r}, "
        f"padding_mode={module.padding_mode!r} on images {shape}; padding 'valid' or 'same' was wanted, of zeros or circular"
    )


def _candidates(module: Any) -> tuple[str, ...]:
    """The paddings that a module may have; of a number of zeros, whichever gives as many outputs."""
    if module.padding == "valid":
        return ("valid",)
    if module.padding_mode == "zeros":
        return ("same",) if module.padding == "same" else ("same", "valid")
    if module.padding_mode == "circular":
        return ("circular",) if module.padding == "same" else ("circular", "valid")
    return () if module.padding == "same" else ("valid",)
