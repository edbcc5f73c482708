"""Baselines: what random layers score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .. import validate
from ..calls import called
from ..problem.network import Network
from . import interfaces
from .chain import Matrices, check_fit
from .vector_scores import VectorScores, kept_tops, top_alignment, tops


@called
def alignment_baseline(shapes: Network | Iterable[Any], rng: Any, draws: int = 10) -> dict[str, Any]:
    """What random layers score: the mean of every score over Gaussian layers of these shapes.

    Parameters
    ----------
    shapes : Network, or sequence of (k_i, k_{i-1})
        The shapes of the layers, `W_1`'s first.
    rng : seed or numpy.random.Generator
    draws : int
        How many networks are drawn.

    Returns: {"alignment": (d - 1,), "misalignment": (d - 1,), "alignment_svd": float, "alignment_top": (d - 1,), "invariance": float,
    "top_invariance": float}. The last two are those of two independent draws. Balancedness is no score: it has the scale of the weights.
    Raises: ValueError, TypeError if the shapes do not fit together, or `rng` or `draws` is wrong.
    Source: docs/theory, section 1 ("always report the baseline").
    """
    sizes = _shapes(shapes)
    generator = validate.generator(rng)
    validate.integer("draws", draws, least=1)
    totals: dict[str, Any] = {}
    for _ in range(draws):
        one, two = ([generator.standard_normal(size) for size in sizes] for _ in range(2))
        for name, score in SCORES.items():
            totals[name] = totals.get(name, 0.0) + score(one, two)
    return {name: total / draws for name, total in totals.items()}


SCORES: dict[str, Callable[[Matrices, Matrices], Any]] = {
    "alignment": lambda one, two: interfaces.aligned(one),
    "misalignment": lambda one, two: interfaces.misaligned(one),
    "alignment_svd": lambda one, two: VectorScores(one).take(one, ("alignment_svd",))["alignment_svd"],
    "alignment_top": lambda one, two: top_alignment(one),
    "invariance": lambda one, two: VectorScores(two).take(one, ("invariance",))["invariance"],
    "top_invariance": lambda one, two: kept_tops(tops(one), tops(two)),
}


def _shapes(shapes: Network | Iterable[Any]) -> list[tuple[int, int]]:
    if isinstance(shapes, Network):
        return [layer.shape for layer in shapes.layers]
    try:
        given = [tuple(shape) for shape in shapes]
    except TypeError:
        raise TypeError(f"shapes is {validate.brief(shapes)}; a Network or the shapes (k_i, k_(i-1)) of its layers were wanted") from None
    if not given:
        raise ValueError("shapes is empty; the shape (k_i, k_(i-1)) of at least one layer was wanted")
    for i, shape in enumerate(given):
        if len(shape) != 2:
            raise ValueError(f"shapes[{i}] is {shape}; two numbers were wanted, (outputs, inputs)")
    sizes = [
        (validate.integer(f"shapes[{i}][0]", m, least=1), validate.integer(f"shapes[{i}][1]", k, least=1)) for i, (m, k) in enumerate(given)
    ]
    check_fit("shapes", sizes)
    return sizes
