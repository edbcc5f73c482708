"""Observer: recorded quantities of the network as given, while another may be run in its place."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

import numpy as np

from ..plan.planner import Work
from ..scores import interfaces, spectrum
from ..scores.vector_scores import Tops, VectorScores, kept_tops, tops
from ..validate import Array
from .convolution_interfaces import Images
from .reduced_vectors import ReducedScores

Angles = list[tuple[float, float]]


class Running(Protocol):
    """A run where it stands: the network as given, and the one that is run in its place."""

    @property
    def work(self) -> Work: ...

    def params(self) -> list[Array]:
        """Of the network as given."""
        ...

    def matrices(self) -> list[Array]:
        """Of the network as given."""
        ...

    def running(self) -> list[Array]:
        """The matrices that are run."""
        ...

    def use_one_thread(self) -> None:
        """The other threads of the loop are taken from now on."""
        ...


class Observer:
    """The quantities from the matrices of the network as given."""

    def __init__(self, run: Running, threads: int = 1, images: Images | None = None) -> None:
        """`threads`: factorisations at a time. `images`: interfaces that need no matrices."""
        self._run, self._threads, self._images = run, threads, images
        self._scores: VectorScores | ReducedScores | None = None
        self._tops: Tops | None = None

    def vector_scores(self, names: Collection[str]) -> dict[str, Any]:
        """The scores of all singular vectors that have these names: numbers, or promises of them."""
        if self._scores is None:
            self._scores = self._make_scores()
        return self._scores.take(self._moving(), names)

    def _make_scores(self) -> VectorScores | ReducedScores:
        return VectorScores(self._run.work.given.net.matrices(), self._threads)

    def _moving(self) -> list[Array]:
        """What the scores of singular vectors are taken of."""
        return self._run.matrices()

    def close(self) -> None:
        """End the threads of the scores."""
        if self._scores is not None:
            self._scores.close()

    def top_invariance(self) -> float:
        """How far the top singular vectors are those of the start."""
        if self._tops is None:
            self._tops = tops(self._run.work.given.net.matrices())
        return kept_tops(tops(self._run.matrices()), self._tops)

    def angles(self) -> Angles:
        """Sine and cosine of every interface."""
        if self._images is None:
            return interfaces.angles(self._run.matrices())
        found = self._images.angles()
        if None not in found:
            return [angle for angle in found if angle is not None]
        full = self._run.matrices()
        return [interfaces.angles(full[i : i + 2])[0] if angle is None else angle for i, angle in enumerate(found)]

    def constant_angles(self) -> Angles | None:
        """`angles`, where no step changes them."""
        return None

    def constants(self) -> tuple[Array, Array | None] | None:
        """What is needed to take `angles` of the matrices that are run: the noise of each interface over the product of the
        norms, and constant columns of the first layer, if any. None where it needs more."""
        return None

    def balancedness(self) -> Array:
        """`||W_{i+1}^T W_{i+1} - W_i W_i^T||_F` of every interface."""
        return interfaces.balance(self._run.matrices())

    def singular_values(self) -> Array:
        """Singular values of the product, largest first."""
        return spectrum.product_values(self._run.matrices())

    def effective_rank(self) -> float:
        """`exp` of the entropy of the normalised singular values of the product."""
        return spectrum.product_rank(self._run.matrices())

    def modes(self, U: Array, V: Array) -> Array:
        """`u_j^T W_d ... W_1 v_j`."""
        rows = V.T
        for W in self._run.matrices():
            rows = rows @ W.T
        return np.asarray(np.einsum("aj,ja->j", U, rows))
