"""Setting: the data of all experiments, and how much time they may take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import data as datasets
from ..cached import cached_property
from ..data import Dataset
from ..validate import Array

LARGE = 28
SMALL = 8


@dataclass(frozen=True, eq=False)
class Setting:
    """`quick`: fewer samples and steps, seconds instead of minutes. `source`: "digits" or a file of images."""

    quick: bool = False
    source: str = "digits"
    target: str | None = None

    def pick(self, full: int, quick: int) -> int:
        """A size for the full report or for the quick one."""
        return quick if self.quick else full

    @cached_property
    def images(self) -> Dataset:
        """The data as they come. Raises: ValueError if they are no images with classes."""
        found = datasets.load(self.source, target=self.target)
        if len(found.shape) != 2 or found.labels is None:
            kind = "x".join(map(str, found.shape))
            raise ValueError(
                f"{self.source}: samples of {kind}, {'no ' if found.labels is None else ''}classes; images with classes were wanted"
            )
        # in an order of their own: files are sometimes sorted by class
        return found

    @cached_property
    def order(self) -> Array:
        return np.random.default_rng(0).permutation(len(self.images.X))

    def samples(self, count: int, side: int) -> tuple[Array, Array, Array]:
        """`X (n, side^2)`, one-hot `Y (n, classes)` and labels `(n,)` of `count` images, at `side x side` pixels."""
        at = self.order[:count]
        height, width = self.images.shape
        X = np.asarray(self.images.X[at])
        if (height, width) != (side, side):
            X = datasets.upsample(X, side, shape=(height, width)) if side > height else shrink(X, (height, width), side)
        assert self.images.labels is not None
        return np.ascontiguousarray(X), np.ascontiguousarray(self.images.Y[at]), self.images.labels[at]

    @cached_property
    def side(self) -> int:
        """Pixels a side of the small images: 8, or less if the images are smaller."""
        return min(SMALL, *self.images.shape)


def shrink(X: Array, shape: tuple[int, int], side: int) -> Array:
    """Images at `side x side`: each new pixel the mean of the pixels that it covers, parts of pixels counted as such."""
    A, B = (_covers(old, side) for old in shape)
    return np.asarray(np.einsum("Hh,nhw,Ww->nHW", A, X.reshape(-1, *shape), B, optimize=True)).reshape(len(X), -1)


def _covers(old: int, new: int) -> Array:
    edges = np.arange(new + 1) * old / new
    low, high = edges[:-1, None], edges[1:, None]
    cells = np.arange(old)
    return np.asarray(np.clip(np.minimum(high, cells + 1) - np.maximum(low, cells), 0, None) * new / old)
