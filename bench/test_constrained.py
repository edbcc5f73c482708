"""Constrained layers: convolutions, Toeplitz factors (against pyfaust too), and masks (against SciPy's and PyTorch's sparse products).

`reduce="none"` stands below a row where a reduction does most of the work: the kernels alone.
"""

from .rows import Step
from .structured import Convolutions, Masks, Toeplitzes

SECTION = "constrained layers"
ONE, MANY = (1, 1, 1, 1), (1, 16, 16, 1)


def _palm(n: int, shows: str, **options) -> Step:
    return Step(SECTION, Toeplitzes(f"palm4msa sweep, 3 Toeplitz factors, {n} x {n}", (n,) * 4, n, 1e-2), shows=shows, aim=1, **options)


ROWS = (
    Step(
        SECTION, Convolutions("3 convolutions 3x3, 28x28, n=1", ONE, 1, 2e-2), aim=30,
        shows="one image: the chain of convolutions without a gain from samples",
        headline="three 3x3 convolutions, 28x28, 1 sample",
    ),
    Step(
        SECTION, Convolutions("3 convolutions 3x3, 28x28, n=256", ONE, 256, 2e-2), aim=12, plain=True,
        shows="all images become rows of moves; below, the convolutions themselves",
        headline="three 3x3 convolutions, 28x28, 256 samples",
    ),
    Step(
        SECTION, Convolutions("3 convolutions 3x3, 28x28, n=256, float32", ONE, 256, 2e-2, dtype="float32"), aim=40, plain=True,
        shows="the same in single precision",
    ),
    Step(
        SECTION, Convolutions("3 convolutions 3x3, 1-16-16-1 channels, n=256", MANY, 256, 1e-1, check_steps=3), aim=6, plain=True,
        shows="several channels, where a convolution is mostly a matrix product",
    ),
    Step(
        SECTION,
        Convolutions("3 convolutions 3x3, 1-16-16-1 channels, n=256, float32", MANY, 256, 1e-1, dtype="float32", check_steps=3),
        aim=0.8, plain=True,
        shows="the same in single precision, for which PyTorch's convolutions are written",
    ),
    Step(
        SECTION, Convolutions("3 circular convolutions 3x3, 28x28, n=10,000", ONE, 10_000, 2e-2, check_steps=2, padding="circular"),
        aim=20_000, shows="many images: a step does not depend on their number",
    ),
    Step(
        SECTION, Convolutions("3 valid convolutions 3x3, 28x28, n=10,000", ONE, 10_000, 2e-2, check_steps=2, padding="valid"),
        aim=20_000, shows="the same without borders",
    ),
    _palm(16, "what a sweep costs where its products are small", quick=True),
    _palm(64, "products by diagonals against dense ones"),
    _palm(128, "the same where products share the threads"),
    Step(
        SECTION, Masks("3 masks of 1 %, 2000 x 2000, n=64", (2000,) * 4, 64, 1e-1), aim=1,
        shows="sparse layers: products and gradients of the entries that are there",
        headline="three masks of 1 %, 2000 x 2000, 64 samples",
    ),
)  # fmt: skip


def test_step(benchmark, row, library):
    row.time(benchmark, library)
