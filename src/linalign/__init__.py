"""Deep linear networks `f(x) = W_d ... W_1 x`: trained in C on the smallest problem with the same trajectory, their alignment tracked.

Ten names to begin with; `help` of each says the rest:

Network      layers and their parameters: `Network.dense([784, 64, 10]).init("gaussian", rng=0)`
train        gradient descent: `run = train(net, X, Y, loss="mse", lr="auto", steps=5_000, record={"alignment": 100})`; rows are samples
Run          what it returns: `run.network`, `run.loss`, `run.history["alignment"].values`, `run.plan`, `run.plot()`, `run.save(path)`
explain      the plan that `train` would follow, and why: `print(explain(net, X, Y))`
losses       what is minimised: "squared", "mse", "cross_entropy", ..., observed entries of a matrix
optim        update rules beside gradient descent, schedules of the learning rate
Conv2d       one of the layers with a structure, beside Toeplitz, Circulant, Masked, Tied, Subspace, ...: `Network([Conv2d(28, 3), ...])`
alignment    how far neighbouring layers share singular vectors: 1 is aligned; `alignment_baseline` says what a random start scores
sweep        many runs over one data set, on all cores: `sweep(make_network, X, Y, grid={"rng": range(100), "lr": [0.1, 0.01]}, steps=...)`
Objective    a loss bound once, for a loop or an optimiser of your own: `Objective(net, X, Y).value_and_grad(params)`

What can be recorded: `help(linalign.record)`. Tables and files: `linalign.data.read`, `.load`. PyTorch, JAX, scikit-learn, dask:
`linalign.interop`. What is proved about data and a start before training: `linalign.theory`. On the command line: `linalign --help`.
"""

import os
from importlib import import_module
from threading import RLock
from typing import TYPE_CHECKING, Any

# at once: whether the kernels are there is said here, their threads hear of every fork, and BLAS is counted as it is set up
from .engine import bind as _bind  # noqa: F401
from .engine import threads as _threads  # noqa: F401

if TYPE_CHECKING:
    from . import curvature, data, interop, kernels, layers, losses, optim, record, theory
    from .curvature import (
        gauss_newton,
        hessian,
        kernel_distance,
        linearized,
        ntk,
        ntk_operator,
        ntk_trace,
        sharpness,
        spectral_density,
    )
    from .engine.config import show_config
    from .layers import (
        Affine,
        AntiCirculant,
        BlockDiagonal,
        Circulant,
        Conv1d,
        Conv2d,
        Dense,
        Diagonal,
        Fixed,
        Hankel,
        Layer,
        Masked,
        Residual,
        Scaled,
        Skew,
        Subspace,
        Symmetric,
        Tied,
        Toeplitz,
        project,
    )
    from .plan.plan import Plan
    from .problem.compressed import Compressed
    from .problem.network import Network
    from .record.recorder import History
    from .reduce.stream import compress
    from .scores.baseline import alignment_baseline
    from .scores.certificate import AlignmentCertificate, alignment_certificate
    from .scores.interfaces import alignment, balancedness, misalignment
    from .scores.spectrum import effective_rank, layer_singular_values, singular_values
    from .scores.vector_scores import alignment_svd, alignment_top, invariance, top_invariance
    from .sweeps.result import Sweep
    from .sweeps.sweep import sweep
    from .training.errors import DivergenceError
    from .training.flow import Flow, flow
    from .training.objective import Objective
    from .training.resume import resume
    from .training.run import Run, load
    from .training.train import explain, train, value_and_grad

__version__ = "0.1.0"

# every name is imported when it is first asked for: who uses one room does not wait for all others
HOMES = {
    ".curvature": (
        "gauss_newton", "hessian", "kernel_distance", "linearized", "ntk", "ntk_operator", "ntk_trace", "sharpness",
        "spectral_density",
    ),
    ".engine.config": ("show_config",),
    ".layers": (
        "Affine", "AntiCirculant", "BlockDiagonal", "Circulant", "Conv1d", "Conv2d", "Dense", "Diagonal", "Fixed", "Hankel", "Layer",
        "Masked", "Residual", "Scaled", "Skew", "Subspace", "Symmetric", "Tied", "Toeplitz", "project",
    ),
    ".plan.plan": ("Plan",),
    ".problem.compressed": ("Compressed",),
    ".problem.network": ("Network",),
    ".record.recorder": ("History",),
    ".reduce.stream": ("compress",),
    ".scores.baseline": ("alignment_baseline",),
    ".scores.certificate": ("AlignmentCertificate", "alignment_certificate"),
    ".scores.interfaces": ("alignment", "balancedness", "misalignment"),
    ".scores.spectrum": ("effective_rank", "layer_singular_values", "singular_values"),
    ".scores.vector_scores": ("alignment_svd", "alignment_top", "invariance", "top_invariance"),
    ".sweeps.result": ("Sweep",),
    ".sweeps.sweep": ("sweep",),
    ".training.errors": ("DivergenceError",),
    ".training.flow": ("Flow", "flow"),
    ".training.objective": ("Objective",),
    ".training.resume": ("resume",),
    ".training.run": ("Run", "load"),
    ".training.train": ("explain", "train", "value_and_grad"),
}  # fmt: skip
MODULES = ("curvature", "data", "interop", "kernels", "layers", "losses", "optim", "record", "theory")
LATER = {name: home for home, names in HOMES.items() for name in names}

__all__ = [
    "Affine",
    "AlignmentCertificate",
    "AntiCirculant",
    "BlockDiagonal",
    "Circulant",
    "Compressed",
    "Conv1d",
    "Conv2d",
    "Dense",
    "Diagonal",
    "DivergenceError",
    "Fixed",
    "Flow",
    "Hankel",
    "History",
    "Layer",
    "Masked",
    "Network",
    "Objective",
    "Plan",
    "Residual",
    "Run",
    "Scaled",
    "Skew",
    "Subspace",
    "Sweep",
    "Symmetric",
    "Tied",
    "Toeplitz",
    "alignment",
    "alignment_baseline",
    "alignment_certificate",
    "alignment_svd",
    "alignment_top",
    "balancedness",
    "compress",
    "curvature",
    "data",
    "effective_rank",
    "explain",
    "flow",
    "gauss_newton",
    "hessian",
    "interop",
    "invariance",
    "kernel_distance",
    "kernels",
    "layer_singular_values",
    "layers",
    "linearized",
    "load",
    "losses",
    "misalignment",
    "ntk",
    "ntk_operator",
    "ntk_trace",
    "optim",
    "project",
    "record",
    "resume",
    "sharpness",
    "show_config",
    "singular_values",
    "spectral_density",
    "sweep",
    "theory",
    "top_invariance",
    "train",
    "value_and_grad",
]

# a child that is forked while a thread imports a module would wait for that thread, which it has not: forks wait for imports instead
_importing = RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release)


def __getattr__(name: str) -> Any:
    if name not in LATER and name not in MODULES:
        raise AttributeError(f"module 'linalign' has no attribute {name!r}")
    with _importing:
        found = import_module(f".{name}", __name__) if name in MODULES else getattr(import_module(LATER[name], __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    # modules that were imported on the way are no part of it
    return sorted({*__all__, *MODULES, "__doc__", "__file__", "__name__", "__path__", "__version__"})
