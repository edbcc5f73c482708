"""Ends: sharpness, and eigenvalues at the ends of the spectrum of a Hessian."""

from __future__ import annotations

from typing import Any

from .. import validate
from ..calls import called
from ..engine.engines import simultaneous
from ..engine.threads import for_plan
from ..losses import Loss
from ..plan.planner import Work, make_plan
from ..problem.network import Network
from ..problem.problem import make_problem
from ..validate import Array
from .factored import pays
from .operators import hessian
from .reduced import ReducedHessian, applies
from .spectrum import ENDS, SMALL, eigenvalues

# about how many products a search takes, by which a plan sees whether a smaller network pays
PRODUCTS = 60
# eigenvalues are many from this share of all on
MANY = 10


@called
def sharpness(
    net: Network, X: Any, Y: Any = None, *, loss: str | Loss = "squared", metric: str = "parameters", k: int = 1, which: str = "LA",
    tol: float = 1e-9, start: Any = None,
) -> Any:  # fmt: skip
    """The largest eigenvalue of the Hessian of the loss, or a few at either end of its spectrum.

    Gradient descent with learning rate lr is linearly stable at a minimum where `lr * sharpness < 2` (T13.4), in its own metric.

    Parameters
    ----------
    net, X, Y, loss, metric : as in `linalign.hessian`.
    k : how many eigenvalues.
    which : "LA" (the largest), "SA" (the smallest) or "BE" (k at each end), as in `scipy.sparse.linalg.eigsh`, which finds them.
    tol : relative to the largest in size.
    start : vector (size,), optional
        Where the search begins, an eigenvector nearby for instance; ones in place of it.

    Returns
    -------
    float if k is 1 and one end was asked for, else an array, ascending: `(k,)`, or `(2 k,)` for "BE".

    Raises: ValueError, TypeError as `train`; ArithmeticError where the Hessian is not finite.
    Cost: some tens of Hessian products, of the smaller network that a run would take in its place (T13.3), of few outputs on the rows that
    its layers make (T13.7); as many again for each equal eigenvalue if k > 1; of up to 128 parameters, all eigenvalues at once.
    Source: docs/theory, section 13.

    Examples
    --------
    >>> import linalign as la, numpy as np
    >>> net = la.Network.from_matrices([[[2.0]], [[2.0]]])
    >>> la.sharpness(net, [[1.0]], [[4.0]])  # at a minimum: ||(2, 2)||^2
    8.0
    """
    wanted = validate.integer("k", k, least=1)
    validate.choice("which", which, ENDS)
    validate.real("tol", tol, above=0)
    if start is not None:
        start = validate.finite("start", validate.real_array("start", start, net.dtype))
        if start.shape != (net.size,):
            raise ValueError(f"start has shape {start.shape}; one number a parameter was wanted, ({net.size},)")
    found = None if start is not None else _of_smaller(net, X, Y, loss, metric, wanted, which, tol)
    if found is None:
        found = eigenvalues(hessian(net, X, Y, loss=loss, metric=metric), wanted, which, tol, start)[0]
    return float(found[0]) if wanted == 1 and which != "BE" else found


def _of_smaller(net: Any, X: Any, Y: Any, loss: Any, metric: str, k: int, which: str, tol: float) -> Array | None:
    """The same from the network that a run would take in place of this one, or from its few outputs, where that pays (T13.3, T13.7)."""
    problem = make_problem(net, X, Y, loss)
    if not net.is_dense or net.size <= SMALL:
        return None
    descent = simultaneous(net.depth, metric)
    with for_plan(None, problem):
        work = make_plan(problem, descent, steps=PRODUCTS)[1]
    # many eigenvalues would leave no zeros to take
    factored = k <= net.size // MANY
    if not applies(work):
        work = Work(problem, problem)
        factored = factored and pays(problem)
        if not factored:
            return None
    return ReducedHessian(work, descent, False, factored=factored).ends(k, which, tol)
