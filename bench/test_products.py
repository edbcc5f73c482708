"""Where the register tile beats BLAS: square products, thin ones of a chain with few rows in flight, and those with many."""

from .products import FORMS, Product

SQUARE = (2, 3, 4, 5, 8, 12, 16, 20, 24, 32, 48, 64, 96, 100, 128, 160, 192, 256)
THIN = (*((s, n) for s in (2, 4, 10) for n in (16, 32, 64, 128)), (5, 32), (3, 64), (32, 192), (32, 200), (32, 256))
# with the square ones up to 300, these are what BLAS's constants in the cost model are fitted to
LARGE = tuple((s, n) for s in (2, 4, 10, 100) for n in (200, 256))
MANY = ((300, 16), (300, 32), (300, 64), (300, 128), (1000, 5), (1000, 32), (1000, 100), (1000, 192))
SHAPES = (*((n, n, n) for n in (*SQUARE, 200, 300)), *((s, n, n) for s, n in (*THIN, *LARGE, *MANY)))
QUICK = (16, 16, 16)

ROWS = tuple(
    Product(dtype, form, sizes, quick=sizes == QUICK and dtype == "float64", shows="whether this product is for the tile or for BLAS")
    for dtype in ("float64", "float32")
    for sizes in SHAPES
    for form in FORMS
)


def test_product(benchmark, row, library):
    row.time(benchmark, library)
