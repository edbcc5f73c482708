"""
Two layers learn their modes one after the other
================================================

On inputs that are the identity, each mode of the targets is learned at its own time, the largest first.
"""

import matplotlib.pyplot as plt
import numpy as np

import linalign as la

rng = np.random.default_rng(0)
X = np.eye(4)
run = la.train(la.Network.dense([4, 4, 4]).init("orthogonal", rng=0, scale=1e-3), X, np.diag([4.0, 3, 2, 1]), lr=0.01, steps=1000,
               metric="parameters", record={"singular_values": 10})  # fmt: skip
history = run.history["singular_values"]
plt.plot(history.steps, history.values)
plt.xlabel("step")
plt.ylabel("singular value")
assert run.loss[-1] < 1e-3
