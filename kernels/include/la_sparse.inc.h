/* Products with a sparse matrix, for one element type and instruction set.
 *
 * Few rows go one at a time. Many go in panels of PANEL rows, transposed, so that every nonzero meets whole vectors of rows;
 * by columns for the adjoint, so that it gathers too. A panel of a layer of a few thousand sides stays in the second-level cache. The
 * gradients of as many nonzeros as a vector has lanes are summed together.
 * The includer defines T, V, LANES, WIDE and FN(x): see la_each.h.
 */

#define WAYS 2
#define PANEL (WAYS * LANES)

/* B (columns, PANEL) = A (rows <= PANEL, columns)^T, zero where A ends; in squares of a vector a side. */
static void FN(sparse_pack)(int rows, int columns, const T *A, ptrdiff_t lda, T *B)
{
    int j = 0;
    for (; j + LANES <= columns; j += LANES, A += LANES)
        for (int i = 0; i < PANEL; i += LANES)
            FN(square)(rows - i, A + i * lda, lda, B + (ptrdiff_t)j * PANEL + i, PANEL);
    for (; j < columns; j++, A++)
        for (int r = 0; r < PANEL; r++)
            B[(ptrdiff_t)j * PANEL + r] = r < rows ? A[r * lda] : 0;
}

/* A (rows <= PANEL, columns) = B (columns, PANEL)^T. */
static void FN(sparse_unpack)(int rows, int columns, const T *B, T *A, ptrdiff_t lda)
{
    int j = 0;
    for (; j + LANES <= columns; j += LANES, A += LANES)
        for (int i = 0; i < rows; i += LANES) {
            V x[LANES];
#pragma GCC unroll 16
            for (int r = 0; r < LANES; r++)
                x[r] = LOAD(B + (ptrdiff_t)(j + r) * PANEL + i);
            FN(turn)(x);
#pragma GCC unroll 16
            for (int r = 0; r < LANES; r++)
                if (i + r < rows)
                    STORE(A + (i + r) * lda, x[r]);
        }
    for (; j < columns; j++, A++)
        for (int r = 0; r < rows; r++)
            A[r * lda] = B[(ptrdiff_t)j * PANEL + r];
}

/* out (s, m) = A (s, n) @ S^T, where row i of S (m, n) has the entries value[at[k]] at column[k], ptr[i] <= k < ptr[i + 1];
 * `at` NULL is k itself. `work` has room for n * PANEL elements: small enough for the second-level cache. */
static void FN(sparse_product)(int m, int n, const int *ptr, const int *column, const int *at, const T *value, int s,
                               const T *A, ptrdiff_t lda, T *out, ptrdiff_t ldout, T *work)
{
    if (s < LANES) {
        for (int r = 0; r < s; r++, A += lda, out += ldout)
            for (int i = 0; i < m; i++) {
                T total = 0;
                if (at)
                    for (int k = ptr[i]; k < ptr[i + 1]; k++)
                        total += value[at[k]] * A[column[k]];
                else
                    for (int k = ptr[i]; k < ptr[i + 1]; k++)
                        total += value[k] * A[column[k]];
                out[i] = total;
            }
        return;
    }
    T *B = work, lines[LANES * PANEL];
    for (int r = 0; r < s; r += PANEL) {
        const int rows = s - r < PANEL ? s - r : PANEL;
        FN(sparse_pack)(rows, n, A + r * lda, lda, B);
        for (int i = 0; i < m; i++) {
            V acc[WAYS];
#pragma GCC unroll 2
            for (int v = 0; v < WAYS; v++)
                acc[v] = (V){0};
            for (int k = ptr[i]; k < ptr[i + 1]; k++) {
                const T w = value[at ? at[k] : k];
                const T *b = B + (ptrdiff_t)column[k] * PANEL;
#pragma GCC unroll 2
                for (int v = 0; v < WAYS; v++)
                    acc[v] += w * LOAD(b + v * LANES);
            }
#pragma GCC unroll 2
            for (int v = 0; v < WAYS; v++)
                STORE(lines + i % LANES * PANEL + v * LANES, acc[v]);
            if ((i + 1) % LANES == 0 || i + 1 == m)
                FN(sparse_unpack)(rows, i % LANES + 1, lines, out + r * ldout + i / LANES * LANES, ldout);
        }
    }
}

/* g[k] = sum_r D[r, i] A[r, column[k]] for the entries k of row i: the gradient of every nonzero. */
static void FN(sparse_grad)(int m, int n, const int *ptr, const int *column, int s, const T *D, ptrdiff_t ldd, const T *A,
                            ptrdiff_t lda, T *g, T *work)
{
    if (s < LANES) {
        for (int i = 0; i < m; i++)
            for (int k = ptr[i]; k < ptr[i + 1]; k++) {
                T total = 0;
                for (int r = 0; r < s; r++)
                    total += D[r * ldd + i] * A[r * lda + column[k]];
                g[k] = total;
            }
        return;
    }
    T *B = work, lines[LANES * PANEL];
    for (int r = 0; r < s; r += PANEL) {
        const int rows = s - r < PANEL ? s - r : PANEL;
        FN(sparse_pack)(rows, n, A + r * lda, lda, B);
        for (int i = 0; i < m; i++) {
            if (i % LANES == 0)
                FN(sparse_pack)(rows, m - i < LANES ? m - i : LANES, D + r * ldd + i, ldd, lines);
            V d[WAYS];
#pragma GCC unroll 2
            for (int v = 0; v < WAYS; v++)
                d[v] = LOAD(lines + i % LANES * PANEL + v * LANES);
            for (int k = ptr[i]; k < ptr[i + 1]; k += LANES) {
                /* as many nonzeros as a vector has lanes: their sums are one vector */
                const int count = ptr[i + 1] - k < LANES ? ptr[i + 1] - k : LANES;
                V acc[LANES];
#pragma GCC unroll 16
                for (int l = 0; l < LANES; l++) {
                    const T *b = B + (ptrdiff_t)column[l < count ? k + l : k] * PANEL;
                    acc[l] = d[0] * LOAD(b);
#pragma GCC unroll 2
                    for (int v = 1; v < WAYS; v++)
                        acc[l] += d[v] * LOAD(b + v * LANES);
                }
                V found = FN(sums)(acc);
                if (count == LANES) {
                    if (r)
                        found += LOAD(g + k);
                    STORE(g + k, found);
                } else
                    for (int l = 0; l < count; l++)
                        g[k + l] = r ? g[k + l] + found[l] : found[l];
            }
        }
    }
}

#undef WAYS
#undef PANEL
