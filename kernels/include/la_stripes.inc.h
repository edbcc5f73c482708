/* Matrices that change little along their diagonals. See la_each.h for T, V, LANES and FN(x). */

/* C (m, n) from its first row and column: C(i, j) = C(i - 1, j - 1) + sum_r G(r, i) H(r, j). */
static inline void FN(stripes_rows)(int m, int n, int rank, const T *G, ptrdiff_t ldg, const T *H, ptrdiff_t ldh, T *C,
                                    ptrdiff_t ldc)
{
    for (int i = 1; i < m; i++) {
        const T *up = C + (i - 1) * ldc;
        T *row = C + i * ldc;
        int j = 1;
        while (j + LANES <= n) {
            V s = LOAD(up + j - 1);
            for (int r = 0; r < rank; r++)
                s += G[r * ldg + i] * LOAD(H + r * ldh + j);
            STORE(row + j, s);
            /* the last vector ends with the row: what it writes twice is the same twice */
            j = j + LANES < n && j + 2 * LANES > n ? n - LANES : j + LANES;
        }
        for (; j < n; j++) {
            T s = up[j - 1];
            for (int r = 0; r < rank; r++)
                s += G[r * ldg + i] * H[r * ldh + j];
            row[j] = s;
        }
    }
}

static void FN(stripes_fill)(int m, int n, int rank, const T *G, ptrdiff_t ldg, const T *H, ptrdiff_t ldh, T *C, ptrdiff_t ldc)
{
    /* the ranks of a product of two and of three Toeplitz matrices, their loops unrolled */
    if (rank == 2)
        FN(stripes_rows)(m, n, 2, G, ldg, H, ldh, C, ldc);
    else if (rank == 4)
        FN(stripes_rows)(m, n, 4, G, ldg, H, ldh, C, ldc);
    else
        FN(stripes_rows)(m, n, rank, G, ldg, H, ldh, C, ldc);
}
