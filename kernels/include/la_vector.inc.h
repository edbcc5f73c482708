/* See la_vector.h; the includer defines T, V, LANES and FN(x): see la_each.h, which has LOAD and STORE. */

typedef V FN(unaligned) __attribute__((aligned(sizeof(T)), may_alias));

static inline __attribute__((always_inline)) T FN(sum)(V v)
{
    T total = 0;
#pragma GCC unroll 16
    for (int l = 0; l < LANES; l++)
        total += v[l];
    return total;
}

/* x[r][c] and x[c][r] change places. */
static inline __attribute__((always_inline)) void FN(turn)(V *x)
{
#ifdef LA_SHUFFLE
    V y[LANES];
    /* swap quarters of ever smaller squares: stage h exchanges bit h of the row with bit h of the column */
#define STAGE(from, to, h)                                                                                            \
    _Pragma("GCC unroll 16") for (int r = 0; r < LANES; r++) to[r] = r & h ? LA_HIGH(LANES, h, from[r - h], from[r])   \
                                                                           : LA_LOW(LANES, h, from[r], from[r + h]);
    STAGE(x, y, 1)
#if LANES >= 4
    STAGE(y, x, 2)
#endif
#if LANES >= 8
    STAGE(x, y, 4)
#endif
#if LANES >= 16
    STAGE(y, x, 8)
#endif
#if LANES == 2 || LANES == 8
#pragma GCC unroll 16
    for (int r = 0; r < LANES; r++)
        x[r] = y[r];
#endif
#undef STAGE
#else
    for (int r = 0; r < LANES; r++)
        for (int c = r + 1; c < LANES; c++) {
            const T t = x[r][c];
            x[r][c] = x[c][r];
            x[c][r] = t;
        }
#endif
}

/* out (LANES, LANES) = A (rows <= LANES, LANES)^T, zero where A ends. */
static inline __attribute__((always_inline)) void FN(square)(int rows, const T *A, ptrdiff_t lda, T *out, ptrdiff_t ldout)
{
    V x[LANES];
#pragma GCC unroll 16
    for (int r = 0; r < LANES; r++) {
        x[r] = (V){0};
        if (r < rows)
            x[r] = LOAD(A + r * lda);
    }
    FN(turn)(x);
#pragma GCC unroll 16
    for (int r = 0; r < LANES; r++)
        STORE(out + r * ldout, x[r]);
}

/* The sums of x[0], .., x[LANES - 1], each over its lanes. */
static inline __attribute__((always_inline)) V FN(sums)(V *x)
{
#ifdef LA_SHUFFLE
    /* after stage h a vector holds the part sums of 2 h of them, told apart by the low bits of the lane */
#define STAGE(h)                                                                                                      \
    _Pragma("GCC unroll 16") for (int r = 0; r < LANES; r += 2 * h)                                                   \
        x[r] = LA_LOW(LANES, h, x[r], x[r + h]) + LA_HIGH(LANES, h, x[r], x[r + h]);
    STAGE(1)
#if LANES >= 4
    STAGE(2)
#endif
#if LANES >= 8
    STAGE(4)
#endif
#if LANES >= 16
    STAGE(8)
#endif
#undef STAGE
    return x[0];
#else
    V found;
    for (int r = 0; r < LANES; r++)
        found[r] = FN(sum)(x[r]);
    return found;
#endif
}
