"""Reduced: the ends of the spectrum of a network's Hessian, from the smaller network that is run in its place (T13.2, T13.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..engine.threads import limit
from ..plan.planner import Work
from ..problem.descent import Descent
from ..problem.network import Network
from ..reduce.complement import factors
from ..reduce.inputs import InputsLift
from ..reduce.width import WidthLift
from ..validate import Array
from .complement import Complement
from .factored import FactoredHessian, pays
from .operators import CurvatureOperator
from .spectrum import eigenvalues

# bases of complements of wider layers would take longer than what they save
WIDEST = 4096


class ReducedHessian:
    """The eigenvalues of the Hessian of a network as given: those of what is run, of the complement, and zeros.

    Of what is run between the matrices that its Hessian can make, where these are few (T13.7).
    """

    operator: CurvatureOperator | FactoredHessian

    def __init__(self, work: Work, descent: Descent, part: bool, *, factored: bool = True) -> None:
        """Where the run begins. Precondition: `applies(work)`, or `work` is the problem as given; `factored`: whether T13.7 may be used."""
        self._descent, self._part = descent, part
        if factored and pays(work.problem):
            self.operator = FactoredHessian(work.problem, part)
        else:
            self.operator = CurvatureOperator(work.problem, descent.metric, part)
        widths = [lift for lift in work.lifts if isinstance(lift, WidthLift)]
        self.complement = Complement(widths[0], work.problem, part) if widths else None
        known = self.operator.shape[0] + (0 if self.complement is None else self.complement.shape[0])
        self.zeros = work.given.net.size - known
        """Directions that change nothing to second order: of inputs that the data do not have, beside the complement, never made."""
        self._vectors: dict[str, Array] = {}
        self._outside: dict[str, Array] = {}
        if self.complement is not None:
            self.complement.move(work.problem.net.params, factors(descent, 0))

    def move(self, params: Sequence[Array], steps: int) -> None:
        """Stand where what is run has these parameters, after so many steps; they are looked at until they move on."""
        net = Network._adopt(self.operator.network.layers, [theta.view() for theta in params])
        if isinstance(self.operator, FactoredHessian):
            self.operator.move(net, self._vectors)
        else:
            self.operator.move(net)
        if self.complement is not None:
            self.complement.move(net.params, factors(self._descent, steps))

    def ends(self, k: int, which: str, tol: float) -> Array:
        """As `eigenvalues` of the whole Hessian: k at the end, or at each end, ascending. Each search begins where the last one ended.

        Raises: ValueError, ArithmeticError.
        """
        if which == "BE":
            return np.concatenate([self.ends(k, "SA", tol), self.ends(k, "LA", tol)])
        # rows of few outputs are too short to share out, and SciPy's copy of BLAS would wait for work on the other core
        with limit(1 if isinstance(self.operator, FactoredHessian) else None):
            return self._one_end(k, which, tol)

    def _one_end(self, k: int, which: str, tol: float) -> Array:
        found = self._end("run", self.operator, k, which, tol)
        extreme = found[0] if which == "LA" else -found[-1]
        if self.complement is not None and self.complement.shape[0] and (len(found) < k or self.complement.bound() > extreme):
            found = np.concatenate([found, self._end("complement", self.complement, k, which, tol)])
        found = np.sort(np.concatenate([found, np.zeros(min(k, self.zeros))]))
        if len(found) < k:
            raise ValueError(f"k is {k} but there are {len(found)} parameters; ask for fewer eigenvalues")
        return found[-k:] if which == "LA" else found[:k]

    def _end(self, name: str, operator: CurvatureOperator | FactoredHessian | Complement, k: int, which: str, tol: float) -> Array:
        known, key = self._vectors if name == "run" else self._outside, f"{which} {k}"
        values, vectors = eigenvalues(operator, min(k, operator.shape[0]), which, tol, known.get(key))
        known[key] = np.ascontiguousarray(vectors[:, -1 if which == "LA" else 0])
        return values

    def spectrum(self) -> Array:
        """All eigenvalues, ascending. Cost: a decomposition of what is run, and one of the complement."""
        parts = [np.linalg.eigvalsh(self.operator.toarray()), np.zeros(self.zeros)]
        if self.complement is not None:
            parts.append(np.linalg.eigvalsh(self.complement.toarray()))
        return np.sort(np.concatenate(parts))


def applies(work: Work) -> bool:
    """Whether a smaller network is run from which the spectrum of the whole one is known."""
    given = work.given.net
    known = all(isinstance(lift, InputsLift | WidthLift) for lift in work.lifts)
    smaller = work.problem.net.size < given.size
    return known and smaller and given.is_dense and work.given.batch is None and max(given.widths) <= WIDEST
