"""The compiled products by themselves, for those who bring their own loop: arrays in, arrays out, nothing kept in between.

- `forward(weights, X)`: X W_1^T ... W_d^T
- `backward(weights, X, D)`: what D, the gradient in these outputs, is in each weight and in X
- `tape(weights, X)`: room in which `backward` finds what `forward` has computed
- `project(layer, M)`: the parameters of the matrix nearest to M that a constrained layer has

>>> import numpy as np, linalign as la
>>> rng = np.random.default_rng(0)
>>> weights, X = [rng.standard_normal((45, 10)), rng.standard_normal((10, 45))], rng.standard_normal((128, 10))
>>> F = la.kernels.forward(weights, X)
>>> G = la.kernels.backward(weights, X, F - X)
>>> [g.shape for g in G]
[(45, 10), (10, 45)]
"""

from .products import backward, forward, tape
from .projections import project

__all__ = ["backward", "forward", "project", "tape"]
