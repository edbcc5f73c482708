"""Convolutions: cross-correlations of images, as `torch.nn.functional.conv1d` and `conv2d` compute them."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field

from ..validate import integer
from .axis import Axis, check, pair
from .biased import Biasable
from .convolution import Convolution, settle


@dataclass(frozen=True)
class Conv1d(Convolution, Biasable):
    """`z[o, t] = sum_{c, a} theta[o, c, a] x[c, t * stride - left + a]`, as `torch.nn.functional.conv1d`.

    `padding`: "same" (zeros; `ceil(length / stride)` outputs, `left = (kernel_size - 1) // 2`), "valid" (none, `left = 0`), or
    "circular" (as "same", but the image goes on at its other end). `bias=True`: plus one number a channel of the outputs; what is
    made is `linalign.layers.Biased`.
    Shapes: rows `(in_channels, length)` raveled to `(out_channels, outputs)` raveled; `theta (out_channels, in_channels, kernel_size)`.
    Cost: `apply`, `adjoint` and `grad` take at most `s * in_channels * out_channels * kernel_size * outputs` on `s` rows.
    Raises: TypeError, ValueError if the kernel is larger than the image, or a tap never meets it. Source: docs/theory, T5.1, T9.1.
    """

    length: int
    kernel_size: int
    in_channels: int = 1
    out_channels: int = 1
    padding: str = "same"
    stride: int = 1

    bias: InitVar[bool] = field(default=False, kw_only=True)

    def __post_init__(self, bias: bool) -> None:
        whole = {name: integer(name, getattr(self, name), least=1) for name in ("length", "kernel_size", "stride")}
        settle(self, **whole)
        check(self.axes[1:])

    @property
    def axes(self) -> tuple[Axis, Axis]:
        return Axis(1, 1, 1, self.padding), Axis(self.length, self.kernel_size, self.stride, self.padding)

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (self.out_channels, self.in_channels, self.kernel_size)


@dataclass(frozen=True)
class Conv2d(Convolution, Biasable):
    """`z[o, t, u] = sum_{c, a, b} theta[o, c, a, b] x[c, t * stride - top + a, u * stride - left + b]`, as `conv2d` of torch.

    `image`: height and width, or one number for both; so too `kernel_size` and `stride`. `padding`, `bias`: as `Conv1d`.
    Shapes: rows `(in_channels, h, w)` raveled to `(out_channels, h_out, w_out)` raveled;
    `theta (out_channels, in_channels, kh, kw)`.
    Cost: `apply`, `adjoint` and `grad` take at most `s * in_channels * out_channels * kh * kw * h_out * w_out` on `s` rows.
    Raises: TypeError, ValueError if the kernel is larger than the image, or a tap never meets it. Source: docs/theory, T5.1, T9.1.
    """

    image: int | tuple[int, int]
    kernel_size: int | tuple[int, int]
    in_channels: int = 1
    out_channels: int = 1
    padding: str = "same"
    stride: int | tuple[int, int] = 1

    bias: InitVar[bool] = field(default=False, kw_only=True)

    def __post_init__(self, bias: bool) -> None:
        settle(self, **{name: pair(name, getattr(self, name), 2) for name in ("image", "kernel_size", "stride")})
        check(self.axes)

    @property
    def axes(self) -> tuple[Axis, Axis]:
        image, kernel, stride = (pair(name, getattr(self, name), 2) for name in ("image", "kernel_size", "stride"))
        return Axis(image[0], kernel[0], stride[0], self.padding), Axis(image[1], kernel[1], stride[1], self.padding)

    @property
    def param_shape(self) -> tuple[int, ...]:
        h, w = self.axes
        return (self.out_channels, self.in_channels, h.kernel, w.kernel)
