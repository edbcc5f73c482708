"""Where the register tile beats BLAS: `python -m bench.tiles` prints the table of kernels/README.md.

For every instruction set of this processor and both float types, the time of one n x n x n product (and of the thin ones
of a chain with few rows in flight, or many) in the three forms of the loop: rows times a matrix (NN), rows times its transpose (NT),
and the gradient (TN, added to the layer). One thread; the best of several repeats of both, in turn.
"""

from __future__ import annotations

import time

import numpy as np
from threadpoolctl import threadpool_limits

from linalign import kernel
from linalign._kernels import _chain

SIZES = (2, 3, 4, 5, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128, 160, 192, 256)
THIN = ((10, 64), (5, 32), (3, 64), (10, 32), (2, 16), (10, 128), (32, 192))
MANY = ((1000, 5), (1000, 32), (1000, 100), (1000, 192))
FORMS = {"NN": (False, False), "NT": (False, True), "TN": (True, False)}
MOST = 256


def seconds(form: str, m: int, n: int, k: int, dtype: type, level: int) -> float:
    """The best time of one product C (m, n) of inner size k."""
    ta, tb = FORMS[form]
    rng = np.random.default_rng(0)

    def draw(rows: int, columns: int) -> np.ndarray:
        out = _chain.buffer(rows, columns, dtype, MOST)
        out[...] = rng.standard_normal((rows, columns))
        return out

    A, B, C = draw(*((k, m) if ta else (m, k))), draw(*((n, k) if tb else (k, n))), draw(m, n)
    beta, alpha = (1.0, 1e-9) if form == "TN" else (0.0, 1.0)
    repeats = max(20, int(2e6 / (m * n * k + 200)))
    best = np.inf
    for _ in range(7):
        began = time.perf_counter()
        _chain.multiply(ta, tb, alpha, A, B, beta, C, level=level, most=MOST, repeats=repeats)
        best = min(best, (time.perf_counter() - began) / repeats)
    return best


def main() -> None:
    """Print nanoseconds a product by BLAS and by the tile, and their ratio."""
    levels = [level for level in kernel.LEVELS.values() if 0 < level <= _chain.detect()]
    with threadpool_limits(1, "blas"):
        for level in levels:
            for dtype in (np.float64, np.float32):
                print(f"\n{kernel.isa_name(level)}, {np.dtype(dtype)}: nanoseconds by BLAS / tile (ratio)")
                print(f"{'m x n x k':>14}  " + "  ".join(f"{form:>24}" for form in FORMS))
                shapes = [(n, n, n) for n in SIZES]
                for s, n in (*THIN, *MANY):
                    shapes.append((s, n, n))
                for m, n, k in shapes:
                    cells = []
                    for form in FORMS:
                        # the gradient of a layer has the rows in flight inside
                        a, b, c = (n, k, m) if form == "TN" else (m, n, k)
                        slow, fast = (seconds(form, a, b, c, dtype, at) for at in (0, level))
                        cells.append(f"{slow * 1e9:9.0f} / {fast * 1e9:6.0f} ({slow / fast:4.1f})")
                    print(f"{f'{m} x {n} x {k}':>14}  " + "  ".join(f"{cell:>24}" for cell in cells))


if __name__ == "__main__":
    main()
