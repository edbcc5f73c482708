/* Products of matrices of vectors, and what is done with each entry once it is a sum: kept, a residual, or a step of a layer.
 *
 * A product is cut into tiles whose sums stay in registers; a fused multiply-add wants at most one load. The includer defines T, V, LANES,
 * WIDE and FN(x): see la_each.h. Strides are in elements of T.
 */

#define AT(p) (*(V *)(p))
#define SIDE (WIDE ? 5 : 3)

/* What a residual needs: the data's diagonal, which scales rows or columns, and the targets (m, row), both scalars. */
typedef struct {
    const T *x, *y;
    ptrdiff_t row;
    T slope;
    double *total; /* (LANES,): the sum of squares */
} FN(ends);

/* What a step of a layer needs. */
typedef struct {
    V rate, keep, decay, momentum;
    ptrdiff_t beside; /* from a parameter to its velocity */
} FN(law);

enum { FN(keep_it) = 0, FN(keep_shared) = 1, FN(plain_residual) = 2, FN(rows_residual) = 3, FN(columns_residual) = 4,
       FN(descend_by) = 5, FN(roll_by) = 6 };

#define IS_RESIDUAL(what) ((what) >= FN(plain_residual) && (what) <= FN(columns_residual))

static inline __attribute__((always_inline)) void FN(tile)(
    const int what, const int m, const int n, int k, const T *a, ptrdiff_t a_i, ptrdiff_t a_p, const T *b, ptrdiff_t b_p, ptrdiff_t b_j,
    T *c, ptrdiff_t c_i, ptrdiff_t c_j, const FN(ends) *ends, const FN(law) *law, const T *x, const T *y)
{
    V acc[5][5];
#pragma GCC unroll 5
    for (int i = 0; i < m; i++)
#pragma GCC unroll 5
        for (int j = 0; j < n; j++)
            acc[i][j] = (V){0};
    for (int p = 0; p < k; p++, a += a_p, b += b_p) {
        V right[5];
#pragma GCC unroll 5
        for (int j = 0; j < n; j++)
            right[j] = AT(b + j * b_j);
#pragma GCC unroll 5
        for (int i = 0; i < m; i++) {
            const V left = what == FN(keep_shared) ? (V){0} + a[i * a_i] : AT(a + i * a_i);
#pragma GCC unroll 5
            for (int j = 0; j < n; j++)
                acc[i][j] += left * right[j];
        }
    }
    V scale[5];
    if (what == FN(rows_residual))
#pragma GCC unroll 5
        for (int i = 0; i < m; i++)
            scale[i] = (V){0} + x[i];
    if (what == FN(columns_residual))
#pragma GCC unroll 5
        for (int j = 0; j < n; j++)
            scale[j] = (V){0} + x[j];
    V sum[5]; /* one for each column: one alone would wait for itself */
#pragma GCC unroll 5
    for (int j = 0; j < n; j++)
        sum[j] = (V){0};
#pragma GCC unroll 5
    for (int i = 0; i < m; i++)
#pragma GCC unroll 5
        for (int j = 0; j < n; j++) {
            T *const at = c + i * c_i + j * c_j;
            V g = acc[i][j];
            if (IS_RESIDUAL(what)) {
                const V side = what == FN(rows_residual) ? scale[i] : scale[j];
                g = (what == FN(plain_residual) ? g : side * g) - y[i * ends->row + j];
                sum[j] += g * g;
                g = ends->slope * g;
                AT(at) = what == FN(plain_residual) ? g : side * g;
            } else if (what == FN(descend_by)) {
                AT(at) = law->keep * AT(at) + law->rate * g;
            } else if (what == FN(roll_by)) {
                T *const beside = at + law->beside;
                const V v = law->momentum * AT(beside) + (g + law->decay * AT(at));
                AT(beside) = v;
                AT(at) += law->rate * v;
            } else
                AT(at) = g;
        }
    if (IS_RESIDUAL(what)) {
#pragma GCC unroll 5
        for (int j = 1; j < n; j++)
            sum[0] += sum[j];
        for (int l = 0; l < LANES; l++)
            ends->total[l] += (double)sum[0][l];
    }
}

#define TILE(m_, n_)                                                                                                       \
    FN(tile)(what, m_, n_, k, a + i * a_i, a_i, a_p, b + j * b_j, b_p, b_j, c + i * c_i + j * c_j, c_i, c_j, ends, law,      \
             what == FN(rows_residual) ? ends->x + i : what == FN(columns_residual) ? ends->x + j : NULL,                    \
             IS_RESIDUAL(what) ? ends->y + i * ends->row + j : NULL)
#define TILES_OF(m_)                                                                                                       \
    switch (wide) {                                                                                                        \
    case 1: TILE(m_, 1); break;                                                                                            \
    case 2: TILE(m_, 2); break;                                                                                            \
    case 3: TILE(m_, 3); break;                                                                                            \
    case 4: if (SIDE > 3) TILE(m_, 4); break;                                                                              \
    case 5: if (SIDE > 3) TILE(m_, 5); break;                                                                              \
    }

/* C (m, n) = A (m, k) B (k, n), or what is to be done with its entries; pieces as equal as they can be. */
static inline __attribute__((always_inline)) void FN(cut)(
    const int what, int m, int n, int k, const T *a, ptrdiff_t a_i, ptrdiff_t a_p, const T *b, ptrdiff_t b_p, ptrdiff_t b_j, T *c,
    ptrdiff_t c_i, ptrdiff_t c_j, const FN(ends) *ends, const FN(law) *law)
{
    /* of so many pieces, the first `more` have one row, or column, more than the others */
    const int down = m <= SIDE ? 1 : (m + SIDE - 1) / SIDE, across = n <= SIDE ? 1 : (n + SIDE - 1) / SIDE;
    const int low = down == 1 ? m : m / down, narrow = across == 1 ? n : n / across, more = m - low * down, wider = n - narrow * across;
    for (int i = 0, r = 0; r < down; r++) {
        const int tall = low + (r < more);
        for (int j = 0, q = 0; q < across; q++) {
            const int wide = narrow + (q < wider);
            switch (tall) {
            case 1: TILES_OF(1) break;
            case 2: TILES_OF(2) break;
            case 3: TILES_OF(3) break;
            case 4: if (SIDE > 3) TILES_OF(4) break;
            case 5: if (SIDE > 3) TILES_OF(5) break;
            }
            j += wide;
        }
        i += tall;
    }
}

#define PRODUCT_TO(name, what, extra, ends, law)                                                                            \
    static __attribute__((noinline)) void FN(name)(int m, int n, int k, const T *a, ptrdiff_t a_i, ptrdiff_t a_p, const T *b, \
                                                   ptrdiff_t b_p, ptrdiff_t b_j, T *c, ptrdiff_t c_i, ptrdiff_t c_j extra)   \
    {                                                                                                                      \
        FN(cut)(FN(what), m, n, k, a, a_i, a_p, b, b_p, b_j, c, c_i, c_j, ends, law);                                      \
    }
#define COMMA ,
PRODUCT_TO(lane_product, keep_it, , NULL, NULL)
PRODUCT_TO(lane_shared, keep_shared, , NULL, NULL)
PRODUCT_TO(lane_residual, plain_residual, COMMA const FN(ends) *ends, ends, NULL)
PRODUCT_TO(lane_residual_rows, rows_residual, COMMA const FN(ends) *ends, ends, NULL)
PRODUCT_TO(lane_residual_columns, columns_residual, COMMA const FN(ends) *ends, ends, NULL)
PRODUCT_TO(lane_descend, descend_by, COMMA const FN(law) *law, NULL, law)
PRODUCT_TO(lane_roll, roll_by, COMMA const FN(law) *law, NULL, law)

#undef COMMA
#undef IS_RESIDUAL
#undef PRODUCT_TO
#undef TILES_OF
#undef TILE
#undef SIDE
