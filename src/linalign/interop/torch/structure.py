"""Structure: a layer of linalign as the parametrisation of a weight in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...layers import Layer
from ...layers.table import entries
from ...validate import Array


def tensor(array: Array) -> Any:
    """A copy as a tensor: what torch is given it may change in place, whether NumPy lets it or not."""
    return torch.from_numpy(np.array(array))


class Structure(torch.nn.Module):
    """`theta -> W(theta)` of a layer, for `torch.nn.utils.parametrize`: autograd's gradients in theta are those of linalign.

    `to_torch` gives it to layers that have no module of their own (Toeplitz, symmetric, masked, ...), and `from_torch` knows it again.
    A weight that is assigned is projected. Cost: one pass over the matrix. Source: docs/theory, T5.1.
    """

    def __init__(self, layer: Layer, dtype: np.dtype[Any]) -> None:
        super().__init__()
        self.layer = layer
        linear, form, offset = layer.linear, layer.linear.form, layer.offset
        basis = index = sign = None
        if form.kind == "fixed":
            offset = form.arrays["matrix"] if offset is None else form.arrays["matrix"] + offset
        elif form.kind == "basis":
            basis = tensor(form.arrays["basis"].astype(dtype))
        else:
            places, signs = entries(linear)
            # where there is no parameter, that of a zero which is put before them
            index = tensor(places.astype(np.int64) + 1)
            sign = None if signs is None else tensor(signs.astype(dtype))
        self.register_buffer("basis", basis)
        self.register_buffer("index", index)
        self.register_buffer("sign", sign)
        self.register_buffer("offset", None if offset is None else tensor(offset.astype(dtype)))

    def extra_repr(self) -> str:
        return repr(self.layer)

    def forward(self, theta: Any) -> Any:
        if self.basis is not None:
            weight = torch.tensordot(theta.reshape(-1), self.basis, 1)
        elif self.index is not None:
            weight = torch.cat([theta.new_zeros(1), theta.reshape(-1)])[self.index]
            weight = weight if self.sign is None else weight * self.sign
        else:
            # nothing is trained: theta is empty, and its sum a zero that autograd can follow
            weight = theta.sum()
        return weight if self.offset is None else weight + self.offset

    def right_inverse(self, weight: Any) -> Any:
        """The parameters of the member nearest to `weight`, less what is fixed."""
        free = weight.detach() if self.offset is None else weight.detach() - self.offset
        return tensor(self.layer.linear.project(free.cpu().numpy()))


class Channels(torch.nn.Module):
    """Biases that all places of a channel share, as the parametrisation of one an output."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self.places = places

    def forward(self, bias: Any) -> Any:
        return bias.repeat_interleave(self.places)

    def right_inverse(self, bias: Any) -> Any:
        return bias.detach().reshape(-1, self.places).mean(dim=1)
