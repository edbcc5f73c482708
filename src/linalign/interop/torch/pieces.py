"""A piece of a module: one layer of linalign, and the parameters of PyTorch that it is read from and written to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.utils import parametrize, prune

from ...layers import Biased, Dense, Layer, Masked, Symmetric
from ...validate import Array, real_array
from .structure import Channels, Structure, tensor


@dataclass(frozen=True)
class Piece:
    """A layer at its place in a module. `take` picks theta out of the raw weight; `put` writes it there."""

    place: str
    layer: Layer
    weight: Any
    bias: Any | None
    take: Callable[[Any], Any]
    put: Callable[[Any, Any], None]

    @property
    def parameters(self) -> list[Any]:
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def read(self) -> Array:
        """The parameters of the layer, on memory of their own or of the module's. Raises: TypeError for a tensor that is no such array."""
        weight = real_array(f"{self.place}.weight", self.take(self.weight.detach()))
        if self.bias is None:
            return weight
        return self.layer.join(weight, real_array(f"{self.place}.bias", self.bias.detach(), weight.dtype))

    def write(self, theta: Array) -> None:
        """In place, in the dtype of the module."""
        bias = None
        if self.bias is not None:
            assert isinstance(self.layer, Biased)
            theta, bias = self.layer.separate(theta)
        with torch.no_grad():
            self.put(self.weight, tensor(theta))
            if self.bias is not None and bias is not None:
                self.bias.copy_(tensor(bias))


def whole(place: str, layer: Layer, module: Any) -> Piece:
    """The piece whose raw weight is theta."""
    return Piece(place, _biased(layer, module), module.weight, module.bias, lambda raw: raw, lambda raw, theta: raw.copy_(theta))


def linear(place: str, module: Any) -> Piece:
    """The piece of a Linear: plain, pruned, or its weight parametrised by a mask, a symmetry or a `Structure`.

    Raises: TypeError for any other parametrisation, by its name.
    """
    if parametrize.is_parametrized(module):
        return _parametrised(place, module)
    if prune.is_pruned(module):
        if "weight_orig" not in module._parameters or "bias_orig" in module._parameters:
            raise TypeError(f"{place} is a Linear whose bias is pruned; its weight alone may be: use torch.nn.utils.prune.remove")
        return _masked(place, module, module.weight_orig, module.weight_mask != 0)
    return whole(place, Dense(module.in_features, module.out_features), module)


def _biased(layer: Layer, module: Any) -> Layer:
    return layer if module.bias is None else Biased(layer)


def _masked(place: str, module: Any, raw: Any, mask: Any) -> Piece:
    layer = _biased(Masked(mask.cpu().numpy()), module)

    def put(raw: Any, theta: Any) -> None:
        raw[mask] = theta.to(raw.dtype)

    return Piece(place, layer, raw, module.bias, lambda raw: raw[mask], put)


def _parametrised(place: str, module: Any) -> Piece:
    names = list(module.parametrizations)
    functions = list(module.parametrizations[names[0]])
    called = ", ".join(type(function).__name__ for function in functions)
    raws = [getattr(module.parametrizations[name], "original", None) for name in names]
    shared = len(names) == 1 or isinstance(module.parametrizations[names[-1]][0], Channels)
    if len(functions) == 1 and isinstance(functions[0], Structure) and shared:
        layer, shape = _biased(functions[0].layer, module), functions[0].layer.param_shape
        bias = module.bias if len(names) == 1 else raws[1]
        return Piece(place, layer, raws[0], bias, lambda raw: raw.reshape(shape), lambda raw, theta: raw.copy_(theta.reshape(raw.shape)))
    if names != ["weight"] or raws[0] is None:
        raise TypeError(
            f"{place} is a Linear with {' and '.join(names)} parametrised by {called}; a mask or a symmetry of its weight was wanted"
        )
    raw = raws[0]
    if raw.shape == (module.out_features, module.in_features):
        ones, drawn = torch.ones_like(raw), _draw(raw)
        mask, answer = _apply(functions, ones), _apply(functions, drawn)
        if torch.equal(answer, drawn * (mask != 0)) and bool(((mask == 0) | (mask == 1)).all()) and bool(mask.any()):
            return _masked(place, module, raw, mask != 0)
        if raw.shape[0] == raw.shape[1]:
            for lower, half in ((False, drawn.triu()), (True, drawn.tril())):
                if torch.equal(answer, half + half.T - half.diag().diag()):
                    return _symmetric(place, module, raw, lower)
            if torch.allclose(answer, (drawn + drawn.T) / 2):
                raise TypeError(
                    f"{place} is a Linear whose weight is the mean with its transpose ({called}), in which steps are half as long as in a "
                    f"triangle; write W.triu() + W.triu(1).T"
                )
    raise TypeError(f"{place} is a Linear whose weight is parametrised by {called}, which is neither a mask nor a symmetry")


def _symmetric(place: str, module: Any, raw: Any, lower: bool) -> Piece:
    rows, columns = (torch.from_numpy(np.array(side)) for side in np.triu_indices(module.in_features))
    at = (columns, rows) if lower else (rows, columns)

    def put(raw: Any, theta: Any) -> None:
        raw[at] = theta.to(raw.dtype)

    return Piece(place, _biased(Symmetric(module.in_features), module), raw, module.bias, lambda raw: raw[at], put)


def _draw(raw: Any) -> Any:
    """Numbers that no linear map but the one sought takes to the same, drawn without touching torch's own generator."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal(tuple(raw.shape))).to(raw.dtype)


def _apply(functions: list[Any], weight: Any) -> Any:
    """What parametrisations make of a weight; they are asked as in evaluation, so that none counts it."""
    training = [function.training for function in functions]
    try:
        with torch.no_grad():
            for function in functions:
                weight = function.eval()(weight)
    finally:
        for function, was in zip(functions, training, strict=True):
            function.train(was)
    return weight
