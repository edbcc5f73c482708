"""Update rules and batches: a step of the same rule on the same rows, with NumPy, PyTorch and JAX; and what reducing saves each rule."""

from .descents import Descent, DescentStep, DiagonalDescent, reduced
from .test_loop import AUTHORS

SECTION = "any descent: rules and batches"

SMALL, MIDDLE, WIDE = (5,) * 4, (32,) * 5, (100,) * 4

ROWS = (
    DescentStep(
        SECTION, Descent("Adam, 5-5-5-5, n=10", SMALL, 10, 1e-3, rule="adam"), aim=20, quick=True,
        shows="what a rule with two accumulators costs where there is next to nothing to compute",
    ),
    DescentStep(
        SECTION, Descent("Adam, 32-32-32-32-32, n=1000", MIDDLE, 1000, 1e-3, rule="adam"), aim=25,
        shows="samples are compressed under any rule: the gradient is the same",
    ),
    DescentStep(
        SECTION, Descent("Adam, 100-100-100-100, n=1000", WIDE, 1000, 1e-3, rule="adam"), aim=8,
        shows="the same where the rule's own arithmetic is a share of the step",
    ),
    DescentStep(
        SECTION, Descent("SGD, one sample a step, 5-5-5-5, n=100", SMALL, 100, 1e-1, batch=1), aim=5,
        shows="the step that most studies of gradient noise take, 1e5 to 1e6 times",
    ),
    DescentStep(
        SECTION, DiagonalDescent("SGD, one sample a step, diagonal net of 100, n=40", (100, 100, 1), 40, 1e-1, batch=1), aim=8,
        shows="a diagonal layer and one output, on one sample: products of vectors of 100",
    ),
    DescentStep(
        SECTION, Descent("SGD, batch 32, 32-32-32-32-32, n=1000", MIDDLE, 1000, 1e-2, batch=32), aim=4,
        shows="batches are gathered inside the loop; nothing can be compressed",
    ),
    DescentStep(
        SECTION, Descent("SGD, batch 64, 784-1024-64-10, n=256", AUTHORS, 256, 1e-2, batch=64), aim=6,
        shows="inputs and widths are reduced under batches too",
    ),
    DescentStep(
        SECTION, Descent("Adam, batch 64, 100-100-100-100, n=1000", WIDE, 1000, 1e-3, rule="adam", batch=64), aim=1.5,
        shows="nothing to reduce: kernels and the rule's arithmetic against compiled ones",
    ),
    DescentStep(
        SECTION, Descent("Muon, 784-1024-64-10, n=256", AUTHORS, 256, 1e-3, rule="muon", check_steps=3), aim=20,
        shows="a rule that commutes with rotations, on the reduced network: its iteration is on smaller matrices too",
    ),
    *(
        reduced(
            SECTION, f"784-1024-64-10, n=256: a step of {name}, reduced over unreduced",
            Descent("784-1024-64-10, n=256", AUTHORS, 256, lr, rule=rule, check_steps=3), aim=1.0, shows="what reducing leaves of a step",
        )
        for name, rule, lr in (("SGD", "sgd", 1e-2), ("GroupRMSprop", "group_rmsprop", 1e-3), ("Muon", "muon", 1e-3))
    ),
)  # fmt: skip


def test_step(benchmark, row, library):
    row.time(benchmark, library)
