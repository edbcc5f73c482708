"""Objective: a loss of a network on data, bound once and evaluated many times, for loops and optimisers of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import validate
from ..calls import Called
from ..engine.bind import bind
from ..engine.engines import simultaneous
from ..engine.threads import for_plan, limit
from ..layers.flat import split
from ..losses import Loss, resolve
from ..plan import machine
from ..plan.planner import make_plan
from ..problem.metric import METRICS
from ..problem.network import Network
from ..problem.problem import make_problem
from ..validate import Array

# reductions that leave the parameters as they are
PLAIN = ("samples", "filters")
RUNNING, CALLBACK_FAILED = machine.STATUSES["running"], machine.STATUSES["callback failed"]

Params = Array | Sequence[Array]


class Objective(metaclass=Called):
    """A loss of a network on data as a function of the parameters: `L(theta)` and its gradient.

    `L(theta) = loss(X (W_d ... W_1)^T, Y)` with `W_i = sum_k theta_ik A_k`. Checks, the choice of a pivot, the compression of the data and
    all buffers are for the first time; then a call is one call of the kernel.

    Parameters
    ----------
    net : Network
        Layers, and the parameters at which `params` and `flat` begin.
    X, Y, loss : as in `linalign.train`.
    metric : "parameters" (the gradient in theta, as autograd has it) or "matrix" (coordinates of the projected gradient)
    reduce : "samples" or "none"
        "samples": n rows become rank(X) rows with the same quadratic loss (T7.1), and chains of convolutions run on their moves (T9.1).
    pivot, threads : as in `linalign.train`; by default one thread.

    `theta` is a sequence of arrays, one a layer, or one flat vector, layer 1 first, each raveled; answers come in kind. What is passed in
    is never written. One object a thread: a second thread inside gets RuntimeError; `copy.copy` binds another. It pickles.

    Raises: ValueError, TypeError for bad input; what a loss in Python raises. A loss that is not finite is returned as it is, so that a
    line search can step back.
    Cost: as a step of gradient descent, without the update. Source: docs/theory, section 10.

    Examples
    --------
    >>> import linalign as la, numpy as np, scipy.optimize
    >>> X = np.random.default_rng(0).standard_normal((50, 4))
    >>> net = la.Network.dense([4, 3, 2]).init("xavier", rng=0)
    >>> objective = la.Objective(net, X, X[:, :2] + X[:, 2:])
    >>> value, gradients = objective.value_and_grad(net.params)
    >>> bool(scipy.optimize.minimize(**objective.scipy(), method="L-BFGS-B").fun < 1e-8)
    True
    """

    def __init__(
        self, net: Network, X: Any, Y: Any = None, *, loss: str | Loss = "squared", metric: str = "parameters", reduce: str = "samples",
        pivot: Any = "auto", threads: int = 1,
    ) -> None:  # fmt: skip
        self._given = (net, X, Y, resolve(loss), metric, reduce, pivot, threads)
        problem = make_problem(net, X, Y, loss)
        validate.choice("metric", metric, METRICS)
        allowed = PLAIN if validate.choice("reduce", reduce, ("samples", "none")) == "samples" else ()
        workers = validate.integer("threads", threads, least=1)
        descent = simultaneous(net.depth)
        with for_plan(workers, problem):
            plan, work = make_plan(problem, descent, reduce=allowed, pivot=pivot)
        self.plan = plan
        """What is evaluated in place of the problem as given, and why."""
        self._net, self._floor, self._dtype = net, work.floor, net.dtype
        # the Hessian and the parameters where it stands, once it is asked for
        self._curvature: Any = None
        self._stood = np.empty(0)
        # what a value is given with
        self._added = work.floor
        self._chain = bind(work.problem, descent, plan.pivot.at, plan.pivot.rows, workers)
        self._start = [theta.copy() for theta in work.problem.net.params]
        self._shapes = [layer.param_shape for layer in net.layers]
        self._size = net.size
        # the kernel's gradients are those in the parameters
        self._solved = [i for i, layer in enumerate(net.layers) if metric == "matrix" and not layer.orthonormal]
        # BLAS is held to one thread where it is called at all
        self._uses_blas = "BLAS" in plan.kernel or "constrained" in plan.kernel

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, self._given

    def __repr__(self) -> str:
        return f"Objective({self._net!r}, {self._given[3].kind} loss, {self.plan.rows_after} rows, pivot {self.plan.pivot.at})"

    @property
    def params(self) -> list[Array]:
        """The parameters of the network that was given, one array a layer; copies."""
        return [theta.copy() for theta in self._net.params]

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64 or float32, as the network has it."""
        return self._dtype

    @property
    def flat(self) -> Array:
        """The same as one vector, `(size,)`."""
        return np.concatenate([theta.ravel() for theta in self._net.params])

    def with_params(self, params: Params) -> Network:
        """The network with these parameters."""
        return self._net.with_params(self._layerwise(params))

    def forward(self, X: Any, params: Params | None = None) -> Array:
        """`X (W_d ... W_1)^T`, `(n, k_d)`, at the network's parameters or others."""
        return (self._net if params is None else self.with_params(params))(X)

    def value_and_grad(self, params: Params, *, out: Params | None = None) -> tuple[float, Any]:
        """`(L, dL/dtheta)`, the gradient as `params` are: a vector, or a list of arrays. `out` is written and returned if given."""
        if not isinstance(params, (np.ndarray, list, tuple)):
            params = validate.plain("params", params)
        flat = isinstance(params, np.ndarray)
        if out is None:
            out = np.empty(self._size, self._dtype) if flat else [np.empty(shape, self._dtype) for shape in self._shapes]
        return self._evaluate(params, out), out

    def value(self, params: Params) -> float:
        """`L`."""
        return self._evaluate(params, None)

    def gradient(self, params: Params, *, out: Params | None = None) -> Any:
        """`dL/dtheta`, as `params` are."""
        return self.value_and_grad(params, out=out)[1]

    @property
    def floor(self) -> float:
        """What no parameters change and reductions took out of the loss: where the data are compressed, its least value for any map."""
        return self._floor

    def excess_and_grad(self, params: Params, *, out: Params | None = None) -> tuple[float, Any]:
        """`(L - floor, dL/dtheta)`: near a minimum at the floor the difference has all its digits, the loss has not."""
        floor, self._added = self._added, 0.0
        try:
            return self.value_and_grad(params, out=out)
        finally:
            self._added = floor

    def hessian_product(self, params: Params, vector: Any) -> Array:
        """`H v (size,)`, the Hessian of L in the flat parameters at `params` times a vector: `linalign.hessian`, which stays where it is
        for as long as `params` do.

        Raises: ValueError with metric="matrix", whose gradient is not that of L in the parameters.
        """
        net, X, Y, loss, metric = self._given[:5]
        if metric != "parameters":
            raise ValueError(f"metric is {metric!r} but a Hessian is of the parameters; bind the objective with metric='parameters'")
        at = np.concatenate([theta.ravel() for theta in self._layerwise(params)])
        if self._curvature is None:
            from ..curvature import hessian

            self._curvature = hessian(net, X, Y, loss=loss)
            self._stood = self.flat
        if not np.array_equal(at, self._stood):
            self._curvature, self._stood = self._curvature.at(self.with_params(at)), at
        return np.asarray(self._curvature @ vector)

    def scipy(self, *, excess: bool = False, second: bool = False) -> dict[str, Any]:
        """Arguments of `scipy.optimize.minimize`: `minimize(**objective.scipy(), method="L-BFGS-B")`.

        `excess`: what is minimised is `L - floor`. A line search sees no descent below the rounding of its function, some 1e-16 of a
        loss of size one, which a gradient of 1e-8 is enough for; of the excess it does.
        `second`: with `hessp`, for `method="Newton-CG"`, `"trust-ncg"` and others that take products with the Hessian.
        """
        found = {"fun": self.excess_and_grad if excess else self.value_and_grad, "x0": self.flat, "jac": True}
        return {**found, "hessp": self.hessian_product} if second else found

    def _evaluate(self, params: Params, out: Params | None) -> float:
        try:
            status, value = self._call(params, out)
        except (TypeError, ValueError, BufferError):
            # in a layout that the kernel does not take: say what is wrong with it, or copy
            own = self._layerwise(params)
            out = None if out is None else self._writable(out)
            status, value = self._call(own, out)
        if status != RUNNING:
            if status == CALLBACK_FAILED:
                raise self._chain.error
            # what left the finite numbers may stand in the padding
            self._chain.restore(self._start)
        if out is not None and self._solved:
            slopes = out if not isinstance(out, np.ndarray) else split(out, self._shapes)
            for i in self._solved:
                slopes[i][...] = self._net.layers[i].solve_gram(slopes[i])
        return float(value) + self._added

    def _call(self, params: Params, out: Params | None) -> tuple[int, float]:
        if not self._uses_blas:
            found: tuple[int, float] = self._chain.evaluate(params, out)
            return found
        with limit(1):
            found = self._chain.evaluate(params, out)
            return found

    def _layerwise(self, params: Any) -> list[Array]:
        """Checked: one array a layer. Raises: ValueError, TypeError."""
        params = validate.plain("params", params)
        if isinstance(params, np.ndarray) and params.ndim == 1:
            vector = validate.real_array("params", params, self._dtype)
            if vector.shape != (self._size,):
                raise ValueError(f"params has shape {vector.shape}; a vector of {self._size} numbers was wanted, or one array a layer")
            return split(np.ascontiguousarray(vector), self._shapes)
        if isinstance(params, Network):
            raise TypeError("params is a Network; one array a layer was wanted: pass net.params")
        given = list(params)
        if len(given) != len(self._shapes):
            raise ValueError(f"params has {len(given)} arrays but the network has {len(self._shapes)} layers; pass one array a layer")
        found = []
        for i, (theta, shape) in enumerate(zip(given, self._shapes, strict=True)):
            own = validate.real_array(f"params[{i}]", theta, self._dtype)
            if own.shape != shape:
                raise ValueError(f"params[{i}] has shape {own.shape}; {shape} was wanted")
            found.append(np.ascontiguousarray(own))
        return found

    def _writable(self, out: Any) -> Params:
        """`out`, or arrays on the memory of its tensors. Raises: ValueError, TypeError for what the kernel cannot write to."""
        if not isinstance(out, (list, tuple)):
            return validate.writable("out", out, (self._size,), self._dtype)
        return [
            validate.writable(f"out[{i}]", array, shape, self._dtype)
            for i, (array, shape) in enumerate(zip(out, self._shapes, strict=True))
        ]


def _made(net: Network, X: Any, Y: Any, loss: Loss, metric: str, reduce: str, pivot: Any, threads: int) -> Objective:
    return Objective(net, X, Y, loss=loss, metric=metric, reduce=reduce, pivot=pivot, threads=threads)
