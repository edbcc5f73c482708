"""Curvature: Hessian and Gauss-Newton products, sharpness, spectra, and the neural tangent kernel, of a network where it stands."""

from .ends import sharpness
from .kernel import kernel_distance, ntk, ntk_operator, ntk_trace
from .operators import CurvatureOperator, gauss_newton, hessian
from .spectrum import SpectralDensity, spectral_density
from .tangent import Linearized, linearized

__all__ = [
    "CurvatureOperator", "Linearized", "SpectralDensity", "gauss_newton", "hessian", "kernel_distance", "linearized", "ntk",
    "ntk_operator", "ntk_trace",
    "sharpness", "spectral_density",
]  # fmt: skip
