/* Register-tiled small products for one element type and one instruction set.
 *
 * The includer defines T, V, LANES, WIDE and FN(x): see la_each.h.
 *
 * Matrices are row-major. Rows of B and C are padded with zeros to whole vectors, so that there are no edges along a row.
 * Eight accumulators hide the latency of the fused multiply-add: four rows by two vectors, or eight rows by one. With WIDE
 * there are 32 registers, and eight rows by two vectors also halve the loads.
 */

static inline __attribute__((always_inline)) void FN(block)(
    const int rows, const int vectors, int k, T alpha, const T *A, ptrdiff_t a_row, ptrdiff_t a_col,
    const T *B, ptrdiff_t ldb, T beta, T *C, ptrdiff_t ldc)
{
    V acc[8][2];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            acc[r][v] = (V){0};
    /* two moving pointers and three fixed offsets address eight rows: more would spill */
    const T *low = A, *high = A + 4 * a_row;
    for (int p = 0; p < k; p++, low += a_col, high += a_col, B += ldb) {
        V b[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            b[v] = LOAD(B + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const T a = (r < 4 ? low : high)[(r & 3) * a_row];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                acc[r][v] += a * b[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            T *c = C + r * ldc + v * LANES;
            V out = alpha * acc[r][v];
            if (beta != 0) /* beta = 0 never reads C */
                out += beta * LOAD(c);
            STORE(c, out);
        }
}

/* C = alpha * A (m, k) @ B + beta * C for B and C of `vectors` vectors a row; A[i, p] stands at A[i * a_row + p * a_col]. */
static inline __attribute__((always_inline)) void FN(blocks)(
    const int vectors, int m, int k, T alpha, const T *A, ptrdiff_t a_row, ptrdiff_t a_col,
    const T *B, ptrdiff_t ldb, T beta, T *C, ptrdiff_t ldc)
{
    int i = 0;
#define BLOCK(r) FN(block)(r, vectors, k, alpha, A + i * a_row, a_row, a_col, B, ldb, beta, C + i * ldc, ldc)
    if (WIDE || vectors == 1) {
        for (; i + 8 <= m; i += 8)
            BLOCK(8);
        switch (m - i) {
        case 7: BLOCK(7); return;
        case 6: BLOCK(6); return;
        case 5: BLOCK(5); return;
        case 4: BLOCK(4); return;
        }
    } else
        for (; i + 4 <= m; i += 4)
            BLOCK(4);
    switch (m - i) {
    case 3: BLOCK(3); break;
    case 2: BLOCK(2); break;
    case 1: BLOCK(1); break;
    }
#undef BLOCK
}

/* C (m, n) = alpha * A (m, k) @ B (k, n) + beta * C; A as above. */
static void FN(gemm)(int m, int n, int k, T alpha, const T *A, ptrdiff_t a_row, ptrdiff_t a_col,
                     const T *B, ptrdiff_t ldb, T beta, T *C, ptrdiff_t ldc)
{
    int j = 0;
    for (; j + LANES < n; j += 2 * LANES)
        FN(blocks)(2, m, k, alpha, A, a_row, a_col, B + j, ldb, beta, C + j, ldc);
    if (j < n)
        FN(blocks)(1, m, k, alpha, A, a_row, a_col, B + j, ldb, beta, C + j, ldc);
}

/* One pass over W (m, n) for one row in flight: y = W a, then W = beta * W + scale * c a^T; y or c may be NULL. */
static void FN(dot_update)(int m, int n, T *W, ptrdiff_t ldw, const T *a, T *y, const T *c, T scale, T beta)
{
    for (int j = 0; j < m; j++) {
        T *w = W + j * ldw;
        int i = 0;
        if (y) {
            V s0 = (V){0}, s1 = (V){0}, s2 = (V){0}, s3 = (V){0};
            for (; i + 4 * LANES <= n; i += 4 * LANES) {
                s0 += LOAD(w + i) * LOAD(a + i);
                s1 += LOAD(w + i + LANES) * LOAD(a + i + LANES);
                s2 += LOAD(w + i + 2 * LANES) * LOAD(a + i + 2 * LANES);
                s3 += LOAD(w + i + 3 * LANES) * LOAD(a + i + 3 * LANES);
            }
            for (; i + LANES <= n; i += LANES)
                s0 += LOAD(w + i) * LOAD(a + i);
            T total = FN(sum)((s0 + s1) + (s2 + s3));
            for (; i < n; i++)
                total += w[i] * a[i];
            y[j] = total;
        }
        if (!c)
            continue;
        const T f = scale * c[j];
        for (i = 0; i + LANES <= n; i += LANES)
            STORE(w + i, beta * LOAD(w + i) + f * LOAD(a + i));
        for (; i < n; i++)
            w[i] = beta * w[i] + f * a[i];
    }
}

/* One pass over W (m, n) for one row in flight: z = d W, then W = beta * W + scale * d a^T unless a is NULL. */
static void FN(sum_update)(int m, int n, T *W, ptrdiff_t ldw, const T *d, T *z, const T *a, T scale, T beta)
{
    for (int i = 0; i < n; i++)
        z[i] = 0;
    int j = 0;
    for (; j + 4 <= m; j += 4) {
        T *w0 = W + j * ldw, *w1 = w0 + ldw, *w2 = w1 + ldw, *w3 = w2 + ldw;
        const T d0 = d[j], d1 = d[j + 1], d2 = d[j + 2], d3 = d[j + 3];
        const T f0 = scale * d0, f1 = scale * d1, f2 = scale * d2, f3 = scale * d3;
        int i = 0;
        for (; i + LANES <= n; i += LANES) {
            V v0 = LOAD(w0 + i), v1 = LOAD(w1 + i), v2 = LOAD(w2 + i), v3 = LOAD(w3 + i);
            STORE(z + i, LOAD(z + i) + ((d0 * v0 + d1 * v1) + (d2 * v2 + d3 * v3)));
            if (a) {
                V x = LOAD(a + i);
                STORE(w0 + i, beta * v0 + f0 * x);
                STORE(w1 + i, beta * v1 + f1 * x);
                STORE(w2 + i, beta * v2 + f2 * x);
                STORE(w3 + i, beta * v3 + f3 * x);
            }
        }
        for (; i < n; i++) {
            T v0 = w0[i], v1 = w1[i], v2 = w2[i], v3 = w3[i];
            z[i] += (d0 * v0 + d1 * v1) + (d2 * v2 + d3 * v3);
            if (a) {
                w0[i] = beta * v0 + f0 * a[i];
                w1[i] = beta * v1 + f1 * a[i];
                w2[i] = beta * v2 + f2 * a[i];
                w3[i] = beta * v3 + f3 * a[i];
            }
        }
    }
    for (; j < m; j++) {
        T *w = W + j * ldw;
        const T e = d[j], f = scale * e;
        for (int i = 0; i < n; i++) {
            T v = w[i];
            z[i] += e * v;
            if (a)
                w[i] = beta * v + f * a[i];
        }
    }
}

/* out (columns, rows) = A (rows, columns)^T in squares of one vector a side. Both are padded with zeros to whole vectors along
 * their rows, and `out` has room for whole vectors of rows too. */
static void FN(transpose)(int rows, int columns, const T *A, ptrdiff_t lda, T *out, ptrdiff_t ldout)
{
    for (int i = 0; i < rows; i += LANES)
        for (int j = 0; j < columns; j += LANES)
            FN(square)(rows - i, A + i * lda + j, lda, out + j * ldout + i, ldout);
}

/* C = alpha * G + beta * C over `count` elements. */
static void FN(axpby)(ptrdiff_t count, T alpha, const T *G, T beta, T *C)
{
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES)
        STORE(C + i, beta * LOAD(C + i) + alpha * LOAD(G + i));
    for (; i < count; i++)
        C[i] = beta * C[i] + alpha * G[i];
}

/* out (rows, columns) = A diag(x). */
static void FN(scale)(int rows, int columns, const T *A, ptrdiff_t lda, const T *x, T *out, ptrdiff_t ldout)
{
    for (int r = 0; r < rows; r++, A += lda, out += ldout) {
        int c = 0;
        for (; c + LANES <= columns; c += LANES)
            STORE(out + c, LOAD(A + c) * LOAD(x + c));
        for (; c < columns; c++)
            out[c] = A[c] * x[c];
    }
}

typedef double FN(doubles) __attribute__((vector_size(LANES * sizeof(double))));

/* O = slope * (O - target) over `count` elements; returns the sum of squares of O - target, in double. */
static double FN(residual)(ptrdiff_t count, T *O, const T *target, T slope)
{
    FN(doubles) even = {0}, odd = {0};
    double total = 0;
    ptrdiff_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        const V r = LOAD(O + i) - LOAD(target + i), s = LOAD(O + i + LANES) - LOAD(target + i + LANES);
        const FN(doubles) x = __builtin_convertvector(r, FN(doubles)), y = __builtin_convertvector(s, FN(doubles));
        even += x * x;
        odd += y * y;
        STORE(O + i, slope * r);
        STORE(O + i + LANES, slope * s);
    }
    for (; i + LANES <= count; i += LANES) {
        const V r = LOAD(O + i) - LOAD(target + i);
        const FN(doubles) x = __builtin_convertvector(r, FN(doubles));
        even += x * x;
        STORE(O + i, slope * r);
    }
    for (; i < count; i++) {
        const T r = O[i] - target[i];
        total += (double)r * (double)r;
        O[i] = slope * r;
    }
    even += odd;
    for (int l = 0; l < LANES; l++)
        total += even[l];
    return total;
}
