"""The constants of the cost model for this kind of processor: `python -m bench.calibrate FILE`.

FILE is what `make bench-kernels` wrote: its products of one thread in float64, by BLAS and by the tile of the largest vectors.
Prints the lines of `MACHINES`, and how far off the model is. `bench/test_choice.py` says whether it chooses well.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from .products import Product

# sizes up to which the tile is used, and above which BLAS is; the small ones say what a call costs
TILED, LARGE, CALLS = 128, 200, 16


def chosen(bench: dict[str, Any], library: str) -> bool:
    """Whether a product is one that the loop leaves to this library."""
    about = bench["extra_info"]
    if about.get("section") != Product.section or about["library"] != library or about["dtype"] != "float64":
        return False
    m, n, _ = about["sizes"]
    if library == "blas":
        return n >= LARGE or (m == n <= CALLS)
    return n <= TILED and m <= 300


def fit(products: Sequence[tuple[tuple[int, int, int], float]]) -> tuple[float, float, float, float]:
    """`call, rate, half` of the model by nonnegative least squares, and its median error; from `(m, n, k)` and nanoseconds.

    A product takes `call + (m n k + half m n) / rate`. Relative errors count: each equation is divided by its time.
    """
    A = np.array([np.array([1.0, m * n * k, m * n]) / t for (m, n, k), t in products])
    (call, inverse, thin), _ = nnls(A, np.ones(len(A)))
    error = float(np.median(np.abs(A @ [call, inverse, thin] - 1)))
    return call, 1 / inverse, thin / inverse, error


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.calibrate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    found = json.loads(parser.parse_args().file.read_text())["benchmarks"]
    tiles = {bench["extra_info"]["library"] for bench in found if bench["extra_info"].get("section") == Product.section} - {"blas"}
    tile = max(tiles, key=lambda name: int(name.removeprefix("tile-avx")), default=None)
    for library in (tile, "blas"):
        rows = [bench for bench in found if library and chosen(bench, library)]
        if not rows:
            parser.error(f"{parser.parse_args().file} has no products by {library or 'the tile'}; make bench-kernels measures them")
        products = []
        for bench in rows:
            about = bench["extra_info"]
            product = Product(about["dtype"], about["form"], tuple(about["sizes"]))
            products.append((product.terms, bench["stats"]["min"] * 1e9))
        call, rate, half, error = fit(products)
        print(f"{library}: Machine({call:.0f}, {rate:.0f}, {half:.1f}, 20)   # half of the products within {error:.0%}")


if __name__ == "__main__":
    main()
