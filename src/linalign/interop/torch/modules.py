"""Modules to networks and back, and the training of a module."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch.nn.utils import parametrize, skip_init

from ... import validate
from ...layers import Biased, Conv1d, Conv2d, Dense, Layer
from ...problem.network import Network
from ...training.run import Run
from ...training.train import train
from .convolutions import images, to_module
from .structure import Channels, Structure
from .walk import pieces_of


def from_torch(module: Any, input_shape: Any = None) -> Network:
    """The network of a module, with copies of its parameters.

    Parameters
    ----------
    module : torch.nn.Module
        Sequentials, nested too, of Linear, Conv1d, Conv2d (groups and dilation 1; padding "valid", or "same" and its number of zeros,
        or circular), Flatten, Unflatten, Identity and Dropout(p=0). The weight of a Linear may be masked (by a parametrisation, or by
        torch.nn.utils.prune), symmetric by one of its triangles, or a `Structure`.
    input_shape : int or tuple, optional
        The shape of one sample; needed where a convolution comes first.

    Images are rows, raveled. Raises: TypeError, ValueError for anything else, naming what it is and where it stands.
    """
    pieces = pieces_of(module, input_shape)
    return Network([piece.layer for piece in pieces], [piece.read() for piece in pieces])


def to_torch(net: Network) -> Any:
    """A `torch.nn.Sequential` that computes what the network does, on rows, with copies of its parameters.

    Dense layers become Linear, convolutions Conv1d or Conv2d between Unflatten and Flatten, all others a Linear parametrised by a
    `Structure`. `from_torch(to_torch(net))` is `net`, bit for bit. Raises: TypeError, ValueError for anything but a network with
    parameters. Cost: a pass over the parameters, and over the matrices of constrained layers.
    """
    if not isinstance(net, Network):
        raise TypeError(f"net is {type(net).__name__}; a linalign.Network was wanted")
    modules: list[Any] = []
    shape: tuple[int, ...] = (net.widths[0],)
    for layer in net.layers:
        module, ends = _module(layer, net.dtype)
        if ends[0] != shape:
            modules += [torch.nn.Flatten()] * (len(shape) > 1) + [torch.nn.Unflatten(1, ends[0])] * (len(ends[0]) > 1)
        modules.append(module)
        shape = ends[1]
    return update_torch_(torch.nn.Sequential(*modules, *[torch.nn.Flatten()] * (len(shape) > 1)), net)


def update_torch_(module: Any, net: Network, input_shape: Any = None) -> Any:
    """Write the parameters of a network into a module of the same layers, in place and in the module's dtype; returns the module.

    Raises: TypeError, ValueError as `from_torch`, or if the layers are others; then nothing is written.
    """
    if not isinstance(net, Network):
        raise TypeError(f"net is {type(net).__name__}; a linalign.Network was wanted")
    pieces = pieces_of(module, input_shape)
    if len(pieces) != net.depth:
        raise ValueError(f"net has {net.depth} layers but module has {len(pieces)}; pass a network that from_torch made of it")
    for i, (piece, layer) in enumerate(zip(pieces, net.layers, strict=True)):
        if piece.layer != layer:
            raise ValueError(
                f"net.layers[{i}] is {layer!r} but {piece.place} is {piece.layer!r}; pass a network that from_torch made of it"
            )
    for piece, theta in zip(pieces, net.params, strict=True):
        piece.write(theta)
    return module


def train_torch(module: Any, X: Any, Y: Any = None, *, input_shape: Any = None, **options: Any) -> Run:
    """Train a module in place: `from_torch`, `linalign.train` with `metric="parameters"`, `update_torch_`.

    Parameters
    ----------
    module : torch.nn.Module
        As in `from_torch`; all of its parameters must require grad, as all are trained.
    X, Y : tensors or arrays
        As in `linalign.train`; samples of more than one axis are raveled.
    input_shape : optional
        As in `from_torch`; by default the shape of a sample of X.
    **options
        Of `linalign.train`: loss, lr, steps, optimizer, batch, record, ...

    The steps are those of the optimiser in PyTorch, up to rounding. Returns the `Run`. Raises: as `from_torch` and `linalign.train`;
    then the module is as before, and a DivergenceError has the run up to there.
    """
    if input_shape is None and getattr(X, "ndim", 0) > 2:
        input_shape = tuple(X.shape[1:])
    pieces = pieces_of(module, input_shape)
    for piece in pieces:
        if not all(parameter.requires_grad for parameter in piece.parameters):
            raise ValueError(
                f"{piece.place} has parameters that do not require grad, and every layer is trained; call requires_grad_() on it"
            )
    run = train(from_torch(module, input_shape), _rows("X", X), _rows("Y", Y), metric="parameters", **options)
    update_torch_(module, run.network, input_shape)
    return run


def _rows(name: str, value: Any) -> Any:
    """Samples as rows."""
    given = validate.plain(name, value)
    return given.reshape(len(given), -1) if isinstance(given, np.ndarray) and given.ndim > 2 else given


def _module(layer: Layer, dtype: np.dtype[Any]) -> tuple[Any, tuple[tuple[int, ...], tuple[int, ...]]]:
    """A module for the layer, and the shapes of a sample before and after it."""
    plain = layer.layer if isinstance(layer, Biased) else layer
    kind, make = getattr(torch, str(dtype)), cast(Any, skip_init)
    if isinstance(plain, (Conv1d, Conv2d)):
        module = to_module(plain, layer.has_bias, kind)
        if module is not None:
            return module, images(plain)
    module = make(torch.nn.Linear, layer.shape[1], layer.shape[0], bias=layer.has_bias, dtype=kind)
    if not isinstance(plain, Dense):
        torch.nn.init.zeros_(module.weight)
        parametrize.register_parametrization(module, "weight", Structure(plain, dtype))
    if isinstance(layer, Biased) and layer.places > 1:
        parametrize.register_parametrization(module, "bias", Channels(layer.places))
    return module, ((layer.shape[1],), (layer.shape[0],))
