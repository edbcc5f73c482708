"""Long data before the first step, in Gram products; wide data judged, in decompositions of the data."""

from .extremes import Beside, gaps, jax_gram, judged, losses_by_both, numpy_gram, numpy_svd, planned, scipy_qr

LONG, WIDE = (60_000, 784, 64, 10), (100, 20_000, 64, 10)

ROWS = (
    Beside(
        "60,000 x 784, squared loss: explain, in products X^T X", LONG, (planned, ("squared",)), numpy_gram, losses_by_both,
        (("jax", jax_gram),), aim=6,
        shows="compressing 60,000 samples is a few Gram products",
    ),
    Beside(
        "60,000 x 784, squared loss: explain, over SciPy's QR of [X Y]", LONG, (planned, ("squared",)), scipy_qr, losses_by_both, aim=0.5,
        shows="what the same takes by hand",
    ),
    Beside(
        "60,000 x 784, cross-entropy: explain, in products X^T X", LONG, (planned, ("cross_entropy",)), numpy_gram, losses_by_both,
        (("jax", jax_gram),), aim=3,
        shows="that inputs are independent is told from some rows",
    ),
    *(
        Beside(
            f"100 x 20,000: {what}, in decompositions of X", WIDE, (judged, (what,)), numpy_svd, gaps, aim=10, quick=what == "certify",
            shows="few samples of many inputs are judged in the range of the data",
        )
        for what in ("aligned_minimum", "alignment_certificate", "invariance_condition", "certify")
    ),
)  # fmt: skip


def test_extreme(benchmark, row, library):
    row.time(benchmark, library)
