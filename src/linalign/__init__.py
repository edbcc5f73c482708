"""linalign: deep linear networks, trained in C, with their alignment tracked."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import kernels, losses, optim
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
from .training.errors import DivergenceError
from .training.objective import Objective
from .training.resume import resume
from .training.run import Run, load
from .training.train import explain, train, value_and_grad

if TYPE_CHECKING:
    from . import curvature, theory
    from .curvature import (
        gauss_newton,
        hessian,
        kernel_distance,
        ntk,
        ntk_operator,
        ntk_trace,
        sharpness,
        spectral_density,
    )
    from .sweeps.result import Sweep
    from .sweeps.sweep import sweep
    from .training.flow import Flow, flow

__version__ = "0.1.0"

# what most programs do without is imported when it is first asked for
LATER = {
    "flow": ".training.flow", "Flow": ".training.flow",
    "theory": ".theory", "curvature": ".curvature", "Sweep": ".sweeps.result", "sweep": ".sweeps.sweep",
    **dict.fromkeys(
        ("gauss_newton", "hessian", "kernel_distance", "ntk", "ntk_operator", "ntk_trace", "sharpness", "spectral_density"), ".curvature"
    ),
}  # fmt: skip

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
    "effective_rank",
    "explain",
    "flow",
    "gauss_newton",
    "hessian",
    "invariance",
    "kernel_distance",
    "kernels",
    "layer_singular_values",
    "load",
    "losses",
    "misalignment",
    "ntk",
    "ntk_operator",
    "ntk_trace",
    "optim",
    "project",
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


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module 'linalign' has no attribute {name!r}")
    module = import_module(LATER[name], __name__)
    found = module if LATER[name] == f".{name}" else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *LATER})
