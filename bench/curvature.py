"""Second derivatives, the tangent kernel and gradient flow: one answer of each library, and how long it takes to have it again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .check import WrongResult
from .entrants import Entrant, Pace, Sample
from .rows import Entered, LeaveOut, Row
from .worker import Stage, Worker

if TYPE_CHECKING:
    from .contest import Workers

Array = Any
Answer = Callable[[], Array]


def drawn(widths: tuple[int, ...], n: int) -> tuple[list[Array], Array, Array, list[Array]]:
    """Weights of a start of size one, data with targets that a network reaches in part, and a direction."""
    rng = np.random.default_rng(0)
    W = [rng.standard_normal((b, a)) / np.sqrt(a) for a, b in pairwise(widths)]
    X = rng.standard_normal((n, widths[0])) / np.sqrt(n)
    Y = X @ rng.standard_normal((widths[0], widths[-1])) + 0.1 * rng.standard_normal((n, widths[-1]))
    return W, X, Y, [rng.standard_normal(w.shape) for w in W]


def flat(parts: list[Array]) -> Array:
    """One vector."""
    return np.concatenate([np.asarray(part).ravel() for part in parts])


# ---- the answers: a function of nothing for each library and task ------------------------------------------------------------


def linalign(task: str, widths: tuple[int, ...], n: int, asked: dict[str, Any]) -> tuple[Answer, int]:
    """And how many units a call of it makes."""
    import linalign as la

    W, X, Y, V = drawn(widths, n)
    net, v = la.Network.from_matrices(W), flat(V)
    if task in ("product", "products"):
        H = la.hessian(net, X, Y)
        if task == "product":
            return lambda: H @ v, 1
        many = np.tile(v[:, None], asked["many"])
        return lambda: (H @ many)[:, 0], asked["many"]
    if task == "kernel":
        return lambda: la.ntk(net, X), 1
    if task == "sharpness":
        return lambda: np.array(la.sharpness(net, X, Y, tol=1e-6)), 1
    times = [0.0, asked["until"]]
    return lambda: flat(la.flow(net, X, Y, times=times, rtol=asked["rtol"]).network.params), 1


def jax(task: str, widths: tuple[int, ...], n: int, asked: dict[str, Any]) -> tuple[Answer, int]:
    """`jvp` of `grad`, a `scan` of powers, the contraction of Jacobians, diffrax; all jitted, data compressed by hand."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    W, X, Y, V = drawn(widths, n)
    if task != "kernel" and n > X.shape[1]:
        Q, R = np.linalg.qr(X)
        X, Y = R, Q.T @ Y
    given, data, goal, direction = [jnp.asarray(w) for w in W], jnp.asarray(X), jnp.asarray(Y), [jnp.asarray(v) for v in V]

    def outputs(params: list[Any], rows: Any) -> Any:
        for w in params:
            rows = rows @ w.T
        return rows

    slope = jax.grad(lambda params: 0.5 * jnp.sum((outputs(params, data) - goal) ** 2))
    # the network is an argument: of a constant the compiler works out what it can, for minutes where layers are wide
    hvp = jax.jit(lambda params, v: jax.jvp(slope, (params,), (v,))[1])
    if task == "product":
        return lambda: flat(jax.block_until_ready(hvp(given, direction))), 1
    if task == "products":
        # each from the one before, as powers are, so that none is left out
        def run(params: list[Any], v: list[Any]) -> list[Any]:
            def again(v: list[Any], _: Any) -> tuple[list[Any], None]:
                h = jax.jvp(slope, (params,), (v,))[1]
                return [a + 0 * b for a, b in zip(v, h, strict=True)], None

            v, _ = jax.lax.scan(again, v, None, length=asked["many"] - 1)
            return jax.jvp(slope, (params,), (v,))[1]

        loop = jax.jit(run)
        return lambda: flat(jax.block_until_ready(loop(given, direction))), asked["many"]
    if task == "kernel":

        def contracted(params: list[Any]) -> Any:
            J = jax.jacobian(outputs)(params, data)
            return sum(jnp.einsum("aixy,bjxy->abij", j, j) for j in J)

        kernel = jax.jit(contracted)
        return lambda: np.asarray(jax.block_until_ready(kernel(given))), 1
    if task == "sharpness":

        def search(params: list[Any], v: list[Any]) -> Any:
            def power(v: list[Any], _: Any) -> tuple[list[Any], Any]:
                h = jax.jvp(slope, (params,), (v,))[1]
                norm = jnp.sqrt(sum(jnp.sum(a**2) for a in h))
                return [a / norm for a in h], norm

            return jax.lax.scan(power, v, None, length=asked["powers"])[1][-1]

        powers = jax.jit(search)
        return lambda: np.asarray(jax.block_until_ready(powers(given, direction))), 1
    import diffrax

    terms = diffrax.ODETerm(lambda t, y, args: [-g for g in slope(y)])
    control = diffrax.PIDController(rtol=asked["rtol"], atol=asked["rtol"])
    solve = jax.jit(
        lambda y: (
            diffrax.diffeqsolve(terms, diffrax.Dopri8(), 0.0, asked["until"], None, y, stepsize_controller=control, max_steps=1_000_000).ys
        )
    )
    return lambda: flat([w[0] for w in jax.block_until_ready(solve(given))]), 1


def torch(task: str, widths: tuple[int, ...], n: int, asked: dict[str, Any]) -> tuple[Answer, int]:
    """`torch.func`: the gradient of the gradient along a direction, Jacobians contracted, powers."""
    import torch

    torch.set_default_dtype(torch.float64)
    W, X, Y, V = drawn(widths, n)
    if task != "kernel" and n > X.shape[1]:
        Q, R = np.linalg.qr(X)
        X, Y = R, Q.T @ Y
    given, direction = tuple(map(torch.tensor, W)), tuple(map(torch.tensor, V))
    data, goal = torch.tensor(X), torch.tensor(Y)

    def outputs(params: tuple[Any, ...]) -> Any:
        rows = data
        for w in params:
            rows = rows @ w.T
        return rows

    slope = torch.func.grad(lambda params: 0.5 * ((outputs(params) - goal) ** 2).sum())

    def hvp(v: tuple[Any, ...]) -> tuple[Any, ...]:
        found: tuple[Any, ...] = torch.func.vjp(slope, given)[1](v)[0]
        return found

    if task in ("product", "products"):
        return lambda: flat([h.numpy() for h in hvp(direction)]), 1
    if task == "kernel":
        jacobian = torch.func.jacrev(outputs)
        return lambda: sum(torch.einsum("aixy,bjxy->abij", j, j) for j in jacobian(given)).numpy(), 1  # type: ignore[union-attr]

    def powers() -> Array:
        v, norm = direction, torch.tensor(1.0)
        for _ in range(asked["powers"]):
            h = hvp(v)
            norm = torch.sqrt(sum((a**2).sum() for a in h))  # type: ignore[arg-type]
            v = tuple(a / norm for a in h)
        return norm.numpy()

    return powers, 1


def numpy(task: str, widths: tuple[int, ...], n: int, asked: dict[str, Any]) -> tuple[Answer, int]:
    """By hand, on the same data; flows by SciPy's DOP853."""
    import scipy.integrate

    W, X, Y, V = drawn(widths, n)
    if task != "kernel" and n > X.shape[1]:
        Q, R = np.linalg.qr(X)
        X, Y = R, Q.T @ Y

    def product() -> Array:
        A, dA = [X], [np.zeros_like(X)]
        for w, v in zip(W, V, strict=True):
            dA.append(A[-1] @ v.T + dA[-1] @ w.T)
            A.append(A[-1] @ w.T)
        D, dD, found = A[-1] - Y, dA[-1], []
        for i in reversed(range(len(W))):
            found.insert(0, dD.T @ A[i] + D.T @ dA[i])
            D, dD = D @ W[i], dD @ W[i] + D @ V[i]
        return flat(found)

    if task in ("product", "products"):
        return product, 1
    if task == "kernel":

        def grams() -> Array:
            A, S = [X], [np.eye(widths[-1])]
            for w in W[:-1]:
                A.append(A[-1] @ w.T)
            for w in W[:0:-1]:
                S.insert(0, S[0] @ w)
            return np.asarray(sum(np.einsum("ab,ij->abij", a @ a.T, s @ s.T) for a, s in zip(A, S, strict=True)))

        return grams, 1
    ends = np.cumsum([w.size for w in W])[:-1]

    def slope(t: float, y: Array) -> Array:
        params = [part.reshape(w.shape) for part, w in zip(np.split(y, ends), W, strict=True)]
        A = [X]
        for w in params:
            A.append(A[-1] @ w.T)
        D, found = A[-1] - Y, []
        for i in reversed(range(len(params))):
            found.insert(0, -(D.T @ A[i]))
            D = D @ params[i]
        return flat(found)

    def solve() -> Array:
        size = float(np.abs(flat(W)).max())
        found = scipy.integrate.solve_ivp(
            slope, (0, asked["until"]), flat(W), method="DOP853", rtol=asked["rtol"], atol=asked["rtol"] * size
        )
        return found.y[:, -1]

    return solve, 1


LIBRARIES = {"numpy": numpy, "torch": torch, "jax": jax, "linalign": linalign}


def prepare(stage: Stage, library: str, row: Curvature) -> int:
    """Make the answer of a library, and its first one; how many units it is. Raises: ImportError where it has none."""
    stage.kept["answer"], many = LIBRARIES[library](row.task, row.widths, row.n, row.asked)
    stage.kept["answer"]()
    return many


def answer(stage: Stage) -> Array:
    """What it finds."""
    return np.array(stage.kept["answer"]())


def seconds(stage: Stage, repeats: int) -> float:
    """Seconds of so many answers."""
    find = stage.kept["answer"]
    began = time.perf_counter()
    for _ in range(repeats):
        find()
    return time.perf_counter() - began


class Answers(Entrant):
    """The same answer again and again; `many` units each."""

    def __init__(self, process: Worker, variant: str, many: int) -> None:
        super().__init__(process, variant)
        self.many, self.took = many, 0.0

    def calibrate(self, pace: Pace) -> float:
        found = self.sample().seconds
        # the first answers after a pause take some times as long as those that follow them
        while self.took < 0.8 * pace.least:
            self.steps = max(2 * self.steps, min(int(1.2 * self.steps * pace.least / self.took), 50 * self.steps))
            found = self.sample().seconds
        return found

    def sample(self) -> Sample:
        self.took = float(self.process.call(seconds, self.steps))
        return Sample(self.took / (self.steps * self.many))

    @property
    def lasts(self) -> float:
        return self.took


@dataclass(frozen=True)
class Curvature(Row):
    """A task on a network of these widths with n samples and the squared loss; `off`: how far answers may be apart, relatively."""

    task: str
    widths: tuple[int, ...]
    n: int
    what: str
    off: float = 1e-9
    asked: dict[str, Any] = field(default_factory=dict, hash=False)

    section: ClassVar[str] = "second derivatives, kernels and flow"
    unit: ClassVar[str] = "an answer"

    @property
    def name(self) -> str:
        return f"{'-'.join(map(str, self.widths))}, n={self.n}: {self.what}"

    @property
    def libraries(self) -> tuple[str, ...]:
        # powers by hand are those of torch and JAX, and torch has no integrator
        return tuple(name for name in LIBRARIES if (name, self.task) not in {("numpy", "sharpness"), ("torch", "flow")})

    def tiny(self) -> Curvature:
        asked = {**self.asked, **({"until": 1.0} if "until" in self.asked else {}), **({"many": 3} if "many" in self.asked else {})}
        return replace(self, widths=tuple(min(k, 5) for k in self.widths[:3]), n=min(self.n, 8), asked=asked)

    def enter(self, library: str, workers: Workers) -> tuple[list[Entrant], dict[str, str]]:
        process: Worker = workers.get(library)
        whose = "linalign" if library == "before" else library
        many = process.call(prepare, whose, self)
        return [Answers(process, f"{whose}, {self.task}", many)], {}

    def check(self, entered: Entered, leave_out: LeaveOut) -> dict[str, float]:
        found = {library: who[0].process.call(answer) for library, who in entered.items() if who}
        want = found.get("numpy", next(iter(found.values())))
        errors = {}
        for library, got in found.items():
            worst = float(np.max(np.abs(got - want))) / float(np.max(np.abs(want))) if got.shape == want.shape else np.inf
            if not worst <= self.off:
                raise WrongResult(f"{library}: {self.name} is off by {worst:.1e} of the largest number; the bound is {self.off:.1e}")
            errors[f"{library}: {entered[library][0].how}"] = worst / self.off
        return errors
