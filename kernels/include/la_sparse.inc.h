/* Products with a sparse matrix, for one element type and instruction set.
 *
 * Few rows go one at a time. Many go in panels of PANEL rows, transposed, so that every nonzero meets whole vectors of rows;
 * by columns for the adjoint, so that it gathers too.
 * The includer defines T, V, LANES, WIDE and FN(x): see la_each.h.
 */

#define WAYS 4
#define PANEL (WAYS * LANES)

/* B (columns, PANEL) = A (rows <= PANEL, columns)^T, zero where A ends. */
static void FN(sparse_pack)(int rows, int columns, const T *A, ptrdiff_t lda, T *B)
{
    for (int j0 = 0; j0 < columns; j0 += 8) {
        const int j1 = j0 + 8 < columns ? j0 + 8 : columns;
        for (int r = 0; r < rows; r++)
            for (int j = j0; j < j1; j++)
                B[(ptrdiff_t)j * PANEL + r] = A[r * lda + j];
    }
    if (rows < PANEL)
        for (int j = 0; j < columns; j++)
            for (int r = rows; r < PANEL; r++)
                B[(ptrdiff_t)j * PANEL + r] = 0;
}

/* A (rows, columns) = B (columns, PANEL)^T. */
static void FN(sparse_unpack)(int rows, int columns, const T *B, T *A, ptrdiff_t lda)
{
    for (int j0 = 0; j0 < columns; j0 += 8) {
        const int j1 = j0 + 8 < columns ? j0 + 8 : columns;
        for (int r = 0; r < rows; r++)
            for (int j = j0; j < j1; j++)
                A[r * lda + j] = B[(ptrdiff_t)j * PANEL + r];
    }
}

/* out (s, m) = A (s, n) @ S^T, where row i of S (m, n) has the entries value[at[k]] at column[k], ptr[i] <= k < ptr[i + 1];
 * `at` NULL is k itself. `work` has room for (n + m) * PANEL elements. */
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
    T *B = work, *C = work + (ptrdiff_t)n * PANEL;
    for (int r = 0; r < s; r += PANEL) {
        const int rows = s - r < PANEL ? s - r : PANEL;
        FN(sparse_pack)(rows, n, A + r * lda, lda, B);
        for (int i = 0; i < m; i++) {
            V acc[WAYS];
#pragma GCC unroll 4
            for (int v = 0; v < WAYS; v++)
                acc[v] = (V){0};
            for (int k = ptr[i]; k < ptr[i + 1]; k++) {
                const T w = value[at ? at[k] : k];
                const T *b = B + (ptrdiff_t)column[k] * PANEL;
#pragma GCC unroll 4
                for (int v = 0; v < WAYS; v++)
                    acc[v] += w * LOAD(b + v * LANES);
            }
#pragma GCC unroll 4
            for (int v = 0; v < WAYS; v++)
                STORE(C + (ptrdiff_t)i * PANEL + v * LANES, acc[v]);
        }
        FN(sparse_unpack)(rows, m, C, out + r * ldout, ldout);
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
    T *B = work, *C = work + (ptrdiff_t)n * PANEL;
    for (int k = 0; k < ptr[m]; k++)
        g[k] = 0;
    for (int r = 0; r < s; r += PANEL) {
        const int rows = s - r < PANEL ? s - r : PANEL;
        FN(sparse_pack)(rows, n, A + r * lda, lda, B);
        FN(sparse_pack)(rows, m, D + r * ldd, ldd, C);
        for (int i = 0; i < m; i++) {
            V d[WAYS];
#pragma GCC unroll 4
            for (int v = 0; v < WAYS; v++)
                d[v] = LOAD(C + (ptrdiff_t)i * PANEL + v * LANES);
            for (int k = ptr[i]; k < ptr[i + 1]; k++) {
                const T *b = B + (ptrdiff_t)column[k] * PANEL;
                V acc = d[0] * LOAD(b);
#pragma GCC unroll 4
                for (int v = 1; v < WAYS; v++)
                    acc += d[v] * LOAD(b + v * LANES);
                g[k] += FN(sum)(acc);
            }
        }
    }
}

#undef WAYS
#undef PANEL
