"""Curvature along a run: sharpness, ends of the spectrum and the tangent kernel of the network as given, each search from the last one."""

from __future__ import annotations

import numpy as np

from ..curvature.kernel import Factors, turned
from ..curvature.operators import CurvatureOperator
from ..curvature.spectrum import eigenvalues
from ..problem.descent import Descent
from ..problem.network import Network
from ..problem.problem import Problem, whole
from ..reduce import samples
from ..reduce.biases import homogeneous
from ..validate import Array

# of the eigenvalues that are recorded, relative to the largest
TOLERANCE = 1e-6
# at each end
ENDS = 3


class Watched:
    """The curvature of one run, in the metric of its descent; Hessians are those of all the data, where it stands."""

    def __init__(self, problem: Problem, descent: Descent) -> None:
        """`problem` as given, at the start of the run."""
        self._problem, self._descent = whole(problem), descent
        self._operators: dict[bool, CurvatureOperator] = {}
        self._vectors: dict[str, Array] = {}
        self._rows: Array | None = None
        self._first: Factors | None = None

    def operator(self, network: Network, part: bool) -> CurvatureOperator:
        """The Hessian there, or Gauss-Newton's part."""
        made = self._operators.get(part)
        if made is None:
            made = self._operators[part] = CurvatureOperator(self._problem.on(network), self._descent.metric, part)
        elif made.network is not network:
            made.move(network)
        return made

    def top(self, network: Network, part: bool = False) -> float:
        """The largest eigenvalue; nan where the search did not end."""
        key = "part" if part else "whole"
        try:
            values, vectors = eigenvalues(self.operator(network, part), 1, "LA", TOLERANCE, self._vectors.get(key))
        except ArithmeticError:
            return np.nan
        self._vectors[key] = np.ascontiguousarray(vectors[:, 0])
        return float(values[0])

    def ends(self, network: Network) -> Array:
        """The smallest and the largest eigenvalues, ascending; nan where there are not so many, or the search did not end."""
        operator = self.operator(network, False)
        count = min(ENDS, operator.shape[0] // 2)
        found = np.full(2 * ENDS, np.nan)
        if count:
            try:
                values = eigenvalues(operator, count, "BE", TOLERANCE, None)[0]
            except ArithmeticError:
                return found
            found[ENDS - count : ENDS], found[ENDS : ENDS + count] = values[:count], values[count:]
        return found

    def factors(self, network: Network) -> Factors:
        """The tangent kernel on the inputs, or on rows with the same second moments where the loss is quadratic."""
        problem = homogeneous(self._problem.on(network))
        if self._rows is None:
            if problem.X is not None and problem.quadratic:
                problem = samples.reduce(problem)[0]
            self._rows = np.eye(problem.net.widths[0], dtype=problem.net.dtype) if problem.X is None else problem.X
        return Factors(problem.net.layers, problem.net.params, self._rows, self._descent.metric)

    def distance(self, network: Network) -> float:
        """How far the tangent kernel has turned from that of the start of the run."""
        now = self.factors(network)
        if self._first is None:
            self._first = self.factors(self._problem.net)
        return turned(now, self._first)
