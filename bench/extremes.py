"""Data that are very long or very wide: what is done before the first step, beside what the data alone ask of BLAS."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .check import WrongResult
from .entrants import Calls, Entrant
from .rows import Entered, LeaveOut, Row
from .worker import Stage

if TYPE_CHECKING:
    from .contest import Workers

Sizes = tuple[int, ...]


def data(stage: Stage, sizes: Sizes) -> tuple[Any, Any]:
    """`X (n, k_0)` and `Y (n, k_d)` of `(n, k_0, ..., k_d)`, drawn once in a process."""
    if sizes not in stage.kept:
        rng = np.random.default_rng(0)
        stage.kept.clear()
        stage.kept[sizes] = rng.standard_normal(sizes[:2]), rng.standard_normal((sizes[0], sizes[-1]))
    return stage.kept[sizes]  # type: ignore[no-any-return]


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


# ---- peers -----------------------------------------------------------------------------------------------------------------


def numpy_gram(stage: Stage, sizes: Sizes) -> float:
    """Seconds of `X^T X`."""
    X, _ = data(stage, sizes)
    return timed(lambda: X.T @ X)


def scipy_qr(stage: Stage, sizes: Sizes) -> float:
    """Seconds of the triangle of `[X Y]`: what compresses samples by hand."""
    import scipy.linalg

    X, Y = data(stage, sizes)
    return timed(lambda: scipy.linalg.qr(np.hstack([X, Y]), mode="r", check_finite=False))


def jax_gram(stage: Stage, sizes: Sizes) -> float:
    """Seconds of `X^T X` by JAX."""
    import jax

    jax.config.update("jax_enable_x64", True)
    X = jax.numpy.asarray(data(stage, sizes)[0])
    gram = jax.jit(lambda A: A.T @ A)
    gram(X).block_until_ready()
    return timed(lambda: gram(X).block_until_ready())


def numpy_svd(stage: Stage, sizes: Sizes) -> float:
    """Seconds of the thin decomposition of X."""
    X, _ = data(stage, sizes)
    return timed(lambda: np.linalg.svd(X, full_matrices=False))


# ---- linalign --------------------------------------------------------------------------------------------------------------


def network(sizes: Sizes) -> Any:
    """A start of these widths."""
    import linalign as la

    return la.Network.dense(sizes[1:]).init("gaussian", rng=0)


def planned(stage: Stage, sizes: Sizes, loss: str) -> float:
    """Seconds of `explain`."""
    import linalign as la

    X, Y = data(stage, sizes)
    net, T = network(sizes), Y.argmax(axis=1) if loss == "cross_entropy" else Y
    return timed(lambda: la.explain(net, X, T, loss=loss))


def judged(stage: Stage, sizes: Sizes, what: str) -> float:
    """Seconds of a question of the theory's."""
    import linalign as la
    from linalign import theory

    X, Y = data(stage, sizes)
    net = network(sizes)
    calls = {
        "aligned_minimum": lambda: theory.aligned_minimum(net.widths, X, Y),
        "alignment_certificate": lambda: la.alignment_certificate(net),
        "invariance_condition": lambda: theory.invariance_condition(X, Y, net),
        "certify": lambda: theory.certify(net, X, Y),
    }
    return timed(calls[what])


def losses_by_both(stage: Stage, sizes: Sizes) -> tuple[float, float]:
    """`||X P^T - Y||^2` at some P, of the data and of what compressing them leaves."""
    import linalign as la

    X, Y = data(stage, sizes)
    P = np.random.default_rng(1).standard_normal((sizes[1], sizes[-1])) / np.sqrt(sizes[1])
    small = la.compress(X, Y)
    return float(np.sum((X @ P - Y) ** 2)), float(np.sum((small.X @ P - small.Y) ** 2)) + small.constant


def gaps(stage: Stage, sizes: Sizes) -> tuple[float, float]:
    """The loss of the aligned minimum, and the least there is: of the least-squares fit, of the rank that the widths allow."""
    from linalign import theory

    X, Y = data(stage, sizes)
    found = theory.aligned_minimum(sizes[1:], X, Y)
    U = np.linalg.svd(X, full_matrices=False)[0]
    s = np.linalg.svd(U.T @ Y, compute_uv=False)
    return found.loss, 0.5 * (float(np.sum((Y - U @ (U.T @ Y)) ** 2)) + float(np.sum(s[min(sizes[1:]) :] ** 2)))


@dataclass(frozen=True)
class Beside(Row):
    """Something that linalign does to data, `(n, k_0, ..., k_d)`, over what a library does to the same data.

    `ours` and `base`: a label and a function of a stage, the sizes and what else is given; `peers`: others by library. `same`: two
    numbers that are to agree.
    """

    title: str
    sizes: Sizes
    ours: tuple[Callable[..., float], tuple[Any, ...]]
    base: Callable[..., float]
    same: Callable[..., tuple[float, float]]
    peers: tuple[tuple[str, Callable[..., float]], ...] = ()

    section: ClassVar[str] = "data that are very long or very wide"
    unit: ClassVar[str] = "a call"
    at_most: ClassVar[bool] = True
    # it is compared with nothing: the two numbers come from linalign's process, one of them by NumPy
    reference: ClassVar[tuple[str, ...]] = ("numpy",)

    @property
    def name(self) -> str:
        return self.title

    @property
    def libraries(self) -> tuple[str, ...]:
        return ("linalign", "numpy", *(library for library, _ in self.peers))

    def tiny(self) -> Beside:
        return replace(self, sizes=tuple(min(size, 30 if i == 0 else 6) for i, size in enumerate(self.sizes)))

    def role(self, library: str) -> str:
        return {"linalign": "ours", "numpy": "base"}.get(library, super().role(library))

    def enter(self, library: str, workers: Workers) -> tuple[list[Entrant], dict[str, str]]:
        if library in ("linalign", "before"):
            function, more = self.ours
            return [Calls(workers.get(library), "linalign", function, self.sizes, *more)], {}
        function = {"numpy": self.base, **dict(self.peers)}[library]
        process = workers.get(library)
        if library == "jax":
            process.call(jax_gram, (4, 2, 1))  # raises where it is not to be had
        return [Calls(process, function.__name__, function, self.sizes)], {}

    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        """Over a bound of the rounding of sums of so many squares."""
        errors = {}
        for who in entered["linalign"]:
            one, other = who.process.call(self.same, self.sizes)
            bound = 1e-11 * max(one, other, 1e-12 * self.sizes[0] * self.sizes[-1])
            if not abs(one - other) <= bound:
                raise WrongResult(f"{self.title}: {one!r} and {other!r}")
            errors[f"linalign: {who.how}"] = abs(one - other) / bound
        return errors
