"""What is measured: the rows of the speed tables of issues 2 and 3, their data and their starts.

Everything is drawn with NumPy from a seed made of the row's name, so that each process draws the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

FOUNDATION = "issue 2: the loop, samples compressed, no other reduction"
REDUCTIONS = "issue 3: every exact reduction"
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
    """One row of the table.

    `target` is the least ratio to the fastest peer that the issue asks for. `whole_run` is `(steps, target)` where it asks for
    a whole run too, planning and lifting included; `dgemm` is the wanted fraction of this machine's own matrix product rate;
    `plain` is the wanted ratio with `reduce="none"`. `against` names the peers that count, if not all do.
    `options` go to `linalign.train`; without the features named in `needs` (`module` or `module:name`) the row is skipped.
    """

    name: str
    group: str
    widths: tuple[int, ...]
    n: int
    target: float
    lr: float
    loss: str = "squared"
    dtype: str = "float64"
    start: str = "xavier"
    autoencoding: bool = False
    check_steps: int = 20
    options: Mapping[str, Any] = field(default_factory=lambda: SAMPLES)
    needs: tuple[str, ...] = ()
    whole_run: tuple[int, float] | None = None
    dgemm: float | None = None
    plain: float | None = None
    against: tuple[str, ...] = ()

    # the file of each library in bench/peers/
    peers: ClassVar[Mapping[str, str]] = {"numpy": "numpy_loop", "torch": "torch_eager", "jax": "jax_scan"}

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

WIDTH, SPLIT = "linalign.reduce.width", "linalign.reduce.split"
AUTHORS = (784, 1024, 64, 10)

WORKLOADS = (
    Workload("5-5-5-5, n=5", FOUNDATION, (5, 5, 5, 5), 5, 8, 1e-2),
    Workload("32-32-32-32-32, n=1000", FOUNDATION, (32,) * 5, 1000, 12, 1e-2),
    Workload("100-wide, 10 layers, n=10,000", FOUNDATION, (100,) * 11, 10_000, 60, 1e-4, check_steps=5),
    Workload("512-512-512-512-1, n=1000", FOUNDATION, (512, 512, 512, 512, 1), 1000, 40, 1e-3),
    Workload("784-1024-64-10, n=256", FOUNDATION, AUTHORS, 256, 4, 1e-2),
    Workload("1000-wide, 4 layers, n=1000", FOUNDATION, (1000,) * 5, 1000, 1, 1e-3, check_steps=5, dgemm=0.85),
    Workload("784-1024-64-10, n=256, all reductions", REDUCTIONS, AUTHORS, 256, 60, 1e-2, options=AUTO, needs=(WIDTH,)),
    Workload(
        "784-1024-64-10, n=256, cross-entropy", REDUCTIONS, AUTHORS, 256, 15, 1e-1, loss="cross_entropy", options=AUTO, needs=(WIDTH,),
    ),
    Workload("784-4-1, n=8", REDUCTIONS, (784, 4, 1), 8, 70, 1e-2, options=AUTO, needs=(WIDTH,)),
    Workload("5-5-5-5, n=5, all reductions", REDUCTIONS, (5, 5, 5, 5), 5, 12, 1e-2, options=AUTO, needs=(WIDTH,)),
    Workload(
        "500-5030-5030-3, identity middle, n=100", REDUCTIONS, (500, 5030, 5030, 3), 100, 2000, 1e-2, start="identity_middle",
        check_steps=3, options=AUTO, needs=(WIDTH,), whole_run=(1100, 200),
    ),
    Workload(
        "aligned start, 100-wide, 4 layers, n=1000", REDUCTIONS, (100,) * 5, 1000, 3000, 1e-2, start="aligned", autoencoding=True,
        options=AUTO, needs=(SPLIT,),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """linalign against itself: the time of a step of `left` over one of `right` is wanted at or below `at_most`.

    `multiple`: step counts are multiples of it, so that what happens every so many steps is in the slope in full.
    """

    name: str
    group: str
    left: Workload
    right: Workload
    at_most: float
    multiple: int = 1


def _authors(record: Any) -> Workload:
    return Workload("784-1024-64-10, n=256", FOUNDATION, AUTHORS, 256, 4, 1e-2, options={**SAMPLES, "record": record})


def _of_n(n: int) -> Workload:
    return Workload("32-32-32-32-32", FOUNDATION, (32,) * 5, n, 1, 1e-2)


PAIRS = (
    Pair("32-32-32-32-32: a step at n=1,000,000 over n=1000", FOUNDATION, _of_n(1_000_000), _of_n(1000), 1.05),
    Pair("784-1024-64-10: alignment every 100 steps", FOUNDATION, _authors({"alignment": 100}), _authors(None), 1.1, multiple=1000),
    # two equal runs differ by noise alone, of about 2 %
    Pair("784-1024-64-10: recording nothing", FOUNDATION, _authors({}), _authors(None), 1.02, multiple=1000),
)


@dataclass(frozen=True)
class Sweep:
    """Many small networks over one data set: seconds for all of them, against NumPy's loop."""

    name: str
    group: str
    workload: Workload
    nets: int
    steps: int
    target: float
    needs: tuple[str, ...]

    def starts(self) -> list[Array]:
        """One stack `(nets, k_i, k_{i-1})` a layer, gaussian with variance `1 / k_{i-1}`."""
        rng = np.random.default_rng(0)
        return [rng.standard_normal((self.nets, b, a)) / np.sqrt(a) for a, b in pairwise(self.workload.widths)]


SWEEPS = (
    Sweep(
        "1,600 nets 5-5-5, n=10, 4,000 steps each", REDUCTIONS, Workload("5-5-5", REDUCTIONS, (5, 5, 5), 10, 1, 1e-2),
        1600, 4000, 30, ("linalign:sweep",),
    ),
)  # fmt: skip
