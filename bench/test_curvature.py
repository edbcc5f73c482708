"""Hessian products, sharpness, the tangent kernel and gradient flow, with NumPy, SciPy, PyTorch, JAX and diffrax."""

from .curvature import Curvature

FOUR, FIVE, DEEP = (5,) * 4, (32,) * 5, (100,) * 11
DIGITS = (784, 64, 10)

ROWS = (
    Curvature("products", FOUR, 10, "a Hessian product, in the loop", asked={"many": 1000}, aim=40, shows="what a product is"),
    Curvature("product", FOUR, 10, "a Hessian product, a call", aim=6, quick=True, shows="what a call adds to it"),
    Curvature("product", FIVE, 1000, "a Hessian product", aim=40, shows="samples are in the second moments"),
    Curvature("product", DIGITS, 256, "a Hessian product", aim=12, shows="few rows in flight from the pivot"),
    Curvature("product", DEEP, 10_000, "a Hessian product", aim=80, shows="many samples, and products that fill the tile"),
    Curvature(
        "sharpness", (784, 1024, 64, 10), 256, "the sharpness", off=1e-2, asked={"powers": 200}, aim=20,
        shows="a search on the smaller network, planning included, with 200 powers",
    ),
    # with 256 samples the Jacobians are a gigabyte, and their contraction takes peers half a minute
    Curvature("kernel", DIGITS, 64, "the tangent kernel", aim=30, shows="Grams in place of Jacobians"),
    Curvature("flow", FOUR, 20, "flow to t = 20, rtol 1e-10", off=1e-6, asked={"until": 20.0, "rtol": 1e-10}, aim=50, shows="small steps"),
    Curvature(
        "flow", (20,) * 5, 50, "flow to t = 20, rtol 1e-10", off=1e-6, asked={"until": 20.0, "rtol": 1e-10}, aim=10,
        shows="steps of products that fill the tile",
    ),
)  # fmt: skip


def test_curvature(benchmark, row, library):
    row.time(benchmark, library)
