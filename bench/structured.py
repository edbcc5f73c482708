"""Problems with constrained layers: chains of convolutions, of masks, and of Toeplitz matrices, their data and their starts."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from .workloads import Array, Case, Workload

# what autograd does; the reductions by name, as "auto" leaves out those that a run as short as those timed does not repay
AUTOGRAD = {"metric": "parameters", "reduce": ("filters", "samples")}
KERNEL = 3


@dataclass(frozen=True)
class Convolutions(Workload):
    """3 x 3 convolutions without bias; `widths` are the channels, one first and last. Inputs are images of `image x image`."""

    padding: str = "same"
    image: int = 28
    options: Mapping[str, Any] = field(default_factory=lambda: AUTOGRAD)

    peers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "numpy": ("numpy_conv",), "torch": ("torch_conv", "torch_conv_compiled"), "jax": ("jax_conv",), "linalign": ("linalign_train",),
    }  # fmt: skip

    def tiny(self) -> Convolutions:
        return replace(self, widths=tuple(min(k, 3) for k in self.widths), n=min(self.n, 4), image=9)

    @property
    def images(self) -> list[int]:
        """The images' sides, from the inputs to the outputs."""
        less = KERNEL - 1 if self.padding == "valid" else 0
        return [self.image - less * i for i in range(len(self.widths))]

    @property
    def sizes(self) -> list[int]:
        return [a * b * KERNEL**2 * side**2 for (a, b), side in zip(pairwise(self.widths), self.images[1:], strict=True)]

    @property
    def terms(self) -> float:
        """A tap's gradient is a sum over all pixels; the errors of so many terms grow as the root (Higham and Mary, 2019)."""
        return float(np.sqrt(self.n) * self.image + KERNEL**2 * sum(self.widths))

    def case(self) -> Case:
        """White images, and what is left of them after the borders plus noise."""
        rng, kind = np.random.default_rng(zlib.crc32(self.name.encode())), np.dtype(self.dtype)
        sides = self.images
        X = rng.standard_normal((self.n, self.image, self.image)) / (np.sqrt(self.n) * self.image)
        left = (self.image - sides[-1]) // 2
        Y = X[:, left : left + sides[-1], left : left + sides[-1]]
        Y = Y + 0.1 * rng.standard_normal(Y.shape) / (np.sqrt(self.n) * self.image)
        taps = [rng.standard_normal((b, a, KERNEL, KERNEL)) * np.sqrt(2 / (KERNEL**2 * (a + b))) for a, b in pairwise(self.widths)]
        layers = [("Conv2d", (side, KERNEL, a, b, self.padding)) for side, (a, b) in zip(sides, pairwise(self.widths), strict=False)]
        return Case(
            X.reshape(self.n, -1).astype(kind), Y.reshape(self.n, -1).astype(kind), tuple(t.astype(kind) for t in taps),
            self.loss, self.lr, self.options, tuple(layers),
        )  # fmt: skip


@dataclass(frozen=True)
class Masks(Workload):
    """Layers of which a share `density` of the entries, at random places, are parameters."""

    density: float = 0.01
    options: Mapping[str, Any] = field(default_factory=lambda: AUTOGRAD)

    peers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "numpy": ("scipy_sparse",), "torch": ("torch_sparse",), "linalign": ("linalign_train",),
    }  # fmt: skip

    def tiny(self) -> Masks:
        return replace(self, widths=(12,) * len(self.widths), n=5, density=0.3)

    @property
    def sizes(self) -> list[int]:
        return [int(self.density * a * b) for a, b in pairwise(self.widths)]

    def case(self) -> Case:
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        base = super().case()
        masks = []
        for (a, b), count in zip(pairwise(self.widths), self.sizes, strict=True):
            rows, cols = np.divmod(np.sort(rng.choice(a * b, count, replace=False)), a)
            masks.append(sparse.csr_array((np.ones(count, bool), (rows, cols)), shape=(b, a)))
        thetas = tuple(rng.standard_normal(M.nnz) / np.sqrt(self.density * M.shape[1]) for M in masks)
        return Case(base.X, base.Y, thetas, self.loss, self.lr, self.options, tuple(("Masked", (M,)) for M in masks))


@dataclass(frozen=True)
class Toeplitzes(Workload):
    """Factors of a matrix, each Toeplitz, by cyclic projected gradient descent: a step is a sweep of palm4msa."""

    options: Mapping[str, Any] = field(default_factory=lambda: {"metric": "matrix", "update": "cyclic"})

    peers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "numpy": ("numpy_palm",), "pyfaust": ("pyfaust_palm",), "linalign": ("linalign_train",),
    }  # fmt: skip

    def tiny(self) -> Toeplitzes:
        return replace(self, widths=(5,) * len(self.widths), n=5)

    def case(self) -> Case:
        """A random matrix of norm about 2 and factors about as large."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        Y = rng.standard_normal((self.n, self.n)) / np.sqrt(self.n)
        thetas: list[Array] = [rng.standard_normal(2 * self.n - 1) / np.sqrt(self.n) for _ in self.sizes]
        return Case(None, Y, tuple(thetas), self.loss, self.lr, self.options, (("Toeplitz", (self.n, self.n)),) * len(thetas))
