"""One axis of a convolution: where each tap meets the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..validate import Array, integer

PADDINGS = ("same", "valid", "circular")


@dataclass(frozen=True)
class Axis:
    """Output `o` meets input `o * stride - left + a` at tap `a`; outside the image there are zeros, or it wraps around.

    "valid": every output sees the image only, `(size - kernel) // stride + 1` outputs. "same", "circular": `ceil(size / stride)`
    outputs, `left = (kernel - 1) // 2`, as torch's "same". Source: docs/theory, table of T5.1.
    """

    size: int
    kernel: int
    stride: int
    padding: str

    @property
    def left(self) -> int:
        return 0 if self.padding == "valid" else (self.kernel - 1) // 2

    @property
    def out(self) -> int:
        """The number of outputs."""
        if self.padding == "valid":
            return (self.size - self.kernel) // self.stride + 1
        return -(-self.size // self.stride)

    @property
    def counts(self) -> Array:
        """How many outputs meet the image at each tap, `(kernel,)`."""
        if self.padding == "circular":
            return np.full(self.kernel, self.out)
        a = np.arange(self.kernel)
        first = np.maximum(0, -((a - self.left) // self.stride))
        last = np.minimum(self.out - 1, (self.size - 1 - a + self.left) // self.stride)
        return np.asarray(np.maximum(0, last - first + 1))

    def meets(self, tap: int) -> tuple[Array, Array]:
        """The outputs that meet the image at this tap, and the inputs that they meet; neither has an entry twice."""
        o = np.arange(self.out)
        i = o * self.stride - self.left + tap
        if self.padding == "circular":
            return o, i % self.size
        inside = (i >= 0) & (i < self.size)
        return o[inside], i[inside]


def pair(name: str, value: Any, axes: int) -> tuple[int, ...]:
    """One number for all axes, or one an axis. Raises: TypeError, ValueError."""
    if not isinstance(value, (tuple, list)):
        return (integer(name, value, least=1),) * axes
    if len(value) != axes:
        raise ValueError(f"{name} has {len(value)} entries; one number or {axes} were wanted")
    return tuple(integer(f"{name}[{i}]", entry, least=1) for i, entry in enumerate(value))


def check(axes: tuple[Axis, ...]) -> None:
    """Raises: ValueError if a kernel is larger than its axis or a tap never meets it."""
    for i, axis in enumerate(axes):
        where = f"axis {i} of the image" if len(axes) > 1 else "the image"
        if axis.kernel > axis.size:
            raise ValueError(
                f"kernel_size is {axis.kernel} but {where} has {axis.size} entries; the kernel must fit: "
                f"use at most {axis.size}, or a larger image"
            )
        if not axis.counts.all():
            raise ValueError(
                f"tap {int(np.argmin(axis.counts))} of the kernel never meets {where}: kernel_size {axis.kernel}, stride {axis.stride}, "
                f"{axis.size} entries; use a smaller stride or kernel, or padding='valid'"
            )
