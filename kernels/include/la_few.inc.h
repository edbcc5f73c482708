/* Products of few rows with a matrix that nobody packs, and sums of vectors, for one element type and one instruction set.
 *
 * The includer defines T, V, LANES, WIDE and FN(x): see la_each.h.
 *
 * A library packs the large factor first, which takes longer than the sums of ten rows. Here it is read where it lies: by rows, some of
 * which are multiplied with all few rows at once, or by columns some vectors wide. The few rows are taken LA_FEW_ROWS at a time at most, so
 * that all sums stay in registers. An entry's sum is added in the order of its terms (by columns), or a lane at a time (by rows), wherever a
 * thread's share of the columns begins.
 */

#ifndef LA_FEW
#define LA_FEW
/* rows whose sums are in registers together; how many rows ahead are asked for, where columns are read */
enum { LA_FEW_ROWS = 6, LA_FEW_AHEAD = 8 };
#endif

#define LA_ACROSS (WIDE ? 4 : 2)

/* Columns `vectors` vectors wide of C (rows, n) = alpha * A B + beta * C. */
static inline __attribute__((always_inline)) void FN(few_columns)(
    const int rows, const int vectors, int k, T alpha, const T *A, ptrdiff_t lda, const T *B, ptrdiff_t ldb, T beta, T *C, ptrdiff_t ldc)
{
    V acc[LA_FEW_ROWS][LA_ACROSS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            acc[r][v] = (V){0};
    for (int p = 0; p < k; p++, A++, B += ldb) {
        V b[LA_ACROSS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            b[v] = LOAD(B + v * LANES);
            __builtin_prefetch(B + LA_FEW_AHEAD * ldb + v * LANES);
        }
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            const T a = A[r * lda];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                acc[r][v] += a * b[v];
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            T *c = C + r * ldc + v * LANES;
            V out = alpha * acc[r][v];
            if (beta != 0) /* beta = 0 never reads C */
                out += beta * LOAD(c);
            STORE(c, out);
        }
}

/* C (rows, others) = alpha * A B^T + beta * C for `others` rows of B; entry (r, v) stands at C[r * ldc + v * across]. */
static inline __attribute__((always_inline)) void FN(few_dots)(
    const int rows, const int others, int k, T alpha, const T *A, ptrdiff_t lda, const T *B, ptrdiff_t ldb, T beta, T *C, ptrdiff_t ldc,
    ptrdiff_t across)
{
    V acc[LA_FEW_ROWS][LA_ACROSS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < others; v++)
            acc[r][v] = (V){0};
    int p = 0;
    for (; p + LANES <= k; p += LANES) {
        V b[LA_ACROSS];
#pragma GCC unroll 4
        for (int v = 0; v < others; v++)
            b[v] = LOAD(B + v * ldb + p);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            const V a = LOAD(A + r * lda + p);
#pragma GCC unroll 4
            for (int v = 0; v < others; v++)
                acc[r][v] += a * b[v];
        }
    }
    /* as many sums over lanes at a time as there are lanes */
    T sums[LA_FEW_ROWS * LA_ACROSS + LANES];
#pragma GCC unroll 12
    for (int e = 0; e < rows * others; e += LANES) {
        V x[LANES];
#pragma GCC unroll 16
        for (int l = 0; l < LANES; l++)
            x[l] = e + l < rows * others ? acc[(e + l) / others][(e + l) % others] : (V){0};
        STORE(sums + e, FN(sums)(x));
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < others; v++) {
            T total = sums[r * others + v], *c = C + r * ldc + v * across;
            for (int q = p; q < k; q++)
                total += A[r * lda + q] * B[v * ldb + q];
            total *= alpha;
            if (beta != 0)
                total += beta * *c;
            *c = total;
        }
}

/* The same for one group of rows and all columns; `rows` is known to the compiler. */
static inline __attribute__((always_inline)) void FN(few_rows)(
    const int rows, int tb, int n, int k, T alpha, const T *A, ptrdiff_t lda, const T *B, ptrdiff_t ldb, T beta, T *C, ptrdiff_t ldc,
    ptrdiff_t across)
{
    int j = 0;
    if (tb) {
        for (; j + LA_ACROSS <= n; j += LA_ACROSS)
            FN(few_dots)(rows, LA_ACROSS, k, alpha, A, lda, B + j * ldb, ldb, beta, C + j * across, ldc, across);
        for (; j < n; j++)
            FN(few_dots)(rows, 1, k, alpha, A, lda, B + j * ldb, ldb, beta, C + j * across, ldc, across);
        return;
    }
    for (; j + LA_ACROSS * LANES <= n; j += LA_ACROSS * LANES)
        FN(few_columns)(rows, LA_ACROSS, k, alpha, A, lda, B + j, ldb, beta, C + j, ldc);
    for (; j + LANES <= n; j += LANES)
        FN(few_columns)(rows, 1, k, alpha, A, lda, B + j, ldb, beta, C + j, ldc);
    for (int r = 0; r < rows; r++)
        for (int i = j; i < n; i++) {
            T total = 0, *c = C + r * ldc + i;
            for (int p = 0; p < k; p++)
                total += A[r * lda + p] * B[p * ldb + i];
            total *= alpha;
            if (beta != 0)
                total += beta * *c;
            *c = total;
        }
}

static __attribute__((noinline)) void FN(few_group)(int rows, int tb, int n, int k, T alpha, const T *A, ptrdiff_t lda, const T *B,
                                                    ptrdiff_t ldb, T beta, T *C, ptrdiff_t ldc, ptrdiff_t across)
{
#define ROWS(r) case r: FN(few_rows)(r, tb, n, k, alpha, A, lda, B, ldb, beta, C, ldc, across); break;
    switch (rows) {
        ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6)
    }
#undef ROWS
}

/* C (m, n) = alpha * A (m, k) op(B) + beta * C. Pieces of B that stay in the first cache meet all groups of rows before the next. Where B
 * is transposed and has fewer rows than A, the few rows are its own. */
static void FN(few)(int tb, int m, int n, int k, T alpha, const T *A, ptrdiff_t lda, const T *B, ptrdiff_t ldb, T beta, T *C, ptrdiff_t ldc)
{
    ptrdiff_t across = 1;
    if (tb && m > n) {
        const T *many = A;
        const ptrdiff_t between = lda;
        const int rows = m;
        A = B, lda = ldb, m = n;
        B = many, ldb = between, n = rows;
        across = ldc, ldc = 1;
    }
    const int groups = (m + LA_FEW_ROWS - 1) / LA_FEW_ROWS, each = (m + groups - 1) / groups, piece = tb ? LA_ACROSS : LA_ACROSS * LANES;
    for (int j = 0; j < n; j += piece)
        for (int i = 0; i < m; i += each)
            FN(few_group)(m - i < each ? m - i : each, tb, n - j < piece ? n - j : piece, k, alpha, A + i * lda, lda,
                          tb ? B + j * ldb : B + j, ldb, beta, C + i * ldc + j * across, ldc, across);
}

/* out = base + sum_j a[j] X[j] over `count` elements; base NULL is zero. */
static void FN(combined)(ptrdiff_t count, int terms, const T *a, const T *const *X, const T *base, T *out)
{
    ptrdiff_t i = 0;
    for (; i + 4 * LANES <= count; i += 4 * LANES) {
        V acc[4];
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            acc[v] = (V){0};
            if (base)
                acc[v] = LOAD(base + i + v * LANES);
        }
        for (int j = 0; j < terms; j++) {
            const T c = a[j];
            const T *x = X[j] + i;
#pragma GCC unroll 4
            for (int v = 0; v < 4; v++)
                acc[v] += c * LOAD(x + v * LANES);
        }
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++)
            STORE(out + i + v * LANES, acc[v]);
    }
    for (; i + LANES <= count; i += LANES) {
        V acc = {0};
        if (base)
            acc = LOAD(base + i);
        for (int j = 0; j < terms; j++)
            acc += a[j] * LOAD(X[j] + i);
        STORE(out + i, acc);
    }
    for (; i < count; i++) {
        T total = base ? base[i] : 0;
        for (int j = 0; j < terms; j++)
            total += a[j] * X[j][i];
        out[i] = total;
    }
}

#undef LA_ACROSS
