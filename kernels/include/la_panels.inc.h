/* Products of large matrices in packed panels, for one element type and one instruction set.
 *
 * The includer defines T, V, LANES, WIDE and FN(x): see la_each.h.
 *
 * C is cut into tiles of LA_ROWS rows by three vectors, whose sums stay in registers (24 of 32, or 12 of 16). The second factor is packed
 * in pieces that stay in the second cache, LA_TERMS bytes of terms by some hundreds of columns, in panels of three vectors; of the first
 * factor LA_BLOCK rows at once, in panels of LA_ROWS, each of which stays in the first cache while the panels of the other pass.
 *
 * The terms of an entry's sum are cut by their number alone, and added in order: which block of C a thread is given, and where its
 * panels end, does not change a bit.
 */

#ifndef LA_PANELS
#define LA_PANELS
/* rows of the first factor that are packed at once; bytes of a line of packed terms; how many terms ahead are asked for */
enum { LA_BLOCK = 64, LA_TERMS = 1536, LA_AHEAD = 4 };
#endif

#define LA_ROWS (WIDE ? 8 : 4)
#define LA_COLUMNS (3 * LANES)

/* The tile `C (LA_ROWS, LA_COLUMNS) = alpha * A B + beta * C` of panels of k terms. */
static inline __attribute__((always_inline)) void FN(whole_panel)(int k, T alpha, const T *A, const T *B, T beta, T *C, ptrdiff_t ldc)
{
    V acc[LA_ROWS][3];
#pragma GCC unroll 8
    for (int r = 0; r < LA_ROWS; r++)
#pragma GCC unroll 3
        for (int v = 0; v < 3; v++) {
            acc[r][v] = (V){0};
            __builtin_prefetch(C + r * ldc + v * LANES);
        }
    for (int p = 0; p < k; p++, A += LA_ROWS, B += LA_COLUMNS) {
        V b[3];
#pragma GCC unroll 3
        for (int v = 0; v < 3; v++) {
            b[v] = LOAD(B + v * LANES);
            __builtin_prefetch(B + LA_AHEAD * LA_COLUMNS + v * LANES);
        }
#pragma GCC unroll 8
        for (int r = 0; r < LA_ROWS; r++) {
            const T a = A[r];
#pragma GCC unroll 3
            for (int v = 0; v < 3; v++)
                acc[r][v] += a * b[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < LA_ROWS; r++)
#pragma GCC unroll 3
        for (int v = 0; v < 3; v++) {
            T *c = C + r * ldc + v * LANES;
            V out = alpha * acc[r][v];
            if (beta != 0) /* beta = 0 never reads C */
                out += beta * LOAD(c);
            STORE(c, out);
        }
}

/* The same for the rows and columns of the tile that C has. */
static void FN(panel)(int rows, int columns, int k, T alpha, const T *A, const T *B, T beta, T *C, ptrdiff_t ldc)
{
    T edge[LA_ROWS * LA_COLUMNS];
    const int whole = rows == LA_ROWS && columns == LA_COLUMNS;
    if (!whole && beta != 0) {
        memset(edge, 0, sizeof edge);
        for (int r = 0; r < rows; r++)
            memcpy(edge + r * LA_COLUMNS, C + r * ldc, columns * sizeof(T));
    }
    FN(whole_panel)(k, alpha, A, B, beta, whole ? C : edge, whole ? ldc : LA_COLUMNS);
    for (int r = 0; r < rows && !whole; r++)
        memcpy(C + r * ldc, edge + r * LA_COLUMNS, columns * sizeof(T));
}

/* `lines` lines of k terms in panels of `group` lines, zero where the lines end: term p of line i stands at A[i * lda + p] if `along`, else
 * at A[p * lda + i]. */
static inline __attribute__((always_inline)) void FN(pack)(const int group, int lines, int k, const T *A, ptrdiff_t lda, int along, T *out)
{
    /* squares of whole vectors: of some lines of a panel, or of two panels */
    const int step = group > LANES ? group : LANES;
    T square[LANES * LANES];
    for (int i = 0; along && i < lines; i += step)
        for (int g = 0; g < step; g += LANES)
            for (int p = 0; p < k; p += LANES) {
                const int left = lines - i - g, terms = k - p < LANES ? k - p : LANES;
                const T *from = A + (i + g) * lda + p;
                if (terms == LANES && left > 0)
                    FN(square)(left, from, lda, square, LANES);
                else
                    for (int q = 0; q < terms; q++)
                        for (int l = 0; l < LANES; l++)
                            square[q * LANES + l] = l < left ? from[l * lda + q] : 0;
                for (int h = 0; h < LANES && i + g + h < (lines + group - 1) / group * group; h += group)
                    for (int q = 0; q < terms; q++)
                        memcpy(out + (i + (g + h) / group * group) * (ptrdiff_t)k + (p + q) * group + (g + h) % group, square + q * LANES + h,
                               (group < LANES ? group : LANES) * sizeof(T));
            }
    /* some terms at a time, so that lines of A are read from end to end */
    for (int p = 0; !along && p < k; p += 8)
        for (int i = 0; i < lines; i += group)
            for (int q = p; q < k && q < p + 8; q++) {
                T *to = out + i * (ptrdiff_t)k + q * group;
                const T *from = A + q * lda + i;
                if (i + group <= lines)
                    memcpy(to, from, group * sizeof(T));
                else
                    for (int g = 0; g < group; g++)
                        to[g] = i + g < lines ? from[g] : 0;
            }
}

/* C (m, n) = alpha * op(A) op(B) + beta * C with sums of k > 0 terms. `most` columns of B are packed at once, in whole panels; `room` is for
 * LA_TERMS bytes of terms of those and of LA_BLOCK rows. */
static void FN(panels)(int ta, int tb, int m, int n, int k, T alpha, const T *A, ptrdiff_t lda, const T *B, ptrdiff_t ldb, T beta,
                       T *C, ptrdiff_t ldc, int most, T *room)
{
    const int longest = LA_TERMS / (int)sizeof(T), parts = (k + longest - 1) / longest, each = (k + parts - 1) / parts;
    T *a = room, *b = room + LA_BLOCK * longest;
    for (int j = 0; j < n; j += most) {
        const int columns = n - j < most ? n - j : most;
        for (int p = 0; p < k; p += each) {
            const int terms = k - p < each ? k - p : each;
            FN(pack)(LA_COLUMNS, columns, terms, tb ? B + j * ldb + p : B + p * ldb + j, ldb, tb, b);
            for (int i = 0; i < m; i += LA_BLOCK) {
                const int rows = m - i < LA_BLOCK ? m - i : LA_BLOCK;
                FN(pack)(LA_ROWS, rows, terms, ta ? A + p * lda + i : A + i * lda + p, lda, !ta, a);
                for (int r = 0; r < rows; r += LA_ROWS)
                    for (int c = 0; c < columns; c += LA_COLUMNS)
                        FN(panel)(rows - r < LA_ROWS ? rows - r : LA_ROWS, columns - c < LA_COLUMNS ? columns - c : LA_COLUMNS, terms, alpha,
                                  a + r * (ptrdiff_t)terms, b + c * (ptrdiff_t)terms, p ? 1 : beta, C + (i + r) * ldc + j + c, ldc);
            }
        }
    }
}

#undef LA_ROWS
#undef LA_COLUMNS
