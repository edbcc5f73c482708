"""The walk through a module: its pieces in the order in which data meet them."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch.nn.utils import parametrize, prune

from .convolutions import from_module, images
from .pieces import Piece, linear, whole

READ = "Sequentials of Linear, Conv1d, Conv2d, Flatten, Unflatten, Identity and Dropout(p=0) are read"
OWN = ": write it as one, or keep a loop of your own with linalign.interop.torch.chain(x, W_1, ..., W_d) in it"


class Walk:
    """Where a walk stands: what it has found, and the shape of one sample there, None before the first layer says it."""

    def __init__(self, shape: tuple[int, ...] | None) -> None:
        self.shape = shape
        self.pieces: list[Piece] = []
        self._owners: dict[int, str] = {}

    def through(self, place: str, module: Any) -> None:
        """Go on through a module. Raises: TypeError, ValueError naming the place where it cannot be read."""
        nn = torch.nn
        kind = parametrize.type_before_parametrizations(module)
        self._no_hooks(place, module)
        if _is(kind, nn.Sequential):
            for name, child in module._modules.items():
                self.through(f"{place}.{name}", child)
        elif _is(kind, nn.Linear):
            self._meets_features(place, module.in_features)
            self._add(linear(place, module))
            self.shape = (module.out_features,)
        elif _is(kind, nn.Conv1d) or _is(kind, nn.Conv2d):
            if parametrize.is_parametrized(module) or prune.is_pruned(module):
                raise TypeError(f"{place} is a {kind.__name__} that is parametrised or pruned; a plain one was wanted")
            if self.shape is None:
                wanted = "(channels, length)" if _is(kind, nn.Conv1d) else "(channels, height, width)"
                raise ValueError(f"{place} is a {kind.__name__}, which takes images of any size; pass input_shape={wanted}")
            layer = from_module(place, module, self.shape)
            self._add(whole(place, layer, module))
            self.shape = images(layer)[1]
        elif _is(kind, nn.Flatten):
            axes = 2 if self.shape is None else len(self.shape) + 1
            if module.start_dim != 1 or module.end_dim not in (-1, axes - 1):
                raise ValueError(f"{place} is {module}; Flatten(), of all axes but that of the samples, was wanted")
            self.shape = None if self.shape is None else (prod(self.shape),)
        elif _is(kind, nn.Unflatten):
            self._unflatten(place, module)
        elif _is(kind, nn.Dropout):
            if module.p:
                raise ValueError(f"{place} is a Dropout with p={module.p}, and so not linear; p=0 was wanted")
        elif not _is(kind, nn.Identity):
            raise TypeError(f"{place} is a {kind.__name__}; {READ}{'' if kind.__module__.startswith('torch.') else OWN}")

    def _no_hooks(self, place: str, module: Any) -> None:
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        for hook in hooks:
            if not isinstance(hook, prune.BasePruningMethod):
                raise TypeError(
                    f"{place} has a forward hook, {getattr(hook, '__name__', type(hook).__name__)}, which may do anything; remove it"
                )

    def _meets_features(self, place: str, wanted: int) -> None:
        if self.shape is None:
            return
        if len(self.shape) > 1:
            raise ValueError(f"{place} is a Linear on images {self.shape}, of which it takes the last axis alone; put a Flatten before it")
        if self.shape != (wanted,):
            raise ValueError(f"{place} is a Linear of {wanted} inputs but is given {self.shape[0]}")

    def _unflatten(self, place: str, module: Any) -> None:
        sizes = tuple(module.unflattened_size)
        if module.dim not in (1, -1) or not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError(f"{place} is {module}; Unflatten(1, (channels, height, width)) was wanted")
        if self.shape is not None and self.shape != (prod(sizes),):
            raise ValueError(f"{place} is {module} but is given {self.shape}; {prod(sizes)} features were wanted")
        self.shape = sizes

    def _add(self, piece: Piece) -> None:
        for parameter in piece.parameters:
            if parameter.device.type != "cpu":
                raise TypeError(f"{piece.place} is on {parameter.device}; linalign computes on the CPU: pass module.cpu()")
            owner = self._owners.setdefault(parameter.data_ptr() if parameter.numel() else id(parameter), piece.place)
            if owner != piece.place:
                raise ValueError(f"{piece.place} shares its parameters with {owner}; each layer of linalign has its own")
        self.pieces.append(piece)


def _is(kind: type, base: type) -> bool:
    """Whether modules of this kind do what those of `base` do: subclasses with a `forward` of their own may do anything."""
    return issubclass(kind, base) and kind.forward is base.forward  # type: ignore[attr-defined]


def pieces_of(module: Any, input_shape: Any = None) -> list[Piece]:
    """The pieces of a module, the first that data meet first. Raises: TypeError, ValueError naming what cannot be read, and where."""
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module is {type(module).__name__}; a torch.nn.Module was wanted")
    shape = (input_shape,) if isinstance(input_shape, int) else None if input_shape is None else tuple(input_shape)
    if shape is not None and (not shape or not all(isinstance(size, int) and size > 0 for size in shape)):
        raise ValueError(f"input_shape is {input_shape!r}; that of one sample was wanted, such as (1, 28, 28)")
    walk = Walk(shape)
    walk.through("module", module)
    if not walk.pieces:
        raise ValueError("module has no layers; a Linear, Conv1d or Conv2d was wanted")
    return walk.pieces
