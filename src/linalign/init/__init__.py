"""Starts: `draw(layers, kind, rng=...)` gives the parameters of a network, one array a layer.

`d` is the number of layers, `k_0, ..., k_d` the widths, `P = W_d ... W_1` the end-to-end matrix (docs/theory, section 0).
Kinds that set each layer by itself, `(shape, depth, rng, *, options) -> W`, are here and may be mixed, one name a layer; those
that set the whole chain are in `chain_init`.
Everything is computed in float64 and rounded at the end, so float32 gives the same numbers rounded.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from .. import validate
from ..layers import Biased, Dense, Layer
from ..validate import Array
from .chains import aligned, balanced, haar, lambda_balanced


def gaussian(shape: tuple[int, int], depth: int, rng: Any, *, scale: Any = 1.0) -> Array:
    """Entries `N(0, sigma_i^2)`, `sigma_i = scale^(1/d) / sqrt(k_{i-1})`, so that `E ||P||_F^2 = k_d scale^2`.

    On a constrained layer `E ||W_i||_F^2` is the same as on a dense one, see `draw`.
    """
    sigma = validate.real("scale", scale, above=0.0) ** (1 / depth) / np.sqrt(shape[1])
    return np.asarray(sigma * validate.generator(rng).standard_normal(shape))


def xavier(shape: tuple[int, int], depth: int, rng: Any, *, gain: Any = 1.0) -> Array:
    """Entries uniform on `[-a, a]`, `a = gain sqrt(6 / (k_{i-1} + k_i))`: Glorot and Bengio 2010, torch's `xavier_uniform_`."""
    bound = validate.real("gain", gain, above=0.0) * np.sqrt(6 / sum(shape))
    return np.asarray(bound * validate.generator(rng).uniform(-1.0, 1.0, shape))


def orthogonal(shape: tuple[int, int], depth: int, rng: Any, *, scale: Any = 1.0) -> Array:
    """`W_i^T W_i = scale^2 I` (or `W_i W_i^T`, if it is wide), uniform (Haar) among all such matrices."""
    return validate.real("scale", scale, above=0.0) * haar(validate.generator(rng), *shape)


def identity(shape: tuple[int, int], depth: int, rng: Any, *, scale: Any = 1.0) -> Array:
    """`W_i = scale I`; ones on the main diagonal if it is rectangular."""
    return np.asarray(validate.real("scale", scale) * np.eye(*shape))


def zero(shape: tuple[int, int], depth: int, rng: Any) -> Array:
    """`W_i = 0`."""
    return np.zeros(shape)


LAYER_KINDS: Mapping[str, Callable[..., Array]] = {f.__name__: f for f in (gaussian, xavier, orthogonal, identity, zero)}
# the kinds whose entries are independent, with one variance
INDEPENDENT = ("gaussian", "xavier")
BIASES = ("zero", "torch")
# what other libraries call the argument `rng`
ELSEWHERE = dict.fromkeys(("seed", "random_state", "generator"), "rng=0")
CHAIN_KINDS: Mapping[str, Callable[..., list[Array]]] = {f.__name__: f for f in (balanced, aligned, lambda_balanced)}


@cache
def _parameters(kind: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(kind).parameters.values())


@cache
def _known(kind: Callable[..., Any]) -> tuple[frozenset[str], frozenset[str]]:
    """The names of its options, and of those that have no default."""
    own = [p for p in _parameters(kind) if p.kind is p.KEYWORD_ONLY]
    return frozenset(p.name for p in own), frozenset(p.name for p in own if p.default is p.empty)


def _check_options(kinds: Sequence[Callable[..., Any]], options: Mapping[str, Any]) -> None:
    """Every option is known to one of the kinds, and none that has no default is missing."""
    if len(kinds) == 1 and _known(kinds[0])[0].issuperset(options) and not _known(kinds[0])[1]:
        return
    taken = {k.__name__: [p for p in _parameters(k) if p.kind is p.KEYWORD_ONLY] for k in kinds}
    known = sorted({p.name for parameters in taken.values() for p in parameters})
    names = " and ".join(map(repr, taken))
    for option in options:
        if option not in known:
            fix = f": pass {ELSEWHERE[option]}" if option in ELSEWHERE else ""
            has = "the options " + ", ".join(known) if known else "no options"
            raise TypeError(f"{option} is no option of {names}; it has {has}{fix}")
    for parameters in taken.values():
        for p in parameters:
            if p.default is p.empty and options.get(p.name) is None:
                raise TypeError(f"{names} needs the option {p.name}: pass {p.name}=")


def _per_layer(kinds: Sequence[str], options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options of each layer: a number goes to every kind that takes it, a sequence has one entry a layer, None the default."""
    if all(type(value) in (int, float) for value in options.values()) and kinds.count(kinds[0]) == len(kinds):
        return [dict(options) for _ in kinds]
    takes = {name: {p.name for p in _parameters(LAYER_KINDS[name])} for name in kinds}
    each: list[dict[str, Any]] = [{} for _ in kinds]
    for option, value in options.items():
        takers = [name for name in takes if option in takes[name]]
        many = isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)
        if many and len(value) != len(kinds):
            raise ValueError(f"{option} has {len(value)} entries but the network has {len(kinds)} layers; pass one number or one a layer")
        if not many and "gaussian" in takers and len(takers) > 1:
            raise ValueError(
                f"{option} is end to end for 'gaussian' but of one layer for {', '.join(repr(t) for t in takers if t != 'gaussian')}; "
                f"pass one entry a layer, None for the default"
            )
        for i, name in enumerate(kinds):
            entry = value[i] if many else value
            if option in takes[name]:
                each[i] |= {} if entry is None else {option: entry}
            elif many and entry is not None:
                raise TypeError(f"{option}[{i}] is {entry!r} but {name!r} has no such option; pass None there")
    return each


def draw(layers: Iterable[Layer], kind: str | Sequence[str], *, rng: Any = None, dtype: Any = np.float64, bias: str = "zero",
         **options: Any) -> list[Array]:  # fmt: skip
    """Parameters `theta_i` of shape `layers[i].param_shape`, one a layer.

    `kind`: 'gaussian' (scale), 'xavier' (gain), 'orthogonal' (scale), 'identity' (scale), 'zero', or a list of these, one a
    layer (an option is then a number or has one entry a layer); 'balanced' (matrix, bases), 'aligned' (X, Y, singular_values,
    bases), 'lambda_balanced' (lam, matrix or scale, bases) for the whole chain. See the function of that name for the equation.
    `rng`: a seed or a generator; needed by the random kinds only.
    On a constrained layer the matrix is drawn and the nearest member of its subspace taken, `layer.project`. Of independent
    entries ('gaussian', 'xavier') that leaves r of `out in` equal parts of the variance, r the number of parameters, so theta
    is then multiplied by `sqrt(out in / r)`: `E ||W_i||_F^2` is that of the dense draw, and a circular convolution with k taps
    has taps of variance `sigma_i^2 k_{i-1} / k`. A kind for the whole chain is refused unless the layer holds its matrix exactly.

    On an affine layer a kind of single layers draws what is trained, `W - B`, and one of the whole chain W.
    `bias`: "zero", or "torch": uniform on `[-a, a]`, `a = 1 / sqrt(fan_in)`, fan_in the inputs that meet in one output. They are drawn
    after all matrices, so these are the same either way.

    Raises: ValueError, TypeError for unknown kinds and options, values out of range, and starts that do not exist.
    """
    structures = list(layers)
    depth = len(structures)
    wanted = validate.dtype("dtype", dtype)
    validate.choice("bias", bias, BIASES)
    generator = None if rng is None else validate.generator(rng)
    chain = CHAIN_KINDS.get(kind) if isinstance(kind, str) else None
    spread = [False] * depth
    if chain is not None:
        _check_options([chain], options)
        matrices = chain((structures[0].shape[1], *(layer.shape[0] for layer in structures)), generator, **options)
    else:
        if isinstance(kind, str):
            kinds = [validate.choice("kind", kind, [*LAYER_KINDS, *CHAIN_KINDS])] * depth
        elif not isinstance(kind, Sequence):
            raise TypeError(f"kind is {validate.brief(kind)}; a name such as 'gaussian' or a list with one name a layer was wanted")
        elif len(kind) != depth:
            raise ValueError(f"kind has {len(kind)} names but the network has {depth} layers; pass one name or one a layer")
        else:
            kinds = [validate.choice(f"kind[{i}]", name, LAYER_KINDS) for i, name in enumerate(kind)]
        _check_options([LAYER_KINDS[name] for name in dict.fromkeys(kinds)], options)
        each = _per_layer(kinds, options)
        spread = [name in INDEPENDENT for name in kinds]
        matrices = [
            LAYER_KINDS[name](layer.shape, depth, generator, **own) for layer, name, own in zip(structures, kinds, each, strict=True)
        ]
    params = []
    for i, (layer, W) in enumerate(zip(structures, matrices, strict=True)):
        if type(layer) is Dense and chain is None and W.dtype == wanted:
            # it is the matrix that was drawn: of small networks there may be thousands
            params.append(validate.finite(f"params[{i}]", np.ascontiguousarray(W)))
            continue
        trained = layer.linear
        theta = layer.project(W) if chain is not None else trained.project(W)
        if spread[i] and 0 < trained.size < W.size:
            theta = theta * np.sqrt(W.size / trained.size)
        if isinstance(layer, Biased):
            drawn = None
            if bias == "torch":
                drawn = validate.generator(generator).uniform(-1.0, 1.0, layer.size - trained.size) / np.sqrt(layer.fan_in)
            theta = layer.join(theta if chain is None else layer.separate(theta)[0], drawn)
        if chain is not None:
            gap, size = np.linalg.norm(layer.matrix(theta) - W), np.linalg.norm(W)
            if gap > 4 * max(W.shape) * np.finfo(np.float64).eps * size:
                raise ValueError(
                    f"kind {kind!r} does not fit layers[{i}], {layer!r}: the nearest matrix is {gap / size:.0e} away; use Dense"
                )
        with np.errstate(over="ignore"):
            theta = np.ascontiguousarray(theta, dtype=wanted)
        params.append(validate.finite(f"params[{i}]", theta))
    return params
