"""Problems to train on: chains of dense layers, their data and their starts.

Everything is drawn with NumPy from a seed made of the problem's name, so that each process draws the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SAMPLES = {"reduce": ("samples",)}
# by name: "auto" would not seek them for runs as short as those that are timed
AUTO = {"reduce": ("samples", "inputs", "width", "split")}


@dataclass(frozen=True)
class Case:
    """One problem: rows are samples, `weights[i] (k_{i+1}, k_i)`; `Y` holds integer labels for cross-entropy.

    Where layers are constrained, `layers` has the name and the arguments of each in linalign, and `weights` their parameters.
    `X` is None where the product is to be `Y`.
    """

    X: Any
    Y: Array
    weights: tuple[Array, ...]
    loss: str
    lr: float
    options: Mapping[str, Any]
    layers: tuple[tuple[str, tuple[Any, ...]], ...] = ()


@dataclass(frozen=True)
class Workload:
    """One problem. `options` go to `linalign.train`; `check_steps` are taken before anything is timed."""

    name: str
    widths: tuple[int, ...]
    n: int
    lr: float
    loss: str = "squared"
    dtype: str = "float64"
    start: str = "xavier"
    autoencoding: bool = False
    check_steps: int = 20
    options: Mapping[str, Any] = field(default_factory=lambda: SAMPLES)

    # the files of each library in bench/peers/
    peers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "numpy": ("numpy_loop",), "torch": ("torch_eager", "torch_compiled"), "jax": ("jax_scan",), "linalign": ("linalign_train",),
    }  # fmt: skip

    @property
    def sizes(self) -> list[int]:
        """Multiplications of each layer on one sample."""
        return [a * b for a, b in pairwise(self.widths)]

    @property
    def terms(self) -> float:
        """The terms that pass through all sums of a step."""
        return self.n + sum(self.widths)

    @property
    def products(self) -> float:
        """Multiplications and additions of the matrix products of one step of backpropagation, without the inputs' gradient."""
        return 2.0 * self.n * (3 * sum(self.sizes) - self.sizes[0])

    def tiny(self) -> Workload:
        """The same in so small that it takes no time."""
        return replace(self, widths=tuple(min(k, 6) for k in self.widths), n=min(self.n, 9))

    def case(self) -> Case:
        """Draw the data and the start. `X` has a spectral norm of about 1; `Y` is a random linear map of it plus noise."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        k_0, k_d = self.widths[0], self.widths[-1]
        X = rng.standard_normal((self.n, k_0)) / (np.sqrt(self.n) + np.sqrt(k_0))
        weights = START[self.start](rng, self.widths, X)
        if self.autoencoding:
            Y = X
        else:
            Y = X @ rng.standard_normal((k_0, k_d)) / np.sqrt(k_0) + 0.1 / np.sqrt(self.n) * rng.standard_normal((self.n, k_d))
        Y = Y.argmax(axis=1) if self.loss == "cross_entropy" else Y.astype(self.dtype)
        kind = np.dtype(self.dtype)
        return Case(X.astype(kind), Y, tuple(np.ascontiguousarray(W, dtype=kind) for W in weights), self.loss, self.lr, self.options)


def _xavier(rng: np.random.Generator, widths: tuple[int, ...], X: Array) -> list[Array]:
    return [rng.standard_normal((b, a)) * np.sqrt(2 / (a + b)) for a, b in pairwise(widths)]


def _identity_middle(rng: np.random.Generator, widths: tuple[int, ...], X: Array) -> list[Array]:
    """Gaussian ends, the identity between: the start of the benign-overfitting studies."""
    first, *middle, last = pairwise(widths)
    ends = [rng.standard_normal((b, a)) / np.sqrt(widths[1]) for a, b in (first, last)]
    return [ends[0], *(np.eye(b, a) for a, b in middle), ends[1]]


def _aligned(rng: np.random.Generator, widths: tuple[int, ...], X: Array) -> list[Array]:
    """`W_i = Q_i S_i Q_{i-1}^T` in the right singular basis of the inputs, at both ends; all widths equal."""
    k = widths[0]
    ends = np.linalg.svd(X, full_matrices=True)[2].T
    bases = [ends, *(np.linalg.qr(rng.standard_normal((k, k)))[0] for _ in widths[2:]), ends]
    return [(above * rng.uniform(0.5, 1, k)) @ below.T for below, above in pairwise(bases)]


def _aligned_svd(rng: np.random.Generator, widths: tuple[int, ...], X: Array) -> list[Array]:
    """Every layer rectangular diagonal, of full rank, between orthogonal bases; at the inputs those of X."""
    bases = [np.linalg.svd(X, full_matrices=True)[2].T, *(np.linalg.qr(rng.standard_normal((k, k)))[0] for k in widths[1:])]
    sizes = [min(a, b) for a, b in pairwise(widths)]
    return [(Q[:, :r] * rng.uniform(0.3, 1, r)) @ P[:, :r].T for (P, Q), r in zip(pairwise(bases), sizes, strict=True)]


START = {"xavier": _xavier, "identity_middle": _identity_middle, "aligned": _aligned, "aligned_svd": _aligned_svd}


def compressed(case: Case) -> Case:
    """The rows of a quadratic loss as one would compress them by hand: `X = Q R`, and `R` with `Q^T Y` has the same gradients."""
    if case.loss != "squared" or len(case.X) <= case.X.shape[1]:
        return case
    Q, R = np.linalg.qr(case.X)
    return replace(case, X=np.ascontiguousarray(R), Y=np.ascontiguousarray(Q.T @ case.Y))
