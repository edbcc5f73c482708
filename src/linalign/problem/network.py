"""Network: layers and their parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, reduce
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import html, validate
from .. import init as _init
from ..calls import Called, absent, called
from ..files import Name, named
from ..layers import Dense, Layer, compose
from ..layers.compose import with_constant
from ..validate import Array
from . import weights

# a network has few matrices, and a sweep thousands of networks
NAMES = tuple(f"matrices[{i}]" for i in range(8))


@lru_cache(maxsize=256)
def _dense_layers(widths: tuple[int, ...]) -> tuple[Dense, ...]:
    """Layers are values: networks of the same widths share them."""
    return tuple([Dense(a, b) for a, b in pairwise(widths)])


# attributes of models elsewhere
ELSEWHERE = {
    "predict": "net(X)", "forward": "net(X)", "apply": "net(X)", "fit": "linalign.train(net, X, Y, lr=..., steps=...)",
    "train": "linalign.train(net, X, Y, lr=..., steps=...)", "weights": "net.matrices(), or net.params", "coef_": "net.matrix()",
    "parameters": "net.params", "weight": "net.matrix()", "bias": "net.biases()", "shape": "net.widths",
}  # fmt: skip


def _several(name: str, value: Any, such: str) -> Iterable[Any]:
    """The value itself, if it is a list or its like. Raises: TypeError."""
    if type(value) not in (list, tuple) and (not isinstance(value, Iterable) or isinstance(value, str)):
        raise TypeError(f"{name} is {validate.brief(value)}; a list was wanted, such as {such}")
    return value  # type: ignore[no-any-return]


def network(name: str, value: Any) -> Network:
    """The value, if it is a network. Raises: TypeError."""
    if not isinstance(value, Network):
        # asked without an import
        module = hasattr(value, "state_dict") and hasattr(value, "forward")
        fix = f": pass linalign.interop.torch.from_torch({name})" if module else ", such as linalign.Network.dense([64, 10])"
        raise TypeError(f"{name} is {type(value).__name__}; a linalign.Network was wanted{fix}")
    return value


class Network(metaclass=Called):
    """A deep linear network `f(x) = W_d ... W_1 x`; a value that nothing changes.

    With biases `x -> W_i x + b_i` in turn; `matrix` is then what multiplies x, and `constant` what is added.

    Parameters
    ----------
    layers : sequence of Layer
        `layers[0]` is applied first; `layers[i].shape[1] == layers[i-1].shape[0]`.
    params : sequence of arrays, optional
        One array a layer, of that layer's `param_shape`; copied. Without them the network has shapes only: call `init`.

    Raises
    ------
    ValueError, TypeError
        No layers, layers that do not fit together, parameters of a wrong shape or dtype, nan or inf.

    Source: docs/theory, section 0.
    """

    def __init__(self, layers: Iterable[Layer], params: Iterable[Any] | None = None) -> None:
        self._layers = tuple(_several("layers", layers, "linalign.Network([linalign.Dense(64, 10)])"))
        self._widths: tuple[int, ...] | None = None
        self._dense: bool | None = None
        if not self._layers:
            raise ValueError("layers is empty; a network needs at least one layer, such as linalign.Dense(64, 10)")
        for i, layer in enumerate(self._layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layers[{i}] is {type(layer).__name__}; a layer such as linalign.Dense(64, 10) was wanted")
            if i and layer.shape[1] != self._layers[i - 1].shape[0]:
                raise ValueError(
                    f"layers[{i}] takes {layer.shape[1]} inputs but layers[{i - 1}] gives {self._layers[i - 1].shape[0]} outputs; "
                    f"layers[0] is applied first, so layers[{i}].shape[1] must equal layers[{i - 1}].shape[0]"
                )
        self._params = None if params is None else self._own(params)

    @classmethod
    @called
    def dense(cls, widths: Sequence[int], params: Iterable[Any] | None = None) -> Network:
        """The network of `Dense` layers with widths `[k_0, ..., k_d]`.

        Raises: ValueError if there are fewer than two widths or one is below 1.
        """
        given = _several("widths", widths, "linalign.Network.dense([64, 32, 10])")
        sizes = [validate.integer(f"widths[{i}]", k, least=1) for i, k in enumerate(given)]
        if len(sizes) < 2:
            raise ValueError(f"widths is {sizes}; at least two widths are needed, the inputs' and the outputs'")
        return cls(_dense_layers(tuple(sizes)), params)

    @classmethod
    @called
    def from_matrices(cls, matrices: Iterable[Any]) -> Network:
        """The network of `Dense` layers with these matrices, `W_1` first.

        Raises: ValueError, TypeError if they are not matrices that fit together.
        """
        weights: list[Array] = []
        own: list[Array] = []
        widths: list[int] = []
        fits = True
        for i, given in enumerate(_several("matrices", matrices, "linalign.Network.from_matrices([W_1, W_2])")):
            W = validate.matrix(NAMES[i] if i < len(NAMES) else f"matrices[{i}]", given)
            weights.append(W)
            if not widths:
                widths.append(W.shape[1])
            fits = fits and W.shape[1] == widths[-1] and W.dtype == weights[0].dtype
            widths.append(W.shape[0])
            copy = W.copy()
            copy.setflags(write=False)
            own.append(copy)
        if not weights or not fits:
            return cls([Dense(W.shape[1], W.shape[0]) for W in weights], weights)  # which says what does not fit
        # checked above: of small networks there may be thousands
        net = cls.__new__(cls)
        net._widths = tuple(widths)
        net._layers, net._params, net._dense = _dense_layers(net._widths), tuple(own), True
        return net

    @classmethod
    def _adopt(cls, layers: tuple[Layer, ...], params: Iterable[Array]) -> Network:
        """A network of arrays that were made for it: neither checked nor copied. For use inside the package."""
        net = cls.__new__(cls)
        net._layers, net._widths, net._dense = layers, None, None
        own = tuple([np.ascontiguousarray(theta) for theta in params])
        for theta in own:
            theta.setflags(write=False)
        net._params = own
        return net

    def _own(self, params: Iterable[Any]) -> tuple[Array, ...]:
        given = list(params)
        if len(given) != self.depth:
            raise ValueError(f"params has {len(given)} arrays but the network has {self.depth} layers; pass one array a layer")
        own: list[Array] = []
        for i, (layer, value) in enumerate(zip(self._layers, given, strict=True)):
            theta = validate.real_array(f"params[{i}]", value)
            if theta.shape != layer.param_shape:
                raise ValueError(f"params[{i}] has shape {theta.shape}; {layer!r} takes parameters of shape {layer.param_shape}")
            if own and theta.dtype != own[0].dtype:
                raise TypeError(f"params[{i}] is {theta.dtype} but params[0] is {own[0].dtype}; use one dtype for all layers")
            theta = validate.finite(f"params[{i}]", theta).copy()
            theta.flags.writeable = False
            own.append(theta)
        return tuple(own)

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            raise AttributeError(absent("Network", name, ELSEWHERE))

    def __repr__(self) -> str:
        state = str(self.dtype) if self.is_initialised else "no parameters yet"
        return f"Network({'-'.join(map(str, self.widths))}, {state})"

    def _repr_html_(self) -> str:
        sizes = [f"{np.linalg.norm(W):.4g}" for W in self.matrices()] if self.is_initialised else ["none yet"] * self.depth
        numbered = zip(range(1, 1 + self.depth), self._layers, sizes, strict=True)
        rows = [(f"W_{i}", repr(layer), f"{layer.size:,}", size) for i, layer, size in numbered]
        return html.page(html.text(repr(self)), html.table(rows, ("", "layer", "parameters", "norm of the matrix")))

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self._layers

    @property
    def depth(self) -> int:
        """The number of layers, d."""
        return len(self._layers)

    @property
    def widths(self) -> tuple[int, ...]:
        """`(k_0, ..., k_d)`."""
        if self._widths is None:
            self._widths = (self._layers[0].shape[1], *(layer.shape[0] for layer in self._layers))
        return self._widths

    @property
    def is_initialised(self) -> bool:
        return self._params is not None

    @property
    def params(self) -> tuple[Array, ...]:
        """One read-only array a layer, `W_1`'s first."""
        if self._params is None:
            raise ValueError('the network has no parameters yet; call net.init("gaussian", rng=0) or pass params=')
        return self._params

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.params[0].dtype

    @property
    def is_dense(self) -> bool:
        """Whether every layer is a `Dense` one."""
        if self._dense is None:
            self._dense = all(type(layer) is Dense or isinstance(layer, Dense) for layer in self._layers)
        return self._dense

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(layer.size for layer in self._layers)

    def matrices(self) -> list[Array]:
        """`[W_1, ..., W_d]`, each `(k_i, k_{i-1})`."""
        return [layer.matrix(theta) for layer, theta in zip(self._layers, self.params, strict=True)]

    def matrix(self) -> Array:
        """The end-to-end matrix `W_d ... W_1`, shape `(k_d, k_0)`."""
        return reduce(lambda product, W: W @ product, self.matrices())

    @property
    def has_biases(self) -> bool:
        """Whether some layer adds a bias."""
        return not self.is_dense and any(layer.has_bias for layer in self._layers)

    def biases(self) -> list[Array | None]:
        """`[b_1, ..., b_d]`, each `(k_i,)`, None for a layer without a bias."""
        return [layer.constant(theta) for layer, theta in zip(self._layers, self.params, strict=True)]

    def constant(self) -> Array:
        """`f(0)`, shape `(k_d,)`: what biases add up to at the outputs."""
        return np.asarray(self._forward(np.zeros((1, self.widths[0]), dtype=self.dtype))[0])

    def _forward(self, rows: Array) -> Array:
        for layer, theta in zip(self._layers, self.params, strict=True):
            rows, b = layer.apply(theta, rows), layer.constant(theta)
            rows = rows if b is None else rows + b
        return rows

    def __call__(self, X: Any) -> Array:
        """`X (W_d ... W_1)^T`, plus `constant()`: rows are samples, `(n, k_0)` to `(n, k_d)`.

        Raises: ValueError, TypeError if X is not a finite matrix with k_0 columns of the network's dtype.
        """
        return self._forward(validate.matrix("X", X, self.dtype, columns=self.widths[0]))

    def collapse(self) -> Network:
        """The network of one layer that computes the same function: of the structure that the product has, else `Dense`.

        With a bias where the network has some.

        See `linalign.layers.compose`. Source: docs/theory, T9.1.
        """
        layer, theta = compose(self._layers, self.params)
        if self.depth > 1 and self.has_biases:
            layer, theta = with_constant(layer, theta, self.constant())
        return Network([layer], [theta])

    def linear_operator(self) -> Any:
        """`W_d ... W_1` as a `scipy.sparse.linalg.LinearOperator`, for `svds`, `lsqr` and others; biases are left out (`constant`).

        Cost: a product by it takes what each layer takes, structured ones by their structure. Source: docs/theory, section 0.
        """
        from .operator import NetworkOperator

        self.params  # noqa: B018 - a network without parameters is refused here
        return NetworkOperator(self)

    def save_weights(self, path: Name, names: Iterable[str] | None = None) -> Path:
        """Write the parameters to a `.npz` or `.safetensors` file: `name.weight` of each layer, and `name.bias` where it has one.

        `names`: one a layer, by default "0", "1", ..., as the layers of a Sequential in PyTorch are called.
        Raises: ValueError for another ending or names that do not fit; OSError if it cannot be written; an old file stays till then.
        """
        return weights.write(path, weights.to_arrays(self._layers, self.params, names))

    def load_weights(self, path: Name, names: Iterable[str] | None = None) -> Network:
        """The same layers with the parameters of a file, `.npz` or `.safetensors`, in its dtype.

        `names`: as in `save_weights`; where they are given, what else the file holds is left alone.
        Raises: ValueError, TypeError naming an array that is missing or does not fit; OSError if it cannot be read.
        """
        return self.with_params(weights.from_arrays(self._layers, weights.read(path), names, named(path)))

    def with_params(self, params: Iterable[Any]) -> Network:
        """The same layers with other parameters."""
        return Network(self._layers, params)

    def astype(self, dtype: Any) -> Network:
        """The same network in float32 or float64."""
        kind = validate.dtype("dtype", dtype)
        with np.errstate(over="ignore"):  # inf is refused by name
            return self.with_params([theta.astype(kind) for theta in self.params])

    @called
    def init(self, kind: str | Sequence[str], *, rng: Any = None, dtype: Any = np.float64, **options: Any) -> Network:
        """A new network with fresh parameters; see `linalign.init` for the kinds and their options.

        `kind` is one name, or a list with one name a layer. Raises: ValueError, TypeError for unknown names and options.
        """
        drawn = _init.draw(self._layers, kind, rng=rng, dtype=dtype, **options)
        # arrays that nobody else has, checked there
        return Network._adopt(self._layers, [theta if theta.base is None else theta.copy() for theta in drawn])
