/* Convolutions of 3 x 3 taps by single pixels, without circular borders, of images at least a vector wide; see la_conv.inc.h, which
 * has the others, and copy_line.
 *
 * Most vectors of a row that is shifted by a pixel lie on two lines of the cache, and loads are what a step would wait for. So some
 * rows of outputs are computed at once, and a vector of pixels, once loaded, serves all the rows and outputs in registers that it
 * meets, or all the gradients of taps. Rows begin at whole vectors (`pitch3`), with the margin of zeros between them, which one row's
 * end shares with the next one's beginning. Outputs are written where they belong; the last vector of a row overlaps the one before.
 * Where few outputs meet many planes, each plane adds its part while it is in the first cache. Gradients of the taps stay apart in
 * lanes until the last sample.
 */

/* Outputs o..o + channels - 1, `rows` rows, one vector: sums over inputs and taps. Tap (o, c, j) stands at K[o * k_out + c * k_in +
 * j * k_tap]; P is the first pixel that the first tap meets. */
static inline __attribute__((always_inline)) void FN(correlate3_block)(
    const int channels, const int rows, int more, int c_in, const T *restrict K, ptrdiff_t k_out, ptrdiff_t k_in, ptrdiff_t k_tap,
    const T *restrict P, ptrdiff_t plane, ptrdiff_t pitch, T *restrict O, ptrdiff_t out_plane, ptrdiff_t out_pitch)
{
    V acc[4][8];
#pragma GCC unroll 4
    for (int o = 0; o < channels; o++)
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            acc[o][r] = (V){0};
    if (more)
#pragma GCC unroll 4
        for (int o = 0; o < channels; o++)
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
                acc[o][r] = LOAD(O + o * out_plane + r * out_pitch);
    for (int c = 0; c < c_in; c++, P += plane, K += k_in)
#pragma GCC unroll 3
        for (int b = 0; b < 3; b++) {
            V k[4][3];
#pragma GCC unroll 4
            for (int o = 0; o < channels; o++)
#pragma GCC unroll 3
                for (int a = 0; a < 3; a++)
                    k[o][a] = K[o * k_out + (3 * a + b) * k_tap] - (V){0};
            const T *p = P + b;
#pragma GCC unroll 10
            for (int i = 0; i < rows + 2; i++, p += pitch) {
                V x = LOAD(p);
                LA_HOLD(x);
#pragma GCC unroll 3
                for (int a = 0; a < 3; a++)
                    if (i - a >= 0 && i - a < rows)
#pragma GCC unroll 4
                        for (int o = 0; o < channels; o++)
                            acc[o][i - a] += k[o][a] * x;
            }
        }
#pragma GCC unroll 4
    for (int o = 0; o < channels; o++)
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            STORE(O + o * out_plane + r * out_pitch, acc[o][r]);
}

#if WIDE
#define OUTPUTS 4
#define TALL 8
#else
#define OUTPUTS 2
#define TALL 4
#endif

/* `rows` rows of blocks, the last vector at `last`. */
#define BLOCKS(C, R, more, c_in)                                                                                                \
    for (int x = 0;; x = x + LANES < last ? x + LANES : last) {                                                                 \
        FN(correlate3_block)(C, R, more, c_in, K + o * k_out, k_out, k_in, k_tap, P + y * pitch + x, plane, pitch,               \
                             O + o * out_plane + y * out_pitch + x, out_plane, out_pitch);                                      \
        if (x == last)                                                                                                          \
            break;                                                                                                              \
    }

/* O (c_out, h, w) = the correlation of P with K, whole. */
static void FN(correlate3)(int c_out, int c_in, const T *K, ptrdiff_t k_out, ptrdiff_t k_in, ptrdiff_t k_tap, const T *P,
                           ptrdiff_t plane, ptrdiff_t pitch, T *O, int h, int w)
{
    const ptrdiff_t out_plane = (ptrdiff_t)h * w, out_pitch = w;
    const int last = w - LANES;
    for (int y = 0, rows; y < h; y += rows) {
        int o = 0;
        rows = h - y >= 4 ? 4 : h - y >= 2 ? 2 : 1;
        if (rows == 4) {
            for (; o + OUTPUTS <= c_out; o += OUTPUTS)
                BLOCKS(OUTPUTS, 4, 0, c_in)
            for (; o < c_out; o++)
                BLOCKS(1, 4, 0, c_in)
        } else if (rows == 2) {
            for (; o + OUTPUTS <= c_out; o += OUTPUTS)
                BLOCKS(OUTPUTS, 2, 0, c_in)
            for (; o < c_out; o++)
                BLOCKS(1, 2, 0, c_in)
        } else
            for (; o < c_out; o++)
                BLOCKS(1, 1, 0, c_in)
    }
}

/* What one plane P brings to few outputs: O (c_out, h, out_pitch), added to what is there if `more`. `last`: w less a vector; in whole
 * vectors where O has room, and must where it adds. */
static void FN(plane3)(int more, int c_out, const T *K, ptrdiff_t k_out, ptrdiff_t k_tap, const T *P, ptrdiff_t pitch, T *O,
                       ptrdiff_t out_pitch, int h, int last)
{
    const ptrdiff_t out_plane = h * out_pitch, k_in = 0, plane = 0;
    for (int o = 0; o < c_out; o++)
        for (int y = 0, rows; y < h; y += rows) {
            rows = h - y >= TALL ? TALL : h - y >= 4 ? 4 : h - y >= 2 ? 2 : 1;
            switch (rows) {
#if WIDE
            case 8: BLOCKS(1, 8, more, 1) break;
#endif
            case 4: BLOCKS(1, 4, more, 1) break;
            case 2: BLOCKS(1, 2, more, 1) break;
            default: BLOCKS(1, 1, more, 1)
            }
        }
}
#undef BLOCKS

/* `rows` rows of `channels` outputs: L[o][j] += D[o] P at tap j, apart in lanes. */
static inline __attribute__((always_inline)) void FN(taps3_block)(
    const int channels, const int rows, int h, int vectors, const T *restrict D, ptrdiff_t d_plane, const T *restrict P, ptrdiff_t pitch,
    V *restrict L, ptrdiff_t l_out)
{
    V acc[2][9];
#pragma GCC unroll 2
    for (int o = 0; o < channels; o++)
#pragma GCC unroll 9
        for (int j = 0; j < 9; j++)
            acc[o][j] = L[o * l_out + j];
    for (int y = 0; y + rows <= h; y += rows, D += rows * pitch, P += rows * pitch)
        for (int v = 0; v < vectors; v++) {
            V d[2][8];
            const T *p = P + v * LANES;
#pragma GCC unroll 2
            for (int o = 0; o < channels; o++)
#pragma GCC unroll 8
                for (int r = 0; r < rows; r++)
                    d[o][r] = LOAD(D + o * d_plane + r * pitch + v * LANES);
#pragma GCC unroll 10
            for (int i = 0; i < rows + 2; i++, p += pitch)
#pragma GCC unroll 3
                for (int b = 0; b < 3; b++) {
                    V x = LOAD(p + b);
                    LA_HOLD(x);
#pragma GCC unroll 3
                    for (int a = 0; a < 3; a++)
                        if (i - a >= 0 && i - a < rows)
#pragma GCC unroll 2
                            for (int o = 0; o < channels; o++)
                                acc[o][3 * a + b] += d[o][i - a] * x;
                }
        }
#pragma GCC unroll 2
    for (int o = 0; o < channels; o++)
#pragma GCC unroll 9
        for (int j = 0; j < 9; j++)
            L[o * l_out + j] = acc[o][j];
}

/* L[o][c][j] += sum of D[o] P[c] at tap j, for `channels` outputs and all inputs. */
static inline __attribute__((always_inline)) void FN(taps3)(const int channels, int c_in, int h, int w, const T *D, ptrdiff_t d_plane,
                                                            const T *P, ptrdiff_t plane, ptrdiff_t pitch, V *L)
{
    const int vectors = (w + LANES - 1) / LANES, tall = channels == 1 ? TALL : 4;
    const ptrdiff_t l_out = (ptrdiff_t)c_in * 9;
    for (int c = 0; c < c_in; c++, P += plane, L += 9) {
        int y = h / tall * tall;
        FN(taps3_block)(channels, tall, y, vectors, D, d_plane, P, pitch, L, l_out);
        if (tall > 4 && y + 4 <= h) {
            FN(taps3_block)(channels, 4, 4, vectors, D + y * pitch, d_plane, P + y * pitch, pitch, L, l_out);
            y += 4;
        }
        if (y < h)
            FN(taps3_block)(channels, 1, h - y, vectors, D + y * pitch, d_plane, P + y * pitch, pitch, L, l_out);
    }
}

/* Planes of h x w pixels, from `first` on; the margin stays zero. */
static void FN(pack3)(int planes, int h, int w, const T *x, T *first, ptrdiff_t plane, ptrdiff_t pitch)
{
    for (int c = 0; c < planes; c++)
        for (int y = 0; y < h; y++, x += w)
            FN(copy_line)(first + c * plane + y * pitch, x, w);
}

/* Lines of h x w pixels that stand `pitch` apart, from O on. */
static void FN(unpack3)(int h, int w, const T *O, ptrdiff_t pitch, T *y)
{
    for (int i = 0; i < h; i++, y += w)
        FN(copy_line)(y, O + i * pitch, w);
}

static inline int FN(conv3)(const la_conv *g)
{
    return g->three && g->w_in >= LANES && g->w_out >= LANES;
}

static void FN(conv3_apply)(const la_conv *g, int first, int last, const T *K, const T *A, ptrdiff_t lda, T *out, ptrdiff_t ldout, T *work)
{
    const ptrdiff_t pitch = g->pitch3, k_out = (ptrdiff_t)g->c_in * 9;
    T *P = work + LANES, *O = work + g->o_start3;
    for (int r = first; r < last; r++) {
        const T *x = A + r * lda;
        T *y = out + r * ldout, *p = P + g->top * pitch;
        if (g->c_in == 1 && g->c_out < OUTPUTS) {
            FN(pack3)(1, g->h_in, g->w_in, x, p, 0, pitch);
            FN(plane3)(0, g->c_out, K, k_out, 1, P - g->left, pitch, y, g->w_out, g->h_out, g->w_out - LANES);
        } else if (g->c_out < OUTPUTS) {
            for (int c = 0; c < g->c_in; c++, x += (ptrdiff_t)g->h_in * g->w_in) {
                FN(pack3)(1, g->h_in, g->w_in, x, p, 0, pitch);
                FN(plane3)(c, g->c_out, K + c * 9, k_out, 1, P - g->left, pitch, O, pitch, g->h_out, (g->w_out - 1) / LANES * LANES);
            }
            FN(unpack3)(g->c_out * g->h_out, g->w_out, O, pitch, y);
        } else {
            FN(pack3)(g->c_in, g->h_in, g->w_in, x, p, g->p_plane3, pitch);
            FN(correlate3)(g->c_out, g->c_in, K, k_out, 9, 1, P - g->left, g->p_plane3, pitch, y, g->h_out, g->w_out);
        }
    }
}

/* Planes of D are used, one or two at a time, while they are in the first cache. */
static void FN(conv3_backward)(const la_conv *g, int first, int last, const T *K, const T *D, ptrdiff_t ldd, T *out, ptrdiff_t ldout,
                               const T *A, ptrdiff_t lda, T *G, T *work)
{
    T *P = work + LANES, *E = P + g->c_in * g->p_plane3, *O = work + g->o_start3;
    V *L = (V *)(work + g->l_start3);
    const ptrdiff_t pitch = g->pitch3, k_in = (ptrdiff_t)g->c_in * 9, size = g->c_out * k_in;
    /* the adjoint: the taps from the last to the first, and the channels exchanged */
    const int few = out && g->c_in < OUTPUTS, alone = g->c_out == 1;
    const ptrdiff_t shift = (g->top - 2) * pitch + g->left - 2, o_pitch = alone ? g->w_in : pitch;
    const int end = alone ? g->w_in - LANES : (g->w_in - 1) / LANES * LANES;
    if (G)
        for (ptrdiff_t i = 0; i < size; i++)
            L[i] = (V){0};
    for (int r = first; r < last; r++) {
        const T *d = D + r * ldd;
        T *e = E + 2 * pitch, *z = few && alone ? out + r * ldout : O;
        if (G)
            FN(pack3)(g->c_in, g->h_in, g->w_in, A + r * lda, P + g->top * pitch, g->p_plane3, pitch);
#define SOME(C)                                                                                                                 \
    {                                                                                                                           \
        FN(pack3)(C, g->h_out, g->w_out, d, e, g->d_plane3, pitch);                                                              \
        if (G)                                                                                                                  \
            FN(taps3)(C, g->c_in, g->h_out, g->w_out, e, g->d_plane3, P - g->left, g->p_plane3, pitch, L + o * k_in);             \
        for (int i = 0; few && i < C; i++)                                                                                      \
            FN(plane3)(o + i, g->c_in, K + 8 + (o + i) * k_in, 9, -1, e + i * g->d_plane3 + shift, pitch, z, o_pitch, g->h_in,    \
                       end);                                                                                                    \
        o += C, d += (ptrdiff_t)C * g->h_out * g->w_out, e += C * g->d_plane3;                                                  \
    }
        int o = 0;
#if WIDE
        while (o + 2 <= g->c_out)
            SOME(2)
#endif
        while (o < g->c_out)
            SOME(1)
#undef SOME
        if (few && !alone)
            FN(unpack3)(g->c_in * g->h_in, g->w_in, O, pitch, out + r * ldout);
        else if (out && !few)
            FN(correlate3)(g->c_in, g->c_out, K + 8, 9, k_in, -1, E + 2 * pitch + shift, g->d_plane3, pitch, out + r * ldout, g->h_in,
                           g->w_in);
    }
    if (!G)
        return;
    ptrdiff_t i = 0;
    for (; i + LANES <= size; i += LANES)
        STORE(G + i, LOAD(G + i) + FN(sums)(L + i));
    for (; i < size; i++)
        G[i] += FN(sum)(L[i]);
}
#undef OUTPUTS
#undef TALL
