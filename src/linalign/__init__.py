"""linalign: deep linear networks, trained in C, with their alignment tracked."""

from . import kernels, losses, optim, theory
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
from .training.objective import Objective
from .training.resume import resume
from .training.run import Run, load
from .training.train import explain, train, value_and_grad

__version__ = "0.1.0"

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
    "effective_rank",
    "explain",
    "invariance",
    "kernels",
    "layer_singular_values",
    "load",
    "losses",
    "misalignment",
    "optim",
    "project",
    "resume",
    "show_config",
    "singular_values",
    "sweep",
    "theory",
    "top_invariance",
    "train",
    "value_and_grad",
]
